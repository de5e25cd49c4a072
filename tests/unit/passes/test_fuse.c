/* What every fused graph must be like: the shipped models and random programs, in every pipeline.
 * Single decisions are pinned in tests/ir/fuse. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "passes/view.h"
#include "tests/ops/util_gen_graph.h"
#include "tests/ops/util_jit.h"
#include "tests/unit/codegen/util_program.h"

static const Pipeline pipelines[] = {PIPE_EVAL, PIPE_GRAD, PIPE_TRAIN};

static OpRoute route_of(const IrNode *n) {
    return ir_ops[n->op].route;
}

/* Rows times one number per row, read in the load: the only elementwise work without a cluster. */
static bool may_be_inline(const IrNode *n) {
    return n->op == OP_mul &&
           (n->in[0]->node->op == OP_dispatch || n->in[1]->node->op == OP_dispatch);
}

static void check_membership(const IrGraph *g, const char *what) {
    IR_FOR (n, g) {
        bool code = route_of(n) == ROUTE_ELTWISE || route_of(n) == ROUTE_KERNEL;
        if (code && n->cluster < 0)
            cr_assert(may_be_inline(n), "%s: %%%d (%s) has no cluster", what, n->id,
                      ir_ops[n->op].name);
        if (!code)
            cr_assert_eq(n->cluster, -1, "%s: %%%d (%s) has a cluster", what, n->id,
                         ir_ops[n->op].name);
    }
}

/* May kernel b stand behind a in a cluster? */
static bool may_follow(const IrNode *a, const IrNode *b) {
    unsigned fa = ir_ops[a->op].flags, fb = ir_ops[b->op].flags;
    if (fa & OPF_FRONT) return b->op == OP_matmul;
    return (fa & OPF_LEAD) && (fb & OPF_TAIL) && !((fa & OPF_PRO) && (fb & OPF_LEAD));
}

/* Numbers without gaps, one kernel at most and tails behind it, effects alone. Returns how many
 * clusters there are. */
static int check_numbers(const IrGraph *g, const char *what) {
    int members[4096] = {0}, kernels[4096] = {0}, effects[4096] = {0}, count = 0;
    const IrNode *last[4096] = {NULL};
    IR_FOR (n, g) {
        if (n->cluster < 0) continue;
        cr_assert_lt(n->cluster, 4096, "%s: too many clusters for this test", what);
        members[n->cluster]++;
        if (route_of(n) == ROUTE_KERNEL) {
            const IrNode *before = last[n->cluster];
            cr_assert(!before || may_follow(before, n), "%s: %%%d behind %%%d in cluster %d", what,
                      n->id, before ? before->id : 0, n->cluster);
            last[n->cluster] = n;
            kernels[n->cluster]++;
        }
        effects[n->cluster] += (ir_ops[n->op].flags & OPF_EFFECT) != 0;
        if (n->cluster >= count) count = n->cluster + 1;
    }
    for (int i = 0; i < count; i++) {
        cr_assert(members[i] > 0, "%s: no cluster %d of %d", what, i, count);
        cr_assert_leq(kernels[i], 1 + FUSE_MAX_TAILS, "%s: cluster %d has %d kernels", what, i,
                      kernels[i]);
        cr_assert(!effects[i] || !kernels[i] || members[i] == 1, "%s: an update shares cluster %d",
                  what, i);
    }
    return count;
}

/* Everything v is made from in a load of cluster `reader` comes from an earlier cluster. */
static void check_earlier(IrValue *v, int reader, const char *what) {
    const IrNode *root = view_root(v)->node;
    if (root->cluster < 0) {
        for (int i = 0; i < root->nin; i++) check_earlier(root->in[i], reader, what);
        return;
    }
    cr_assert(root->cluster < reader, "%s: cluster %d reads %%%d of cluster %d", what, reader,
              root->id, root->cluster);
}

/* Does kernel n evaluate operand i at its own positions? All other operands it addresses in memory.
 */
