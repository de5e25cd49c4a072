/* Names that nothing has: what was meant. In this order: what the name is bound to, the library
 * file that has a layer of it, the habit of another language, the nearest spelling, a name that
 * begins alike. */
#include "base/spell.h"
#include "frontend/meaning/sema.h"
#include "frontend/syntax/habits.h"

#include <string.h>

enum { MAX_ALIKE = 3 };

/* ---- names ----------------------------------------------------------------------------------- */

static const char *suggest_name(Elab *E, const char *name) {
    VEC(const char *) all = {0};
    if (diags_full(E->d)) return NULL; /* nobody will read it, and it takes time */
    for (const FeScope *s = E->frame ? E->frame->scope : NULL; s; s = s->up)
        for (const FeBinding *b = s->first; b; b = b->next) VEC_PUSH(E->a, all, b->name);
    for (int i = 0; i < E->e->config.n; i++) VEC_PUSH(E->a, all, E->e->config.at[i].name);
    return spell_suggest(name, all.at, all.n);
}

const FeValue *sema_unknown_name(Elab *E, const Ast *x) {
    if (fe_find_layer(E->e, x->name) || fe_find_builtin(x->name)) {
        sema_error(E, x->span, D_unknown_name, "`%s` is a %s: call it, as in `%s(...)`", x->name,
                   fe_find_builtin(x->name) ? "function" : "layer", x->name);
        return fv_bad();
    }
    const char *near = suggest_name(E, x->name);
    if (near)
        sema_error(E, x->span, D_unknown_name, "unknown name `%s`: did you mean `%s`?", x->name,
                   near);
    else
        sema_error(E, x->span, D_unknown_name, "unknown name `%s`", x->name);
    return fv_bad();
}

/* ---- calls ----------------------------------------------------------------------------------- */

static const char *suggest_call(Elab *E, const char *name) {
    VEC(const char *) all = {0};
    if (diags_full(E->d)) return NULL;
    for (int i = 0; i < E->e->layer.n; i++) VEC_PUSH(E->a, all, E->e->layer.at[i]->ast->name);
    for (int i = 0; i < fe_nbuiltin(); i++) VEC_PUSH(E->a, all, fe_builtin_at(i)->name);
    return spell_suggest(name, all.at, all.n);
}

/* "`linear(x, 5)`": what is written with the user's own arguments, if a row knows the name. */
static const char *habit_of(Elab *E, const Ast *x) {
    const char **arg = ARENA_ARRAY(E->a, const char *, x->nkid + 1);
    for (int i = 0; i < x->nkid; i++) {
        const Ast *k = x->kid[i]->kind == AST_ARG ? x->kid[i]->a : x->kid[i];
        arg[i] = k && k->span.src ? fe_source_text(E->a, k->span) : "..";
    }
    const Habit *h = habit_find(HABIT_CALL, x->name, x->nkid);
    if (!h) h = habit_find(HABIT_CLASS, x->name, x->nkid);
    return h ? habit_answer(E->a, h, x->nkid ? arg[0] : "x", arg, x->nkid) : NULL;
}

/* Names with the same first word: moe_mlp for moe_block. */
static const char *begin_alike(Elab *E, const char *name) {
    size_t n = strcspn(name, "_");
    Text t = text_new(E->a);
    int count = 0;
    if (name[n] != '_' || n < 3) return NULL;
    for (int i = 0; i < E->e->layer.n && count < MAX_ALIKE; i++) {
        const char *own = E->e->layer.at[i]->ast->name;
        if (strncmp(own, name, n + 1) != 0) continue;
        text_addf(&t, "%s`%s`", count++ ? " or " : "", own);
    }
    const FeOffer *offer = NULL;
    int noffer = 0;
    if (!count) offer = fe_offers(E->e, &noffer);
    for (int i = 0; i < noffer && count < MAX_ALIKE; i++)
        if (!strncmp(offer[i].layer, name, n + 1))
            text_addf(&t, "%s`%s` of \"%s\"", count++ ? " or " : "", offer[i].layer, offer[i].use);
    return count ? t.data : NULL;
}

/* Once for every file that is not used. */
static void say_use(Elab *E, const Ast *x, const char *use) {
    NameSlot *said = names_at(&E->said, E->a, use);
    E->failed = true;
    if (said->value) return;
    said->value = said;
    sema_error(E, x->name_span, D_unknown_call,
               "`%s` is a layer of %s, which is not used: add `use \"%s\"`", x->name, use, use);
}

