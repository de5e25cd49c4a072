/* Results written over operands: every rule of codegen/plan/inplace.c as a small program, with what
 * the plan has to decide; the same programs compiled and compared with the interpreter; and the
 * facts that must hold of every such pair, in the shipped models and in random programs. Columns do
 * not fill vectors, so that masks matter.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <math.h>

#include "tests/ops/util_gen_graph.h"
#include "tests/ops/util_jit.h"
#include "tests/unit/codegen/util_program.h"

#define HEAD                                                                                       \
    "graph @t {\n"                                                                                 \
    "  %0 = input {name = \"x\"} : f32[37,19]\n"                                                   \
    "  %1 = input {name = \"y\"} : f32[37,19]\n"                                                   \
    "  %2 = param {name = \"w\"} : f32[19,19]\n"                                                   \
    "  %3 = param {name = \"v\"} : f32[19,19]\n"
#define TAIL "}\n"

/* The result of the only node `result` is written over that of the only node `operand`, or over
 * nothing. */
typedef struct Case {
    const char *name;
    OpCode result, operand; /* operand OP_const: the result has memory of its own */
    const char *text;
} Case;

#define NOTHING OP_const

static const Case cases[] = {
    {"an elementwise cluster", OP_sub, OP_matmul,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = sum %4 {axes = [0]} : f32[19]\n"
          "  %6 = broadcast %5 {shape = [37,19]} : f32[37,19]\n"
          "  %7 = sub %4, %6 : f32[37,19]\n"
          "  output \"r\" %7\n" TAIL},
    {"through a reshape", OP_sub, OP_matmul,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = sum %4 {axes = [0]} : f32[19]\n"
          "  %6 = broadcast %5 {shape = [1,37,19]} : f32[1,37,19]\n"
          "  %7 = reshape %4 {shape = [1,37,19]} : f32[1,37,19]\n"
          "  %8 = sub %7, %6 : f32[1,37,19]\n"
          "  output \"r\" %8\n" TAIL},
    {"sums that start from the operand", OP_add, OP_layer_norm,
     HEAD "  %4, %5 = layer_norm %1 {eps = 1e-06} : f32[37,19], f32[37,1]\n"
          "  %6 = matmul %0, %2 : f32[37,19]\n"
          "  %7 = add %6, %4 : f32[37,19]\n"
          "  output \"r\" %7\n"
          "  output \"s\" %5\n" TAIL},
    {"behind a product, the last of two results", OP_sub, OP_softmax,
     HEAD "  %4 = softmax %1 : f32[37,19]\n"
          "  %5 = matmul %0, %2 : f32[37,19]\n"
          "  %6 = mul %5, %4 : f32[37,19]\n"
          "  %7 = sub %5, %4 : f32[37,19]\n"
          "  output \"r\" %6\n"
          "  output \"s\" %7\n" TAIL},
    {"behind a product, the first of two results is stored before the second reads", OP_mul,
     NOTHING,
     HEAD "  %4 = softmax %1 : f32[37,19]\n"
          "  %5 = matmul %0, %2 : f32[37,19]\n"
          "  %6 = mul %5, %4 : f32[37,19]\n"
          "  %7 = sub %5, %4 : f32[37,19]\n"
          "  output \"r\" %6\n"
          "  output \"s\" %7\n" TAIL},
    {"the product itself is stored first", OP_matmul, NOTHING,
     HEAD "  %4 = softmax %1 : f32[37,19]\n"
          "  %5 = matmul %0, %2 : f32[37,19]\n"
          "  %6 = mul %5, %4 : f32[37,19]\n"
          "  output \"r\" %5\n"
          "  output \"s\" %6\n" TAIL},
    {"a row kernel over what it evaluates", OP_softmax, OP_matmul,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = softmax %4 : f32[37,19]\n"
          "  output \"r\" %5\n" TAIL},
    {"a row kernel whose consumer reads the operand again", OP_softmax, NOTHING,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = softmax %4 : f32[37,19]\n"
          "  %6 = add %5, %4 : f32[37,19]\n"
          "  output \"r\" %5\n"
          "  output \"s\" %6\n" TAIL},
    {"that consumer", OP_add, OP_matmul,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = softmax %4 : f32[37,19]\n"
          "  %6 = add %5, %4 : f32[37,19]\n"
          "  output \"r\" %5\n"
          "  output \"s\" %6\n" TAIL},
    {"a producer of a row kernel", OP_mul, OP_layer_norm,
     HEAD "  %4, %5 = layer_norm %1 {eps = 1e-06} : f32[37,19], f32[37,1]\n"
          "  %6 = sum %4 {axes = [1]} : f32[37]\n"
          "  %7 = reshape %6 {shape = [37,1]} : f32[37,1]\n"
          "  %8 = broadcast %7 {shape = [37,19]} : f32[37,19]\n"
          "  %9 = mul %4, %8 : f32[37,19]\n"
          "  %10 = softmax %9 : f32[37,19]\n"
          "  %11 = exp %10 : f32[37,19]\n"
          "  output \"r\" %9\n"
          "  output \"s\" %11\n"
          "  output \"t\" %5\n" TAIL},
    {"a producer that the last pass evaluates again", OP_mul, NOTHING,
     HEAD "  %4, %5 = layer_norm %1 {eps = 1e-06} : f32[37,19], f32[37,1]\n"
          "  %6 = sum %4 {axes = [1]} : f32[37]\n"
          "  %7 = reshape %6 {shape = [37,1]} : f32[37,1]\n"
          "  %8 = broadcast %7 {shape = [37,19]} : f32[37,19]\n"
          "  %9 = mul %4, %8 : f32[37,19]\n"
          "  %10 = softmax %9 : f32[37,19]\n"
          "  %11 = add %10, %9 : f32[37,19]\n"
          "  output \"r\" %9\n"
          "  output \"s\" %11\n"
          "  output \"t\" %5\n" TAIL},
    {"the kernel reads the operand's rows", OP_add, NOTHING,
     HEAD "  %4 = softmax %1 : f32[37,19]\n"
          "  %5 = matmul %4, %2 : f32[37,19]\n"
          "  %6 = add %5, %4 : f32[37,19]\n"
          "  output \"r\" %6\n" TAIL},
    {"a transposed operand", OP_add, NOTHING,
     HEAD "  %4 = matmul %2, %3 : f32[19,19]\n"
          "  %5 = transpose %4 {perm = [1,0]} : f32[19,19]\n"
          "  %6 = add %5, %3 : f32[19,19]\n"
          "  output \"r\" %6\n" TAIL},
    {"read straight and transposed", OP_add, NOTHING,
     HEAD "  %4 = matmul %2, %3 : f32[19,19]\n"
          "  %5 = transpose %4 {perm = [1,0]} : f32[19,19]\n"
          "  %6 = add %4, %5 : f32[19,19]\n"
          "  output \"r\" %6\n" TAIL},
    {"part of the operand", OP_exp, NOTHING,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = slice %4 {axis = 0, start = 1, size = 36} : f32[36,19]\n"
          "  %6 = exp %5 : f32[36,19]\n"
          "  output \"r\" %6\n" TAIL},
    {"a smaller operand, repeated", OP_sub, NOTHING,
     HEAD "  %4 = sum %0 {axes = [0]} : f32[19]\n"
          "  %5 = broadcast %4 {shape = [37,19]} : f32[37,19]\n"
          "  %6 = sub %1, %5 : f32[37,19]\n"
          "  output \"r\" %6\n" TAIL},
    {"gathered rows", OP_neg, NOTHING,
     HEAD "  %4 = iota {shape = [37]} : i32[37]\n"
          "  %5 = matmul %0, %2 : f32[37,19]\n"
          "  %6 = dispatch %5, %4 {k = 1} : f32[37,19]\n"
          "  %7 = neg %6 : f32[37,19]\n"
          "  output \"r\" %7\n" TAIL},
    {"somebody reads the operand later", OP_sub, NOTHING,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = sum %4 {axes = [0]} : f32[19]\n"
          "  %6 = broadcast %5 {shape = [37,19]} : f32[37,19]\n"
          "  %7 = sub %4, %6 : f32[37,19]\n"
          "  %8 = matmul %7, %4 {ta = 1} : f32[19,19]\n"
          "  output \"r\" %8\n" TAIL},
    {"the operand is an output", OP_sub, NOTHING,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = sum %4 {axes = [0]} : f32[19]\n"
          "  %6 = broadcast %5 {shape = [37,19]} : f32[37,19]\n"
          "  %7 = sub %4, %6 : f32[37,19]\n"
          "  output \"r\" %7\n"
          "  output \"s\" %4\n" TAIL},
    {"the operand comes from outside", OP_exp, NOTHING,
     HEAD "  %4 = exp %0 : f32[37,19]\n"
          "  output \"r\" %4\n" TAIL},
    {"a weight", OP_exp, NOTHING,
     HEAD "  %4 = exp %2 : f32[19,19]\n"
          "  output \"r\" %4\n" TAIL},
    {"a kernel whose code is not known to allow it", OP_max, NOTHING,
     HEAD "  %4 = sum %0 {axes = [1]} : f32[37]\n"
          "  %5 = reshape %4 {shape = [37,1]} : f32[37,1]\n"
          "  %6 = max %5 : f32[37]\n"
          "  output \"r\" %6\n" TAIL},
    {"columns of a concat", OP_sub, NOTHING,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = sum %4 {axes = [0]} : f32[19]\n"
          "  %6 = broadcast %5 {shape = [37,19]} : f32[37,19]\n"
          "  %7 = sub %4, %6 : f32[37,19]\n"
          "  %8 = exp %1 : f32[37,19]\n"
          "  %9 = concat %7, %8 {axis = 1} : f32[37,38]\n"
          "  output \"r\" %9\n" TAIL},
    {"all of a concat without a task", OP_mul, OP_concat,
     HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
          "  %5 = exp %1 : f32[37,19]\n"
          "  %6 = concat %4, %5 {axis = 1} : f32[37,38]\n"
          "  %7 = sum %6 {axes = [0]} : f32[38]\n"
          "  %8 = broadcast %7 {shape = [37,38]} : f32[37,38]\n"
          "  %9 = mul %6, %8 : f32[37,38]\n"
          "  output \"r\" %9\n" TAIL},
};

