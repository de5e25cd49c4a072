/* The memory plan and the order of tasks, of the shipped models and of random programs, against
 * what the graph says: who reads and writes what is worked out here once more, from nodes, and
 * played through. */
#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "tests/ops/util_gen_graph.h"
#include "tests/unit/codegen/util_program.h"

/* ---- who touches what, from the graph -------------------------------------------------------- */

typedef struct Use {
    const IrValue *value; /* NULL: a packed matrix */
    int buffer;
    bool write;
    int64_t ld, from, end; /* columns of the buffer, as rows of ld elements; ld 0: all of it */
} Use;

typedef struct Task {
    Use *use;
    int nuse, cap;
} Task;

typedef struct World {
    Arena *a;
    const char *what;
    Plan *p;
    Task *task;
    int *task_of; /* per node: the task it is a member of, -1: none */
    int at;
} World;

static void add_use(World *w, const IrValue *v, int buffer, bool write) {
    Task *t = &w->task[w->at];
    cr_assert(buffer >= 0, "%s: task %d %s what is nowhere in memory: %%%d (%s)", w->what, w->at,
              write ? "writes" : "reads", v->node->id, ir_ops[v->node->op].name);
    if (t->nuse == t->cap) {
        int cap = t->cap ? 2 * t->cap : 8;
        Use *grown = ARENA_ARRAY(w->a, Use, cap);
        for (int i = 0; i < t->nuse; i++) grown[i] = t->use[i];
        t->use = grown;
        t->cap = cap;
    }
    t->use[t->nuse++] = (Use){v, buffer, write, 0, 0, 0};
}

/* Only some columns of the buffer are touched: those of elements at + i0 * stride[0] + ..., where
 * each index is walked with the others at zero. */
static void limit_use(World *w, int64_t ld, int64_t at, const IrType *t, const int64_t *stride) {
    Use *u = &w->task[w->at].use[w->task[w->at].nuse - 1];
    int64_t from = at % ld, last = from;
    for (int d = 0; d < t->rank; d++) {
        int64_t far = 0;
        for (int64_t i = 0; i < t->dim[d]; i++)
            far = i * stride[d] % ld > far ? i * stride[d] % ld : far;
        last += far;
    }
    if (last < ld) u->ld = ld, u->from = from, u->end = last + 1;
}

/* What reading v in a load of this task reads from memory. */
static void add_reads(World *w, IrValue *v) {
    IrValue *root = view_root(v);
    const IrNode *n = root->node;
    if (n->op == OP_const) return;
    bool inlined = ir_ops[n->op].route == ROUTE_ELTWISE && n->cluster < 0;
    if (ir_ops[n->op].route == ROUTE_GATHER || inlined) {
        for (int i = 0; i < n->nin; i++) add_reads(w, n->in[i]);
        return;
    }
    if (w->task_of[n->id] == w->at) return; /* made here */
    View view;
    add_use(w, root, plan_buffer(w->p, root), false);
    if (view_resolve(v, &view))
        limit_use(w, ir_cols(&root->type), view.offset, &view.type, view.stride);
}

static void add_member(World *w, const PlanCluster *c, IrNode *n) {
    for (int i = 0; i < n->nin; i++) {
        if (n == c->anchor && i == 1 && c->pack_buffer >= 0)
            add_use(w, NULL, c->pack_buffer, false);
        else
            add_reads(w, n->in[i]);
    }
    for (int i = 0; i < c->nkeep; i++)
        if (ir_written(n, 0) == c->keep[i]->pack->src.root)
            add_use(w, NULL, c->keep[i]->buffer, true);
    for (int r = 0; r < n->nout; r++) {
        if (!plan_is_stored(w->p, &n->out[r])) continue;
        PlanPlace at = plan_place_of(w->p, &n->out[r]);
        add_use(w, &n->out[r], at.buffer, true);
        IrType row = IR_TYPE(DT_f32, ir_cols(&n->out[r].type));
        limit_use(w, at.ld, at.offset, &row, (int64_t[]){1});
    }
}

