/* What matrix products share: the description of one product and the block loop over it. Internal
 * to this folder. gemm.c has the micro-kernel, gemm_block.c the blocks, matmul.c and
 * expert_matmul.c the products. */
#ifndef VMOEC_CODEGEN_KERNELS_GEMM_H
#define VMOEC_CODEGEN_KERNELS_GEMM_H

#include "codegen/build/emit.h"
#include "passes/passes.h"

/* ---- gemm.c: the micro-kernel ---- */

/* c_i[c_at + j] = init_i[init_at + j] + sum over kk < count of a_i[kk * a_step] * b[kk * b_step +
 * j], for rows i of the tile and j in [0, nr). The rows' addresses come as arrays of tile.rows
 * pointers; two rows may be the same one. init_rows may equal c_rows. */
typedef struct Micro {
    Tile tile;
    bool side_by_side; /* row i of a is a_rows + i: a_rows is the first row itself, not a table */
    bool bf16;         /* elements of a and b are pairs of bf16, and count counts pairs */
    Val a_rows, a_step, b, b_step, count;
    Val c_rows, c_at;
    Val init_rows, init_at; /* init_rows NULL: zero */
    Val ahead; /* memory that is read soon: line kk is asked for at inner position kk; or NULL */
} Micro;
enum { MICRO_LINE = 16 /* floats of such a line */ };
void gemm_micro(Kb *k, const Micro *m);

/* narrow.c: the body of one whose tile is narrow. */
void gemm_narrow_body(Kb *k, const Micro *m);

/* ---- products ---- */

/* matmul.c: CgRules.rows_of_product. And the product of rows that the cluster's front makes: make
 * writes row `row` of operand 0 to floats at `to`, whole vectors. */
void gemm_rows_of_product(Kb *k, RowBody body, void *ctx);
typedef void (*RowMaker)(Kb *k, Val row, Val to, void *ctx);
void gemm_product_of_rows(Kb *k, RowMaker make, void *ctx);

/* Where the rows of a block's result go, and what they start from. */
typedef enum GemmStore {
    GEMM_DIRECT, /* the micro-kernel writes the result itself: nothing is fused behind it */
    GEMM_TILE,   /* tile by tile: into scratch, through the fused consumers while it is hot, out */
    GEMM_BLOCK /* the whole block into scratch: its inner dimension comes in chunks, or its rows go
                  on */
} GemmStore;

typedef struct Gemm {
    IrNode *n;
    Tile tile;
    int64_t rows, cols, inner; /* of one matrix; 0: known at run time only */
    int64_t panels, mb, np, col_blocks;
    int64_t kc;                /* inner positions of a chunk */
    bool packed, side_by_side; /* side_by_side: rows of a are one float apart */
    bool far;                  /* operands read in place are in no cache yet */
    bool streams_b; /* packed panels of b are met by few tiles: the next panel is asked for early */
    /* Operands are bf16. Everything that counts or walks inner positions then counts pairs of them:
     * inner, kc, a_step, b_step, made_a, made_b and packed panels have a pair where f32 has a
     * float. */
    bool bf16;
    GemmStore store;
    IrValue *result; /* what the micro-kernel computes: the product, or the product + start */
    IrValue *start;  /* added first, as what the sums begin with; NULL: zero */
    /* address of row m of a at inner position 0 (`local`: its number in the block), and of b's
     * matrix */
    Val (*a_row)(Kb *k, const struct Gemm *g, Val matrix, Val row, Val local);
    Val (*b_matrix)(Kb *k, const struct Gemm *g, Val matrix);
    /* before a chunk: copies what cannot be read in place; NULL: nothing */
    void (*chunk)(Kb *k, const struct Gemm *g, Val k0, Val count);
    int64_t a_step, b_step; /* elements between inner positions */
    RowMaker front;         /* makes rows of a, into made_a; or NULL */
    RowBody behind; /* takes whole rows of the result, instead of consumers and stores; or NULL */
    void *ctx;      /* theirs */
    View a, b;
    Val offset_ptr; /* grouped: i32 offsets */
    Val row_ptr, out_ptr,
        in_ptr;         /* scratch: per row of the block, where a, the result and the start lie */
    Val acc, zeros;     /* scratch: a tile, or the block; a row of zeros for sums to start from */
    Val spare;          /* scratch: where rows past the end go, when they are not repeated */
    Val made_a, made_b; /* scratch for rows of operands that are not read in place; or NULL */
    bool pairs;     /* both operands are paired row by row into made_a and made_b, chunk by chunk */
    Val row0, col0; /* expert_matmul_dw, pairs: where the block begins in the result */
    Val first_row;  /* expert_matmul_dw, pairs: of the operands' rows, the first one of this matrix
                     */
    Val rows_of_part; /* expert_matmul_dw: how many */
} Gemm;

/* Decides tile, blocks and how results are stored; g->cols, g->inner, g->packed, g->b_step and
 * g->rows are set. May take a start and change g->result. */
void gemm_choose(Kb *k, Gemm *g);
/* Takes the scratch that gemm_block needs. */
void gemm_scratch(Kb *k, Gemm *g);

/* Rows [row0, row_end) (at most mb) of a matrix, column block cb. out_row: the result's flattened
 * row that row0 is. */
void gemm_block(Kb *k, const Gemm *g, Val matrix, Val row0, Val row_end, Val out_row, Val cb,
                Val inner);

/* Copies row `row` of v, columns [col0, end), to `to` (floats, whole vectors are written). */
void gemm_make_row(Kb *k, IrValue *v, Val row, Val col0, Val end, Val to);
/* Floats of a copied row. */
int64_t gemm_padded_cols(const Kb *k, const IrValue *v);
/* The scratch and the strides of a product whose operands are paired chunk by chunk (g->pairs). */
void gemm_pair_scratch(Kb *k, Gemm *g);
/* Makes made_a and made_b of pairs [k0, + count): rows first.. of a and b, `rows` of them in all.
 * row_at: the address of an operand's row. */
void gemm_pair_chunk(Kb *k, const Gemm *g, Val (*row_at)(Kb *k, IrValue *v, Val row), Val first,
                     Val rows, Val k0, Val count);

/* Address of the packed copy of b of this cluster. */
Val gemm_packed_base(Kb *k);

static inline int64_t min64(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

#endif
