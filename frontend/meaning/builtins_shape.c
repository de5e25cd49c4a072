/* Functions that change or tell shapes, matrix products, and the small compile-time helpers. A
 * grouped tensor keeps its rows as dimension 0 in all of them. */
#include "frontend/meaning/sema.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const FeValue *result(Elab *E, const FeCall *c, IrValue *y, const FeValue *like) {
    return y ? fv_tensor(E->a, y, like->group, like->per_expert, c->ast->span) : fv_bad();
}

static const char *quoted(Elab *E, const FeCall *c) {
    return arena_printf(E->a, "`%s`", c->b->name);
}

/* ---- views ---------------------------------------------------------------------------------- */

/* Replaces a -1 by what is left; false after reporting. */
static bool complete_shape(Elab *E, const FeCall *c, const FeValue *x, int64_t *dim, int n) {
    int64_t known = 1, total = ir_elems(&x->v->type);
    int open = -1;
    for (int i = 0; i < n; i++) {
        bool bad = dim[i] < -1 || dim[i] == 0 || (dim[i] == -1 && open >= 0);
        if (bad || (dim[i] > 0 && __builtin_mul_overflow(known, dim[i], &known))) {
            sema_error(E, c->span[1], D_shape_mismatch,
                       "a shape has positive dimensions and at most one -1");
            return false;
        }
        if (dim[i] == -1) open = i;
    }
    if (open >= 0 && total % known == 0) {
        dim[open] = total / known;
        known = total;
    }
    if (known == total) return true;
    Diag *dg = sema_error(E, c->span[1], D_shape_mismatch,
                          "%s has %" PRId64 " elements, the new shape %s has %" PRId64,
                          fv_text(E->a, x), total, fv_text(E->a, c->arg[1]), known);
    sema_note(E, dg, x->span, "the tensor is made here");
    return false;
}

static bool keeps_rows(Elab *E, const FeCall *c, const FeValue *x, bool keeps) {
    if (!x->group || keeps) return true;
    Diag *dg = sema_error(E, c->span[1], D_axis_range,
                          "`%s` must keep dimension 0 of a grouped tensor: its rows", c->b->name);
    sema_note(E, dg, x->span, "the tensor is made here");
    return false;
}

const FeValue *builtin_reshape(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t dim[IR_MAX_RANK];
    int n;
    if (!arg_tensor(E, c, 0, &x) || !arg_ints(E, c, 1, dim, IR_MAX_RANK, &n)) return fv_bad();
    if (!complete_shape(E, c, x, dim, n)) return fv_bad();
    if (!keeps_rows(E, c, x, n > 0 && dim[0] == x->v->type.dim[0])) return fv_bad();
    IrValue *y = build(E, c->ast->span, "`reshape`", OP_reshape, &x, 1, VALS(x->v),
                       ATTRS(A_INTS(reshape_shape, dim, n)));
    return result(E, c, y, x);
}

const FeValue *builtin_broadcast(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t dim[IR_MAX_RANK];
    int n;
    double number = 0;
    if (fv_is_number(c->arg[0]) && E->g) {
        if (!arg_float(E, c, 0, -FLT_MAX, FLT_MAX, &number)) return fv_bad();
        x = fv_tensor(E->a, ir_const(&E->b, number, ir_scalar(DT_f32)), NULL, false, c->span[0]);
    } else if (!arg_tensor(E, c, 0, &x)) {
        return fv_bad();
    }
    if (!arg_ints(E, c, 1, dim, IR_MAX_RANK, &n)) return fv_bad();
    if (!keeps_rows(E, c, x, !x->per_expert && n == x->v->type.rank && dim[0] == x->v->type.dim[0]))
        return fv_bad();
    IrValue *y = build(E, c->ast->span, "`broadcast`", OP_broadcast, &x, 1, VALS(x->v),
                       ATTRS(A_INTS(broadcast_shape, dim, n)));
    return result(E, c, y, x);
}

