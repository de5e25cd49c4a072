/* What routing costs: a model's step against the same model with plain layers on the same number of
 * rows (passes/dense.c), both without their optimizer updates, because E times the weights are E
 * times that work. Also: routing that a benchmark decides instead of the gates, and how full the
 * fullest expert is. */
#include "driver/bench/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* ---- forced routing -------------------------------------------------------------------------- */

static const char forced_prefix[] = "bench.routing.";

/* "learned", "uniform", "skew=0.9" */
VmStatus routing_parse(const char *text, Routing *out) {
    char *end = NULL;
    *out = (Routing){.kind = ROUTING_LEARNED, .text = text ? text : "learned"};
    if (!text || !strcmp(text, "learned")) return VM_OK;
    out->kind = ROUTING_FORCED;
    if (!strcmp(text, "uniform")) return VM_OK;
    if (!strncmp(text, "skew=", 5) && text[5]) out->share = strtod(text + 5, &end);
    if (end && !*end && out->share > 0 && out->share <= 1) return VM_OK;
    return drv_fail(VM_USAGE,
                    "--routing is learned, uniform or skew=SHARE with a share in (0, 1], not '%s'",
                    text);
}

/* Every top_k reads its gate plus a table of 0 for the experts to choose and -1e30 for all others:
 * their values stay the gate's own. */
void routing_force(IrGraph *g) {
    int i = 0;
    IR_FOR (n, g) {
        if (n->op != OP_topk) continue;
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        IrValue *table =
            ir_input(&b, arena_printf(g->arena, "%s%d", forced_prefix, i++), n->in[0]->type);
        n->in[0] = ir_binary(&b, OP_add, n->in[0], table);
    }
}

static int64_t table_choices(const IrGraph *g, const IrNode *table) {
    IR_FOR (n, g)
        if (n->op == OP_topk && n->in[0]->node->nin == 2 && n->in[0]->node->in[1]->node == table)
            return ir_int(n, ATTR_topk_k);
    VM_BUG("no top_k reads %s", ir_str(table, ATTR_input_name));
}

/* Tokens in a fixed random order take experts in turn: equal loads. With a skew, the first choice
 * of that share of the tokens is expert 0, and all other choices go to the others in turn. */
static void fill_table(const Routing *r, int64_t tokens, int64_t experts, int64_t k, float *to) {
    int64_t *order = malloc((size_t)tokens * sizeof *order), turn = 0;
    if (!order) vm_out_of_memory((size_t)tokens * sizeof *order);
    for (int64_t i = 0; i < tokens; i++) order[i] = i;
    uint32_t key[2];
    vm_rng_key(1, vm_hash_name(forced_prefix), 0, key);
    for (int64_t i = tokens - 1; i > 0; i--) {
        int64_t j = vm_rng_bits(key, (uint32_t)i) % (i + 1), x = order[i];
        order[i] = order[j];
        order[j] = x;
    }
    for (int64_t i = 0; i < tokens * experts; i++) to[i] = -1e30f;
    bool skewed = r->share > 0 && experts > 1;
    int64_t first = skewed ? (int64_t)llround(r->share * (double)tokens) : 0;
    for (int64_t i = 0; i < tokens; i++) {
        float *row = to + order[i] * experts;
        int64_t done = 0;
        if (i < first) row[0] = 0;
        if (i < first) done = 1;
        int64_t others = skewed && k < experts ? experts - 1 : experts;
        for (; done < k; done++, turn++) row[experts - others + turn % others] = 0;
    }
}

void routing_fill(const Routing *r, const IrGraph *g, VmEngine *e, int program) {
    IR_FOR (n, g) {
        if (n->op != OP_input ||
            strncmp(ir_str(n, ATTR_input_name), forced_prefix, strlen(forced_prefix)))
            continue;
        const IrType *t = &n->out[0].type;
        float *to = vm_engine_data(e, program, ir_str(n, ATTR_input_name));
        if (to) fill_table(r, ir_rows(t), ir_cols(t), table_choices(g, n), to);
    }
}

/* ---- loads ----------------------------------------------------------------------------------- */

