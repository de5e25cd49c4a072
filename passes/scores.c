/* scores: what an image's classes score, whose softmax are their probabilities, becomes an output.
 *
 * requires  a graph with its MODEL ops
 * ensures   c->scores SCORES_TOO: an output "scores" f32[B,C], if the model has scores: what the
 *           first metric `accuracy` compares with a label; without one, what a `cross_entropy` or
 *           any other accuracy does. SCORES_ALONE: it is the only result, so that no label is
 *           needed; a graph without scores is left as it is. SCORES_UNSEEN: nothing
 *
 * Who predicts, or asks for more than means, needs them. Nothing is computed for it that accuracy
 * does not need.
 *
 * before  %3 = accuracy %2, %1 : f32[];   metric "accuracy" %3
 * after   .. and  output "scores" %2 */
#include "passes/passes.h"

#include <string.h>

static bool compares(const IrNode *n, OpCode op) {
    return n->op == op && n->in[0]->type.rank == 2 && n->in[0]->type.dtype == DT_f32;
}

/* A metric that is an accuracy. */
static IrValue *of_metric(const IrGraph *g) {
    for (int i = 0; i < g->nout; i++) {
        const IrNode *n = g->out[i].value->node;
        if (g->out[i].kind == OUT_metric && compares(n, OP_accuracy)) return n->in[0];
    }
    return NULL;
}

IrValue *pass_scores_of(const IrGraph *g) {
    IrValue *v = of_metric(g);
    for (int i = 0; i < 2 && !v; i++)
        IR_FOR (n, g)
            if (!v && compares(n, i ? OP_accuracy : OP_cross_entropy)) v = n->in[0];
    return v;
}

bool pass_scores(PassCtx *c, IrGraph *g) {
    IrValue *v = c->scores ? pass_scores_of(g) : NULL;
    if (!v) return false;
    if (c->scores == SCORES_ALONE) g->nout = 0;
    ir_add_out(g, OUT_output, PASS_SCORES, v, 1, v->node->loc);
    if (c->scores == SCORES_ALONE) (void)ir_dce(g, false);
    return true;
}
