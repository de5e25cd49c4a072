/* A closer look at what failed for a value that is not finite: a program with the range of every
 * result (passes/ranges.c) is compiled now and run on the same images, weights and random numbers.
 * Who never fails never pays for it. */
#include "driver/session/finite.h"

#include <string.h>

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

/* The first gradient that is not finite, and where it began; NULL: all are. */
static const IrNode *bad_gradient(const Look *l, const char **weight) {
    const PassRanges *x = l->program->ranges;
    const IrNode *first = NULL;
    for (int i = 0; i < x->ngradient; i++) {
        const IrNode *n = session_look_origin(l, x->gradient[i].value);
        if (!n || (first && n->id >= first->id)) continue;
        first = n;
        *weight = x->gradient[i].name + strlen("grad.");
    }
    return first;
}

/* Goes over the run again from its last checkpoint, looking at the gradients of every step before
 * it is made. */
static void look_back(const Asked *a) {
    enum { PATIENCE = 60 };
    Session *s = a->s;
    VmFailure at;
    VmError err = {.text = ""};
    double start = vm_seconds();
    int64_t last;
    VmStatus st = vm_replay_begin(a->failure, &at, &last, &err);
    for (; !st; st = vm_replay_step(&at, &err)) {
        const char *weight = NULL;
        if (at.step > last || vm_seconds() - start > PATIENCE) break;
        Look l = {.s = s, .failure = a->failure};
        l.program = run_again(s, &at, PIPE_CHECK_GRAD, &err);
        if (!l.program) break;
        session_look_read(&l);
        const IrNode *origin = bad_gradient(&l, &weight);
        if (!origin) continue;
        session_look_say_gradient(&l, weight, origin, &at, a->found);
        return;
    }
    if (at.weight[0]) {
        Look l = {.s = s, .failure = a->failure};
        session_look_say_gradient(&l, NULL, NULL, &at, a->found);
    } else if (!err.text[0])
        session_look_say_nothing(
            s, a->failure,
            "a step since the last checkpoint has made weights that are not finite, "
            "and to go over them all takes too long: with --save-every it is one of "
            "fewer");
    else
        session_look_say_nothing(s, a->failure, err.text);
}

static void look(void *asked) {
    const Asked *a = asked;
    Session *s = a->s;
    VmError err = {.text = ""};
    s->finding = NULL;
    if (a->failure->weight[0] && a->failure->run) {
        look_back(a);
        return;
    }
    const Program *p = run_again(s, a->failure, PIPE_CHECK_EVAL, &err);
    if (!p) {
        session_look_say_nothing(s, a->failure, err.text);
        return;
    }
    Look l = {.s = s, .failure = a->failure, .program = p};
    session_look_read(&l);
    const IrValue *v = session_look_result(&l, a->failure->name);
    const IrNode *origin = v ? session_look_origin(&l, v) : NULL;
    if (origin)
        session_look_say(&l, origin, a->found);
    else
        session_look_say_nothing(s, a->failure, "run again with checks, everything is finite");
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
