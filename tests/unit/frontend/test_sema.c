/* Elaboration of whole programs: parameter counts of the published models, weight names, --set,
 * batch independence, and the IR that grouped tensors become. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/frontend.h"

typedef struct World {
    Arena *a;
    Diags *d;
    FeExperiment *e;
} World;

static World load(const char *path, const char *const *set, int nset) {
    World w = {.a = arena_create()};
    w.d = diags_create(w.a);
    FeOptions opt = {.set = set, .nset = nset, .model_dir = "models"};
    VmError io = {.text = ""};
    w.e = fe_load(w.a, path, &opt, w.d, &io);
    cr_assert_not_null(w.e, "%s", io.text);
    if (w.d->nerrors) diags_print(stderr, w.d, false);
    return w;
}

static World load_text(const char *text) {
    char path[] = "/tmp/vmoec-sema-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    World w = load(path, NULL, 0);
    unlink(path);
    return w;
}

static IrGraph *elaborate(World *w, const char *model, int64_t batch) {
    IrGraph *g = fe_elaborate(w->e, w->a, model, batch, w->d);
    if (!g) diags_print(stderr, w->d, false);
    cr_assert_not_null(g);
    const char *bug = ir_verify(w->a, g, true);
    cr_assert_null(bug, "%s", bug);
    return g;
}

static int64_t count_params(const IrGraph *g) {
    int64_t n = 0;
    IR_FOR (x, g)
        if (x->op == OP_param) n += ir_elems(&x->out[0].type);
    return n;
}

/* "name type init stream" of every weight, a line each. */
static const char *list_params(World *w, const IrGraph *g) {
    Text t = text_new(w->a);
    IR_FOR (x, g)
        if (x->op == OP_param)
            text_addf(&t, "%s %s %s %s\n", ir_str(x, ATTR_param_name),
                      ir_type_text(w->a, &x->out[0].type), ir_str(x, ATTR_param_init),
                      ir_str(x, ATTR_param_stream));
    return t.data;
}

static IrNode *param(const IrGraph *g, const char *name) {
    IrNode *n = ir_find_leaf(g, OP_param, name);
    cr_assert_not_null(n, "no weight %s", name);
    return n;
}

static int count_op(const IrGraph *g, OpCode op) {
    int n = 0;
    IR_FOR (x, g) n += x->op == op;
    return n;
}

static void check_type(World *w, const IrGraph *g, const char *name, const char *type) {
    cr_assert_str_eq(ir_type_text(w->a, &param(g, name)->out[0].type), type, "%s", name);
}

/* ---- random streams -------------------------------------------------------------------------- */

Test(sema, streams_of_noise_are_named_by_path) {
    const char *text = "layer jitter(x: [.., D]) -> [.., D] {\n  x * (1 + 0.01 * uniform_noise(x)) "
                       "+ normal_noise(x)\n}\n"
                       "model m(image: f32[B, 4]) {\n  x = image\n  for i in 0..2 {\n    x = "
                       "jitter(linear(x, 4))\n  }\n"
                       "  x + gumbel_noise(x)\n}\n";
    World w = load_text(text);
    IrGraph *g = elaborate(&w, "m", 2);
    static const char *const want[] = {"uniform m.0.noise", "normal m.0.noise_2",
                                       "uniform m.1.noise", "normal m.1.noise_2", "gumbel m.noise"};
    int n = 0;
    IR_FOR (x, g)
        if (x->op == OP_noise)
            cr_assert_str_eq(arena_printf(w.a, "%s %s", ir_str(x, ATTR_noise_kind),
                                          ir_str(x, ATTR_noise_stream)),
                             want[n++]);
    cr_assert_eq(n, 5);
    arena_destroy(w.a);
}

/* ---- frozen weights -------------------------------------------------------------------------- */

static void check_frozen(const char *patterns, const char *want) {
    Arena *a = arena_create();
    const char *text = arena_printf(
        a,
        "model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {\n"
        "  x = reshape(image, [dim(image, 0), 784])\n  for i in 0..2 {\n    x = linear(x, 8)\n  }\n"
        "  logits = linear(x, 10)\n  loss cross_entropy(logits, label)\n}\n"
        "train m {\n  data = mnist()\n  freeze = %s\n}\n",
        patterns);
    World w = load_text(text);
    IrGraph *g = elaborate(&w, "m", 2);
    Text t = text_new(a);
    IR_FOR (n, g)
        if (n->op == OP_param && ir_int(n, ATTR_param_frozen))
            text_addf(&t, " %s", ir_str(n, ATTR_param_name));
    cr_assert_str_eq(t.data, want, "freeze = %s", patterns);
    arena_destroy(w.a);
    arena_destroy(a);
}

