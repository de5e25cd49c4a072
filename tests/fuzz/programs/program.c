/* A whole program: uses, config, layers, a model with its inputs and losses, sometimes a second
 * model of its scope and a train block. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

#include "base/rng.h"

/* ---- the tables ------------------------------------------------------------------------------ */

const GenRow prog_builtins[] = {
#define BUILTIN(name, params, fn, op) {#name, grow_##name},
#include "frontend/meaning/builtins.def"
};
const int prog_nbuiltin = (int)(sizeof prog_builtins / sizeof prog_builtins[0]);

const GenRow prog_library[] = {
#define LAYER(name) {#name, library_##name},
#include "tests/fuzz/programs/library.def"
};
const int prog_nlibrary = (int)(sizeof prog_library / sizeof prog_library[0]);

const GenRow prog_forms[] = {
#define FORM(name) {#name, grow_form_##name},
#include "tests/fuzz/programs/forms.def"
};
const int prog_nform = (int)(sizeof prog_forms / sizeof prog_forms[0]);

/* ---- statements ------------------------------------------------------------------------------ */

static const GenRow *some_row(Gen *g) {
    int64_t kind = prog_below(g, 100);
    if (kind < 40) return &prog_builtins[prog_below(g, prog_nbuiltin)];
    if (kind < 75) return &prog_library[prog_below(g, prog_nlibrary)];
    return &prog_forms[prog_below(g, prog_nform)];
}

static bool fits(const Expr *e) {
    return e->text && e->shape.rank >= 1 && e->shape.rank <= 4 && prog_elems(&e->shape) <= GEN_MOST;
}

/* The row first, then a tensor that it can grow from: what needs images would be rare otherwise. */
static Expr grow_some(Gen *g, Expr *x) {
    const GenRow *row = some_row(g);
    for (int tries = 0; tries < 6; tries++) {
        *x = prog_pick(g, 1);
        Expr y = x->text ? row->grow(g, *x) : prog_none;
        if (fits(&y)) return y;
    }
    return prog_none;
}

