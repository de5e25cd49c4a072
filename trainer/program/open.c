/* How commands open the model that is inside, and say what goes wrong. */
#include "trainer/program/program.h"

#include <stdlib.h>
#include <string.h>

static void warn(void *user, const char *text) {
    (void)user;
    char *shown = strdup(text);
    if (shown) vm_make_printable(shown);
    fprintf(stderr, "%s: warning: %s\n", cli_name(), shown ? shown : text);
    free(shown);
}

VmStatus program_fail(VmStatus s, const VmError *err) {
    return drv_fail(s, "%s", err->text);
}

VmStatus program_open(const Args *a, VmModel *m) {
    VmError err = {.text = ""};
    VmStatus s = vm_model_open(m, &vm_built, (int)opt_or(a->o.threads, 0), &err);
    m->warn = warn;
    m->cache_dir = drv_cache_dir(a->arena);
    if (!s) return VM_OK;
    vm_model_close(m);
    return program_fail(s, &err);
}
