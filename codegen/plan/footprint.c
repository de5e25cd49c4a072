/* What a program will take, from its plan alone: memory by space, the moment that decides it,
 * arithmetic. Nothing is lowered; the answer takes about as long as the plan. */
#include "codegen/plan/plan.h"

/* Inserts a buffer among the largest. */
static void hold(CgFootprint *out, const PlanBuffer *b) {
    int at = out->nholder;
    while (at > 0 && out->holder[at - 1].bytes < b->bytes) at--;
    if (at == CG_HOLDERS) return;
    if (out->nholder < CG_HOLDERS) out->nholder++;
    for (int i = out->nholder - 1; i > at; i--) out->holder[i] = out->holder[i - 1];
    out->holder[at].value = b->value;
    out->holder[at].bytes = b->bytes;
}

bool cg_footprint_within(Arena *a, const CgTarget *t, IrGraph *g, bool pack_in_step, int64_t enough,
                         CgFootprint *out) {
    Plan *p = plan_create_unplaced(a, g, t, pack_in_step ? NULL : pack_table_create(a));
    *out = (CgFootprint){.tasks = p->ncluster};
    for (int i = 0; i < p->ncluster; i++) {
        out->flops += plan_flops(&p->cluster[i]);
        if (p->cluster[i].pack) out->packed += pack_bytes(p->cluster[i].pack);
    }
    bool within = plan_place_within(p, enough);
    for (int s = 0; s < VM_SPACE_COUNT; s++) out->space[s] = p->space_bytes[s];
    plan_live(p, &out->live, &out->widest);
    for (int i = 0; i < p->nbuffer; i++) {
        const PlanBuffer *b = &p->buffer[i];
        if (b->space == VM_WORK && plan_counted_from(b) <= out->widest && out->widest <= b->last)
            hold(out, b);
    }
    return within;
}

void cg_footprint(Arena *a, const CgTarget *t, IrGraph *g, bool pack_in_step, CgFootprint *out) {
    (void)cg_footprint_within(a, t, g, pack_in_step, INT64_MAX, out);
}