static World world(Arena *a, IrGraph *g, const CgTarget *t, const char *what) {
    World w = {.a = a, .what = what, .p = plan_create(a, g, t, pack_table_create(a))};
    w.task = ARENA_ARRAY(a, Task, w.p->ncluster + 1);
    w.task_of = ARENA_ARRAY(a, int, g->nnodes);
    for (int i = 0; i < g->nnodes; i++) w.task_of[i] = -1;
    for (int i = 0; i < w.p->ncluster; i++)
        for (int k = 0; k < w.p->cluster[i].nnode; k++) w.task_of[w.p->cluster[i].node[k]->id] = i;
    for (w.at = 0; w.at < w.p->ncluster; w.at++) {
        const PlanCluster *c = &w.p->cluster[w.at];
        if (c->pack) {
            add_reads(&w, c->pack->src.root);
            add_use(&w, NULL, c->pack_buffer, true);
        }
        for (int k = 0; k < c->nnode; k++) add_member(&w, c, c->node[k]);
    }
    return w;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static bool memory_meets(const PlanBuffer *a, const PlanBuffer *b) {
    return a->space == b->space && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

/* Is b written over c by the last task that reads it? */
static bool is_over(const Plan *p, const PlanBuffer *b, const PlanBuffer *c) {
    return b->over >= 0 && &p->buffer[b->over] == c && b->first == c->last &&
           b->offset == c->offset && b->bytes == c->bytes;
}

static void check_buffers(const World *w) {
    const Plan *p = w->p;
    for (int i = 0; i < p->nbuffer; i++) {
        const PlanBuffer *b = &p->buffer[i];
        cr_assert(b->offset >= 0 && b->offset % 64 == 0, "%s: buffer %d is not aligned", w->what,
                  i);
        cr_assert(b->offset + b->bytes <= p->space_bytes[b->space],
                  "%s: buffer %d leaves its space", w->what, i);
        int64_t need =
            b->value ? ir_elems(&b->value->type) * ir_dtype_size(b->value->type.dtype) : 4;
        cr_assert(b->bytes >= need, "%s: buffer %d is too small", w->what, i);
        for (int j = 0; j < i; j++) {
            const PlanBuffer *c = &p->buffer[j];
            bool together = b->first <= c->last && c->first <= b->last;
            if (is_over(p, b, c) || is_over(p, c, b)) continue;
            cr_assert(!(together && memory_meets(b, c)),
                      "%s: buffers %d and %d share memory at one time", w->what, j, i);
        }
    }
}

/* Arguments of every task are exactly what the graph says it touches, within the buffers'
 * lifetimes. */
static void check_arguments(const World *w) {
    const Plan *p = w->p;
    bool *read = ARENA_ARRAY(w->a, bool, p->nbuffer),
         *written = ARENA_ARRAY(w->a, bool, p->nbuffer);
    for (int i = 0; i < p->ncluster; i++) {
        const PlanCluster *c = &p->cluster[i];
        memset(read, 0, (size_t)p->nbuffer);
        memset(written, 0, (size_t)p->nbuffer);
        for (int k = 0; k < w->task[i].nuse; k++) {
            const Use *u = &w->task[i].use[k];
            (u->write ? written : read)[u->buffer] = true;
            const PlanBuffer *b = &p->buffer[u->buffer];
            cr_assert(b->first <= i && i <= b->last,
                      "%s: task %d uses buffer %d, which lives %d to %d", w->what, i, u->buffer,
                      b->first, b->last);
        }
        for (int k = 0; k < c->narg; k++) {
            const PlanArg *arg = &c->arg[k];
            cr_assert(arg->offset >= 0 && arg->offset < p->buffer[arg->buffer].bytes,
                      "%s: argument %d of task %d points out of its buffer", w->what, k, i);
            cr_assert(read[arg->buffer] || written[arg->buffer],
                      "%s: task %d has buffer %d for nothing", w->what, i, arg->buffer);
            cr_assert(!arg->written || written[arg->buffer],
                      "%s: task %d claims to write buffer %d", w->what, i, arg->buffer);
        }
        for (int b = 0; b < p->nbuffer; b++) {
            bool has = false, writes = false;
            for (int k = 0; k < c->narg; k++)
                if (c->arg[k].buffer == b) has = true, writes |= c->arg[k].written;
            cr_assert(has || !(read[b] || written[b]), "%s: task %d lacks buffer %d", w->what, i,
                      b);
            cr_assert(writes || !written[b], "%s: task %d writes buffer %d unannounced", w->what, i,
                      b);
        }
    }
}

static bool conflict(const World *w, int early, int late) {
    for (int i = 0; i < w->task[early].nuse; i++)
        for (int j = 0; j < w->task[late].nuse; j++) {
            const Use *x = &w->task[early].use[i], *y = &w->task[late].use[j];
            bool apart = x->buffer == y->buffer && x->ld && x->ld == y->ld &&
                         (x->end <= y->from || y->end <= x->from);
            if ((x->write || y->write) && !apart &&
                memory_meets(&w->p->buffer[x->buffer], &w->p->buffer[y->buffer]))
                return true;
        }
    return false;
}

/* Tasks between two barriers may run at once; no barrier stands without a reason. */
static void check_barriers(const World *w) {
    int since = 0;
    for (int i = 0; i < w->p->ncluster; i++) {
        bool needed = false;
        int other = -1;
        for (int j = since; j < i && !needed; j++) needed = conflict(w, other = j, i);
        bool barrier = i > 0 && w->p->cluster[i].barrier;
        cr_assert_eq(barrier, needed, "%s: task %d %s (task %d)", w->what, i,
                     needed ? "needs a barrier" : "has a barrier without need", other);
        if (barrier) since = i;
    }
}

/* ---- playing the program through ------------------------------------------------------------- */

typedef struct Play {
    const World *w;
    int *owner; /* per 64 bytes of work memory: the buffer whose contents stand there, or -1 */
    bool *made, *replaced; /* per buffer: written; updated in place */
    bool *done;            /* per task */
    int at;
} Play;

static void own(Play *y, int buffer) {
    const PlanBuffer *b = &y->w->p->buffer[buffer];
    y->made[buffer] = true;
    if (b->space != VM_WORK) return;
    for (int64_t i = b->offset / 64; i < (b->offset + b->bytes) / 64; i++) y->owner[i] = buffer;
}

static void expect_contents(const Play *y, int buffer, const char *who) {
    const PlanBuffer *b = &y->w->p->buffer[buffer];
    cr_assert(y->made[buffer], "%s: %s %d reads buffer %d, which nobody wrote", y->w->what, who,
              y->at, buffer);
    if (b->space != VM_WORK) return;
    for (int64_t i = b->offset / 64; i < (b->offset + b->bytes) / 64; i++)
        cr_assert(y->owner[i] == buffer, "%s: %s %d reads buffer %d, overwritten by buffer %d",
                  y->w->what, who, y->at, buffer, y->owner[i]);
}

/* Has everything that v is made of been computed? A concat without a task stands for its operands.
 */
static void expect_made(const Play *y, const IrValue *v) {
    const IrNode *n = v->node;
    int task = y->w->task_of[n->id];
    if (ir_ops[n->op].route == ROUTE_LEAF) return;
    if (task >= 0) {
        cr_assert(y->done[task], "%s: task %d reads %%%d before task %d makes it", y->w->what,
                  y->at, n->id, task);
        return;
    }
    cr_assert_eq(n->op, OP_concat, "%s: nobody makes %%%d", y->w->what, n->id);
    for (int i = 0; i < n->nin; i++) expect_made(y, n->in[i]);
}

static void play_task(Play *y) {
    const Task *t = &y->w->task[y->at];
    bool update = y->w->p->cluster[y->at].kind == VM_TASK_UPDATE;
    for (int k = 0; k < t->nuse; k++) {
        const Use *u = &t->use[k];
        if (u->write) continue;
        expect_contents(y, u->buffer, "task");
        if (u->value) expect_made(y, u->value);
        bool update_itself = u->value && ir_written(u->value->node, u->value->index);
        cr_assert(!y->replaced[u->buffer] || update_itself,
                  "%s: task %d reads buffer %d after its update", y->w->what, y->at, u->buffer);
    }
    for (int k = 0; k < t->nuse; k++) {
        if (!t->use[k].write) continue;
        own(y, t->use[k].buffer);
        y->replaced[t->use[k].buffer] = update;
    }
    y->done[y->at] = true;
}

static void play(const World *w) {
    const Plan *p = w->p;
    int64_t units = p->space_bytes[VM_WORK] / 64 + 1;
    Play y = {.w = w,
              .owner = ARENA_ARRAY(w->a, int, units),
              .made = ARENA_ARRAY(w->a, bool, p->nbuffer),
              .replaced = ARENA_ARRAY(w->a, bool, p->nbuffer),
              .done = ARENA_ARRAY(w->a, bool, p->ncluster + 1)};
    for (int64_t i = 0; i < units; i++) y.owner[i] = -1;
    IR_FOR (n, p->g)
        if (ir_ops[n->op].route == ROUTE_LEAF && n->op != OP_const)
            own(&y, plan_buffer(p, &n->out[0]));
    for (int i = 0; i < p->nkept; i++) own(&y, p->kept[i].buffer);
    for (y.at = 0; y.at < p->ncluster; y.at++) play_task(&y);
    for (int i = 0; i < p->g->nout; i++) {
        int b = plan_buffer(p, p->g->out[i].value);
        cr_assert(b >= 0, "%s: output %s is nowhere", w->what, p->g->out[i].name);
        expect_contents(&y, b, "the user after task");
        cr_assert_eq(p->buffer[b].last, INT_MAX, "%s: output %s may be overwritten", w->what,
                     p->g->out[i].name);
    }
}

static World check_graph(Arena *a, IrGraph *g, const CgTarget *t, const char *what) {
    World w = world(a, g, t, what);
    check_buffers(&w);
    check_arguments(&w);
    check_barriers(&w);
    play(&w);
    return w;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* The most bytes of work memory that must exist at once. */
static int64_t live_peak(const Plan *p) {
    int64_t peak = 0;
    for (int t = 0; t < p->ncluster; t++) {
        int64_t live = 0;
        for (int i = 0; i < p->nbuffer; i++) {
            const PlanBuffer *b = &p->buffer[i];
            int first = b->over < 0 ? b->first : b->first + 1;
            if (b->space == VM_WORK && first <= t && t <= b->last) live += b->bytes;
        }
        if (live > peak) peak = live;
    }
    return peak;
}

static void check_model(const char *path, Pipeline pipe, int64_t batch) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, path, NULL, batch);
    program_run(g, pipe);
    const char *what =
        arena_printf(a, "%s, pipeline %d, batch %lld", path, (int)pipe, (long long)batch);
    World w = check_graph(a, g, program_target(batch % 2), what);
    int64_t peak = live_peak(w.p), work = w.p->space_bytes[VM_WORK];
    cr_assert(work >= peak, "%s: %lld bytes of work memory for %lld live ones", what,
              (long long)work, (long long)peak);
    cr_assert((double)work <= 1.15 * (double)peak + 4096,
              "%s: %lld bytes of work memory for %lld live ones", what, (long long)work,
              (long long)peak);
    arena_destroy(a);
}

Test(plan, the_models_are_planned_soundly) {
    for (int m = 0; program_models[m]; m++) {
        check_model(program_models[m], PIPE_TRAIN, 128);
        check_model(program_models[m], PIPE_TRAIN, 3);
        check_model(program_models[m], PIPE_GRAD, 2);
        check_model(program_models[m], PIPE_EVAL, 128);
        check_model(program_models[m], PIPE_EVAL, 1);
    }
}

Test(plan, random_programs_are_planned_soundly) {
    static const Pipeline pipelines[] = {PIPE_EVAL, PIPE_GRAD, PIPE_TRAIN};
    for (uint64_t seed = 1; seed <= 200; seed++) {
        Arena *a = arena_create();
        IrGraph *g = gen_graph(a, seed, 3 + (int)(seed % 19));
        program_run(g, pipelines[seed % 3]);
        check_graph(a, g, program_target(seed % 2),
                    arena_printf(a, "seed %llu", (unsigned long long)seed));
        arena_destroy(a);
    }
}

/* Checkpoints and engines rely on it: weights and state lie where they lie, whatever the program is
 * for. */
static void check_same_layout(const Plan *x, const Plan *y, OpCode op, const char *what) {
    int count = 0, other = 0;
    IR_FOR (n, y->g) other += n->op == op;
    IR_FOR (n, x->g) {
        if (n->op != op) continue;
        const char *name = ir_str(n, op == OP_param ? ATTR_param_name : ATTR_state_name);
        const IrNode *m = ir_find_leaf(y->g, op, name);
        cr_assert_not_null(m, "%s: one program lacks %s", what, name);
        cr_assert_eq(x->buffer[plan_buffer(x, &n->out[0])].offset,
                     y->buffer[plan_buffer(y, &m->out[0])].offset, "%s: %s has two places", what,
                     name);
        count++;
    }
    cr_assert(count > 0 && count == other, "%s: %d and %d leaves", what, count, other);
    VmSpace space = op == OP_param ? VM_WEIGHTS : VM_STATE;
    cr_assert_eq(x->space_bytes[space], y->space_bytes[space]);
}

static Plan *model_plan(Arena *a, const char *path, Pipeline pipe, int64_t batch, int target) {
    IrGraph *g = program_elaborate(a, path, NULL, batch);
    program_run(g, pipe);
    return plan_create(a, g, program_target(target), pack_table_create(a));
}

Test(plan, weights_and_state_lie_alike_in_all_programs) {
    for (int m = 0; program_models[m]; m++) {
        Arena *a = arena_create();
        const char *path = program_models[m];
        const Plan *train = model_plan(a, path, PIPE_TRAIN, 128, 0);
        check_same_layout(train, model_plan(a, path, PIPE_TRAIN, 32, 1), OP_param, path);
        check_same_layout(train, model_plan(a, path, PIPE_TRAIN, 32, 0), OP_state, path);
        check_same_layout(train, model_plan(a, path, PIPE_EVAL, 128, 0), OP_param, path);
        check_same_layout(train, model_plan(a, path, PIPE_EVAL, 16, 0), OP_param, path);
        check_same_layout(train, model_plan(a, path, PIPE_GRAD, 2, 0), OP_param, path);
        arena_destroy(a);
    }
}

/* ---- single decisions ------------------------------------------------------------------------ */

static int count_tasks(const Plan *p, OpCode op) {
    int n = 0;
    for (int i = 0; i < p->ncluster; i++)
        for (int k = 0; k < p->cluster[i].nnode; k++) n += p->cluster[i].node[k]->op == op;
    return n;
}

static int count_packs(const Plan *p) {
    int n = 0;
    for (int i = 0; i < p->ncluster; i++) n += p->cluster[i].pack != NULL;
    return n;
}

static World plan_text(Arena *a, const char *text) {
    return check_graph(a, program_read(a, text, PASS_fuse), program_target(0), "text");
}

Test(plan, a_concat_of_columns_is_written_in_place) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[6,4]\n"
                           "  %1 = param {name = \"w\"} : f32[4,5]\n"
                           "  %2 = matmul %0, %1 : f32[6,5]\n"
                           "  %3 = exp %0 : f32[6,4]\n"
                           "  %4 = concat %2, %3 {axis = 1} : f32[6,9]\n"
                           "  %5 = sum %4 {axes = [1]} : f32[6]\n"
                           "  output \"y\" %5\n"
                           "}\n");
    cr_assert_eq(count_tasks(w.p, OP_concat), 0);
    IR_FOR (n, w.p->g) {
        if (n->op != OP_matmul && n->op != OP_exp) continue;
        PlanPlace at = plan_place_of(w.p, &n->out[0]);
        cr_assert_eq(at.ld, 9);
        cr_assert_eq(at.offset, n->op == OP_matmul ? 0 : 5);
    }
    arena_destroy(a);
}

