/* What the shared command line asks of vmoec (cli/cli.h). */
#include "cli/cli.h"

const char *cli_name(void) {
    return "vmoec";
}

const bool cli_built = false;

bool cli_has_weights(void) {
    return false;
}

const char *cli_about(void) {
    return "vmoec compiles .vmoe descriptions of vision mixture-of-experts models into native "
           "trainers.";
}
