/* The table of settings as data, and what is done for all settings alike: defaults and JSON. */
#include "recipe/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the tables ----------------------------------------------------------------------------- */

#define TINY VM_TINY
#define UNBOUNDED VM_UNBOUNDED
#define DECIDES true
#define FREE false
#define EVERY UINT32_MAX
#define ON(field, choice) (UINT32_C(1) << VM_##field##_##choice)
#define FROM(reader) VM_FROM_##reader

/* FROM(folder): the sources that a reader is for. */
enum {
    VM_FROM_folder = 0
#define SOURCE(name, reader, ...) | (VM_READER_##reader == VM_READER_folder ? ON(data, name) : 0)
#include "recipe/sources.def"
};

const VmSource vm_sources[VM_data_KINDS] = {
#define SOURCE(name, reader, channels, side, classes, place, archive, doc, advice)                 \
    [VM_data_##name] = {#name, VM_READER_##reader, channels, side, classes, place, archive, advice},
#include "recipe/sources.def"
};

/* choice_data[], option_data[], ..; each ends with an empty row, because there may be no other. */
#define FIELD(name, Name, doc) static const VmChoice choice_##name[] = {
#define LIST(name, Name, doc) FIELD(name, Name, doc)
#define CHOICE(field, name, doc) {#name, doc},
#define END(name, Name)                                                                            \
    {0}                                                                                            \
    }                                                                                              \
    ;
#include "recipe/recipe.def"

