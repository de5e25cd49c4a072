/* Sums over any axes. Elementwise producers are evaluated in the load.
 *
 * The order of additions depends on the shape only: columns are summed over rows in `ways`
 * interleaved chains that are added at the end; a reduced last dimension ends in the tree of
 * kb_hsum. */
#include "codegen/kernels/rules.h"

typedef struct Reduce {
    IrNode *n;
    int64_t cols;
    int64_t nkeep, nred; /* flattened rows: kept, reduced */
    int64_t keep_dim[IR_MAX_RANK],
        keep_step[IR_MAX_RANK]; /* per kept row dimension: size, step in rows */
    int64_t red_dim[IR_MAX_RANK], red_step[IR_MAX_RANK];
    int keep, red;
    bool last; /* the last dimension is reduced too */
} Reduce;

static void add_dim(int64_t *dim, int64_t *step, int *n, int64_t size, int64_t s) {
    if (*n && step[*n - 1] == size * s) { /* adjacent: one dimension */
        dim[*n - 1] *= size;
        step[*n - 1] = s;
        return;
    }
    dim[*n] = size;
    step[(*n)++] = s;
}

static Reduce describe(IrNode *n) {
    Reduce r = {.n = n, .nkeep = 1, .nred = 1};
    const IrType *t = &n->in[0]->type;
    const int64_t *axes;
    int naxes = ir_ints(n, ATTR_sum_axes, &axes);
    bool is_red[IR_MAX_RANK] = {false};
    for (int i = 0; i < naxes; i++) is_red[axes[i]] = true;
    r.cols = ir_cols(t);
    r.last = t->rank > 0 && is_red[t->rank - 1];
    int64_t step[IR_MAX_RANK], s = 1;
    for (int d = t->rank - 2; d >= 0; d--) {
        step[d] = s;
        s *= t->dim[d];
    }
    for (int d = 0; d < t->rank - 1; d++) {
        if (is_red[d])
            add_dim(r.red_dim, r.red_step, &r.red, t->dim[d], step[d]);
        else
            add_dim(r.keep_dim, r.keep_step, &r.keep, t->dim[d], step[d]);
        *(is_red[d] ? &r.nred : &r.nkeep) *= t->dim[d];
    }
    return r;
}

/* Flattened row of the operand that a flat index over some dimensions stands for. */
static Val rows_of(Kb *k, Val index, const int64_t *dim, const int64_t *step, int n) {
    Val row = kb_i64(k, 0), rest = index;
    for (int d = n - 1; d >= 0; d--) {
        Val i = d == 0 ? rest : kb_urem(k, rest, dim[d]);
        row = kb_add(k, row, kb_mul(k, i, kb_i64(k, step[d])));
        if (d) rest = kb_udiv(k, rest, dim[d]);
    }
    return row;
}

static void pass_add(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Reduce *r = ctx;
    Val x = kb_keep(k, kb_eval(k, r->n->in[0], pos), pos, kb_vf(k, 0));
    carry[0] = kb_fadd(k, carry[0], x);
}

/* The last dimension goes: one scalar per kept row. */
static void sum_to_scalars(Kb *k, const Reduce *r) {
    Val begin, end;
    kb_share(k, r->nkeep, &begin, &end);
    Loop out, red;
    kb_loop(k, &out, begin, end, 1, NULL, 0);
    Val base = rows_of(k, out.i, r->keep_dim, r->keep_step, r->keep), acc = kb_vf(k, 0);
    kb_loop(k, &red, kb_i64(k, 0), kb_i64(k, r->nred), 1, &acc, 1);
    Val row = kb_add(k, base, rows_of(k, red.i, r->red_dim, r->red_step, r->red));
    acc = red.carry[0];
    kb_cols(k, row, r->cols, &acc, 1, pass_add, (void *)r);
    red.next[0] = acc;
    kb_loop_end(k, &red);
    Val at = kb_gep(k, k->f32, kb_ptr(k, &r->n->out[0]), out.i);
    LLVMBuildStore(k->b, kb_hsum(k, red.carry[0]), at);
    kb_loop_end(k, &out);
}

