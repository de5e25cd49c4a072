/* The --time report: where the time of a compilation went. */
#include "driver/commands/commands.h"

static void print_codegen(const CgStats *c) {
    fprintf(stderr, "    plan     %8.1f ms\n    cache    %8.1f ms   %d of %d kernels found%s%s\n",
            1e3 * c->seconds_plan, 1e3 * c->seconds_cache, c->cached, c->cached + c->compiled,
            c->cache_note ? "; " : "", c->cache_note ? c->cache_note : "");
    if (c->workers) {
        fprintf(stderr, "    compile  %8.1f ms   %d kernels in %d process%s, which spent:\n",
                1e3 * c->seconds_workers, c->compiled, c->workers, c->workers == 1 ? "" : "es");
        fprintf(stderr, "      start  %8.1f ms\n      LLVM IR%8.1f ms\n      LLVM   %8.1f ms\n",
                1e3 * c->seconds_start, 1e3 * c->seconds_ir, 1e3 * c->seconds_llvm);
    }
    fprintf(stderr, "    load     %8.1f ms   %.1f KiB of code\n", 1e3 * c->seconds_load,
            (double)c->code_bytes / 1024);
    fprintf(stderr, "  %d clusters, %d distinct kernels\n", c->clusters, c->kernels);
}

void drv_print_times(const Session *s) {
    double total = s->times.frontend + s->times.passes + s->times.codegen;
    fprintf(stderr, "compilation  %8.1f ms\n", 1e3 * total);
    fprintf(stderr, "  front end  %8.1f ms\n", 1e3 * s->times.frontend);
    fprintf(stderr, "  passes     %8.1f ms\n", 1e3 * s->times.passes);
    for (int i = 0; i < PASS_COUNT; i++)
        fprintf(stderr, "    %-9s%8.1f ms\n", pass_name((PassId)i), 1e3 * s->pass.seconds[i]);
    fprintf(stderr, "  codegen    %8.1f ms\n", 1e3 * s->times.codegen);
    if (s->module) print_codegen(cg_module_stats(s->module));
    if (s->tuning.path)
        fprintf(stderr, "tuning       %s, %d products\n", s->tuning.path, s->tuning.blocks->n);
    if (s->times.init > 0) fprintf(stderr, "weights      %8.1f ms\n", 1e3 * s->times.init);
    if (s->times.to_step > 0)
        fprintf(stderr, "first step   %8.1f ms after the start of the process\n",
                1e3 * s->times.to_step);
}
