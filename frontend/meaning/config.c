/* Configuration: the values of `config` blocks in order, with --set overrides checked against the
 * type of the value they replace. Later entries see earlier ones as overridden. */
#include "frontend/meaning/sema.h"
#include "base/spell.h"

#include <math.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

static bool configurable(FeKind k) {
    return k >= FV_INT && k <= FV_TIME;
}

/* Lists may hold anything configurable; mixing kinds would make checks of --set meaningless. */
static bool uniform_list(const FeValue *v) {
    for (int i = 0; v->kind == FV_LIST && i < v->n; i++) {
        const FeValue *x = v->item[i], *first = v->item[0];
        if (!configurable(x->kind) || !uniform_list(x)) return false;
        if (x->kind != first->kind && !(fv_is_number(x) && fv_is_number(first))) return false;
    }
    return true;
}

/* ---- --set ---------------------------------------------------------------------------------- */

/* Every name that --set gives a value, the last one wins. */
static void read_sets(FeExperiment *e) {
    for (int i = 0; i < e->opt->nset; i++) {
        const char *text = e->opt->set[i], *eq = strchr(text, '=');
        if (!eq) continue;
        const char *key = arena_strndup(e->a, text, (size_t)(eq - text));
        names_at(&e->set_of, e->a, key)->value = (void *)(eq + 1);
    }
}

/* Parses the text as the language would; NULL when it is no value. */
static const FeValue *parse_value(FeExperiment *e, const char *text) {
    Diags *quiet = diags_create(e->a);
    const Source *src =
        source_from_text(e->a, "--set", arena_printf(e->a, "config { value = %s\n}\n", text));
    const Ast *file = parse_file(e->a, src, quiet);
    if (quiet->nerrors || file->nkid != 1 || file->kid[0]->kind != AST_CONFIG ||
        file->kid[0]->nkid != 1)
        return NULL;
    Elab E = elab_new(e, e->a, quiet);
    const FeValue *v = eval_expr(&E, file->kid[0]->kid[0]->a);
    return quiet->nerrors || v->kind == FV_BAD ? NULL : v;
}

static const FeValue *without_place(FeExperiment *e, const FeValue *v, Span declared) {
    FeValue *own = ARENA_NEW(e->a, FeValue);
    *own = *v;
    own->span = declared; /* notes point at the entry that was overridden */
    own->overridden = true;
    return own;
}

static bool same_shape(const FeValue *old, const FeValue *v) {
    if (old->kind == FV_FLOAT) return fv_is_number(v);
    if (old->kind != v->kind) return false;
    for (int i = 0; v->kind == FV_LIST && old->n && i < v->n; i++)
        if (!same_shape(old->item[0], v->item[i])) return false;
    return v->kind != FV_LIST || uniform_list(v);
}

static const FeValue * override(FeExperiment *e, const char *name, const FeValue *old,
                                const char *text, Diags *d, Span declared) {
    if (old->kind == FV_STR && text[0] != '"')
        return fv_str(e->a, arena_strdup(e->a, text), declared);
    const FeValue *v = parse_value(e, text); /* in quotes: with the escapes of the file */
    if (v && same_shape(old, v)) {
        if (old->kind == FV_FLOAT) v = fv_float(e->a, fv_number(v), declared);
        return without_place(e, v, declared);
    }
    Diag *dg = diag_error(d, (Span){0}, D_set_value, "--set %s=%s: `%s` is %s like %s, not %s",
                          name, text, name, fv_kind_name(old->kind), fv_text(e->a, old),
                          v ? fv_describe(e->a, v) : "this");
    diag_note(d, dg, declared, "`%s` is declared here", name);
    return old;
}

/* Logs and checkpoints keep settings as JSON, which has no other bytes. */
static bool is_utf8(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        int n = *p < 0x80                 ? 1
                : *p >= 0xC2 && *p < 0xE0 ? 2
                : *p >= 0xE0 && *p < 0xF0 ? 3
                : *p >= 0xF0              ? 4
                                          : 0;
        if (n == 0 || *p > 0xF4) return false;
        for (int i = 1; i < n; i++)
            if ((p[i] & 0xC0) != 0x80) return false;
        bool overlong = (*p == 0xE0 && p[1] < 0xA0) || (*p == 0xF0 && p[1] < 0x90);
        bool surrogate = *p == 0xED && p[1] >= 0xA0, beyond = *p == 0xF4 && p[1] >= 0x90;
        if (overlong || surrogate || beyond) return false;
        p += n;
    }
    return true;
}

