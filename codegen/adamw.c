/* The optimizer step of one weight: one pass over p, g, m and v (Loshchilov and Hutter's AdamW as PyTorch
 * computes it: decay first, then the bias-corrected step). */
#include "codegen/emit.h"

typedef struct Adam {
    IrNode *n;
    Val p, g, m, v;              /* pointers */
    Val lr, inv_c1, inv_sqrt_c2; /* splats */
} Adam;

static Val splat_step(Kb *k, const IrNode *n, int i) {
    return kb_splat(k,
                    LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, n->in[4]), kb_i64(k, i)), ""));
}

static Val fmul(Kb *k, Val a, Val b) {
    return LLVMBuildFMul(k->b, a, b, "");
}
static Val fadd(Kb *k, Val a, Val b) {
    return LLVMBuildFAdd(k->b, a, b, "");
}

static void update(Kb *k, const Adam *a, Val i, Val mask) {
    const IrNode *n = a->n;
    double b1 = ir_float(n, ATTR_adamw_beta1), b2 = ir_float(n, ATTR_adamw_beta2);
    Val at[4] = {kb_gep(k, k->f32, a->p, i), kb_gep(k, k->f32, a->g, i), kb_gep(k, k->f32, a->m, i),
                 kb_gep(k, k->f32, a->v, i)};
    Val p = kb_load(k, k->vf, at[0], mask), g = kb_load(k, k->vf, at[1], mask);
    Val m = kb_load(k, k->vf, at[2], mask), v = kb_load(k, k->vf, at[3], mask);
    m = fadd(k, fmul(k, m, kb_vf(k, b1)), fmul(k, g, kb_vf(k, 1 - b1)));
    v = fadd(k, fmul(k, v, kb_vf(k, b2)), fmul(k, fmul(k, g, g), kb_vf(k, 1 - b2)));
    Val root = fmul(k, kb_call(k, "llvm.sqrt", k->vf, &v, 1), a->inv_sqrt_c2);
    Val denom = fadd(k, root, kb_vf(k, ir_float(n, ATTR_adamw_eps)));
    Val step = LLVMBuildFDiv(k->b, fmul(k, m, a->inv_c1), denom, "");
    step = fadd(k, step, fmul(k, p, kb_vf(k, ir_float(n, ATTR_adamw_decay))));
    p = LLVMBuildFSub(k->b, p, fmul(k, a->lr, step), "");
    kb_store(k, p, at[0], mask);
    kb_store(k, m, at[2], mask);
    kb_store(k, v, at[3], mask);
}

void cg_lower_adamw(Kb *k, IrNode *n) {
    enum { GRAIN = 4096 };
    int64_t total = ir_elems(&n->in[0]->type), whole = total / k->vl * k->vl;
    Adam a = {.n = n, .p = kb_ptr(k, n->in[0]), .g = kb_ptr(k, n->in[1]), .m = kb_ptr(k, n->in[2])};
    a.v = kb_ptr(k, n->in[3]);
    Val one = kb_vf(k, 1), c2 = splat_step(k, n, 2);
    a.lr = splat_step(k, n, 0);
    a.inv_c1 = LLVMBuildFDiv(k->b, one, splat_step(k, n, 1), "");
    a.inv_sqrt_c2 = LLVMBuildFDiv(k->b, one, kb_call(k, "llvm.sqrt", k->vf, &c2, 1), "");
    Val begin, end;
    kb_share(k, (whole + GRAIN - 1) / GRAIN, &begin, &end);
    Val first = kb_mul(k, begin, kb_i64(k, GRAIN));
    Val last = kb_min(k, kb_mul(k, end, kb_i64(k, GRAIN)), kb_i64(k, whole));
    Loop l;
    kb_loop(k, &l, first, last, k->vl, NULL, 0);
    update(k, &a, l.i, NULL);
    kb_loop_end(k, &l);
    if (whole == total) return;
    If only;
    kb_single(k, &only);
    update(k, &a, kb_i64(k, whole), kb_mask_below(k, kb_i64(k, total - whole)));
    kb_if_end(k, &only);
}
