/* Finds what stands at a place of the main file (inspect.h): by the tree alone, so that it works
 * in a file that does not check. */
#include "frontend/inspect.h"

#include <string.h>

#include "frontend/meaning/sema.h"
#include "frontend/words.h"

/* ---- what stands at a place ------------------------------------------------------------------ */

/* The innermost node whose own word is at the place, and what it stands in. */
typedef struct Finder {
    int at;
    const Ast *found, *call; /* call: the one whose argument an AST_ARG is */
    const Ast *top;          /* declaration around the place */
    bool in_train;
} Finder;

static bool holds(Span s, int at) { /* behind the last letter counts: a cursor stands there */
    return s.src && s.start <= at && at <= s.end;
}

static Span word_of(const Ast *x) {
    if (x->kind == AST_NAME || x->kind == AST_USE) return x->span;
    return x->name_span;
}

static void find(Finder *f, const Ast *x, const Ast *call);

static void find_all(Finder *f, Ast *const *x, int n, const Ast *call) {
    for (int i = 0; i < n; i++) find(f, x[i], call);
}

static void find(Finder *f, const Ast *x, const Ast *call) {
    if (!x || !holds(x->span, f->at)) return;
    if (holds(word_of(x), f->at)) {
        f->found = x;
        f->call = x->kind == AST_ARG ? call : NULL;
    }
    const Ast *inner = x->kind == AST_CALL ? x : NULL;
    find_all(f, x->kid, x->nkid, inner);
    find_all(f, x->param, x->nparam, NULL);
    find(f, x->type, NULL);
    find(f, x->a, NULL);
    find(f, x->b, NULL);
    find(f, x->other, NULL);
}

static Finder find_at(const FeExperiment *e, int at) {
    Finder f = {.at = at};
    const Ast *file = e->main->ast;
    for (int i = 0; i < file->nkid; i++) {
        if (!holds(file->kid[i]->span, at)) continue;
        f.top = file->kid[i];
        f.in_train = f.top->kind == AST_TRAIN;
        find(&f, f.top, NULL);
    }
    return f;
}

bool fe_in_train(const FeExperiment *e, int offset) {
    return find_at(e, offset).in_train;
}

const Source *fe_source(const FeExperiment *e) {
    return e->main->src;
}

bool fe_reads(const FeExperiment *e, const char *real) {
    return names_get(&e->file_of, real) != NULL;
}

/* ---- names of a layer or model --------------------------------------------------------------- */

/* A name that is bound: by a parameter, a statement, or as a dimension of a parameter's type. */
typedef struct Bound {
    const char *name;
    const Ast *node; /* whose value it has */
    Span span;
} Bound;

typedef struct Bounds {
    Arena *arena;
    int at; /* names of loops that the place does not lie in are out of sight */
    VEC(Bound) list;
} Bounds;

static void bind(Bounds *b, const char *name, const Ast *node, Span span) {
    Bound x = {name, node, span};
    if (name && *name && *name != '.') VEC_PUSH(b->arena, b->list, x);
}

static void bind_statements(Bounds *b, Ast *const *stmt, int n);

static void bind_statement(Bounds *b, const Ast *s) {
    switch (s->kind) {
    case AST_BIND:
        for (int i = 0; i < s->nkid; i++) bind(b, s->kid[i]->name, s->kid[i], s->kid[i]->span);
        break;
    case AST_WEIGHT:
    case AST_STATE: bind(b, s->name, s, s->name_span); break;
    case AST_FOR:
        if (!holds(s->span, b->at)) break;
        bind(b, s->name, s, s->name_span);
        bind_statements(b, s->kid, s->nkid);
        break;
    case AST_IF:
        bind_statements(b, s->kid, s->nkid);
        if (s->other) bind_statement(b, s->other);
        break;
    case AST_BLOCK: bind_statements(b, s->kid, s->nkid); break;
    default: break;
    }
}

static void bind_statements(Bounds *b, Ast *const *stmt, int n) {
    for (int i = 0; i < n; i++) bind_statement(b, stmt[i]);
}

static Bounds bounds_of(Arena *a, const Ast *top, int at) {
    Bounds b = {.arena = a, .at = at};
    if (!top || (top->kind != AST_LAYER && top->kind != AST_MODEL)) return b;
    for (int i = 0; i < top->nparam; i++) {
        const Ast *p = top->param[i];
        for (int k = 0; p->type && k < p->type->nkid; k++)
            if (p->type->kid[k]->kind == AST_NAME)
                bind(&b, p->type->kid[k]->name, p->type->kid[k], p->type->kid[k]->span);
        bind(&b, p->name, p, p->name_span.src ? p->name_span : p->span);
    }
    bind_statements(&b, top->kid, top->nkid);
    return b;
}

/* The last one before the place; a name that is bound further down only is that. */
static const Bound *bound_at(const Bounds *b, const char *name, int at) {
    const Bound *best = NULL;
    for (int i = 0; i < b->list.n; i++) {
        const Bound *x = &b->list.at[i];
        if (strcmp(x->name, name) != 0) continue;
        if (!best || x->span.start <= at) best = x;
    }
    return best;
}