const FeValue *builtin_transpose(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t perm[IR_MAX_RANK];
    int n;
    if (!arg_tensor(E, c, 0, &x) || !arg_ints(E, c, 1, perm, IR_MAX_RANK, &n)) return fv_bad();
    bool seen[IR_MAX_RANK] = {0}, ok = n == x->v->type.rank;
    for (int i = 0; ok && i < n; i++) {
        ok = perm[i] >= 0 && perm[i] < n && !seen[perm[i]];
        if (ok) seen[perm[i]] = true;
    }
    if (!ok) {
        Diag *dg = sema_error(E, c->span[1], D_axis_range,
                              "%s is no permutation of the %d dimensions of %s",
                              fv_text(E->a, c->arg[1]), x->v->type.rank, fv_text(E->a, x));
        sema_note(E, dg, x->span, "the tensor is made here");
        return fv_bad();
    }
    if (!keeps_rows(E, c, x, perm[0] == 0)) return fv_bad();
    IrValue *y = build(E, c->ast->span, "`transpose`", OP_transpose, &x, 1, VALS(x->v),
                       ATTRS(A_INTS(transpose_perm, perm, n)));
    return result(E, c, y, x);
}

const FeValue *builtin_slice(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t axis, start = 0, size = 0;
    if (!arg_tensor(E, c, 0, &x) || !arg_axis(E, c, 1, x, &axis)) return fv_bad();
    int64_t extent = x->v->type.dim[axis];
    if (!arg_int(E, c, 2, 0, extent - 1, &start) || !arg_int(E, c, 3, 1, extent - start, &size))
        return fv_bad();
    IrValue *y =
        build(E, c->ast->span, "`slice`", OP_slice, &x, 1, VALS(x->v),
              ATTRS(A_INT(slice_axis, axis), A_INT(slice_start, start), A_INT(slice_size, size)));
    return result(E, c, y, x);
}

/* Values whose rows are in the order of one route do not mix with values that are not. */
static bool all_or_none(Elab *E, const FeCall *c, const char *what, const FeValue **v, int n,
                        FeGroup **group, bool *rows) {
    if (!common_group(E, c->ast->span, what, v, n, group, rows)) return false;
    for (int i = 0; *rows && i < n; i++) {
        if (!v[i]->group) {
            Diag *dg = sema_error(E, c->ast->span, D_group_mismatch,
                                  "%s mixes grouped and plain tensors", what);
            sema_note(E, dg, v[i]->span, "%s is made here", fv_describe(E->a, v[i]));
            return false;
        }
        v[i] = expand_rows(E, c->ast->span, v[i]);
        if (v[i]->kind == FV_BAD) return false;
    }
    return true;
}

const FeValue *builtin_concat(Elab *E, const FeCall *c) {
    enum { MAX_PARTS = 64 };
    const FeValue *list = c->arg[0], *part[MAX_PARTS];
    IrValue *in[MAX_PARTS];
    if (list->kind != FV_LIST || list->n < 1 || list->n > MAX_PARTS)
        return arg_kind_error(E, c, 0, "a list of 1 to 64 tensors");
    for (int i = 0; i < list->n; i++) {
        part[i] = list->item[i];
        if (part[i]->kind != FV_TENSOR || part[i]->v->type.dtype != DT_f32)
            return arg_kind_error(E, c, 0, "a list of tensors");
    }
    FeGroup *group;
    bool rows;
    int64_t axis;
    if (!all_or_none(E, c, "`concat`", part, list->n, &group, &rows)) return fv_bad();
    if (!arg_axis(E, c, 1, part[0], &axis)) return fv_bad();
    for (int i = 0; i < list->n; i++) in[i] = part[i]->v;
    IrValue *y = build(E, c->ast->span, "`concat`", OP_concat, part, list->n, in, list->n,
                       ATTRS(A_INT(concat_axis, axis)));
    return result(E, c, y, part[0]);
}

const FeValue *builtin_split(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t n = 0;
    if (!arg_tensor(E, c, 0, &x) || !arg_int(E, c, 1, 1, 1024, &n)) return fv_bad();
    int axis = x->v->type.rank - 1;
    int64_t extent = axis >= 0 ? x->v->type.dim[axis] : 0;
    if (axis < (x->group ? 1 : 0) || extent % n != 0) {
        Diag *dg =
            sema_error(E, c->ast->span, D_shape_mismatch,
                       "`split` cannot cut the last dimension of %s into %" PRId64 " equal parts",
                       fv_text(E->a, x), n);
        sema_note(E, dg, x->span, "the tensor is made here");
        return fv_bad();
    }
    FeValue *list = fv_new(E->a, FV_LIST, c->ast->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, n);
    for (int64_t i = 0; i < n; i++) {
        IrValue *y = build(E, c->ast->span, "`split`", OP_slice, &x, 1, VALS(x->v),
                           ATTRS(A_INT(slice_axis, axis), A_INT(slice_start, i * (extent / n)),
                                 A_INT(slice_size, extent / n)));
        item[i] = result(E, c, y, x);
    }
    list->n = (int)n;
    list->item = item;
    return list;
}

