/* Reading and writing at a position: the load and store hooks every kernel shares. A value is, in
 * this order: already emitted here, lying in scratch, a constant, an elementwise member (its
 * operands are evaluated at the same position), a gathered row, or memory behind a view. */
#include "codegen/build/emit.h"
#include "passes/passes.h"

void kb_new_pos(Kb *k) {
    k->nmemo = 0;
}

void kb_bind(Kb *k, const IrValue *v, Val val) {
    if (k->nmemo == (int)(sizeof k->memo / sizeof k->memo[0]))
        return; /* too many: evaluated again */
    k->memo[k->nmemo].value = v;
    k->memo[k->nmemo++].v = val;
}

void kb_source(Kb *k, Source s) {
    VM_CHECK(k->nsource < MAX_SOURCES, "codegen: too many scratch sources");
    k->source[k->nsource++] = s;
}

void kb_drop_sources(Kb *k) {
    k->nsource = 0;
}

static Val arg_at(Kb *k, const IrValue *root, int64_t offset) {
    PlanPlace place = plan_place_of(k->plan, root);
    int64_t bytes = (place.offset + offset) * ir_dtype_size(root->type.dtype);
    for (int i = 0; i < k->cl->narg; i++)
        if (k->cl->arg[i].buffer == place.buffer && k->cl->arg[i].offset == bytes)
            return k->arg_ptr[i];
    VM_BUG("codegen: %%%d (%s) is not an argument of its kernel", root->node->id,
           ir_ops[root->node->op].name);
}

Val kb_view_ptr(Kb *k, const View *w) {
    return arg_at(k, w->root, w->offset);
}

Val kb_ptr(Kb *k, const IrValue *v) {
    View w;
    view_resolve((IrValue *)v, &w);
    return kb_view_ptr(k, &w);
}

/* Adjacent row dimensions that one stride walks are one dimension. */
static int merge_row_dims(const View *w, int64_t *dim, int64_t *stride) {
    int n = 0;
    for (int d = 0; d < w->type.rank - 1; d++) {
        if (w->type.dim[d] == 1) continue;
        if (n && stride[n - 1] == w->stride[d] * w->type.dim[d]) {
            dim[n - 1] *= w->type.dim[d];
            stride[n - 1] = w->stride[d];
        } else {
            dim[n] = w->type.dim[d];
            stride[n++] = w->stride[d];
        }
    }
    return n;
}

Val kb_row_offset(Kb *k, const View *w, Val row) {
    int64_t dim[IR_MAX_RANK], stride[IR_MAX_RANK];
    int n = merge_row_dims(w, dim, stride);
    Val offset = kb_i64(k, 0), rest = row;
    for (int d = n - 1; d >= 0; d--) {
        Val index = d == 0 ? rest : kb_urem(k, rest, dim[d]);
        if (stride[d]) offset = kb_add(k, offset, kb_mul(k, index, kb_i64(k, stride[d])));
        if (d) rest = kb_udiv(k, rest, dim[d]);
    }
    return offset;
}

Val kb_matrix_offset(Kb *k, const View *w, Val index) {
    View lead = *w; /* the leading dimensions as rows of one element each */
    lead.type.rank = w->type.rank - 1;
    lead.type.dim[lead.type.rank - 1] = 1;
    lead.stride[lead.type.rank - 1] = 0;
    return kb_row_offset(k, &lead, index);
}

static Val eval_view(Kb *k, const View *w, Pos pos) {
    bool bf16 = w->type.dtype == DT_bf16;
    LLVMTypeRef elem = kb_elem(k, w->type.dtype), vec = w->type.dtype == DT_i32 ? k->vi : k->vf;
    Val base = kb_view_ptr(k, w);
    int last = w->type.rank - 1;
    int64_t step = last < 0 ? 0 : w->stride[last];
    if (k->flat && view_is_dense(w) && ir_elems(&w->type) > 1) {
        Val at = kb_gep(k, elem, base, pos.col);
        return bf16 ? kb_load_bf16(k, at, pos.mask) : kb_load(k, vec, at, pos.mask);
    }
    Val at = k->flat ? base : kb_gep(k, elem, base, kb_row_offset(k, w, pos.row));
    if (last >= 0 && w->type.dim[last] == 1) step = 0;
    if (step == 0) {
        Val one = kb_splat(k, LLVMBuildLoad2(k->b, elem, at, ""));
        return bf16 ? kb_widen(k, one) : one;
    }
    at = kb_gep(k, elem, at, step == 1 ? pos.col : kb_mul(k, pos.col, kb_i64(k, step)));
    if (step == 1) return bf16 ? kb_load_bf16(k, at, pos.mask) : kb_load(k, vec, at, pos.mask);
    VM_CHECK(!bf16, "codegen: bf16 elements %lld apart", (long long)step);
    return kb_load_strided(k, vec, elem, at, step, pos.mask);
}

Val kb_gather_row(Kb *k, const IrNode *g, Val row) {
    const IrType *t = &g->out[0].type;
    int64_t inner = ir_rows(t) / t->dim[0];
    Val at = kb_gep(k, k->i32, kb_ptr(k, g->in[1]), kb_udiv(k, row, inner));
    Val index = LLVMBuildSExt(k->b, LLVMBuildLoad2(k->b, k->i32, at, ""), k->i64, "");
    Val from = k->rules->gather(g->op)(k, g, index);
    return inner > 1 ? kb_add(k, kb_mul(k, from, kb_i64(k, inner)), kb_urem(k, row, inner)) : from;
}

