/* Writes a reference to standard output, which `make docs` makes a page of: `ops` or `recipe`; or
 * `initialisers`, a table of docs/language.md. */
#include <string.h>

#include "ir/ir.h"
#include "recipe/recipe.h"

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "ops"))
        ir_print_reference(stdout);
    else if (argc == 2 && !strcmp(argv[1], "recipe"))
        vm_recipe_reference(stdout);
    else if (argc == 2 && !strcmp(argv[1], "initialisers"))
        ir_print_initialisers(stdout);
    else
        return 2;
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 3;
}