const FeValue *builtin_patchify(Elab *E, const FeCall *c) {
    const FeValue *x;
    int64_t patch = 0;
    if (!arg_tensor(E, c, 0, &x) || !arg_int(E, c, 1, 1, 1 << 20, &patch)) return fv_bad();
    IrValue *y = build(E, c->ast->span, "`patchify`", OP_patchify, &x, 1, VALS(x->v),
                       ATTRS(A_INT(patchify_patch, patch)));
    return result(E, c, y, x);
}

/* ---- products ------------------------------------------------------------------------------- */

static const FeValue *needs_grouped(Elab *E, const FeCall *c, const FeValue *x, const FeValue *w) {
    Diag *dg =
        sema_error(E, c->ast->span, D_group_mismatch, "`%s` has per-expert weights but %s",
                   c->b->name, x->group ? "no rows of its experts" : "its tensor is not grouped");
    sema_note(E, dg, x->span, "%s is made here", fv_describe(E->a, x));
    sema_note(E, dg, w->span, "%s is made here", fv_describe(E->a, w));
    return fv_bad();
}

const FeValue *builtin_matmul(Elab *E, const FeCall *c) {
    const FeValue *v[2];
    FeGroup *g;
    bool rows;
    if (!arg_tensor(E, c, 0, &v[0]) || !arg_tensor(E, c, 1, &v[1])) return fv_bad();
    if (!common_group(E, c->ast->span, "`matmul`", v, 2, &g, &rows)) return fv_bad();
    const FeValue *x = v[0], *w = v[1];
    bool x_rows = x->group && !x->per_expert, shared = !w->group && w->v->type.rank == 2;
    if (x_rows && w->per_expert) {
        IrValue *y = build(E, c->ast->span, "`matmul`", OP_expert_matmul, v, 2,
                           VALS(x->v, w->v, g->offsets), NO_ATTRS);
        return result(E, c, y, x);
    }
    if (g && !shared && x->per_expert != w->per_expert) return needs_grouped(E, c, x, w);
    if (g && !shared && (!x->group || !w->group)) return needs_grouped(E, c, x, w);
    IrValue *y = build(E, c->ast->span, "`matmul`", OP_matmul, v, 2, VALS(x->v, w->v), NO_ATTRS);
    return result(E, c, y, x);
}

/* linear with the bias added apart, where bias and weight are not of the same kind. */
static const FeValue *add_bias(Elab *E, const FeCall *c, const FeValue *y, const FeValue *bias) {
    if (!bias || y->kind == FV_BAD) return y;
    return tensor_binary(E, c->ast->span, "the bias of `project`", OP_add, y, bias);
}

static const FeValue *project_experts(Elab *E, const FeCall *c, const FeValue *const *v,
                                      FeGroup *g) {
    const FeValue *x = v[0], *w = v[1], *bias = v[2];
    bool fused = bias && bias->per_expert;
    IrValue *in[5] = {x->v, w->v, g->offsets, g->expert, fused ? bias->v : NULL};
    IrValue *y = build(E, c->ast->span, "`project`", OP_expert_linear, v, fused ? 3 : 2, in,
                       fused ? 5 : 4, NO_ATTRS);
    const FeValue *r = result(E, c, y, x);
    return fused ? r : add_bias(E, c, r, bias);
}

const FeValue *builtin_project(Elab *E, const FeCall *c) {
    const FeValue *v[3] = {0};
    int n = c->arg[2] ? 3 : 2;
    for (int i = 0; i < n; i++)
        if (!arg_tensor(E, c, i, &v[i])) return fv_bad();
    FeGroup *g;
    bool rows;
    if (!common_group(E, c->ast->span, "`project`", v, n, &g, &rows)) return fv_bad();
    const FeValue *x = v[0], *w = v[1], *bias = v[2];
    bool x_rows = x->group && !x->per_expert;
    if (w->group)
        return x_rows && w->per_expert ? project_experts(E, c, v, g) : needs_grouped(E, c, x, w);
    bool fused = bias && !bias->group;
    IrValue *in[3] = {x->v, w->v, fused ? bias->v : NULL};
    IrValue *y = build(E, c->ast->span, "`project`", OP_linear, v, n, in, fused ? 3 : 2, NO_ATTRS);
    const FeValue *r = result(E, c, y, x);
    return fused ? r : add_bias(E, c, r, bias);
}

