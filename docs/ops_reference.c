/* Writes the op reference to standard output: `make docs` makes docs/ops.md of it. */
#include "ir/ir.h"

int main(void) {
    ir_print_reference(stdout);
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 3;
}
