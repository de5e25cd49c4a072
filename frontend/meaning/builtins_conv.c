/* Convolutions and poolings over images [B, H, W, C], and the windows they have in common: kernel,
 * stride and padding in the forms that users write. Grouped images have their rows as B; with
 * weights per expert every image meets those of its own. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

typedef struct Window {
    const FeValue *x;
    int64_t kernel[2], stride, pad[4]; /* pad: top, left, bottom, right */
    const FeValue *of_kernel, *of_pad; /* what said so; NULL: nothing did */
    Span at;                           /* of the image in the call */
} Window;

enum { MOST = 1 << 20 }; /* of kernel, stride and padding */

/* What the user called: the outermost library layer, or the function itself. */
static const char *called(const Elab *E, const FeCall *c) {
    const char *name = c->b->name;
    for (const FeFrame *f = E->frame; f && f->layer && f->layer->file->is_std; f = f->up)
        name = f->name;
    return arena_printf(E->a, "`%s`", name);
}

/* Argument i is not of the form it should have. */
static bool form_error(Elab *E, const FeCall *c, int i, const char *form) {
    Diag *dg = sema_error(E, c->span[i], D_wrong_kind, "`%s` of %s is %s, this is %s", c->param[i],
                          called(E, c), form, fv_describe(E->a, c->arg[i]));
    if (c->arg[i]->span.start != c->span[i].start) sema_note(E, dg, c->arg[i]->span, "made here");
    return false;
}

static void note_made(Elab *E, Diag *dg, const char *what, const FeValue *v) {
    if (v) sema_note(E, dg, v->span, "%s %s is made here", what, fv_text(E->a, v));
}

/* ---- forms of arguments --------------------------------------------------------------------- */

static bool whole(const FeValue *v, int64_t least, int64_t *out) {
    *out = v->kind == FV_INT ? v->i : 0;
    return v->kind == FV_INT && v->i >= least && v->i <= MOST;
}

/* A number for both sides, or [height, width]. */
static bool read_kernel(Elab *E, const FeCall *c, int i, Window *w) {
    const FeValue *v = c->arg[i];
    w->of_kernel = v;
    bool ok = v->kind == FV_LIST ? v->n == 2 : whole(v, 1, &w->kernel[0]);
    for (int j = 0; ok && j < 2; j++)
        ok = whole(v->kind == FV_LIST ? v->item[j] : v, 1, &w->kernel[j]);
    return ok || form_error(E, c, i, "a size of at least 1, or a list of two, [height, width]");
}

/* A number, or a list of two that are equal, as a kernel's may be. Nothing is 1. */
static bool read_stride(Elab *E, const FeCall *c, int i, Window *w) {
    const FeValue *v = c->arg[i];
    bool pair = v && v->kind == FV_LIST && v->n == 2 && fv_equal(v->item[0], v->item[1]);
    w->stride = 1;
    if (!v || whole(pair ? v->item[0] : v, 1, &w->stride)) return true;
    return form_error(E, c, i, "a number of pixels, at least 1, the same in both directions");
}

static void pad_same(Window *w) {
    for (int i = 0; i < 4; i++) w->pad[i] = (w->kernel[i % 2] - (i < 2)) / 2;
}

/* "same", "valid", a number for all sides, [height, width] or [top, left, bottom, right]. Nothing
 * is "valid". */
static bool read_pad(Elab *E, const FeCall *c, int i, Window *w) {
    const FeValue *v = c->arg[i];
    w->of_pad = v;
    memset(w->pad, 0, sizeof w->pad);
    bool ok = !v || v->kind == FV_STR || v->kind == FV_LIST || whole(v, 0, &w->pad[0]);
    if (v && v->kind == FV_STR) {
        ok = !strcmp(v->s, "same") || !strcmp(v->s, "valid");
        if (ok && !strcmp(v->s, "same")) pad_same(w);
    } else if (v && v->kind == FV_LIST) {
        ok = v->n == 2 || v->n == 4;
        for (int j = 0; ok && j < 4; j++) ok = whole(v->item[j % v->n], 0, &w->pad[j]);
    } else if (v) {
        for (int j = 1; j < 4; j++) w->pad[j] = w->pad[0];
    }
    return ok ||
           form_error(E, c, i,
                      "\"same\", \"valid\", a number of pixels, or a list, [height, width] or "
                      "[top, left, bottom, right]");
}

/* ---- images --------------------------------------------------------------------------------- */