const FeValue *builtin_attention_core(Elab *E, const FeCall *c) {
    const FeValue *v[3];
    FeGroup *g;
    bool rows;
    int64_t heads = 0;
    double p = 0;
    for (int i = 0; i < 3; i++)
        if (!arg_tensor(E, c, i, &v[i])) return fv_bad();
    if (!all_or_none(E, c, "`attention_core`", v, 3, &g, &rows)) return fv_bad();
    if (!arg_int(E, c, 3, 1, 1 << 20, &heads) || !arg_float(E, c, 4, 0, 0.999999, &p))
        return fv_bad();
    int64_t width = v[0]->v->type.rank ? v[0]->v->type.dim[v[0]->v->type.rank - 1] : heads;
    if (width % heads != 0) {
        Diag *dg = sema_error_of(E, c->arg[3], c->span[3], D_shape_mismatch,
                                 "%" PRId64 " heads do not divide a width of %" PRId64 " numbers%s",
                                 heads, width, fe_near_divisors(E->a, width, heads));
        sema_note_beside(E, dg, c->arg[3]->span, "the number of heads comes from here");
        sema_note_beside(E, dg, v[0]->span, "the width is that of this tensor");
        return fv_bad();
    }
    /* The name is taken even without dropout, so that switching it on moves no other stream. */
    const char *stream = unique_name(E, path_join(E->a, E->path->text, "dropout"));
    IrValue *y = build(E, c->ast->span, "`attention_core`", OP_attention, v, 3,
                       VALS(v[0]->v, v[1]->v, v[2]->v),
                       ATTRS(A_INT(attention_heads, heads), A_FLOAT(attention_dropout, p),
                             A_STR(attention_stream, p > 0 ? stream : "")));
    return result(E, c, y, v[0]);
}

/* Ones of x's first `each` dimensions, dropped, times x: what stands behind these shares a fate. */
static const FeValue *drop_together(Elab *E, const FeCall *c, const FeValue *x, int64_t each,
                                    const AttrArg *attr, int nattr) {
    IrType t = x->v->type;
    for (int i = (int)each; i < t.rank; i++) t.dim[i] = 1;
    IrValue *one = ir_const(&E->b, 1, t);
    IrValue *kept = build(E, c->ast->span, quoted(E, c), OP_dropout, &x, 1, VALS(one), attr, nattr);
    if (!kept) return fv_bad();
    return tensor_binary(E, c->ast->span, quoted(E, c), OP_mul, x, result(E, c, kept, x));
}

const FeValue *builtin_dropout(Elab *E, const FeCall *c) {
    const FeValue *x;
    double p = 0;
    if (!arg_tensor(E, c, 0, &x) || !arg_float(E, c, 1, 0, 0.999999, &p)) return fv_bad();
    int64_t each = x->v->type.rank;
    if (!arg_int(E, c, 2, x->group ? 1 : 0, each, &each)) return fv_bad();
    const char *stream = unique_name(E, path_join(E->a, E->path->text, "dropout"));
    if (p == 0) return x;
    AttrArg attr[] = {A_FLOAT(dropout_p, p), A_STR(dropout_stream, stream)};
    if (each < x->v->type.rank) return drop_together(E, c, x, each, attr, 2);
    IrValue *y = build(E, c->ast->span, quoted(E, c), OP_dropout, &x, 1, VALS(x->v), attr, 2);
    return result(E, c, y, x);
}

/* normal_noise(x) and the others: the kind is in the name. A per-expert tensor has noise per
 * expert. */
