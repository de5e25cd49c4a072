/* Text from standard input, which "-" stands for in the place of a file. */
#include "driver/commands/commands.h"

#include <errno.h>
#include <string.h>

const char *drv_read_stream(Arena *a, FILE *f, const char *name, size_t most, VmError *err) {
    Text t = text_new(a);
    char buf[1 << 16];
    size_t n;
    while ((n = fread(buf, 1, sizeof buf, f)) > 0 && t.len < most) text_addn(&t, buf, n);
    if (ferror(f))
        vm_fail(err, VM_ENV, "cannot read %s: %s", name, strerror(errno));
    else if (t.len >= most)
        vm_fail(err, VM_INPUT, "%s is larger than %zu MiB", name, most >> 20);
    else if (strlen(t.data) != t.len)
        vm_fail(err, VM_INPUT, "%s contains NUL bytes and is not a text file", name);
    else
        return t.data;
    return NULL;
}

Source *drv_source(Arena *a, const char *path, VmError *err) {
    if (strcmp(path, "-") != 0) return source_load(a, path, err);
    const char *text = drv_read_stream(a, stdin, "standard input", DRV_STDIN_MAX, err);
    return text ? source_from_text(a, DRV_STDIN, text) : NULL;
}

VmStatus drv_stdin_text(Arena *a, VmoecOptions *o, VmError *err) {
    if (strcmp(o->path, "-") != 0) return VM_OK;
    o->path = DRV_STDIN;
    o->text = drv_read_stream(a, stdin, "standard input", DRV_STDIN_MAX, err);
    return o->text ? VM_OK : err->status;
}
