/* Kernel functions, constants, loops, items and scratch: the lowest layer of the kernel
 * builder. Knows nothing of ops. */
#include <string.h>

#include "codegen/build/emit.h"

void kb_set_lanes(Kb *k, int lanes) {
    k->vl = lanes;
    k->vf = LLVMVectorType(k->f32, (unsigned)lanes);
    k->vi = LLVMVectorType(k->i32, (unsigned)lanes);
    k->vm = LLVMVectorType(k->i1, (unsigned)lanes);
}

Val kb_i64(Kb *k, int64_t v) {
    return LLVMConstInt(k->i64, (unsigned long long)v, 1);
}
Val kb_i32(Kb *k, int32_t v) {
    return LLVMConstInt(k->i32, (unsigned long long)(int64_t)v, 1);
}
Val kb_f32(Kb *k, double v) {
    return LLVMConstReal(k->f32, v);
}

static Val const_splat(Kb *k, Val scalar) {
    Val lane[64];
    for (int i = 0; i < k->vl; i++) lane[i] = scalar;
    return LLVMConstVector(lane, (unsigned)k->vl);
}

Val kb_vf(Kb *k, double v) {
    return const_splat(k, kb_f32(k, v));
}
Val kb_vi(Kb *k, int32_t v) {
    return const_splat(k, kb_i32(k, v));
}

Val kb_splat(Kb *k, Val scalar) {
    LLVMTypeRef t = LLVMTypeOf(scalar);
    LLVMTypeRef vt = LLVMVectorType(t, (unsigned)k->vl);
    Val one = LLVMBuildInsertElement(k->b, LLVMGetPoison(vt), scalar, kb_i32(k, 0), "");
    return LLVMBuildShuffleVector(k->b, one, LLVMGetPoison(vt), LLVMConstNull(k->vi), "");
}

Val kb_lanes(Kb *k) {
    Val lane[64];
    for (int i = 0; i < k->vl; i++) lane[i] = kb_i32(k, i);
    return LLVMConstVector(lane, (unsigned)k->vl);
}

Val kb_mask_below(Kb *k, Val count) {
    if (LLVMIsConstant(count)) {
        Val lane[64];
        long long n = LLVMConstIntGetSExtValue(count);
        for (int i = 0; i < k->vl; i++) lane[i] = LLVMConstInt(k->i1, i < n, 0);
        return LLVMConstVector(lane, (unsigned)k->vl);
    }
    Val n = kb_splat(k, LLVMBuildTrunc(k->b, count, k->i32, ""));
    return LLVMBuildICmp(k->b, LLVMIntSLT, kb_lanes(k), n, "mask");
}

/* Val kb_NAME(k, a, b): one instruction. */
#define BINARY(name, build)                                                                        \
    Val kb_##name(Kb *k, Val a, Val b) {                                                           \
        return build(k->b, a, b, "");                                                              \
    }
BINARY(add, LLVMBuildNSWAdd)
BINARY(sub, LLVMBuildNSWSub)
BINARY(mul, LLVMBuildNSWMul)
BINARY(fadd, LLVMBuildFAdd)
BINARY(fsub, LLVMBuildFSub)
BINARY(fmul, LLVMBuildFMul)
BINARY(fdiv, LLVMBuildFDiv)
#undef BINARY

Val kb_udiv(Kb *k, Val a, int64_t b) {
    return b == 1 ? a : LLVMBuildUDiv(k->b, a, kb_i64(k, b), "");
}
Val kb_urem(Kb *k, Val a, int64_t b) {
    return b == 1 ? kb_i64(k, 0) : LLVMBuildURem(k->b, a, kb_i64(k, b), "");
}

Val kb_min(Kb *k, Val a, Val b) {
    return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSLT, a, b, ""), a, b, "");
}

Val kb_max(Kb *k, Val a, Val b) {
    return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSGT, a, b, ""), a, b, "");
}

