/* Where values that are not finite come from, in programs that were run with their ranges: inputs
 * that no data set can have, infinities that are meant, several origins, rows that are nobody's. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "driver/session/finite.h"
#include "runtime/exec/internal.h"

enum { BATCH = 16, PIXELS = 6 };

static const char *const head =
    "use \"std/moe\"\nmodel m(image: f32[B, 6], label: class[B, 2]) {\n";

typedef struct Ran {
    Session s;
    Look l;
    VmFailure failure;
} Ran;

/* Runs the model's body on `spoil`ed images; to be closed. */
static void run(Ran *r, const char *body, Pipeline pipe, void (*spoil)(float *image)) {
    VmoecOptions o;
    vmoec_options_init(&o);
    char text[1024];
    snprintf(text, sizeof text, "%s%s}\n", head, body);
    o.path = "m.vmoe";
    o.models = "models";
    o.text = text;
    o.batch = BATCH;
    VmError err = {.text = ""};
    memset(r, 0, sizeof *r);
    cr_assert_eq(session_open(&r->s, &o, false), VM_OK, "%s", r->s.messages.error);
    cr_assert_eq(session_engine(&r->s, 2), VM_OK);
    const ProgramKind kind = {.pipe = pipe, .training = true};
    const Program *p = session_program(&r->s, kind, BATCH, false, &err);
    cr_assert_not_null(p, "%s", err.text);
    cr_assert_eq(vm_engine_init(r->s.engine, 1, &err), VM_OK);
    session_fill_inputs(session_graph(&r->s, BATCH), r->s.engine, p->index);
    if (spoil) spoil(vm_engine_data(r->s.engine, p->index, "image"));
    (void)vm_engine_run(r->s.engine, p->index, 0, 0);
    r->failure = (VmFailure){.kind = "loss", .name = "l", .value = NAN};
    r->l = (Look){.s = &r->s, .failure = &r->failure, .program = p};
    session_look_read(&r->l);
}

/* The first op is as expected, and stands in that line of the model. */
static const IrNode *first(const Ran *r, const char *of, const char *op, int line) {
    const IrValue *v = session_look_result(&r->l, of);
    cr_assert_not_null(v, "no result %s", of);
    const IrNode *n = session_look_origin(&r->l, v);
    cr_assert_not_null(n, "%s is finite", of);
    cr_assert_str_eq(ir_ops[n->op].name, op);
    cr_assert_eq(n->loc.line, line, "line %d", n->loc.line);
    return n;
}

static void with_nan(float *image) {
    image[7] = NAN;
}

static void with_zeros(float *image) {
    memset(image, 0, BATCH * PIXELS * sizeof *image);
}

Test(finite, an_input_that_is_not) {
    Ran r;
    run(&r, "  x = square(linear(image, 3))\n  loss l = mean(x)\n", PIPE_CHECK_EVAL, with_nan);
    const IrNode *n = first(&r, "l", "input", 2);
    VmFacts found = {0};
    session_look_say(&r.l, n, &found);
    vm_facts_free(&found);
    cr_assert_eq(r.s.finding->nerrors, 1);
    cr_assert_not_null(
        strstr(r.s.finding->first->text, "input 'image' has values that are not numbers"));
    session_close(&r.s);
}

Test(finite, everything_is) {
    Ran r;
    run(&r, "  loss l = mean(square(linear(image, 3)))\n", PIPE_CHECK_EVAL, NULL);
    cr_assert_null(session_look_origin(&r.l, session_look_result(&r.l, "l")));
    cr_assert_null(session_look_result(&r.l, "k"));
    session_close(&r.s);
}