Test(plan, a_concat_that_cannot_be_written_in_place_is_copied) {
    Arena *a = arena_create();
    World w =
        plan_text(a, "graph @t {\n"
                     "  %0 = input {name = \"x\"} : f32[6,4]\n"
                     "  %1 = exp %0 : f32[6,4]\n"
                     "  %2 = neg %0 : f32[6,4]\n"
                     "  %3 = abs %0 : f32[6,4]\n"
                     "  %4 = concat %1, %2 {axis = 0} : f32[12,4]\n" /* rows, not columns */
                     "  %5 = concat %3, %3 {axis = 1} : f32[6,8]\n"  /* one value in two places */
                     "  %6 = softmax %0 : f32[6,4]\n"
                     "  %7 = tanh %0 : f32[6,4]\n"
                     "  %8 = concat %6, %7 {axis = 1} : f32[6,8]\n" /* %7 is read elsewhere too */
                     "  %9 = sum %7 {axes = [0]} : f32[4]\n"
                     "  output \"a\" %4\n"
                     "  output \"b\" %5\n"
                     "  output \"c\" %8\n"
                     "  output \"d\" %9\n"
                     "}\n");
    cr_assert_eq(count_tasks(w.p, OP_concat), 3);
    arena_destroy(a);
}

/* Forward and backward of attention join q, k, v without moving them. */
Test(plan, training_the_sparse_model_copies_no_concat) {
    Arena *a = arena_create();
    cr_assert_eq(count_tasks(model_plan(a, "models/vmoe_fmnist.vmoe", PIPE_TRAIN, 4, 0), OP_concat),
                 0);
    arena_destroy(a);
}

