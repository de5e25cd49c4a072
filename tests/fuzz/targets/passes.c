/* IR text through passes: a byte each of the first part says which, in any order, or a pipeline.
 * What the verifier takes, a pass takes or refuses; what a pipeline made is planned for both
 * instruction sets. */
#include "tests/fuzz/target.h"

#include "codegen/codegen.h"
#include "passes/passes.h"

enum { MOST_PASSES = 8, LARGEST = 1 << 24 };

/* Which passes, and how. */
typedef struct Wish {
    PassId list[64];
    int n;
    bool training, whole;
    int recompute;
} Wish;

/* Every result gets two outputs more from `ranges`, which are results: once is enough. */
static bool is_again(const Wish *w, PassId pass) {
    bool again = false;
    for (int i = 0; i < w->n; i++) again |= pass == PASS_ranges && w->list[i] == pass;
    return again;
}

static Wish wish_of(const uint8_t *p, size_t n) {
    uint8_t first = n ? p[0] : 0;
    Wish w = {.training = first & 1, .whole = (first & 2) != 0, .recompute = first / 16 % 4 - 1};
    if (w.whole) {
        const PassId *list;
        Pipeline pipe = (Pipeline)(first / 4 % 3);
        w.n = pass_pipeline(pipe, &list);
        w.training = pipe != PIPE_EVAL;
        memcpy(w.list, list, (size_t)w.n * sizeof *list);
    }
    for (size_t i = 1; i < n && i <= MOST_PASSES && !w.whole; i++) {
        PassId pass = (PassId)(p[i] % PASS_COUNT);
        if (!is_again(&w, pass)) w.list[w.n++] = pass;
    }
    return w;
}

/* Work that a test of minutes could not do either is not asked for. */
static bool is_small(const IrGraph *g) {
    int nodes = 0;
    IR_FOR (n, g) {
        nodes++;
        for (int i = 0; i < n->nout; i++)
            if (ir_elems(&n->out[i].type) > LARGEST) return false;
    }
    return nodes < 200;
}

static void run(IrGraph *g, const Wish *w) {
    PassCtx c = pass_ctx(arena_create());
    c.training = w->training;
    c.recompute = w->recompute;
    const char *error = pass_run(&c, g, w->list, w->n);
    FUZZ_CHECK(!error || c.refused, "%s", error);
    if (!error && w->whole && is_small(g)) {
        CgFootprint print;
        const CgTarget *t;
        for (int i = 0; (t = cg_target_at(i)) != NULL; i++) {
            IrGraph *copy = ir_graph_clone(c.scratch, g);
            cg_footprint(c.scratch, t, copy, false, &print);
        }
    }
    arena_destroy(c.scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t at = 0;
    FuzzPart which = {NULL, 0}, graph = {NULL, 0};
    (void)fuzz_part(data, size, &at, &which);
    if (!fuzz_part(data, size, &at, &graph)) return -1;
    char *text = fuzz_text(graph.data, graph.size);
    Arena *a = arena_create();
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "fuzz.vir", &error);
    Wish w = wish_of(which.data, which.size);
    if (g && w.n) run(g, &w);
    arena_destroy(a);
    free(text);
    return 0;
}
