/* Finds the half of code generation that needs LLVM. */
#include "codegen/plan/backend.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* NULL in a program without the other half. */
extern const CgBackend cg_backend_llvm __attribute__((weak));

#define BACKEND_FILE "vmoec-llvm.so"

/* Where it lies, seen from the program's folder: beside it as built, or as installed. The first
 * that is there; the first of all when none is, for the message. */
static const char *backend_path(Arena *a) {
    static const char *const place[] = {"", "../libexec/vmoec/", "../lib/vmoec/"};
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash) return NULL;
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        const char *at = arena_printf(a, "%.*s/%s" BACKEND_FILE, (int)(slash - exe), exe, place[i]);
        if (access(at, F_OK) == 0) return at;
    }
    return arena_printf(a, "%.*s/" BACKEND_FILE, (int)(slash - exe), exe);
}

static void no_memory(void) {
    vm_out_of_memory(0);
}

/* LLVM's memory comes from C++'s operator new, whose failure would be an abort. The handler has to
 * be in place before LLVM is loaded, whose constructors allocate. */
static void guard_memory(void) {
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);
    void *at = library ? dlsym(library, "_ZSt15set_new_handlerPFvvE") : NULL;
    void (*(*set_new_handler)(void (*)(void)))(void);
    if (!at) return; /* another C++ library: an allocation that fails is an abort then */
    memcpy(&set_new_handler, &at, sizeof at);
    (void)set_new_handler(no_memory);
}

const CgBackend *backend_load(Arena *a, const char *path, const char **error) {
    guard_memory();
    if (&cg_backend_llvm) return &cg_backend_llvm;
    if (!path) path = backend_path(a);
    if (!path) {
        *error =
            "the code generator cannot be found: the system does not say where this program is";
        return NULL;
    }
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays as long as the process */
    if (!lib) {
        const char *why = dlerror();
        *error =
            arena_printf(a, "the code generator cannot be loaded: %s", why ? why : "out of memory");
        return NULL;
    }
    const CgBackend *b = dlsym(lib, "cg_backend_llvm");
    if (!b || strcmp(b->id, cg_compiler_id) != 0) {
        *error = arena_printf(a, "%s belongs to another build of vmoec", path);
        return NULL;
    }
    return b;
}
