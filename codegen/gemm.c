/* The matrix micro-kernel: a register tile of R rows and V vectors, one loop over the inner dimension.
 *
 *   void mk_RxV(ptr row_ptr, i64 a_step, ptr b, i64 b_step, i64 count, ptr c, i64 ldc, i1 accumulate)
 *   void mg_RxV(ptr row_ptr, ptr a_off, ptr b, ptr b_off, i64 count, ptr c, i64 ldc, i1 accumulate)
 *
 * One function per tile shape and module; every product calls it with its own strides, so it costs its
 * compile time once. Rows of a come through pointers, which is how gathered rows and the last, partial row
 * block (whose rows repeat) are read in place. Accumulation over the inner dimension is in order. */
#include "codegen/emit.h"

typedef struct Micro {
    Tile tile;
    bool gather;
    Val row_ptr, a_step, b, b_step, count, c, ldc, accumulate;
} Micro;

static Val c_at(Kb *k, const Micro *m, int row, int v) {
    Val at = kb_add(k, kb_mul(k, m->ldc, kb_i64(k, row)), kb_i64(k, (int64_t)v * k->vl));
    return kb_gep(k, k->f32, m->c, at);
}

/* The tile's starting values: zero, or what is in c. */
static void initial(Kb *k, const Micro *m, Val *acc) {
    int n = m->tile.rows * m->tile.vectors;
    LLVMBasicBlockRef from = LLVMGetInsertBlock(k->b);
    LLVMBasicBlockRef load = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "load");
    LLVMBasicBlockRef join = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "join");
    Val loaded[MAX_CARRY];
    LLVMBuildCondBr(k->b, m->accumulate, load, join);
    LLVMPositionBuilderAtEnd(k->b, load);
    for (int i = 0; i < n; i++)
        loaded[i] = kb_load(k, k->vf, c_at(k, m, i / m->tile.vectors, i % m->tile.vectors), NULL);
    LLVMBuildBr(k->b, join);
    LLVMPositionBuilderAtEnd(k->b, join);
    for (int i = 0; i < n; i++) {
        acc[i] = LLVMBuildPhi(k->b, k->vf, "acc");
        LLVMAddIncoming(acc[i], (Val[]){kb_vf(k, 0), loaded[i]}, (LLVMBasicBlockRef[]){from, load}, 2);
    }
}

static void micro_body(Kb *k, const Micro *m) {
    int rows = m->tile.rows, vecs = m->tile.vectors, n = rows * vecs;
    Val a[8], carry[MAX_CARRY];
    for (int r = 0; r < rows; r++)
        a[r] = LLVMBuildLoad2(k->b, k->ptr, kb_gep(k, k->ptr, m->row_ptr, kb_i64(k, r)), "a");
    initial(k, m, carry);
    carry[n] = kb_i64(k, 0);     /* a's offset */
    carry[n + 1] = kb_i64(k, 0); /* b's offset */
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), m->count, 1, carry, m->gather ? n : n + 2);
    Val a_off, b_off, bv[4];
    if (m->gather) {
        a_off = LLVMBuildLoad2(k->b, k->i64, kb_gep(k, k->i64, m->a_step, l.i), "");
        b_off = LLVMBuildLoad2(k->b, k->i64, kb_gep(k, k->i64, m->b_step, l.i), "");
    } else {
        a_off = l.carry[n];
        b_off = l.carry[n + 1];
        l.next[n] = kb_add(k, a_off, m->a_step);
        l.next[n + 1] = kb_add(k, b_off, m->b_step);
    }
    Val b = kb_gep(k, k->f32, m->b, b_off);
    for (int v = 0; v < vecs; v++)
        bv[v] = kb_load(k, k->vf, kb_gep(k, k->f32, b, kb_i64(k, (int64_t)v * k->vl)), NULL);
    for (int r = 0; r < rows; r++) {
        Val x = kb_splat(k, LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, a[r], a_off), ""));
        for (int v = 0; v < vecs; v++)
            l.next[r * vecs + v] = kb_call(k, "llvm.fma", k->vf, (Val[]){x, bv[v], l.carry[r * vecs + v]}, 3);
    }
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) kb_store(k, l.carry[i], c_at(k, m, i / vecs, i % vecs), NULL);
}

static LLVMTypeRef micro_type(Kb *k, bool gather) {
    LLVMTypeRef step = gather ? k->ptr : k->i64;
    LLVMTypeRef param[] = {k->ptr, step, k->ptr, step, k->i64, k->ptr, k->i64, k->i1};
    return LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, 8, 0);
}

static Val micro_function(Kb *k, Tile tile, bool gather) {
    const char *name = arena_printf(k->arena, "%s_%dx%d", gather ? "mg" : "mk", tile.rows, tile.vectors);
    Val fn = LLVMGetNamedFunction(k->mod, name);
    if (fn) return fn;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(k->b);
    Val outer = k->fn;
    fn = k->fn = LLVMAddFunction(k->mod, name, micro_type(k, gather));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(k->b, LLVMAppendBasicBlockInContext(k->ctx, fn, "entry"));
    Val p[8];
    LLVMGetParams(fn, p);
    Micro m = {tile, gather, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]};
    micro_body(k, &m);
    LLVMBuildRetVoid(k->b);
    k->fn = outer;
    LLVMPositionBuilderAtEnd(k->b, here);
    return fn;
}

void kb_micro(Kb *k, Tile tile, Val row_ptr, Val a_step, Val b, Val b_step, Val count, Val c, Val ldc,
              Val acc) {
    Val arg[] = {row_ptr, a_step, b, b_step, count, c, ldc, acc};
    LLVMBuildCall2(k->b, micro_type(k, false), micro_function(k, tile, false), arg, 8, "");
}

void kb_micro_gather(Kb *k, Tile tile, Val row_ptr, Val a_off, Val b, Val b_off, Val count, Val c, Val ldc,
                     Val acc) {
    Val arg[] = {row_ptr, a_off, b, b_off, count, c, ldc, acc};
    LLVMBuildCall2(k->b, micro_type(k, true), micro_function(k, tile, true), arg, 8, "");
}