static void say_unknown(Elab *E, const Ast *x) {
    const char *use = diags_full(E->d) ? NULL : fe_offered_use(E->e, x->name);
    if (use) {
        say_use(E, x, use);
        return;
    }
    const char *habit = habit_of(E, x);
    const char *near = habit ? NULL : suggest_call(E, x->name);
    const char *alike = habit || near || diags_full(E->d) ? NULL : begin_alike(E, x->name);
    const char *hint = habit   ? arena_printf(E->a, ": %s", habit)
                       : near  ? arena_printf(E->a, ": did you mean `%s`?", near)
                       : alike ? arena_printf(E->a, ": did you mean %s?", alike)
                               : "";
    sema_error(E, x->name_span, D_unknown_call, "unknown layer or function `%s`%s", x->name, hint);
}

const FeValue *sema_unknown_call(Elab *E, const Ast *x) {
    const FeBinding *b = E->frame ? scope_find(E->frame, x->name) : NULL;
    if (fe_find_model(E->e, x->name)) {
        sema_error(E, x->name_span, D_unknown_call,
                   "`%s` is a model: only layers and functions can be called", x->name);
    } else if (b && b->value->kind != FV_BAD) {
        Diag *dg =
            sema_error(E, x->name_span, D_unknown_call, "`%s` is %s, not a layer or function",
                       x->name, fv_describe(E->a, b->value));
        sema_note(E, dg, b->span, "`%s` is bound here", x->name);
    } else {
        say_unknown(E, x);
    }
    return fv_bad();
}

/* ---- arguments and fields -------------------------------------------------------------------- */

/* "a `patch`, `dim`": what there is. */
const char *sema_argument_hint(Elab *E, const char *name, const char *const *param, int nparam) {
    const char *own = habit_argument(name, param, nparam);
    const char *near = own ? NULL : spell_suggest(name, param, nparam);
    if (own) return arena_printf(E->a, ": it is called `%s` here", own);
    if (near) return arena_printf(E->a, ": did you mean `%s`?", near);
    Text t = text_new(E->a);
    for (int i = 0; i < nparam; i++) text_addf(&t, "%s`%s`", i ? ", " : "", param[i]);
    return nparam ? arena_printf(E->a, "; it has %s", t.data) : "; it has none";
}

/* What the block chooses for a field, `mnist` of `data = mnist()`; -1: nothing that can be seen
 * without evaluating it. */
static int written_choice(const Ast *block, const VmField *f) {
    for (int i = 0; i < block->nkid; i++) {
        const Ast *x = block->kid[i], *v = x->a;
        if (x->kind != AST_FIELD || strcmp(x->name, f->name) != 0 || !v) continue;
        for (int c = 0; c < f->nchoice && (v->kind == AST_CALL || v->kind == AST_NAME); c++)
            if (!strcmp(f->choice[c].name, v->name)) return c;
    }
    return -1;
}

/* Options of fields stand in the parentheses behind the field's choice. */
static const char *option_place(Elab *E, const Ast *block, const char *name, const char *value) {
    for (int i = 0; i < VM_FIELDS; i++) {
        const VmField *f = &vm_fields[i];
        for (int k = 0; f->form != VM_VALUE && k < f->noption; k++) {
            if (strcmp(f->option[k].name, name) != 0) continue;
            int choice = written_choice(block, f);
            if (choice < 0 || !vm_option_applies(&f->option[k], choice)) choice = 0;
            while (!vm_option_applies(&f->option[k], choice)) choice++;
            return arena_printf(E->a, ": write `%s = %s%s(%s = %s)%s`", f->name,
                                f->form == VM_LIST ? "[" : "", f->choice[choice].name, name, value,
                                f->form == VM_LIST ? "]" : "");
        }
        if (f->form == VM_VALUE && !strcmp(f->name, name))
            return arena_printf(E->a, ": it is a field of its own, `%s = %s`", name, value);
    }
    return NULL;
}

const char *sema_field_hint(Elab *E, const Ast *block, const char *name, const Ast *value) {
    const char *text = value ? fe_source_text(E->a, value->span) : "..";
    const Habit *h = habit_find(HABIT_FIELD, name, 0);
    if (h) return arena_printf(E->a, ": %s", habit_answer(E->a, h, "", &text, 1));
    return option_place(E, block, name, text);
}

/* What the user wrote, on one line; not too long. */
const char *fe_source_text(Arena *a, Span s) {
    enum { LONG = 60 };
    Text t = text_new(a);
    for (int i = s.start; i < s.end; i++) {
        char c = s.src->text[i];
        bool blank = strchr(" \t\r\n", c) != NULL;
        if (t.len >= LONG) return arena_printf(a, "%s..", t.data);
        if (!blank || (t.len && t.data[t.len - 1] != ' ')) text_addn(&t, blank ? " " : &c, 1);
    }
    return t.len ? t.data : "";
}
