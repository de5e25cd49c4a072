/* The matrix micro-kernel: a register tile of R rows and V vectors, one loop over the inner
 * dimension.
 *
 *   void mk_RxV(ptr a_rows, i64 a_step, ptr b, i64 b_step, i64 count, ptr c_rows, i64 c_at,
 *               ptr init_rows, i64 init_at, ptr ahead)
 *
 * One function per tile shape and kind; every product calls it with its own strides, so it costs
 * its compile time once. Rows of a and c, and what the sums start from, come through pointers:
 * gathered rows are read in place, and the last, partial tile of a block repeats its last row,
 * which writes the same numbers twice. Accumulation over the inner dimension is in order. Tiles of
 * few columns have other bodies (narrow.c).
 *
 * Kinds are letters of the name: s for k takes one pointer to rows of a that lie side by side; b
 * multiplies pairs of bf16, a pair in the place of a float; z starts sums from zero and ignores
 * init_rows and init_at; p also asks for a cache line of `ahead` per inner position, which the
 * others ignore; t has an inner dimension of several runs (Micro.runs), and four more parameters:
 * i64 runs, i64 run_rows, ptr b_runs, i64 a_at. The sums stay in registers from run to run. */
#include "codegen/kernels/gemm.h"

static Val row_of(Kb *k, Val rows, int r) {
    return LLVMBuildLoad2(k->b, k->ptr, kb_gep(k, k->ptr, rows, kb_i64(k, r)), "row");
}

/* Vector v of a row of c or of what it starts from. */
static Val vector_at(Kb *k, Val row, Val at, int v) {
    return kb_gep(k, k->f32, row, kb_add(k, at, kb_i64(k, (int64_t)v * k->vl)));
}

/* A scalar of a, repeated; a vector of b. */
static Val splat_a(Kb *k, const Micro *m, Val row, Val at) {
    LLVMTypeRef type = m->bf16 ? k->i32 : k->f32;
    return kb_splat(k, LLVMBuildLoad2(k->b, type, kb_gep(k, type, row, at), ""));
}

static Val accumulate(Kb *k, const Micro *m, Val x, Val b, Val sum) {
    return m->bf16 ? kb_dot(k, sum, x, b) : kb_fma(k, x, b, sum);
}

/* sums += the run of the tile's rows a and of b. */
static void add_run(Kb *k, const Micro *m, const Val *a, Val b0, Val *sums) {
    int rows = m->tile.rows, vecs = m->tile.vectors, n = rows * vecs;
    Val carry[MAX_CARRY], bv[4];
    for (int i = 0; i < n; i++) carry[i] = sums[i];
    carry[n] = kb_i64(k, 0);     /* a's offset */
    carry[n + 1] = kb_i64(k, 0); /* b's offset */
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), m->count, 1, carry, n + 2);
    Val a_off = l.carry[n], b = kb_gep(k, k->f32, b0, l.carry[n + 1]);
    l.next[n] = kb_add(k, a_off, m->a_step);
    l.next[n + 1] = kb_add(k, l.carry[n + 1], m->b_step);
    for (int v = 0; v < vecs; v++)
        bv[v] = kb_load(k, m->bf16 ? k->vi : k->vf,
                        kb_gep(k, k->f32, b, kb_i64(k, (int64_t)v * k->vl)), NULL);
    if (m->ahead) kb_prefetch(k, m->ahead, kb_mul(k, l.i, kb_i64(k, MICRO_LINE)));
    for (int r = 0; r < rows; r++) {
        Val x = splat_a(k, m, a[r], a_off);
        for (int v = 0; v < vecs; v++)
            l.next[r * vecs + v] = accumulate(k, m, x, bv[v], l.carry[r * vecs + v]);
    }
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) sums[i] = l.carry[i];
}

/* Where the tile's rows of a begin: in the table at `rows`, or side by side from `first` on. */
static void tile_rows(Kb *k, const Micro *m, Val rows, Val first, Val *a) {
    for (int r = 0; r < m->tile.rows; r++)
        a[r] = m->side_by_side ? kb_gep(k, k->f32, first, kb_i64(k, r)) : row_of(k, rows, r);
}

/* Run after run. */
static void add_runs(Kb *k, const Micro *m, Val *sums) {
    int n = m->tile.rows * m->tile.vectors;
    Val a[16];
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), m->runs, 1, sums, n);
    Val rows = kb_gep(k, k->ptr, m->a_rows, kb_mul(k, l.i, m->run_rows)), first = NULL;
    if (m->side_by_side) first = kb_gep(k, k->f32, row_of(k, rows, 0), m->a_at);
    tile_rows(k, m, rows, first, a);
    Val at = LLVMBuildLoad2(k->b, k->i64, kb_gep(k, k->i64, m->b_runs, l.i), "");
    for (int i = 0; i < n; i++) l.next[i] = l.carry[i];
    add_run(k, m, a, kb_gep(k, k->f32, m->b, at), l.next);
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) sums[i] = l.carry[i];
}

