/* The kernel builder: what lowering rules are written with. Internal to this folder.
 *
 * A kernel is one LLVM function `void k(ptr args, i64 begin, i64 end, ptr scratch)`. Inside, code
 * is vectors of `vl` floats (or i32) along the last dimension of a flattened [rows, cols] space.
 * Positions are SSA values; where a row's end does not fill a vector, the position carries a mask.
 * Results never depend on masked lanes, and reductions see a neutral element there.
 *
 * Work is cut into items by the problem's size only; a call computes the items [begin, end). A
 * kernel may have several runs of items (kb_share each), numbered one after the other. */
#ifndef VMOEC_CODEGEN_BUILD_EMIT_H
#define VMOEC_CODEGEN_BUILD_EMIT_H

#include <llvm-c/Core.h>

#include "codegen/plan/plan.h"

typedef LLVMValueRef Val;

/* Where evaluation happens. mask NULL: every lane is inside. */
typedef struct Pos {
    Val row, col; /* i64 */
    Val mask;     /* <vl x i1> or NULL */
} Pos;

/* A value that lies in memory other than its buffer (scratch): dense rows of `ld` floats starting
 * at (row0, col0). */
typedef struct Source {
    const IrValue *value;
    Val ptr, row0, col0; /* row0, col0 NULL: 0 */
    Val ld;
} Source;

enum { MAX_SOURCES = 8 };

typedef struct Kb Kb;
struct CgUnit;

/* What the builder needs of the kernels, which are written with it: handed in by whoever makes a
 * unit (codegen/kernels/rules.c), so that this folder knows none of them. */
typedef Val (*CgEmit)(Kb *, const IrNode *, Val *, Pos);
typedef Val (*CgGatherRow)(Kb *, const IrNode *,
                           Val row); /* the row of operand 0 that row `row` of the result is */
typedef void (*RowBody)(Kb *k, Val row, void *ctx);
typedef struct CgRules {
    void (*lower)(Kb *k); /* the cluster k->cl */
    CgEmit (*emit)(OpCode op);
    CgGatherRow (*gather)(OpCode op);
    void (*rows_of_product)(Kb *k, RowBody body, void *ctx); /* kb_rows behind a product */
} CgRules;

struct Kb {
    Arena *arena;
    const CgTarget *target;
    Plan *plan;
    PlanCluster *cl;
    const CgRules *rules;
    /* The module in which a shared function is to be made; NULL: it was made before. Without a
     * unit, all are made in this module. */
    LLVMModuleRef (*helper_module)(struct CgUnit *u, const char *name);
    struct CgUnit *unit;
    LLVMContextRef ctx;
    LLVMModuleRef mod;
    LLVMBuilderRef b;
    Val fn, args, begin, end, scratch;
    int64_t items; /* of all runs so far */
    int vl;
    LLVMTypeRef f32, i32, i64, i1, ptr, vf, vi, vm; /* scalars; vectors of f32, i32, i1 */
    int64_t scratch_bytes;                          /* high water of kb_scratch */
    Val *arg_ptr;                                   /* loaded in the entry block */
    bool flat; /* positions are (0, element) of dense tensors */
    /* values already emitted at the current position */
    struct {
        const IrValue *value;
        Val v;
    } memo[PLAN_KEPT_VALUES];
    int nmemo;
    Source source[MAX_SOURCES];
    int nsource;
};

/* ---- kernel.c: functions, constants, loops, scratch ---- */

/* Starts and ends the function of a cluster; kb_begin leaves the builder in the body. */
void kb_begin(Kb *k, const char *name);
void kb_end(Kb *k);

/* A function that kernels share, as a value to call: made once per unit, by `body`, which finds
 * k->fn and the builder at its entry. Its name must say everything that its body depends on. */
typedef void (*HelperBody)(Kb *k, const void *ctx);
Val kb_helper(Kb *k, const char *name, LLVMTypeRef type, HelperBody body, const void *ctx);

/* Vectors of `lanes` numbers from now on: a target's own, or twice that for elementwise code (not
 * on targets with CG_SCALE, whose instruction takes one vector). */