static Val eval_gather(Kb *k, const IrNode *g, Pos pos) {
    View w;
    view_resolve(g->in[0], &w);
    if (g->out[0].type.rank > 1)
        return eval_view(k, &w, (Pos){kb_gather_row(k, g, pos.row), pos.col, pos.mask});
    /* [T] -> [R]: every lane has its own index */
    Val index = kb_load(k, k->vi, kb_gep(k, k->i32, kb_ptr(k, g->in[1]), pos.col), pos.mask);
    Val from = LLVMBuildMul(k->b, k->rules->gather(g->op)(k, g, index),
                            kb_vi(k, (int32_t)w.stride[0]), "");
    bool is_f32 = w.type.dtype == DT_f32;
    return kb_load_indexed(k, is_f32 ? k->vf : k->vi, is_f32 ? k->f32 : k->i32, kb_view_ptr(k, &w),
                           from, pos.mask);
}

static Val eval_source(Kb *k, const Source *s, Pos pos) {
    Val row = s->row0 ? kb_sub(k, pos.row, s->row0) : pos.row;
    Val col = s->col0 ? kb_sub(k, pos.col, s->col0) : pos.col;
    Val at = kb_gep(k, k->f32, s->ptr, kb_add(k, kb_mul(k, row, s->ld), col));
    return kb_load(k, k->vf, at, NULL); /* scratch rows are padded to whole vectors */
}

static Val eval_member(Kb *k, const IrNode *n, Pos pos) {
    Val in[3] = {0};
    for (int i = 0; i < n->nin; i++) /* a key is no tensor of the space */
        if (ir_reads(n->op, i) & READ_VALUE) in[i] = kb_eval(k, n->in[i], pos);
    return k->rules->emit(n->op)(k, n, in, pos);
}

Val kb_eval(Kb *k, IrValue *v, Pos pos) {
    v = view_same_position(v);
    for (int i = 0; i < k->nmemo; i++)
        if (k->memo[i].value == v) return k->memo[i].v;
    Val r = NULL;
    for (int i = 0; i < k->nsource && !r; i++)
        if (k->source[i].value == v) r = eval_source(k, &k->source[i], pos);
    IrValue *root = view_root(v);
    if (r) {
    } else if (root->node->op == OP_const) {
        double c = ir_float(root->node, ATTR_const_value);
        r = v->type.dtype == DT_f32 ? kb_vf(k, c) : kb_vi(k, (int32_t)c);
    } else if (ir_ops[v->node->op].route == ROUTE_ELTWISE &&
               (plan_member(k->cl, v->node) >= 0 || fuse_is_inline(v->node))) {
        r = eval_member(k, v->node, pos);
    } else if (ir_ops[v->node->op].route == ROUTE_GATHER) {
        r = eval_gather(k, v->node, pos);
    } else {
        View w;
        VM_CHECK(view_resolve(v, &w), "codegen: operand %%%d is not a view", v->node->id);
        r = eval_view(k, &w, pos);
    }
    kb_bind(k, v, r);
    return r;
}

void kb_store_value(Kb *k, const IrValue *v, Val val, Pos pos) {
    if (!plan_is_stored(k->plan, v)) return;
    Val at = kb_add(k, kb_mul(k, pos.row, kb_i64(k, plan_place_of(k->plan, v).ld)), pos.col);
    if (k->flat) at = pos.col;
    at = kb_gep(k, kb_elem(k, v->type.dtype), arg_at(k, v, 0), at);
    if (v->type.dtype == DT_bf16)
        kb_store_bf16(k, val, at, pos.mask);
    else
        kb_store(k, val, at, pos.mask);
}

/* Does the member need the result of the kernel that walks the rows? */
static bool after_anchor(const Kb *k, const IrNode *n) {
    if (n == plan_row_kernel(k->cl)) return true;
    if (plan_member(k->cl, n) < 0) return false;
    for (int i = 0; i < n->nin; i++)
        if (after_anchor(k, view_root(n->in[i])->node)) return true;
    return false;
}

static bool in_set(const Kb *k, const IrNode *n, StoreSet set) {
    return set == STORE_ALL || after_anchor(k, n) == (set == STORE_AFTER_ANCHOR);
}

/* What is stored over a leaf may be what another member reads: everything is read first. */
static void store_updates(Kb *k, Pos pos) {
    Val *x = ARENA_ARRAY(k->arena, Val, k->cl->nstore);
    for (int i = 0; i < k->cl->nstore; i++) x[i] = kb_eval(k, k->cl->store[i], pos);
    for (int i = 0; i < k->cl->nstore; i++) kb_store_value(k, k->cl->store[i], x[i], pos);
}

void kb_store_members(Kb *k, StoreSet set, Pos pos) {
    if (k->cl->kind == VM_TASK_UPDATE && !k->cl->anchor) {
        store_updates(k, pos);
        return;
    }
    for (int i = 0; i < k->cl->nstore; i++) {
        IrValue *v = k->cl->store[i];
        if (in_set(k, v->node, set)) kb_store_value(k, v, kb_eval(k, v, pos), pos);
    }
}

void kb_store_arrived(Kb *k, Pos pos) {
    const PlanCluster *c = k->cl;
    if (c->ntail && c->anchor != plan_row_kernel(c) && plan_is_stored(k->plan, &c->anchor->out[0]))
        kb_store_value(k, &c->anchor->out[0], kb_eval(k, &c->anchor->out[0], pos), pos);
    kb_store_members(k, STORE_BEFORE_ANCHOR, pos);
}
