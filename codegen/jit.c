/* The LLVM back end: target machine, the short pass list, objects, and LLJIT, which loads exactly the objects
 * that an ahead-of-time build would link. */
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include "codegen/jit.h"

/* The builder emits what it means; these clean up its address arithmetic. */
static const char pass_list[] = "function(early-cse,instcombine<no-verify-fixpoint>,loop-mssa(licm))";

struct Jit {
    Arena *arena;
    LLVMTargetMachineRef machine;
    LLVMOrcLLJITRef lljit;
    char *triple;
};

static const char *take_error(Arena *a, LLVMErrorRef e, const char *what) {
    char *text = LLVMGetErrorMessage(e);
    const char *copy = arena_printf(a, "%s: %s", what, text);
    LLVMDisposeErrorMessage(text);
    return copy;
}

Jit *jit_create(Arena *a, const CgTarget *t, const char **error) {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    Jit *j = ARENA_NEW(a, Jit);
    j->arena = a;
    j->triple = LLVMGetDefaultTargetTriple();
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(j->triple, &target, &message)) {
        *error = arena_printf(a, "LLVM has no target for %s: %s", j->triple, message);
        LLVMDisposeMessage(message);
        jit_destroy(j);
        return NULL;
    }
    j->machine = LLVMCreateTargetMachine(target, j->triple, t->cpu, t->features, LLVMCodeGenLevelDefault,
                                         LLVMRelocPIC, LLVMCodeModelSmall);
    LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->lljit, NULL);
    if (e) {
        *error = take_error(a, e, "LLVM cannot start its JIT");
        jit_destroy(j);
        return NULL;
    }
    return j;
}

void jit_destroy(Jit *j) {
    if (!j) return;
    if (j->lljit) LLVMConsumeError(LLVMOrcDisposeLLJIT(j->lljit));
    if (j->machine) LLVMDisposeTargetMachine(j->machine);
    if (j->triple) LLVMDisposeMessage(j->triple);
}

LLVMModuleRef jit_new_module(Jit *j, LLVMContextRef ctx, const char *name) {
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext(name, ctx);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(j->machine);
    LLVMSetTarget(mod, j->triple);
    LLVMSetModuleDataLayout(mod, layout);
    LLVMDisposeTargetData(layout);
    return mod;
}

static const char *optimise(Jit *j, LLVMModuleRef mod) {
    char *message = NULL;
    if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &message))
        VM_BUG("codegen: ill-formed LLVM IR: %s", message);
    LLVMDisposeMessage(message);
    LLVMPassBuilderOptionsRef opt = LLVMCreatePassBuilderOptions();
    LLVMErrorRef e = LLVMRunPasses(mod, pass_list, j->machine, opt);
    LLVMDisposePassBuilderOptions(opt);
    return e ? take_error(j->arena, e, "LLVM passes") : NULL;
}

static LLVMMemoryBufferRef emit(Jit *j, LLVMModuleRef mod, LLVMCodeGenFileType type, const char **error) {
    *error = optimise(j, mod);
    if (*error) return NULL;
    char *message = NULL;
    LLVMMemoryBufferRef out = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(j->machine, mod, type, &message, &out)) {
        *error = arena_printf(j->arena, "LLVM code generation: %s", message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    return out;
}

LLVMMemoryBufferRef jit_object(Jit *j, LLVMModuleRef mod, const char **error) {
    return emit(j, mod, LLVMObjectFile, error);
}

const char *jit_assembly(Jit *j, Arena *a, LLVMModuleRef mod, const char **error) {
    LLVMMemoryBufferRef b = emit(j, mod, LLVMAssemblyFile, error);
    if (!b) return NULL;
    const char *text = arena_strndup(a, LLVMGetBufferStart(b), LLVMGetBufferSize(b));
    LLVMDisposeMemoryBuffer(b);
    return text;
}

const char *jit_add(Jit *j, LLVMMemoryBufferRef object) {
    LLVMErrorRef e = LLVMOrcLLJITAddObjectFile(j->lljit, LLVMOrcLLJITGetMainJITDylib(j->lljit), object);
    return e ? take_error(j->arena, e, "LLVM cannot load generated code") : NULL;
}

void *jit_lookup(Jit *j, const char *name, const char **error) {
    LLVMOrcExecutorAddress at = 0;
    LLVMErrorRef e = LLVMOrcLLJITLookup(j->lljit, &at, name);
    if (e) {
        *error = take_error(j->arena, e, "LLVM cannot link generated code");
        return NULL;
    }
    return (void *)(uintptr_t)at;
}