Val kb_gep(Kb *k, LLVMTypeRef elem, Val base, Val index) {
    return LLVMBuildInBoundsGEP2(k->b, elem, base, &index, 1, "");
}

Val kb_call(Kb *k, const char *intrinsic, LLVMTypeRef overload, Val *args, int n) {
    unsigned id = LLVMLookupIntrinsicID(intrinsic, strlen(intrinsic));
    VM_CHECK(id != 0, "codegen: no intrinsic %s", intrinsic);
    size_t count = overload ? 1 : 0;
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, &overload, count);
    return LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, &overload, count), fn, args,
                          (unsigned)n, "");
}

Val kb_fma(Kb *k, Val a, Val b, Val c) {
    if (!(k->target->has & CG_FUSED)) return kb_fadd(k, kb_fmul(k, a, b), c);
    return kb_call(k, "llvm.fma", k->vf, (Val[]){a, b, c}, 3);
}

/* Code without tables for unwinding: nothing in it throws. */
static Val add_function(Kb *k, const char *name, LLVMTypeRef type) {
    Val fn = LLVMAddFunction(k->mod, name, type);
    unsigned kind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(k->ctx, kind, 0));
    return fn;
}

void kb_begin(Kb *k, const char *name) {
    LLVMTypeRef param[] = {k->ptr, k->i64, k->i64, k->ptr};
    k->fn = add_function(k, name, LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, 4, 0));
    k->args = LLVMGetParam(k->fn, 0);
    k->begin = LLVMGetParam(k->fn, 1);
    k->end = LLVMGetParam(k->fn, 2);
    k->items = 0;
    k->scratch = LLVMGetParam(k->fn, 3);
    k->scratch_bytes = 0;
    k->nmemo = k->nsource = 0;
    k->flat = false;
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "entry");
    LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "body");
    LLVMPositionBuilderAtEnd(k->b, entry);
    k->arg_ptr = ARENA_ARRAY(k->arena, Val, k->cl->narg + 1);
    for (int i = 0; i < k->cl->narg; i++)
        k->arg_ptr[i] =
            LLVMBuildLoad2(k->b, k->ptr, kb_gep(k, k->ptr, k->args, kb_i64(k, i)), "arg");
    LLVMPositionBuilderAtEnd(k->b, body);
}

void kb_end(Kb *k) {
    LLVMBuildRetVoid(k->b);
    LLVMBasicBlockRef entry = LLVMGetEntryBasicBlock(k->fn);
    LLVMPositionBuilderAtEnd(k->b, entry);
    LLVMBuildBr(k->b, LLVMGetNextBasicBlock(entry));
}

static void helper_body(Kb *k, Val fn, HelperBody body, const void *ctx) {
    LLVMBasicBlockRef here = LLVMGetInsertBlock(k->b);
    Val outer = k->fn;
    k->fn = fn;
    LLVMPositionBuilderAtEnd(k->b, LLVMAppendBasicBlockInContext(k->ctx, fn, "entry"));
    body(k, ctx);
    k->fn = outer;
    LLVMPositionBuilderAtEnd(k->b, here);
}

Val kb_helper(Kb *k, const char *name, LLVMTypeRef type, HelperBody body, const void *ctx) {
    Val fn = LLVMGetNamedFunction(k->mod, name);
    if (fn) return fn;
    fn = add_function(k, name, type);
    if (!k->unit) {
        LLVMSetLinkage(fn, LLVMInternalLinkage);
        helper_body(k, fn, body, ctx);
        return fn;
    }
    LLVMSetVisibility(fn, LLVMHiddenVisibility); /* called directly, not through a table */
    LLVMModuleRef own = k->helper_module(k->unit, name), outer = k->mod;
    if (own) {
        k->mod = own;
        helper_body(k, add_function(k, name, type), body, ctx);
        k->mod = outer;
    }
    return fn;
}

