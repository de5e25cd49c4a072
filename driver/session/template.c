/* Files to begin with, from models/templates/: a template is a .vmoe file that stands by itself;
 * what its data decides are values of its config, by the names below. The tree of the file is
 * changed and printed again, so that the new file is formatted.
 *
 * Does not: write files. */
#include "driver/session/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/spell.h"
#include "base/vec.h"
#include "frontend/syntax/ast.h"

enum {
    SIDE_STEP = 16,  /* sides are multiples of it, as the templates' networks need them */
    LEAST_SIDE = 32, /* smaller images are enlarged */
    LEAST_STEPS = 4, /* of an epoch, where there are so many images */
    SHOWN_CLASSES = 40,
    COLUMNS = 100
};

/* ---- which there are ------------------------------------------------------------------------- */

/* The comment that the file begins with, without its mark. */
static const char *first_line(Arena *a, const char *path) {
    VmError err;
    const Source *src = source_load(a, path, &err);
    if (!src || strncmp(src->text, "# ", 2) != 0) return "";
    return arena_strndup(a, src->text + 2, strcspn(src->text, "\n") - 2);
}

int session_templates(Arena *a, const char *models, SessionTemplate **out) {
    const char *folder = arena_printf(a, "%s/templates", models), **name;
    int n = session_shipped(a, folder, ".vmoe", &name);
    *out = ARENA_ARRAY(a, SessionTemplate, n);
    for (int i = 0; i < n; i++) {
        const char *path = arena_printf(a, "%s/%s.vmoe", folder, name[i]);
        (*out)[i] = (SessionTemplate){name[i], path, first_line(a, path)};
    }
    return n;
}