Test(plan, one_pack_serves_all_products_of_a_weight) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[6,20]\n"
                           "  %1 = input {name = \"y\"} : f32[3,20]\n"
                           "  %2 = param {name = \"w\"} : f32[20,20]\n"
                           "  %3 = matmul %0, %2 : f32[6,20]\n"
                           "  %4 = matmul %1, %2 : f32[3,20]\n"
                           "  %5 = matmul %4, %2 {tb = 1} : f32[3,20]\n"
                           "  output \"a\" %3\n"
                           "  output \"b\" %5\n"
                           "}\n");
    cr_assert_eq(count_packs(w.p), 0);
    cr_assert_eq(w.p->nkept, 2); /* as it is, and transposed */
    arena_destroy(a);
}

/* A few columns are multiplied without one (narrow.c); their transposed product is like any other.
 */
Test(plan, narrow_weights_are_not_packed) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[6,20]\n"
                           "  %1 = param {name = \"w\"} : f32[20,12]\n"
                           "  %2 = matmul %0, %1 : f32[6,12]\n"
                           "  output \"a\" %2\n"
                           "}\n");
    cr_assert(count_packs(w.p) == 0 && w.p->nkept == 0);
    w = plan_text(a, "graph @t {\n"
                     "  %0 = input {name = \"y\"} : f32[6,12]\n"
                     "  %1 = param {name = \"w\"} : f32[20,12]\n"
                     "  %2 = matmul %0, %1 {tb = 1} : f32[6,20]\n"
                     "  output \"a\" %2\n"
                     "}\n");
    cr_assert_eq(w.p->nkept, 1);
    arena_destroy(a);
}

