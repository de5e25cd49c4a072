/* Depthwise convolutions: what their forward and backward kernels share. Internal to this folder.
 *
 * An item has a block of channels, a line of cache at most, and walks the rows of an image. The
 * rows that it needs at a time lie in a ring of this thread's scratch: planes of one vector of
 * channels each, pixels side by side with the zeros of the padding between rows. So every tap of
 * every pixel is one aligned vector of the first level cache, wherever the image's pixels lie. */
#ifndef VMOEC_CODEGEN_KERNELS_DEPTHWISE_H
#define VMOEC_CODEGEN_KERNELS_DEPTHWISE_H

#include "codegen/build/emit.h"

enum { DW_MOST_ROWS = 4 /* of a tile */, DW_WANT_ITEMS = 12 };

/* Channels of a block. The last block may end within its last vector. */
typedef struct DwBlock {
    int vectors;
    Val col0; /* the first channel */
    Val mask; /* of the last vector; NULL: it is whole */
} DwBlock;

/* Rows of an image in scratch: [vectors][rows][cols][vl]. Row r of the image lies in row r modulo
 * `rows`, a power of two. */
typedef struct DwRing {
    Val ptr;
    int64_t rows, cols;    /* of a plane */
    int64_t col0;          /* the image's column in column 0; negative: padding stands there */
    int64_t height, width; /* of the images */
    int64_t channels;      /* of a pixel of the images */
    bool outside;          /* rows outside the image are read, and must be 0 */
} DwRing;

/* ---- depthwise_ring.c ---- */

/* Vectors of the widest block of that many channels. */
int dw_vectors(const Kb *k, int64_t channels);
/* Blocks of all vectors, and what is left for one that is narrower: vectors, 0 if nothing is. */
int64_t dw_whole_blocks(const Kb *k, int64_t channels);
DwBlock dw_block(Kb *k, int64_t channels, bool whole, Val number);
/* The mask of vector v. */
Val dw_mask(const DwBlock *b, int v);

/* Room for `live` rows. */
void dw_ring_scratch(Kb *k, DwRing *r, int64_t live, int vectors);
/* Zeros where no image ever is. Once, before the first copy. */
void dw_ring_clear(Kb *k, const DwRing *r, int vectors);
/* Rows [from, to) of image `number` of `images` (a tensor [B,H,W,C]). */
void dw_ring_copy(Kb *k, const DwRing *r, const DwBlock *b, Val images, Val number, Val from,
                  Val to);
/* Asks for the row of images whose first number is element `at`. */
void dw_ring_ask(Kb *k, const DwRing *r, Val images, Val at);
/* Column `col` of a plane, and how many floats its rows are apart. */
Val dw_ring_plane(Kb *k, const DwRing *r, int v, Val col);
int64_t dw_ring_row(const Kb *k, const DwRing *r);

/* Copies `taps` rows of a block's channels between a tensor [..,C] at `tensor` and scratch
 * [vectors][taps][vl]. */
void dw_load_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps, Val scratch);
void dw_store_taps(Kb *k, const DwBlock *b, Val tensor, int64_t channels, int64_t taps,
                   Val scratch);

/* The expert whose image `number` is: the last that begins at or before it; *someones: it is an
 * expert's at all. `offsets` NULL: expert 0. */
Val dw_expert(Kb *k, IrValue *offsets, int64_t experts, Val number, Val *someones);

/* ---- depthwise_tile.c ---- */

/* Rows of results, computed by tiles of `rows` x `cols` sums in registers, some of them a column
 * narrower. */
typedef struct DwTile {
    int rows, cols;         /* of a tile */
    int tiles;              /* of a row */
    int taps;               /* of a kernel row */
    int x_step;             /* pixels between neighbouring results */
    int w_step;             /* taps of the kernel between neighbouring pixels */
    int row_step, row_next; /* the image's rows between kernel rows, and between result rows */
    int ring;               /* rows of the ring */
} DwTile;

/* Sets how many rows and columns a tile has, for rows of n results or n - 1, of which `rows` may be
 * computed together. What it reads is set. */
void dw_tile_choose(const CgTarget *t, DwTile *tile, int64_t n, int64_t rows);
/* Taps of a kernel row that stay in registers beside so many sums. */
int64_t dw_held_taps(const CgTarget *t, const DwTile *tile, int64_t sums);

/* n results of `tile.rows` rows each: the sums over `count` kernel rows of pixels times weights.
 * Distances are in floats. */
typedef struct DwRows {
    DwTile tile;
    Val x, row, x_row; /* plane of the ring, from the first pixel's column; its row; a row's size */
    Val w, w_row;
    Val count;
    Val out, out_step, out_next;
    Val n;
} DwRows;
void dw_rows(Kb *k, const DwRows *r);

#endif
