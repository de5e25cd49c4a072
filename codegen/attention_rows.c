/* Rows of heads: where they lie, copies of them in scratch, and transposing panels of queries. Heads of
 * packed tensors are short rows thousands of bytes apart, which collide in the cache and are a page each;
 * copied side by side they are met again and again at no such cost. */
#include "codegen/attention.h"

Mat attn_head(Kb *k, const Attn *a, IrValue *v) {
    View w;
    view_resolve(v, &w);
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, w.stride[0])), kb_mul(k, a->h_index, kb_i64(k, a->d)));
    return (Mat){kb_gep(k, k->f32, kb_view_ptr(k, &w), at), w.stride[1]};
}

Mat attn_head_result(Kb *k, const Attn *a, int result) {
    const IrValue *v = &a->n->out[result];
    int64_t ld = plan_place_of(k->plan, v).ld;
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, v->type.dim[1] * ld)),
                    kb_mul(k, a->h_index, kb_i64(k, a->d)));
    return (Mat){kb_gep(k, k->f32, kb_ptr(k, v), at), ld};
}

Val attn_row(Kb *k, Mat m, Val row) {
    return kb_gep(k, k->f32, m.ptr, kb_mul(k, row, kb_i64(k, m.step)));
}

/* Vector i of a row, whole or in part. */
static Val part_mask(Kb *k, const Attn *a, int64_t col) {
    return col + k->vl <= a->d ? NULL : kb_mask_below(k, kb_i64(k, a->d - col));
}

void attn_copy(Kb *k, const Attn *a, Mat from, Mat to, int64_t rows) {
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), kb_i64(k, rows), 1, NULL, 0);
    for (int64_t c = 0; c < a->d; c += k->vl) {
        Val mask = part_mask(k, a, c);
        Val x = kb_load(k, k->vf, kb_gep(k, k->f32, attn_row(k, from, r.i), kb_i64(k, c)), mask);
        kb_store(k, x, kb_gep(k, k->f32, attn_row(k, to, r.i), kb_i64(k, c)), mask);
    }
    kb_loop_end(k, &r);
}

void attn_clear(Kb *k, const Attn *a, Mat to, int64_t rows) {
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), kb_i64(k, rows), 1, NULL, 0);
    for (int64_t c = 0; c < a->d; c += k->vl)
        kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, attn_row(k, to, r.i), kb_i64(k, c)), part_mask(k, a, c));
    kb_loop_end(k, &r);
}

/* Columns c0.. (at most a vector, `n` of them) of vector v's queries. */
static void pack_square(Kb *k, const Attn *a, const Panel *p, int v, Mat m, Val c0, int64_t n, double scale,
                        Val to) {
    Val row[16], mask = n < k->vl ? kb_mask_below(k, kb_i64(k, n)) : NULL;
    for (int i = 0; i < k->vl; i++) {
        Val q = kb_add(k, p->q0, kb_i64(k, (int64_t)v * k->vl + i));
        q = kb_min(k, q, kb_i64(k, a->nq - 1));
        row[i] = kb_load(k, k->vf, kb_gep(k, k->f32, attn_row(k, m, q), c0), mask);
    }
    kb_transpose(k, row);
    for (int c = 0; c < n; c++) {
        Val at = kb_mul(k, kb_add(k, c0, kb_i64(k, c)), kb_i64(k, (int64_t)p->vectors * k->vl));
        at = kb_add(k, at, kb_i64(k, (int64_t)v * k->vl));
        kb_store(k, kb_fmul(k, row[c], kb_vf(k, scale)), kb_gep(k, k->f32, to, at), NULL);
    }
}

void attn_pack(Kb *k, const Attn *a, const Panel *p, Mat m, double scale, Val to) {
    int64_t whole = a->d / k->vl * k->vl;
    for (int v = 0; v < p->vectors; v++) {
        Loop c;
        kb_loop(k, &c, kb_i64(k, 0), kb_i64(k, whole), k->vl, NULL, 0);
        pack_square(k, a, p, v, m, c.i, k->vl, scale, to);
        kb_loop_end(k, &c);
        if (whole < a->d) pack_square(k, a, p, v, m, kb_i64(k, whole), a->d - whole, scale, to);
    }
}

static void unpack_square(Kb *k, const Attn *a, const Panel *p, int v, Val from, Val c0, int64_t n, Mat m) {
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
    enum { LINE = 16 };
    View w;
    Loop r;
    view_resolve(v, &w);
    Val next = kb_add(k, a->item, kb_i64(k, 1)), rows = kb_i64(k, v->type.dim[1]);
    Val b = kb_udiv(k, next, a->heads), h = kb_urem(k, next, a->heads);
    Val at = kb_add(k, kb_mul(k, b, kb_i64(k, w.stride[0])), kb_mul(k, h, kb_i64(k, a->d)));
    Val first = kb_udiv(k, kb_mul(k, rows, panel), a->panels);
    Val end = kb_udiv(k, kb_mul(k, rows, kb_add(k, panel, kb_i64(k, 1))), a->panels);
    kb_loop(k, &r, first, end, 1, NULL, 0);
    Val row = kb_add(k, at, kb_mul(k, r.i, kb_i64(k, w.stride[1])));
    for (int64_t c = 0; c < a->d; c += LINE) kb_prefetch(k, kb_view_ptr(k, &w), kb_add(k, row, kb_i64(k, c)));
    kb_loop_end(k, &r);
}
