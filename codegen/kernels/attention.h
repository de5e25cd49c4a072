/* What the files of attention share: one head's shape, tiles of its products, passes over its
 * scores. Internal to this folder. attention.c has the two kernels, attention_tile.c the products,
 * attention_rows.c what moves rows into and out of scratch, attention_softmax.c the passes over
 * scores. */
#ifndef VMOEC_CODEGEN_KERNELS_ATTENTION_H
#define VMOEC_CODEGEN_KERNELS_ATTENTION_H

#include "codegen/build/emit.h"

/* Scores are scaled by it as well, so that softmax needs powers of two only. */
#define LOG2_E 1.4426950408889634

typedef struct Attn {
    IrNode *n;
    int64_t batch, heads, nq, nk, d; /* queries, keys, head size */
    int64_t vectors, panels; /* of queries: vectors, and panels of one to three vectors each */
    int64_t row;             /* floats of a head's row in scratch: whole vectors */
    int64_t score_step;      /* floats of a key's scores in scratch */
    double scale, dropout;
    /* Products of pairs of bf16 (bf16.c): a pair takes the place of a float in copies, packed
     * panels and what is broadcast; scores and sums are f32. words: of a head's row of an operand,
     * d or d/2. */
    bool bf16;
    int64_t words;
    int64_t short_step;         /* pairs of a key's rounded probabilities in scratch, backward */
    Val spare;                  /* scratch: a row that takes what belongs to no query */
    Val b_index, h_index, item; /* this item */
} Attn;

/* Rows of `step` floats or pairs, or of as many halves: bf16 in memory. */
typedef struct Mat {
    Val ptr;
    int64_t step;
    bool halves;
} Mat;

/* The queries that go through softmax together. */
typedef struct Panel {
    int vectors;
    Val q0; /* its first query */
} Panel;

/* ---- attention_tile.c ---- */

/* What becomes of a sum of the tile before it is stored: vector v of row row0 + r. */
typedef Val (*TileFinish)(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *carry);

/* c[rows, vectors] (+)= A b: element (i, kk) of A at a + i*a_row + kk*a_step, row kk of b at b +
 * kk*b_step, row i of c at c + i*c_row. Strides count floats. With bf16 the elements of a and b are
 * pairs. */
typedef struct Product {
    bool bf16;
    int64_t rows;
    int vectors;
    Val a;
    int64_t a_row, a_step;
    Val b;
    int64_t b_step;
    Val c;
    int64_t c_row;
    Val count;       /* positions that are summed over */
    bool accumulate; /* sums start from c, not from zero */
    TileFinish finish;
    void *ctx;
    int ncarry; /* vectors that finish carries from tile to tile, in ascending order of rows */
} Product;
void attn_product(Kb *k, const Product *p, Val *carry);

/* ---- attention_rows.c ---- */

/* This item's head of an operand or of a result. */
Mat attn_head(Kb *k, const Attn *a, IrValue *v);
Mat attn_head_result(Kb *k, const Attn *a, int result);
Val attn_row(Kb *k, Mat m, Val row);
/* Copies `rows` rows of a head; halves become pairs of neighbours. */
void attn_copy(Kb *k, const Attn *a, Mat from, Mat to, int64_t rows);
/* Rows of bf16 (halves or pairs of neighbours), two at a time, to rows of pairs: column c of both
 * in word c. Past an odd last row come zeros. */
void attn_pair(Kb *k, const Attn *a, Mat from, Mat to, int64_t rows);
void attn_clear(Kb *k, const Attn *a, Mat to, int64_t rows);
/* The panel's rows of m times `scale` (f32 only), transposed: [words][vectors]. Lanes past the last
 * query repeat it. */
void attn_pack(Kb *k, const Attn *a, const Panel *p, Mat m, double scale, Val to);
/* [d][vectors], transposed, to the panel's rows of m. Lanes past the last query are not stored. */
void attn_unpack(Kb *k, const Attn *a, const Panel *p, Val from, Mat m);
/* Asks for the part of the next head's rows of operand v that falls to this panel: short rows far
 * apart, which the hardware does not foresee. */
void attn_prefetch(Kb *k, const Attn *a, IrValue *v, Val panel);

/* ---- attention_softmax.c ---- */

/* Products of keys and the packed queries of a panel: scores in units of log2, since packing scales
 * queries. With bf16 queries are not scaled, so that they round as they are; the scale is applied
 * by who reads a score. most: every query's greatest, scaled. */
void attn_scores(Kb *k, const Attn *a, const Panel *p, Mat key, Val packed, Val scores, Val *most);
/* Scores -> exponentials, dropped where dropout says so; logsumexp to memory. inverse: one over the
 * sums. With bf16 row j has the pairs of keys 2 j and 2 j + 1. */
void attn_softmax(Kb *k, const Attn *a, const Panel *p, Val scores, const Val *most, Val *inverse);
/* Where a panel's scores go. */
typedef struct PanelScores {
    Val probs, ds;             /* [keys][score_step] */
    Val short_probs, short_ds; /* bf16: halves, rows of short_step pairs */
} PanelScores;
/* probs: dropped probabilities, from the logsumexp in memory; ds: do v^T -> probability (m dp -
 * delta), where m is the dropout factor and delta = sum_j p m dp, which equals <do, o>. With bf16
 * both come out in the short form, the scale in ds, lanes past the last query 0; row j of s->ds has
 * ds of keys 2 j and 2 j + 1 in pairs, and s->probs is left over. */
void attn_score_grads(Kb *k, const Attn *a, const Panel *p, Mat key, Mat v, Val packed_q,
                      Val packed_do, const PanelScores *s);

#endif
