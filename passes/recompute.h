/* Internal to the pass recompute: which forward values the backward pass reads from memory, and
 * which it computes again. recompute.c finds the values and rewrites the graph; recompute_steps.c
 * chooses. */
#ifndef VMOEC_PASSES_RECOMPUTE_H
#define VMOEC_PASSES_RECOMPUTE_H

#include "passes/passes.h"

/* Values are numbered: value i of node n is first[n->id] + i. */
typedef struct Recompute {
    Arena *arena;
    IrGraph *g;
    int nvalue;
    int *first;      /* by node id */
    IrValue **value; /* by value id */
    bool *forward;   /* by node id: a result of the forward pass depends on it */
    bool *pure;      /* by node id: forward, or elementwise work on forward values */
    bool *small;     /* by value id: not worth computing again */
    bool *wanted;    /* by value id: the backward pass reads it */
    bool *kept;      /* by value id: stays in memory; at first what is wanted */
    bool *addend;    /* by value id: the backward pass adds it to a product */
    bool *adds;      /* by node id: work of the backward pass that such an addition needs */
    bool *cut;       /* by value id: all that is large and computed later depends on it alone */
    int *segment;    /* by node id: the number of cuts before it */
    int *cut_number; /* by value id: of a cut, its place in cuts */
    IrValue **cuts;
    int ncut;
} Recompute;

/* Values by id. */
struct RecomputeStep {
    int add;          /* -1: none */
    int first, ndrop; /* in `drop` of the list */
};

int recompute_id(const Recompute *r, const IrValue *v);
int64_t recompute_bytes(const IrValue *v);
/* Done in its readers' loads: costs nothing and is never in memory. */
bool recompute_see_through(const IrNode *n);

/* The list of steps for the graph, a function of it: each changes `kept` so that less memory is
 * held from the forward to the backward pass. Light ones come first, then the cheapest, by bytes
 * saved per work added. `all`: not the light ones alone. Changes `kept`. */
RecomputeList *recompute_choose(Recompute *r, Arena *a, bool all);

/* Makes the first `steps` steps of the list, or all with fewer in it; `kept` is as at first. */
void recompute_apply(Recompute *r, const RecomputeList *list, int steps);

#endif
