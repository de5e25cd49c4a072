#include "tests/unit/util_shell.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int shell(const char *fmt, ...) {
    char command[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    return system(command);
}