Test(sema, patterns_freeze_weights) {
    check_frozen("\"m.0.*\"", " m.0.linear.weight m.0.linear.bias");
    check_frozen("\"m.?.*.bias\"", " m.0.linear.bias m.1.linear.bias");
    check_frozen("[\"*weight\", \"m.logits.bias\"]",
                 " m.0.linear.weight m.1.linear.weight m.logits.weight m.logits.bias");
    check_frozen("\"m.logits.weight\"", " m.logits.weight");
    check_frozen("\"*.*i*r.b*s*\"", " m.0.linear.bias m.1.linear.bias");
    check_frozen("[]", "");
}

/* ---- published models ----------------------------------------------------------------------- */

Test(sema, mnist_moe_has_the_published_size) {
    World w = load("models/mnist_moe.vmoe", NULL, 0);
    IrGraph *g = elaborate(&w, "classifier", 0);
    cr_assert_eq(count_params(g), 695822);
    cr_assert_eq(ir_find_leaf(g, OP_input, "image")->out[0].type.dim[0], 64);
    cr_assert_eq(count_op(g, OP_dropout), 9);
    cr_assert_str_eq(
        ir_str(param(g, "classifier.1.encoder_layer.attention.qkv.weight"), ATTR_param_init),
        "xavier(128,384)");
    cr_assert_str_eq(ir_str(param(g, "classifier.embed.bias"), ATTR_param_init), "uniform(0.0625)");
    cr_assert_not_null(ir_find_out(g, "2.moe.route"));
    arena_destroy(w.a);
}

Test(sema, mnist_moe_variants_have_the_published_sizes) {
    static const struct {
        const char *set;
        int64_t params;
    } cases[] = {{"patch=4", 665102},
                 {"patch=8", 671246},
                 {"patch=32", 794126},
                 {"experts=2", 563724},
                 {"experts=8", 960018},
                 {"experts=32", 2545194},
                 {"placement=[0, 1, 2]", 1224214}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        World w = load("models/mnist_moe.vmoe", &cases[i].set, 1);
        cr_assert_eq(count_params(elaborate(&w, "classifier", 1)), cases[i].params, "%s",
                     cases[i].set);
        arena_destroy(w.a);
    }
}

Test(sema, mnist_dense_has_the_published_size_and_equal_layers) {
    World w = load("models/mnist_dense.vmoe", NULL, 0);
    IrGraph *g = elaborate(&w, "classifier", 0);
    cr_assert_eq(count_params(g), 407050);
    const char *first = ir_str(param(g, "classifier.0.encoder_layer.up.weight"), ATTR_param_stream);
    const char *last = ir_str(param(g, "classifier.2.encoder_layer.up.weight"), ATTR_param_stream);
    cr_assert_str_eq(first, "classifier.encoder_layer.up.weight");
    cr_assert_str_eq(first, last);
    cr_assert_str_eq(ir_str(param(g, "classifier.embed.weight"), ATTR_param_stream), "");
    /* Dropout is drawn anew in every layer, only the initial weights are shared. */
    const char *streams[3] = {0};
    int n = 0;
    IR_FOR (x, g)
        if (x->op == OP_attention) streams[n++] = ir_str(x, ATTR_attention_stream);
    cr_assert_eq(n, 3);
    cr_assert(strcmp(streams[0], streams[1]) != 0);
    arena_destroy(w.a);
}

Test(sema, fmnist_names) {
    World w = load("models/vmoe_fmnist.vmoe", NULL, 0);
    IrGraph *g = elaborate(&w, "classifier", 0);
    check_type(&w, g, "classifier.position.table", "f32[16,128]");
    check_type(&w, g, "classifier.patch_embed.linear.weight", "f32[49,128]");
    check_type(&w, g, "classifier.0.attention.norm.weight", "f32[128]");
    check_type(&w, g, "classifier.0.attention.qkv.weight", "f32[128,384]");
    check_type(&w, g, "classifier.2.mlp.up.bias", "f32[256]");
    check_type(&w, g, "classifier.3.moe.gate.weight", "f32[128,8]");
    check_type(&w, g, "classifier.3.moe.norm.bias", "f32[128]");
    check_type(&w, g, "classifier.3.moe.mlp.up.weight", "f32[8,128,256]");
    check_type(&w, g, "classifier.3.moe.mlp.down.bias", "f32[8,128]");
    check_type(&w, g, "classifier.logits.weight", "f32[128,10]");
    check_type(&w, g, "classifier.logits.norm.weight", "f32[128]");
    cr_assert_null(ir_find_leaf(g, OP_param, "classifier.3.moe.gate.bias"));
    cr_assert_eq(ir_find_out(g, "3.moe.load_balance")->kind, OUT_aux);
    cr_assert_eq(ir_find_out(g, "3.moe.load_balance")->weight, 0.01);
    cr_assert_eq(ir_find_out(g, "cross_entropy")->kind, OUT_loss);
    cr_assert_eq(ir_find_out(g, "accuracy")->kind, OUT_metric);
    cr_assert_eq(ir_find_out(g, "logits")->kind, OUT_output);
    cr_assert_eq(ir_find_out(g, "1.moe.route")->value->type.dtype, DT_i32);
    arena_destroy(w.a);
}