void kb_set_lanes(Kb *k, int lanes);
Val kb_i64(Kb *k, int64_t v);
Val kb_i32(Kb *k, int32_t v);
Val kb_f32(Kb *k, double v);
Val kb_splat(Kb *k, Val scalar); /* to vl lanes */
Val kb_vf(Kb *k, double v);      /* constant vectors */
Val kb_vi(Kb *k, int32_t v);
Val kb_lanes(Kb *k);                 /* <0, 1, .. vl-1> i32 */
Val kb_mask_below(Kb *k, Val count); /* lanes < count (i64) */
Val kb_add(Kb *k, Val a, Val b);     /* i64 */
Val kb_sub(Kb *k, Val a, Val b);
Val kb_mul(Kb *k, Val a, Val b);
Val kb_fadd(Kb *k, Val a, Val b); /* f32, scalars or vectors */
Val kb_fsub(Kb *k, Val a, Val b);
Val kb_fmul(Kb *k, Val a, Val b);
Val kb_fdiv(Kb *k, Val a, Val b);
/* a b + c of f32 vectors: rounded once where the target has CG_FUSED, else twice. */
Val kb_fma(Kb *k, Val a, Val b, Val c);
Val kb_udiv(Kb *k, Val a, int64_t b); /* folds 1 */
Val kb_urem(Kb *k, Val a, int64_t b);
Val kb_min(Kb *k, Val a, Val b); /* signed i64 */
Val kb_max(Kb *k, Val a, Val b);
Val kb_gep(Kb *k, LLVMTypeRef elem, Val base, Val index);
Val kb_call(Kb *k, const char *intrinsic, LLVMTypeRef overload, Val *args, int n);

/* A counted loop; values carried around it. Runs zero times when from >= to. */
enum { MAX_CARRY = 40 };
typedef struct Loop {
    LLVMBasicBlockRef head, body, exit;
    Val i, to, step;
    Val carry[MAX_CARRY]; /* inside: current values; after kb_loop_end: final values */
    Val next[MAX_CARRY];  /* set before kb_loop_end; NULL: unchanged */
    int ncarry;
} Loop;
void kb_loop(Kb *k, Loop *l, Val from, Val to, int64_t step, const Val *init, int ncarry);
void kb_loop_end(Kb *k, Loop *l);

/* Calls body for 0, step, .. below end. Short walks are written out; in long ones `at` is a loop's
 * variable, so that code does not grow with a model's sizes. */
typedef void (*EachBody)(Kb *k, Val at, void *ctx);
void kb_each(Kb *k, int64_t end, int64_t step, EachBody body, void *ctx);

/* if (cond) { ... } without results */
typedef struct If {
    LLVMBasicBlockRef then, end;
} If;
void kb_if(Kb *k, If *f, Val cond);
void kb_if_end(Kb *k, If *f);

/* A run of `items` items: those of this call are [*begin, *end), counted from 0; maybe none. */
void kb_share(Kb *k, int64_t items, Val *begin, Val *end);
/* A run of one item: everything until kb_if_end. */
void kb_single(Kb *k, If *f);

/* `bytes` of this thread's scratch, 64-byte aligned; lives until the kernel ends. */
Val kb_scratch(Kb *k, int64_t bytes);

/* ---- access.c: memory as it is ---- */

/* Vector access to raw float, i32 or i16 memory; masked when mask is not NULL (other lanes read 0).
 */
Val kb_load(Kb *k, LLVMTypeRef vec, Val ptr, Val mask);
void kb_store(Kb *k, Val v, Val ptr, Val mask);
/* ptr[i] of i32 memory, as i64. */
Val kb_load_i32(Kb *k, Val ptr, Val i);
void kb_store_i32(Kb *k, Val v, Val ptr, Val i);
/* Lane l reads ptr[index[l]]; index is <vl x i32>. */
Val kb_load_indexed(Kb *k, LLVMTypeRef vec, LLVMTypeRef elem, Val ptr, Val index, Val mask);
/* Lane l reads ptr[l * stride]. */
Val kb_load_strided(Kb *k, LLVMTypeRef vec, LLVMTypeRef elem, Val ptr, int64_t stride, Val mask);

/* Asks for the cache line of ptr[at]; it may lie past the tensor. _l2: into the second level only.
 */
void kb_prefetch(Kb *k, Val ptr, Val at);
void kb_prefetch_l2(Kb *k, Val ptr, Val at);
/* The lines of ptr[at .. at + floats). */
void kb_prefetch_run(Kb *k, Val ptr, Val at, int64_t floats);
void kb_prefetch_run_l2(Kb *k, Val ptr, Val at, int64_t floats);

/* ---- eval.c: reading and writing at a position ---- */

/* Forgets what was emitted at the previous position. Call whenever the position changes. */
void kb_new_pos(Kb *k);
/* From now on, at this position, `v` is `val`. */
void kb_bind(Kb *k, const IrValue *v, Val val);
/* Until kb_drop_sources, `v` is read from other memory. */
void kb_source(Kb *k, Source s);
void kb_drop_sources(Kb *k);

/* The SIMD value of v at pos: follows members, views, gathers and constants. */
Val kb_eval(Kb *k, IrValue *v, Pos pos);

/* Pointer to the argument for v's buffer (v must be a stored or leaf value, or a view with
 * strides). */
