/* The interpreter's engine: gives every value of a graph a dense tensor of doubles and calls one
 * reference function per node in list order. Requires a graph that verifies; does not change it. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

#define REF_ROW_LEAF(name) [OP_##name] = NULL,
#define REF_ROW_VIEW(name) [OP_##name] = ref_##name,
#define REF_ROW_ELTWISE(name) [OP_##name] = ref_##name,
#define REF_ROW_GATHER(name) [OP_##name] = ref_##name,
#define REF_ROW_KERNEL(name) [OP_##name] = ref_##name,
#define REF_ROW_EXPAND(name) [OP_##name] = ref_##name,
#define ROUTE_OF(route, name) REF_ROW_##route(name)
static const RefFn ref_table[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, grad, ...) ROUTE_OF(route, name)
#include "ir/ops.def"
};

enum { MAX_ROUNDED = 6 }; /* operands of an op that rounds some */

/* One node with its tensors. */
typedef struct Step {
    const IrNode *node;
    const RefTensor **in;
    const RefTensor *exact[MAX_ROUNDED]; /* what in[i] is rounded from, where the op rounds it */
    RefTensor *out;
} Step;

struct Interp {
    const IrGraph *graph;
    bool training, seeded, held;
    uint64_t seed, step;
    double part; /* interp_disturb; 0: nothing is moved */
    uint64_t part_seed;
    Step *steps;
    int nsteps;
    int *slot; /* open addressing: node -> index into steps, -1 free. The graph is const: no scratch
                  fields */
    size_t nslots;
};

static size_t slot_of(const Interp *it, const IrNode *n) {
    size_t h = (size_t)vm_mix64((uint64_t)(uintptr_t)n) & (it->nslots - 1);
    while (it->slot[h] >= 0 && it->steps[it->slot[h]].node != n) h = (h + 1) & (it->nslots - 1);
    return h;
}

static RefTensor *tensor_of(const Interp *it, const IrValue *v) {
    int i = it->slot[slot_of(it, v->node)];
    VM_CHECK(i >= 0, "interpreter: value of another graph (%s)", ir_ops[v->node->op].name);
    return &it->steps[i].out[v->index];
}

static void fill_const(const IrNode *n, RefTensor *t) {
    double v = ir_float(n, ATTR_const_value);
    for (int64_t i = 0, c = ir_elems(&t->type); i < c; i++) t->data[i] = v;
}

/* Fixed positions of a grid, row by row: the first half of a row of the table is the column's, the
 * second the row's; each is sin(p w_i) for all i, then cos(p w_i), w_i = 10000^(-i/(dim/4)). */
static void fill_sincos_2d(RefTensor *t, int64_t cols) {
    int64_t dim = ir_cols(&t->type), quarter = dim / 4;
    for (int64_t r = 0; r < ir_rows(&t->type); r++) {
        for (int64_t d = 0; d < dim; d++) {
            double place = (double)(d < dim / 2 ? r % cols : r / cols);
            double angle = place * pow(10000, -(double)(d % quarter) / (double)quarter);
            t->data[r * dim + d] = d / quarter % 2 ? cos(angle) : sin(angle);
        }
    }
}

static void fill_table(const IrNode *n, RefTensor *t) {
    int64_t rows, cols, dim;
    VM_CHECK(ir_table_sincos_2d(ir_str(n, ATTR_table_values), &rows, &cols, &dim),
             "table without values");
    fill_sincos_2d(t, cols);
}

static RefTensor *new_tensor(Arena *a, const IrType *t) {
    RefTensor *r = ARENA_NEW(a, RefTensor);
    r->type = *t;
    r->data = ARENA_ARRAY(a, double, ir_elems(t));
    return r;
}

static void add_step(Interp *it, Arena *a, const IrNode *n) {
    size_t h = slot_of(it, n);
    it->slot[h] = it->nsteps;
    Step *s = &it->steps[it->nsteps++];
    s->node = n;
    s->in = ARENA_ARRAY(a, const RefTensor *, n->nin);
    s->out = ARENA_ARRAY(a, RefTensor, n->nout);
    for (int i = 0; i < n->nin; i++) s->in[i] = tensor_of(it, n->in[i]);
    for (int i = 0; i < n->nout; i++) {
        s->out[i].type = n->out[i].type;
        s->out[i].data = ARENA_ARRAY(a, double, ir_elems(&n->out[i].type));
    }
    for (int i = 0; i < n->nin && i < MAX_ROUNDED; i++) {
        if (!ir_rounds_operand(n, i)) continue;
        s->exact[i] = s->in[i];
        s->in[i] = new_tensor(a, &s->in[i]->type);
    }
    if (n->op == OP_const) fill_const(n, &s->out[0]);
    if (n->op == OP_table) fill_table(n, &s->out[0]);
}