/* The model's image, or numbers made of it one by one: its dimensions are as the data has them. */
static bool is_model_image(const IrValue *v) {
    const IrNode *n = v->node;
    while (ir_ops[n->op].route == ROUTE_ELTWISE && n->nin > 0) {
        const IrNode *from = n->in[0]->node;
        n = from->op == OP_const || from->op == OP_broadcast ? n->in[n->nin - 1]->node : from;
    }
    return n->op == OP_input && !strcmp(ir_str(n, ATTR_input_name), "image");
}

static bool check_images(Elab *E, const FeCall *c, const FeValue *x) {
    const IrType *t = &x->v->type;
    const char *who = called(E, c);
    Diag *dg;
    if (t->rank != 4 || (x->group && x->per_expert)) {
        dg = sema_error(E, c->span[0], D_shape_mismatch, "%s works on images [B, H, W, C], not %s",
                        who, fv_describe(E->a, x));
    } else if (is_model_image(x->v) && t->dim[1] <= 4 && t->dim[3] > 4) {
        dg = sema_error(E, c->span[0], D_shape_mismatch,
                        "%s works on images [B, H, W, C], %s is [B, C, H, W]: "
                        "channels_last(image) of std/conv looks at it the other way",
                        who, fv_text(E->a, x));
    } else {
        return true;
    }
    sema_note(E, dg, x->span, "it is made here");
    return false;
}

/* ---- windows -------------------------------------------------------------------------------- */

static const char *const side_name[] = {"high", "wide"}, *const line_name[] = {"row", "column"};

static bool check_fit(Elab *E, const FeCall *c, const Window *w) {
    for (int i = 0; i < 2; i++) {
        int64_t size = w->x->v->type.dim[1 + i], pad = w->pad[i] + w->pad[i + 2];
        if (w->kernel[i] <= size + pad) continue;
        const char *padded =
            pad ? arena_printf(E->a, ", %" PRId64 " with padding", size + pad) : "";
        Diag *dg =
            sema_error(E, w->at, D_shape_mismatch,
                       "%s: the kernel is %" PRId64 " %s, the image %s only %" PRId64 "%s",
                       called(E, c), w->kernel[i], side_name[i], fv_text(E->a, w->x), size, padded);
        note_made(E, dg, "the image", w->x);
        note_made(E, dg, "the kernel", w->of_kernel);
        note_made(E, dg, "the padding", pad ? w->of_pad : NULL);
        return false;
    }
    return true;
}

/* Pixels at the end of a side that no window meets although windows touch or overlap: more are left
 * over than padding. */
static void warn_uncovered(Elab *E, const FeCall *c, const Window *w) {
    Text t = text_new(E->a);
    int64_t pad[4];
    memcpy(pad, w->pad, sizeof pad);
    for (int i = 0; i < 2; i++) {
        int64_t size = w->x->v->type.dim[1 + i], room = size + pad[i] + pad[i + 2] - w->kernel[i];
        int64_t left = room % w->stride, lost = left - pad[i + 2];
        if (w->kernel[i] < w->stride || lost <= 0) continue;
        text_addf(&t, "%s%" PRId64 " of %" PRId64 " %ss (%" PRId64 " or %" PRId64 " would fit)",
                  *t.data ? " and " : "", lost, size, line_name[i], size - lost,
                  size + w->stride - left);
        pad[i + 2] += w->stride - left;
    }
    if (!*t.data) return;
    Diag *dg = sema_warning(E, w->at, D_uncovered_pixels,
                            "%s with kernel [%" PRId64 ", %" PRId64 "] and stride %" PRId64
                            " never looks at the last %s; "
                            "pad = [%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "] covers all",
                            called(E, c), w->kernel[0], w->kernel[1], w->stride, t.data, pad[0],
                            pad[1], pad[2], pad[3]);
    note_made(E, dg, "the image", w->x);
}

/* Stride and padding are arguments s and p; the kernel is known. False after reporting. */
static bool finish_window(Elab *E, const FeCall *c, int s, int p, Window *w) {
    w->at = c->span[0];
    if (!read_stride(E, c, s, w) || !read_pad(E, c, p, w) || !check_fit(E, c, w)) return false;
    warn_uncovered(E, c, w);
    return true;
}

static const FeValue *result(Elab *E, const FeCall *c, IrValue *y, const FeValue *like) {
    return y ? fv_tensor(E->a, y, like->group, like->per_expert, c->ast->span) : fv_bad();
}

static const FeValue *pads(Elab *E, const FeCall *c, const Window *w) {
    FeValue *list = fv_new(E->a, FV_LIST, c->arg[3] ? c->arg[3]->span : c->ast->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, 4);
    for (int i = 0; i < 4; i++) item[i] = fv_int(E->a, w->pad[i], list->span);
    list->n = 4;
    list->size = 4;
    list->item = item;
    return list;
}

