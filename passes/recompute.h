/* Internal to the pass recompute: which forward values the backward pass reads from memory, and which it
 * computes again. recompute.c finds the values and rewrites the graph; recompute_steps.c chooses. */
#ifndef VMOEC_PASSES_RECOMPUTE_H
#define VMOEC_PASSES_RECOMPUTE_H

#include "passes/passes.h"

/* Values are numbered: value i of node n is first[n->id] + i. */
typedef struct Recompute {
    Arena *arena;
    IrGraph *g;
    int light; /* of the steps: those at the front of the list that add elementwise work alone */
    int nvalue;
    int *first;      /* by node id */
    IrValue **value; /* by value id */
    bool *forward;   /* by node id: a result of the forward pass depends on it */
    bool *pure;      /* by node id: forward, or elementwise work on forward values */
    bool *small;     /* by value id: not worth computing again */
    bool *wanted;    /* by value id: the backward pass reads it */
    bool *kept;      /* by value id: stays in memory; at first what is wanted */
    bool *cut;       /* by value id: all that is large and computed later depends on it alone */
    int *segment;    /* by node id: the number of cuts before it */
    IrValue **cuts;
    int ncut;
} Recompute;

int recompute_id(const Recompute *r, const IrValue *v);
int64_t recompute_bytes(const IrValue *v);
/* Done in its readers' loads: costs nothing and is never in memory. */
bool recompute_see_through(const IrNode *n);

/* Makes the first `steps` steps of a list that is a function of the graph: each changes `kept` so that less
 * memory is held from the forward to the backward pass. Light ones come first, then the cheapest, by bytes
 * saved per work added. Returns the length of the whole list; with RECOMPUTE_LIGHT the list ends after the
 * former. Sets r->light. */
int recompute_choose(Recompute *r, int steps);

#endif