#define OPTION(name, type, at, def, lo, hi, where, decides, doc)                                   \
    {#name, VM_##type, at, def, lo, hi, where, decides, doc},
#define FIELD(name, Name, doc)                                                                     \
    typedef Vm##Name##Spec spec_##name;                                                            \
    static const VmOption option_##name[] = {
#define LIST(name, Name, doc) FIELD(name, Name, doc)
#define OPT(field, name, type, def, lo, hi, where, decides, doc)                                   \
    OPTION(name, type, offsetof(spec_##field, name), def, lo, hi, where, decides, doc)
#define END(name, Name)                                                                            \
    {0}                                                                                            \
    }                                                                                              \
    ;
#define VALUE(name, type, def, lo, hi, decides, doc)                                               \
    static const VmOption option_##name[] = {                                                      \
        OPTION(name, type, offsetof(VmRecipe, name), def, lo, hi, EVERY, decides, doc)};
#include "recipe/recipe.def"

#define LENGTH_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))
const VmField vm_fields[VM_FIELDS] = {
#define CHOICES(name) .choice = choice_##name, .nchoice = LENGTH_OF(choice_##name) - 1
#define OPTIONS(name) .option = option_##name, .noption = LENGTH_OF(option_##name) - 1
#define FIELD(field, Name, text)                                                                   \
    [VM_FIELD_##field] = {.name = #field,                                                          \
                          .doc = text,                                                             \
                          .form = VM_ONE,                                                          \
                          .at = offsetof(VmRecipe, field),                                         \
                          .size = sizeof(Vm##Name##Spec),                                          \
                          CHOICES(field),                                                          \
                          OPTIONS(field)},
#define LIST(field, Name, text)                                                                    \
    [VM_FIELD_##field] = {.name = #field,                                                          \
                          .doc = text,                                                             \
                          .form = VM_LIST,                                                         \
                          .at = offsetof(VmRecipe, field),                                         \
                          .count = offsetof(VmRecipe, n##field),                                   \
                          .size = sizeof(Vm##Name##Spec),                                          \
                          CHOICES(field),                                                          \
                          OPTIONS(field)},
#define VALUE(field, type, def, lo, hi, decides, text)                                             \
    [VM_FIELD_##field] = {.name = #field,                                                          \
                          .doc = text,                                                             \
                          .form = VM_VALUE,                                                        \
                          .at = offsetof(VmRecipe, field),                                         \
                          .option = option_##field,                                                \
                          .noption = 1},
#include "recipe/recipe.def"
};

const VmWordRow vm_words[VM_WORDS] = {
#define WORD(field, option, name, doc)                                                             \
    [VM_##field##_##option##_##name] = {#name, doc, VM_FIELD_##field, #option},
#include "recipe/recipe.def"
};

void vm_option_words(VmFieldId f, const VmOption *o, VmWord list[VM_WORDS]) {
    int n = 0;
    for (int w = VM_NO_WORD + 1; w < VM_WORDS; w++)
        if (vm_words[w].field == f && strcmp(vm_words[w].option, o->name) == 0)
            list[n++] = (VmWord)w;
    list[n] = VM_NO_WORD;
}

/* ---- defaults ------------------------------------------------------------------------------- */

bool vm_option_applies(const VmOption *o, int kind) {
    return o->where >> kind & 1;
}

/* A number as a value of the option's type. */
static void set(const VmOption *o, void *base, double x) {
    void *at = (char *)base + o->at;
    switch (o->type) {
    case VM_INT: *(int64_t *)at = (int64_t)x; break;
    case VM_FLOAT: *(double *)at = x; break;
    case VM_BOOL: *(bool *)at = x != 0; break;
    case VM_TEXT: *(const char **)at = NULL; break;
    case VM_WORD: *(VmWord *)at = VM_NO_WORD; break;
    case VM_TIME:
    case VM_LENGTH: *(VmSpan *)at = (VmSpan){.count = x}; break;
    case VM_CHANNELS: *(VmChannels *)at = (VmChannels){1, {x, x, x}}; break;
    case VM_PATTERNS: *(VmPatterns *)at = (VmPatterns){NULL, 0}; break;
    }
}

/* Defaults of a choice that are not those of the option's row. */
static const struct OwnDefault {
    VmFieldId field;
    int kind;
    size_t at;
    double value;
} own_defaults[] = {
#define DEFAULT(field, choice, option, value)                                                      \
    {VM_FIELD_##field, VM_##field##_##choice, offsetof(spec_##field, option), value},
#include "recipe/recipe.def"
    {VM_FIELDS, 0, 0, 0}};

double vm_option_default(VmFieldId id, const VmOption *o, int kind) {
    if (!vm_option_applies(o, kind)) return 0;
    for (const struct OwnDefault *d = own_defaults; d->field < VM_FIELDS; d++)
        if (d->field == id && d->kind == kind && d->at == o->at) return d->value;
    return o->def;
}

void vm_spec_default(VmFieldId id, int kind, void *spec) {
    const VmField *f = &vm_fields[id];
    memset(spec, 0, f->size);
    memcpy(spec, &kind, sizeof kind); /* every spec begins with its kind, an enumeration */
    for (int i = 0; i < f->noption; i++)
        set(&f->option[i], spec, vm_option_default(id, &f->option[i], kind));
}

VmRecipe vm_recipe_default(void) {
    VmRecipe r = {.epochs = {.count = 0}};
    for (int i = 0; i < VM_FIELDS; i++) {
        const VmField *f = &vm_fields[i];
        if (f->form == VM_ONE) vm_spec_default((VmFieldId)i, 0, (char *)&r + f->at);
        if (f->form == VM_VALUE) set(f->option, &r, f->option->def);
    }
    return r;
}

int64_t vm_span_steps(VmSpan s, int64_t steps_per_epoch) {
    return llround(s.in_steps ? s.count : s.count * (double)steps_per_epoch);
}

bool vm_recipe_mixes(const VmRecipe *r) {
    enum { PIXELS, BATCH };
    static const int stage[VM_augment_KINDS + 1] = {
#define AUGMENT(name, at, doc) at,
#include "recipe/augments.def"
        PIXELS};
    bool mixes = false;
    for (int i = 0; i < r->naugment; i++) mixes |= stage[r->augment[i].kind] == BATCH;
    return mixes;
}

bool vm_schedule_is_whole(const VmScheduleSpec *s) {
    enum { ANY, WHOLE };
    static const int length[VM_schedule_KINDS] = {
#define SCHEDULE(name, how, doc) [VM_schedule_##name] = how,
#include "recipe/schedules.def"
    };
    return length[s->kind] == WHOLE;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static void put_span(VmJson *o, const char *name, VmSpan s) {
    char text[64];
    snprintf(text, sizeof text, "%.17g %s%s", s.count, s.in_steps ? "step" : "epoch",
             s.count == 1 ? "" : "s"); /* NOLINT: long enough for both */
    vm_json_string(o, name, text);
}

static void put(VmJson *o, const VmOption *v, const void *base) {
    const void *at = (const char *)base + v->at;
    const VmChannels *c = at;
    const VmPatterns *p = at;
    VmJson list = {0};
    switch (v->type) {
    case VM_INT: vm_json_int(o, v->name, *(const int64_t *)at); return;
    case VM_FLOAT: vm_json_number(o, v->name, *(const double *)at); return;
    case VM_BOOL: vm_json_bool(o, v->name, *(const bool *)at); return;
    case VM_TEXT:
        if (*(const char *const *)at) vm_json_string(o, v->name, *(const char *const *)at);
        return;
    case VM_WORD:
        if (*(const VmWord *)at) vm_json_string(o, v->name, vm_words[*(const VmWord *)at].name);
        return;
    case VM_TIME:
    case VM_LENGTH: put_span(o, v->name, *(const VmSpan *)at); return;
    case VM_CHANNELS:
        if (c->n == 1) {
            vm_json_number(o, v->name, c->at[0]);
            return;
        }
        list = vm_json_list();
        for (int i = 0; i < c->n; i++) vm_json_number(&list, NULL, c->at[i]);
        break;
    case VM_PATTERNS:
        list = vm_json_list();
        for (int i = 0; i < p->n; i++) vm_json_string(&list, NULL, p->at[i]);
        break;
    }
    vm_json_put(o, v->name, list);
}

static VmJson spec_json(const VmField *f, const void *spec, bool deciding) {
    VmJson o = vm_json_object();
    int kind;
    memcpy(&kind, spec, sizeof kind);
    vm_json_string(&o, "kind", f->choice[kind].name);
    for (int i = 0; i < f->noption; i++) {
        const VmOption *v = &f->option[i];
        if (vm_option_applies(v, kind) && (v->decides || !deciding)) put(&o, v, spec);
    }
    return o;
}

static VmJson list_json(const VmField *f, const VmRecipe *r, bool deciding) {
    VmJson list = vm_json_list();
    int n;
    const char *first;
    memcpy(&n, (const char *)r + f->count, sizeof n);
    memcpy(&first, (const char *)r + f->at, sizeof first);
    for (int i = 0; i < n; i++)
        vm_json_put(&list, NULL, spec_json(f, first + (size_t)i * f->size, deciding));
    return list;
}

VmJson vm_recipe_json(const VmRecipe *r, bool deciding) {
    VmJson o = vm_json_object();
    for (int i = 0; i < VM_FIELDS; i++) {
        const VmField *f = &vm_fields[i];
        if (f->form == VM_VALUE) {
            if (f->option->decides || !deciding) put(&o, f->option, r);
        } else if (f->form == VM_LIST) {
            vm_json_put(&o, f->name, list_json(f, r, deciding));
        } else if (!f->noption) {
            int kind;
            memcpy(&kind, (const char *)r + f->at, sizeof kind);
            vm_json_string(&o, f->name, f->choice[kind].name);
        } else {
            vm_json_put(&o, f->name, spec_json(f, (const char *)r + f->at, deciding));
        }
    }
    return o;
}
