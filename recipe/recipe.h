/* The recipe of a training run: all settings of a train block, which decide the weights that come
 * out. The table recipe.def is where a setting is added; everything here follows from it.
 *
 * A recipe is plain data. Texts and lists in it belong to whoever made it, as long as it is used.
 */
#ifndef VMOEC_RECIPE_RECIPE_H
#define VMOEC_RECIPE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/json.h"

/* ---- values --------------------------------------------------------------------------------- */

/* A duration: `5 epochs`, `100 steps`. */
typedef struct VmSpan {
    double count;
    bool in_steps;
} VmSpan;

/* One number for each of three channels. */
typedef struct VmChannels {
    int n; /* 1 or 3: how many were given; one is for all */
    double at[3];
} VmChannels;

/* Patterns over names of weights: `*` stands for any characters, `?` for one. */
typedef struct VmPatterns {
    const char *const *at;
    int n;
} VmPatterns;

/* ---- the recipe ----------------------------------------------------------------------------- */

/* VmDataKind with VM_data_mnist .. VM_data_KINDS; likewise for every field with choices. */
#define FIELD(name, Name, doc) typedef enum Vm##Name##Kind {
#define LIST(name, Name, doc) typedef enum Vm##Name##Kind {
#define CHOICE(field, name, doc) VM_##field##_##name,
#define END(name, Name)                                                                            \
    VM_##name##_KINDS                                                                              \
    }                                                                                              \
    Vm##Name##Kind;
#include "recipe/recipe.def"

/* VM_data_cache_memory ..: the words of all options that are words. */
typedef enum VmWord {
    VM_NO_WORD,
#define WORD(field, option, name, doc) VM_##field##_##option##_##name,
#include "recipe/recipe.def"
    VM_WORDS
} VmWord;

/* VmDataSpec {kind, batch, dir, ..}: a choice and its options. */
#define VM_C_INT(name) int64_t name;
#define VM_C_FLOAT(name) double name;
#define VM_C_BOOL(name) bool name;
#define VM_C_TEXT(name) const char *name;
#define VM_C_WORD(name) VmWord name;
#define VM_C_TIME(name) VmSpan name;
#define VM_C_LENGTH(name) VmSpan name;
#define VM_C_CHANNELS(name) VmChannels name;
#define VM_C_PATTERNS(name) VmPatterns name;
#define FIELD(name, Name, doc)                                                                     \
    typedef struct Vm##Name##Spec {                                                                \
        Vm##Name##Kind kind;
#define LIST(name, Name, doc) FIELD(name, Name, doc)
#define OPT(field, name, type, ...) VM_C_##type(name)
#define END(name, Name)                                                                            \
    }                                                                                              \
    Vm##Name##Spec;
#include "recipe/recipe.def"

typedef struct VmRecipe {
#define FIELD(name, Name, doc) Vm##Name##Spec name;
#define LIST(name, Name, doc)                                                                      \
    Vm##Name##Spec *name;                                                                          \
    int n##name;
#define VALUE(name, type, ...) VM_C_##type(name)
#include "recipe/recipe.def"
} VmRecipe;

/* ---- the table ------------------------------------------------------------------------------- */

/* VM_FIELD_data ..: the fields in the order of the table. */
typedef enum VmFieldId {
#define FIELD(name, Name, doc) VM_FIELD_##name,
#define LIST(name, Name, doc) VM_FIELD_##name,
#define VALUE(name, ...) VM_FIELD_##name,
#include "recipe/recipe.def"
    VM_FIELDS
} VmFieldId;

typedef enum VmValueType {
    VM_INT,
    VM_FLOAT,
    VM_BOOL,
    VM_TEXT,
    VM_WORD,
    VM_TIME,
    VM_LENGTH,
    VM_CHANNELS,
    VM_PATTERNS
} VmValueType;

/* Limits of OPT and VALUE rows: the least number that is more than 0, and no limit. */
#define VM_TINY 1e-30
#define VM_UNBOUNDED 0x1p62

/* A value somewhere in a recipe. */
typedef struct VmOption {
    const char *name;
    VmValueType type;
    size_t at; /* in the spec of its field; of a plain value, in VmRecipe */
    double def, lo, hi;
    uint32_t where; /* bit k: choice k has it */
    bool decides;
    const char *doc;
} VmOption;

/* One of the words of an option. */
typedef struct VmWordRow {
    const char *name, *doc;
    VmFieldId field;
    const char *option;
} VmWordRow;

extern const VmWordRow vm_words[VM_WORDS]; /* the first one is VM_NO_WORD */
/* The words that option o of field f may be, VM_NO_WORD behind the last. */
void vm_option_words(VmFieldId f, const VmOption *o, VmWord list[VM_WORDS]);

typedef struct VmChoice {
    const char *name, *doc;
} VmChoice;

typedef enum VmFieldForm { VM_ONE, VM_LIST, VM_VALUE } VmFieldForm;

typedef struct VmField {
    const char *name, *doc;
    VmFieldForm form;
    size_t at;    /* in VmRecipe: the spec; of a list, the pointer to the first */
    size_t count; /* of a list: where its length is */
    size_t size;  /* of a spec */
    const VmChoice *choice;
    const VmOption *option; /* of a plain value: itself */
    int nchoice, noption;
} VmField;

extern const VmField vm_fields[VM_FIELDS];

/* ---- functions ------------------------------------------------------------------------------- */

/* What a train block without any field would be. */
VmRecipe vm_recipe_default(void);
/* Makes a spec of field f choice `kind` with the defaults of its options; those it has not are 0.
 */
void vm_spec_default(VmFieldId f, int kind, void *spec);
/* Whether a choice has an option, and its default there: 0 where it has not. */
bool vm_option_applies(const VmOption *o, int kind);
double vm_option_default(VmFieldId f, const VmOption *o, int kind);

/* {"data": {"kind": "mnist", "batch": 128, ..}, .., "seed": 0}: what is set, in the order of the
 * table. deciding: only what decides weights. */
VmJson vm_recipe_json(const VmRecipe *r, bool deciding);

/* The reference of the table in Markdown (reference.c). */
void vm_recipe_reference(FILE *f);

/* Steps of a duration, given those of an epoch. */
int64_t vm_span_steps(VmSpan s, int64_t steps_per_epoch);

/* ---- augmentations --------------------------------------------------------------------------- */

/* Whether labels are mixed: they are shares of classes then. */
bool vm_recipe_mixes(const VmRecipe *r);
/* Whether the rate of a step depends on how long the run is. */
bool vm_schedule_is_whole(const VmScheduleSpec *s);

/* ---- data sources ---------------------------------------------------------------------------- */

typedef enum VmReaderId {
#define READER(name, files) VM_READER_##name,
#define SOURCE(...)
#include "recipe/sources.def"
    VM_READERS
} VmReaderId;

/* A row of sources.def. */
typedef struct VmSource {
    const char *name;
    VmReaderId reader;
    int64_t channels, side, classes; /* 0: the files say */
    const char *place, *archive, *advice;
} VmSource;

extern const VmSource vm_sources[VM_data_KINDS];

#endif