/* Large weights are updated as soon as they may, not at the end: after their gradient and their
 * last reader, whichever is later. */
Test(plan, updates_wait_for_gradient_and_readers) {
    Arena *a = arena_create();
    World w = plan_text(
        a, "graph @t {\n"
           "  %0 = input {name = \"x\"} : f32[4,128]\n"
           "  %1 = input {name = \"step.scalars\"} : f32[4]\n"
           "  %2 = param {name = \"w\"} : f32[128,128]\n"
           "  %3 = state {name = \"m\"} : f32[128,128]\n"
           "  %4 = state {name = \"v\"} : f32[128,128]\n"
           "  %5 = matmul %0, %0 {ta = 1} : f32[128,128]\n"
           "  %6 = matmul %0, %2 : f32[4,128]\n"
           "  %7 = softmax %6 : f32[4,128]\n"
           "  %8, %9, %10 = adamw %2, %5, %3, %4, %1 : f32[128,128], f32[128,128], f32[128,128]\n"
           "  output \"y\" %7\n"
           "}\n");
    const PlanCluster *c = w.p->cluster;
    cr_assert_eq(w.p->ncluster, 4);
    cr_assert_eq(c[1].anchor->op, OP_matmul); /* after the gradient */
    cr_assert_eq(c[2].anchor->op, OP_adamw);
    cr_assert_eq(c[2].nkeep, 1);
    cr_assert_eq(c[3].anchor->op, OP_softmax);
    arena_destroy(a);
}

