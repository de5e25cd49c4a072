/* What the files that grow random graphs share. Internal to them. */
#ifndef VMOEC_TESTS_OPS_UTIL_GEN_H
#define VMOEC_TESTS_OPS_UTIL_GEN_H

#include "tests/ops/util_gen_graph.h"

enum { GEN_MAX_POOL = 256, GEN_MAX_ELEMS = 6000 };

typedef struct Gen {
    Arena *arena;
    IrGraph *g;
    IrBuilder b;
    CaseRng r;
    IrValue *pool[GEN_MAX_POOL]; /* f32 values of order one, rank 1 .. 4 */
    int npool, names;
    IrValue *gate, *chosen; /* of the last routed layer, for its balance loss */
} Gen;

bool gen_chance(Gen *g, int percent);
IrValue *gen_pick(Gen *g);
/* A param with values in [-tenths/10, tenths/10). */
IrValue *gen_weight(Gen *g, IrType t, int tenths);
/* Back to order one, in one of several ways. */
IrValue *gen_damp(Gen *g, IrValue *x);

/* util_gen_image.c: windows over images. NULL: the value picked is no image. */
IrValue *gen_grow_max_pool(Gen *g);
IrValue *gen_grow_conv(Gen *g);
IrValue *gen_grow_conv_experts(Gen *g);

/* Could small errors swap two entries of one choice? */
bool gen_close(double a, double b);
/* The same for some window of the pooling n over x. */
bool gen_close_windows(const RefTensor *x, const IrNode *n);

#endif
