/* Packing a matrix into panels for the micro-kernel: [matrices][ceil(N/nr)][K][nr], zero padded;
 * for bf16 [matrices][ceil(N/nr)][K/2][nr] pairs. */
#include "codegen/kernels/rules.h"

/* One vector of a panel row: columns col.. of matrix row kk; gathers when the matrix is transposed.
 */
static Val panel_vector(Kb *k, Val matrix, Val kk, Val col, int64_t sk, int64_t sn, Val mask) {
    Val at = kb_add(k, kb_mul(k, kk, kb_i64(k, sk)), kb_mul(k, col, kb_i64(k, sn)));
    Val ptr = kb_gep(k, k->f32, matrix, at);
    if (sn == 1) return kb_load(k, k->vf, ptr, mask);
    return kb_load_strided(k, k->vf, k->f32, ptr, sn, mask);
}

/* Inner position kk of a panel; for bf16 the pair kk, kk + 1. */
static Val panel_row(Kb *k, const Pack *p, Val matrix, Val kk, Val col) {
    int r = p->src.type.rank;
    int64_t sk = p->src.stride[p->transposed ? r - 1 : r - 2],
            sn = p->src.stride[p->transposed ? r - 2 : r - 1];
    Val mask = kb_mask_below(k, kb_sub(k, kb_i64(k, p->n), col));
    Val x = panel_vector(k, matrix, kk, col, sk, sn, mask);
    if (!p->bf16) return x;
    return kb_pair(k, x, panel_vector(k, matrix, kb_add(k, kk, kb_i64(k, 1)), col, sk, sn, mask));
}

void cg_lower_pack(Kb *k) {
    const Pack *p = k->cl->pack;
    int64_t step = p->bf16 ? 2 : 1, panels = (p->n + p->nr - 1) / p->nr;
    Val src = kb_view_ptr(k, &p->src), dst = NULL, begin, end;
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].written) dst = k->arg_ptr[i];
    kb_share(k, p->matrices * panels, &begin, &end);
    Loop panel, row;
    kb_loop(k, &panel, begin, end, 1, NULL, 0);
    Val matrix = kb_gep(k, k->f32, src, kb_matrix_offset(k, &p->src, kb_udiv(k, panel.i, panels)));
    Val col0 = kb_mul(k, kb_urem(k, panel.i, panels), kb_i64(k, p->nr));
    Val out = kb_gep(k, k->f32, dst, kb_mul(k, panel.i, kb_i64(k, p->k / step * p->nr)));
    kb_loop(k, &row, kb_i64(k, 0), kb_i64(k, p->k / step), 1, NULL, 0);
    for (int v = 0; v < p->nr / k->vl; v++) {
        Val col = kb_add(k, col0, kb_i64(k, (int64_t)v * k->vl));
        Val x = panel_row(k, p, matrix, kb_mul(k, row.i, kb_i64(k, step)), col);
        Val at = kb_add(k, kb_mul(k, row.i, kb_i64(k, p->nr)), kb_i64(k, (int64_t)v * k->vl));
        kb_store(k, x, kb_gep(k, k->f32, out, at), NULL);
    }
    kb_loop_end(k, &row);
    kb_loop_end(k, &panel);
}
