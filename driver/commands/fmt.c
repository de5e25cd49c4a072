/* vmoec fmt: canonical formatting. A file with mistakes is left alone. */
#include "driver/commands/commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/syntax/ast.h"

/* A link stays, the file that it leads to is written. */
static VmStatus write_back(Arena *a, const char *path, const Text *t) {
    char *real = realpath(path, NULL);
    const char *to = real ? arena_strdup(a, real) : path;
    free(real);
    return drv_write_file(to, t->data, t->len);
}

static VmStatus format(Arena *a, const Args *args) {
    const char *path = args->operand[0];
    VmError error = {.text = ""};
    if (args->o.check && args->o.write)
        return drv_fail(VM_USAGE, "--check and --write exclude each other");
    bool piped = !strcmp(path, "-");
    if (piped && args->o.write)
        return drv_fail(VM_USAGE, "--write needs a file; standard input is formatted to stdout");
    Source *src = drv_source(a, path, &error);
    if (!src) return drv_fail(error.status, "%s", error.text);
    Diags *d = diags_create(a);
    Ast *file = parse_file(a, src, d);
    drv_print_diags(d);
    if (d->nerrors) return VM_INPUT;
    Text t = text_new(a);
    ast_format(&t, file);
    bool same = t.len == src->len && !memcmp(t.data, src->text, t.len);
    if (args->o.check)
        return same    ? VM_OK
               : piped ? drv_fail(VM_INPUT, "standard input is not formatted")
                       : drv_fail(VM_INPUT, "%s is not formatted; run vmoec fmt --write %s", path,
                                  path);
    if (args->o.write) return same ? VM_OK : write_back(a, path, &t);
    return drv_write_output(NULL, t.data, t.len);
}

VmStatus cmd_fmt(const Args *args) {
    Arena *a = arena_create();
    VmStatus st = format(a, args);
    arena_destroy(a);
    return st;
}