/* ---- words about things ---------------------------------------------------------------------- */

/* A comment right before a declaration, without its marks. */
static const char *comment_of(Arena *a, const Ast *x) {
    Text t = text_new(a);
    int from = x->ncomment;
    while (from > 0 && *x->comment[from - 1]) from--;
    for (int i = from; i < x->ncomment; i++) {
        const char *line = x->comment[i] + strspn(x->comment[i], "#");
        text_addf(&t, "%s%s", t.len ? "\n" : "", line + (*line == ' '));
    }
    return t.data;
}

/* A declaration's source from its keyword to its body, on one line. */
static const char *head_of(Arena *a, const Ast *x) {
    Text t = text_new(a);
    int end = x->type ? x->type->span.end : x->name_span.end;
    for (int i = 0; i < x->nparam; i++)
        if (x->param[i]->span.end > end) end = x->param[i]->span.end;
    const char *p = x->span.src->text + x->span.start, *body = x->span.src->text + end;
    body += strcspn(body, "{\n");
    bool blank = false;
    for (; p < body; p++) {
        bool space = *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r';
        if (!space && blank && t.len) text_add(&t, " ");
        if (!space) text_addn(&t, p, 1);
        blank = space;
    }
    return t.data;
}

static const char *value_text(Arena *a, const FeValue *v) {
    const char *text = v->kind == FV_ROUTE ? fv_describe(a, v) : fv_text(a, v);
    if (v->kind != FV_TENSOR || !v->group) return text;
    return arena_printf(a, "%s, %s %lld experts", text,
                        v->per_expert ? "a set for each of" : "rows of",
                        (long long)v->group->experts);
}

static void add_value(const FeExperiment *e, Arena *a, const Ast *node, FeThing *out) {
    const FeSeen *seen = sema_seen(e, node);
    if (!seen) return;
    if (seen->value) out->value = value_text(a, seen->value);
    out->calls = seen->calls;
    out->parameters = seen->parameters;
}

static bool is_word(const FeWord *w, const char *name, unsigned kinds) {
    return kinds >> w->kind & 1 && !strcmp(w->name, name);
}

#define KIND(k) (1u << FE_##k)
#define KEYWORDS                                                                                   \
    (KIND(DECLARATION) | KIND(STATEMENT) | KIND(PART) | KIND(VALUE) | KIND(OPERATOR) |             \
     KIND(LOOSE) | KIND(TYPE))

static bool describe_word(Arena *a, const char *name, unsigned kinds, FeThing *out) {
    for (int i = 0; i < fe_nword(); i++) {
        FeWord w = fe_word(i);
        if (!is_word(&w, name, kinds)) continue;
        bool call = w.kind == FE_BUILTIN || w.kind == FE_INITIALISER;
        out->title = call ? arena_printf(a, "%s(%s)", w.name, fe_word_parameters(a, &w))
                     : w.kind == FE_CHOICE ? arena_printf(a, "%s = %s", w.form, w.name)
                                           : w.form;
        out->doc = w.meaning;
        return true;
    }
    return false;
}

static void describe_layer(Arena *a, const FeLayer *l, FeThing *out) {
    out->title = head_of(a, l->ast);
    out->doc = comment_of(a, l->ast);
    out->defined = l->ast->name_span;
}

static bool describe_config(Arena *a, const FeConfig *c, FeThing *out) {
    out->title = arena_printf(a, "config %s", c->name);
    out->value = value_text(a, c->value);
    out->defined = c->span;
    return true;
}

/* ---- the thing at a place -------------------------------------------------------------------- */

static bool describe_name(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const char *name = f->found->name;
    Bounds b = bounds_of(a, f->top, f->at);
    const Bound *local = bound_at(&b, name, f->at);
    const FeConfig *c = fe_find_config(e, name);
    if (local) {
        out->title = name;
        out->defined = local->span;
        add_value(e, a, sema_seen(e, f->found) ? f->found : local->node, out);
        return true;
    }
    if (c) return describe_config(a, c, out);
    const Ast *m = fe_find_model(e, name);
    if (m) {
        out->title = head_of(a, m);
        out->doc = comment_of(a, m);
        out->defined = m->name_span;
        return true;
    }
    return f->in_train && describe_word(a, name, KIND(CHOICE), out);
}

static bool describe_call(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const char *name = f->found->name;
    const FeLayer *l = fe_find_layer(e, name);
    unsigned kinds = KIND(BUILTIN) | KIND(INITIALISER);
    if (f->in_train) return describe_word(a, name, KIND(CHOICE) | kinds, out);
    add_value(e, a, f->found, out);
    if (!l) return describe_word(a, name, kinds, out);
    describe_layer(a, l, out);
    return true;
}

