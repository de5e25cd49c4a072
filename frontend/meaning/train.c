/* Train blocks: every field checked against a table of names, kinds and ranges. The tables are the
 * reference: docs/language.md repeats their defaults. */
#include "frontend/meaning/sema.h"

#include <float.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

typedef enum FieldKind { F_INT, F_FLOAT, F_BOOL, F_STR, F_TIME, F_CHANNELS } FieldKind;

/* One option of a call such as adamw(...): where it goes and what it may be. */
typedef struct Option {
    const char *name;
    FieldKind kind;
    size_t at; /* in FeTrain */
    double lo, hi;
} Option;

typedef struct Choice {
    const char *name;
    const Option *option;
    int noption;
} Choice;

#define OPT(name, kind, field, lo, hi) {name, kind, offsetof(FeTrain, field), lo, hi}
#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define TINY 1e-30 /* stands for "more than 0" */

/* Files of one channel have no say in `channels`, the last. */
static const Option data_options[] = {
    OPT("batch", F_INT, data.batch, 1, 1 << 20),    OPT("dir", F_STR, data.dir, 0, 0),
    OPT("resize", F_INT, data.resize, 1, 4096),     OPT("mean", F_CHANNELS, data.mean, -1e6, 1e6),
    OPT("std", F_CHANNELS, data.std, TINY, 1e6),    OPT("shuffle", F_BOOL, data.shuffle, 0, 0),
    OPT("drop_last", F_BOOL, data.drop_last, 0, 0), OPT("channels", F_INT, data.channels, 1, 3),
};
static const Option adamw_options[] = {
    OPT("weight_decay", F_FLOAT, optimizer.weight_decay, 0, 1e3),
    OPT("beta1", F_FLOAT, optimizer.beta1, 0, 0.9999999),
    OPT("beta2", F_FLOAT, optimizer.beta2, 0, 0.9999999),
    OPT("eps", F_FLOAT, optimizer.eps, TINY, 1),
};
static const Option cosine_options[] = {
    OPT("peak", F_FLOAT, schedule.peak, 0, 1e6),
    OPT("warmup", F_TIME, schedule.warmup, 0, 1e9),
    OPT("minimum", F_FLOAT, schedule.minimum, 0, 1e6),
};

static const Choice datas[] = {{"fashion_mnist", data_options, COUNT(data_options) - 1},
                               {"mnist", data_options, COUNT(data_options) - 1},
                               {"idx", data_options, COUNT(data_options) - 1},
                               {"cifar10", data_options, COUNT(data_options)},
                               {"image_folder", data_options, COUNT(data_options)}};
/* adam has no weight decay: its options start after it. */
static const Choice optimizers[] = {{"adamw", adamw_options, COUNT(adamw_options)},
                                    {"adam", adamw_options + 1, COUNT(adamw_options) - 1}};
static const Choice schedules[] = {{"cosine", cosine_options, COUNT(cosine_options)},
                                   {"constant", cosine_options, COUNT(cosine_options) - 1}};

static const char *const field_names[] = {"data", "optimizer", "schedule",  "epochs",
                                          "seed", "log_every", "precision", "freeze"};

/* ---- values --------------------------------------------------------------------------------- */

static const char *expected_kind(FieldKind k) {
    static const char *const text[] = {"an integer",
                                       "a number",
                                       "true or false",
                                       "a string",
                                       "a duration such as `1 epoch` or `100 steps`",
                                       "a number or a list of three, one for each channel"};
    return text[k];
}

static void wrong_kind(Elab *E, Span s, const char *what, FieldKind k, const FeValue *v) {
    sema_error(E, s, D_wrong_kind, "%s is %s, this is %s", what, expected_kind(k),
               fv_describe(E->a, v));
}

static bool in_range(Elab *E, Span s, const char *what, double x, const Option *o) {
    if (x >= o->lo && x <= o->hi) return true;
    const char *lo = o->lo == TINY ? "more than 0"
                                   : arena_printf(E->a, "at least %s", fe_number_text(E->a, o->lo));
    sema_error(E, s, D_value_range, "%s is %s and at most %s, this is %s", what, lo,
               fe_number_text(E->a, o->hi), fe_number_text(E->a, x));
    return false;
}

