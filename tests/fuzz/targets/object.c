/* An object as the kernel cache or a process that compiles may hand it over: what code_check takes,
 * code_load maps, apart from undefined names, and nothing else. Nothing is called. */
#include <elf.h>

#include "tests/fuzz/target.h"

#include "codegen/plan/backend.h"
#include "codegen/load/loader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    Arena *a = arena_create();
    FUZZ_CHECK(exact != NULL, "out of memory");
    if (size) memcpy(exact, data, size);
    LoadObject o = {.symbol = CG_KERNEL_SYMBOL, .data = exact, .size = size, .shared = size % 2};
    const char **undefined = NULL, *wrong = code_check(a, &o, EM_X86_64, &undefined);
    Code *c = code_create(a);
    const char *failed = code_load(c, a, &o, 1);
    FUZZ_CHECK(!wrong || failed, "what is not as expected is loaded: %s", wrong);
    FUZZ_CHECK(!failed == (o.entry != NULL), "an entry of what is not loaded, or none");
    FUZZ_CHECK(!failed == (code_bytes(c) > 0), "something is mapped of what is not loaded");
    for (int i = 0; !wrong && undefined[i]; i++)
        FUZZ_CHECK(*undefined[i], "an undefined symbol without a name");
    code_destroy(c);
    arena_destroy(a);
    free(exact);
    return 0;
}
