/* Declared types of layer parameters and results against values: rank, element kind, and
 * dimensions, which are bound by their first use and checked afterwards. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_DIMS = IR_MAX_RANK + 1 }; /* a class label counts its classes as one more */

/* The dimensions a signature sees. */
static int value_dims(const FeValue *v, int64_t *dim) {
    int n = v->v->type.rank;
    memcpy(dim, v->v->type.dim, sizeof(int64_t) * (size_t)n);
    if (v->classes) dim[n++] = v->classes;
    return n;
}

/* "[B, N, D]" as written. */
static const char *type_source(Arena *a, const Ast *type) {
    return arena_strndup(a, type->span.src->text + type->span.start,
                         (size_t)(type->span.end - type->span.start));
}

static bool kind_fits(const Ast *type, const FeValue *v) {
    bool label = v->classes > 0;
    if (!type->name || !strcmp(type->name, "f32")) return v->v->type.dtype == DT_f32;
    if (!strcmp(type->name, "class")) return label;
    return v->v->type.dtype == DT_i32 && !label;
}

static bool check_kind(Elab *E, const Ast *type, const FeValue *v, Span at, const char *what) {
    if (v->kind == FV_TENSOR && kind_fits(type, v)) return true;
    const char *wanted = type_source(E->a, type);
    Diag *dg = sema_error(E, at, D_wrong_kind, "%s is a tensor %s, this is %s", what, wanted,
                          fv_describe(E->a, v));
    if (v->span.start != at.start || v->span.src != at.src) sema_note(E, dg, v->span, "made here");
    sema_note(E, dg, type->span, "declared here");
    return false;
}

static void dim_mismatch(Elab *E, const Ast *type, const Ast *dim, int axis, int64_t want,
                         int64_t got, const FeValue *v, const FeBinding *bound, Span at,
                         const char *what) {
    const char *name = dim->kind == AST_NAME ? arena_printf(E->a, "%s = ", dim->name) : "";
    Diag *dg = sema_error(E, at, D_shape_mismatch,
                          "%s is %s: dimension %d of %s is %s%" PRId64 ", not %" PRId64, what,
                          fv_text(E->a, v), axis, type_source(E->a, type), name, want, got);
    if (bound && bound->fixed) {
        sema_note(E, dg, bound->span, "%s is bound to %" PRId64 " here", dim->name, want);
        sema_note(E, dg, bound->value->span, "by this value");
    } else if (bound) {
        sema_note(E, dg, bound->value->span, "%s is %" PRId64 " here", dim->name, want);
    } else {
        sema_note(E, dg, dim->span, "declared here");
    }
    if (v->span.start != at.start || v->span.src != at.src)
        sema_note(E, dg, v->span, "the value is made here");
}

/* A configuration name means its value only in signatures of the file that declares it: the
 * library's `D` stays free whatever the user calls his settings. */
static const FeConfig *own_config(const Elab *E, const Ast *dim) {
    const FeConfig *c = fe_find_config(E->e, dim->name);
    return c && c->src == dim->span.src ? c : NULL;
}

static bool dim_value(Elab *E, const Ast *dim, FeFrame *callee, int64_t *want) {
    FeFrame *saved = E->frame;
    E->frame = callee;
    bool ok = eval_int(E, dim, "a dimension", want);
    E->frame = saved;
    return ok;
}

static bool match_dim(Elab *E, const Ast *type, const Ast *dim, int axis, int64_t got,
                      const FeValue *v, FeFrame *callee, Span at, const char *what) {
    const FeBinding *bound = NULL;
    if (dim->kind == AST_NAME) {
        bound = scope_find(callee, dim->name);
        if (!bound && !own_config(E, dim)) {
            const FeValue *n = fv_int(E->a, got, v->span);
            scope_bind(E, callee->scope, dim->name, n, dim->span, "a dimension");
            return true;
        }
    }
    int64_t want;
    if (!dim_value(E, dim, callee, &want)) return false;
    if (want == got) return true;
    dim_mismatch(E, type, dim, axis, want, got, v, bound, at, what);
    return false;
}

bool match_type(Elab *E, const Ast *type, const FeValue *v, FeFrame *callee, Span at,
                const char *what) {
    if (v->kind == FV_BAD) return false;
    if (!check_kind(E, type, v, at, what)) return false;
    int64_t dim[MAX_DIMS];
    int n = value_dims(v, dim);
    bool any =
        type->nkid > 0 && type->kid[0]->kind == AST_NAME && !strcmp(type->kid[0]->name, "..");
    int fixed = type->nkid - any;
    if (any ? n < fixed : n != fixed) {
        const char *grouped = v->group && !v->per_expert
                                  ? ", grouped tensors have their rows as the only routed dimension"
                                  : "";
        Diag *dg = sema_error(E, at, D_shape_mismatch, "%s is %s: expected %s%d dimension%s %s%s",
                              what, fv_text(E->a, v), any ? "at least " : "", fixed,
                              fixed == 1 ? "" : "s", type_source(E->a, type), grouped);
        sema_note(E, dg, type->span, "declared here");
        if (v->span.start != at.start || v->span.src != at.src)
            sema_note(E, dg, v->span, "the value is made here");
        return false;
    }
    for (int i = 0; i < fixed; i++)
        if (!match_dim(E, type, type->kid[any + i], n - fixed + i, dim[n - fixed + i], v, callee,
                       at, what))
            return false;
    return true;
}
