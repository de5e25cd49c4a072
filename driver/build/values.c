/* Texts and recipes as C. What a recipe has the table of fields says, so a new field needs nothing
 * here. */
#include "driver/build/build.h"

#include <string.h>

void build_text(Text *t, const char *text) {
    if (!text) {
        text_add(t, "NULL");
        return;
    }
    text_add(t, "\"");
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p == '\n' && p[1])
            text_add(t, "\\n\"\n    \"");
        else if (*p == '"' || *p == '\\' || *p == '?' || *p < ' ' || *p > '~')
            text_addf(t, "\\%03o", *p);
        else
            text_addn(t, (const char *)p, 1);
    }
    text_add(t, "\"");
}

static void add_span(Text *t, VmSpan s) {
    text_addf(t, "{%a, %d}", s.count, s.in_steps);
}

static void add_channels(Text *t, const VmChannels *c) {
    text_addf(t, "{%d, {%a, %a, %a}}", c->n, c->at[0], c->at[1], c->at[2]);
}

static void add_patterns(Text *t, const VmPatterns *p) {
    if (!p->n) {
        text_add(t, "{NULL, 0}");
        return;
    }
    text_add(t, "{(const char *const[]){");
    for (int i = 0; i < p->n; i++) {
        build_text(t, p->at[i]);
        text_add(t, ", ");
    }
    text_addf(t, "}, %d}", p->n);
}

static void add_value(Text *t, const VmOption *o, const void *base) {
    const void *at = (const char *)base + o->at;
    text_addf(t, ".%s = ", o->name);
    switch (o->type) {
    case VM_INT: text_addf(t, "INT64_C(%lld)", (long long)*(const int64_t *)at); break;
    case VM_FLOAT: text_addf(t, "%a", *(const double *)at); break;
    case VM_BOOL: text_addf(t, "%d", *(const bool *)at); break;
    case VM_TEXT: build_text(t, *(const char *const *)at); break;
    case VM_WORD: text_addf(t, "%d", (int)*(const VmWord *)at); break;
    case VM_TIME:
    case VM_LENGTH: add_span(t, *(const VmSpan *)at); break;
    case VM_CHANNELS: add_channels(t, at); break;
    case VM_PATTERNS: add_patterns(t, at); break;
    }
}

static void add_spec(Text *t, const VmField *f, const void *spec) {
    int kind;
    memcpy(&kind, spec, sizeof kind); /* every spec begins with it */
    text_addf(t, "{.kind = %d", kind);
    for (int i = 0; i < f->noption; i++) {
        if (!vm_option_applies(&f->option[i], kind)) continue;
        text_add(t, ", ");
        add_value(t, &f->option[i], spec);
    }
    text_add(t, "}");
}

/* "Augment" of "augment": the type of its specs is VmAugmentSpec. */
static const char *type_of(VmFieldId id) {
    static const char *const names[VM_FIELDS] = {
#define FIELD(name, Name, doc) [VM_FIELD_##name] = "Vm" #Name "Spec",
#define LIST(name, Name, doc) [VM_FIELD_##name] = "Vm" #Name "Spec",
#include "recipe/recipe.def"
    };
    return names[id];
}

static void add_list(Text *t, VmFieldId id, const VmField *f, const VmRecipe *r) {
    int n;
    const char *first;
    memcpy(&n, (const char *)r + f->count, sizeof n);
    memcpy(&first, (const char *)r + f->at, sizeof first);
    if (!n) return;
    text_addf(t, "    .%s = (%s[]){", f->name, type_of(id));
    for (int i = 0; i < n; i++) {
        if (i) text_add(t, ", ");
        add_spec(t, f, first + (size_t)i * f->size);
    }
    text_addf(t, "},\n    .n%s = %d,\n", f->name, n);
}

void build_recipe(Text *t, const VmRecipe *r) {
    text_add(t, "{\n");
    for (int i = 0; i < VM_FIELDS; i++) {
        const VmField *f = &vm_fields[i];
        if (f->form == VM_LIST) {
            add_list(t, (VmFieldId)i, f, r);
            continue;
        }
        text_add(t, "    ");
        if (f->form == VM_ONE) {
            text_addf(t, ".%s = ", f->name);
            add_spec(t, f, (const char *)r + f->at);
        } else {
            add_value(t, f->option, r);
        }
        text_add(t, ",\n");
    }
    text_add(t, "}");
}
