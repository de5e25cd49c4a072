/* vmoec opt: passes over IR text, for tests and for replaying vmoec-crash.vir. */
#include "driver/commands/commands.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_PASSES = 64, MAX_TEXT = 64 << 20 };

static const char *read_text(Arena *a, const char *path, VmError *err) {
    if (!strcmp(path, "-")) return drv_read_stream(a, stdin, "standard input", MAX_TEXT, err);
    int fd = vm_open_read(path, err);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f) {
        if (fd >= 0) vm_fail(err, VM_ENV, "cannot open '%s': %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return NULL;
    }
    const char *text = drv_read_stream(a, f, path, MAX_TEXT, err);
    fclose(f);
    return text;
}

/* The pipeline in the first line of a crash file, "; passes: a,b --training --recompute=7
 * --telemetry=chosen", whose options go to `c`; NULL: none. */
static const char *file_passes(Arena *a, const char *text, bool *training, PassCtx *c) {
    static const char prefix[] = "; passes: ";
    if (strncmp(text, prefix, sizeof prefix - 1)) return NULL;
    const char *p = text + sizeof prefix - 1;
    size_t line = strcspn(p, "\n");
    char *copy = arena_strndup(a, p, line);
    if (strstr(copy, "--training")) *training = true;
    if (strstr(copy, "--input-grads")) c->input_grads = true;
    const char *steps = strstr(copy, "--recompute=");
    if (steps) (void)sscanf(steps, "--recompute=%9d", &c->recompute);
    if (strstr(copy, "--telemetry=chosen")) c->routes = ROUTES_CHOSEN;
    if (strstr(copy, "--telemetry=measured")) c->routes = ROUTES_MEASURED;
    if (strstr(copy, "--scores=too")) c->scores = SCORES_TOO;
    if (strstr(copy, "--scores=alone")) c->scores = SCORES_ALONE;
    copy[strcspn(copy, " ")] = 0;
    return strcmp(copy, "none") ? copy : "";
}

static VmStatus routes_of(const Args *a, PassCtx *c) {
    const char *text = a->o.telemetry;
    if (!text) return VM_OK;
    for (int i = ROUTES_CHOSEN; i <= ROUTES_MEASURED; i++)
        if (!strcmp(text, session_route_views[i])) {
            c->routes = (enum PassRoutes)i;
            return VM_OK;
        }
    return drv_fail(VM_USAGE, "--telemetry is chosen or measured, not '%s'", text);
}

static VmStatus scores_of(const Args *a, PassCtx *c) {
    const char *text = a->o.scores;
    if (!text) return VM_OK;
    for (int i = SCORES_TOO; i <= SCORES_ALONE; i++)
        if (!strcmp(text, session_score_views[i])) {
            c->scores = (enum PassScores)i;
            return VM_OK;
        }
    return drv_fail(VM_USAGE, "--scores is too or alone, not '%s'", text);
}

static VmStatus run(Session *s, const Args *a) {
    const char *path = a->operand[0], *error = NULL;
    VmError err = {.text = ""};
    const char *text = read_text(s->arena, path, &err);
    if (!text) return drv_fail(err.status, "%s", err.text);
    VmStatus st = routes_of(a, &s->pass);
    if (!st) st = scores_of(a, &s->pass);
    if (st) return st;
    bool training = a->o.training;
    const char *passes = a->o.passes;
    s->pass.input_grads = a->o.input_grads;
    s->pass.recompute = (int)opt_or(a->o.recompute, 0);
    if (!passes) passes = file_passes(s->arena, text, &training, &s->pass);
    PassId list[MAX_PASSES];
    int n = passes && *passes ? pass_parse_list(s->arena, passes, list, MAX_PASSES, &error) : 0;
    if (n < 0) return drv_fail(VM_USAGE, "%s", error);
    const char *print = a->o.print_after;
    PassId ignored;
    if (print && strcmp(print, "all") && pass_parse_list(s->arena, print, &ignored, 1, &error) < 0)
        return drv_fail(VM_USAGE, "--print-after: %s", error);
    IrGraph *g = ir_read(s->arena, text, strcmp(path, "-") ? path : "<stdin>", &error);
    if (!g) return drv_fail(VM_INPUT, "%s", error);
    error = ir_verify(s->arena, g, true);
    if (error) return drv_fail(VM_INPUT, "%s: %s", path, error);
    s->pass.print_after = print;
    error = session_try_passes(s, g, list, n, training);
    if (error) return drv_fail(VM_INPUT, "%s: %s", path, error);
    const char *out = ir_to_text(s->arena, g);
    if (a->o.time)
        for (int i = 0; i < n; i++)
            fprintf(stderr, "%-10s %.6f s\n", pass_name(list[i]), s->pass.seconds[list[i]]);
    return drv_write_output(NULL, out, strlen(out));
}

VmStatus cmd_opt(const Args *a) {
    Session s;
    drv_init(a, &s);
    VmStatus st = run(&s, a);
    session_close(&s);
    return st;
}
