/* The elementwise functions of a model by themselves, element by element. A comparison of whole
 * tensors forgives what is small beside their largest number, and has to: sums round. A function of
 * one number has no such excuse, so its digits count however small the result is: ln(1 + e^x) at x
 * = -30 is 9e-14 and not 0.
 *
 * Arguments are a grid over what f32 holds and what the functions met in the interpreted model. */
#include <math.h>
#include <string.h>

#include "driver/commands/verify.h"

#define LEAST 1e-32 /* a factor on the way to smaller results may have had to be 0 */
enum { LINEAR = 4001, POWERS = 161, MET = 4096, GRID = LINEAR + 2 * POWERS };

static bool is_function(const IrNode *n) {
    const OpInfo *op = &ir_ops[n->op];
    if (n->nin != 1 || n->nout != 1 || op->nattr || n->op == OP_stop_gradient || n->op == OP_copy)
        return false;
    if (op->route != ROUTE_ELTWISE && op->stage != STAGE_MODEL) return false;
    return n->in[0]->type.dtype == DT_f32 && ir_type_equal(&n->in[0]->type, &n->out[0].type);
}

/* -100 to 100, and powers of two from 2^-80 to 2^80 of both signs. */
static void fill_grid(float *x) {
    for (int i = 0; i < LINEAR; i++) x[i] = (float)(i - LINEAR / 2) / 20;
    for (int i = 0; i < POWERS; i++) {
        x[LINEAR + 2 * i] = ldexpf(1.1f, i - POWERS / 2);
        x[LINEAR + 2 * i + 1] = -ldexpf(1.3f, i - POWERS / 2);
    }
}

/* Every so many of the numbers that ops of this kind met. */
static void fill_met(const IrGraph *g, const Interp *seen, OpCode op, float *x) {
    int64_t total = 0, at = 0, taken = 0;
    IR_FOR (n, g)
        if (n->op == op && is_function(n)) total += ir_elems(&n->in[0]->type);
    int64_t step = total / MET + 1;
    IR_FOR (n, g) {
        if (n->op != op || !is_function(n)) continue;
        const RefTensor *t = interp_value(seen, n->in[0]);
        for (int64_t i = 0, count = ir_elems(&t->type); i < count; i++, at++)
            if (at % step == 0 && taken < MET) x[taken++] = (float)t->data[i];
    }
    for (; taken < MET; taken++) x[taken] = 1;
}

/* Relative to the element itself. Beyond what f32 holds, only the kind of number counts. */
static double error_of(float have, double want) {
    double x = (double)have;
    if (isnan(want)) return isnan(x) ? 0 : INFINITY;
    if (fabs(want) > 3.4e38) return fabs(x) > 3.3e38 && (x > 0) == (want > 0) ? 0 : INFINITY;
    double error = fabs(x - want) / fmax(fabs(want), LEAST);
    return isnan(error) ? INFINITY : error;
}

static const IrGraph *functions_of(Session *s, const IrGraph *model) {
    IrGraph *g = ir_graph_create(s->arena, "functions");
    IrBuilder b = ir_builder(g);
    bool have[OP_COUNT] = {false};
    IR_FOR (n, model) {
        if (!is_function(n) || have[n->op]) continue;
        have[n->op] = true;
        const char *name = ir_ops[n->op].name;
        IrType t = IR_TYPE(DT_f32, GRID + MET);
        IrValue *x = ir_input(&b, arena_printf(s->arena, "x.%s", name), t);
        ir_add_out(g, OUT_output, name, ir_unary(&b, n->op, x), 0, n->loc);
    }
    ir_renumber(g);
    return g->nout ? g : NULL;
}

static void give_inputs(const IrGraph *g, const IrGraph *model, const Interp *seen, Interp *it,
                        VmEngine *e) {
    static float x[GRID + MET];
    IR_FOR (n, g) {
        if (n->op == OP_input) continue;
        const char *name = ir_str(n->in[0]->node, ATTR_input_name);
        fill_grid(x);
        fill_met(model, seen, n->op, x + GRID);
        interp_set_f32(it, name, x);
        void *to = vm_engine_data(e, 0, name);
        if (to) memcpy(to, x, sizeof x);
    }
    interp_run(it);
    vm_engine_run(e, 0, 0, 0);
}

VmStatus verify_functions(Session *s, const IrGraph *model, const Interp *seen,
                          FunctionErrors *out) {
    *out = (FunctionErrors){0};
    const IrGraph *g = functions_of(s, model);
    if (!g) return VM_OK;
    IrGraph *lowered = ir_graph_clone(s->arena, g);
    session_lower(s, lowered, KIND_EVAL);
    VmProgram *code = cg_add_program(s->module, lowered, g->name, 1, 0);
    const char *why = cg_module_compile(s->module);
    if (why) return drv_fail(VM_ENV, "%s", why);
    VmError err = {.text = ""};
    VmEngine *e = NULL;
    VmStatus st = vm_engine_create(1, &e, &err);
    if (!st && vm_engine_add(e, code, &err) != 0) st = VM_ENV;
    if (st) {
        vm_engine_destroy(e);
        return drv_fail(st, "%s", err.text);
    }
    Interp *it = interp_create(s->arena, g, false);
    give_inputs(g, model, seen, it, e);
    for (int i = 0; i < g->nout; i++) {
        const char *name = g->out[i].name;
        const RefTensor *want = interp_out(it, name);
        const float *have = vm_engine_data(e, 0, name);
        for (int64_t k = 0; k < GRID + MET; k++) {
            double error = error_of(have[k], want->data[k]);
            if (error <= out->worst) continue;
            out->worst = error;
            float x = (float)interp_value(it, g->out[i].value->node->in[0])->data[k];
            out->where =
                arena_printf(s->arena, "%s(%.9g) = %.9g", name, (double)x, (double)have[k]);
        }
        out->count++;
    }
    vm_engine_destroy(e);
    return VM_OK;
}
