/* A plan as text, and the names by which profiles know its kernels. */
#include <inttypes.h>

#include "codegen/plan/plan.h"

const char *plan_kernel_name(Plan *p, const PlanCluster *c) {
    Text t = text_new(p->arena);
    if (c->pack) {
        text_addf(&t, "pack_%" PRId64 "x%" PRId64 "x%" PRId64, c->pack->matrices, c->pack->k,
                  c->pack->n);
        return t.data;
    }
    const IrNode *main = c->anchor ? c->anchor : c->node[c->nnode - 1];
    text_add(&t, ir_ops[main->op].name);
    IrWork w;
    bool operand = c->anchor && c->anchor->nin && !ir_work_product(c->anchor, &w);
    const IrType *shape = operand ? &c->anchor->in[0]->type : &main->out[0].type;
    for (int d = 0; d < shape->rank; d++) text_addf(&t, "%s%" PRId64, d ? "x" : "_", shape->dim[d]);
    for (int i = 0; i < c->nnode; i++)
        if (c->node[i] != main && t.len < 90) text_addf(&t, "_%s", ir_ops[c->node[i]->op].name);
    return t.data;
}

/* task: the cluster's number; -1: it is not part of a step. */
static void print_args(Text *t, const Plan *p, const PlanCluster *c, int task) {
    static const char *const space[VM_SPACE_COUNT] = {"weights", "state", "work", "packed"};
    for (int k = 0; k < c->narg; k++) {
        const PlanBuffer *b = &p->buffer[c->arg[k].buffer];
        text_addf(t, "%s%s%s+%" PRId64, k ? ", " : " (", c->arg[k].written ? "=" : "",
                  space[b->space], b->offset + c->arg[k].offset);
        if (b->over >= 0 && b->first == task) text_add(t, " in place");
    }
    text_add(t, ")\n");
}

void plan_print(Text *t, const Plan *p) {
    text_addf(t, "plan @%s {\n", p->g->name);
    text_addf(
        t, "  memory weights %" PRId64 " state %" PRId64 " work %" PRId64 " packed %" PRId64 "\n",
        p->space_bytes[VM_WEIGHTS], p->space_bytes[VM_STATE], p->space_bytes[VM_WORK],
        p->space_bytes[VM_PACKED]);
    int64_t live;
    int when;
    plan_live(p, &live, &when);
    text_addf(t, "  live %" PRId64 " at task %d\n", live, when);
    for (int i = 0; i < p->nkept; i++) {
        const PlanKept *k = &p->kept[i];
        text_addf(t, "  %s %s", k->updated ? "kept" : "ready",
                  plan_kernel_name((Plan *)p, k->task));
        print_args(t, p, k->task, -1);
    }
    for (int i = 0; i < p->ncluster; i++) {
        const PlanCluster *c = &p->cluster[i];
        text_addf(t, "  task %d%s%s%s %s", i, c->barrier ? " barrier" : "",
                  p->gate && i == p->gate ? " gate" : "",
                  c->kind == VM_TASK_UPDATE ? " update" : "", plan_kernel_name((Plan *)p, c));
        print_args(t, p, c, i);
    }
    text_add(t, "}\n");
}