/* window(x, kernel, stride?, pad?): [height, width, stride, [top, left, bottom, right]]. */
const FeValue *builtin_window(Elab *E, const FeCall *c) {
    Window w = {0};
    if (!arg_tensor(E, c, 0, &w.x) || !check_images(E, c, w.x) || !read_kernel(E, c, 1, &w) ||
        !finish_window(E, c, 2, 3, &w))
        return fv_bad();
    FeValue *list = fv_new(E->a, FV_LIST, c->ast->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, 4);
    for (int i = 0; i < 2; i++) item[i] = fv_int(E->a, w.kernel[i], w.of_kernel->span);
    item[2] = fv_int(E->a, w.stride, c->arg[2] ? c->arg[2]->span : c->ast->span);
    item[3] = pads(E, c, &w);
    list->n = 4;
    list->size = 8;
    list->item = item;
    return list;
}

/* share(n, parts, what?): n // parts, which must come out even. */
const FeValue *builtin_share(Elab *E, const FeCall *c) {
    int64_t n = 0, parts = 1;
    const FeValue *what = c->arg[2];
    if (!arg_int(E, c, 0, 1, INT64_MAX, &n) || !arg_int(E, c, 1, 1, INT64_MAX, &parts))
        return fv_bad();
    if (what && what->kind != FV_STR) return arg_kind_error(E, c, 2, "a text");
    if (n % parts == 0) return fv_int(E->a, n / parts, c->ast->span);
    const char *name = what ? arena_printf(E->a, "the %" PRId64 " %s", n, what->s)
                            : arena_printf(E->a, "%" PRId64, n);
    Diag *dg = sema_error_of(E, c->arg[1], c->ast->span, D_shape_mismatch,
                             "%s: %s cannot be cut into %" PRId64 " equal parts%s", called(E, c),
                             name, parts, fe_near_divisors(E->a, n, parts));
    note_made(E, dg, "the number", c->arg[1]);
    sema_note(E, dg, c->arg[0]->span, "%" PRId64 " comes from here", n);
    return fv_bad();
}

/* ---- convolutions --------------------------------------------------------------------------- */

static const FeValue *wrong_weights(Elab *E, const FeCall *c, const FeValue *x, const FeValue *w,
                                    const char *form) {
    Diag *dg = sema_error(E, c->span[1], D_shape_mismatch, "%s: weights are %s%s here, not %s",
                          called(E, c), form, w->per_expert ? " for every expert" : "",
                          fv_describe(E->a, w));
    note_made(E, dg, "the image", x);
    note_made(E, dg, "the weight", w);
    return fv_bad();
}

static const FeValue *wrong_channels(Elab *E, const FeCall *c, const FeValue *x, const FeValue *w,
                                     int64_t channels) {
    const IrType *t = &x->v->type;
    bool turned = t->dim[1] == channels;
    Diag *dg =
        sema_error(E, c->span[0], D_shape_mismatch,
                   "%s: the weights are for %" PRId64 " channels, the image %s has %" PRId64 "%s",
                   called(E, c), channels, fv_text(E->a, x), t->dim[3],
                   turned ? ": images are [B, H, W, C], and channels_last of std/conv "
                            "makes a view of [B, C, H, W]"
                          : "");
    note_made(E, dg, "the image", x);
    note_made(E, dg, "the weight", w);
    return fv_bad();
}

/* Image and weights, arguments 0 and 1, whose experts must be the same. False after reporting. */
static bool check_experts(Elab *E, const FeCall *c, const FeValue *v[2]) {
    FeGroup *g;
    bool rows;
    for (int i = 0; i < 2; i++)
        if (!arg_tensor(E, c, i, &v[i])) return false;
    if (!common_group(E, c->ast->span, called(E, c), v, 2, &g, &rows)) return false;
    if (!check_images(E, c, v[0])) return false;
    if (!v[1]->group || (v[1]->per_expert && v[0]->group)) return true;
    Diag *dg = sema_error(E, c->ast->span, D_group_mismatch, "%s has %s but %s", called(E, c),
                          v[1]->per_expert ? "per-expert weights"
                                           : "weights that are rows of a grouped tensor",
                          v[0]->group ? "one image for each row" : "its images are not grouped");
    note_made(E, dg, "the image", v[0]);
    note_made(E, dg, "the weight", v[1]);
    return false;
}