/* A number for all channels, or a list of three. */
static void store_channels(Elab *E, FePerChannel *to, const Option *o, const char *what,
                           const FeValue *v, Span s) {
    bool list = v->kind == FV_LIST && v->n == 3;
    FePerChannel p = {.n = list ? 3 : 1};
    for (int c = 0; c < 3; c++) {
        const FeValue *x = list ? v->item[c] : v;
        if (x->kind == FV_BAD) return;
        if (!fv_is_number(x)) {
            wrong_kind(E, s, what, F_CHANNELS, v);
            return;
        }
        if ((c == 0 || list) && !in_range(E, s, what, fv_number(x), o)) return;
        p.at[c] = fv_number(x);
    }
    *to = p;
}

static void store(Elab *E, FeTrain *t, const Option *o, const char *what, const FeValue *v,
                  Span s) {
    char *at = (char *)t + o->at;
    switch (o->kind) {
    case F_INT:
        if (v->kind != FV_INT) break;
        if (in_range(E, s, what, (double)v->i, o)) *(int64_t *)at = v->i;
        return;
    case F_FLOAT:
        if (!fv_is_number(v)) break;
        if (in_range(E, s, what, fv_number(v), o)) *(double *)at = fv_number(v);
        return;
    case F_BOOL:
        if (v->kind != FV_BOOL) break;
        *(bool *)at = v->i != 0;
        return;
    case F_STR:
        if (v->kind != FV_STR) break;
        *(const char **)at = v->s;
        return;
    case F_TIME:
        if (v->kind != FV_TIME) break;
        if (in_range(E, s, what, v->f, o)) *(FeSpan *)at = (FeSpan){v->f, v->in_steps};
        return;
    case F_CHANNELS: store_channels(E, (FePerChannel *)at, o, what, v, s); return;
    }
    wrong_kind(E, s, what, o->kind, v);
}

/* ---- calls such as adamw(weight_decay = 0.05) ----------------------------------------------- */

static const char *choice_list(Arena *a, const Choice *c, int n) {
    Text t = text_new(a);
    for (int i = 0; i < n; i++)
        text_addf(&t, "%s`%s`", i == 0 ? "" : i == n - 1 ? " or " : ", ", c[i].name);
    return t.data;
}

/* What is written, behind parentheses and in the chosen branch of conditionals; NULL after
 * reporting. */
static const Ast *chosen(Elab *E, const Ast *x) {
    bool condition;
    while (x->kind == AST_PAREN || x->kind == AST_COND) {
        if (x->kind == AST_PAREN) {
            x = x->a;
            continue;
        }
        if (!eval_condition(E, x->a, &condition)) return NULL;
        x = condition ? x->b : x->other;
    }
    return x->kind == AST_BAD ? NULL : x;
}

static const Choice *choose(Elab *E, const Ast *field, const Choice *c, int n) {
    const Ast *x = chosen(E, field->a);
    if (!x) return NULL;
    bool call = x->kind == AST_CALL;
    if (!call && x->kind != AST_NAME) {
        sema_error(E, x->span, D_train_field, "`%s` is %s with options in ( )", field->name,
                   choice_list(E->a, c, n));
        return NULL;
    }
    for (int i = 0; i < n; i++)
        if (!strcmp(c[i].name, x->name)) return &c[i];
    const char *name[8];
    for (int i = 0; i < n; i++) name[i] = c[i].name;
    const char *near = spell_suggest(x->name, name, n);
    if (near)
        sema_error(E, call ? x->name_span : x->span, D_train_field,
                   "unknown %s `%s`: did you mean `%s`?", field->name, x->name, near);
    else
        sema_error(E, call ? x->name_span : x->span, D_train_field, "unknown %s `%s`: it is %s",
                   field->name, x->name, choice_list(E->a, c, n));
    return NULL;
}

static void read_options(Elab *E, FeTrain *t, const Ast *field, const Choice *c) {
    const Ast *x = chosen(E, field->a);
    if (!x || x->kind != AST_CALL) return; /* the bare name: defaults */
    const char *name[8];
    const FeActual *slot[8] = {0};
    for (int i = 0; i < c->noption; i++) name[i] = c->option[i].name;
    const FeActual *act = eval_args(E, x);
    if (!match_args(E, c->name, (Span){0}, name, c->noption, act, x->nkid, slot)) return;
    for (int i = 0; i < c->noption; i++) {
        if (!slot[i]) continue;
        const char *what = arena_printf(E->a, "`%s` of `%s`", name[i], c->name);
        store(E, t, &c->option[i], what, slot[i]->value, slot[i]->span);
    }
}

/* ---- fields --------------------------------------------------------------------------------- */

