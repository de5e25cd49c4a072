/* The table of habits recommends nothing that does not exist. */
#include <criterion/criterion.h>

#include <ctype.h>
#include <string.h>

#include "frontend/meaning/sema.h"
#include "frontend/syntax/habits.h"

static bool exists(FeExperiment *e, const char *name) {
    static const char *const placeholders[] = {"first", "second"};
    for (int i = 0; i < 2; i++)
        if (!strcmp(name, placeholders[i])) return true;
    for (int f = 0; f < VM_FIELDS; f++)
        for (int i = 0; i < vm_fields[f].nchoice; i++)
            if (!strcmp(vm_fields[f].choice[i].name, name)) return true;
    return fe_find_builtin(name) || fe_find_layer(e, name) || fe_offered_use(e, name);
}

/* Every name before an opening parenthesis. */
static void check_line(FeExperiment *e, Arena *a, const Habit *h) {
    for (const char *p = h->line; (p = strchr(p, '(')); p++) {
        const char *from = p;
        while (from > h->line && (isalnum((unsigned char)from[-1]) || from[-1] == '_')) from--;
        if (from == p) continue; /* parentheses of an expression */
        const char *name = arena_strndup(a, from, (size_t)(p - from));
        cr_assert(exists(e, name), "the habit `%s` recommends `%s`, which is not there", h->name,
                  name);
    }
}

/* Templates are whole experiments: nobody is told to `use` one for a layer that stands in it. */
Test(habits, templates_offer_no_layers) {
    Arena *a = arena_create();
    FeOptions opt = {.text = "", .model_dir = "models"};
    VmError err = {.text = ""};
    FeExperiment *e = fe_load(a, "offers", &opt, diags_create(a), &err);
    int n;
    const FeOffer *offer = fe_offers(e, &n);
    cr_assert(n > 0);
    for (int i = 0; i < n; i++)
        cr_assert(strncmp(offer[i].use, "templates/", 10) != 0, "%s", offer[i].layer);
    cr_assert_null(fe_offered_near(e, "templates/photos"));
    arena_destroy(a);
}

Test(habits, what_is_recommended_exists) {
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    FeOptions opt = {.text = "model m(x: f32[B, 3]) { mean(x) }\n", .model_dir = "models"};
    VmError err = {.text = ""};
    FeExperiment *e = fe_load(a, "habits", &opt, d, &err);
    cr_assert_not_null(e);
    cr_assert_eq(d->nerrors, 0);
    for (int i = 0; i < habit_count; i++) {
        if (habit_rows[i].form != HABIT_ARGUMENT) check_line(e, a, &habit_rows[i]);
        cr_assert(*habit_rows[i].line || *habit_rows[i].say, "`%s` has no answer",
                  habit_rows[i].name);
    }
    arena_destroy(a);
}
