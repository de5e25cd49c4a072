/* A model of which not all inputs are given: the results that do not depend on the others. */
#include "driver/session/session.h"

#include <string.h>

static bool is_missing(const IrNode *n, const char *const *missing, int nmissing) {
    for (int i = 0; i < nmissing; i++)
        if (n->op == OP_input && !strcmp(ir_str(n, ATTR_input_name), missing[i])) return true;
    return false;
}

int session_keep_given(IrGraph *g, const char *const *missing, int nmissing) {
    IR_FOR (n, g) {
        n->mark = is_missing(n, missing, nmissing);
        for (int i = 0; i < n->nin; i++) n->mark |= n->in[i]->node->mark;
    }
    int kept = 0;
    for (int i = 0; i < g->nout; i++)
        if (!g->out[i].value->node->mark) g->out[kept++] = g->out[i];
    g->nout = kept;
    (void)ir_dce(g, false);
    return kept;
}
