/* What matrix products share: the description of one product and of its operands, and the block
 * loop over it. Internal to this folder. gemm.c has the micro-kernel, gemm_operand.c where operands
 * lie and how they get there, gemm_block.c the blocks, matmul.c and expert_matmul.c the products.
 */
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
    /* The inner dimension is `runs` runs of `count` positions each; NULL: it is one. Run t of row i
     * of a begins at a_rows[t * run_rows + i]; side by side, row 0 at a_rows[t * run_rows] + a_at.
     * That of b begins at b + b_runs[t]. Offsets count floats. */
    Val runs, run_rows, b_runs, a_at;
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

struct Gemm;

/* How an operand comes to where the micro-kernel reads it. */
typedef enum OperandMade {
    OPERAND_IN_PLACE,
    OPERAND_PACKED,   /* b: in panels, by a task before */
    OPERAND_BY_BLOCK, /* a: the block's rows into scratch, once for all chunks */
    OPERAND_BY_CHUNK, /* the block's columns of the chunk's rows into scratch: the inner dimension
                         is memory's rows */
    OPERAND_IN_PAIRS  /* the same, rows side by side in pairs of bf16; then both operands are */
} OperandMade;

/* One operand of a product. Products differ in their operands and in nothing else. */
typedef struct Operand {
    IrValue *value;
    View view; /* of it, where `row` reads one */
    /* In place: where row `row` of a matrix begins for the chunk at inner position k0 (NULL: at the
     * first one). What a chunk's rows are is this function's business alone: they need not continue
     * those of the chunk before. Of b it is where the matrix begins: row and k0 are NULL. */
    Val (*row)(Kb *k, const struct Gemm *g, const struct Operand *o, Val matrix, Val row, Val k0);
    int64_t step;      /* elements between inner positions */
    int64_t cols;      /* of rows that are made; 0: the value's */
    bool side_by_side; /* a: its rows are one float apart */
    bool streams;      /* packed panels are met by few tiles: the next panel is asked for early */
    OperandMade made;
    RowMaker make; /* by block: makes a row; NULL: evaluates it */
    /* By chunk: copies `count` of memory's rows from row `first` on. */
    void (*copy)(Kb *k, const struct Gemm *g, const struct Operand *o, Val first, Val count);
    /* In pairs: of memory's row. */
    Val (*address)(Kb *k, const struct Gemm *g, const struct Operand *o, Val row);
    Val at;   /* scratch for what is made */
    Val col0; /* by chunk, in pairs: where the block's columns begin */
} Operand;

/* An inner dimension in runs, stretches of positions that follow each other wherever each of them
 * lies: a kernel element's channels, or a row of results. gemm_block then counts runs where it
 * counts inner positions otherwise. */
typedef struct Runs {
    int64_t length; /* positions of one, or the most of any */
    int64_t of_b;   /* packed b: how many a matrix has, each a packed matrix of its own */
    /* Finds where the runs [first, + count) of rows [row0, row_end) lie. */
    void (*find)(Kb *k, const struct Gemm *g, Val row0, Val row_end, Val first, Val count);
    /* Says so of the tile whose first row is `row`, row `local` of the block. m is complete but for
     * its rows of a and its runs; m->b is where the tile's panel begins. */
    void (*tile)(Kb *k, const struct Gemm *g, Val row, Val local, Micro *m);
} Runs;

typedef struct Gemm {
    IrNode *n;
    Tile tile;
    int64_t rows, cols, inner; /* of one matrix; 0: known at run time only. inner: runs, if any */
    int64_t panels, mb, np, col_blocks;
    int64_t kc; /* inner positions of a chunk, or runs */
    const Runs *runs;
    Operand a, b;
    /* The flattened row of the result that row `row` is; below 0: none. NULL: the row itself. And
     * the column that column 0 is; NULL: 0. */
    Val (*place)(Kb *k, const struct Gemm *g, Val row);
    Val col_shift;
    void *product; /* what its row functions know of the product beside this */
    bool far;      /* operands read in place are in no cache yet */
    /* Operands are bf16. Everything that counts or walks inner positions then counts pairs of them:
     * inner, kc, steps, made operands and packed panels have a pair where f32 has a float. */
    bool bf16;
    GemmStore store;
    IrValue *result; /* what the micro-kernel computes: the product, or the product + start */
    IrValue *start;  /* added first, as what the sums begin with; NULL: zero */
    RowBody behind;  /* takes whole rows of the result, instead of consumers and stores; or NULL */
    void *ctx;       /* its, and a.make's */
    Val row_ptr, out_ptr,
        in_ptr;     /* scratch: per row of the block, where a, the result and the start lie */
    Val acc, zeros; /* scratch: a tile, or the block; a row of zeros for sums to start from */
    Val spare;      /* scratch: where rows past the end go, when they are not repeated */
    Val first_row, sum_rows; /* where the inner dimension is memory's rows: this matrix's */
} Gemm;

/* Decides tile, blocks and how results are stored; g->cols, g->inner, g->rows and the operands are
 * set. May take a start and change g->result. */
void gemm_choose(Kb *k, Gemm *g);
/* Takes the scratch that gemm_block needs. */
void gemm_scratch(Kb *k, Gemm *g);

/* Rows [row0, row_end) (at most mb) of a matrix, column block cb. out_row: the result's flattened
 * row that row0 is. */
void gemm_block(Kb *k, const Gemm *g, Val matrix, Val row0, Val row_end, Val out_row, Val cb,
                Val inner);

/* ---- gemm_operand.c ---- */

/* The scratch of operands that are made, and their steps in it. */
void gemm_operand_scratch(Kb *k, Gemm *g);
/* Makes the block's rows of a, when they are made by block. */
void gemm_make_block(Kb *k, const Gemm *g, Val row0, Val row_end);
/* Makes what operands need of the chunk [k0, + count), when they are made by chunk. */
void gemm_make_chunk(Kb *k, const Gemm *g, Val k0, Val count);
/* Row `row` of a, which is row `local` of the block, from inner position k0 on. */
Val gemm_row_of_a(Kb *k, const Gemm *g, Val matrix, Val row, Val local, Val k0);
/* A matrix of b, and a panel of it from inner position k0 on; panel0: the block's first. */
Val gemm_matrix_of_b(Kb *k, const Gemm *g, Val matrix);
Val gemm_panel_of_b(Kb *k, const Gemm *g, Val b, Val panel, Val panel0, Val k0);

/* expert_matmul.c: rows in the order of experts, `per` of them for each row that `offsets` counts.
 * The blocks of all experts are one pool; some numbers below gemm_expert_blocks stand for no
 * block. */
typedef struct ExpertBlock {
    Val expert, row0, last; /* rows [row0, last), at most a block of them, are to be computed */
} ExpertBlock;
int64_t gemm_expert_blocks(const Gemm *g, int64_t rows, int64_t experts);
ExpertBlock gemm_expert_block(Kb *k, const Gemm *g, Val block, int64_t experts, Val per);

/* For row functions: `row` is where a row's first inner position lies, and others follow it. */
Val gemm_from(Kb *k, const Operand *o, Val row, Val k0);
/* Is it made chunk by chunk? */
bool gemm_made_by_chunk(const Operand *o);
/* Copies row `row` of v, columns [col0, end), to `to` (floats, whole vectors are written). */
void gemm_make_row(Kb *k, IrValue *v, Val row, Val col0, Val end, Val to);

static inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

#endif
