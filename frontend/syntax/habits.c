/* The table of habits, and its lines with the user's own words in the place of $1. */
#include "frontend/syntax/habits.h"

#include <string.h>

const Habit habit_rows[] = {
#define CALL(name, n, line, say) {HABIT_CALL, #name, n, line, say},
#define CLASS(name, n, line, say) {HABIT_CLASS, #name, n, line, say},
#define ARGUMENT(name, own) {HABIT_ARGUMENT, #name, 0, #own, ""},
#define FIELD(name, line) {HABIT_FIELD, #name, 0, line, ""},
#include "frontend/syntax/habits.def"
};
const int habit_count = (int)(sizeof habit_rows / sizeof habit_rows[0]);

static const char *const modules[] = {
#define MODULE(name) #name,
#include "frontend/syntax/habits.def"
};

const Habit *habit_find(HabitForm form, const char *name, int n) {
    const Habit *best = NULL;
    for (int i = 0; i < habit_count; i++) {
        const Habit *h = &habit_rows[i];
        if (h->form != form || h->narg > n || strcmp(h->name, name) != 0) continue;
        if (!best || h->narg > best->narg) best = h;
    }
    return best;
}

bool habit_is_module(const char *name) {
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (!strcmp(modules[i], name)) return true;
    return false;
}

const char *habit_argument(const char *name, const char *const *param, int nparam) {
    for (int i = 0; i < habit_count; i++) {
        if (habit_rows[i].form != HABIT_ARGUMENT || strcmp(habit_rows[i].name, name) != 0) continue;
        for (int k = 0; k < nparam; k++)
            if (!strcmp(habit_rows[i].line, param[k])) return param[k];
    }
    return NULL;
}

static void add_argument(Text *t, const char *arg) {
    bool yes = !strcmp(arg, "True");
    text_add(t, yes ? "true" : !strcmp(arg, "False") ? "false" : arg);
}

/* Arguments from `from` on as elements of a list; one that is a list or tuple gives its own. */
static void add_rest(Text *t, const char *const *arg, int from, int n) {
    for (int i = from; i < n; i++) {
        size_t len = strlen(arg[i]);
        bool list = n == from + 1 && len > 1 && strchr("[(", arg[i][0]);
        text_add(t, i > from ? ", " : "");
        text_addn(t, arg[i] + list, len - 2 * list);
    }
}

/* A template with the texts of the arguments. */
static void add_line(Text *t, const char *line, const char *x, const char *const *arg, int n) {
    for (const char *p = line; *p; p++) {
        if (p[0] != '$') {
            text_addn(t, p, 1);
        } else if (*++p == 'x') {
            text_add(t, x);
        } else {
            int i = *p - '1';
            bool rest = p[1] == '.' && p[2] == '.';
            if (rest) add_rest(t, arg, i, n);
            if (!rest && i < n) add_argument(t, arg[i]);
            if (rest) p += 2;
        }
    }
}

const char *habit_answer(Arena *a, const Habit *h, const char *x, const char *const *arg, int n) {
    Text t = text_new(a);
    if (*h->line) {
        text_add(&t, "write `");
        add_line(&t, h->line, x, arg, n);
        text_add(&t, *h->say ? "`; " : "`");
    }
    add_line(&t, h->say, x, arg, n);
    return t.data;
}