/* The same of updates that are elementwise work; one that writes what another reads waits for it,
 * and small ones stay at the end. */
Test(plan, assignments_wait_for_readers) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[4,128]\n"
                           "  %1 = param {name = \"w\"} : f32[128,128]\n"
                           "  %2 = state {name = \"old\"} : f32[128,128]\n"
                           "  %3 = state {name = \"n\"} : f32[4]\n"
                           "  %4 = matmul %0, %1 : f32[4,128]\n"
                           "  %5 = softmax %4 : f32[4,128]\n"
                           "  %6 = transpose %1 {perm = [1,0]} : f32[128,128]\n"
                           "  %7 = assign %2, %6 : f32[128,128]\n"
                           "  %8 = neg %1 : f32[128,128]\n"
                           "  %9 = neg %3 : f32[4]\n"
                           "  %10 = assign %3, %9 : f32[4]\n"
                           "  %11 = assign %1, %8 : f32[128,128]\n"
                           "  output \"y\" %5\n"
                           "}\n");
    const PlanCluster *c = w.p->cluster;
    cr_assert_eq(w.p->ncluster, 5);
    cr_assert_eq(c[0].anchor->op, OP_matmul);
    cr_assert_eq(c[0].nkeep, 0);
    cr_assert(c[1].anchor && c[1].anchor->op == OP_softmax && c[1].kind == VM_TASK_WORK);
    cr_assert_eq(c[2].store[0]->type.rank, 2);
    cr_assert_str_eq(ir_str(ir_written(c[2].node[0], 0)->node, ATTR_state_name), "old");
    cr_assert_eq(c[3].nkeep, 1);
    cr_assert(c[3].kind == VM_TASK_UPDATE && c[3].nstore == 1);
    cr_assert_str_eq(ir_str(ir_written(c[4].node[1], 0)->node, ATTR_state_name), "n");
    arena_destroy(a);
}