Test(sema, names_and_order_do_not_depend_on_the_batch) {
    World w = load("models/vmoe_fmnist.vmoe", NULL, 0);
    const char *one = list_params(&w, elaborate(&w, "classifier", 1));
    const char *many = list_params(&w, elaborate(&w, "classifier", 96));
    cr_assert_str_eq(one, many);
    cr_assert_gt(strlen(one), 1000);
    arena_destroy(w.a);
}

Test(sema, elaboration_reads_back) {
    World w = load("models/mnist_moe.vmoe", NULL, 0);
    const char *text = ir_to_text(w.a, elaborate(&w, "classifier", 3)), *error = NULL;
    IrGraph *again = ir_read(w.a, text, "again", &error);
    cr_assert_not_null(again, "%s", error);
    cr_assert_str_eq(ir_to_text(w.a, again), text);
    arena_destroy(w.a);
}

/* ---- configuration -------------------------------------------------------------------------- */

Test(sema, set_overrides_config_and_what_follows_from_it) {
    const char *set[] = {"experts=16", "top_k=3"};
    World w = load("models/vmoe_fmnist.vmoe", set, 2);
    IrGraph *g = elaborate(&w, "classifier", 2);
    check_type(&w, g, "classifier.1.moe.mlp.up.weight", "f32[16,128,256]");
    check_type(&w, g, "classifier.1.moe.gate.weight", "f32[128,16]");
    cr_assert_eq(ir_find_out(g, "1.moe.route")->value->type.dim[1], 3);
    const char *const *name, *const *value;
    cr_assert_eq(fe_config(w.e, &name, &value), 6);
    cr_assert_str_eq(name[4], "experts");
    cr_assert_str_eq(value[4], "16");
    cr_assert_str_eq(name[0], "dim");
    arena_destroy(w.a);
}

Test(sema, set_changes_later_entries_and_accepts_every_kind) {
    char path[] = "/tmp/vmoec-sema-XXXXXX";
    const char *text = "config { a = 2; b = a * 3; rate = 0.5; on = true; name = \"x\"; list = "
                       "[1]; time = 1 epoch }\n"
                       "model m(image: f32[B, 3]) { image }\n";
    int fd = mkstemp(path);
    cr_assert(write(fd, text, strlen(text)) > 0);
    close(fd);
    const char *set[] = {"a=5", "rate=2", "on=false", "name=y z", "list=[4, 5]", "time=30 steps"};
    World w = load(path, set, 6);
    unlink(path);
    cr_assert_eq(w.d->nerrors, 0);
    const char *const *name, *const *value;
    cr_assert_eq(fe_config(w.e, &name, &value), 7);
    static const char *const expected[] = {"5", "15", "2", "false", "y z", "[4, 5]", "30 steps"};
    for (int i = 0; i < 7; i++) cr_assert_str_eq(value[i], expected[i], "%s", name[i]);
    arena_destroy(w.a);
}

Test(sema, top_k_beyond_experts_is_a_diagnostic) {
    const char *set[] = {"experts=2", "top_k=3"};
    World w = load("models/vmoe_fmnist.vmoe", set, 2);
    cr_assert_null(fe_elaborate(w.e, w.a, "classifier", 4, w.d));
    cr_assert_eq(w.d->nerrors, 1);
    cr_assert_eq(w.d->first->id, D_topk_range);
    cr_assert_not_null(w.d->first->notes);
    arena_destroy(w.a);
}

Test(sema, unknown_model_and_missing_file) {
    World w = load("models/vmoe_fmnist.vmoe", NULL, 0);
    cr_assert_null(fe_elaborate(w.e, w.a, "clasifier", 1, w.d));
    cr_assert_eq(w.d->first->id, D_unknown_model);
    cr_assert_not_null(strstr(w.d->first->text, "classifier"));
    VmError io = {.text = ""};
    cr_assert_null(fe_load(w.a, "models/there_is_none.vmoe", NULL, w.d, &io));
    cr_assert_not_null(strstr(io.text, "there_is_none"));
    arena_destroy(w.a);
}

/* ---- train blocks --------------------------------------------------------------------------- */