Interp *interp_create(Arena *a, const IrGraph *g, bool training) {
    Interp *it = ARENA_NEW(a, Interp);
    it->graph = g;
    it->training = training;
    size_t count = 0;
    IR_FOR (n, g) count++;
    it->nslots = 16;
    while (it->nslots < 2 * count) it->nslots *= 2;
    it->slot = ARENA_ARRAY(a, int, it->nslots);
    for (size_t i = 0; i < it->nslots; i++) it->slot[i] = -1;
    it->steps = ARENA_ARRAY(a, Step, count);
    IR_FOR (n, g) add_step(it, a, n);
    return it;
}

static RefTensor *leaf_tensor(const Interp *it, const char *name) {
    static const OpCode kinds[] = {OP_input, OP_param, OP_state};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        IrNode *n = ir_find_leaf(it->graph, kinds[i], name);
        if (n) return tensor_of(it, &n->out[0]);
    }
    return NULL;
}

bool interp_set(Interp *it, const char *name, const double *data) {
    RefTensor *t = leaf_tensor(it, name);
    if (!t) return false;
    memcpy(t->data, data, (size_t)ir_elems(&t->type) * sizeof(double));
    return true;
}

bool interp_set_f32(Interp *it, const char *name, const float *data) {
    RefTensor *t = leaf_tensor(it, name);
    if (!t) return false;
    for (int64_t i = 0, n = ir_elems(&t->type); i < n; i++) t->data[i] = data[i];
    return true;
}

bool interp_set_i32(Interp *it, const char *name, const int32_t *data) {
    RefTensor *t = leaf_tensor(it, name);
    if (!t) return false;
    for (int64_t i = 0, n = ir_elems(&t->type); i < n; i++) t->data[i] = data[i];
    return true;
}

void interp_set_rng(Interp *it, uint64_t seed, uint64_t step) {
    it->seeded = true;
    it->seed = seed;
    it->step = step;
    for (int i = 0; i < it->nsteps; i++) {
        const IrNode *n = it->steps[i].node;
        if (n->op != OP_rng_key) continue;
        uint32_t key[2];
        vm_rng_key(seed, vm_hash_name(ir_str(n, ATTR_rng_key_stream)), step, key);
        it->steps[i].out[0].data[0] = (int32_t)key[0];
        it->steps[i].out[0].data[1] = (int32_t)key[1];
    }
}

/* Readers of a step see what was there before it, so the writes happen after everything has run. */
static void commit_effects(Interp *it) {
    for (int i = 0; i < it->nsteps; i++) {
        const Step *s = &it->steps[i];
        for (int r = 0; r < s->node->nout && ir_written(s->node, r); r++) {
            RefTensor *to = tensor_of(it, ir_written(s->node, r));
            memcpy(to->data, s->out[r].data, (size_t)ir_elems(&to->type) * sizeof(double));
        }
    }
}

static void round_operands(const Step *s) {
    for (int i = 0; i < MAX_ROUNDED; i++)
        for (int64_t j = 0, n = s->exact[i] ? ir_elems(&s->exact[i]->type) : 0; j < n; j++)
            s->in[i]->data[j] = ref_bf16(s->exact[i]->data[j]);
}

void interp_hold(Interp *it, bool hold) {
    it->held = hold;
}

static void disturb(const Interp *it, int step) {
    const Step *s = &it->steps[step];
    for (int i = 0; i < s->node->nout; i++) {
        if (s->out[i].type.dtype == DT_i32) continue;
        uint32_t key[2];
        vm_rng_key(it->part_seed, (uint64_t)step, (uint64_t)i, key);
        for (int64_t k = 0, n = ir_elems(&s->out[i].type); k < n; k++)
            s->out[i].data[k] *= 1 + it->part * (2 * (double)vm_rng_uniform(key, (uint32_t)k) - 1);
    }
}

