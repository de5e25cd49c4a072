/* Elementwise ops: one SIMD value from one SIMD value per operand. Comparisons give 1 or 0 in f32.
 */
#include "codegen/kernels/rules.h"

#define EMIT(name) Val cg_emit_##name(Kb *k, const IrNode *n, Val *in, Pos pos)
#define UNUSED_N (void)n
#define UNUSED_POS (void)pos
#define UNUSED UNUSED_N, UNUSED_POS

static bool is_float(const IrNode *n) {
    return n->in[0]->type.dtype == DT_f32;
}

/* 1 where c holds, else 0. */
static Val truth(Kb *k, Val c) {
    return LLVMBuildSelect(k->b, c, kb_vf(k, 1), kb_vf(k, 0), "");
}

EMIT(copy) {
    UNUSED;
    (void)k;
    return in[0];
}

EMIT(assign) { /* its store goes to the leaf */
    UNUSED;
    (void)k;
    return in[1];
}

EMIT(narrow) { /* stores round */
    UNUSED;
    (void)k;
    return in[0];
}

EMIT(neg) {
    UNUSED_POS;
    return is_float(n) ? LLVMBuildFNeg(k->b, in[0], "") : LLVMBuildNeg(k->b, in[0], "");
}

EMIT(abs) {
    UNUSED;
    return kb_call(k, "llvm.fabs", k->vf, in, 1);
}

EMIT(exp) {
    UNUSED;
    return kb_exp(k, in[0]);
}

EMIT(log) {
    UNUSED;
    return kb_log(k, in[0]);
}

EMIT(log1p) {
    UNUSED;
    return kb_log1p(k, in[0]);
}

EMIT(sqrt) {
    UNUSED;
    return kb_call(k, "llvm.sqrt", k->vf, in, 1);
}

EMIT(rsqrt) {
    UNUSED;
    return kb_rsqrt(k, in[0]);
}

EMIT(tanh) {
    UNUSED;
    return kb_tanh(k, in[0]);
}

EMIT(erf) {
    UNUSED;
    return kb_erf(k, in[0]);
}

EMIT(erfinv) {
    UNUSED;
    return kb_erfinv(k, in[0]);
}

EMIT(sigmoid) {
    UNUSED;
    return kb_sigmoid(k, in[0]);
}

EMIT(relu) {
    UNUSED;
    Val negative = LLVMBuildFCmp(k->b, LLVMRealOLT, in[0], kb_vf(k, 0), ""); /* NaN stays NaN */
    return LLVMBuildSelect(k->b, negative, kb_vf(k, 0), in[0], "");
}

EMIT(gelu) {
    UNUSED;
    Val gauss;
    return kb_fmul(k, in[0], kb_normal_cdf(k, in[0], &gauss));
}

EMIT(gelu_grad) {
    UNUSED;
    Val gauss, cdf = kb_normal_cdf(k, in[0], &gauss);
    Val pdf = kb_fmul(k, gauss, kb_vf(k, 0.39894228040143268));
    return kb_fadd(k, cdf, kb_fmul(k, in[0], pdf));
}

EMIT(gelu_tanh) {
    UNUSED;
    Val slope;
    return kb_fmul(k, in[0], kb_gelu_sigmoid(k, in[0], &slope));
}

EMIT(gelu_tanh_grad) {
    UNUSED;
    Val slope, s = kb_gelu_sigmoid(k, in[0], &slope);
    return kb_fadd(k, s, kb_fmul(k, in[0], slope));
}

EMIT(add) {
    UNUSED_POS;
    return is_float(n) ? LLVMBuildFAdd(k->b, in[0], in[1], "")
                       : LLVMBuildAdd(k->b, in[0], in[1], "");
}

EMIT(sub) {
    UNUSED_POS;
    return is_float(n) ? LLVMBuildFSub(k->b, in[0], in[1], "")
                       : LLVMBuildSub(k->b, in[0], in[1], "");
}

EMIT(mul) {
    UNUSED_POS;
    return is_float(n) ? LLVMBuildFMul(k->b, in[0], in[1], "")
                       : LLVMBuildMul(k->b, in[0], in[1], "");
}

EMIT(div) {
    UNUSED;
    return LLVMBuildFDiv(k->b, in[0], in[1], "");
}

EMIT(maximum) {
    UNUSED_POS;
    if (is_float(n)) return kb_fmax(k, in[0], in[1]);
    Val less = LLVMBuildICmp(k->b, LLVMIntSLT, in[0], in[1], "");
    return LLVMBuildSelect(k->b, less, in[1], in[0], "");
}

