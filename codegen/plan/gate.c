/* The gate of a step: the task before which it is known whether all losses are finite, and behind
 * which everything stands that outlives the step. One number that is not finite there ends the step
 * before it has changed a weight.
 *
 * requires  tasks in their order, and barriers (memory.c)
 * ensures   Plan.gate is 0 where a program changes nothing or has no losses. Else all losses and
 * metrics are made before it, all updates stand from it on, and it has a barrier: nearly always one
 * that was there anyway, since an update waits for its gradient and losses are made long before. */
#include "codegen/plan/plan.h"

static bool is_term(const IrOut *o) {
    return o->kind == OUT_loss || o->kind == OUT_aux || o->kind == OUT_metric;
}

/* The last cluster with a member that makes what v is a view of; -1: it is a leaf. */
static int made_at(const Plan *p, IrValue *v) {
    const IrNode *root = view_root(v)->node;
    for (int i = p->ncluster - 1; i >= 0; i--)
        if (plan_member(&p->cluster[i], root) >= 0) return i;
    return -1;
}

int plan_terms_ready(const Plan *p) {
    int ready = -1;
    for (int i = 0; i < p->g->nout; i++) {
        int at = is_term(&p->g->out[i]) ? made_at(p, p->g->out[i].value) : -1;
        if (at > ready) ready = at;
    }
    return ready;
}

static bool has_terms(const IrGraph *g) {
    for (int i = 0; i < g->nout; i++)
        if (is_term(&g->out[i])) return true;
    return false;
}

void plan_gate(Plan *p) {
    int first = 0, ready = plan_terms_ready(p);
    while (first < p->ncluster && p->cluster[first].kind != VM_TASK_UPDATE) first++;
    p->gate = 0;
    if (first == 0 || first == p->ncluster || !has_terms(p->g)) return;
    VM_CHECK(ready < first, "plan: task %d updates before the losses of task %d are known", first,
             ready);
    p->gate = first;
    while (p->gate > ready + 1 && !p->cluster[p->gate].barrier) p->gate--;
    if (p->cluster[p->gate].barrier) return;
    p->gate = first;
    p->cluster[first].barrier = true;
}