Test(sema, train_block_of_fmnist) {
    World w = load("models/vmoe_fmnist.vmoe", NULL, 0);
    cr_assert_eq(fe_ntrain(w.e), 1);
    const FeTrain *t = fe_train(w.e, 0);
    cr_assert_str_eq(t->model, "classifier");
    cr_assert_eq(t->recipe.data.kind, VM_data_fashion_mnist);
    cr_assert_eq(t->recipe.data.batch, 128);
    cr_assert(t->recipe.data.shuffle && !t->recipe.data.drop_last);
    cr_assert_eq(t->recipe.optimizer.kind, VM_optimizer_adamw);
    cr_assert_eq(t->recipe.optimizer.weight_decay, 0.05);
    cr_assert_eq(t->recipe.schedule.kind, VM_schedule_cosine);
    cr_assert_eq(t->recipe.schedule.peak, 1e-3);
    cr_assert(t->recipe.schedule.warmup.count == 1 && !t->recipe.schedule.warmup.in_steps);
    cr_assert(t->recipe.epochs.count == 5 && !t->recipe.epochs.in_steps);
    arena_destroy(w.a);
}

Test(sema, train_block_of_mnist_moe) {
    World w = load("models/mnist_moe.vmoe", NULL, 0);
    const FeTrain *t = fe_train(w.e, 0);
    cr_assert_eq(t->recipe.data.batch, 64);
    cr_assert_eq(t->recipe.data.resize, 32);
    cr_assert(t->recipe.data.mean.n == 1 && t->recipe.data.mean.at[0] == 0.5 &&
              t->recipe.data.std.at[0] == 0.5);
    cr_assert_eq(t->recipe.optimizer.kind, VM_optimizer_adam);
    cr_assert(t->recipe.optimizer.weight_decay == 0 && t->recipe.optimizer.beta2 == 0.999 &&
              t->recipe.optimizer.eps == 1e-8);
    cr_assert_eq(t->recipe.schedule.kind, VM_schedule_constant);
    cr_assert_eq(t->recipe.schedule.peak, 5e-4);
    arena_destroy(w.a);
}

Test(sema, train_fields_may_be_conditional) {
    World w = load("models/cifar_routers.vmoe", NULL, 0);
    cr_assert_eq(fe_train(w.e, 0)->recipe.data.kind, VM_data_cifar10);
    cr_assert_eq(fe_train(w.e, 0)->recipe.data.mean.n, 3);
    arena_destroy(w.a);
    static const char *const set[] = {"folder=\"photos\""};
    w = load("models/cifar_routers.vmoe", set, 1);
    cr_assert_eq(fe_train(w.e, 0)->recipe.data.kind, VM_data_image_folder);
    cr_assert_str_eq(fe_train(w.e, 0)->recipe.data.dir, "photos");
    arena_destroy(w.a);
}

/* ---- names ---------------------------------------------------------------------------------- */

static const char *names_of(World *w, const char *text) {
    *w = load_text(text);
    IrGraph *g = elaborate(w, "m", 2);
    Text t = text_new(w->a);
    IR_FOR (x, g)
        if (x->op == OP_param) text_addf(&t, "%s ", ir_str(x, ATTR_param_name));
    return t.data;
}

Test(sema, a_new_binding_names_the_outermost_call) {
    World w;
    cr_assert_str_eq(names_of(&w, "layer one(x: [.., D]) {\n param w: [D] = zeros()\n x + w }\n"
                                  "layer plain(x) { x + 1 }\n"
                                  "model m(image: f32[B, 3]) {\n"
                                  "  a = (one(image))\n"        /* parentheses */
                                  "  b = plain(gelu(one(a)))\n" /* through calls without weights */
                                  "  c = one(b) |> gelu()\n"    /* and pipes */
                                  "  d = one(one(c))\n"         /* nested */
                                  "  e = 2 * one(d)\n" /* not the outermost: its own name */
                                  "  e = one(e)\n"     /* not new */
                                  "  e }\n"),
                     "m.a.w m.b.w m.c.w m.d.one.w m.d.w m.one.w m.one_2.w ");
    arena_destroy(w.a);
}