const FeValue *builtin_noise(Elab *E, const FeCall *c) {
    const FeValue *x;
    if (!arg_tensor(E, c, 0, &x)) return fv_bad();
    const char *kind = arena_strndup(E->a, c->b->name, strcspn(c->b->name, "_"));
    const char *stream = unique_name(E, path_join(E->a, E->path->text, "noise"));
    IrValue *y = build(E, c->ast->span, quoted(E, c), OP_noise, &x, 1, VALS(x->v),
                       ATTRS(A_STR(noise_kind, kind), A_STR(noise_stream, stream)));
    return result(E, c, y, x);
}

/* ---- labels --------------------------------------------------------------------------------- */

/* Entries are 0 .. classes-1; classes 0 becomes the largest plus one. False after reporting. */
static bool list_of_classes(Elab *E, const FeCall *c, int64_t *value, int64_t *classes) {
    const FeValue *list = c->arg[1];
    int64_t given = *classes;
    for (int i = 0; i < list->n; i++) {
        const FeValue *v = list->item[i];
        if (v->kind != FV_INT || v->i < 0 || v->i >= (given ? given : INT32_MAX)) {
            const char *range =
                given ? arena_printf(E->a, "0 to %" PRId64, given - 1) : "0 and more";
            Diag *dg = sema_error(E, c->span[1], D_value_range,
                                  "the entries of `lookup` are integers, %s, entry %d is %s", range,
                                  i, fv_text(E->a, v));
            if (v->span.start != c->span[1].start) sema_note(E, dg, v->span, "it is made here");
            if (given)
                sema_note(E, dg, c->arg[2]->span, "there are %" PRId64 " classes because of this",
                          given);
            return false;
        }
        value[i] = v->i;
        if (!given && v->i >= *classes) *classes = v->i + 1;
    }
    return true;
}

const FeValue *builtin_lookup(Elab *E, const FeCall *c) {
    const FeValue *label = c->arg[0], *list = c->arg[1];
    int64_t classes = 0;
    if (label->kind != FV_TENSOR || !label->classes)
        return arg_kind_error(E, c, 0, "a label such as class[B, 10]");
    if (list->kind != FV_LIST) return arg_kind_error(E, c, 1, "a list of integers");
    if (list->n != label->classes) {
        Diag *dg =
            sema_error(E, c->span[1], D_class_mismatch,
                       "`lookup` needs one entry per class: the list has %d, the label has %" PRId64
                       " classes",
                       list->n, label->classes);
        sema_note(E, dg, label->span, "the label is made here");
        if (list->span.start != c->span[1].start)
            sema_note(E, dg, list->span, "the list is made here");
        return fv_bad();
    }
    int64_t *value = ARENA_ARRAY(E->a, int64_t, list->n);
    if (!arg_int(E, c, 2, 1, INT32_MAX, &classes) || !list_of_classes(E, c, value, &classes))
        return fv_bad();
    IrValue *y = build(E, c->ast->span, "`lookup`", OP_lookup, &label, 1, VALS(label->v),
                       ATTRS(A_INTS(lookup_values, value, list->n)));
    if (!y) return fv_bad();
    FeValue *r = fv_tensor(E->a, y, NULL, false, c->ast->span);
    r->classes = classes;
    return r;
}

/* ---- tables --------------------------------------------------------------------------------- */

const FeValue *builtin_sincos_2d(Elab *E, const FeCall *c) {
    int64_t rows = 0, cols = 0, dim = 0;
    if (!E->g) {
        sema_error(E, c->ast->span, D_not_constant,
                   "`sincos_2d` makes a tensor: it belongs in a model");
        return fv_bad();
    }
    if (!arg_int(E, c, 0, 1, 1 << 15, &rows) || !arg_int(E, c, 1, 1, 1 << 15, &cols))
        return fv_bad();
    if (!arg_int(E, c, 2, 4, 1 << 20, &dim)) return fv_bad();
    if (dim % 4 != 0) {
        sema_error(E, c->span[2], D_value_range,
                   "`dim` of `sincos_2d` is a multiple of 4 (sine and cosine of row and column), "
                   "this is %" PRId64,
                   dim);
        return fv_bad();
    }
    const char *values =
        arena_printf(E->a, "sincos_2d(%" PRId64 ",%" PRId64 ",%" PRId64 ")", rows, cols, dim);
    if (!ir_table_sincos_2d(values, &rows, &cols, &dim)) {
        sema_error(E, c->ast->span, D_limit,
                   "a table of %" PRId64 " x %" PRId64 " numbers is too large", rows * cols, dim);
        return fv_bad();
    }
    elab_at(E, c->ast->span);
    return fv_tensor(E->a, ir_table(&E->b, values), NULL, false, c->ast->span);
}

