/* Arguments and signatures. A cluster's arguments are the buffers it touches, in the order in which
 * a fixed walk over its members meets them; its signature is the text of that walk, with buffers
 * named by argument number. Lowering a cluster reads nothing that is not in the signature, so equal
 * signatures mean equal kernels. */
#include <inttypes.h>
#include <string.h>

#include "codegen/plan/blocks.h"
#include "passes/passes.h"
#include "base/vec.h"

const PlanCols plan_all_cols = {0, 0, 0};

static PlanCols join_cols(PlanCols a, PlanCols b) {
    if (a.ld != b.ld) return plan_all_cols;
    return (PlanCols){a.ld, a.from < b.from ? a.from : b.from, a.end > b.end ? a.end : b.end};
}

int plan_arg_buffer(PlanCluster *c, Arena *a, int buffer, int64_t offset, PlanCols cols,
                    bool written) {
    for (int i = 0; i < c->narg; i++)
        if (c->arg[i].buffer == buffer && c->arg[i].offset == offset) {
            c->arg[i].written |= written;
            c->arg[i].cols = join_cols(c->arg[i].cols, cols);
            return i;
        }
    VEC_ROOM(a, c->arg, c->narg, c->cap_arg);
    c->arg[c->narg] = (PlanArg){buffer, offset, written, cols};
    return c->narg++;
}

PlanCols plan_value_cols(const Plan *p, const IrValue *v) {
    PlanPlace at = plan_place_of(p, v);
    int64_t size = ir_dtype_size(v->type.dtype), from = at.ld ? at.offset % at.ld : 0;
    if (at.ld == ir_cols(&v->type)) return plan_all_cols; /* whole rows, maybe not all of them */
    return (PlanCols){at.ld * size, from * size, (from + ir_cols(&v->type)) * size};
}

PlanCols plan_view_cols(const Plan *p, const View *w) {
    PlanPlace at = plan_place_of(p, w->root);
    if (at.ld <= 0 || at.ld != ir_cols(&w->root->type)) return plan_value_cols(p, w->root);
    int64_t from = (at.offset + w->offset) % at.ld, end = from + 1;
    for (int d = 0; d < w->type.rank; d++)
        if (w->type.dim[d] > 1 && w->stride[d] % at.ld) end += (w->type.dim[d] - 1) * w->stride[d];
    int64_t size = ir_dtype_size(w->root->type.dtype);
    if (end > at.ld) return plan_all_cols;
    return (PlanCols){at.ld * size, from * size, end * size};
}

int plan_arg(Plan *p, PlanCluster *c, const IrValue *v, int64_t offset_elems, PlanCols cols,
             bool written) {
    PlanPlace at = plan_place_of(p, v);
    VM_CHECK(at.buffer >= 0, "plan: %%%d (%s) is read but not stored", v->node->id,
             ir_ops[v->node->op].name);
    int64_t bytes = (at.offset + offset_elems) * ir_dtype_size(v->type.dtype);
    return plan_arg_buffer(c, p->arena, at.buffer, bytes, cols, written);
}

static void sig_type(Text *t, const IrType *type) {
    text_addf(t, "%s[", ir_dtype_name(type->dtype));
    for (int d = 0; d < type->rank; d++) text_addf(t, "%s%" PRId64, d ? "," : "", type->dim[d]);
    text_add(t, "]");
}

static void sig_attrs(Text *t, const IrNode *n) {
    for (int i = 0; i < ir_ops[n->op].nattr; i++) {
        const AttrInfo *info = &ir_attrs[ir_ops[n->op].first_attr + i];
        const IrAttr *a = &n->attr[i];
        text_addf(t, " %s=", info->name);
        switch (info->kind) {
        case ATTR_KIND_INT: text_addf(t, "%" PRId64, a->i); break;
        case ATTR_KIND_FLOAT: text_addf(t, "%.17g", a->f); break;
        case ATTR_KIND_STR: text_addf(t, "\"%s\"", a->s); break;
        case ATTR_KIND_INTS:
            for (int k = 0; k < a->n; k++) text_addf(t, "%s%" PRId64, k ? "," : "", a->v[k]);
            break;
        }
    }
}

static void sig_view(Plan *p, PlanCluster *c, Text *t, IrValue *v) {
    View w;
    VM_CHECK(view_resolve(v, &w), "plan: operand %%%d is not a view", v->node->id);
    text_addf(t, "a%d:", plan_arg(p, c, w.root, w.offset, plan_view_cols(p, &w), false));
    sig_type(t, &w.type);
    text_add(t, "(");
    for (int d = 0; d < w.type.rank; d++) text_addf(t, "%s%" PRId64, d ? "," : "", w.stride[d]);
    text_add(t, ")");
}

static void sig_operand(Plan *p, PlanCluster *c, Text *t, IrValue *v) {
    IrValue *root = view_root(v);
    int m = plan_member(c, root->node);
    if (root != v) sig_type(t, &v->type); /* what a reshape on the way makes of it */
    if (m >= 0) {
        text_addf(t, "m%d.%d", m, root->index);
    } else if (root->node->op == OP_const) {
        text_addf(t, "c%.17g", ir_float(root->node, ATTR_const_value));
        sig_type(t, &v->type);
    } else if (ir_ops[root->node->op].route == ROUTE_GATHER) {
        text_addf(t, "%s", ir_ops[root->node->op].name);
        sig_attrs(t, root->node);
        sig_type(t, &root->type);
        text_add(t, "<");
        for (int i = 0; i < root->node->nin; i++) sig_view(p, c, t, root->node->in[i]);
        text_add(t, ">");
    } else if (fuse_is_inline(root->node)) {
        text_addf(t, "inline %s", ir_ops[root->node->op].name);
        sig_type(t, &root->type);
        for (int i = 0; i < root->node->nin; i++) sig_operand(p, c, t, root->node->in[i]);
    } else {
        sig_view(p, c, t, v);
    }
}

