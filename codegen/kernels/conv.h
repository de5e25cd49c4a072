/* What the kernels of dense convolutions share. They are matrix products (gemm.h) whose operand a
 * is the image. Internal to this folder. conv.c has the convolution and its gradient for images,
 * conv_dw.c that for weights, conv_unfold.c rows of pixels that are gathered one by one,
 * conv_pixel.c where pixels lie. */
#ifndef VMOEC_CODEGEN_KERNELS_CONV_H
#define VMOEC_CODEGEN_KERNELS_CONV_H

#include "codegen/kernels/gemm.h"

typedef struct Conv {
    IrConv c;
    int64_t in, out; /* channels of a group: of x, of y */
    View image;      /* the operand that is read pixel by pixel: x, or dy */
    int64_t ih, iw;  /* its size */
    Val group;       /* this item's */
    Val zeros;       /* scratch: channels of a pixel that is padding */

    /* conv.c: this item's phase. Results whose rows and columns are `phase` modulo the stride meet
     * the same kernel elements: first, first + step, .. of kernel rows and columns. */
    bool turned; /* the gradient for images */
    struct {
        Val phase, first, count; /* of kernel rows or columns */
        Val size;                /* of the phase's results */
        Val shift;               /* result y meets image row y * stride + shift first */
    } side[2];
    int64_t step;
    Val b_at; /* scratch: where in packed weights the runs of a chunk lie */

    /* conv_dw.c */
    Val image0, images;            /* this item's images */
    Val first_matrix;              /* its first row of the result */
    int64_t padded;                /* rows of a kernel element: whole tiles */
    Val a_table, b_table, n_table; /* scratch, by kernel row: where runs lie, and how many */
    Val tap;                       /* bf16: this item's kernel element */

    Val offset, row, col; /* conv_unfold.c: scratch, by unfolded column (i32) */
} Conv;

/* The conv of a product. */
static inline Conv *conv_of(const Gemm *g) {
    return g->product;
}

/* A flattened pixel of [.., h, w]. */
typedef struct Pixel {
    Val image, y, x;
} Pixel;
Pixel conv_pixel(Kb *k, Val row, Val h, Val w);

/* Address of channel 0 of the group of pixel (y, x) of image `image`, which exists. */
Val conv_address(Kb *k, const Conv *v, Val image, Val y, Val x);
/* Is (y, x) inside the image? */
Val conv_inside(Kb *k, const Conv *v, Val y, Val x);
/* Takes and clears v->zeros. */
void conv_zeros(Kb *k, Conv *v, int64_t channels);

/* conv_unfold.c: prepares tables. Then the columns [col0, end) of result position `row`'s unfolded
 * pixels, [KH,KW,C] of the group, to `to`, whole vectors. */
void conv_unfold_begin(Kb *k, Conv *v);
void conv_unfold(Kb *k, const Conv *v, Val row, Val col0, Val end, Val to);

#endif
