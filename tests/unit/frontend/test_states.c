/* What `state` and `update` become in IR: leaves, names, results, groups, and what freezing does.
 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/frontend.h"

#define INPUTS "model m(image: f32[B, 1, 8, 8], label: class[B, 10]) {\n"
#define LOSS "  loss cross_entropy(linear(reshape(image, [B, 64]), 10), label)\n"

/* The first model of the text for `batch` images, with the options of its train block. */
static IrGraph *elaborated(Arena *a, const char *text, int64_t batch, Diags *d) {
    char path[] = "/tmp/vmoec-states-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    FeOptions opt = {.model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    unlink(path);
    cr_assert_not_null(e, "%s", io.text);
    IrGraph *g = fe_elaborate(e, a, "m", batch, d);
    if (!g) diags_print(stderr, d, false);
    cr_assert_not_null(g);
    const char *bug = ir_verify(a, g, true);
    cr_assert_null(bug, "%s", bug);
    return g;
}

/* Every state and every update, a line each. */
static const char *listed(Arena *a, const IrGraph *g) {
    Text t = text_new(a);
    IR_FOR (n, g)
        if (n->op == OP_param && ir_int(n, ATTR_param_state))
            text_addf(&t, "%s %s %s%s%s\n", ir_str(n, ATTR_param_name),
                      ir_type_text(a, &n->out[0].type), ir_str(n, ATTR_param_init),
                      ir_int(n, ATTR_param_decay) ? " decays" : "",
                      ir_int(n, ATTR_param_frozen) ? " frozen" : "");
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind == OUT_update)
            text_addf(&t, "%s = %s\n", g->out[i].name, ir_ops[g->out[i].value->node->op].name);
    return t.data;
}

static void expect(const char *text, const char *want) {
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    cr_expect_str_eq(listed(a, elaborated(a, text, 3, d)), want);
    cr_expect_eq(d->nwarnings, 0, "%s", d->nwarnings ? d->first->text : "");
    arena_destroy(a);
}

Test(sema_states, are_named_as_weights_are) {
    expect("layer kept(x: [B, D], rate = 0.1) {\n"
           "  state mean: [D] = normal(0.5)\n"
           "  update mean = mean + rate * (mean(x, axis = 0) - mean)\n"
           "  x - mean\n}\n" INPUTS "  state steps: [] = zeros()\n"
           "  update steps = steps + 1\n"
           "  x = reshape(image, [B, 64])\n"
           "  for i in 0..2 { x = kept(x) }\n"
           "  named = kept(x)\n" LOSS "}\n",
           "m.steps f32[] zeros\n"
           "m.0.kept.mean f32[64] normal(0.5)\n"
           "m.1.kept.mean f32[64] normal(0.5)\n"
           "m.named.mean f32[64] normal(0.5)\n"
           "state.m.steps = add\n"
           "state.m.0.kept.mean = add\n"
           "state.m.1.kept.mean = add\n"
           "state.m.named.mean = add\n");
}

/* An update in a branch or a block counts as if it stood alone; numbers fill the state. */
Test(sema_states, are_updated_in_branches_and_by_numbers) {
    expect(INPUTS "  state a: [2, 3] = ones()\n  state b: [4] = zeros()\n"
                  "  if dim(image, 0) == 3 { update a = 0.5 } else { update a = a }\n"
                  "  for i in 0..1 { update b = b * i }\n" LOSS "}\n",
           "m.a f32[2,3] ones\nm.b f32[4] zeros\n"
           "state.m.a = const\nstate.m.b = mul\n");
}

/* What every expert becomes may be said once for all of them. */
Test(sema_states, have_a_dimension_of_experts_in_grouped_layers) {
    expect("layer kept(x: [.., D], of) {\n"
           "  param w: [D] = ones()\n"
           "  state a: [D] = zeros()\n  state b: [D] = zeros()\n"
           "  update a = a + w\n  update b = of\n"
           "  x * w + a + b\n}\n" INPUTS "  x = reshape(image, [B, 8, 8])\n"
           "  route = top_k(softmax(linear(x, 5, bias = false)), 1)\n"
           "  y = dispatch(x, route) |> kept(mean(x, axis = [0, 1])) |> combine(route)\n"
           "  metric size = mean(y)\n" LOSS "}\n",
           "m.y.a f32[5,8] zeros\nm.y.b f32[5,8] zeros\n"
           "state.m.y.a = add\nstate.m.y.b = broadcast\n");
}

Test(sema_states, are_frozen_by_name) {
    expect("use \"std/conv\"\n" INPUTS "  x = batch_norm(reshape(image, [B, 64]))\n"
           "  loss cross_entropy(linear(x, 10), label)\n}\n"
           "train m { data = idx(dir = \"d\"); freeze = \"m.x.var\" }\n",
           "m.x.mean f32[64] zeros\nm.x.var f32[64] ones frozen\n"
           "state.m.x.mean = add\nstate.m.x.var = add\n");
}

/* Initial values of experts that start alike, and a name that a loop shares. */
Test(sema_states, start_as_weights_do) {
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    IrGraph *g = elaborated(a,
                            "layer kept(x) {\n  state s: [3] = uniform(1)\n"
                            "  update s = s * 2\n  x * mean(s)\n}\n" INPUTS
                            "  x = image\n  for i in 0..2 same_init { x = kept(x) }\n"
                            "  metric size = mean(x)\n" LOSS "}\n",
                            1, d);
    for (int i = 0; i < 2; i++) {
        const IrNode *n = ir_find_leaf(g, OP_param, i ? "m.1.kept.s" : "m.0.kept.s");
        cr_assert_not_null(n);
        cr_assert_str_eq(ir_str(n, ATTR_param_stream), "m.kept.s");
    }
    arena_destroy(a);
}
