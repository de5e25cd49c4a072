/* What a user of PyTorch or NumPy writes, answered with the line to write here: the table
 * habits.def. Knows texts alone; which layers there are is elaboration's. */
#ifndef VMOEC_FRONTEND_SYNTAX_HABITS_H
#define VMOEC_FRONTEND_SYNTAX_HABITS_H

#include <stdbool.h>

#include "base/text.h"

/* CALL: a function, or a method, whose object is the first argument. CLASS: a module; it is made
 * with its arguments and then called with the tensor. ARGUMENT: the name of an argument. FIELD: a
 * field of a train block, or an option of one. */
typedef enum HabitForm { HABIT_CALL, HABIT_CLASS, HABIT_ARGUMENT, HABIT_FIELD } HabitForm;

typedef struct Habit {
    HabitForm form;
    const char *name;
    int narg;         /* it is for as many arguments or more */
    const char *line; /* what to write: $x the tensor, $1 .. $9 arguments, $2.. the rest; or "" */
    const char *say;  /* what else there is to know; "" */
} Habit;

extern const Habit habit_rows[];
extern const int habit_count;

/* The row of a name; of several the one that takes the most of n arguments. NULL: there is none. */
const Habit *habit_find(HabitForm form, const char *name, int n);
/* Whether a name stands for a module of Python: nn, torch, np. */
bool habit_is_module(const char *name);
/* "write `linear(x, 5)`; it is learned", from the row's two texts. x: the tensor's text. */
const char *habit_answer(Arena *a, const Habit *h, const char *x, const char *const *arg, int n);
/* What an argument of that name is called by a function whose parameters are `param`; or NULL. */
const char *habit_argument(const char *name, const char *const *param, int nparam);

#endif
