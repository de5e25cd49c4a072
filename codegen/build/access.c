/* Vectors and scalars from and to raw memory, and requests for cache lines. */
#include "codegen/build/emit.h"

/* Of one element: vectors may begin at any. */
static unsigned alignment(LLVMTypeRef vec) {
    LLVMTypeRef elem = LLVMGetElementType(vec);
    bool half = LLVMGetTypeKind(elem) == LLVMIntegerTypeKind && LLVMGetIntTypeWidth(elem) == 16;
    return half ? 2 : 4;
}

Val kb_load_i32(Kb *k, Val ptr, Val i) {
    Val v = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, ptr, i), "");
    return LLVMBuildSExt(k->b, v, k->i64, "");
}

void kb_store_i32(Kb *k, Val v, Val ptr, Val i) {
    LLVMBuildStore(k->b, LLVMBuildTrunc(k->b, v, k->i32, ""), kb_gep(k, k->i32, ptr, i));
}

Val kb_load(Kb *k, LLVMTypeRef vec, Val ptr, Val mask) {
    if (!mask) {
        Val v = LLVMBuildLoad2(k->b, vec, ptr, "");
        LLVMSetAlignment(v, alignment(vec));
        return v;
    }
    LLVMTypeRef over[2] = {vec, k->ptr};
    unsigned id = LLVMLookupIntrinsicID("llvm.masked.load", 16);
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, over, 2);
    Val arg[] = {ptr, kb_i32(k, (int32_t)alignment(vec)), mask, LLVMConstNull(vec)};
    return LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, over, 2), fn, arg, 4, "");
}

void kb_store(Kb *k, Val v, Val ptr, Val mask) {
    if (!mask) {
        LLVMSetAlignment(LLVMBuildStore(k->b, v, ptr), alignment(LLVMTypeOf(v)));
        return;
    }
    LLVMTypeRef over[2] = {LLVMTypeOf(v), k->ptr};
    unsigned id = LLVMLookupIntrinsicID("llvm.masked.store", 17);
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, over, 2);
    Val arg[] = {v, ptr, kb_i32(k, (int32_t)alignment(over[0])), mask};
    LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, over, 2), fn, arg, 4, "");
}

Val kb_load_indexed(Kb *k, LLVMTypeRef vec, LLVMTypeRef elem, Val ptr, Val index, Val mask) {
    Val ptrs = LLVMBuildGEP2(k->b, elem, ptr, &index, 1, "");
    LLVMTypeRef over[2] = {vec, LLVMTypeOf(ptrs)};
    unsigned id = LLVMLookupIntrinsicID("llvm.masked.gather", 18);
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, over, 2);
    Val all = mask ? mask : LLVMConstAllOnes(k->vm);
    Val arg[] = {ptrs, kb_i32(k, 4), all, LLVMConstNull(vec)};
    return LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, over, 2), fn, arg, 4, "");
}

Val kb_load_strided(Kb *k, LLVMTypeRef vec, LLVMTypeRef elem, Val ptr, int64_t stride, Val mask) {
    Val index = LLVMBuildMul(k->b, kb_lanes(k), kb_vi(k, (int32_t)stride), "");
    return kb_load_indexed(k, vec, elem, ptr, index, mask);
}

static void prefetch(Kb *k, Val ptr, Val at, int32_t locality) {
    LLVMTypeRef over = k->ptr;
    unsigned id = LLVMLookupIntrinsicID("llvm.prefetch", 13);
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, &over, 1);
    Val to = LLVMBuildGEP2(k->b, k->f32, ptr, &at, 1, "");
    Val arg[] = {to, kb_i32(k, 0), kb_i32(k, locality), kb_i32(k, 1)}; /* read, .., data */
    LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, &over, 1), fn, arg, 4, "");
}

void kb_prefetch(Kb *k, Val ptr, Val at) {
    prefetch(k, ptr, at, 3);
}

void kb_prefetch_l2(Kb *k, Val ptr, Val at) {
    prefetch(k, ptr, at, 2);
}

typedef struct Run {
    Val ptr, at;
    int32_t locality;
} Run;

static void prefetch_line(Kb *k, Val at, void *ctx) {
    const Run *r = ctx;
    prefetch(k, r->ptr, kb_add(k, r->at, at), r->locality);
}

enum { LINE = 16 /* floats of a cache line */ };

void kb_prefetch_run(Kb *k, Val ptr, Val at, int64_t floats) {
    kb_each(k, floats, LINE, prefetch_line, &(Run){ptr, at, 3});
}

void kb_prefetch_run_l2(Kb *k, Val ptr, Val at, int64_t floats) {
    kb_each(k, floats, LINE, prefetch_line, &(Run){ptr, at, 2});
}
