/* The back end: clusters to LLVM IR to objects. Every kernel is a module and an object of its own,
 * so that it can be kept and loaded alone; functions that kernels share are made once per unit. */
#include "codegen/build/unit.h"

#include <dlfcn.h>
#include <elf.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>

#include "base/clock.h"

/* The builder emits what it means; these clean up its address arithmetic. */
static const char pass_list[] =
    "function(early-cse,instcombine<no-verify-fixpoint>,loop-mssa(licm))";

typedef struct Helper {
    const char *name;
    LLVMModuleRef mod; /* NULL: compiled */
    struct Helper *next;
} Helper;

struct CgUnit {
    Arena *arena;
    const CgTarget *target;
    const CgRules *rules;
    LLVMContextRef ctx;
    LLVMBuilderRef builder;
    LLVMTargetMachineRef machine;
    LLVMTargetDataRef layout;
    Helper *helper; /* the newest first */
};

/* ---- memory ---- */

/* llvm/Support/ErrorHandling.h; the C API has no names for them. */
extern void install_bad_alloc_handler(
    void (*handler)(void *, const char *, bool),
    void *user) __asm__("_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_");
extern void remove_bad_alloc_handler(void) __asm__("_ZN4llvm30remove_bad_alloc_error_handlerEv");

static void no_memory(void *user, const char *reason, bool crash) {
    (void)user, (void)reason, (void)crash;
    vm_out_of_memory(0);
}

static void fatal_error(const char *reason) {
    if (strstr(reason, "out of memory") || strstr(reason, "annot allocate memory"))
        vm_out_of_memory(0);
    VM_BUG("LLVM: %s", reason);
}

static void guard_errors(void) {
    remove_bad_alloc_handler();
    install_bad_alloc_handler(no_memory, NULL);
    LLVMResetFatalErrorHandler();
    LLVMInstallFatalErrorHandler(fatal_error);
}

/* LLVM's C API copies text with strdup and does not look at the result. */
static char *have(char *text) {
    if (!text) vm_out_of_memory(0);
    return text;
}

/* ---- lifetime ---- */

static LLVMTargetMachineRef machine_for(Arena *a, const CgTarget *t, LLVMTargetRef target) {
    bool host = !strcmp(t->cpu, "host");
    char *cpu = host ? have(LLVMGetHostCPUName()) : NULL;
    char *found = host ? have(LLVMGetHostCPUFeatures()) : NULL;
    const char *features = host ? arena_printf(a, "%s,%s", found, t->features) : t->features;
    /* WebAssembly's linker decides where everything is: nothing is position independent there */
    LLVMRelocMode relocation = t->elf == EM_NONE ? LLVMRelocStatic : LLVMRelocPIC;
    LLVMTargetMachineRef m =
        LLVMCreateTargetMachine(target, t->triple, host ? cpu : t->cpu, features,
                                LLVMCodeGenLevelDefault, relocation, LLVMCodeModelSmall);
    if (cpu) LLVMDisposeMessage(cpu);
    if (found) LLVMDisposeMessage(found);
    return m;
}

void unit_destroy(CgUnit *u) {
    if (!u) return;
    for (Helper *h = u->helper; h; h = h->next)
        if (h->mod) LLVMDisposeModule(h->mod);
    if (u->builder) LLVMDisposeBuilder(u->builder);
    if (u->ctx) LLVMContextDispose(u->ctx);
    if (u->layout) LLVMDisposeTargetData(u->layout);
    if (u->machine) LLVMDisposeTargetMachine(u->machine);
}

static void know_architectures(void) {
#define ARCH(name, llvm, triple, elf, missing)                                                     \
    LLVMInitialize##llvm##TargetInfo();                                                            \
    LLVMInitialize##llvm##Target();                                                                \
    LLVMInitialize##llvm##TargetMC();                                                              \
    LLVMInitialize##llvm##AsmPrinter();
#include "codegen/target/isa.def"
}

CgUnit *unit_create(Arena *a, const CgTarget *t, const CgRules *rules, const char **error) {
    guard_errors();
    know_architectures();
    CgUnit *u = ARENA_NEW(a, CgUnit);
    u->arena = a;
    u->target = t;
    u->rules = rules;
    LLVMTargetRef target;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &target, &message)) {
        *error = arena_printf(a, "LLVM has no target for %s: %s", t->triple, have(message));
        LLVMDisposeMessage(message);
        unit_destroy(u);
        return NULL;
    }
    u->machine = machine_for(a, t, target);
    u->layout = LLVMCreateTargetDataLayout(u->machine);
    u->ctx = LLVMContextCreate();
    u->builder = LLVMCreateBuilderInContext(u->ctx);
    return u;
}

static LLVMModuleRef new_module(CgUnit *u, const char *name) {
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext(name, u->ctx);
    LLVMSetTarget(mod, u->target->triple);
    LLVMSetModuleDataLayout(mod, u->layout);
    return mod;
}

static LLVMModuleRef helper_module(CgUnit *u, const char *name) {
    for (Helper *h = u->helper; h; h = h->next)
        if (!strcmp(h->name, name)) return NULL;
    Helper *h = ARENA_NEW(u->arena, Helper);
    *h = (Helper){arena_strdup(u->arena, name), new_module(u, name), u->helper};
    u->helper = h;
    return h->mod;
}

/* ---- lowering ---- */