Test(sema, what_a_metric_reads_by_name_is_a_result) {
    World w = load_text(
        "layer inside(x) { hidden = x + 1\n metric deep = mean(hidden)\n x }\n"
        "model m(image: f32[B, 3]) {\n"
        "  a = image * 1; b = image * 2; c = image * 3; d = image * 4; e = image * 5\n"
        "  same = inside(a)\n"
        "  metric one = sum(a)\n  metric two = 2 * sum(b)\n"
        "  metric three = mean(c) + mean(same |> square())\n"
        "  metric four = sum(square(-d)) - (if 1 > 2 { sum(e) } else { mean(image) })\n}\n");
    IrGraph *g = elaborate(&w, "m", 2);
    static const char *const named[] = {"a", "b", "c", "d"};
    static const char *const others[] = {"e", "image", "hidden"};
    /* `same` is a under another name: the first that was read stays */
    for (int i = 0; i < 4; i++) cr_assert_not_null(ir_find_out(g, named[i]), "%s", named[i]);
    for (int i = 0; i < 3; i++) cr_assert_null(ir_find_out(g, others[i]), "%s", others[i]);
    arena_destroy(w.a);
}

Test(sema, layers_without_weights_and_loops_in_paths) {
    World w;
    cr_assert_str_eq(names_of(&w, "layer one(x: [.., D]) {\n param w: [D] = zeros()\n x + w }\n"
                                  "layer outer(x) { x |> one() |> one() }\n"
                                  "model m(image: f32[B, 3]) {\n"
                                  "  x = image\n"
                                  "  for i in 1..3 { for j in 0..2 { x = outer(x) } }\n"
                                  "  for i in 1..2 { x = one(x); y = one(x); x = y }\n"
                                  "  param last: [3] = ones(decay = false)\n"
                                  "  x + last }\n"),
                     "m.1.0.outer.one.w m.1.0.outer.one_2.w m.1.1.outer.one.w m.1.1.outer.one_2.w "
                     "m.2.0.outer.one.w m.2.0.outer.one_2.w m.2.1.outer.one.w m.2.1.outer.one_2.w "
                     "m.1.one.w m.1.y.w m.last ");
    cr_assert_eq(ir_int(param(elaborate(&w, "m", 2), "m.last"), ATTR_param_decay), 0);
    cr_assert_eq(ir_int(param(elaborate(&w, "m", 2), "m.1.y.w"), ATTR_param_decay), 1);
    arena_destroy(w.a);
}

Test(sema, loops_over_lists_number_their_elements) {
    World w;
    cr_assert_str_eq(names_of(&w,
                              "layer one(x: [.., D], n) {\n param w: [n] = zeros()\n x + sum(w) }\n"
                              "model m(image: f32[B, 6]) {\n"
                              "  x = image\n  a, b, c = split(image, 3)\n"
                              "  for n in [4, 2] { x = one(x, n) }\n"
                              "  for part in [a, b] same_init { y = one(part, 3) }\n"
                              "  for pair in [[1, \"p\"], [2, \"q\"]] {\n"
                              "    if pair[1] == \"q\" { x = one(x, pair[0]) } }\n"
                              "  for none in [] { x = error(\"never\") }\n"
                              "  x }\n"),
                     "m.0.one.w m.1.one.w m.0.y.w m.1.y.w m.1.one_2.w ");
    IrGraph *g = elaborate(&w, "m", 2);
    check_type(&w, g, "m.0.one.w", "f32[4]");
    check_type(&w, g, "m.1.one_2.w", "f32[2]");
    cr_assert_str_eq(ir_str(param(g, "m.1.y.w"), ATTR_param_stream), "m.y.w");
    arena_destroy(w.a);
}

/* Two models of a scope have weights of one name, which start alike; results keep their own. */
Test(sema, models_of_one_scope_share_names) {
    World w =
        load_text("layer trunk(x) { linear(x, 4) }\n"
                  "model a(image: f32[B, 3]) scope net { h = trunk(image)\n one = linear(h, 2)\n"
                  " metric mean(one) }\n"
                  "model b(image: f32[B, 3]) scope net { h = trunk(image)\n two = linear(h, 5)\n"
                  " metric mean(two) }\n");
    IrGraph *a = elaborate(&w, "a", 2), *b = elaborate(&w, "b", 2);
    check_type(&w, a, "net.h.linear.weight", "f32[3,4]");
    check_type(&w, b, "net.h.linear.weight", "f32[3,4]");
    check_type(&w, a, "net.one.weight", "f32[4,2]");
    check_type(&w, b, "net.two.weight", "f32[4,5]");
    cr_assert_null(ir_find_leaf(a, OP_param, "a.h.linear.weight"));
    cr_assert_not_null(ir_find_out(b, "two"));
    cr_assert_str_eq(ir_str(param(a, "net.h.linear.weight"), ATTR_param_stream), "");
    arena_destroy(w.a);
}