/* Programs of one module: whatever both read packed has one place, and places do not meet. */
Test(plan, packed_weights_lie_alike_in_all_programs) {
    for (int m = 0; program_models[m]; m++) {
        Arena *a = arena_create();
        PackTable *table = pack_table_create(a);
        const Plan *plan[3];
        static const Pipeline pipe[] = {PIPE_EVAL, PIPE_TRAIN, PIPE_TRAIN};
        for (int i = 0; i < 3; i++) {
            IrGraph *g = program_elaborate(a, program_models[m], NULL, i == 2 ? 3 : 8);
            program_run(g, pipe[i]);
            plan[i] = plan_create(a, g, program_target(0), table);
        }
        cr_assert(plan[0]->nkept > 0 && plan[1]->nkept > plan[0]->nkept);
        cr_assert_eq(count_packs(plan[1]), 0, "%s packs a weight in every step", program_models[m]);
        cr_assert_eq(plan[1]->space_bytes[VM_PACKED], plan[2]->space_bytes[VM_PACKED]);
        for (int i = 0; i < plan[1]->nkept; i++) {
            const PlanBuffer *x = &plan[1]->buffer[plan[1]->kept[i].buffer];
            const PlanBuffer *y = &plan[2]->buffer[plan[2]->kept[i].buffer];
            cr_assert(plan[1]->kept[i].updated);
            cr_assert_eq(x->offset, y->offset, "%s: copy %d has two places", program_models[m], i);
        }
        for (int i = 0; i < plan[0]->nkept; i++) cr_assert_not(plan[0]->kept[i].updated);
        arena_destroy(a);
    }
}