/* log(0) in a mask does no harm: exp makes 0 of it. What does is later. */
Test(finite, an_infinity_that_is_meant_is_passed_by) {
    Ran r;
    run(&r,
        "  zero = image - image\n"
        "  mask = log(zero)\n"
        "  p = softmax(image + where(image < -1, mask, image))\n"
        "  q = sqrt(p - 2)\n"
        "  loss l = mean(exp(mask)) + mean(q)\n",
        PIPE_CHECK_EVAL, NULL);
    first(&r, "l", "sqrt", 6);
    session_close(&r.s);
}

/* NaN of infinities: the op that made the infinity is the first. */
Test(finite, nan_of_infinities_began_with_these) {
    Ran r;
    run(&r,
        "  a = exp(image * 0 + 100)\n"
        "  b = exp(image * 0 + 200)\n"
        "  loss l = mean(b - a)\n",
        PIPE_CHECK_EVAL, NULL);
    first(&r, "l", "exp", 3);
    session_close(&r.s);
}

/* Finite losses whose gradient is not: the op of the backward pass has the place of the root. */
Test(finite, gradients_alone) {
    Ran r;
    run(&r, "  param w: [6] = ones()\n  s = sqrt(sum(square(image * w)))\n  loss l = s\n",
        PIPE_CHECK_GRAD, with_zeros);
    cr_assert_null(session_look_origin(&r.l, session_look_result(&r.l, "l")));
    const PassRanges *x = r.l.program->ranges;
    cr_assert_eq(x->ngradient, 1);
    cr_assert_str_eq(x->gradient[0].name, "grad.m.w");
    const IrNode *n = session_look_origin(&r.l, x->gradient[0].value);
    cr_assert(n && n->nin > 0 && n->loc.line == 4, "in line 4");
    session_close(&r.s);
}

/* NaN everywhere in the step's memory but in inputs. */
static void fill_work(Ran *r) {
    static const char *const name[] = {"image", "label"};
    const VmProgram *p = r->l.program->code;
    int program = r->l.program->index;
    const VmTensor *t[2];
    unsigned char *base = NULL;
    float kept[2][BATCH * PIXELS];
    for (int i = 0; i < 2; i++) {
        t[i] = vm_engine_tensor(r->s.engine, program, name[i]);
        base = (unsigned char *)vm_engine_data(r->s.engine, program, name[i]) - t[i]->offset;
        memcpy(kept[i], base + t[i]->offset, sizeof(float) * (size_t)vm_tensor_elems(t[i]));
    }
    memset(base, 0xff, (size_t)p->space_bytes[VM_WORK]);
    for (int i = 0; i < 2; i++)
        memcpy(base + t[i]->offset, kept[i], sizeof(float) * (size_t)vm_tensor_elems(t[i]));
}

/* Rows of experts that no pair has hold what was in memory: here NaN, if it counted. */
Test(finite, free_rows_of_experts_do_not_count) {
    Ran r;
    run(&r,
        "  route = top_k(softmax(linear(image * 0, 4, bias = false)), 2) |> capacity(0.5)\n"
        "  x = dispatch(image, route) |> linear(6) |> combine(route)\n"
        "  y = dispatch(x, route) |> linear(6)\n"
        "  z = relu(y) |> linear(6) |> combine(route)\n"
        "  loss l = mean(square(z)) + mean(log(image - image))\n",
        PIPE_CHECK_GRAD, NULL);
    first(&r, "l", "log", 7);
    fill_work(&r);
    (void)vm_engine_run(r.s.engine, r.l.program->index, 0, 0);
    session_look_read(&r.l);
    first(&r, "l", "log", 7);
    const PassRanges *x = r.l.program->ranges;
    int seen = 0;
    for (int i = 0; i < x->nvalue; i++) {
        const IrValue *v = x->value[i].value;
        if (v->node->loc.line == 7) continue; /* it and its gradient */
        Range range = session_look_range(&r.l, v);
        cr_assert(!range.nan && !range.infinite, "%s of line %d", ir_ops[v->node->op].name,
                  v->node->loc.line);
        seen++;
    }
    cr_assert_gt(seen, 20);
    session_close(&r.s);
}