static void sig_pack(Plan *p, PlanCluster *c, Text *t) {
    const Pack *k = c->pack;
    text_addf(t, "pack nr=%d t=%d b=%d %" PRId64 "x%" PRId64 "x%" PRId64 " a%d(", k->nr,
              k->transposed, k->bf16, k->matrices, k->k, k->n,
              plan_arg(p, c, k->src.root, k->src.offset, plan_all_cols, false));
    sig_type(t, &k->src.type);
    for (int d = 0; d < k->src.type.rank; d++) text_addf(t, ",%" PRId64, k->src.stride[d]);
    text_addf(t, ") -> a%d", plan_arg_buffer(c, p->arena, c->pack_buffer, 0, plan_all_cols, true));
}

/* Copies of the weight that n is stored over. */
static void sig_keep(Plan *p, PlanCluster *c, Text *t, const IrNode *n, const PlanKept *k) {
    if (k->pack->src.root != ir_written(n, 0)) return;
    text_addf(t, " keep a%d nr=%d t=%d b=%d %" PRId64 "+%" PRId64 "x%" PRId64 "+%" PRId64,
              plan_arg_buffer(c, p->arena, k->buffer, 0, plan_all_cols, true), k->pack->nr,
              k->turned, k->pack->bf16, k->row0, k->rows, k->col0, k->cols);
}

static void sig_member(Plan *p, PlanCluster *c, Text *t, IrNode *n) {
    text_addf(t, "%s", ir_ops[n->op].name);
    sig_attrs(t, n);
    for (int i = 0; i < n->nin; i++) {
        text_add(t, " ");
        bool packed = n == c->anchor && c->pack_buffer >= 0;
        if (packed && (ir_reads(n->op, i) & READ_PACKED)) {
            text_addf(t, "packed a%d:",
                      plan_arg_buffer(c, p->arena, c->pack_buffer, 0, plan_all_cols, false));
            sig_type(t, &n->in[i]->type);
        } else {
            sig_operand(p, c, t, n->in[i]);
            if (n->op == OP_add && c->anchor && plan_made_apart(p, n->in[i])) text_add(t, " apart");
        }
    }
    for (int i = 0; i < c->nkeep; i++) sig_keep(p, c, t, n, c->keep[i]);
    text_add(t, " ->");
    for (int r = 0; r < n->nout; r++) {
        text_add(t, " ");
        sig_type(t, &n->out[r].type);
        if (!plan_is_stored(p, &n->out[r])) continue;
        text_addf(t, "=a%d/%" PRId64,
                  plan_arg(p, c, &n->out[r], 0, plan_value_cols(p, &n->out[r]), true),
                  plan_place_of(p, &n->out[r]).ld);
    }
    text_add(t, "\n");
}

/* What blocks.c goes by beside the product itself. */
static void sig_blocks(const Plan *p, const PlanCluster *c, Text *t) {
    CgProduct product;
    if (!block_product(c, &product)) return;
    BlockLimits l = block_limits(p->target);
    text_addf(t, "chunks %" PRId64 " %" PRId64, l.packed_kc, l.strided_kc);
    if (c->block_rows)
        text_addf(t, " blocks %" PRId64 "x%" PRId64 "\n", c->block_rows, c->block_cols);
    else
        text_addf(t, " limits %" PRId64 "x%" PRId64 " %" PRId64 "\n",
                  c->pack_buffer >= 0 ? l.rows : l.strided_rows, l.cols, l.items);
}

static void sign(Plan *p, PlanCluster *c, Text *t) {
    if (c->pack) sig_pack(p, c, t);
    for (int i = 0; i < c->nnode; i++) sig_member(p, c, t, c->node[i]);
}

void plan_arguments(Plan *p, PlanCluster *c) {
    Text dropped = {.arena = NULL};
    sign(p, c, &dropped);
}

const char *plan_signature(Plan *p, PlanCluster *c) {
    if (c->signature) return c->signature;
    Text t = text_new(p->arena);
    sign(p, c, &t);
    sig_blocks(p, c, &t);
    return c->signature = t.data;
}

double plan_flops(const PlanCluster *c) {
    IrWork w;
    return c->anchor && ir_work(c->anchor, &w) ? 2 * (w.macs - w.padding) : 0;
}

/* A buffer counts once however many arguments point into it (q, k and v of one packed tensor), and
 * twice when it is updated in place. */
double plan_bytes(const Plan *p, const PlanCluster *c) {
    double bytes = 0;
    for (int i = 0; i < c->narg; i++) {
        bool seen = false;
        for (int j = 0; j < i && !seen; j++) seen = c->arg[j].buffer == c->arg[i].buffer;
        if (!seen)
            bytes += (c->kind == VM_TASK_UPDATE && c->arg[i].written ? 2 : 1) *
                     (double)p->buffer[c->arg[i].buffer].bytes;
    }
    return bytes;
}
