/* Parts of `vmoec verify` beside the command (cmd_verify.c). */
#ifndef VMOEC_DRIVER_COMMANDS_VERIFY_H
#define VMOEC_DRIVER_COMMANDS_VERIFY_H

#include "driver/commands/commands.h"
#include "interp/interp.h"

typedef struct FunctionErrors {
    int count;         /* functions */
    double worst;      /* of an element, relative to the exact result */
    const char *where; /* the function, its argument and what it gave; NULL: nothing differs */
} FunctionErrors;

/* Every elementwise function that the model uses, compiled alone and compared with the interpreter.
 * `seen`: the model interpreted. The session has a module. */
VmStatus verify_functions(Session *s, const IrGraph *model, const Interp *seen,
                          FunctionErrors *out);

#endif
