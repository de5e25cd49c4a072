/* Train blocks: reads what the table recipe/recipe.def says into a recipe. Which fields, choices
 * and options there are, their kinds, ranges and defaults stand there and nowhere else; here is
 * what one option alone cannot say (check_data, check_schedule), and where things were written. */
#include "base/spell.h"
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

/* ---- values --------------------------------------------------------------------------------- */

static const char *expected_kind(VmValueType k) {
    static const char *const text[] = {[VM_INT] = "an integer",
                                       [VM_FLOAT] = "a number",
                                       [VM_BOOL] = "true or false",
                                       [VM_TEXT] = "a string",
                                       [VM_WORD] = "a string",
                                       [VM_TIME] = "a duration such as `1 epoch` or `100 steps`",
                                       [VM_LENGTH] = "a duration such as `1 epoch` or `100 steps`",
                                       [VM_CHANNELS] =
                                           "a number or a list of three, one for each channel",
                                       [VM_PATTERNS] = "a string or a list of strings"};
    return text[k];
}

static void wrong_kind(Elab *E, Span s, const char *what, VmValueType k, const FeValue *v) {
    sema_error(E, s, D_wrong_kind, "%s is %s, this is %s", what, expected_kind(k),
               fv_describe(E->a, v));
}

static bool in_range(Elab *E, Span s, const char *what, double x, const VmOption *o) {
    if (x >= o->lo && x <= o->hi) return true;
    const char *lo = o->lo == VM_TINY
                         ? "more than 0"
                         : arena_printf(E->a, "at least %s", fe_number_text(E->a, o->lo));
    const char *hi = o->hi == VM_UNBOUNDED
                         ? ""
                         : arena_printf(E->a, " and at most %s", fe_number_text(E->a, o->hi));
    sema_error(E, s, D_value_range, "%s is %s%s, this is %s", what, lo, hi,
               fe_number_text(E->a, x));
    return false;
}

/* A number for all channels, or a list of three. */
static void store_channels(Elab *E, VmChannels *to, const VmOption *o, const char *what,
                           const FeValue *v, Span s) {
    bool list = v->kind == FV_LIST && v->n == 3;
    VmChannels p = {.n = list ? 3 : 1};
    for (int c = 0; c < 3; c++) {
        const FeValue *x = list ? v->item[c] : v;
        if (x->kind == FV_BAD) return;
        if (!fv_is_number(x)) {
            wrong_kind(E, s, what, VM_CHANNELS, v);
            return;
        }
        if ((c == 0 || list) && !in_range(E, s, what, fv_number(x), o)) return;
        p.at[c] = fv_number(x);
    }
    *to = p;
}

/* A string or a list of them. What they match is known once the model is elaborated, so their
 * places are kept. */
static void store_patterns(Elab *E, FeTrain *t, VmPatterns *to, const char *what, const FeValue *v,
                           Span s) {
    int n = v->kind == FV_LIST ? v->n : 1;
    const char **text = ARENA_ARRAY(E->a, const char *, n + 1);
    Span *place = ARENA_ARRAY(E->a, Span, n + 1);
    for (int i = 0; i < n; i++) {
        const FeValue *x = v->kind == FV_LIST ? v->item[i] : v;
        if (x->kind == FV_BAD) return;
        if (x->kind != FV_STR) {
            wrong_kind(E, s, what, VM_PATTERNS, x);
            return;
        }
        text[i] = x->s;
        place[i] = x->span.src ? x->span : s;
    }
    *to = (VmPatterns){text, n};
    t->pattern = place;
}

static void store_span(Elab *E, VmSpan *to, const VmOption *o, const char *what, double count,
                       bool in_steps, Span s) {
    if (in_range(E, s, what, count, o)) *to = (VmSpan){count, in_steps};
}

