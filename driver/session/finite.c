/* A closer look at what failed for a value that is not finite: a program with the range of every
 * result (passes/ranges.c) is compiled now and run on the same images, weights and random numbers.
 * Who never fails never pays for it. */
#include "driver/session/finite.h"

#include <math.h>

#include "base/recover.h"

typedef struct Asked {
    Session *s;
    const VmFailure *failure;
    VmFacts *found;
} Asked;

/* The program of a closer look, which has run; NULL with err filled in. */
static const Program *run_again(Session *s, const VmFailure *f, Pipeline pipe, VmError *err) {
    const ProgramKind kind = {.pipe = pipe, .training = f->training};
    const Program *p = session_program(s, kind, f->images, false, err);
    return p && vm_failure_again(s->engine, p->index, f, err) == VM_OK ? p : NULL;
}

static void look(void *asked) {
    const Asked *a = asked;
    Session *s = a->s;
    VmError err = {.text = ""};
    s->finding = NULL;
    const Program *p = run_again(s, a->failure, PIPE_CHECK_EVAL, &err);
    if (!p) {
        look_say_nothing(s, a->failure, err.text);
        return;
    }
    Look l = {.s = s, .failure = a->failure, .program = p};
    look_read(&l);
    const IrValue *v = look_result(&l, a->failure->name);
    const IrNode *origin = v ? look_origin(&l, v) : NULL;
    if (origin)
        look_say(&l, origin, a->found);
    else
        look_say_nothing(s, a->failure, "run again with checks, everything is finite");
}

void session_failed(void *session, const VmFailure *f, VmFacts *found) {
    VmFacts none = {0};
    Asked a = {.s = session, .failure = f, .found = found ? found : &none};
    VmRecover point;
    if (!vm_recover_here()) {
        look(&a);
    } else if (!vm_recover(&point, look, &a)) {
        vm_recover_keep(&point);
        a.s->lost = true;
    }
    vm_facts_free(&none);
}

VmStatus session_fail_finding(Session *s, const VmError *err) {
    Diags *finding = s->finding;
    s->finding = NULL;
    if (!finding) return session_fail(s, err->status, "%s", err->text);
    session_say_diags(s, finding);
    return err->status;
}