/* Builds the convolution; operands are the image, the weights, and whose images they are. */
static const FeValue *convolution(Elab *E, const FeCall *c, const FeValue **v, const AttrArg *attr,
                                  int nattr) {
    IrValue *in[3] = {v[0]->v, v[1]->v, v[1]->per_expert ? v[1]->group->offsets : NULL};
    IrValue *y = build(E, c->ast->span, called(E, c), c->b->op, v, 2, in, v[1]->per_expert ? 3 : 2,
                       attr, nattr);
    return result(E, c, y, v[0]);
}

/* Dimensions of the weights behind those of experts and groups. */
static void kernel_of(Window *w, const FeValue *x, const FeValue *weight, const int64_t *dim) {
    *w = (Window){.x = x, .of_kernel = weight, .kernel = {dim[0], dim[1]}};
}

const FeValue *builtin_convolve(Elab *E, const FeCall *c) {
    const FeValue *v[2];
    int64_t groups = 1;
    if (!check_experts(E, c, v) || !arg_int(E, c, 4, 1, MOST, &groups)) return fv_bad();
    const IrType *t = &v[1]->v->type;
    int lead = (v[1]->per_expert ? 1 : 0) + (groups > 1 ? 1 : 0);
    bool fits = t->rank == 4 + lead && (groups == 1 || t->dim[lead - 1] == groups);
    if (!fits)
        return wrong_weights(
            E, c, v[0], v[1],
            groups > 1
                ? arena_printf(E->a, "[%" PRId64 ", KH, KW, C / %" PRId64 ", O / %" PRId64 "]",
                               groups, groups, groups)
                : "[KH, KW, C, O]");
    if (t->dim[lead + 2] * groups != v[0]->v->type.dim[3])
        return wrong_channels(E, c, v[0], v[1], t->dim[lead + 2] * groups);
    Window w;
    kernel_of(&w, v[0], v[1], t->dim + lead);
    if (!finish_window(E, c, 2, 3, &w)) return fv_bad();
    AttrArg attr[] = {A_INTS(conv_pad, w.pad, 4), A_INT(conv_stride, w.stride),
                      A_INT(conv_groups, groups)};
    return convolution(E, c, v, attr, 3);
}

const FeValue *builtin_convolve_depthwise(Elab *E, const FeCall *c) {
    const FeValue *v[2];
    if (!check_experts(E, c, v)) return fv_bad();
    const IrType *t = &v[1]->v->type;
    int lead = v[1]->per_expert ? 1 : 0;
    if (t->rank != 3 + lead) return wrong_weights(E, c, v[0], v[1], "[KH, KW, C]");
    if (t->dim[lead + 2] != v[0]->v->type.dim[3])
        return wrong_channels(E, c, v[0], v[1], t->dim[lead + 2]);
    Window w;
    kernel_of(&w, v[0], v[1], t->dim + lead);
    if (!finish_window(E, c, 2, 3, &w)) return fv_bad();
    AttrArg attr[] = {A_INTS(depthwise_pad, w.pad, 4), A_INT(depthwise_stride, w.stride)};
    return convolution(E, c, v, attr, 2);
}

/* ---- poolings ------------------------------------------------------------------------------- */

/* A window in the padding alone would have no largest. */
static bool check_small_pad(Elab *E, const FeCall *c, const Window *w) {
    for (int i = 0; i < 4; i++) {
        if (w->pad[i] < w->kernel[i % 2]) continue;
        Diag *dg = sema_error(E, c->span[3], D_value_range,
                              "%s: a padding of %" PRId64 " would make windows without a pixel, as "
                              "the kernel is %" PRId64 " %s",
                              called(E, c), w->pad[i], w->kernel[i % 2], side_name[i % 2]);
        note_made(E, dg, "the padding", w->of_pad);
        note_made(E, dg, "the kernel", w->of_kernel);
        return false;
    }
    return true;
}

const FeValue *builtin_window_max(Elab *E, const FeCall *c) {
    Window w = {0};
    if (!arg_tensor(E, c, 0, &w.x) || !check_images(E, c, w.x) || !read_kernel(E, c, 1, &w) ||
        !finish_window(E, c, 2, 3, &w) || !check_small_pad(E, c, &w))
        return fv_bad();
    IrValue *y = build(E, c->ast->span, called(E, c), OP_max_pool, &w.x, 1, VALS(w.x->v),
                       ATTRS(A_INTS(max_pool_kernel, w.kernel, 2), A_INTS(max_pool_pad, w.pad, 4),
                             A_INT(max_pool_stride, w.stride)));
    return result(E, c, y, w.x);
}