/* A norm takes the mean from its row, and that is rounded, too: where it is large beside what the
 * numbers differ by, this is what moves the result. */
static void disturb_mean(const Interp *it, int step) {
    const Step *s = &it->steps[step];
    int64_t rows = ir_rows(&s->out[0].type), cols = ir_cols(&s->out[0].type);
    uint32_t key[2];
    vm_rng_key(it->part_seed, (uint64_t)step, 7, key);
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, move = 2 * (double)vm_rng_uniform(key, (uint32_t)r) - 1;
        for (int64_t i = 0; i < cols; i++) mean += s->in[0]->data[r * cols + i] / (double)cols;
        move *= it->part * mean * s->out[1].data[r];
        for (int64_t i = 0; i < cols; i++) s->out[0].data[r * cols + i] += move;
    }
}

/* Whether a node computes numbers that f32 would round. */
static bool is_rounded(const IrNode *n) {
    const OpInfo *op = &ir_ops[n->op];
    bool moves = op->route == ROUTE_VIEW || op->route == ROUTE_GATHER || n->op == OP_copy;
    return !moves && op->grad != GRAD_STOP && n->op != OP_topk && n->op != OP_select;
}

void interp_disturb(Interp *it, double part, uint64_t seed) {
    it->part = part;
    it->part_seed = seed;
    for (int i = 0; i < it->nsteps; i++) {
        OpCode op = it->steps[i].node->op;
        if (op == OP_param || op == OP_input || op == OP_state) disturb(it, i);
    }
}

void interp_run(Interp *it) {
    for (int i = 0; i < it->nsteps; i++) {
        const Step *s = &it->steps[i];
        round_operands(s);
        RefFn fn = ref_table[s->node->op];
        if (!fn || (it->held && s->node->op == OP_stop_gradient)) continue;
        RefCall c = {s->node, s->in, s->out, it->training, it->seeded, it->seed, it->step};
        fn(&c);
        if (it->part > 0 && is_rounded(s->node)) disturb(it, i);
        if (it->part > 0 && s->node->op == OP_layer_norm) disturb_mean(it, i);
    }
    commit_effects(it);
}

const RefTensor *interp_value(const Interp *it, const IrValue *v) {
    return tensor_of(it, v);
}

const RefTensor *interp_out(const Interp *it, const char *name) {
    const IrOut *o = ir_find_out(it->graph, name);
    return o ? tensor_of(it, o->value) : NULL;
}

double interp_objective(const Interp *it) {
    double sum = 0;
    for (int i = 0; i < it->graph->nout; i++) {
        const IrOut *o = &it->graph->out[i];
        if (o->kind == OUT_loss || o->kind == OUT_aux)
            sum += o->weight * tensor_of(it, o->value)->data[0];
    }
    return sum;
}

/* ---- what references share (ref.h) ----------------------------------------------------------- */

int64_t ref_index(const RefTensor *t, int64_t i, int64_t n) {
    double v = t->data[i];
    VM_CHECK(v >= 0 && v < (double)n, "interpreter: index %g is not in 0..%lld", v,
             (long long)(n - 1));
    return (int64_t)v;
}

int64_t ref_row_elems(const RefTensor *t) {
    int64_t n = 1;
    for (int i = 1; i < t->type.rank; i++) n *= t->type.dim[i];
    return n;
}

void ref_key(const RefTensor *t, uint32_t key[2]) {
    key[0] = (uint32_t)(int64_t)t->data[0];
    key[1] = (uint32_t)(int64_t)t->data[1];
}

void ref_stream_key(const RefCall *c, const char *stream, uint32_t key[2]) {
    key[0] = key[1] = 0;
    if (c->seeded) vm_rng_key(c->seed, vm_hash_name(stream), c->step, key);
}

double ref_bf16(double x) {
    float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000) return x; /* not a number */
    if ((u & 0x7f800000) == 0) return 0;
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
    memcpy(&f, &u, sizeof f);
    return f;
}

double ref_keep(const uint32_t key[2], int64_t element, double p) {
    if (p <= 0) return 1;
    return vm_rng_uniform(key, (uint32_t)element) < p ? 0 : 1 / (1 - p);
}
