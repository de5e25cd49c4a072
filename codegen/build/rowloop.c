/* Walking rows and columns: how every kernel that is not a matrix product covers its positions. */
#include "codegen/build/emit.h"

void kb_cols(Kb *k, Val row, int64_t cols, Val *carry, int ncarry, ColsBody body, void *ctx) {
    int64_t whole = cols / k->vl * k->vl;
    if (whole > k->vl) {
        Loop l;
        kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, whole), k->vl, carry, ncarry);
        for (int i = 0; i < ncarry; i++) carry[i] = l.carry[i];
        kb_new_pos(k);
        body(k, (Pos){row, l.i, NULL}, carry, ctx);
        for (int i = 0; i < ncarry; i++) l.next[i] = carry[i];
        kb_loop_end(k, &l);
        for (int i = 0; i < ncarry; i++) carry[i] = l.carry[i];
    } else if (whole == k->vl) {
        kb_new_pos(k);
        body(k, (Pos){row, kb_i64(k, 0), NULL}, carry, ctx);
    }
    if (cols > whole) {
        kb_new_pos(k);
        Val mask = kb_mask_below(k, kb_i64(k, cols - whole));
        body(k, (Pos){row, kb_i64(k, whole), mask}, carry, ctx);
    }
    kb_new_pos(k);
}

enum { GRAIN = 4096 }; /* elements per item: long enough to pay for its bookkeeping */

void kb_flat(Kb *k, int64_t n, ColsBody body, void *ctx) {
    int64_t whole = n / k->vl * k->vl;
    Val begin, end;
    kb_share(k, (whole + GRAIN - 1) / GRAIN, &begin, &end);
    Val first = kb_mul(k, begin, kb_i64(k, GRAIN));
    Val last = kb_min(k, kb_mul(k, end, kb_i64(k, GRAIN)), kb_i64(k, whole));
    Loop l;
    kb_loop(k, &l, first, last, k->vl, NULL, 0);
    kb_new_pos(k);
    body(k, (Pos){kb_i64(k, 0), l.i, NULL}, NULL, ctx);
    kb_loop_end(k, &l);
    if (whole == n) return;
    If only;
    kb_single(k, &only);
    kb_new_pos(k);
    body(k, (Pos){kb_i64(k, 0), kb_i64(k, whole), kb_mask_below(k, kb_i64(k, n - whole))}, NULL,
         ctx);
    kb_if_end(k, &only);
}

void kb_rows(Kb *k, int64_t rows, int64_t cols, RowBody body, void *ctx) {
    if (k->cl->anchor != plan_row_kernel(k->cl)) {
        k->rules->rows_of_product(k, body, ctx);
        return;
    }
    int64_t per_item = cols >= GRAIN ? 1 : GRAIN / cols;
    int64_t items = (rows + per_item - 1) / per_item;
    Val begin, end;
    kb_share(k, items, &begin, &end);
    Val first = kb_mul(k, begin, kb_i64(k, per_item));
    Val last = kb_min(k, kb_mul(k, end, kb_i64(k, per_item)), kb_i64(k, rows));
    Loop l;
    kb_loop(k, &l, first, last, 1, NULL, 0);
    kb_new_pos(k);
    body(k, l.i, ctx);
    kb_loop_end(k, &l);
}

Val kb_keep(Kb *k, Val v, Pos pos, Val neutral) {
    return pos.mask ? LLVMBuildSelect(k->b, pos.mask, v, neutral, "") : v;
}

Val kb_fmax(Kb *k, Val a, Val b) {
    Val more = LLVMBuildFCmp(k->b, LLVMRealOGT, b, a, "");
    Val other = LLVMBuildFCmp(k->b, LLVMRealUNO, b, b, "");
    return LLVMBuildSelect(k->b, LLVMBuildOr(k->b, more, other, ""), b, a, "");
}

/* Halves the vector until one lane is left: ((0+h) + ...) in the same order always. */
static Val horizontal(Kb *k, Val v, Val (*join)(Kb *k, Val lo, Val hi)) {
    int n = k->vl;
    while (n > 1) {
        n /= 2;
        Val idx_lo[32], idx_hi[32];
        for (int i = 0; i < n; i++) {
            idx_lo[i] = kb_i32(k, i);
            idx_hi[i] = kb_i32(k, i + n);
        }
        LLVMTypeRef t = LLVMTypeOf(v);
        Val lo = LLVMBuildShuffleVector(k->b, v, LLVMGetPoison(t),
                                        LLVMConstVector(idx_lo, (unsigned)n), "");
        Val hi = LLVMBuildShuffleVector(k->b, v, LLVMGetPoison(t),
                                        LLVMConstVector(idx_hi, (unsigned)n), "");
        v = join(k, lo, hi);
    }
    return LLVMBuildExtractElement(k->b, v, kb_i32(k, 0), "");
}

Val kb_hsum(Kb *k, Val v) {
    return horizontal(k, v, kb_fadd);
}
Val kb_hmax(Kb *k, Val v) {
    return horizontal(k, v, kb_fmax);
}

/* log2(vl) rounds: each exchanges the off-diagonal blocks of pairs of rows `half` apart. */
void kb_transpose(Kb *k, Val *row) {
    for (int half = 1; half < k->vl; half *= 2) {
        Val lo[64], hi[64]; /* lane lists: of a row whose bit is clear, and of its partner */
        for (int i = 0; i < k->vl; i++) {
            bool upper = i & half;
            lo[i] = kb_i32(k, upper ? k->vl + i - half : i);
            hi[i] = kb_i32(k, upper ? k->vl + i : i + half);
        }
        Val lo_mask = LLVMConstVector(lo, (unsigned)k->vl),
            hi_mask = LLVMConstVector(hi, (unsigned)k->vl);
        for (int i = 0; i < k->vl; i++) {
            if (i & half) continue;
            Val a = row[i], b = row[i + half];
            row[i] = LLVMBuildShuffleVector(k->b, a, b, lo_mask, "");
            row[i + half] = LLVMBuildShuffleVector(k->b, a, b, hi_mask, "");
        }
    }
}