static bool evaluates(const IrNode *n, int i) {
    if (n->op == OP_matmul) return i == 0; /* from a front: check_numbers */
    if (!(ir_ops[n->op].flags & OPF_PRO)) return false;
    return i == 0 || (n->op == OP_softmax_grad && i == 1) ||
           ((n->op == OP_layer_norm_grad || n->op == OP_rms_norm_grad) && i == 2);
}

/* Same row and column of the flattened space, straight from the member's first result. */
static void check_in_place(const IrNode *n, int i, const char *what) {
    const IrValue *v = n->in[i], *root = view_root(n->in[i]);
    while (v != root) {
        cr_assert_eq(v->node->op, OP_reshape, "%s: %%%d moves what it reads inside its cluster",
                     what, n->id);
        cr_assert_eq(ir_cols(&v->type), ir_cols(&v->node->in[0]->type),
                     "%s: %%%d reads other columns", what, n->id);
        v = v->node->in[0];
    }
    cr_assert_eq(root->index, 0, "%s: %%%d reads a side result inside its cluster", what, n->id);
    unsigned flags = ir_ops[root->node->op].flags;
    cr_assert(!(flags & OPF_TAIL) || (flags & OPF_EPI),
              "%s: %%%d reads a last tail inside its cluster", what, n->id);
    bool kernel = route_of(n) == ROUTE_KERNEL;
    cr_assert(!kernel || evaluates(n, i),
              "%s: %%%d (%s) reads operand %d from memory, where it is not", what, n->id,
              ir_ops[n->op].name, i);
}

static void check_reads(const IrGraph *g, const char *what) {
    IR_FOR (n, g)
        for (int i = 0; n->cluster >= 0 && i < n->nin; i++) {
            if (view_root(n->in[i])->node->cluster == n->cluster)
                check_in_place(n, i, what);
            else
                check_earlier(n->in[i], n->cluster, what);
        }
}

/* A weight is updated after everybody has read it. */
static void check_updates(const IrGraph *g, const char *what) {
    int update[4096];
    IR_FOR (n, g) update[n->id % 4096] = INT32_MAX;
    IR_FOR (n, g)
        if (ir_written(n, 0)) update[ir_written(n, 0)->node->id % 4096] = n->cluster;
    IR_FOR (n, g)
        for (int i = 0; n->cluster >= 0 && !ir_written(n, 0) && i < n->nin; i++) {
            const IrNode *root = view_root(n->in[i])->node;
            if (root->op != OP_param) continue;
            cr_assert(n->cluster <= update[root->id % 4096], "%s: %%%d reads %%%d after its update",
                      what, n->id, root->id);
        }
}

static void check_graph(Arena *a, IrGraph *g, Pipeline pipe, const char *what) {
    IrGraph *again = ir_graph_clone(a, g);
    program_run(g, pipe);
    program_run(again, pipe);
    cr_assert_str_eq(ir_to_text(a, g), ir_to_text(a, again), "%s: fused in two ways", what);
    ir_renumber(g);
    cr_assert_lt(g->nnodes, 4096, "%s: too many nodes for this test", what);
    check_membership(g, what);
    check_numbers(g, what);
    check_reads(g, what);
    check_updates(g, what);
}

Test(fuse, the_models_keep_the_rules) {
    for (int m = 0; program_models[m]; m++)
        for (int p = 0; p < 3; p++) {
            Arena *a = arena_create();
            IrGraph *g = program_elaborate(a, program_models[m], NULL, 4);
            check_graph(a, g, pipelines[p],
                        arena_printf(a, "%s, pipeline %d", program_models[m], p));
            arena_destroy(a);
        }
}

Test(fuse, random_programs_keep_the_rules) {
    for (uint64_t seed = 1; seed <= 150; seed++) {
        Arena *a = arena_create();
        Pipeline pipe = pipelines[seed % 3];
        IrGraph *g = gen_graph(a, seed, 4 + (int)(seed % 17));
        check_graph(a, g, pipe, arena_printf(a, "seed %llu", (unsigned long long)seed));
        arena_destroy(a);
    }
}