static void set_types(Kb *k) {
    k->f32 = LLVMFloatTypeInContext(k->ctx);
    k->i32 = LLVMInt32TypeInContext(k->ctx);
    k->i64 = LLVMInt64TypeInContext(k->ctx);
    k->i1 = LLVMInt1TypeInContext(k->ctx);
    k->ptr = LLVMPointerTypeInContext(k->ctx, 0);
    kb_set_lanes(k, k->target->vector_floats);
}

/* shared: functions that kernels share go into modules of their own. */
static CgFacts lower(CgUnit *u, CgJob job, LLVMModuleRef mod, const char *name, bool shared) {
    Kb *k = ARENA_NEW(u->arena, Kb);
    k->arena = u->arena;
    k->target = u->target;
    k->plan = job.plan;
    k->cl = job.cluster;
    k->rules = u->rules;
    k->helper_module = helper_module;
    k->unit = shared ? u : NULL;
    k->ctx = u->ctx;
    k->mod = mod;
    k->b = u->builder;
    set_types(k);
    kb_begin(k, name);
    k->rules->lower(k);
    kb_end(k);
    return (CgFacts){k->scratch_bytes, k->items};
}

CgFacts unit_facts(CgUnit *u, CgJob job) {
    LLVMModuleRef mod = new_module(u, "kernel");
    CgFacts f = lower(u, job, mod, CG_KERNEL_SYMBOL, false);
    LLVMDisposeModule(mod);
    return f;
}

/* ---- machine code ---- */

static const char *optimise(CgUnit *u, LLVMModuleRef mod) {
    char *message = NULL;
    if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &message))
        VM_BUG("codegen: ill-formed LLVM IR: %s", have(message));
    LLVMDisposeMessage(message);
    LLVMPassBuilderOptionsRef opt = LLVMCreatePassBuilderOptions();
    LLVMErrorRef e = LLVMRunPasses(mod, pass_list, u->machine, opt);
    LLVMDisposePassBuilderOptions(opt);
    if (!e) return NULL;
    char *text = have(LLVMGetErrorMessage(e));
    const char *error = arena_printf(u->arena, "LLVM passes: %s", text);
    LLVMDisposeErrorMessage(text);
    return error;
}

/* Takes the module; NULL and *error on failure. The caller disposes the buffer. */
static LLVMMemoryBufferRef emit(CgUnit *u, LLVMModuleRef mod, LLVMCodeGenFileType type,
                                const char **error) {
    char *message = NULL;
    LLVMMemoryBufferRef out = NULL;
    *error = optimise(u, mod);
    if (!*error && LLVMTargetMachineEmitToMemoryBuffer(u->machine, mod, type, &message, &out)) {
        *error = arena_printf(u->arena, "LLVM code generation: %s", have(message));
        LLVMDisposeMessage(message);
        out = NULL;
    }
    LLVMDisposeModule(mod);
    return out;
}

static const char *deliver(CgUnit *u, LLVMModuleRef mod, const char *symbol, CgSink sink,
                           void *user) {
    const char *error;
    LLVMMemoryBufferRef object = emit(u, mod, LLVMObjectFile, &error);
    if (!object) return error;
    sink(user, symbol, LLVMGetBufferStart(object), LLVMGetBufferSize(object));
    LLVMDisposeMemoryBuffer(object);
    return NULL;
}

const char *unit_compile(CgUnit *u, CgJob job, CgFacts *facts, CgSink sink, void *user,
                         double *seconds) {
    double t0 = vm_seconds();
    LLVMModuleRef mod = new_module(u, "kernel");
    *facts = lower(u, job, mod, CG_KERNEL_SYMBOL, true);
    double t1 = vm_seconds();
    const char *error = NULL;
    for (Helper *h = u->helper; h && h->mod && !error;
         h = h->next) { /* new ones stand before old ones */
        LLVMModuleRef own = h->mod;
        h->mod = NULL;
        error = deliver(u, own, h->name, sink, user);
    }
    if (error)
        LLVMDisposeModule(mod);
    else
        error = deliver(u, mod, CG_KERNEL_SYMBOL, sink, user);
    seconds[0] += t1 - t0;
    seconds[1] += vm_seconds() - t1;
    return error;
}

const char *unit_print(CgUnit *u, const CgJob *job, int n, bool assembly, Text *out) {
    LLVMModuleRef mod = new_module(u, "kernels");
    for (int i = 0; i < n; i++)
        lower(u, job[i], mod, arena_printf(u->arena, CG_KERNEL_SYMBOL "_%d", i), false);
    if (!assembly) {
        char *text = have(LLVMPrintModuleToString(mod));
        text_add(out, text);
        LLVMDisposeMessage(text);
        LLVMDisposeModule(mod);
        return NULL;
    }
    const char *error;
    LLVMMemoryBufferRef b = emit(u, mod, LLVMAssemblyFile, &error);
    if (!b) return error;
    text_addn(out, LLVMGetBufferStart(b), LLVMGetBufferSize(b));
    LLVMDisposeMemoryBuffer(b);
    return NULL;
}

const char *unit_library(void) {
    Dl_info info;
    void *at;
    LLVMContextRef (*function)(void) = LLVMContextCreate;
    memcpy(&at, &function, sizeof at);
    return dladdr(at, &info) && info.dli_fname ? info.dli_fname : "";
}
