/* The optimizer step of one weight: one pass over p, g, m and v (Loshchilov and Hutter's AdamW as
 * PyTorch computes it: decay first, then the bias-corrected step). */
#include "codegen/kernels/rules.h"
#include "codegen/kernels/update.h"

typedef struct Adam {
    IrNode *n;
    Val p, g, m, v;              /* pointers */
    Val lr, inv_c1, inv_sqrt_c2; /* splats */
} Adam;

static Val splat_step(Kb *k, const IrNode *n, VmStepScalar i) {
    return kb_splat(
        k, LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, n->in[4]), kb_i64(k, i)), ""));
}

/* Updates the elements from i on; the weight's new values. */
static Val update(Kb *k, const Adam *a, Val i, Val mask) {
    const IrNode *n = a->n;
    double b1 = ir_float(n, ATTR_adamw_beta1), b2 = ir_float(n, ATTR_adamw_beta2);
    Val at[4] = {kb_gep(k, k->f32, a->p, i), kb_gep(k, k->f32, a->g, i), kb_gep(k, k->f32, a->m, i),
                 kb_gep(k, k->f32, a->v, i)};
    Val p = kb_load(k, k->vf, at[0], mask), g = kb_load(k, k->vf, at[1], mask);
    Val m = kb_load(k, k->vf, at[2], mask), v = kb_load(k, k->vf, at[3], mask);
    m = kb_fadd(k, kb_fmul(k, m, kb_vf(k, b1)), kb_fmul(k, g, kb_vf(k, 1 - b1)));
    v = kb_fadd(k, kb_fmul(k, v, kb_vf(k, b2)), kb_fmul(k, kb_fmul(k, g, g), kb_vf(k, 1 - b2)));
    Val root = kb_fmul(k, kb_call(k, "llvm.sqrt", k->vf, &v, 1), a->inv_sqrt_c2);
    Val denom = kb_fadd(k, root, kb_vf(k, ir_float(n, ATTR_adamw_eps)));
    Val step = kb_fdiv(k, kb_fmul(k, m, a->inv_c1), denom);
    step = kb_fadd(k, step, kb_fmul(k, p, kb_vf(k, ir_float(n, ATTR_adamw_decay))));
    p = kb_fsub(k, p, kb_fmul(k, a->lr, step));
    kb_store(k, p, at[0], mask);
    kb_store(k, m, at[2], mask);
    kb_store(k, v, at[3], mask);
    return p;
}

static void update_flat(Kb *k, Pos pos, Val *carry, void *ctx) {
    (void)carry;
    update(k, ctx, pos.col, pos.mask);
}

static void update_tile(Kb *k, Pos pos, Val *carry, void *ctx) {
    (void)carry;
    const Adam *a = ctx;
    Val at = kb_add(k, kb_mul(k, pos.row, kb_i64(k, ir_cols(&a->n->out[0].type))), pos.col);
    kb_bind(k, &a->n->out[0], update(k, a, at, pos.mask));
}

void cg_lower_adamw(Kb *k, IrNode *n) {
    Adam a = {.n = n, .p = kb_ptr(k, n->in[0]), .g = kb_ptr(k, n->in[1]), .m = kb_ptr(k, n->in[2])};
    a.v = kb_ptr(k, n->in[3]);
    Val one = kb_vf(k, 1), c2 = splat_step(k, n, VM_STEP_CORRECTION2);
    a.lr = splat_step(k, n, VM_STEP_RATE);
    a.inv_c1 = kb_fdiv(k, one, splat_step(k, n, VM_STEP_CORRECTION1));
    a.inv_sqrt_c2 = kb_fdiv(k, one, kb_call(k, "llvm.sqrt", k->vf, &c2, 1));
    if (k->cl->nkeep)
        cg_update(k, &n->in[0]->type, update_tile, &a);
    else
        kb_flat(k, ir_elems(&n->in[0]->type), update_flat, &a);
}