/* The parameter of the layer that is called. */
static bool describe_argument(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const FeLayer *l = f->call ? fe_find_layer(e, f->call->name) : NULL;
    for (int i = 0; l && i < l->ast->nparam; i++) {
        if (strcmp(l->ast->param[i]->name, f->found->name) != 0) continue;
        out->title = arena_printf(a, "%s of %s", f->found->name, head_of(a, l->ast));
        out->defined = l->ast->param[i]->span;
        return true;
    }
    return false;
}

/* A train block's name is a model's, or that of a phase of one. */
static bool describe_train(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const Ast *m = fe_find_model(e, f->found->name);
    out->title = arena_printf(a, "train %s", f->found->name);
    if (m) {
        out->doc = head_of(a, m);
        out->defined = m->name_span;
    }
    return true;
}

static bool describe_field(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const FeConfig *c = f->in_train ? NULL : fe_find_config(e, f->found->name);
    return c ? describe_config(a, c, out) : describe_word(a, f->found->name, KIND(FIELD), out);
}

static bool describe_use(const FeExperiment *e, const Finder *f, FeThing *out) {
    for (int i = 0; i < e->file.n; i++) {
        const FeFile *file = e->file.at[i];
        if (file->used_at.src != f->found->span.src || file->used_at.start != f->found->span.start)
            continue;
        out->title = file->src->path;
        out->defined = (Span){file->src, 0, 0};
        return true;
    }
    return false;
}

static bool describe_own(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    const Ast *x = f->found;
    out->title = x->kind == AST_LAYER || x->kind == AST_MODEL ? head_of(a, x) : x->name;
    out->doc = comment_of(a, x);
    out->defined = word_of(x);
    add_value(e, a, x, out);
    return true;
}

static bool describe(const FeExperiment *e, Arena *a, const Finder *f, FeThing *out) {
    switch (f->found->kind) {
    case AST_NAME:
    case AST_UPDATE: return describe_name(e, a, f, out);
    case AST_CALL: return describe_call(e, a, f, out);
    case AST_ARG: return describe_argument(e, a, f, out);
    case AST_TRAIN: return describe_train(e, a, f, out);
    case AST_FIELD: return describe_field(e, a, f, out);
    case AST_USE: return describe_use(e, f, out);
    default: return describe_own(e, a, f, out);
    }
}

static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static Span text_word(const Source *src, int at) {
    Span s = {src, at, at};
    while (s.start > 0 && in_name(src->text[s.start - 1])) s.start--;
    while (s.end < (int)src->len && in_name(src->text[s.end])) s.end++;
    return s;
}

bool fe_thing_at(const FeExperiment *e, Arena *a, int offset, FeThing *out) {
    const Source *src = e->main->src;
    if (offset < 0 || offset > (int)src->len) return false;
    Finder f = find_at(e, offset);
    *out = (FeThing){.doc = "", .span = text_word(src, offset)};
    const char *word =
        arena_strndup(a, src->text + out->span.start, (size_t)(out->span.end - out->span.start));
    bool keyword =
        !f.found || f.found->kind == AST_USE || !f.found->name || strcmp(f.found->name, word) != 0;
    if (keyword && *word && describe_word(a, word, KEYWORDS, out)) return true;
    if (!f.found || (!f.found->name && f.found->kind != AST_USE)) return false;
    out->span = word_of(f.found);
    return describe(e, a, &f, out);
}

/* ---- names that could stand there ------------------------------------------------------------ */

typedef struct NameList {
    VEC(FeName) list;
} NameList;

static void add_locals(Arena *a, const FeExperiment *e, int offset, NameList *out) {
    Finder f = find_at(e, offset);
    Bounds b = bounds_of(a, f.top, offset);
    Names seen = {0};
    for (int i = 0; i < b.list.n; i++) {
        NameSlot *slot = names_at(&seen, a, b.list.at[i].name);
        FeThing t = {.doc = ""};
        if (slot->count++) continue;
        add_value(e, a, b.list.at[i].node, &t);
        FeName n = {FE_NAME_LOCAL, slot->name, t.value ? t.value : "", "", b.list.at[i].span};
        VEC_PUSH(a, out->list, n);
    }
}

int fe_names_at(const FeExperiment *e, Arena *a, int offset, FeName **out) {
    NameList all = {0};
    add_locals(a, e, offset, &all);
    for (int i = 0; i < e->config.n; i++) {
        const FeConfig *c = &e->config.at[i];
        FeName n = {FE_NAME_CONFIG, c->name, value_text(a, c->value), "", c->span};
        VEC_PUSH(a, all.list, n);
    }
    for (int i = 0; i < e->layer.n; i++) {
        const Ast *x = e->layer.at[i]->ast;
        FeName n = {FE_NAME_LAYER, x->name, head_of(a, x), comment_of(a, x), x->name_span};
        VEC_PUSH(a, all.list, n);
    }
    for (int i = 0; i < e->model.n; i++) {
        const Ast *x = e->model.at[i];
        FeName n = {FE_NAME_MODEL, x->name, head_of(a, x), comment_of(a, x), x->name_span};
        VEC_PUSH(a, all.list, n);
    }
    *out = all.list.at;
    return all.list.n;
}
