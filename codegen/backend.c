/* Finds the half of code generation that needs LLVM. */
#include "codegen/backend.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* NULL in a program without the other half. */
extern const CgBackend cg_backend_llvm __attribute__((weak));

#define BACKEND_FILE "vmoec-llvm.so"

/* The shared object lies in the program's own folder. */
static const char *backend_path(Arena *a) {
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return BACKEND_FILE;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    return slash ? arena_printf(a, "%.*s/" BACKEND_FILE, (int)(slash - exe), exe) : BACKEND_FILE;
}

const CgBackend *backend_load(Arena *a, const char **error) {
    if (&cg_backend_llvm) return &cg_backend_llvm;
    const char *path = backend_path(a);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays as long as the process */
    if (!lib) {
        *error = arena_printf(a, "the code generator cannot be loaded: %s", dlerror());
        return NULL;
    }
    const CgBackend *b = dlsym(lib, "cg_backend_llvm");
    if (!b || strcmp(b->id, cg_compiler_id) != 0) {
        *error = arena_printf(a, "%s belongs to another build of vmoec", path);
        return NULL;
    }
    return b;
}