/* One set for each expert counts as what one expert has. */
Test(sema, weight_decay_of_matrices_only) {
    static const char *const pattern =
        "layer moe(x: [B, N, D]) { route = top_k(softmax(linear(x, 2)), 1)\n"
        " dispatch(x, route) |> linear(D) |> combine(route) }\n"
        "model m(image: f32[B, 1, 4, 4], label: class[B, 2]) {\n"
        "  x = patchify(image, 2) |> norm() |> moe()\n"
        "  logits = linear(mean(norm(x, decay = false), axis = 1), 2)\n"
        "  loss cross_entropy(logits, label) }\n"
        "train m { data = idx(dir = \"d\", batch = 2)\n optimizer = adamw(matrices_only = %s) }\n";
    Arena *arena = arena_create();
    for (int only = 0; only < 2; only++) {
        World w = load_text(arena_printf(arena, pattern, only ? "true" : "false"));
        IrGraph *g = elaborate(&w, "m", 2);
        IR_FOR (n, g) {
            if (n->op != OP_param) continue;
            const char *name = ir_str(n, ATTR_param_name);
            bool expert = strstr(name, "moe.linear") && n->out[0].type.dim[0] == 2;
            bool vector = n->out[0].type.rank - expert < 2, spared = strstr(name, "logits.norm");
            cr_assert_eq(ir_int(n, ATTR_param_decay), !(only && vector) && !spared, "%s", name);
        }
        arena_destroy(w.a);
    }
    arena_destroy(arena);
}

Test(sema, names_do_not_depend_on_branches_not_taken) {
    static const char *const pattern =
        "layer maybe(x: [.., D], on) { if on { param w: [D] = zeros()\n x + w } else { x } }\n"
        "model m(image: f32[B, 3]) {\n"
        "  a = linear(maybe(image, %s), 3)\n a }\n";
    Arena *a = arena_create();
    World on, off;
    cr_assert_str_eq(names_of(&on, arena_printf(a, pattern, "true")),
                     "m.a.maybe.w m.a.weight m.a.bias ");
    cr_assert_str_eq(names_of(&off, arena_printf(a, pattern, "false")), "m.a.weight m.a.bias ");
    arena_destroy(on.a);
    arena_destroy(off.a);
    arena_destroy(a);
}

Test(sema, the_library_is_deaf_to_config_names) {
    /* `D`, `I` and `up` mean something in the library; a configuration may use them all the same.
     */
    World w = load_text("use \"std/vit\"\nconfig { D = 3; I = 4; N = 5; up = 6; out = 7 }\n"
                        "model m(image: f32[B, 2, 8]) { mlp(position(norm(image)), up) }\n");
    check_type(&w, elaborate(&w, "m", 1), "m.mlp.up.weight", "f32[8,6]");
    arena_destroy(w.a);
}

/* ---- grouped tensors ------------------------------------------------------------------------ */