EMIT(minimum) {
    UNUSED_POS;
    if (!is_float(n)) {
        Val more = LLVMBuildICmp(k->b, LLVMIntSGT, in[0], in[1], "");
        return LLVMBuildSelect(k->b, more, in[1], in[0], "");
    }
    Val less = LLVMBuildFCmp(k->b, LLVMRealOLT, in[1], in[0], "");
    Val bad = LLVMBuildFCmp(k->b, LLVMRealUNO, in[1], in[1], "");
    return LLVMBuildSelect(k->b, LLVMBuildOr(k->b, less, bad, ""), in[1], in[0], "");
}

EMIT(less) {
    UNUSED_POS;
    return truth(k, is_float(n) ? LLVMBuildFCmp(k->b, LLVMRealOLT, in[0], in[1], "")
                                : LLVMBuildICmp(k->b, LLVMIntSLT, in[0], in[1], ""));
}

EMIT(equal) {
    UNUSED_POS;
    return truth(k, is_float(n) ? LLVMBuildFCmp(k->b, LLVMRealOEQ, in[0], in[1], "")
                                : LLVMBuildICmp(k->b, LLVMIntEQ, in[0], in[1], ""));
}

EMIT(select) {
    UNUSED;
    Val c = LLVMBuildFCmp(k->b, LLVMRealUNE, in[0], kb_vf(k, 0), "");
    return LLVMBuildSelect(k->b, c, in[1], in[2], "");
}

EMIT(cast) {
    UNUSED;
    return LLVMBuildSIToFP(k->b, in[0], k->vf, "");
}

/* A gather from the list, which lies among the kernel's constants. Indices outside read an end of
 * it. */
EMIT(lookup) {
    UNUSED_POS;
    const int64_t *value;
    int count = ir_ints(n, ATTR_lookup_values, &value);
    Val *entry = ARENA_ARRAY(k->arena, Val, count);
    for (int i = 0; i < count; i++) entry[i] = kb_i32(k, (int32_t)value[i]);
    Val list = LLVMAddGlobal(k->mod, LLVMArrayType2(k->i32, (uint64_t)count), "list");
    LLVMSetInitializer(list, LLVMConstArray2(k->i32, entry, (uint64_t)count));
    LLVMSetLinkage(list, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(list, true);
    Val last = kb_vi(k, count - 1), beyond = LLVMBuildICmp(k->b, LLVMIntUGT, in[0], last, "");
    Val index = LLVMBuildSelect(k->b, beyond, last, in[0], "");
    return kb_load_indexed(k, k->vi, k->i32, list, index, NULL);
}

/* Lane numbers starting at i64 `from`. */
static Val count_from(Kb *k, Val from) {
    return LLVMBuildAdd(k->b, kb_splat(k, LLVMBuildTrunc(k->b, from, k->i32, "")), kb_lanes(k), "");
}

EMIT(iota) {
    UNUSED_N;
    (void)in;
    return count_from(k, pos.col);
}

EMIT(uniform) {
    (void)in;
    Val key = kb_ptr(k, n->in[0]), one = kb_i64(k, 1);
    Val key0 = LLVMBuildLoad2(k->b, k->i32, key, "");
    Val key1 = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, key, one), "");
    Val element = kb_add(k, kb_mul(k, pos.row, kb_i64(k, ir_cols(&n->out[0].type))), pos.col);
    return kb_uniform(k, key0, key1, count_from(k, element));
}

/* Rows picked by an index: from what the index says to the row of operand 0, for one or many. */

Val cg_gather_row_dispatch(Kb *k, const IrNode *node, Val index) {
    int64_t chosen = ir_int(node, ATTR_dispatch_k);
    if (chosen == 1) return index;
    bool vector = LLVMGetTypeKind(LLVMTypeOf(index)) == LLVMVectorTypeKind;
    return LLVMBuildUDiv(k->b, index, vector ? kb_vi(k, (int32_t)chosen) : kb_i64(k, chosen), "");
}

Val cg_gather_row_expert_expand(Kb *k, const IrNode *node, Val index) {
    int64_t last =
        node->in[0]->type.dim[0] - 1; /* rows that are nobody's have the number of experts */
    bool vector = LLVMGetTypeKind(LLVMTypeOf(index)) == LLVMVectorTypeKind;
    Val most = vector ? kb_vi(k, (int32_t)last) : kb_i64(k, last);
    return LLVMBuildSelect(k->b, LLVMBuildICmp(k->b, LLVMIntSLT, index, most, ""), index, most, "");
}