void prog_statements(Gen *g, int n) {
    for (int i = 0; i < n; i++) {
        Expr x = prog_none, y = prog_none;
        for (int tries = 0; tries < 20 && !y.text; tries++) y = grow_some(g, &x);
        if (y.text && y.text != x.text) (void)prog_bind(g, y);
    }
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static void choose_sizes(Gen *g) {
    static const int64_t sides[] = {1, 2, 3, 4, 4, 6, 8}, batches[] = {1, 2, 3, 5},
                         classes[] = {2, 3, 5, 10};
    g->batch = batches[prog_below(g, 4)];
    g->classes = classes[prog_below(g, 4)];
    g->channels = prog_chance(g, 60) ? (prog_chance(g, 50) ? 1 : 3) : 1 + prog_below(g, 3);
    g->height = sides[prog_below(g, 7)];
    g->width = prog_chance(g, 70) ? g->height : sides[prog_below(g, 7)];
}

static void write_config(Gen *g) {
    int n = (int)prog_below(g, 4);
    for (int i = 0; i < n; i++) {
        int64_t value = 1 + prog_below(g, 12);
        const char *name = prog_name(g, "size");
        const char *text = prog_text(g, "%" PRId64, value);
        if (i && prog_chance(g, 40)) {
            Named *before = &g->setting[g->nsetting - 1];
            value = before->value * 2 + 1;
            text = prog_text(g, "%s * 2 + 1", before->name);
        }
        text_addf(&g->config, "  %s = %s\n", name, text);
        g->setting[g->nsetting++] = (Named){name, value};
    }
    if (prog_chance(g, 15)) {
        text_addf(&g->config, "  %s = \"small\"\n", prog_name(g, "word"));
        text_addf(&g->config, "  %s = [1, 2, 3]\n  %s = not false\n", prog_name(g, "list"),
                  prog_name(g, "on"));
        text_addf(&g->config, "  %s = 0.5\n  %s = 2 epochs\n", prog_name(g, "real"),
                  prog_name(g, "span"));
    }
}

/* "model m(image: f32[B, 3, 4, 4], label: class[B, 10], ..)" without the brace. */
static const char *inputs(Gen *g) {
    Text t = text_new(g->arena);
    bool flat = prog_chance(g, 10);
    Shape image = flat ? SHAPE(g->batch, g->height * g->width, prog_width(g, 5, 17))
                       : SHAPE(g->batch, g->channels, g->height, g->width);
    text_addf(&t, "(image: %s[B", prog_chance(g, 90) ? "f32" : "");
    for (int i = 1; i < image.rank; i++) text_addf(&t, ", %s", prog_int(g, image.dim[i]));
    text_add(&t, "]");
    prog_keep(g, prog_atom("image", image));
    g->body->name[g->body->nname++] = (Named){"B", g->batch};
    if (prog_chance(g, 90)) {
        g->label = "label";
        g->shares = prog_chance(g, 15);
        text_addf(&t, ", label: %s[B, %" PRId64 "]", g->shares ? "f32" : "class", g->classes);
    }
    if (prog_chance(g, 25)) {
        text_add(&t, ", weight: f32[B]");
        prog_keep(g, prog_atom("weight", SHAPE(g->batch)));
        g->weighted = true;
    }
    if (prog_chance(g, 30)) {
        g->index = "index";
        g->nindex = 1 + prog_below(g, 5);
        g->index_below = 2 + prog_below(g, 5);
        text_addf(&t, ", index: i32[B, %" PRId64 "]", g->nindex);
    }
    text_add(&t, ")");
    return t.data;
}

/* ---- the model ------------------------------------------------------------------------------- */

/* Something to learn from the start, in one of the forms that images take. */
static void first_statements(Gen *g) {
    Expr x = g->body->pool[0], y = prog_none;
    GenFn *const images[] = {library_patch_embed, library_channels_last, library_channels_last,
                             grow_patchify};
    for (int tries = 0; !fits(&y) && tries < 8; tries++)
        y = x.shape.rank == 4 ? images[prog_below(g, 4)](g, x) : library_linear(g, x);
    if (!fits(&y)) y = prog_expr("image * 0.5", x.shape);
    y = prog_bind(g, y);
    if (y.shape.rank < 2) return;
    int64_t out = prog_width(g, 4, 12);
    (void)prog_bind(g, prog_call(g, "linear", y, prog_with_last(y.shape, out), prog_int(g, out)));
}

/* x as [B, n], whatever it was. */
static Expr per_image(Gen *g, Expr x) {
    int64_t each = prog_elems(&x.shape) / g->batch;
    if (x.shape.rank == 2 && x.shape.dim[0] == g->batch) return x;
    if (x.shape.rank >= 3 && x.shape.dim[0] == g->batch && prog_chance(g, 60)) {
        Text axes = text_new(g->arena);
        for (int i = 1; i + 1 < x.shape.rank; i++) text_addf(&axes, "%s%d", i > 1 ? ", " : "", i);
        return prog_atom(prog_text(g, "mean(%s, axis = [%s])", x.text, axes.data),
                         SHAPE(g->batch, prog_last(&x.shape)));
    }
    if (prog_elems(&x.shape) % g->batch || each > 128) return prog_none;
    return prog_call(
        g, "reshape", x, SHAPE(g->batch, each),
        prog_text(g, "[B, %s]", prog_chance(g, 50) ? "-1" : prog_text(g, "%" PRId64, each)));
}

static void write_loss(Gen *g, const char *logits) {
    if (!g->label) {
        prog_line(g, "loss rest = mean(square(%s - 0.5))", logits);
        return;
    }
    if (g->shares) {
        prog_line(g, "loss shares = -mean(sum(label * log_softmax(%s), axis = -1))", logits);
        return;
    }
    const char *f = GEN_WORD(g, "cross_entropy", "cross_entropy", "sigmoid_cross_entropy");
    prog_line(g, "loss %s%s(%s, label)%s", prog_chance(g, 20) ? "main = " : "", f, logits,
              prog_chance(g, 20) ? ", weight = 2" : "");
    if (prog_chance(g, 70)) prog_line(g, "metric accuracy(%s, label)", logits);
}

/* A share of the mean of some tensors, so that gradients go where no logits are. */
static void write_pulls(Gen *g) {
    for (int i = 0, n = 1 + (int)prog_below(g, 3); i < n; i++) {
        Expr x = prog_pick(g, 1);
        prog_line(g, "aux %s = mean(square(tanh(%s) - %s)), weight = %s", prog_name(g, "pull"),
                  x.text, prog_real(g, 0.25), prog_real(g, 0.5));
    }
}

static void write_head(Gen *g) {
    Expr x = prog_none;
    for (int tries = 0; tries < 20 && !x.text; tries++) x = per_image(g, prog_pick(g, 1));
    if (!x.text)
        x = prog_atom("mean(reshape(image, [B, -1]), axis = 1, keep = true)", SHAPE(g->batch, 1));
    prog_line(g, "logits = linear(%s, %s)", x.text, prog_text(g, "%" PRId64, g->classes));
    write_loss(g, "logits");
    write_pulls(g);
    if (prog_chance(g, 40)) prog_line(g, "%s", prog_pick(g, 1).text);
}

/* ---- the rest of the file -------------------------------------------------------------------- */

static const char *optimizer(Gen *g) {
    switch (prog_below(g, 6)) {
    case 0: return "adam()";
    case 1: return "adam(beta1 = 0.8, beta2 = 0.99, eps = 1e-3)";
    case 2: return "sgd(momentum = 0)";
    case 3: return "sgd(momentum = 0.5, nesterov = true, weight_decay = 0.1, matrices_only = true)";
    case 4: return "adamw(weight_decay = 0.1, matrices_only = true)";
    default: return "sgd(weight_decay = 0.05)";
    }
}

/* Images of files are squares of one or three channels. */
static void write_train(Gen *g, Text *file) {
    bool images = g->body->pool[0].shape.rank == 4 && g->height == g->width &&
                  (g->channels == 1 || g->channels == 3);
    if (!images || !g->label || g->index || g->weighted || prog_chance(g, 40)) return;
    if (g->shares) return;
    text_addf(file, "\ntrain %s {\n", prog_chance(g, 70) ? "m" : "first of m");
    text_addf(file,
              "  data = image_folder(dir = \"photos\", batch = %" PRId64 ", resize = %" PRId64
              "%s)\n",
              g->batch, g->height, g->channels == 1 ? ", channels = 1" : "");
    text_addf(file, "  optimizer = %s\n", optimizer(g));
    text_addf(file, "  schedule = %s\n",
              GEN_WORD(g, "cosine(peak = 1e-2, warmup = 2 steps)", "constant(peak = 0.01)",
                       "polynomial(peak = 0.01, power = 2, warmup = 1 epoch)"));
    if (prog_chance(g, 30)) text_add(file, "  freeze = [\"*.logits.bias\"]\n");
    text_addf(file, "  epochs = %s\n}\n", GEN_WORD(g, "2", "2.5 epochs", "100 steps"));
}

GenProgram prog_make(Arena *a, uint64_t seed) {
    Gen g = {.arena = a, .state = vm_mix64(seed + 1)};
    GenBody body = {.text = text_new(a), .indent = 1};
    g.layers = text_new(a);
    g.config = text_new(a);
    g.body = &body;
    choose_sizes(&g);
    write_config(&g);
    const char *in = inputs(&g);
    first_statements(&g);
    prog_statements(&g, 1 + (int)prog_below(&g, 8));
    write_head(&g);
    Text file = text_new(a);
    text_add(&file, "use \"std/moe\"\nuse \"std/conv\"\nuse \"std/encoder\"\n\n");
    if (g.config.len) text_addf(&file, "config {\n%s}\n\n", g.config.data);
    text_add(&file, g.layers.data);
    bool scope = prog_chance(&g, 15);
    text_addf(&file, "model m%s%s {\n%s}\n", in, scope ? " scope net" : "", body.text.data);
    if (scope) text_add(&file, "\nmodel part(image: f32[B, 4]) scope net {\n  tanh(image)\n}\n");
    write_train(&g, &file);
    return (GenProgram){file.data, g.batch};
}
