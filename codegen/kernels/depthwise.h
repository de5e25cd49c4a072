/* Depthwise convolutions: what their forward and backward kernels share. Internal to this folder.
 *
 * An item has a block of channels, a line of cache at most. What it reads of an image is copied to
 * a slab of this thread's scratch first: planes of one vector of channels each, rows of pixels side
 * by side with the zeros of the padding between them. So every tap of every pixel is one aligned
 * vector of a small, dense memory, wherever the image's pixels lie. */
#ifndef VMOEC_CODEGEN_KERNELS_DEPTHWISE_H
#define VMOEC_CODEGEN_KERNELS_DEPTHWISE_H

#include "codegen/build/emit.h"

enum { DW_MOST_ROWS = 4 /* of a tile */, DW_SLAB_BYTES = 96 << 10, DW_WANT_ITEMS = 12 };

/* Channels of a block. The last block may end within its last vector. */
typedef struct DwBlock {
    int vectors;
    Val col0; /* the first channel */
    Val mask; /* of the last vector; NULL: it is whole */
} DwBlock;

/* Part of an image in scratch: [vectors][rows][cols][vl]. */
typedef struct DwSlab {
    Val ptr;
    int64_t rows, cols;    /* of a plane */
    int64_t col0;          /* the image's column in column 0; negative: padding stands there */
    int64_t height, width; /* of the images */
    int64_t channels;      /* of a pixel of the images */
    bool outside;          /* rows outside the image are read, and must be 0 */
} DwSlab;

/* ---- depthwise_slab.c ---- */

/* Vectors of the widest block of that many channels. */
int dw_vectors(const Kb *k, int64_t channels);
/* Blocks of all vectors, and what is left for one that is narrower: vectors, 0 if nothing is. */
int64_t dw_whole_blocks(const Kb *k, int64_t channels);
DwBlock dw_block(Kb *k, int64_t channels, bool whole, Val number);
/* The mask of vector v. */
Val dw_mask(const DwBlock *b, int v);

void dw_slab_scratch(Kb *k, DwSlab *s, int vectors);
int64_t dw_slab_plane(const Kb *k, const DwSlab *s); /* floats of a plane */
/* Zeros where no image ever is. Once, before the first copy. */
void dw_slab_clear(Kb *k, const DwSlab *s, int vectors);
/* Rows [row0, row0 + s->rows) of image `number` of `images` (a tensor [B,H,W,C]). */
void dw_slab_copy(Kb *k, const DwSlab *s, const DwBlock *b, Val images, Val number, Val row0);
/* Pixel (row, col) of plane v; col is a constant. */
Val dw_slab_at(Kb *k, const DwSlab *s, int v, Val row, Val col);

/* Copies `taps` rows of a block's channels between a tensor [..,C] at `tensor` and scratch
 * [vectors][taps][vl]. */
void dw_load_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps, Val scratch);
void dw_store_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps,
                   Val scratch);

/* The expert whose image `number` is: the last that begins at or before it; *someones: it is an
 * expert's at all. `offsets` NULL: expert 0. */
Val dw_expert(Kb *k, IrValue *offsets, int64_t experts, Val number, Val *someones);

/* ---- depthwise_tile.c ---- */

/* Rows of results, computed by tiles of `rows` x `cols` sums in registers. */
typedef struct DwTile {
    int rows, cols; /* of a tile */
    int taps;       /* of a kernel row */
    int x_step;     /* pixels between neighbouring results */
    int w_step;     /* taps of the kernel between neighbouring pixels */
} DwTile;

/* The widest tile for rows of n results, of which `rows` may be computed together. */
DwTile dw_tile_choose(const CgTarget *t, int64_t n, int64_t rows, int taps, int x_step, int w_step);

/* n results of `tile.rows` rows each: the sums over `count` kernel rows of pixels times weights.
 * Distances are in floats. */
typedef struct DwRows {
    DwTile tile;
    Val x, x_row, x_next; /* first pixel; to the next kernel row's; to the next result row's */
    Val w, w_row;
    Val count;
    Val out, out_step, out_next;
    Val n;
} DwRows;
void dw_rows(Kb *k, const DwRows *r);

#endif