static VmStatus find(Session *s, const char *models, const char *name, SessionTemplate *out) {
    SessionTemplate *all;
    int n = session_templates(s->arena, models, &all);
    const char **names = ARENA_ARRAY(s->arena, const char *, n);
    Text list = text_new(s->arena);
    for (int i = 0; i < n; i++) {
        names[i] = all[i].name;
        text_addf(&list, "%s%s", i ? ", " : "", names[i]);
        *out = all[i];
        if (!strcmp(name, names[i])) return VM_OK;
    }
    if (!n) return session_fail(s, VM_ENV, "there are no templates in %s/templates", models);
    const char *near = spell_suggest(name, names, n);
    return session_fail(s, VM_USAGE, "there is no template '%s'%s%s%s; there are %s", name,
                        near ? ", did you mean " : "", near ? near : "", near ? "?" : "",
                        list.data);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* The value of a setting; NULL: the template has no such one, so nothing is to be said there. */
static Ast *setting(const Ast *file, const char *name, AstKind kind) {
    for (int i = 0; i < file->nkid; i++) {
        const Ast *config = file->kid[i];
        for (int k = 0; config->kind == AST_CONFIG && k < config->nkid; k++)
            if (!strcmp(config->kid[k]->name, name) && config->kid[k]->a->kind == kind)
                return config->kid[k]->a;
    }
    return NULL;
}

static void set_number(Arena *a, const Ast *file, const char *name, int64_t value) {
    Ast *x = setting(file, name, AST_NUMBER);
    if (!x) return;
    x->num = (double)value;
    x->name = arena_printf(a, "%lld", (long long)value);
}

static int64_t number(const Ast *file, const char *name) {
    const Ast *x = setting(file, name, AST_NUMBER);
    return x ? (int64_t)x->num : 0;
}

/* Photos are made smaller as the template says, and never larger than they are if that can be. */
static int64_t side_of(int64_t most, int64_t shortest) {
    int64_t side = shortest / SIDE_STEP * SIDE_STEP;
    if (side > most) side = most;
    return side < LEAST_SIDE ? LEAST_SIDE : side;
}

static int64_t batch_of(int64_t batch, int64_t images) {
    while (batch > 1 && batch * LEAST_STEPS > images) batch /= 2;
    return batch;
}

static void fill(Session *s, const Ast *file, const char *dir, const VmDataLook *look,
                 double held_out) {
    Arena *a = s->arena;
    Ast *folder = setting(file, "folder", AST_STRING);
    double images = (double)look->images[VM_TRAIN] * (1 - held_out);
    if (folder) folder->text = dir;
    set_number(a, file, "classes", look->classes);
    set_number(a, file, "side", side_of(number(file, "side"), look->shortest));
    set_number(a, file, "batch", batch_of(number(file, "batch"), (int64_t)images));
}

/* ---- the comment at the beginning ------------------------------------------------------------ */

static const char *replaced(Arena *a, const char *text, const char *from, const char *to) {
    Text t = text_new(a);
    for (const char *at; (at = strstr(text, from)); text = at + strlen(from)) {
        text_addn(&t, text, (size_t)(at - text));
        text_add(&t, to);
    }
    text_add(&t, text);
    return t.data;
}

typedef VEC(const char *) Lines;

/* Adds words to the comment, in lines of COLUMNS. */
static void add_words(Arena *a, Lines *lines, const char *text) {
    Text line = text_new(a);
    for (size_t n; *text; text += n + (text[n] == ' ')) {
        n = strcspn(text, " ");
        if (line.len && line.len + 1 + n > COLUMNS) {
            VEC_PUSH(a, *lines, line.data);
            line = text_new(a);
        }
        text_add(&line, line.len ? " " : "# ");
        text_addn(&line, text, n);
    }
    if (line.len) VEC_PUSH(a, *lines, line.data);
}

/* Names of folders may be anything; the file is UTF-8. */
static void add_name(Text *t, const char *name) {
    size_t n = strlen(name);
    for (size_t at = 0, k; at < n; at += k) {
        int valid = text_utf8(name + at, n - at);
        k = valid ? (size_t)valid : 1;
        text_addn(t, valid ? name + at : "?", k);
    }
}

static const char *data_words(Arena *a, const VmDataLook *look) {
    Text t = text_new(a);
    const char *name = look->names;
    text_addf(&t, "The data has %lld classes", (long long)look->classes);
    for (int64_t i = 0; name && i < look->classes && i < SHOWN_CLASSES; i++) {
        text_add(&t, i ? ", " : " (");
        add_name(&t, name);
        name += strlen(name) + 1;
    }
    if (name) text_add(&t, look->classes > SHOWN_CLASSES ? ", ..)" : ")");
    text_addf(&t, ", %lld images to learn from and %lld to be tried on.",
              (long long)look->images[VM_TRAIN], (long long)look->images[VM_TEST]);
    return t.data;
}

/* The comment up to its first empty line speaks of the new file; what follows stays. look NULL: no
 * data was looked at. */
static void write_header(Arena *a, const Ast *file, const char *template, const char *name,
                         const VmDataLook *look) {
    Lines lines = {0};
    if (!file->nkid) return;
    Ast *first = file->kid[0];
    int i = 0;
    for (; i < first->ncomment && *first->comment[i]; i++) {
        const char *text = replaced(a, first->comment[i], arena_printf(a, "%s.vmoe", template),
                                    arena_printf(a, "%s.vmoe", name));
        text = replaced(a, text, arena_printf(a, "runs/%s", template),
                        arena_printf(a, "runs/%s", name));
        VEC_PUSH(a, lines, text);
    }
    if (look) VEC_PUSH(a, lines, "#");
    if (look) add_words(a, &lines, data_words(a, look));
    for (; i < first->ncomment; i++) VEC_PUSH(a, lines, first->comment[i]);
    first->comment = lines.at;
    first->ncomment = lines.n;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static VmStatus check_dir(Session *s, const char *dir) {
    size_t n = strlen(dir);
    for (size_t at = 0, k; at < n; at += k) {
        k = (size_t)text_utf8(dir + at, n - at);
        if (!k || (unsigned char)dir[at] < ' ' || dir[at] == 0x7f)
            return session_fail(
                s, VM_USAGE, "--data '%s' cannot stand in a file: its name is no UTF-8 text", dir);
    }
    return VM_OK;
}

/* Data as the template's first train block reads it. */
static VmStatus look_at(Session *s, const VmoecOptions *o, const Ast *file, const char *dir,
                        VmDataLook *look) {
    Diags *d = diags_create(s->arena);
    VmError err = {.text = ""};
    const FeExperiment *e = session_load(s, o, d, &err);
    if (!e) return session_fail(s, err.status, "%s", err.text);
    session_say_diags(s, d);
    VmStatus st = session_diags_status(d);
    if (st) return st;
    if (!fe_ntrain(e)) return session_fail(s, VM_INPUT, "%s has no train block", o->path);
    const VmRecipe *r = &fe_train(e, 0)->recipe;
    VmDataQuery query = vm_data_query(&r->data, dir);
    st = vm_dataset_look(&query, look, &err);
    if (st) return session_fail(s, st, "%s", err.text);
    fill(s, file, dir, look, r->validation);
    return VM_OK;
}

VmStatus session_template_fill(Session *s, const VmoecOptions *o, const char *template,
                               const char *name, const char *dir, Text *out, SessionFilled *what) {
    SessionTemplate t = {0};
    VmError err = {.text = ""};
    VmDataLook look = {0};
    *what = (SessionFilled){0};
    VmStatus st = find(s, o->models, template, &t);
    if (!st && dir) st = check_dir(s, dir);
    if (st) return st;
    const Source *src = source_load(s->arena, t.path, &err);
    if (!src) return session_fail(s, err.status, "%s", err.text);
    Diags *d = diags_create(s->arena);
    const Ast *file = parse_file(s->arena, src, d);
    session_say_diags(s, d);
    st = session_diags_status(d);
    VmoecOptions at = *o;
    at.path = t.path;
    if (!st && dir) st = look_at(s, &at, file, dir, &look);
    if (!st) write_header(s->arena, file, template, name, dir ? &look : NULL);
    if (!st) ast_format(out, file);
    free(look.names);
    what->classes = look.classes;
    memcpy(what->images, look.images, sizeof what->images);
    return st;
}