enum { NCASES = sizeof cases / sizeof *cases };

static const IrValue *only(const IrGraph *g, OpCode op) {
    const IrNode *found = NULL;
    IR_FOR (n, g) {
        if (n->op != op) continue;
        cr_assert_null(found, "%s stands twice", ir_ops[op].name);
        found = n;
    }
    cr_assert_not_null(found, "no %s", ir_ops[op].name);
    return &found->out[0];
}

static const Plan *plan_of(Arena *a, const char *text, int target) {
    return plan_create(a, program_read(a, text, PASS_fuse), program_target(target),
                       pack_table_create(a));
}

Test(inplace, the_rules) {
    for (int i = 0; i < 2 * NCASES; i++) {
        Arena *a = arena_create();
        const Case *c = &cases[i / 2];
        const Plan *p = plan_of(a, c->text, i % 2);
        const PlanBuffer *r = &p->buffer[plan_buffer(p, only(p->g, c->result))];
        int want = c->operand == NOTHING ? -1 : plan_buffer(p, only(p->g, c->operand));
        cr_expect_eq(r->over, want, "%s: over buffer %d instead of %d", c->name, r->over, want);
        if (want >= 0) cr_expect_eq(r->offset, p->buffer[want].offset, "%s: two places", c->name);
        arena_destroy(a);
    }
}

