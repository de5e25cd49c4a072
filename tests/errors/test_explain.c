/* What `vmoec explain` shows is true: the wrong line of a diagnostic gives just that diagnostic,
 * the right one does not, where both stand in a file. */
#include <criterion/criterion.h>

#include <string.h>

#include "frontend/frontend.h"
#include "frontend/syntax/diag.h"

static const struct {
    DiagId id;
    const char *wrong, *right;
} rows[] = {
#define EXPLAIN(id, text, wrong, right) {D_##id, wrong, right},
#include "frontend/syntax/explain.def"
};

/* What no single line of a file shows: options, other files, data, sizes. Their own tests are
 * listed or stand in the corpus (test_errors.c). */
static const DiagId not_in_a_line[] = {
    D_run_not_finite, D_nesting_too_deep, D_too_large,  D_use_cycle, D_use_content, D_set_unknown,
    D_set_value,      D_scope_shape,      D_one_row,    D_no_loss,   D_no_data,     D_spare_logits,
    D_kernel_text,    D_tuning_file,      D_rules_file, D_rules_fit, D_bad_data,
};

/* Files with a place for a line, `%s`: at the top, in config, in a model, as a value there, in
 * layers, in a train block. */
#define HEAD "use \"std/conv\"\nuse \"std/moe\"\nconfig { dim = 64; deep = true; depth = 2 }\n"
#define MODEL_BEGIN                                                                                \
    "model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {\n"                                   \
    "  x = patch_embed(image, 7, dim)\n  gate = linear(x, 8)\n"                                    \
    "  other = linear(mean(x, axis = 1), 4)\n  route = top_k(softmax(gate), 2)\n"                  \
    "  h = linear(mean(x, axis = 1), 10)\n  logits = h\n  a = mean(x)\n"                           \
    "  b = if deep { mean(other) } else { depth * mean(other) }\n"
#define MODEL_END                                                                                  \
    "  aux load_balance(softmax(gate), route)\n  metric rest = a + b\n"                            \
    "  loss cross_entropy(logits, label)\n"                                                        \
    "  metric mixed = mean(dispatch(x, route) |> combine(route))\n}\n"
#define TRAIN "train m { data = mnist(batch = 4) }\n"
static const char *const frames[] = {
    HEAD "%s\n" MODEL_BEGIN MODEL_END TRAIN,
    HEAD "%s\n" MODEL_BEGIN "  metric v = mean(f(x))\n" MODEL_END TRAIN,
    HEAD "config { %s }\n" MODEL_BEGIN MODEL_END TRAIN,
    HEAD MODEL_BEGIN "  %s\n" MODEL_END TRAIN,
    HEAD MODEL_BEGIN "  v = %s\n" MODEL_END TRAIN,
    HEAD "layer own(x: [.., D]) {\n  %s\n  x\n}\n" MODEL_BEGIN "  y = own(x)\n" MODEL_END TRAIN,
    HEAD "layer own(x: [.., D]) {\n  state n: [] = zeros()\n  %s\n  x\n}\n" MODEL_BEGIN
         "  y = own(x)\n" MODEL_END TRAIN,
    HEAD MODEL_BEGIN MODEL_END "train m { data = mnist(batch = 4); %s }\n",
    HEAD MODEL_BEGIN MODEL_END "train m { %s }\n",
};

static bool gives(const char *frame, const char *line, DiagId id) {
    Arena *a = arena_create();
    const char *at = strstr(frame, "%s");
    const char *text = arena_printf(a, "%.*s%s%s", (int)(at - frame), frame, line, at + 2);
    FeOptions opt = {.text = text, .model_dir = "models"};
    VmError err = {.text = ""};
    Diags *d = diags_create(a);
    FeExperiment *e = fe_load(a, "explained.vmoe", &opt, d, &err);
    cr_assert_not_null(e, "%s", err.text);
    for (int i = 0; i < fe_nmodel(e) && !d->nerrors; i++)
        (void)fe_elaborate(e, a, fe_model_name(e, i), 0, d);
    for (int i = 0; i < fe_ntrain(e) && !d->nerrors; i++)
        (void)fe_elaborate_phase(e, a, fe_train(e, i), 0, d);
    if (!d->nerrors) fe_advise(e, d);
    bool found = false;
    for (const Diag *x = d->first; x; x = x->next) found |= x->id == id;
    arena_destroy(a);
    return found;
}

static bool stands_in_a_line(DiagId id) {
    for (size_t i = 0; i < sizeof not_in_a_line / sizeof *not_in_a_line; i++)
        if (not_in_a_line[i] == id) return false;
    return true;
}

Test(explain, examples_are_true, .timeout = 120) {
    Arena *a = arena_create();
    Text report = text_new(a);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool shown = false;
        for (size_t k = 0; k < sizeof frames / sizeof *frames && !shown; k++)
            shown = gives(frames[k], rows[i].wrong, rows[i].id) &&
                    !gives(frames[k], rows[i].right, rows[i].id);
        if (shown != stands_in_a_line(rows[i].id))
            text_addf(&report, "  %s: `%s` %s\n", diag_slug(rows[i].id), rows[i].wrong,
                      shown ? "does, though it is listed as one that cannot"
                            : "does not give it, or the right line does");
    }
    cr_assert(report.len == 0, "examples of explain.def:\n%s", report.data);
    arena_destroy(a);
}

/* Else a frame's own mistakes would count for the line's. */
Test(explain, frames_are_right) {
    for (int id = 0; id < D_COUNT; id++)
        for (size_t k = 0; k < sizeof frames / sizeof *frames; k++) {
            const char *blank = k == 1   ? "layer f(x) { x }"
                                : k == 4 ? "mean(x)"
                                : k == 6 ? "update n = n + 1"
                                : k == 8 ? "data = mnist()"
                                         : "";
            bool doubt =
                id == D_unused_name || id == D_unused_weights; /* of what only some lines use */
            cr_assert(doubt || !gives(frames[k], blank, (DiagId)id), "frame %zu: %s", k,
                      diag_slug((DiagId)id));
        }
}
