/* The steps of rules (rename.def): what they do to a tensor's shape and values, and back. */
#ifndef VMOEC_DRIVER_SESSION_STEPS_H
#define VMOEC_DRIVER_SESSION_STEPS_H

#include "driver/session/rename.h"

/* A tensor on its way. Without data only the shape is of interest. */
typedef struct Way {
    Arena *arena; /* of values and messages */
    VmTensorView v;
    const VmTensorView *weight; /* it is to become, or comes from */
    int64_t channels;           /* of the model's images; 0: it has none */
} Way;

/* All steps of a rule, or the opposites of all from the last to the first. The step that cannot be
 * done, with *why, or NULL. */
const RenameStep *session_steps_take(Way *w, const RenameRule *r, const char **why);
const RenameStep *session_steps_back(Way *w, const RenameRule *r, const char **why);

#endif
