/* Measures of what a training program leaves behind of its routes. */
#ifndef VMOEC_RUNTIME_LOG_ROUTES_H
#define VMOEC_RUNTIME_LOG_ROUTES_H

#include "runtime/exec/exec.h"
#include "runtime/log/events.h"

enum { VM_MEASURES = 4 };

typedef struct VmRoute {
    const char *name; /* the first program's; all have it */
    int64_t experts, tokens, k;
    const int32_t *offsets; /* [experts + 1] */
    const int32_t *choices; /* [tokens, k], -1 none; NULL: every token is served */
    const float *logits;    /* [tokens, experts]; NULL: there is no gate */
    double *load_sum, *by_image;
    double now[VM_MEASURES], sum[VM_MEASURES]; /* as measured last, and added up */
    int64_t steps, measured;                   /* in the sums of loads and of measures */
} VmRoute;

typedef struct VmRouting { /* {0} at first */
    VmRoute *route;
    int n;
    int64_t images; /* of a step */
} VmRouting;

/* The routes of a program, valid as long as a binding of it. Programs for other batch sizes of the
 * same model have the same routes, and what was added up stays. */
VmStatus vm_routing_find(VmRouting *r, VmEngine *e, int program, int64_t images, VmError *err);
void vm_routing_free(VmRouting *r);
void vm_routing_begin_epoch(VmRouting *r);
/* After every step; after steps that are logged, and the last of an epoch. */
void vm_routing_step(VmRouting *r);
void vm_routing_measure(VmRouting *r);
/* Group "<route>": {"load": [..], "dead": n, "entropy": .., ..}, of the last step, or means over
 * the epoch's. */
VmFacts vm_routing_facts(const VmRouting *r, bool epoch);
/* Loads over the epoch so far of the route whose busiest expert has the most to do: the least and
 * the most that an expert has, 1 for an even share. False: there is no route, or no step yet. */
bool vm_routing_spread(const VmRouting *r, double *least, double *most);
/* What was added up in this epoch: {"<route>": {"steps": n, "measured": n, "load": [..],
 * "measures": [..]}}, sums by expert and by measure; routes without a step have none. */
VmJson vm_routing_sums(const VmRouting *r);
/* Whether a value is what vm_routing_sums makes. */
bool vm_routing_are_sums(struct json_t *sums);
/* Goes on from such sums: of routes of the same name and number of experts. */
void vm_routing_go_on(VmRouting *r, const struct json_t *sums);
/* Where over the epoch experts had nothing to do, or few did most. */
void vm_routing_warn(const VmRouting *r, VmLog *log, int64_t epoch);

#endif
