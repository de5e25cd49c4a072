/* bfloat16: numbers that are the upper half of an f32. In registers they are f32 vectors; memory
 * and the dot product instruction have the short form. VDPBF16PS multiplies pairs: lane i of the
 * sum gets a[2i] b[2i] + a[2i+1] b[2i+1], so whoever feeds it lays two inner positions side by
 * side: a pair is one 32-bit word, the earlier position in its lower half.
 *
 * Requires a target with CG_BF16. Denormal operands and results count as zero, as the
 * instruction does.
 */
#include "codegen/build/emit.h"

LLVMTypeRef kb_elem(Kb *k, DType d) {
    return d == DT_f32 ? k->f32 : d == DT_i32 ? k->i32 : LLVMInt16TypeInContext(k->ctx);
}

static LLVMTypeRef halves(Kb *k, int n) {
    return LLVMVectorType(LLVMInt16TypeInContext(k->ctx), (unsigned)n);
}

static LLVMTypeRef bfloats(Kb *k, int n) {
    return LLVMVectorType(LLVMBFloatTypeInContext(k->ctx), (unsigned)n);
}

static void check(const Kb *k) {
    VM_CHECK(k->target->has & CG_BF16, "codegen: bf16 for a target without it");
}

/* The upper halves of f32 words. */
Val kb_widen(Kb *k, Val half) {
    Val word = LLVMBuildZExt(k->b, half, k->vi, "");
    return LLVMBuildBitCast(k->b, LLVMBuildShl(k->b, word, kb_vi(k, 16), ""), k->vf, "");
}

static Val round_vector(Kb *k, Val x) {
    check(k);
    return LLVMBuildBitCast(k->b, kb_call(k, "llvm.x86.avx512bf16.cvtneps2bf16.512", NULL, &x, 1),
                            halves(k, k->vl), "");
}

Val kb_load_bf16(Kb *k, Val ptr, Val mask) {
    return kb_widen(k, kb_load(k, halves(k, k->vl), ptr, mask));
}

void kb_store_bf16(Kb *k, Val x, Val ptr, Val mask) {
    kb_store(k, round_vector(k, x), ptr, mask);
}

static Val interleave(Kb *k, Val both) {
    Val lane[64];
    for (int i = 0; i < k->vl; i++) {
        lane[2 * i] = kb_i32(k, i);
        lane[2 * i + 1] = kb_i32(k, k->vl + i);
    }
    Val order = LLVMConstVector(lane, (unsigned)(2 * k->vl));
    return LLVMBuildShuffleVector(k->b, both, LLVMGetPoison(LLVMTypeOf(both)), order, "");
}

Val kb_round_two(Kb *k, Val lo, Val hi) {
    check(k);
    Val arg[] = {hi, lo};
    Val both = kb_call(k, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", NULL, arg, 2);
    return LLVMBuildBitCast(k->b, both, halves(k, 2 * k->vl), "");
}

Val kb_pair(Kb *k, Val even, Val odd) {
    return LLVMBuildBitCast(k->b, interleave(k, kb_round_two(k, even, odd)), k->vi, "");
}

Val kb_round_row(Kb *k, Val x) {
    Val lane[64];
    for (int i = 0; i < 2 * k->vl; i++) lane[i] = kb_i32(k, i);
    Val half = round_vector(k, x);
    Val order = LLVMConstVector(lane, (unsigned)(2 * k->vl));
    Val wide = LLVMBuildShuffleVector(k->b, half, LLVMConstNull(LLVMTypeOf(half)), order, "");
    return LLVMBuildBitCast(k->b, wide, k->vf, "");
}

Val kb_dot(Kb *k, Val sum, Val a, Val b) {
    check(k);
    LLVMTypeRef type = bfloats(k, 2 * k->vl);
    Val arg[] = {sum, LLVMBuildBitCast(k->b, a, type, ""), LLVMBuildBitCast(k->b, b, type, "")};
    return kb_call(k, "llvm.x86.avx512bf16.dpbf16ps.512", NULL, arg, 3);
}

/* ---- pairs of rows ---- */

/* Columns [col, + 2 vl) of two rows as 2 vl words. */
static void pair_wide(Kb *k, Val even, Val odd, Val col, Val to) {
    LLVMTypeRef half = LLVMInt16TypeInContext(k->ctx), type = halves(k, 2 * k->vl);
    Val x = kb_load(k, type, kb_gep(k, half, even, col), NULL), y = LLVMConstNull(type);
    if (odd) y = kb_load(k, type, kb_gep(k, half, odd, col), NULL);
    for (int part = 0; part < 2; part++) {
        Val lane[64];
        for (int i = 0; i < k->vl; i++) {
            lane[2 * i] = kb_i32(k, part * k->vl + i);
            lane[2 * i + 1] = kb_i32(k, (2 + part) * k->vl + i);
        }
        Val v =
            LLVMBuildShuffleVector(k->b, x, y, LLVMConstVector(lane, (unsigned)(2 * k->vl)), "");
        kb_store(k, v, kb_gep(k, k->i32, to, kb_i64(k, (int64_t)part * k->vl)), NULL);
    }
}

/* Columns [col, end), at most vl of them, as vl words. */
static void pair_rest(Kb *k, Val even, Val odd, Val col, Val end, Val to) {
    LLVMTypeRef half = LLVMInt16TypeInContext(k->ctx), type = halves(k, k->vl);
    Val mask = kb_mask_below(k, kb_sub(k, end, col));
    Val x = LLVMBuildZExt(k->b, kb_load(k, type, kb_gep(k, half, even, col), mask), k->vi, "");
    if (odd) {
        Val y = kb_load(k, type, kb_gep(k, half, odd, col), mask);
        y = LLVMBuildShl(k->b, LLVMBuildZExt(k->b, y, k->vi, ""), kb_vi(k, 16), "");
        x = LLVMBuildOr(k->b, x, y, "");
    }
    kb_store(k, x, to, NULL);
}

void kb_pair_rows(Kb *k, Val even, Val odd, Val col0, Val end, Val to) {
    int64_t wide = 2 * k->vl;
    Val whole = kb_sub(k, end, kb_i64(k, wide - 1));
    Loop c, r;
    kb_loop(k, &c, col0, whole, wide, NULL, 0);
    pair_wide(k, even, odd, c.i, kb_gep(k, k->i32, to, kb_sub(k, c.i, col0)));
    kb_loop_end(k, &c);
    kb_loop(k, &r, c.i, end, k->vl, NULL, 0);
    pair_rest(k, even, odd, r.i, end, kb_gep(k, k->i32, to, kb_sub(k, r.i, col0)));
    kb_loop_end(k, &r);
}
