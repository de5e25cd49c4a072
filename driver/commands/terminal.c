/* What standard error is: whether it takes colours, and how wide it is. */
#include "driver/commands/commands.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *set(const char *name) { /* an empty variable counts as none */
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

bool drv_colour(void) {
    const char *force = set("CLICOLOR_FORCE"), *wanted = set("CLICOLOR"), *term = set("TERM");
    if (set("NO_COLOR")) return false;
    if (force && strcmp(force, "0")) return true;
    if (wanted && !strcmp(wanted, "0")) return false;
    return isatty(STDERR_FILENO) && !(term && !strcmp(term, "dumb"));
}

int drv_columns(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void drv_print_diags(Diags *d) {
    d->columns = drv_columns();
    diags_print(stderr, d, drv_colour());
}
