/* The pass manager: runs lists of passes, checks the graph before the first and after each one,
 * prints and times them on request. Requires nothing of the passes but their prototypes in
 * passes.def. It does not decide what a broken graph means: messages go to the caller. */
#include "passes/passes.h"

#include <string.h>

#include "base/clock.h"

typedef bool PassFn(PassCtx *c, IrGraph *g);

typedef struct PassRow {
    const char *name;
    PassFn *run;
} PassRow;

static const PassRow rows[PASS_COUNT] = {
#define PASS(name, doc) {#name, pass_##name},
#include "passes/passes.def"
};

/* The pipelines; what comes after expand in bf16 only is their argument. */
#define LOWER PASS_simplify, PASS_splitk, PASS_columns, PASS_routing, PASS_cse, PASS_narrow
#define EVAL(...) {PASS_telemetry, PASS_scores, PASS_expand, __VA_ARGS__ LOWER, PASS_fuse}
#define GRAD(...) {PASS_telemetry, PASS_expand, __VA_ARGS__ PASS_autodiff, LOWER, PASS_fuse}
#define TRAIN(...)                                                                                 \
    {PASS_telemetry, PASS_expand, __VA_ARGS__ PASS_autodiff, PASS_optimizer, LOWER,                \
     PASS_recompute, PASS_fuse}
#define CHECK_EVAL(...) {PASS_telemetry, PASS_expand, __VA_ARGS__ LOWER, PASS_ranges, PASS_fuse}
#define CHECK_GRAD(...)                                                                            \
    {PASS_telemetry, PASS_expand, __VA_ARGS__ PASS_autodiff, LOWER, PASS_ranges, PASS_fuse}

static const PassId pipe_eval[] = EVAL(), pipe_grad[] = GRAD(), pipe_train[] = TRAIN();
static const PassId bf16_eval[] = EVAL(PASS_precision, ), bf16_grad[] = GRAD(PASS_precision, ),
                    bf16_train[] = TRAIN(PASS_precision, );
static const PassId pipe_check_eval[] = CHECK_EVAL(), pipe_check_grad[] = CHECK_GRAD();
static const PassId bf16_check_eval[] = CHECK_EVAL(PASS_precision, ),
                    bf16_check_grad[] = CHECK_GRAD(PASS_precision, );

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

_Static_assert(PASS_COUNT <= COUNT(((PassCtx *)0)->seconds),
               "PassCtx.seconds has one entry per pass");

PassCtx pass_ctx(Arena *scratch) {
    PassCtx c = {.scratch = scratch, .verify_each = true};
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_adam, &c.optimizer);
    return c;
}

const char *pass_name(PassId p) {
    return rows[p].name;
}

