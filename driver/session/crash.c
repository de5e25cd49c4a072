/* The file that a mistake of ours leaves behind: the graph that was being compiled, as IR text. */
#include "base/file.h"
#include "driver/session/session.h"

const char *const session_route_views[] = {"unseen", "chosen", "measured"};
const char *const session_score_views[] = {"unseen", "too", "alone"};

static VmStatus write_text(const char *path, const Text *t, VmError *err) {
    VmFile w;
    VmStatus st = vm_file_begin(&w, path, err);
    if (st) return st;
    fwrite(t->data, 1, t->len, w.f);
    return vm_file_commit(&w, err);
}

/* The first line is what `vmoec opt` needs to go on from there. Runs while we are crashing, so it
 * allocates from its own arena and never fails loudly. */
const char *session_crash(void *session) {
    Session *s = session;
    Crash *c = &s->crash;
    const IrGraph *g = c->graph;
    if (!g && s->module) g = cg_module_lowering(s->module);
    if (!g || !c->file) return NULL;
    c->graph = NULL;
    Text t = text_new(c->arena);
    text_add(&t, "; passes: ");
    for (int i = 0; i < c->n; i++) text_addf(&t, "%s%s", i ? "," : "", pass_name(c->list[i]));
    if (!c->n) text_add(&t, "none (code generation)");
    text_add(&t, s->pass.training ? " --training" : "");
    text_add(&t, s->pass.input_grads ? " --input-grads" : "");
    if (s->pass.recompute) text_addf(&t, " --recompute=%d", s->pass.recompute);
    if (s->pass.routes) text_addf(&t, " --telemetry=%s", session_route_views[s->pass.routes]);
    if (s->pass.scores) text_addf(&t, " --scores=%s", session_score_views[s->pass.scores]);
    text_add(&t, "\n");
    ir_print(&t, g, true);
    VmError err = {.text = ""};
    if (write_text(c->file, &t, &err)) return arena_printf(c->arena, "vmoec: error: %s", err.text);
    return arena_printf(c->arena, "vmoec: the graph is in %s; `vmoec opt %s` runs the rest",
                        c->file, c->file);
}
