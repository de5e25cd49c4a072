/* Blocks of matrix products: how large they may be, and how large they are. Internal to this
 * folder; the model is stated in blocks.c. */
#ifndef VMOEC_CODEGEN_PLAN_BLOCKS_H
#define VMOEC_CODEGEN_PLAN_BLOCKS_H

#include "codegen/plan/plan.h"

/* What the caches allow, in floats. */
typedef struct BlockLimits {
    int64_t packed_kc,
        strided_kc; /* inner positions of a chunk: of a packed panel of b, of rows far apart */
    int64_t rows, strided_rows; /* of a block: with a packed b, and without */
    int64_t cols;
    int64_t items; /* blocks wanted, before larger ones are */
} BlockLimits;
BlockLimits block_limits(const CgTarget *t);

typedef struct Blocks {
    int64_t rows, panels; /* whole tiles; panels of tile.nr columns */
} Blocks;

/* Blocks of `matrices` products of about `rows` rows and `panels` panels each. */
Blocks block_choose(const BlockLimits *l, const Tile *tile, bool packed, int64_t matrices,
                    int64_t rows, int64_t panels);

/* Blocks of whole rows, for a kernel behind the product that takes them as they come, or one before
 * it that makes the operand's. */
Blocks block_whole_rows(const BlockLimits *l, const Tile *tile, int64_t rows, int64_t panels);

/* The same when somebody else decides: the whole tiles of a block of want_rows x want_cols, at
 * least one of each, and no more than `rows` and `panels` need. */
Blocks block_fit(const Tile *tile, int64_t rows, int64_t panels, int64_t want_rows,
                 int64_t want_cols);

/* A product of the plan: false for every other cluster. */
bool block_product(const PlanCluster *c, CgProduct *out);
/* The rows of one of its matrices, as block_choose takes them. */
int64_t block_typical_rows(const PlanCluster *c);
/* Rows of a lie one float apart, so that the tile is tile_choose_side_by_side's. */
bool block_side_by_side(const PlanCluster *c);
/* Does narrow.c multiply it? Then its weight is read as it stands. */
bool block_is_narrow(const CgTarget *t, const IrNode *n);
/* Does this convolution, or weight gradient of one, read its image pixel by pixel, unfolded into
 * scratch? Its weights are then one matrix [KH*KW*C, O]. */
bool block_is_unfolded(const IrNode *n);
/* The register tile of a cluster that is a product. */
Tile block_tile(const CgTarget *t, const PlanCluster *c);
/* The blocks that a cluster which is a product is lowered with. */
Blocks block_of(const CgTarget *t, const PlanCluster *c, const Tile *tile);

/* Sets the blocks of a cluster that `t` (NULL: nothing) names. */
void block_tune(PlanCluster *c, const CgTuning *t);

#endif