/* What adamw cannot write as it goes is packed in every step, where the weight changes in every
 * step. */
Test(plan, a_slice_across_vectors_is_packed_in_the_step) {
    Arena *a = arena_create();
    World w =
        plan_text(a, "graph @t {\n"
                     "  %0 = input {name = \"x\"} : f32[4,8]\n"
                     "  %1 = input {name = \"step.scalars\"} : f32[4]\n"
                     "  %2 = param {name = \"w\"} : f32[8,48]\n"
                     "  %3 = state {name = \"m\"} : f32[8,48]\n"
                     "  %4 = state {name = \"v\"} : f32[8,48]\n"
                     "  %5 = slice %2 {axis = 1, start = 5, size = 16} : f32[8,16]\n"
                     "  %6 = slice %2 {axis = 1, start = 16, size = 16} : f32[8,16]\n"
                     "  %7 = matmul %0, %5 : f32[4,16]\n"
                     "  %8 = matmul %0, %6 : f32[4,16]\n"
                     "  %9, %10, %11 = adamw %2, %2, %3, %4, %1 : f32[8,48], f32[8,48], f32[8,48]\n"
                     "  output \"a\" %7\n"
                     "  output \"b\" %8\n"
                     "}\n");
    cr_assert_eq(count_packs(w.p), 1);
    cr_assert_eq(w.p->nkept, 1);
    cr_assert_eq(w.p->kept[0].col0, 16);
    arena_destroy(a);
}

Test(plan, independent_tasks_share_a_barrier) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[6,4]\n"
                           "  %1 = softmax %0 : f32[6,4]\n"
                           "  %2 = sum %0 {axes = [0]} : f32[4]\n"
                           "  %3 = sum %1 {axes = [0]} : f32[4]\n"
                           "  output \"a\" %2\n"
                           "  output \"b\" %3\n"
                           "}\n");
    cr_assert_eq(w.p->ncluster, 3);
    int barriers = 0;
    for (int i = 0; i < 3; i++) barriers += w.p->cluster[i].barrier;
    cr_assert_eq(barriers, 1);
    arena_destroy(a);
}

/* Two products that write columns of one matrix run side by side; who reads all of it waits, who
 * reads the columns of one need not wait for the other. */
Test(plan, columns_of_one_matrix_are_apart) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[6,4]\n"
                           "  %1 = param {name = \"w\"} : f32[4,8]\n"
                           "  %2 = param {name = \"u\"} : f32[4,8]\n"
                           "  %3 = matmul %0, %1 : f32[6,8]\n"
                           "  %4 = matmul %0, %2 : f32[6,8]\n"
                           "  %5 = concat %3, %4 {axis = 1} : f32[6,16]\n"
                           "  %6 = sum %5 {axes = [0]} : f32[16]\n"
                           "  output \"a\" %6\n"
                           "}\n");
    cr_assert_eq(w.p->ncluster, 3);
    cr_assert_not(w.p->cluster[1].barrier);
    cr_assert(w.p->cluster[2].barrier);
    arena_destroy(a);
}

Test(plan, elementwise_chains_keep_nothing_in_memory) {
    Arena *a = arena_create();
    World w = plan_text(a, "graph @t {\n"
                           "  %0 = input {name = \"x\"} : f32[64,64]\n"
                           "  %1 = exp %0 : f32[64,64]\n"
                           "  %2 = neg %1 : f32[64,64]\n"
                           "  %3 = tanh %2 : f32[64,64]\n"
                           "  output \"y\" %3\n"
                           "}\n");
    cr_assert_eq(w.p->ncluster, 1);
    cr_assert_eq(w.p->nbuffer, 2);
    arena_destroy(a);
}