static void store_word(Elab *E, VmFieldId f, VmWord *to, const VmOption *o, const char *what,
                       const FeValue *v, Span s) {
    VmWord list[VM_WORDS];
    const char *name[VM_WORDS];
    Text all = text_new(E->a);
    int n = 0;
    vm_option_words(f, o, list);
    for (; list[n]; n++) {
        name[n] = vm_words[list[n]].name;
        if (strcmp(v->s, name[n]) == 0) *to = list[n];
        text_addf(&all, "%s\"%s\"", n == 0 ? "" : list[n + 1] ? ", " : " or ", name[n]);
    }
    if (*to) return;
    const char *near = spell_suggest(v->s, name, n);
    sema_error(E, s, D_train_field, "%s is %s, this is \"%s\"%s%s%s", what, all.data, v->s,
               near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static void store(Elab *E, FeTrain *t, VmFieldId f, const VmOption *o, void *base, const char *what,
                  const FeValue *v, Span s) {
    void *at = (char *)base + o->at;
    if (v->kind == FV_BAD) return;
    switch (o->type) {
    case VM_INT:
        if (v->kind != FV_INT) break;
        if (in_range(E, s, what, (double)v->i, o)) *(int64_t *)at = v->i;
        return;
    case VM_FLOAT:
        if (!fv_is_number(v)) break;
        if (in_range(E, s, what, fv_number(v), o)) *(double *)at = fv_number(v);
        return;
    case VM_BOOL:
        if (v->kind != FV_BOOL) break;
        *(bool *)at = v->i != 0;
        return;
    case VM_TEXT:
        if (v->kind != FV_STR) break;
        *(const char **)at = v->s;
        return;
    case VM_WORD:
        if (v->kind != FV_STR) break;
        *(VmWord *)at = VM_NO_WORD;
        store_word(E, f, at, o, what, v, s);
        return;
    case VM_LENGTH:
    case VM_TIME:
        if (v->kind == FV_TIME)
            store_span(E, at, o, what, v->f, v->in_steps, s);
        else if (o->type == VM_LENGTH && fv_is_number(v))
            store_span(E, at, o, what, fv_number(v), false, s);
        else
            break;
        return;
    case VM_CHANNELS: store_channels(E, at, o, what, v, s); return;
    case VM_PATTERNS: store_patterns(E, t, at, what, v, s); return;
    }
    wrong_kind(E, s, what, o->type, v);
}

/* ---- choices such as adamw(weight_decay = 0.05) --------------------------------------------- */

static const char *choice_list(Arena *a, const VmField *f) {
    Text t = text_new(a);
    for (int i = 0; i < f->nchoice; i++)
        text_addf(&t, "%s`%s`",
                  i == 0                ? ""
                  : i == f->nchoice - 1 ? " or "
                                        : ", ",
                  f->choice[i].name);
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

/* The choice that x names; -1 after reporting. */
static int choose(Elab *E, const VmField *f, const Ast *x) {
    bool call = x->kind == AST_CALL;
    if (!(call && f->noption) && x->kind != AST_NAME) {
        sema_error(E, x->span, D_train_field, "`%s` is %s%s", f->name, choice_list(E->a, f),
                   f->noption ? " with options in ( )" : "");
        return -1;
    }
    const char **name = ARENA_ARRAY(E->a, const char *, f->nchoice);
    for (int i = 0; i < f->nchoice; i++) {
        name[i] = f->choice[i].name;
        if (!strcmp(name[i], x->name)) return i;
    }
    const char *near = spell_suggest(x->name, name, f->nchoice);
    Span at = call ? x->name_span : x->span;
    if (near)
        sema_error(E, at, D_train_field, "unknown %s `%s`: did you mean `%s`?", f->name, x->name,
                   near);
    else
        sema_error(E, at, D_train_field, "unknown %s `%s`: it is %s", f->name, x->name,
                   choice_list(E->a, f));
    return -1;
}

/* An option that no choice of the field has, but another field. */
static bool belongs_elsewhere(Elab *E, const FeTrain *t, const char *chosen_name,
                              const FeActual *act, const Ast *x, const char *const *name, int n) {
    bool found = false;
    for (int i = 0; i < x->nkid; i++) {
        bool known = !act[i].name;
        for (int k = 0; k < n && !known; k++) known = !strcmp(name[k], act[i].name);
        const char *hint = known ? NULL : sema_field_hint(E, t->ast, act[i].name, x->kid[i]->a);
        if (!hint) continue;
        sema_error(E, act[i].name_span, D_unknown_argument, "`%s` has no option `%s`%s",
                   chosen_name, act[i].name, hint);
        found = true;
    }
    return found;
}

static void read_options(Elab *E, FeTrain *t, const VmField *f, int kind, void *spec,
                         const Ast *x) {
    const char **name = ARENA_ARRAY(E->a, const char *, f->noption);
    const VmOption **option = ARENA_ARRAY(E->a, const VmOption *, f->noption);
    const FeActual **slot = ARENA_ARRAY(E->a, const FeActual *, f->noption);
    int n = 0;
    for (int i = 0; i < f->noption; i++) {
        if (!vm_option_applies(&f->option[i], kind)) continue;
        option[n] = &f->option[i];
        name[n++] = f->option[i].name;
    }
    const char *chosen_name = f->choice[kind].name;
    const FeActual *act = eval_args(E, x);
    if (belongs_elsewhere(E, t, chosen_name, act, x, name, n)) return;
    if (!match_args(E, chosen_name, (Span){0}, name, n, act, x->nkid, slot)) return;
    for (int i = 0; i < n; i++) {
        if (!slot[i]) continue;
        const char *what = arena_printf(E->a, "`%s` of `%s`", name[i], chosen_name);
        store(E, t, (VmFieldId)(f - vm_fields), option[i], spec, what, slot[i]->value,
              slot[i]->span);
        VEC_ROOM(E->a, t->option, t->noption, t->option_room);
        t->option[t->noption++] = (FeOptionPlace){option[i], slot[i]->span};
    }
}

Span fe_option_place(const FeTrain *t, VmFieldId field, const char *option) {
    const VmField *f = &vm_fields[field];
    for (int i = 0; i < t->noption; i++) {
        const VmOption *o = t->option[i].option;
        bool of_field = o >= f->option && o < f->option + f->noption;
        if (of_field && !strcmp(o->name, option)) return t->option[i].span;
    }
    return t->place[field];
}

/* x is adamw(..) or the bare name, which means the defaults. False after reporting. */
static bool read_spec(Elab *E, FeTrain *t, VmFieldId id, void *spec, const Ast *x) {
    const VmField *f = &vm_fields[id];
    int kind = choose(E, f, x);
    if (kind < 0) return false;
    vm_spec_default(id, kind, spec);
    if (x->kind == AST_CALL) read_options(E, t, f, kind, spec, x);
    return !E->failed;
}

/* [flip(), ..] or one of them alone. */
static void read_list(Elab *E, FeTrain *t, VmFieldId id, const Ast *x) {
    const VmField *f = &vm_fields[id];
    const Ast *const *item = x->kind == AST_LIST ? (const Ast *const *)x->kid : &x;
    int n = x->kind == AST_LIST ? x->nkid : 1;
    char *first = arena_array(E->a, (size_t)n + 1, f->size);
    for (int i = 0; i < n; i++) {
        const Ast *at = chosen(E, item[i]);
        if (at) read_spec(E, t, id, first + (size_t)i * f->size, at); /* all mistakes are said */
    }
    if (E->failed) return;
    memcpy((char *)&t->recipe + f->at, &first, sizeof first);
    memcpy((char *)&t->recipe + f->count, &n, sizeof n);
}

/* ---- what concerns several options ----------------------------------------------------------- */

static void check_data(Elab *E, const FeTrain *t, const Ast *f) {
    const VmDataSpec *d = &t->recipe.data;
    const VmSource *s = &vm_sources[d->kind];
    int64_t channels = d->channels ? d->channels : s->channels;
    if (!s->classes && !d->dir)
        sema_error(E, f->a->span, D_train_field,
                   "`%s` needs the folder of its files: %s(dir = \"...\")", s->name, s->name);
    if (channels == 2)
        sema_error(E, f->a->span, D_value_range, "`channels` of `%s` is 3 or 1, this is 2",
                   s->name);
    if (channels == 1 && (d->mean.n > 1 || d->std.n > 1))
        sema_error(E, f->a->span, D_value_range,
                   "`mean` and `std` are lists of three but the images of `%s` have 1 channel here",
                   s->name);
}

static void check_schedule(Elab *E, const FeTrain *t, const Ast *f) {
    const VmScheduleSpec *s = &t->recipe.schedule;
    if (s->minimum > s->peak)
        sema_error(E, f->a->span, D_value_range,
                   "the minimum %s of the learning rate is above its peak %s",
                   fe_number_text(E->a, s->minimum), fe_number_text(E->a, s->peak));
}

static void (*const checks[VM_FIELDS])(Elab *, const FeTrain *, const Ast *) = {
    [VM_FIELD_data] = check_data,
    [VM_FIELD_schedule] = check_schedule,
};

/* ---- fields --------------------------------------------------------------------------------- */

static void unknown_field(Elab *E, const FeTrain *t, const Ast *f) {
    const char *hint = sema_field_hint(E, t->ast, f->name, f->a);
    if (hint) {
        sema_error(E, f->name_span, D_train_field, "a train block has no field `%s`%s", f->name,
                   hint);
        return;
    }
    const char *name[VM_FIELDS];
    Text all = text_new(E->a);
    for (int i = 0; i < VM_FIELDS; i++) {
        name[i] = vm_fields[i].name;
        text_addf(&all, "%s%s", i == 0 ? "" : i == VM_FIELDS - 1 ? " and " : ", ", name[i]);
    }
    const char *near = spell_suggest(f->name, name, VM_FIELDS);
    sema_error(E, f->name_span, D_train_field, "a train block has no field `%s`%s", f->name,
               near ? arena_printf(E->a, ": did you mean `%s`?", near)
                    : arena_printf(E->a, ": it has %s", all.data));
}

static void read_value(Elab *E, FeTrain *t, const VmField *f, const Ast *x) {
    const FeValue *v = eval_expr(E, x);
    store(E, t, (VmFieldId)(f - vm_fields), f->option, &t->recipe,
          arena_printf(E->a, "`%s`", f->name), v, x->span);
}

static void read_field(Elab *E, FeTrain *t, const Ast *x) {
    int i = 0;
    while (i < VM_FIELDS && strcmp(vm_fields[i].name, x->name) != 0) i++;
    if (i == VM_FIELDS) {
        unknown_field(E, t, x);
        return;
    }
    const VmField *f = &vm_fields[i];
    t->place[i] = x->span;
    if (f->form == VM_VALUE) {
        read_value(E, t, f, x->a);
        return;
    }
    const Ast *value = chosen(E, x->a);
    if (!value) return;
    if (f->form == VM_LIST)
        read_list(E, t, (VmFieldId)i, value);
    else if (read_spec(E, t, (VmFieldId)i, (char *)&t->recipe + f->at, value) && checks[i])
        checks[i](E, t, x);
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
    if (!t->place[VM_FIELD_data].src)
        sema_error(E, x->span, D_train_field,
                   "this train block says nothing of its `data`: add a line such as `data = "
                   "mnist(batch = 128)` or `data = image_folder(dir = \"photos\", resize = 64)`");
}

/* ---- what the model has to say of it --------------------------------------------------------- */

/* By which metric epochs are judged, of those the model has. */
static void check_metric(Elab *E, const FeTrain *t, VmFieldId field, const char *metric) {
    VEC(const char *) all = {0};
    Text list = text_new(E->a);
    if (!metric || !strcmp(metric, "loss")) return;
    for (int i = 0; i < E->g->nout; i++) {
        const IrOut *o = &E->g->out[i];
        if (o->kind != OUT_metric) continue;
        if (!strcmp(o->name, metric)) return;
        VEC_PUSH(E->a, all, o->name);
        text_addf(&list, "`%s`, ", o->name);
    }
    VEC_PUSH(E->a, all, "loss");
    const char *near = spell_suggest(metric, all.at, all.n);
    sema_error(E, fe_option_place(t, field, "metric"), D_train_field,
               "`%s` has no metric `%s`%s%s%s; it has %s`loss`", t->model, metric,
               near ? ": did you mean `" : "", near ? near : "", near ? "`?" : "",
               list.len ? list.data : "only ");
}

void fe_check_judges(Elab *E, const FeTrain *t) {
    check_metric(E, t, VM_FIELD_keep, t->recipe.keep.metric);
    check_metric(E, t, VM_FIELD_stop, t->recipe.stop.metric);
}

/* ---- blocks --------------------------------------------------------------------------------- */

static const Ast *block_of(const FeExperiment *e, const char *name) {
    const FeTrain *t = names_get(&e->phase_of, name);
    return t ? t->ast : NULL;
}

static bool check_name(Elab *E, const FeExperiment *e, const Ast *x) {
    const Ast *old = block_of(e, x->name);
    if (!old) return true;
    Diag *dg;
    if (x->a || old->a)
        dg = sema_error(E, x->name_span, D_duplicate_name, "there are two phases `%s`", x->name);
    else
        dg = sema_error(E, x->name_span, D_duplicate_name,
                        "model `%s` is trained twice: give the second one a name of its own, "
                        "`train NAME of %s { .. }`",
                        x->name, x->name);
    sema_note(E, dg, old->span, "the first train block is here");
    return false;
}

static bool check_block(Elab *E, FeExperiment *e, const Ast *x) {
    const Ast *model = x->a ? x->a : x;
    if (!x->name || !model->name) return false; /* reported */
    if (x->text) {
        sema_error(E, x->span, D_train_from,
                   "starting from the weights of another model is not supported: remove `from %s`",
                   x->text);
        return false;
    }
    if (!check_name(E, e, x)) return false;
    if (fe_find_model(e, model->name)) return true;
    if (diags_full(E->d)) return false;
    const char **name = ARENA_ARRAY(E->a, const char *, e->model.n + 1);
    for (int i = 0; i < e->model.n; i++) name[i] = e->model.at[i]->name;
    const char *near = spell_suggest(model->name, name, e->model.n);
    sema_error(E, model->name_span, D_unknown_model, "there is no model `%s`%s%s%s", model->name,
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
        *t = (FeTrain){.name = x->name,
                       .model = x->a ? x->a->name : x->name,
                       .span = x->span,
                       .ast = x,
                       .recipe = vm_recipe_default()};
        read_train(&E, t, x);
        e->ntrain++;
        names_at(&e->phase_of, e->a, t->name)->value = t;
        NameSlot *first = names_at(&e->train_of, e->a, t->model);
        if (!first->value) first->value = t;
    }
}
