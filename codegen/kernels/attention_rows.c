/* Rows of heads: where they lie, copies of them in scratch, and transposing panels of queries.
 * Heads of packed tensors are short rows thousands of bytes apart, which collide in the cache and
 * are a page each; copied side by side they are met again and again at no such cost. */
#include "codegen/kernels/attention.h"

Mat attn_head(Kb *k, const Attn *a, IrValue *v) {
    View w;
    view_resolve(v, &w);
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, w.stride[0])),
                    kb_mul(k, a->h_index, kb_i64(k, a->d)));
    bool halves = v->type.dtype == DT_bf16;
    VM_CHECK(halves == a->bf16, "codegen: attention has operands of another precision");
    return (Mat){kb_gep(k, kb_elem(k, v->type.dtype), kb_view_ptr(k, &w), at), w.stride[1], halves};
}

Mat attn_head_result(Kb *k, const Attn *a, int result) {
    const IrValue *v = &a->n->out[result];
    int64_t ld = plan_place_of(k->plan, v).ld;
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, v->type.dim[1] * ld)),
                    kb_mul(k, a->h_index, kb_i64(k, a->d)));
    return (Mat){kb_gep(k, k->f32, kb_ptr(k, v), at), ld, false};
}

Val attn_row(Kb *k, Mat m, Val row) {
    return kb_gep(k, kb_elem(k, m.halves ? DT_bf16 : DT_f32), m.ptr,
                  kb_mul(k, row, kb_i64(k, m.step)));
}

/* n words of a row from word `col` on: floats, or pairs typed f32. Halves need not begin at a whole
 * word. */
static Val words_at(Kb *k, Mat m, Val row, Val col, int64_t n) {
    if (!m.halves)
        return kb_load(k, k->vf, kb_gep(k, k->f32, row, col),
                       n < k->vl ? kb_mask_below(k, kb_i64(k, n)) : NULL);
    LLVMTypeRef half = LLVMInt16TypeInContext(k->ctx);
    Val inside[64], mask = NULL;
    for (int i = 0; i < 2 * k->vl; i++) inside[i] = LLVMConstInt(k->i1, i < 2 * n, false);
    if (n < k->vl) mask = LLVMConstVector(inside, (unsigned)(2 * k->vl));
    Val from = kb_gep(k, half, row, kb_mul(k, col, kb_i64(k, 2)));
    Val x = kb_load(k, LLVMVectorType(half, (unsigned)(2 * k->vl)), from, mask);
    return LLVMBuildBitCast(k->b, x, k->vf, "");
}

typedef struct RowCopy {
    Mat from;
    Val from_row, to_row;
} RowCopy;

/* Words [col, + n), at most a vector. */
static void copy_words(Kb *k, const RowCopy *c, Val col, int64_t n) {
    Val mask = n < k->vl ? kb_mask_below(k, kb_i64(k, n)) : NULL;
    kb_store(k, words_at(k, c->from, c->from_row, col, n), kb_gep(k, k->f32, c->to_row, col), mask);
}

static void copy_vector(Kb *k, Val col, void *ctx) {
    copy_words(k, ctx, col, k->vl);
}

void attn_copy(Kb *k, const Attn *a, Mat from, Mat to, int64_t rows) {
    Loop r;
    int64_t n = from.halves ? a->words : a->d, whole = n / k->vl * k->vl;
    kb_loop(k, &r, kb_i64(k, 0), kb_i64(k, rows), 1, NULL, 0);
    RowCopy c = {from, attn_row(k, from, r.i), attn_row(k, to, r.i)};
    kb_each(k, whole, k->vl, copy_vector, &c);
    if (whole < n) copy_words(k, &c, kb_i64(k, whole), n - whole);
    kb_loop_end(k, &r);
}

void attn_pair(Kb *k, const Attn *a, Mat from, Mat to, int64_t rows) {
    Loop r;
    Val zero = kb_i64(k, 0), d = kb_i64(k, a->d);
    kb_loop(k, &r, zero, kb_i64(k, rows / 2), 1, NULL, 0);
    Val even = kb_mul(k, r.i, kb_i64(k, 2)), odd = kb_add(k, even, kb_i64(k, 1));
    kb_pair_rows(k, attn_row(k, from, even), attn_row(k, from, odd), zero, d, attn_row(k, to, r.i));
    kb_loop_end(k, &r);
    if (rows % 2 == 0) return;
    Val last = attn_row(k, from, kb_i64(k, rows - 1));
    kb_pair_rows(k, last, NULL, zero, d, attn_row(k, to, kb_i64(k, rows / 2)));
}

static void clear_vector(Kb *k, Val col, void *ctx) {
    kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, *(Val *)ctx, col), NULL);
}

