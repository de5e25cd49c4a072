/* The reference of train blocks as Markdown, from the table: `make docs` makes docs/recipe.md. */
#include <ctype.h>
#include <string.h>

#include "recipe/recipe.h"

static const char *const type_text[] = {[VM_INT] = "integer",
                                        [VM_FLOAT] = "number",
                                        [VM_BOOL] = "true or false",
                                        [VM_TEXT] = "string",
                                        [VM_WORD] = "",
                                        [VM_TIME] = "duration",
                                        [VM_LENGTH] = "duration; a number means epochs",
                                        [VM_CHANNELS] = "number, or a list of three",
                                        [VM_PATTERNS] = "pattern, or a list of patterns"};

static const char *default_text(const VmOption *o, char text[32]) {
    if (o->type == VM_TEXT || o->type == VM_PATTERNS || o->type == VM_WORD) return "none";
    if (o->type == VM_INT && o->def < o->lo) return "none";
    if (o->type == VM_BOOL) return o->def != 0 ? "true" : "false";
    snprintf(text, 32, o->type == VM_LENGTH ? "%g epoch" : "%g", o->def);
    return text;
}

/* "1 to 4096", "more than 0"; nothing for what is no number. */
static const char *range_text(const VmOption *o, char text[80]) {
    char low[32], high[32] = "";
    if (o->type == VM_BOOL || o->type == VM_TEXT || o->type == VM_PATTERNS || o->type == VM_WORD)
        return "";
    if (o->lo == VM_TINY)
        snprintf(low, sizeof low, "more than 0");
    else
        snprintf(low, sizeof low, "from %.10g", o->lo);
    if (o->hi != VM_UNBOUNDED) snprintf(high, sizeof high, " to %.10g", o->hi);
    snprintf(text, 80, ", %s%s", low, high);
    return text;
}

static void print_where(FILE *f, const VmField *field, const VmOption *o) {
    bool all = true;
    for (int k = 0; k < field->nchoice; k++) all &= vm_option_applies(o, k);
    if (all) return;
    const char *before = "; of";
    for (int k = 0; k < field->nchoice; k++) {
        if (!vm_option_applies(o, k)) continue;
        fprintf(f, "%s `%s`", before, field->choice[k].name);
        before = ",";
    }
}

/* Choices whose default is their own. */
static void print_own_defaults(FILE *f, const VmField *field, const VmOption *o) {
    for (int k = 0; k < field->nchoice; k++) {
        char text[32];
        VmOption own = *o;
        own.def = vm_option_default((VmFieldId)(field - vm_fields), o, k);
        if (!vm_option_applies(o, k) || own.def == o->def) continue;
        fprintf(f, "; of `%s` %s", field->choice[k].name, default_text(&own, text));
    }
}

/* `"memory"`: in memory; `"none"`: nowhere. */
static void print_words(FILE *f, const VmField *field, const VmOption *o) {
    VmWord list[VM_WORDS];
    vm_option_words((VmFieldId)(field - vm_fields), o, list);
    for (int i = 0; list[i]; i++)
        fprintf(f, "%s`\"%s\"` (%s)", i ? " or " : "", vm_words[list[i]].name,
                vm_words[list[i]].doc);
}

static void print_option(FILE *f, const VmField *field, const VmOption *o) {
    char def[32], range[80];
    fprintf(f, "| `%s` | %s", o->name, default_text(o, def));
    print_own_defaults(f, field, o);
    fprintf(f, " | %s%s", type_text[o->type], range_text(o, range));
    if (o->type == VM_WORD) print_words(f, field, o);
    if (field->nchoice) print_where(f, field, o);
    fprintf(f, " | %s |\n", o->doc);
}

static void print_field(FILE *f, const VmField *field) {
    fprintf(f, "\n## %s\n\n%s%c%s.\n\n", field->name, field->form == VM_LIST ? "A list: " : "",
            field->form == VM_LIST ? field->doc[0] : toupper((unsigned char)field->doc[0]),
            field->doc + 1);
    for (int k = 0; k < field->nchoice; k++)
        fprintf(f, "- `%s`: %s%s\n", field->choice[k].name, field->choice[k].doc,
                field->form == VM_ONE && k == 0 ? " (the default)" : "");
    if (!field->noption) return;
    fputs("\n| option | default | value | |\n|---|---|---|---|\n", f);
    for (int i = 0; i < field->noption; i++) print_option(f, field, &field->option[i]);
}

void vm_recipe_reference(FILE *f) {
    fputs("# Fields of a train block\n\n"
          "Generated from `recipe/recipe.def` by `make docs`; do not edit.\n\n"
          "A field is one of its choices with options in parentheses, as in\n"
          "`schedule = cosine(peak = 1e-3)`, or a plain value. A duration is `5 epochs` or `100 "
          "steps`.\n"
          "What is left out has its default.\n\n"
          "## Plain values\n\n"
          "| field | default | value | |\n|---|---|---|---|\n",
          f);
    for (int i = 0; i < VM_FIELDS; i++)
        if (vm_fields[i].form == VM_VALUE) print_option(f, &vm_fields[i], vm_fields[i].option);
    for (int i = 0; i < VM_FIELDS; i++)
        if (vm_fields[i].form != VM_VALUE) print_field(f, &vm_fields[i]);
}