/* Adds `strip` vectors of one operand row into acc. */
static void add_strip(Kb *k, const Reduce *r, Val row, Val col, int strip, Val mask, const Val *acc,
                      Val *next) {
    kb_new_pos(k);
    for (int s = 0; s < strip; s++) {
        Pos pos = {row, kb_add(k, col, kb_i64(k, s * k->vl)), mask};
        kb_new_pos(k);
        next[s] = kb_fadd(k, acc[s], kb_eval(k, r->n->in[0], pos));
    }
}

/* One strip of columns summed over all reduced rows: `ways` chains, then added pairwise. */
static void sum_strip(Kb *k, const Reduce *r, Val keep, Val col, int strip, Val mask) {
    enum { WAYS = 4 };
    Val base = rows_of(k, keep, r->keep_dim, r->keep_step, r->keep), acc[WAYS * 4];
    for (int i = 0; i < WAYS * strip; i++) acc[i] = kb_vf(k, 0);
    int64_t whole = r->nred / WAYS * WAYS;
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, whole), WAYS, acc, WAYS * strip);
    for (int w = 0; w < WAYS; w++) {
        Val i = kb_add(k, l.i, kb_i64(k, w));
        Val row = kb_add(k, base, rows_of(k, i, r->red_dim, r->red_step, r->red));
        add_strip(k, r, row, col, strip, mask, l.carry + w * strip, l.next + w * strip);
    }
    kb_loop_end(k, &l);
    for (int i = 0; i < WAYS * strip; i++) acc[i] = l.carry[i];
    for (int64_t i = whole; i < r->nred; i++) {
        Val row = kb_add(k, base, rows_of(k, kb_i64(k, i), r->red_dim, r->red_step, r->red));
        int w = (int)(i - whole);
        add_strip(k, r, row, col, strip, mask, acc + w * strip, acc + w * strip);
    }
    for (int s = 0; s < strip; s++) {
        Val a = kb_fadd(k, acc[s], acc[strip + s]),
            b = kb_fadd(k, acc[2 * strip + s], acc[3 * strip + s]);
        Pos pos = {keep, kb_add(k, col, kb_i64(k, s * k->vl)), mask};
        kb_store_value(k, &r->n->out[0], kb_fadd(k, a, b), pos);
    }
}

/* Vectors per item: wide enough to use whole cache lines, narrow enough to share among threads. */
static int strip_width(int64_t nkeep, int64_t vectors) {
    int64_t w = nkeep >= 8 ? 4 : vectors / 8;
    if (w > vectors) w = vectors;
    return w < 1 ? 1 : w > 4 ? 4 : (int)w;
}

static void strips(Kb *k, const Reduce *r, int64_t from, int64_t n, int strip, Val mask) {
    if (n <= 0) return;
    Val begin, end;
    int64_t width = (int64_t)strip * k->vl;
    kb_share(k, r->nkeep * n, &begin, &end);
    Loop l;
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val col = kb_add(k, kb_mul(k, kb_urem(k, l.i, n), kb_i64(k, width)), kb_i64(k, from));
    sum_strip(k, r, kb_udiv(k, l.i, n), col, strip, mask);
    kb_loop_end(k, &l);
}

void cg_lower_sum(Kb *k, IrNode *n) {
    Reduce r = describe(n);
    if (r.last || n->in[0]->type.rank == 0) {
        sum_to_scalars(k, &r);
        return;
    }
    int64_t vectors = r.cols / k->vl, done = vectors * k->vl;
    if (vectors) {
        int strip = strip_width(r.nkeep, vectors);
        int64_t wide = vectors / strip;
        strips(k, &r, 0, wide, strip, NULL);
        strips(k, &r, wide * strip * k->vl, vectors - wide * strip, 1, NULL);
    }
    if (r.cols > done) strips(k, &r, done, 1, 1, kb_mask_below(k, kb_i64(k, r.cols - done)));
}