static void micro_body(Kb *k, const Micro *m) {
    int rows = m->tile.rows, vecs = m->tile.vectors;
    Val a[16], sums[MAX_CARRY];
    if (!m->runs) tile_rows(k, m, m->a_rows, m->a_rows, a);
    for (int r = 0; r < rows; r++) {
        Val init = m->init_rows ? row_of(k, m->init_rows, r) : NULL;
        for (int v = 0; v < vecs; v++)
            sums[r * vecs + v] =
                init ? kb_load(k, k->vf, vector_at(k, init, m->init_at, v), NULL) : kb_vf(k, 0);
    }
    if (m->runs)
        add_runs(k, m, sums);
    else
        add_run(k, m, a, m->b, sums);
    for (int r = 0; r < rows; r++) {
        Val c = row_of(k, m->c_rows, r);
        for (int v = 0; v < vecs; v++)
            kb_store(k, sums[r * vecs + v], vector_at(k, c, m->c_at, v), NULL);
    }
}

enum { PARAMS = 10, PARAMS_OF_RUNS = 14 };

static LLVMTypeRef micro_type(Kb *k, bool runs) {
    LLVMTypeRef param[] = {k->ptr, k->i64, k->ptr, k->i64, k->i64, k->ptr, k->i64,
                           k->ptr, k->i64, k->ptr, k->i64, k->i64, k->ptr, k->i64};
    return LLVMFunctionType(LLVMVoidTypeInContext(k->ctx), param, runs ? PARAMS_OF_RUNS : PARAMS,
                            0);
}

typedef struct MicroSpec {
    Tile tile;
    bool side_by_side, bf16, init, ahead, runs;
} MicroSpec;

static void micro_function(Kb *k, const void *ctx) {
    const MicroSpec *spec = ctx;
    Val p[PARAMS_OF_RUNS] = {NULL};
    LLVMGetParams(k->fn, p);
    Micro m = {.tile = spec->tile,
               .side_by_side = spec->side_by_side,
               .bf16 = spec->bf16,
               .a_rows = p[0],
               .a_step = p[1],
               .b = p[2],
               .b_step = p[3],
               .count = p[4],
               .c_rows = p[5],
               .c_at = p[6],
               .init_rows = spec->init ? p[7] : NULL,
               .init_at = p[8],
               .ahead = spec->ahead ? p[9] : NULL,
               .runs = p[10],
               .run_rows = p[11],
               .b_runs = p[12],
               .a_at = p[13]};
    if (spec->tile.narrow)
        gemm_narrow_body(k, &m);
    else
        micro_body(k, &m);
    LLVMBuildRetVoid(k->b);
}

static Val micro(Kb *k, const Micro *call) {
    MicroSpec spec = {call->tile,          call->side_by_side, call->bf16, call->init_rows != NULL,
                      call->ahead != NULL, call->runs != NULL};
    const char *name =
        arena_printf(k->arena, "m%c%s%s%s%s_%dx%d", spec.side_by_side ? 's' : 'k',
                     spec.bf16 ? "b" : "", spec.init ? "" : "z", spec.ahead ? "p" : "",
                     spec.runs ? "t" : "", spec.tile.rows, spec.tile.vectors);
    if (spec.tile.narrow) name = arena_printf(k->arena, "%s_%d", name, spec.tile.narrow);
    return kb_helper(k, name, micro_type(k, spec.runs), micro_function, &spec);
}

void gemm_micro(Kb *k, const Micro *m) {
    Val none = LLVMConstNull(k->ptr), zero = kb_i64(k, 0);
    Val arg[] = {m->a_rows,
                 m->a_step,
                 m->b,
                 m->b_step,
                 m->count,
                 m->c_rows,
                 m->c_at,
                 m->init_rows ? m->init_rows : none,
                 m->init_rows ? m->init_at : zero,
                 m->ahead ? m->ahead : none,
                 m->runs,
                 m->run_rows,
                 m->b_runs,
                 m->a_at ? m->a_at : zero};
    LLVMBuildCall2(k->b, micro_type(k, m->runs), micro(k, m), arg,
                   m->runs ? PARAMS_OF_RUNS : PARAMS, "");
}