static void compare(Arena *a, const Case *c, const char *isa) {
    const char *what = arena_printf(a, "%s, %s", c->name, isa);
    IrGraph *g = program_read(a, c->text, PASS_COUNT);
    Interp *want = interp_create(a, g, true);
    case_fill_all(want, g, 7);
    interp_run(want);
    Jit j = jit_compile(a, g, PIPE_EVAL, isa, what);
    JitRun one = jit_run(a, &j, 7, 1, what), three = jit_run(a, &j, 7, 3, what);
    jit_same_bits(&one, &three, what);
    for (int i = 0; i < g->nout; i++) {
        const RefTensor *w = interp_out(want, g->out[i].name);
        const JitResult *x = jit_find(&one, g->out[i].name);
        for (int64_t e = 0, n = ir_elems(&w->type); e < n; e++)
            cr_expect(fabs(w->data[e] - x->data[e]) <= 1e-4 * (1 + fabs(w->data[e])),
                      "%s: %s element %lld is %.9g, expected %.9g", what, g->out[i].name,
                      (long long)e, x->data[e], w->data[e]);
    }
    jit_free(&j);
}

Test(inplace, results_are_those_of_the_interpreter) {
    for (int i = 0; i < NCASES; i++) {
        Arena *a = arena_create();
        const char *isa;
        for (int k = 0; (isa = jit_isa(a, k)); k++) compare(a, &cases[i], isa);
        arena_destroy(a);
    }
}

/* kb_eval keeps a limited number of values; a cluster with more might read the operand again. */
static const Plan *plan_long_sum(Arena *a, int terms) {
    Text t = text_new(a);
    text_add(&t, HEAD "  %4 = softmax %0 : f32[37,19]\n"
                      "  %5 = matmul %1, %2 : f32[37,19]\n"
                      "  %6 = sub %5, %4 : f32[37,19]\n");
    for (int i = 0; i < terms; i++)
        text_addf(&t, "  %%%d = add %%%d, %%0 : f32[37,19]\n", 7 + i, 6 + i);
    text_addf(&t, "  output \"r\" %%%d\n" TAIL, 6 + terms);
    return plan_of(a, t.data, 0);
}

static bool any_over(const Plan *p) {
    for (int i = 0; i < p->nbuffer; i++)
        if (p->buffer[i].over >= 0) return true;
    return false;
}