/* ---- random webs of elementwise work and sums: what joins what, in all ways ------------------ */

/* Two shapes, sums from the larger to the smaller and broadcasts back: the paths that forbid a
 * merge. */
static IrGraph *random_web(Arena *a, uint64_t seed) {
    CaseRng r = {seed};
    IrGraph *g = ir_graph_create(a, "web");
    IrBuilder b = ir_builder(g);
    IrType wide = IR_TYPE(DT_f32, 4, 8), narrow = IR_TYPE(DT_f32, 8);
    IrValue *w[64], *v[64];
    int nw = 0, nv = 0;
    w[nw++] = ir_input(&b, "wide", wide);
    v[nv++] = ir_input(&b, "narrow", narrow);
    for (int i = 0; i < 40; i++) {
        IrValue *x = w[case_below(&r, nw)], *x2 = w[case_below(&r, nw)];
        IrValue *y = v[case_below(&r, nv)], *y2 = v[case_below(&r, nv)];
        switch (case_below(&r, 7)) {
        case 0: v[nv++] = ir_sum_axes(&b, x, (int64_t[]){0}, 1); break;
        case 1: w[nw++] = ir_binary(&b, OP_mul, x, ir_broadcast(&b, y, &wide)); break;
        case 5: w[nw++] = IR_OP(&b, topk, VALS(x), ATTRS(A_INT(topk_k, ir_cols(&wide)))); break;
        case 2: v[nv++] = ir_binary(&b, OP_add, y, y2); break;
        case 3: w[nw++] = ir_binary(&b, OP_maximum, x, x2); break;
        case 4: w[nw++] = ir_unary(&b, OP_softmax, x); break;
        default: v[nv++] = ir_unary(&b, OP_tanh, y); break;
        }
    }
    for (int i = 1; i < nw; i++)
        if (case_below(&r, 4) == 0)
            ir_add_out(g, OUT_output, arena_printf(a, "w%d", i), w[i], 1, (IrLoc){0});
    ir_add_out(g, OUT_output, "v", v[nv - 1], 1, (IrLoc){0});
    return g;
}

Test(fuse, webs_keep_the_rules) {
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        Arena *a = arena_create();
        check_graph(a, random_web(a, seed), PIPE_EVAL,
                    arena_printf(a, "web %llu", (unsigned long long)seed));
        arena_destroy(a);
    }
}

/* ---- long graphs ----------------------------------------------------------------------------- */

Test(fuse, a_long_graph_is_no_problem, .timeout = 20) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "long");
    IrBuilder b = ir_builder(g);
    IrValue *x = ir_input(&b, "x", IR_TYPE(DT_f32, 8)), *y = x;
    for (int i = 0; i < 20000; i++) {
        y = ir_unary(&b, i % 50 ? OP_tanh : OP_softmax, y);
        if (i % 7 == 0) y = ir_binary(&b, OP_add, y, x);
    }
    ir_add_out(g, OUT_output, "y", y, 1, (IrLoc){0});
    PassCtx c = pass_ctx(arena_create());
    PassId fuse = PASS_fuse;
    cr_assert_null(pass_run(&c, g, &fuse, 1));
    check_reads(g, "long graph");
    arena_destroy(c.scratch);
    arena_destroy(a);
}

/* ---- programs that were once fused or compiled wrongly --------------------------------------- */

static void check_values(const char *text) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a, text, PASS_COUNT);
    Interp *it = interp_create(a, g, false);
    case_fill_all(it, g, 7);
    interp_run(it);
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        Jit j = jit_compile(a, g, PIPE_EVAL, isa, "values");
        JitRun run = jit_run(a, &j, 7, 1, "values");
        for (int k = 0; k < g->nout; k++) {
            const RefTensor *want = interp_out(it, g->out[k].name);
            const JitResult *got = jit_find(&run, g->out[k].name);
            cr_assert_not_null(got);
            for (int64_t e = 0; e < ir_elems(&want->type); e++)
                cr_assert(fabs(want->data[e] - got->data[e]) < 1e-4 * (1 + fabs(want->data[e])),
                          "%s: %s element %lld is %.9g, expected %.9g", isa, g->out[k].name,
                          (long long)e, got->data[e], want->data[e]);
        }
        jit_free(&j);
    }
    arena_destroy(a);
}