/* ---- compile time --------------------------------------------------------------------------- */

const FeValue *builtin_dim(Elab *E, const FeCall *c) {
    const FeValue *x = c->arg[0];
    if (x->kind != FV_TENSOR) return arg_kind_error(E, c, 0, "a tensor");
    int64_t given = 0;
    int rank = x->v->type.rank;
    if (!arg_int(E, c, 1, INT64_MIN, INT64_MAX, &given)) return fv_bad();
    int64_t axis = given < 0 && given >= -rank ? given + rank : given;
    if (axis >= 0 && axis < rank) return fv_int(E->a, x->v->type.dim[axis], c->ast->span);
    Diag *dg = sema_error(E, c->span[1], D_axis_range, "there is no dimension %" PRId64 " in %s",
                          given, fv_text(E->a, x));
    sema_note(E, dg, x->span, "the tensor is made here");
    return fv_bad();
}

/* All sizes, as a list. */
const FeValue *builtin_shape(Elab *E, const FeCall *c) {
    const FeValue *x = c->arg[0];
    if (x->kind != FV_TENSOR) return arg_kind_error(E, c, 0, "a tensor");
    FeValue *list = fv_new(E->a, FV_LIST, c->ast->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, x->v->type.rank + 1);
    for (int i = 0; i < x->v->type.rank; i++)
        item[i] = fv_int(E->a, x->v->type.dim[i], c->ast->span);
    list->item = item;
    list->n = x->v->type.rank;
    return list;
}

const FeValue *builtin_size(Elab *E, const FeCall *c) {
    const FeValue *x = c->arg[0];
    if (x->kind != FV_TENSOR) return arg_kind_error(E, c, 0, "a tensor");
    return fv_int(E->a, ir_elems(&x->v->type), c->ast->span);
}

const FeValue *builtin_len(Elab *E, const FeCall *c) {
    if (c->arg[0]->kind != FV_LIST) return arg_kind_error(E, c, 0, "a list");
    return fv_int(E->a, c->arg[0]->n, c->ast->span);
}

const FeValue *builtin_contains(Elab *E, const FeCall *c) {
    if (c->arg[0]->kind != FV_LIST) return arg_kind_error(E, c, 0, "a list");
    bool found = false;
    for (int i = 0; i < c->arg[0]->n; i++) found = found || fv_equal(c->arg[0]->item[i], c->arg[1]);
    return fv_bool(E->a, found, c->ast->span);
}

const FeValue *builtin_int(Elab *E, const FeCall *c) {
    const FeValue *x = c->arg[0];
    if (!fv_is_number(x)) return arg_kind_error(E, c, 0, "a number");
    if (x->kind == FV_INT) return x;
    if (fabs(x->f) < 0x1p63) return fv_int(E->a, (int64_t)x->f, c->ast->span);
    sema_error(E, c->ast->span, D_int_overflow, "%s does not fit in 64 bits", fv_text(E->a, x));
    return fv_bad();
}

const FeValue *builtin_error(Elab *E, const FeCall *c) {
    if (c->arg[0]->kind != FV_STR) return arg_kind_error(E, c, 0, "a string");
    sema_error(E, c->ast->span, D_user_error, "%s", c->arg[0]->s);
    E->left = true; /* what follows in this layer relies on the check */
    return fv_bad();
}

/* ---- initialisers --------------------------------------------------------------------------- */

static VmInitKind init_kind(const char *name) {
    int k = 0;
    while (strcmp(vm_inits[k].name, name) != 0) k++;
    return (VmInitKind)k;
}

/* The user's number, if the row has one, then decay and same. */
const FeValue *builtin_init(Elab *E, const FeCall *c) {
    FeValue *v = fv_new(E->a, FV_INIT, c->ast->span);
    v->init = init_kind(c->b->name);
    v->decay = true;
    int decay = c->nparam - 2;
    bool ok = !decay || arg_float(E, c, 0, vm_inits[v->init].least, FLT_MAX, &v->f);
    return ok && arg_bool(E, c, decay, &v->decay) && arg_bool(E, c, decay + 1, &v->same) ? v
                                                                                         : fv_bad();
}