Val kb_ptr(Kb *k, const IrValue *v);
Val kb_view_ptr(Kb *k, const View *w); /* at the view's offset */
/* Element offset (i64) of flattened row `row` of a view with its last dimension at 0. */
Val kb_row_offset(Kb *k, const View *w, Val row);
/* Element offset of matrix `index` of a view whose last two dimensions are the matrix. */
Val kb_matrix_offset(Kb *k, const View *w, Val index);
/* The flattened row of a gather's operand 0 that flattened row `row` of its result is (rank > 1).
 */
Val kb_gather_row(Kb *k, const IrNode *gather, Val row);

/* Stores the elementwise members that others read; those that need the anchor's result, or those
 * that do not.
 */
typedef enum StoreSet { STORE_ALL, STORE_BEFORE_ANCHOR, STORE_AFTER_ANCHOR } StoreSet;
void kb_store_members(Kb *k, StoreSet set, Pos pos);
/* In a kernel that walks rows: stores what is there before it, a leading product's result included.
 */
void kb_store_arrived(Kb *k, Pos pos);
/* Stores val as element pos of v if v has a buffer. */
void kb_store_value(Kb *k, const IrValue *v, Val val, Pos pos);

/* ---- bf16.c: bfloat16 ---- */

LLVMTypeRef kb_elem(Kb *k, DType d); /* what a tensor's elements are in memory (bf16: i16) */
/* f32 vectors from and to bf16 memory; storing rounds. */
Val kb_load_bf16(Kb *k, Val ptr, Val mask);
void kb_store_bf16(Kb *k, Val x, Val ptr, Val mask);
Val kb_widen(Kb *k, Val half); /* <vl x i16> to f32 */
/* Two f32 vectors rounded and laid side by side, lane by lane: <vl x i32> of pairs. */
Val kb_pair(Kb *k, Val even, Val odd);
/* One f32 vector rounded: its vl/2 pairs of neighbours in the lower words, typed f32 for
 * kb_transpose. */
Val kb_round_row(Kb *k, Val x);
/* Two f32 vectors rounded, one after the other: <2 vl x i16>. */
Val kb_round_two(Kb *k, Val lo, Val hi);
/* sum + dot products of pairs: a, b <vl x i32> */
Val kb_dot(Kb *k, Val sum, Val a, Val b);
/* Columns [col0, end) of two bf16 rows, side by side, to words at `to` (whole vectors are written).
 * odd NULL: zeros. */
void kb_pair_rows(Kb *k, Val even, Val odd, Val col0, Val end, Val to);

/* ---- rowloop.c: walking the columns of a row ---- */

/* Calls body for every vector of a row of `cols` columns: a loop over whole vectors, then the
 * masked rest. carry: values carried through, updated in place. */
typedef void (*ColsBody)(Kb *k, Pos pos, Val *carry, void *ctx);
void kb_cols(Kb *k, Val row, int64_t cols, Val *carry, int ncarry, ColsBody body, void *ctx);

/* A run of items of some thousand elements each: body for every row of this call's items. Behind a
 * product (matmul.c) an item is a block of its rows, which the product has just computed into
 * scratch. */
void kb_rows(Kb *k, int64_t rows, int64_t cols, RowBody body, void *ctx);

/* A run of items over n elements in one row: body at (0, element), the masked rest as an item of
 * its own. */
void kb_flat(Kb *k, int64_t n, ColsBody body, void *ctx);

/* Replaces masked-off lanes by `neutral`. */
Val kb_keep(Kb *k, Val v, Pos pos, Val neutral);
/* Transposes a square of vl vectors in place. */
void kb_transpose(Kb *k, Val *row);
/* Horizontal reductions in a fixed tree order; scalars. */
Val kb_hsum(Kb *k, Val v);
Val kb_hmax(Kb *k, Val v); /* as kb_fmax */
/* The larger of two numbers, a of equals; NaN if one is: a comparison alone would drop it. */
Val kb_fmax(Kb *k, Val a, Val b);

/* ---- math.c: own functions of vectors; error bounds at their definitions ---- */
Val kb_exp(Kb *k, Val x);
Val kb_exp2(Kb *k, Val x); /* x <= 127 */
Val kb_log(Kb *k, Val x);
Val kb_log1p(Kb *k, Val x);
Val kb_tanh(Kb *k, Val x);
Val kb_erf(Kb *k, Val x);
Val kb_erfinv(Kb *k, Val x);
Val kb_sigmoid(Kb *k, Val x);
Val kb_gelu_sigmoid(Kb *k, Val x, Val *slope); /* what gelu_tanh multiplies x by; its slope */
Val kb_normal_cdf(Kb *k, Val x, Val *gauss);   /* Phi(x), and exp(-x^2/2), which comes with it */
Val kb_rsqrt(Kb *k, Val x);
Val kb_uniform(Kb *k, Val key0, Val key1, Val element); /* <vl x i32> elements -> [0,1) */

#endif