/* Merging both %2 with %6 and %4 with %7 would close a circle. */
Test(fuse, crossed_clusters_run_in_order) {
    check_values("graph @t {\n"
                 "  %0 = input {name = \"a\"} : f32[4,8]\n"
                 "  %1 = input {name = \"b\"} : f32[8]\n"
                 "  %2 = relu %0 : f32[4,8]\n"
                 "  %3 = sum %2 {axes = [0]} : f32[8]\n"
                 "  %4 = exp %1 : f32[8]\n"
                 "  %5 = broadcast %4 {shape = [4,8]} : f32[4,8]\n"
                 "  %6 = mul %2, %5 : f32[4,8]\n"
                 "  %7 = add %4, %3 : f32[8]\n"
                 "  output \"y\" %6\n"
                 "  output \"z\" %7\n"
                 "}\n");
}

/* The sums differ only in the shape of the member they read. */
Test(fuse, kernels_differ_by_the_shapes_of_members) {
    check_values("graph @t {\n"
                 "  %0 = input {name = \"a\"} : f32[12,8]\n"
                 "  %1 = input {name = \"b\"} : f32[12,8]\n"
                 "  %2 = exp %0 : f32[12,8]\n"
                 "  %3 = exp %1 : f32[12,8]\n"
                 "  %4 = reshape %2 {shape = [2,2,3,8]} : f32[2,2,3,8]\n"
                 "  %5 = reshape %3 {shape = [3,2,2,8]} : f32[3,2,2,8]\n"
                 "  %6 = sum %4 {axes = [0,2]} : f32[2,8]\n"
                 "  %7 = sum %5 {axes = [0,2]} : f32[2,8]\n"
                 "  output \"y\" %6\n"
                 "  output \"z\" %7\n"
                 "}\n");
}

/* The same with gathered rows. */
Test(fuse, kernels_differ_by_the_shapes_of_gathers) {
    check_values("graph @t {\n"
                 "  %0 = input {name = \"c:choice4even\"} : i32[6,2]\n"
                 "  %1, %2, %3, %4 = route %0 {experts = 4} : i32[5], i32[12], i32[6,2], i32[12]\n"
                 "  %5 = input {name = \"a\"} : f32[6,8]\n"
                 "  %6 = dispatch %5, %2 {k = 2} : f32[12,8]\n"
                 "  %7 = reshape %6 {shape = [2,2,3,8]} : f32[2,2,3,8]\n"
                 "  %8 = reshape %6 {shape = [3,2,2,8]} : f32[3,2,2,8]\n"
                 "  %9 = sum %7 {axes = [0,2]} : f32[2,8]\n"
                 "  %10 = sum %8 {axes = [0,2]} : f32[2,8]\n"
                 "  output \"y\" %9\n"
                 "  output \"z\" %10\n"
                 "}\n");
}

/* Operands with the shape of the evaluated one that the kernels read from memory. */
Test(fuse, operands_read_from_memory_are_there) {
    check_values("graph @t {\n"
                 "  %0 = input {name = \"a\"} : f32[4,3]\n"
                 "  %1 = iota {shape = [4,3]} : i32[4,3]\n"
                 "  %2 = put_last %0, %1 {experts = 5} : f32[4,5]\n"
                 "  %3 = input {name = \"b\"} : f32[4,1]\n"
                 "  %4 = input {name = \"r:pos\"} : f32[4,1]\n"
                 "  %5 = exp %4 : f32[4,1]\n"
                 "  %6 = layer_norm_grad %3, %5, %3 : f32[4,1]\n"
                 "  output \"y\" %2\n"
                 "  output \"z\" %6\n"
                 "}\n");
}
