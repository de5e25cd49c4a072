/* The back end's entry: LLVM's half of code generation with these kernels. */
#include "codegen/build/unit.h"
#include "codegen/kernels/rules.h"

extern const CgBackend cg_backend_llvm;

static CgUnit *create(Arena *a, const CgTarget *t, const char **error) {
    return unit_create(a, t, &cg_rules, error);
}

const CgBackend cg_backend_llvm = {
    .id = cg_compiler_id,
    .create = create,
    .destroy = unit_destroy,
    .facts = unit_facts,
    .compile = unit_compile,
    .print = unit_print,
    .library = unit_library,
};