double routing_load(const IrGraph *g, VmEngine *e, int program) {
    double worst = 0;
    for (int i = 0; i < g->nout; i++) {
        const IrValue *v = g->out[i].value;
        const int32_t *index = vm_engine_data(e, program, g->out[i].name);
        if (v->node->op != OP_topk || v->index != 1 || !index) continue;
        int64_t experts = ir_cols(&v->node->in[0]->type), pairs = ir_elems(&v->type);
        int64_t *count = calloc((size_t)experts, sizeof *count);
        if (!count) vm_out_of_memory((size_t)experts * sizeof *count);
        for (int64_t p = 0; p < pairs; p++) count[index[p]]++;
        for (int64_t x = 0; x < experts; x++)
            worst = fmax(worst, (double)count[x] * (double)experts / (double)pairs);
        free(count);
    }
    return worst;
}

/* ---- overhead -------------------------------------------------------------------------------- */

/* The program without its optimizer updates: weights stay as they are. */
static VmProgram *without_updates(Arena *a, const VmProgram *p) {
    VmProgram *q = ARENA_NEW(a, VmProgram);
    VmTask *task = ARENA_ARRAY(a, VmTask, p->ntask + 1);
    *q = *p;
    q->task = task;
    q->ntask = 0;
    q->updates = 0; /* so its packed copies stay right, too */
    q->gate = 0;    /* and nothing has to wait for its losses */
    bool barrier = false;
    for (int i = 0; i < p->ntask; i++) {
        barrier |= p->task[i].barrier;
        if (p->task[i].kind == VM_TASK_UPDATE) continue;
        task[q->ntask] = p->task[i];
        task[q->ntask++].barrier = barrier;
        barrier = false;
    }
    return q;
}

typedef struct Side {
    VmEngine *engine;
    int program;
    double *seconds;
} Side;

static void fill_side(const Routing *r, const IrGraph *g, const Side *x) {
    session_fill_inputs(g, x->engine, x->program);
    routing_fill(r, g, x->engine, x->program);
}

static void run(Side *x, int i) {
    double t0 = vm_seconds();
    vm_engine_run(x->engine, x->program, 0, (uint64_t)(i < 0 ? 0 : i));
    if (i >= 0) x->seconds[i] = vm_seconds() - t0;
}

/* One step of each in turn, so that a change of the machine's speed meets both. */
static void time_both(Arena *a, Side side[2], int steps, Overhead *out) {
    for (int k = 0; k < 2; k++) {
        side[k].seconds = ARENA_ARRAY(a, double, steps);
        for (int i = 0; i < 2; i++) run(&side[k], -1);
    }
    for (int i = 0; i < steps; i++)
        for (int k = 0; k < 2; k++) run(&side[k], i);
    out->known = true;
    out->seconds = drv_median(side[0].seconds, steps);
    out->dense_seconds = drv_median(side[1].seconds, steps);
    out->overhead = out->seconds / out->dense_seconds - 1;
}

VmStatus bench_overhead(Bench *b, const IrGraph *g, const Program *p, int steps) {
    Session *s = b->s;
    b->moe = (Overhead){0};
    bool routed = false;
    IR_FOR (n, g) routed |= n->op == OP_route;
    if (!routed) return VM_OK;
    VmError err = {.text = ""};
    ProgramKind kind = p->kind;
    kind.dense = true;
    const Program *twin = session_compile(s, kind, p->batch, false, &err);
    if (!twin) {
        fprintf(stderr, "vmoec: note: no moe_overhead: %s\n", err.text);
        return VM_OK;
    }
    Side side[2] = {{.engine = s->engine}, {0}};
    VmStatus st = vm_engine_create(vm_engine_threads(s->engine), &side[1].engine, &err);
    if (st) return drv_fail(st, "%s", err.text);
    side[0].program = vm_engine_add(s->engine, without_updates(s->arena, p->code), &err);
    side[1].program = vm_engine_add(side[1].engine, without_updates(s->arena, twin->code), &err);
    st = side[0].program < 0 || side[1].program < 0 ? VM_ENV
                                                    : vm_engine_init(side[1].engine, 0, &err);
    if (st) drv_fail(st, "%s", err.text);
    for (int k = 0; k < 2 && !st; k++) fill_side(&b->routing, g, &side[k]);
    if (!st) time_both(s->arena, side, steps, &b->moe);
    vm_engine_destroy(side[1].engine);
    return st;
}
