/* What the files finite*.c share: a look at a step or batch that failed. */
#ifndef VMOEC_DRIVER_SESSION_FINITE_H
#define VMOEC_DRIVER_SESSION_FINITE_H

#include "driver/session/session.h"

/* The numbers of a value. */
typedef struct Range {
    float least,
        most; /* of those that are numbers, if the value is a leaf; else NaN where nan is */
    bool nan, infinite;
} Range;

/* Everything about a program with ranges that has run. */
typedef struct Look {
    Session *s;
    const VmFailure *failure;
    const Program *program;
    Range **range; /* [node id][result] */
} Look;

/* finite_find.c: what every value of the program that has just run holds. */
void session_look_read(Look *l);
Range session_look_range(const Look *l, const IrValue *v);
/* The first node in graph order that makes, of finite operands, what v is not finite for. A leaf:
 * its own values are not finite. NULL: v is finite. */
const IrNode *session_look_origin(const Look *l, const IrValue *v);
/* The value of a loss, metric or gradient of that name; NULL: there is none. */
const IrValue *session_look_result(const Look *l, const char *name);

/* finite_say.c: the finding about an origin, in s->finding and in the facts of the log. */
void session_look_say(Look *l, const IrNode *origin, VmFacts *found);
/* The same of a gradient (its weight's name) that was not finite in step `step`, which is gone over
 * again; origin NULL: all gradients were finite, and the update itself was not. */
void session_look_say_gradient(Look *l, const char *weight, const IrNode *origin,
                               const VmFailure *at, VmFacts *found);
/* A finding that is none: the closer look did not work, or shows nothing. */
void session_look_say_nothing(Session *s, const VmFailure *f, const char *why);

#endif
