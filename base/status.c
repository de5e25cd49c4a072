#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

VmStatus vm_fail(VmError *err, VmStatus s, const char *fmt, ...) {
    if (!err) return s;
    err->status = s;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    vm_make_printable(err->text);
    return s;
}

void vm_make_printable(char *text) {
    for (char *p = text; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f) *p = '?';
}