static int whole(Pipeline p, bool bf16, const PassId **list) {
#define LIST(name)                                                                                 \
    *list = bf16 ? bf16_##name : pipe_##name;                                                      \
    return bf16 ? COUNT(bf16_##name) : COUNT(pipe_##name)
    switch (p) {
    case PIPE_EVAL: LIST(eval);
    case PIPE_GRAD: LIST(grad);
    case PIPE_TRAIN: LIST(train);
    case PIPE_CHECK_EVAL: LIST(check_eval);
    case PIPE_CHECK_GRAD: LIST(check_grad);
    }
#undef LIST
    VM_BUG("no pipeline %d", (int)p);
}

int pass_pipeline(Pipeline p, const PassId **list) {
    return whole(p, false, list);
}

int pass_pipeline_bf16(Pipeline p, const PassId **list) {
    return whole(p, true, list);
}

static int place_of(const PassId *list, int n, PassId p) {
    for (int i = 0; i < n; i++)
        if (list[i] == p) return i;
    VM_BUG("pass %s is not in the pipeline", rows[p].name);
}

int pass_pipeline_part(Pipeline p, bool bf16, PassId from, PassId until, const PassId **list) {
    int n = whole(p, bf16, list);
    int first = from == PASS_COUNT ? 0 : place_of(*list, n, from);
    int end = until == PASS_COUNT ? n : place_of(*list, n, until);
    *list += first;
    return end - first;
}

/* dense and expand replace MODEL ops; simplify and cse do not look at what they mean. */
static bool takes_model_ops(PassId p) {
    return p == PASS_dense || p == PASS_telemetry || p == PASS_scores || p == PASS_expand ||
           p == PASS_simplify || p == PASS_cse;
}

static const IrNode *first_model_op(const IrGraph *g) {
    IR_FOR (n, g) {
        if (ir_ops[n->op].stage == STAGE_MODEL) return n;
    }
    return NULL;
}

static void print_after(const PassCtx *c, const IrGraph *g, PassId p, bool changed) {
    if (!c->print_after) return;
    if (strcmp(c->print_after, "all") != 0 && strcmp(c->print_after, rows[p].name) != 0) return;
    fprintf(stderr, "; after %s%s\n", rows[p].name, changed ? "" : " (unchanged)");
    if (changed) fputs(ir_to_text(c->scratch, g), stderr);
}

/* The pass itself. A node that the shape rules refuse ends it: sizes are the user's, not the
 * pass's. */
static bool run_guarded(PassCtx *c, IrGraph *g, PassId p) {
    IrGuard guard = {.message = NULL};
    g->guard = &guard;
    volatile bool changed = true;
    if (setjmp(guard.env) == 0) {
        changed = rows[p].run(c, g);
    } else {
        c->error = guard.message;
        c->where = guard.where;
    }
    g->guard = NULL;
    return changed;
}

/* One pass with everything around it; NULL or a message in the graph's arena. */
static const char *run_one(PassCtx *c, IrGraph *g, PassId p) {
    const char *name = rows[p].name;
    const IrNode *model = first_model_op(g);
    if (model && !takes_model_ops(p)) {
        c->refused = true;
        return arena_printf(g->arena,
                            "pass %s: the graph still has the MODEL op %s; run expand first", name,
                            ir_ops[model->op].name);
    }
    double start = vm_seconds();
    bool changed = run_guarded(c, g, p);
    c->seconds[p] += vm_seconds() - start;
    if (c->error) {
        c->refused = true;
        return arena_printf(g->arena, "pass %s: %s", name, c->error);
    }
    if (changed && p != PASS_fuse) {
        IR_FOR (n, g) n->cluster = -1;
    }
    print_after(c, g, p, changed);
    bool allow_model = model && p != PASS_expand;
    const char *why = c->verify_each ? ir_verify(c->scratch, g, allow_model) : NULL;
    return why ? arena_printf(g->arena, "after pass %s: %s", name, why) : NULL;
}

const char *pass_run(PassCtx *c, IrGraph *g, const PassId *list, int n) {
    c->error = NULL;
    c->refused = false;
    c->where = (IrLoc){0};
    const char *error = c->verify_each ? ir_verify(c->scratch, g, true) : NULL;
    if (error) {
        c->refused = true;
        error = arena_printf(g->arena, "before the first pass: %s", error);
    }
    for (int i = 0; i < n && !error; i++) {
        if (c->before) c->before(c->who, g, list + i, n - i);
        error = run_one(c, g, list[i]);
        c->error = NULL;
        arena_reset(c->scratch);
        if (c->time_passes)
            fprintf(stderr, "; %-10s %8.3f ms\n", pass_name(list[i]), c->seconds[list[i]] * 1e3);
    }
    return error;
}

static const char *unknown_pass(Arena *a, const char *s, size_t len) {
    Text t = text_new(a);
    text_add(&t, "unknown pass '");
    text_addn(&t, s, len);
    text_add(&t, "'; passes are");
    for (int p = 0; p < PASS_COUNT; p++) text_addf(&t, "%s %s", p ? "," : "", rows[p].name);
    return t.data;
}

int pass_parse_list(Arena *a, const char *text, PassId *out, int cap, const char **error) {
    int n = 0;
    *error = NULL;
    if (text[strspn(text, " ")] == '\0') return 0;
    for (const char *s = text;;) {
        s += strspn(s, " ");
        size_t field = strcspn(s, ","), len = field;
        while (len > 0 && s[len - 1] == ' ') len--;
        int p = 0;
        while (p < PASS_COUNT && (strlen(rows[p].name) != len || memcmp(rows[p].name, s, len) != 0))
            p++;
        if (p == PASS_COUNT) {
            *error = unknown_pass(a, s, len);
            return -1;
        }
        if (n == cap) {
            *error = arena_printf(a, "more than %d passes in the list", cap);
            return -1;
        }
        out[n++] = (PassId)p;
        if (s[field] == '\0') return n;
        s += field + 1;
    }
}