static const char *printable(Arena *a, const char *text) {
    Text t = text_new(a);
    for (; *text; text++)
        text_addf(&t, (unsigned char)*text < 0x80 ? "%c" : "\\x%02x", (unsigned char)*text);
    return t.data;
}

static void check_set(const FeExperiment *e, Diags *d) {
    const char **name = ARENA_ARRAY(e->a, const char *, e->config.n + 1);
    for (int i = 0; i < e->config.n; i++) name[i] = e->config.at[i].name;
    for (int i = 0; i < e->opt->nset; i++) {
        const char *text = e->opt->set[i], *eq = strchr(text, '=');
        if (!eq || eq == text) {
            diag_error(d, (Span){0}, D_set_value, "--set %s: expected name=value", text);
            continue;
        }
        if (!is_utf8(text)) {
            diag_error(d, (Span){0}, D_set_value, "--set: the text is not UTF-8: %s",
                       printable(e->a, text));
            continue;
        }
        const char *key = arena_strndup(e->a, text, (size_t)(eq - text));
        if (fe_find_config(e, key)) continue;
        if (diags_full(d)) return; /* a suggestion takes time */
        const char *near = spell_suggest(key, name, e->config.n);
        diag_error(d, (Span){0}, D_set_unknown, "--set %s: there is no `%s` in config%s%s%s", text,
                   key, near ? ": did you mean `" : "", near ? near : "", near ? "`?" : "");
    }
}

/* ---- config blocks -------------------------------------------------------------------------- */

static void add_field(FeExperiment *e, Elab *E, const Ast *x) {
    const FeConfig *old = fe_find_config(e, x->name);
    if (old) {
        Diag *dg = sema_error(E, x->span, D_duplicate_name, "`%s` is configured twice", x->name);
        sema_note(E, dg, old->span, "the first one is here");
        return;
    }
    const FeValue *v = eval_expr(E, x->a);
    if (v->kind != FV_BAD && (!configurable(v->kind) || !uniform_list(v))) {
        sema_error(E, x->a->span, D_config_value,
                   "a config value is a number, true or false, a string, a duration or a list of "
                   "one kind, "
                   "this is %s",
                   fv_describe(E->a, v));
        v = fv_bad();
    }
    int64_t before = E->items;
    E->items += v->kind == FV_LIST ? v->size : 0;
    if (before <= FE_MAX_ITEMS && E->items > FE_MAX_ITEMS)
        sema_error(E, x->a->span, D_limit,
                   "the lists of config have at most %d elements together, with this "
                   "one they have %" PRId64,
                   FE_MAX_ITEMS, E->items);
    if (E->items > FE_MAX_ITEMS) v = fv_bad();
    const char *text = v->kind == FV_BAD ? NULL : names_get(&e->set_of, x->name);
    if (text) v = override(e, x->name, v, text, E->d, x->span);
    FeConfig c = {.name = x->name, .value = v, .span = x->span, .src = x->span.src};
    VEC_PUSH(e->a, e->config, c);
    names_at(&e->config_of, e->a, x->name)->value = (void *)(intptr_t)e->config.n;
}

void fe_load_config(FeExperiment *e, Diags *d) {
    Elab E = elab_new(e, e->a, d);
    read_sets(e);
    for (int i = e->file.n - 1; i >= 0; i--) {
        const Ast *file = e->file.at[i]->ast;
        for (int j = 0; j < file->nkid; j++)
            for (int k = 0; file->kid[j]->kind == AST_CONFIG && k < file->kid[j]->nkid; k++)
                if (file->kid[j]->kid[k]->kind == AST_FIELD) add_field(e, &E, file->kid[j]->kid[k]);
    }
    check_set(e, d);
    e->config_name = ARENA_ARRAY(e->a, const char *, e->config.n + 1);
    e->config_text = ARENA_ARRAY(e->a, const char *, e->config.n + 1);
    for (int i = 0; i < e->config.n; i++) {
        e->config_name[i] = e->config.at[i].name;
        e->config_text[i] = fv_text(e->a, e->config.at[i].value);
    }
}
