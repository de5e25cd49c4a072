/* The compiled side: programs of one instruction set in one module, which shares what kernels are
 * equal, and engines that run them. */
#include "tests/fuzz/programs/programs.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const char *const engine_names[ENGINES] = {"1 thread", "3 threads", "1 thread, tight budget",
                                           "3 threads, tight budget"};

int check_isas(const char *out[2]) {
    static const char *const known[] = {"avx2", "avx512", "avx512-halves"};
    Arena *a = arena_create();
    int n = 0;
    for (int i = 0; i < 3 && n < 2; i++) {
        const char *error = NULL;
        setenv("VMOEC_ISA", known[i], 1);
        if (cg_target_host(a, &error)) out[n++] = known[i];
    }
    arena_destroy(a);
    return n;
}

static bool refuse(Verdict *v, const char *isa, const char *text) {
    char stage[32];
    snprintf(stage, sizeof stage, "code %.20s", isa);
    return verdict_set(v, OUT_OF_refused, stage, "%s", text);
}

/* A tight budget is what --mem-budget ends in where nothing else fits: all that can be computed
 * again is, and weights are packed in every step. */
static bool add_programs(Compiled *c, const Front *f, Verdict *v) {
    static const Pipeline pipe[KINDS] = {PIPE_EVAL, PIPE_GRAD, PIPE_TRAIN};
    static const char *const name[KINDS] = {"m.eval", "m.grad", "m.train"};
    enum { ALL = 1 << 20 };
    for (int tight = 0; tight < 2; tight++) {
        cg_module_pack_in_step(c->module, tight);
        for (int k = 0; k < KINDS; k++) {
            if ((k != C_EVAL && !f->grad) || (tight && k == C_GRAD)) continue;
            IrGraph *g = front_lower(f, pipe[k], PASS_COUNT, tight ? ALL : RECOMPUTE_LIGHT, v);
            if (!g) return false;
            c->program[tight][k] = cg_add_program(c->module, g, name[k], 1, 0);
        }
    }
    return true;
}

static bool add_engines(Compiled *c, Verdict *v) {
    for (int i = 0; i < ENGINES; i++) {
        VmError err = {.text = ""};
        if (vm_engine_create(i % 2 ? 3 : 1, &c->engine[i], &err))
            return refuse(v, c->isa, err.text);
        int next = 0;
        for (int k = 0; k < KINDS; k++) {
            c->index[i][k] = -1;
            if (!c->program[i / 2][k]) continue;
            c->index[i][k] = vm_engine_add(c->engine[i], c->program[i / 2][k], &err);
            if (c->index[i][k] != next++) return refuse(v, c->isa, err.text);
        }
        if (vm_engine_init(c->engine[i], 7, &err)) return refuse(v, c->isa, err.text);
    }
    return true;
}

bool compiled_make(Compiled *c, const Front *f, const char *isa, const char *cache, Verdict *v,
                   Tally *t) {
    *c = (Compiled){.isa = isa};
    const char *error = NULL;
    setenv("VMOEC_ISA", isa, 1);
    const CgTarget *target = cg_target_host(f->arena, &error);
    if (!target) return refuse(v, isa, error);
    double t0 = vm_seconds();
    c->module = cg_module_create(target);
    cg_module_options(c->module, &(CgOptions){.workers = 1, .cache_dir = cache});
    if (!add_programs(c, f, v)) return false;
    double t1 = vm_seconds();
    error = cg_module_compile(c->module);
    t->seconds[0] += t1 - t0;
    t->seconds[2] += vm_seconds() - t1;
    if (error) return refuse(v, isa, error);
    return add_engines(c, v);
}

void compiled_free(Compiled *c) {
    for (int i = 0; i < ENGINES; i++) vm_engine_destroy(c->engine[i]);
    cg_module_destroy(c->module);
}
