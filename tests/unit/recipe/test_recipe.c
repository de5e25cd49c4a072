/* The table of settings as data: defaults, what applies to which choice, JSON, and its reference.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/recipe.h"
#include "tests/unit/util_doc.h"

Test(recipe, defaults_are_in_range_and_names_are_unique) {
    for (int i = 0; i < VM_FIELDS; i++) {
        const VmField *f = &vm_fields[i];
        for (int j = 0; j < i; j++) cr_assert_str_neq(f->name, vm_fields[j].name);
        for (int k = 0; k < f->noption; k++) {
            const VmOption *o = &f->option[k];
            bool number = o->type == VM_FLOAT || o->type == VM_LENGTH || o->type == VM_CHANNELS;
            if (number) cr_assert(o->def >= o->lo && o->def <= o->hi, "%s", o->name);
            for (int j = 0; j < k; j++) cr_assert_str_neq(o->name, f->option[j].name);
        }
    }
}

Test(recipe, options_of_another_choice_are_zero) {
    VmOptimizerSpec s;
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_adamw, &s);
    cr_assert(s.weight_decay == 0.01 && s.beta1 == 0.9 && s.beta2 == 0.999 && s.eps == 1e-8);
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_adam, &s);
    cr_assert(s.kind == VM_optimizer_adam && s.weight_decay == 0 && s.beta1 == 0.9);
}

Test(recipe, a_reader_decides_which_options_a_source_has) {
    const VmField *f = &vm_fields[VM_FIELD_data];
    const VmOption *o = f->option;
    while (strcmp(o->name, "channels") != 0) o++;
    for (int k = 0; k < f->nchoice; k++)
        cr_assert_eq(vm_option_applies(o, k), vm_sources[k].reader == VM_READER_folder, "%s",
                     vm_sources[k].name);
}

Test(recipe, what_a_schedule_needs_to_know) {
    const VmScheduleSpec constant = {.kind = VM_schedule_constant},
                         cosine = {.kind = VM_schedule_cosine};
    cr_assert(!vm_schedule_is_whole(&constant) && vm_schedule_is_whole(&cosine));
}

static json_t *object(const VmRecipe *r, bool deciding) {
    VmJson o = vm_recipe_json(r, deciding);
    cr_assert(!o.failed);
    return o.value;
}

Test(recipe, json_has_what_is_set) {
    VmRecipe r = vm_recipe_default();
    static const char *const frozen[] = {"a.*", "b"};
    r.data.mean = (VmChannels){3, {0.25, 0.5, 0.75}};
    r.data.dir = "photos";
    r.schedule.warmup = (VmSpan){2, false};
    r.epochs = (VmSpan){100, true};
    r.freeze = (VmPatterns){frozen, 2};
    json_t *o = object(&r, false), *d = object(&r, true);
    char *text = json_dumps(json_object_get(o, "data"), JSON_COMPACT);
    cr_assert_str_eq(text,
                     "{\"kind\":\"fashion_mnist\",\"batch\":128,\"dir\":\"photos\",\"resize\":0,"
                     "\"mean\":[0.25,0.5,0.75],\"std\":0.5,\"shuffle\":true,"
                     "\"drop_last\":false}");
    free(text);
    text = json_dumps(o, JSON_COMPACT);
    cr_assert(strstr(text, "\"schedule\":{\"kind\":\"constant\",\"peak\":0.001,\"warmup\":"
                           "\"2 epochs\"}"),
              "%s", text);
    cr_assert(strstr(text, "\"epochs\":\"100 steps\"") && strstr(text, "\"precision\":\"f32\"") &&
                  strstr(text, "\"freeze\":[\"a.*\",\"b\"]"),
              "%s", text);
    free(text);
    cr_assert(!json_object_get(d, "epochs") && !json_object_get(d, "log_every") &&
                  !json_object_get(json_object_get(d, "data"), "dir"),
              "these decide no weights");
    cr_assert(json_object_get(d, "seed") && json_object_get(d, "precision"));
    json_decref(o);
    json_decref(d);
}

Test(recipe, the_reference_in_docs_is_up_to_date) {
    doc_is("docs/recipe.md", vm_recipe_reference);
}