void attn_clear(Kb *k, const Attn *a, Mat to, int64_t rows) {
    Loop r;
    int64_t whole = a->d / k->vl * k->vl;
    kb_loop(k, &r, kb_i64(k, 0), kb_i64(k, rows), 1, NULL, 0);
    Val row = attn_row(k, to, r.i);
    kb_each(k, whole, k->vl, clear_vector, &row);
    if (whole < a->d) {
        Val rest = kb_mask_below(k, kb_i64(k, a->d - whole));
        kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, row, kb_i64(k, whole)), rest);
    }
    kb_loop_end(k, &r);
}

/* Columns c0.. (at most a vector, `n` of them) of vector v's queries. */
static void pack_square(Kb *k, const Attn *a, const Panel *p, int v, Mat m, Val c0, int64_t n,
                        double scale, Val to) {
    Val row[16];
    for (int i = 0; i < k->vl; i++) {
        Val q = kb_add(k, p->q0, kb_i64(k, (int64_t)v * k->vl + i));
        q = kb_min(k, q, kb_i64(k, a->nq - 1));
        row[i] = words_at(k, m, attn_row(k, m, q), c0, n);
    }
    kb_transpose(k, row);
    for (int c = 0; c < n; c++) {
        Val at = kb_mul(k, kb_add(k, c0, kb_i64(k, c)), kb_i64(k, (int64_t)p->vectors * k->vl));
        at = kb_add(k, at, kb_i64(k, (int64_t)v * k->vl));
        Val x = a->bf16 ? row[c] : kb_fmul(k, row[c], kb_vf(k, scale));
        kb_store(k, x, kb_gep(k, k->f32, to, at), NULL);
    }
}

void attn_pack(Kb *k, const Attn *a, const Panel *p, Mat m, double scale, Val to) {
    int64_t whole = a->words / k->vl * k->vl;
    for (int v = 0; v < p->vectors; v++) {
        Loop c;
        kb_loop(k, &c, kb_i64(k, 0), kb_i64(k, whole), k->vl, NULL, 0);
        pack_square(k, a, p, v, m, c.i, k->vl, scale, to);
        kb_loop_end(k, &c);
        if (whole < a->words)
            pack_square(k, a, p, v, m, kb_i64(k, whole), a->words - whole, scale, to);
    }
}

static void unpack_square(Kb *k, const Attn *a, const Panel *p, int v, Val from, Val c0, int64_t n,
                          Mat m) {
    Val row[16], mask = n < k->vl ? kb_mask_below(k, kb_i64(k, n)) : NULL;
    for (int c = 0; c < k->vl; c++) {
        Val at = kb_mul(k, kb_add(k, c0, kb_i64(k, c)), kb_i64(k, (int64_t)p->vectors * k->vl));
        at = kb_add(k, at, kb_i64(k, (int64_t)v * k->vl));
        row[c] = c < n ? kb_load(k, k->vf, kb_gep(k, k->f32, from, at), NULL) : kb_vf(k, 0);
    }
    kb_transpose(k, row);
    for (int i = 0; i < k->vl; i++) {
        Val q = kb_add(k, p->q0, kb_i64(k, (int64_t)v * k->vl + i));
        Val query = LLVMBuildICmp(k->b, LLVMIntSLT, q, kb_i64(k, a->nq), "");
        Val to = kb_gep(k, k->f32, attn_row(k, m, q), c0);
        kb_store(k, row[i], LLVMBuildSelect(k->b, query, to, a->spare, ""), mask);
    }
}

void attn_unpack(Kb *k, const Attn *a, const Panel *p, Val from, Mat m) {
    int64_t whole = a->d / k->vl * k->vl;
    for (int v = 0; v < p->vectors; v++) {
        Loop c;
        kb_loop(k, &c, kb_i64(k, 0), kb_i64(k, whole), k->vl, NULL, 0);
        unpack_square(k, a, p, v, from, c.i, k->vl, m);
        kb_loop_end(k, &c);
        if (whole < a->d) unpack_square(k, a, p, v, from, kb_i64(k, whole), a->d - whole, m);
    }
}

void attn_prefetch(Kb *k, const Attn *a, IrValue *v, Val panel) {
    View w;
    Loop r;
    view_resolve(v, &w);
    Val next = kb_add(k, a->item, kb_i64(k, 1)), rows = kb_i64(k, v->type.dim[1]);
    Val b = kb_udiv(k, next, a->heads), h = kb_urem(k, next, a->heads);
    Val at = kb_add(k, kb_mul(k, b, kb_i64(k, w.stride[0])), kb_mul(k, h, kb_i64(k, a->d)));
    Val first = kb_udiv(k, kb_mul(k, rows, panel), a->panels);
    Val end = kb_udiv(k, kb_mul(k, rows, kb_add(k, panel, kb_i64(k, 1))), a->panels);
    kb_loop(k, &r, first, end, 1, NULL, 0);
    Val row = kb_udiv(k, kb_add(k, at, kb_mul(k, r.i, kb_i64(k, w.stride[1]))), a->d / a->words);
    kb_prefetch_run(k, kb_view_ptr(k, &w), row, a->words);
    kb_loop_end(k, &r);
}