void kb_loop(Kb *k, Loop *l, Val from, Val to, int64_t step, const Val *init, int ncarry) {
    VM_CHECK(ncarry <= MAX_CARRY, "codegen: %d values carried around a loop", ncarry);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(k->b);
    l->head = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "loop");
    l->body = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "loop.body");
    l->exit = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "loop.exit");
    l->to = to;
    l->step = kb_i64(k, step);
    l->ncarry = ncarry;
    LLVMBuildBr(k->b, l->head);
    LLVMPositionBuilderAtEnd(k->b, l->head);
    l->i = LLVMBuildPhi(k->b, k->i64, "i");
    LLVMAddIncoming(l->i, &from, &before, 1);
    for (int c = 0; c < ncarry; c++) {
        l->carry[c] = LLVMBuildPhi(k->b, LLVMTypeOf(init[c]), "carry");
        LLVMAddIncoming(l->carry[c], (Val *)&init[c], &before, 1);
        l->next[c] = NULL;
    }
    LLVMBuildCondBr(k->b, LLVMBuildICmp(k->b, LLVMIntSLT, l->i, to, ""), l->body, l->exit);
    LLVMPositionBuilderAtEnd(k->b, l->body);
}

void kb_loop_end(Kb *k, Loop *l) {
    Val next = kb_add(k, l->i, l->step);
    LLVMBasicBlockRef from = LLVMGetInsertBlock(k->b);
    LLVMBuildBr(k->b, l->head);
    LLVMAddIncoming(l->i, &next, &from, 1);
    for (int c = 0; c < l->ncarry; c++) {
        Val v = l->next[c] ? l->next[c] : l->carry[c];
        LLVMAddIncoming(l->carry[c], &v, &from, 1);
    }
    LLVMPositionBuilderAtEnd(k->b, l->exit);
}

void kb_each(Kb *k, int64_t end, int64_t step, EachBody body, void *ctx) {
    enum { WRITTEN_OUT = 64, TOGETHER = 16 };
    int64_t count = end > 0 ? (end + step - 1) / step : 0, done = 0;
    if (count > WRITTEN_OUT) {
        Loop l;
        done = count / TOGETHER * TOGETHER;
        kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, done * step), TOGETHER * step, NULL, 0);
        for (int i = 0; i < TOGETHER; i++) body(k, kb_add(k, l.i, kb_i64(k, i * step)), ctx);
        kb_loop_end(k, &l);
    }
    for (; done < count; done++) body(k, kb_i64(k, done * step), ctx);
}

void kb_if(Kb *k, If *f, Val cond) {
    f->then = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "then");
    f->end = LLVMAppendBasicBlockInContext(k->ctx, k->fn, "endif");
    LLVMBuildCondBr(k->b, cond, f->then, f->end);
    LLVMPositionBuilderAtEnd(k->b, f->then);
}

void kb_if_end(Kb *k, If *f) {
    LLVMBuildBr(k->b, f->end);
    LLVMPositionBuilderAtEnd(k->b, f->end);
}

/* v clamped to [low, high], counted from low. */
static Val clamp(Kb *k, Val v, int64_t low, int64_t high) {
    Val inside = kb_min(k, kb_max(k, v, kb_i64(k, low)), kb_i64(k, high));
    return kb_sub(k, inside, kb_i64(k, low));
}

void kb_share(Kb *k, int64_t items, Val *begin, Val *end) {
    *begin = clamp(k, k->begin, k->items, k->items + items);
    *end = clamp(k, k->end, k->items, k->items + items);
    k->items += items;
}

void kb_single(Kb *k, If *f) {
    Val begin, end;
    kb_share(k, 1, &begin, &end);
    kb_if(k, f, LLVMBuildICmp(k->b, LLVMIntSLT, begin, end, ""));
}

Val kb_scratch(Kb *k, int64_t bytes) {
    Val at = kb_gep(k, LLVMInt8TypeInContext(k->ctx), k->scratch, kb_i64(k, k->scratch_bytes));
    k->scratch_bytes += (bytes + 63) / 64 * 64;
    return at;
}