static void read_data(Elab *E, FeTrain *t, const Ast *f) {
    const Choice *c = choose(E, f, datas, COUNT(datas));
    t->data.span = f->span;
    if (!c) return;
    bool any_place = !strcmp(c->name, "idx") || !strcmp(c->name, "image_folder");
    t->data.kind = c->name;
    t->data.channels = c->noption == COUNT(data_options) ? 3 : 1;
    read_options(E, t, f, c);
    if (E->failed) return;
    if (any_place && !t->data.dir)
        sema_error(E, f->a->span, D_train_field,
                   "`%s` needs the folder of its files: %s(dir = \"...\")", c->name, c->name);
    if (t->data.channels == 2)
        sema_error(E, f->a->span, D_value_range, "`channels` of `%s` is 3 or 1, this is 2",
                   c->name);
    if (t->data.channels == 1 && (t->data.mean.n > 1 || t->data.std.n > 1))
        sema_error(E, f->a->span, D_value_range,
                   "`mean` and `std` are lists of three but the images of `%s` have 1 channel here",
                   c->name);
}

static void read_optimizer(Elab *E, FeTrain *t, const Ast *f) {
    const Choice *c = choose(E, f, optimizers, COUNT(optimizers));
    if (!c) return;
    t->optimizer.kind = c->name;
    if (!strcmp(c->name, "adam")) t->optimizer.weight_decay = 0;
    read_options(E, t, f, c);
}

static void read_schedule(Elab *E, FeTrain *t, const Ast *f) {
    const Choice *c = choose(E, f, schedules, COUNT(schedules));
    if (!c) return;
    t->schedule.kind = !strcmp(c->name, "cosine") ? SCHED_cosine : SCHED_constant;
    read_options(E, t, f, c);
    if (t->schedule.minimum > t->schedule.peak)
        sema_error(E, f->a->span, D_value_range,
                   "the minimum %s of the learning rate is above its peak %s",
                   fe_number_text(E->a, t->schedule.minimum),
                   fe_number_text(E->a, t->schedule.peak));
}

static void read_epochs(Elab *E, FeTrain *t, const Ast *f) {
    const Option o = OPT("epochs", F_TIME, epochs, TINY, 1e9);
    const FeValue *v = eval_expr(E, f->a);
    if (v->kind == FV_BAD) return;
    if (fv_is_number(v)) {
        FeValue *time = fv_new(E->a, FV_TIME, v->span);
        time->f = fv_number(v);
        v = time;
    }
    store(E, t, &o, "`epochs`", v, f->a->span);
}

static void read_number(Elab *E, const Ast *f, int64_t lo, int64_t *out) {
    const FeValue *v = eval_expr(E, f->a);
    const char *what = arena_printf(E->a, "`%s`", f->name);
    if (v->kind == FV_BAD) return;
    if (v->kind != FV_INT) {
        wrong_kind(E, f->a->span, what, F_INT, v);
        return;
    }
    if (v->i < lo)
        sema_error(E, f->a->span, D_value_range, "%s is at least %" PRId64 ", this is %" PRId64,
                   what, lo, v->i);
    else
        *out = v->i;
}

/* The name of a number format, not a value. */
static void read_precision(Elab *E, FeTrain *t, const Ast *f) {
    const Ast *x = chosen(E, f->a);
    if (!x) return;
    bool name = x->kind == AST_NAME;
    if (name && !strcmp(x->name, "bf16"))
        t->bf16 = true;
    else if (!name || strcmp(x->name, "f32"))
        sema_error(E, x->span, D_train_field, "`precision` is `f32` or `bf16`%s%s%s",
                   name ? ", not `" : "", name ? x->name : "", name ? "`" : "");
}

/* A string or a list of them. What they match is known once the model is elaborated. */
static void read_freeze(Elab *E, FeTrain *t, const Ast *f) {
    const FeValue *v = eval_expr(E, f->a);
    if (v->kind == FV_BAD) return;
    int n = v->kind == FV_LIST ? v->n : 1;
    FePattern *p = ARENA_ARRAY(E->a, FePattern, n + 1);
    for (int i = 0; i < n; i++) {
        const FeValue *x = v->kind == FV_LIST ? v->item[i] : v;
        if (x->kind != FV_STR) {
            sema_error(E, f->a->span, D_wrong_kind,
                       "`freeze` is a string or a list of strings, this is %s",
                       fv_describe(E->a, x));
            return;
        }
        p[i] = (FePattern){x->s, x->span.src ? x->span : f->a->span};
    }
    t->freeze = p;
    t->nfreeze = n;
}

