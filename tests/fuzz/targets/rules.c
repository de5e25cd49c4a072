/* Rename rules: read, tried on tensors as other programs have them, and led back from weights. What
 * they lead back becomes the weights again, bit for bit. Behind the rules a second and a third part
 * may be other names for tensors and for weights, a line each. */
#include "tests/fuzz/target.h"

#include <string.h>

#include "driver/session/rename.h"

#define TENSOR(NAME, ...)                                                                          \
    {.name = NAME,                                                                                 \
     .rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                            \
     .dim = {__VA_ARGS__},                                                                         \
     .data = values}

enum { VALUES = 512 };
static float values[VALUES];

static const VmTensorView have[] = {
    TENSOR("conv.weight", 6, 5, 3, 4), TENSOR("bn.1.running_mean", 2), TENSOR("head", 6, 2),
    TENSOR("patch", 5, 3, 2, 2),       TENSOR("token", 1, 4, 1),       TENSOR("a.0.b.12.c", 3)};
static const VmTensorView weight[] = {TENSOR("m.conv", 3, 4, 5, 6), TENSOR("m.1.norm1.mean", 2),
                                      TENSOR("m.head", 2, 6),       TENSOR("m.patch", 12, 5),
                                      TENSOR("m.token", 4),         TENSOR("m.a.c", 2, 3)};
enum { HAVE = sizeof have / sizeof *have, WEIGHTS = sizeof weight / sizeof *weight };

static size_t bytes_of(const VmTensorView *v) {
    size_t n = 4;
    for (int i = 0; i < v->rank; i++) n *= (size_t)v->dim[i];
    return n;
}

static void forth(Arena *a, const RenameTask *t) {
    Diags *d = diags_create(a);
    const Rename *r = session_rename(a, t, d);
    (void)session_rename_text(a, r);
    for (int i = 0; i < r->n && !d->nerrors; i++) {
        if (r->of[i].fate != RENAME_LOADED) continue;
        VmTensorView v = session_rename_value(a, r, i);
        FUZZ_CHECK(bytes_of(&v) == bytes_of(&t->weight[r->of[i].weight]), "%s", v.name);
        volatile char last = ((const char *)v.data)[bytes_of(&v) - 1];
        (void)last;
    }
}

/* Weights that have a name there become themselves. */
static void back(Arena *a, const RenameTask *t) {
    Diags *d = diags_create(a);
    RenameBack *b = session_rename_back(a, t, NULL, 0, d);
    if (d->nerrors || b->named != t->nweight) return;
    VmTensorView tensor[WEIGHTS];
    for (int i = 0; i < t->nweight; i++) tensor[i] = session_rename_back_value(a, b, i);
    RenameTask again = *t;
    again.tensor = tensor;
    again.ntensor = t->nweight;
    Diags *wrong = diags_create(a);
    const Rename *r = session_rename(a, &again, wrong);
    FUZZ_CHECK(wrong->nerrors == 0, "what was led back is refused: %s", wrong->first->text);
    FUZZ_CHECK(r->loaded == t->nweight, "of %d weights %d came back", t->nweight, r->loaded);
    for (int i = 0; i < r->n; i++) {
        VmTensorView v = session_rename_value(a, r, i);
        FUZZ_CHECK(!memcmp(v.data, values, bytes_of(&v)), "values of %s", v.name);
    }
}

/* A copy of the list, in which the first ones have the names of a part's lines, behind a scope. */
static VmTensorView *named(Arena *a, const VmTensorView *from, int n, const FuzzPart *names,
                           const char *scope) {
    VmTensorView *list = ARENA_ARRAY(a, VmTensorView, n);
    memcpy(list, from, (size_t)n * sizeof *list);
    char *text = arena_strndup(a, (const char *)names->data, names->size), *line = text;
    for (int i = 0; i < n && line && *line; i++) {
        char *end = strchr(line, '\n');
        if (end) *end = '\0';
        list[i].name = arena_printf(a, "%s%s", scope, line);
        line = end ? end + 1 : NULL;
    }
    return list;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t none[1];
    FuzzPart part[3] = {{none, 0}, {none, 0}, {none, 0}};
    size_t at = 0;
    for (int i = 0; i < 3; i++)
        if (!fuzz_part(data, size, &at, &part[i])) break;
    for (int i = 0; i < VALUES; i++) values[i] = (float)i;
    char *text = fuzz_text(part[0].data, part[0].size);
    Arena *a = arena_create();
    const VmTensorView *tensors = named(a, have, HAVE, &part[1], ""),
                       *weights = named(a, weight, WEIGHTS, &part[2], "m.");
    RenameRules rules = {.rule = {0}};
    Diags *d = diags_create(a);
    session_rules_read(a, source_from_text(a, "fuzz.rules", text), "models/rules", false, &rules,
                       d);
    RenameTask t = {.rules = &rules,
                    .tensor = tensors,
                    .ntensor = HAVE,
                    .path = "weights",
                    .model = "m",
                    .weight = weights,
                    .nweight = WEIGHTS,
                    .channels = 3,
                    .skip_mismatch = size % 2};
    forth(a, &t);
    t.skip_mismatch = false;
    for (int n = 1; n <= WEIGHTS; n++) { /* each by itself, and all */
        t.weight = n < WEIGHTS ? &weights[n] : weights;
        t.nweight = n < WEIGHTS ? 1 : WEIGHTS;
        back(a, &t);
    }
    arena_destroy(a);
    free(text);
    return 0;
}