Test(inplace, more_values_than_are_kept) {
    Arena *a = arena_create();
    cr_assert(any_over(plan_long_sum(a, 35)));
    const Plan *p = plan_long_sum(a, 44);
    cr_assert(!any_over(p));
    bool fused = false; /* else there would be nothing to see */
    for (int i = 0; i < p->ncluster; i++) fused |= 3 * p->cluster[i].nnode > PLAN_KEPT_VALUES;
    cr_assert(fused);
    arena_destroy(a);
}

/* Two results, one operand; and a result that is itself written over. */
Test(inplace, one_result_takes_an_operand_and_chains_form) {
    Arena *a = arena_create();
    const Plan *p = plan_of(a,
                            HEAD "  %4 = matmul %0, %2 : f32[37,19]\n"
                                 "  %5 = softmax %4 : f32[37,19]\n"
                                 "  %6 = sum %5 {axes = [0]} : f32[19]\n"
                                 "  %7 = broadcast %6 {shape = [37,19]} : f32[37,19]\n"
                                 "  %8 = mul %5, %7 : f32[37,19]\n"
                                 "  %9 = exp %8 : f32[37,19]\n"
                                 "  output \"r\" %8\n"
                                 "  output \"s\" %9\n" TAIL,
                            0);
    int over = 0, y = plan_buffer(p, only(p->g, OP_softmax)),
        m = plan_buffer(p, only(p->g, OP_matmul));
    for (int i = 0; i < p->nbuffer; i++) over += p->buffer[i].over == y;
    cr_assert_eq(over, 1);
    cr_assert_eq(p->buffer[y].over, m);
    arena_destroy(a);
}

/* ---- any program ----------------------------------------------------------------------------- */

static bool is_output(const Plan *p, int buffer) {
    for (int i = 0; i < p->g->nout; i++)
        if (plan_buffer(p, p->g->out[i].value) == buffer) return true;
    return false;
}

static int check_pairs(const Plan *p, const char *what) {
    int pairs = 0;
    bool *taken = ARENA_ARRAY(p->arena, bool, p->nbuffer);
    for (int i = 0; i < p->nbuffer; i++) {
        const PlanBuffer *r = &p->buffer[i];
        if (r->over < 0) continue;
        const PlanBuffer *o = &p->buffer[r->over];
        pairs++;
        cr_assert(r->space == VM_WORK && o->space == VM_WORK, "%s: buffer %d is no work memory",
                  what, i);
        cr_assert(!taken[r->over], "%s: buffer %d is written over twice", what, r->over);
        taken[r->over] = true;
        cr_assert(!is_output(p, r->over), "%s: output in buffer %d is written over", what, r->over);
        cr_assert(o->value && ir_ops[o->value->node->op].route != ROUTE_LEAF, "%s: buffer %d", what,
                  r->over);
        cr_assert(o->first < r->first && o->last == r->first && o->offset == r->offset,
                  "%s: buffer %d", what, i);
        cr_assert_eq(ir_elems(&o->value->type), ir_elems(&r->value->type), "%s: buffer %d", what,
                     i);
        cr_assert_eq(ir_dtype_size(o->value->type.dtype), ir_dtype_size(r->value->type.dtype));
        const IrNode *anchor = p->cluster[r->first].anchor;
        for (int k = 0; anchor && !(ir_ops[anchor->op].flags & OPF_PRO) && k < anchor->nin; k++)
            cr_assert_neq(view_root(anchor->in[k]), o->value, "%s: %s reads buffer %d as it likes",
                          what, ir_ops[anchor->op].name, r->over);
    }
    return pairs;
}

Test(inplace, pairs_in_models_and_random_programs) {
    static const Pipeline pipelines[] = {PIPE_TRAIN, PIPE_GRAD, PIPE_EVAL};
    for (int m = 0; program_models[m]; m++)
        for (int k = 0; k < 3; k++) {
            Arena *a = arena_create();
            IrGraph *g = program_elaborate(a, program_models[m], NULL, 4);
            program_run(g, pipelines[k]);
            const Plan *p = plan_create(a, g, program_target(k % 2), pack_table_create(a));
            cr_assert(check_pairs(p, program_models[m]) > 3, "%s: few pairs", program_models[m]);
            arena_destroy(a);
        }
    for (uint64_t seed = 1; seed <= 200; seed++) {
        Arena *a = arena_create();
        IrGraph *g = gen_graph(a, seed, 3 + (int)(seed % 19));
        program_run(g, pipelines[seed % 3]);
        const Plan *p = plan_create(a, g, program_target(seed % 2), NULL);
        check_pairs(p, arena_printf(a, "seed %llu", (unsigned long long)seed));
        arena_destroy(a);
    }
}