static void read_field(Elab *E, FeTrain *t, const Ast *f) {
    int64_t seed = (int64_t)t->seed;
    if (!strcmp(f->name, "data")) {
        read_data(E, t, f);
    } else if (!strcmp(f->name, "optimizer")) {
        read_optimizer(E, t, f);
    } else if (!strcmp(f->name, "schedule")) {
        read_schedule(E, t, f);
    } else if (!strcmp(f->name, "epochs")) {
        read_epochs(E, t, f);
    } else if (!strcmp(f->name, "seed")) {
        read_number(E, f, 0, &seed);
        t->seed = (uint64_t)seed;
    } else if (!strcmp(f->name, "log_every")) {
        read_number(E, f, 1, &t->log_every);
    } else if (!strcmp(f->name, "precision")) {
        read_precision(E, t, f);
    } else if (!strcmp(f->name, "freeze")) {
        read_freeze(E, t, f);
    } else {
        const char *near = spell_suggest(f->name, field_names, COUNT(field_names));
        sema_error(E, f->name_span, D_train_field, "a train block has no field `%s`%s", f->name,
                   near ? arena_printf(E->a, ": did you mean `%s`?", near)
                        : ": it has data, optimizer, schedule, epochs, seed, log_every, precision "
                          "and freeze");
    }
}

static const Ast *earlier_field(const Ast *x, int n) {
    for (int i = 0; i < n; i++)
        if (x->kid[i]->kind == AST_FIELD && !strcmp(x->kid[i]->name, x->kid[n]->name))
            return x->kid[i];
    return NULL;
}

static void read_train(Elab *E, FeTrain *t, const Ast *x) {
    for (int i = 0; i < x->nkid; i++) {
        const Ast *f = x->kid[i];
        if (f->kind != AST_FIELD) continue;
        if (diags_full(E->d)) return; /* fields that are no repetition are few */
        const Ast *old = earlier_field(x, i);
        if (!old) {
            read_field(E, t, f);
            continue;
        }
        Diag *dg = sema_error(E, f->span, D_duplicate_name, "`%s` is given twice", f->name);
        sema_note(E, dg, old->span, "the first one is here");
    }
    if (!t->data.span.src)
        sema_error(E, x->span, D_train_field, "this train block says nothing of its `data`");
}

/* ---- blocks --------------------------------------------------------------------------------- */

static FeTrain defaults(const Ast *x) {
    FeTrain t = {
        .model = x->name, .span = x->span, .seed = 0, .log_every = 100, .epochs = {.count = 1}};
    t.data.kind = "fashion_mnist";
    t.data.batch = 128;
    t.data.channels = 1;
    t.data.mean = t.data.std = (FePerChannel){1, {0.5, 0.5, 0.5}};
    t.data.shuffle = true;
    t.optimizer.kind = "adamw";
    t.optimizer.beta1 = 0.9;
    t.optimizer.beta2 = 0.999;
    t.optimizer.eps = 1e-8;
    t.optimizer.weight_decay = 0.01;
    t.schedule.kind = SCHED_constant;
    t.schedule.peak = 1e-3;
    return t;
}

static bool check_block(Elab *E, FeExperiment *e, const Ast *x) {
    if (x->text) {
        sema_error(E, x->span, D_train_from,
                   "starting from the weights of another model is not supported: remove `from %s`",
                   x->text);
        return false;
    }
    const FeTrain *old = fe_train_of(e, x->name);
    if (old) {
        Diag *dg =
            sema_error(E, x->name_span, D_duplicate_name, "model `%s` is trained twice", x->name);
        sema_note(E, dg, old->span, "the first train block is here");
        return false;
    }
    if (fe_find_model(e, x->name)) return true;
    if (diags_full(E->d)) return false;
    const char **name = ARENA_ARRAY(E->a, const char *, e->model.n + 1);
    for (int i = 0; i < e->model.n; i++) name[i] = e->model.at[i]->name;
    const char *near = spell_suggest(x->name, name, e->model.n);
    sema_error(E, x->name_span, D_unknown_model, "there is no model `%s`%s%s%s", x->name,
               near ? ": did you mean `" : "", near ? near : "", near ? "`?" : "");
    return false;
}

void fe_load_trains(FeExperiment *e, Diags *d) {
    Elab E = elab_new(e, e->a, d);
    e->train = ARENA_ARRAY(e->a, FeTrain, e->train_ast.n + 1);
    for (int i = 0; i < e->train_ast.n; i++) {
        const Ast *x = e->train_ast.at[i];
        if (!check_block(&E, e, x)) continue;
        FeTrain *t = &e->train[e->ntrain];
        *t = defaults(x);
        read_train(&E, t, x);
        e->ntrain++;
        fe_name_at(&e->train_of, e->a, x->name)->value = t;
    }
}