Test(sema, experts_may_start_alike) {
    World w = load_text(
        "use \"std/vit\"\n"
        "layer two(x: [.., D], init) { param w: [D] = init\n param c: [D] = ones(same = true)\n"
        "  x * w + c }\n"
        "model m(image: f32[B, 4, 6]) {\n"
        "  alike = normal(0.5, false, same = true)\n"
        "  route = top_k(softmax(linear(image, 3, init = xavier(same = true))), 2)\n"
        "  x = dispatch(image, route) |> mlp(5, init = he(same = true))\n"
        "  two(x, alike) |> mlp(7) |> two(trunc_normal(1, same = false)) |> combine(route)\n}\n");
    IrGraph *g = elaborate(&w, "m", 2);
    static const char *const want[][2] = {
        {"m.route.weight", "xavier(6,3)"},  {"m.x.up.weight", "same(he(6))"},
        {"m.x.up.bias", "zeros"},           {"m.x.down.weight", "same(he(5))"},
        {"m.two.w", "same(normal(0.5))"},   {"m.two.c", "ones"},
        {"m.mlp.up.weight", "xavier(6,7)"}, {"m.two_2.w", "trunc_normal(1)"}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        cr_assert_str_eq(ir_str(param(g, want[i][0]), ATTR_param_init), want[i][1], "%s: %s",
                         want[i][0], ir_str(param(g, want[i][0]), ATTR_param_init));
    cr_assert_eq(ir_int(param(g, "m.two.w"), ATTR_param_decay), 0);
    arena_destroy(w.a);
}

Test(sema, any_layer_can_be_an_expert) {
    World w = load_text("layer scale(x: [.., D]) { param s: [D] = ones()\n x * s }\n"
                        "model m(image: f32[B, 4, 6]) {\n"
                        "  route = top_k(softmax(linear(image, 3)), 2)\n"
                        "  dispatch(image, route) |> scale() |> norm() |> linear(5, bias = false) "
                        "|> combine(route)\n}\n");
    IrGraph *g = elaborate(&w, "m", 2);
    check_type(&w, g, "m.scale.s", "f32[3,6]");
    check_type(&w, g, "m.norm.weight", "f32[3,6]");
    check_type(&w, g, "m.linear.weight", "f32[3,6,5]");
    cr_assert_str_eq(ir_str(param(g, "m.linear.weight"), ATTR_param_init), "xavier(6,5)");
    cr_assert_eq(count_op(g, OP_expert_linear), 1);
    cr_assert_eq(count_op(g, OP_expert_expand), 3);
    cr_assert_str_eq(ir_type_text(w.a, &ir_find_out(g, "output")->value->type), "f32[2,4,5]");
    arena_destroy(w.a);
}

static const IrNode *routed(const IrGraph *g, const char *name) {
    IR_FOR (n, g)
        if (n->op == OP_routed && !strcmp(ir_str(n, ATTR_routed_name), name)) return n;
    cr_assert_fail("no route %s", name);
    return NULL;
}

/* What training measures a route by is what its router was given, whatever made that. */
Test(sema, a_route_has_its_own_gate) {
    World w =
        load_text("model m(image: f32[B, 4, 6], label: class[B, 3]) {\n"
                  "  own = linear(image, 3) * 2 - 1\n"
                  "  layer_route = keep_pairs(capacity(top_k(own, 1), 2), weights(top_k(own, 1)))\n"
                  "  a = dispatch(image, layer_route) |> combine(layer_route)\n"
                  "  told = follow_label(top_k(own, 1), label)\n"
                  "  b = dispatch(image, told) |> combine(told)\n"
                  "  a + b\n}\n");
    IrGraph *g = elaborate(&w, "m", 2);
    static const char *const gated[] = {"route", "route_2", "route_3", "route_4", "route_5"};
    for (int i = 0; i < 5; i++) {
        const IrNode *n = routed(g, gated[i]);
        cr_assert_eq(n->nin, 2, "%s", gated[i]);
        cr_assert_eq(n->in[1]->node->op, OP_sub, "%s", gated[i]);
        cr_assert_eq(n->in[0], ir_find_out(g, gated[i])->value, "%s", gated[i]);
    }
    cr_assert_eq(routed(g, "route_6")->nin, 1, "no gate follows a label");
    arena_destroy(w.a);
}

Test(sema, whole_images_can_be_routed) {
    World w =
        load_text("use \"std/vit\"\n"
                  "model m(image: f32[B, 4, 8]) {\n"
                  "  route = top_k(softmax(linear(mean(image, axis = 1), 3)), 1)\n"
                  "  dispatch(image, route) |> position() |> attention(2) |> combine(route)\n}\n");
    IrGraph *g = elaborate(&w, "m", 5);
    check_type(&w, g, "m.position.table", "f32[3,4,8]");
    check_type(&w, g, "m.attention.qkv.weight", "f32[3,8,24]");
    cr_assert_str_eq(ir_type_text(w.a, &ir_find_out(g, "output")->value->type), "f32[5,4,8]");
    cr_assert_str_eq(ir_type_text(w.a, &ir_find_out(g, "route")->value->type), "i32[5,1]");
    arena_destroy(w.a);
}

Test(sema, grouped_matmul_and_mixed_bias) {
    World w = load_text("layer f(x: [.., D], shared) {\n"
                        "  param w: [D, 2] = xavier()\n param b: [2] = zeros()\n"
                        "  matmul(x, w) + project(x, shared, b) + project(x, w)\n}\n"
                        "model m(image: f32[B, 4, 6]) {\n"
                        "  param shared: [6, 2] = xavier()\n"
                        "  route = top_k(linear(image, 3), 2)\n"
                        "  out = with_weights(route, softmax(weights(route)))\n"
                        "  dispatch(image, out) |> f(shared) |> combine(route)\n}\n");
    IrGraph *g = elaborate(&w, "m", 2);
    cr_assert_eq(count_op(g, OP_expert_matmul), 1);
    cr_assert_eq(count_op(g, OP_expert_linear), 1);
    cr_assert_eq(count_op(g, OP_linear), 2); /* the gate and the shared projection */
    check_type(&w, g, "m.f.w", "f32[3,6,2]");
    arena_destroy(w.a);
}

/* ---- values --------------------------------------------------------------------------------- */

static const char *config_text(World *w, const char *expr) {
    Arena *a = arena_create();
    *w = load_text(
        arena_printf(a, "config { v = %s }\nmodel m(image: f32[B, 3]) { image }\n", expr));
    arena_destroy(a);
    const char *const *value;
    cr_assert_eq(fe_config(w->e, NULL, &value), 1);
    return value[0];
}

Test(sema, arithmetic) {
    static const char *const cases[][2] = {
        {"7 // 2", "3"},
        {"-7 // 2", "-4"},
        {"-7 % 2", "1"},
        {"7 % -2", "-1"},
        {"7 / 2", "3.5"},
        {"6 / 2", "3"},
        {"1 + 2 * 3", "7"},
        {"7.5 // 2", "3"},
        {"-7.5 % 2", "0.5"},
        {"2 == 2.0", "true"},
        {"[1, 2] == [1, 2]", "true"},
        {"1 < 2 and not (2 <= 1)", "true"},
        {"\"a\" != \"b\"", "true"},
        {"maximum(2, 5)", "5"},
        {"minimum(2, 0.5)", "0.5"},
        {"abs(-3)", "3"},
        {"sqrt(16)", "4"},
        {"relu(-2)", "0"},
        {"int(2.9)", "2"},
        {"int(-2.9)", "-2"},
        {"len([1, 2, 3])", "3"},
        {"[1, 2, 3][-1]", "3"},
        {"contains([1, 2], 2)", "true"},
        {"if 1 > 2 { 3 } else { 4 }", "4"},
        {"1 / 3", "0.3333333333333333"},
        {"100 steps", "100 steps"},
        {"0.5 epochs", "0.5 epochs"},
        {"false and 1 // 0 == 0", "false"},
        {"true or 1 // 0 == 0", "true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        World w;
        cr_assert_str_eq(config_text(&w, cases[i][0]), cases[i][1], "%s", cases[i][0]);
        cr_assert_eq(w.d->nerrors, 0, "%s", cases[i][0]);
        arena_destroy(w.a);
    }
}

Test(sema, numbers_meet_tensors_as_splats) {
    World w = load_text("model m(image: f32[B, 3]) { 2 - image * 0.5 }\n");
    IrGraph *g = elaborate(&w, "m", 4);
    cr_assert_eq(count_op(g, OP_const), 2);
    IR_FOR (x, g)
        if (x->op == OP_const) cr_assert_str_eq(ir_type_text(w.a, &x->out[0].type), "f32[4,3]");
    arena_destroy(w.a);
}

Test(sema, shapes_of_functions) {
    static const char *const cases[][2] = {
        {"mean(image)", "f32[]"},
        {"mean(image, axis = [0, -1])", "f32[4]"},
        {"sum(image, axis = 1)", "f32[2,6]"},
        {"reshape(image, [2, -1])", "f32[2,24]"},
        {"transpose(image, [0, 2, 1])", "f32[2,6,4]"},
        {"slice(image, -1, 2, 3)", "f32[2,4,3]"},
        {"concat([image, image], 1)", "f32[2,8,6]"},
        {"split(image, 3)[2]", "f32[2,4,2]"},
        {"matmul(image, transpose(image, [0, 2, 1]))", "f32[2,4,4]"},
        {"image + mean(image, axis = 1)[0]", NULL},
        {"image * reshape(mean(image, axis = 1), [2, 1, 6])", "f32[2,4,6]"},
        {"linear(image, dim(image, -1) // 2)", "f32[2,4,3]"},
    };
    Arena *a = arena_create();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        World w = load_text(
            arena_printf(a, "model m(image: f32[B, 4, 6]) { y = %s\n y }\n", cases[i][0]));
        IrGraph *g = fe_elaborate(w.e, w.a, "m", 2, w.d);
        cr_assert_eq(g != NULL, cases[i][1] != NULL, "%s", cases[i][0]);
        if (g)
            cr_assert_str_eq(ir_type_text(w.a, &ir_find_out(g, "y")->value->type), cases[i][1],
                             "%s", cases[i][0]);
        arena_destroy(w.a);
    }
    arena_destroy(a);
}

/* ---- limits --------------------------------------------------------------------------------- */

static void expect_limit(const char *text) {
    World w = load_text(text);
    cr_assert_null(fe_elaborate(w.e, w.a, "m", 1, w.d));
    cr_assert_eq(w.d->first->id, D_limit, "%s", w.d->first->text);
    arena_destroy(w.a);
}

Test(sema, programs_that_explode_are_stopped, .timeout = 60) {
    expect_limit("layer f(x, n) { if n == 0 { x } else { f(x, n - 1) + f(x, n - 1) } }\n"
                 "model m(image: f32[B, 3]) { f(image, 30) }\n");
    expect_limit(
        "model m(image: f32[B, 3]) {\n for i in 0..90000 { w = linear(image, 3) }\n image }\n");
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "layer f(x) { ");
    for (int i = 0; i < 180; i++) text_add(&t, "gelu(");
    text_add(&t, "f(x)");
    for (int i = 0; i < 180; i++) text_add(&t, ")");
    text_add(&t, " }\nmodel m(image: f32[B, 3]) { f(image) }\n");
    expect_limit(t.data);
    arena_destroy(a);
}
