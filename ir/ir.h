/* The IR of vmoec: front door of this folder.
 *
 * A graph is a list of nodes in topological order; every node has one op, typed attributes,
 * operands (values) and results (values). Types are static: element type and dimensions. There are
 * no regions and no control flow. Which ops exist is said in ops.def and nowhere else.
 *
 * Ownership: everything belongs to the arena the graph was created with, unless stated.
 * Errors: building an ill-formed node is our bug (VM_BUG aborts). User mistakes are found before,
 * by the front end, which asks ir_infer() and reports its message as a diagnostic. Text that cannot
 * be read and graphs that do not verify come back as messages.
 *
 * Alphabet of shapes: B batch, T tokens, D width, H hidden, E experts, K chosen per token,
 * R routed rows (T*K), N sequence length. */
#ifndef VMOEC_IR_IR_H
#define VMOEC_IR_IR_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/text.h"

/* ---- types (type.c) ------------------------------------------------------------------------ */

/* bf16: the upper half of an f32; only what `narrow` makes and matrix products read. */
typedef enum DType { DT_f32, DT_i32, DT_bf16, DT_COUNT } DType;
enum { IR_MAX_RANK = 6 };

typedef struct IrType {
    DType dtype;
    int rank; /* 0: scalar */
    int64_t dim[IR_MAX_RANK];
} IrType;

IrType ir_type(DType dtype, int rank, const int64_t *dim);
#define IR_TYPE(dtype, ...)                                                                        \
    ir_type(dtype, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                      \
            (const int64_t[]){__VA_ARGS__})
IrType ir_scalar(DType dtype);
int64_t ir_elems(const IrType *t);
int64_t ir_rows(const IrType *t); /* product of all but the last dimension; 1 for rank 0 */
int64_t ir_cols(const IrType *t); /* last dimension; 1 for rank 0 */
bool ir_type_equal(const IrType *a, const IrType *b);
bool ir_shape_equal(const IrType *a, const IrType *b);
const char *ir_dtype_name(DType d);
int ir_dtype_size(DType d);                          /* bytes */
const char *ir_type_text(Arena *a, const IrType *t); /* "f32[64,192]" */

/* ---- op table (ops.c, from ops.def) ---------------------------------------------------------- */

typedef enum OpCode {
#define OP(name, ...) OP_##name,
#include "ir/ops.def"
    OP_COUNT
} OpCode;

/* One id per ATTR row: ATTR_topk_k. */
typedef enum AttrId {
#define ATTR(op, name, ...) ATTR_##op##_##name,
#include "ir/ops.def"
    ATTR_COUNT
} AttrId;

typedef enum OpStage { STAGE_CORE, STAGE_MODEL } OpStage;
typedef enum OpRoute {
    ROUTE_LEAF,
    ROUTE_VIEW,
    ROUTE_ELTWISE,
    ROUTE_GATHER,
    ROUTE_KERNEL,
    ROUTE_EXPAND
} OpRoute;
typedef enum OpGrad { GRAD_YES, GRAD_STOP, GRAD_VIA, GRAD_END } OpGrad;
enum {
    OPF_EFFECT = 1,
    OPF_EPI = 2,
    OPF_PRO = 4,
    OPF_COMMUTE = 8,
    OPF_LEAD = 16,
    OPF_TAIL = 32,
    OPF_FRONT = 64,
    OPF_SPREAD = 128,
    OPF_SPARE = 256
};
/* How an operand is read: one of the first five, and the others with it. */
enum {
    READ_NONE = 0,
    READ_VALUE = 1,
    READ_ROWS = 2,
    READ_STRIDED = 4,
    READ_LINES = 8,
    READ_DENSE = 16,
    READ_FACTOR = 32,
    READ_PACKED = 64,
    IR_MAX_READS = 6 /* operands that a row of ops.def tells apart */
};
typedef enum AttrKind { ATTR_KIND_INT, ATTR_KIND_FLOAT, ATTR_KIND_STR, ATTR_KIND_INTS } AttrKind;

typedef struct AttrInfo {
    OpCode op;
    const char *name;
    AttrKind kind;
    bool required;
    const char *dflt; /* as written in ops.def */
    const char *doc;
} AttrInfo;

typedef struct OpInfo {
    const char *name;
    int min_in, max_in, nout;
    OpStage stage;
    OpRoute route;
    OpGrad grad;
    unsigned flags;
    bool work;
    unsigned char reads[IR_MAX_READS]; /* ask ir_reads */
    const char *signature, *doc;
    AttrId first_attr;
    int nattr;
} OpInfo;

extern const OpInfo ir_ops[OP_COUNT];
extern const AttrInfo ir_attrs[ATTR_COUNT];
/* OP_COUNT when there is none of that name. */
OpCode ir_op_by_name(const char *name);
/* ATTR_COUNT when the op has none of that name. */
AttrId ir_attr_by_name(OpCode op, const char *name);
/* The attribute `bf16` of a matrix product or of attention; ATTR_COUNT: the op has none. */
AttrId ir_bf16_attr(OpCode op);
/* How the op reads operand i: READ_ bits. */
unsigned ir_reads(OpCode op, int i);

/* ---- graph (graph.c) ----------------------------------------------------------------------- */

typedef struct IrNode IrNode;
typedef struct IrGraph IrGraph;

typedef struct IrValue {
    IrType type;
    IrNode *node; /* who makes it */
    int index;    /* which result */
} IrValue;

typedef struct IrLoc { /* where the user wrote it; file NULL when unknown */
    const char *file;
    int line, col;
} IrLoc;

typedef struct IrAttr {
    bool set; /* false: the default applies (value is filled in all the same) */
    int64_t i;
    double f;
    const char *s;
    int n;
    const int64_t *v;
} IrAttr;

struct IrNode {
    OpCode op;
    int id; /* position in the list after ir_renumber */
    int nin, nout;
    IrValue **in;
    IrValue *out; /* nout values */
    IrAttr *attr; /* one per ATTR row of the op, in order */
    IrLoc loc;
    int cluster; /* set by fuse; -1 before */
    IrNode *prev, *next;
    int mark;  /* scratch for passes; no meaning between them */
    void *aux; /* scratch for passes */
};

/* The operand, a weight or state, that result r of an op with EFFECT is stored over; of others
 * NULL.
 */
IrValue *ir_written(const IrNode *n, int r);

/* Does this product or attention round its operands to bf16? Which of them: not keys, offsets,
 * logsumexps. */
bool ir_rounds_operands(const IrNode *n);
bool ir_rounds_operand(const IrNode *n, int i);

typedef enum IrOutKind {
    OUT_output,
    OUT_loss,
    OUT_aux,
    OUT_metric,
    OUT_grad,
    OUT_update,  /* "state.<name>": what a state becomes in a training step */
    OUT_offsets, /* of a route that is measured: where each expert's rows begin, */
    OUT_choices, /* the choices that are served, */
    OUT_logits,  /* and what its gate is the softmax of */
    OUT_KIND_COUNT
} IrOutKind;

/* A named result of the graph. A training objective is the sum of weight * value over loss and aux.
 */
typedef struct IrOut {
    IrOutKind kind;
    const char *name;
    IrValue *value;
    double weight; /* loss, aux; 1 otherwise */
    IrLoc loc;
} IrOut;

/* Where building goes when the shape rules refuse a node, instead of aborting (builder.c). */
typedef struct IrGuard {
    jmp_buf env;
    const char *message; /* in the graph's arena */
    IrLoc where;         /* of the builder */
} IrGuard;

struct IrGraph {
    Arena *arena;
    const char *name;
    IrNode *first, *last;
    int nnodes;
    IrOut *out;
    int nout, cap_out;
    struct Map *leaf; /* graph.c's index of named leaves */
    IrGuard *guard;   /* NULL: a node that cannot be built is our bug */
};

IrGraph *ir_graph_create(Arena *a, const char *name);
IrGraph *ir_graph_clone(Arena *a, const IrGraph *g); /* deep; ids renumbered */

/* A copy of a node of g that is no leaf, same operands, attributes and types, inserted before `at`.
 */
IrNode *ir_clone_node(IrGraph *g, const IrNode *n, IrNode *at);

/* Leaf lookups by name attribute; NULL when absent. */
IrNode *ir_find_leaf(const IrGraph *g, OpCode op, const char *name);
/* A weight that training changes by its gradient; and one that its update alone changes. */
bool ir_learns(const IrNode *n);
bool ir_is_state(const IrNode *n);
IrOut *ir_find_out(const IrGraph *g, const char *name); /* not among those of measured routes */

/* Adds or (same kind and name) replaces a named result. */
void ir_add_out(IrGraph *g, IrOutKind kind, const char *name, IrValue *v, double weight, IrLoc loc);
const char *ir_out_kind_name(IrOutKind k);

/* Number nodes 0.. in list order. */
void ir_renumber(IrGraph *g);
/* Every use of `from` (operands and graph outputs) becomes `to`. */
void ir_replace_uses(IrGraph *g, IrValue *from, IrValue *to);
void ir_remove(IrGraph *g, IrNode *n); /* it must have no uses */
/* Remove nodes that reach no output; input and param leaves stay unless drop_leaves; EFFECT stays.
 */
bool ir_dce(IrGraph *g, bool drop_leaves);

#define IR_FOR(n, g) for (IrNode *n = (g)->first; n; n = n->next)

/* Attribute access, checked against the op (a wrong id is our bug). */
int64_t ir_int(const IrNode *n, AttrId id);
double ir_float(const IrNode *n, AttrId id);
const char *ir_str(const IrNode *n, AttrId id);
int ir_ints(const IrNode *n, AttrId id, const int64_t **v); /* returns the count */
void ir_set_int(IrNode *n, AttrId id, int64_t v);
void ir_set_float(IrNode *n, AttrId id, double v);
void ir_set_str(IrGraph *g, IrNode *n, AttrId id, const char *s);
void ir_set_ints(IrGraph *g, IrNode *n, AttrId id, const int64_t *v, int count);

/* ---- shape rules (shape.c, shape_moe.c: shape_<op>) ------------------------------------------ */

/* Fills the result types of n from operands and attributes. NULL when fine, otherwise a message for
 * the user ("top_k asks for 4 of 2 experts") in arena a. Leaves have their types set by the builder
 * already. Never aborts whatever the operands are. */
const char *ir_infer(Arena *a, IrNode *n);

/* ---- work (work.c: work_<op>) ---------------------------------------------------------------- */

/* Kinds of matrix products, from products.def. */
typedef enum IrProduct {
#define PRODUCT(name, doc) IR_PRODUCT_##name,
#include "ir/products.def"
    IR_PRODUCT_COUNT
} IrProduct;
extern const char *const ir_product_name[IR_PRODUCT_COUNT];

/* What a node multiplies: `count` products of m x k by k x n. */
typedef struct IrWork {
    /* q k^T and what is made of its result times v, per head: m queries, n keys, k is a head's
     * size. All below but macs, sizes, left (q) and right (k) is of products alone. */
    bool attention;
    bool depthwise; /* every channel by itself: no product of matrices; macs, left, right alone */
    IrProduct product;
    double macs;    /* useful multiplications of the whole node: nothing that is computed again */
    double padding; /* of them, those with padding around images, which the field counts */
    int64_t count, m, n, k;
    int64_t run;     /* so many of the k inner positions follow each other in memory; 0: all */
    int left, right; /* the operands that are multiplied */
    int bias;        /* the operand that is added to the result; -1: none */
    bool ta, tb;     /* left is stored k x m, right n x k */
    bool shared;     /* right is one matrix for all rows of left */
    /* Above 0: rows are grouped by so many experts. Those of all are counted together: in m, or in
     * k when left is turned. `offsets` is the operand that says whose they are. */
    int64_t experts;
    int offsets;
} IrWork;

/* What n multiplies. False, and all zero: nothing; elementwise work does not count. */
bool ir_work(const IrNode *n, IrWork *w);
/* The same, but false for what is no product of matrices: attention, depthwise convolutions. */
bool ir_work_product(const IrNode *n, IrWork *w);

/* ---- convolutions (conv.c) ----------------------------------------------------------------- */

/* Sizes of a convolution, a pooling, or a gradient of one: image [batch,h,w,c], kernel [kh,kw],
 * result [batch,oh,ow,o]; c and o are those of all groups. */
typedef struct IrConv {
    int64_t batch, h, w, c, oh, ow, o, kh, kw, stride;
    int64_t top, left, bottom, right; /* zeros around the image */
    int64_t groups, experts;          /* experts 0: one set of weights for all images */
    int64_t parts;                    /* of a weight gradient */
    int offsets;                      /* the operand that says whose images are; -1: none */
} IrConv;
/* n is one of the ops conv*, depthwise*, max_pool*, with legal types. */
IrConv ir_conv_of(const IrNode *n);
/* How many results of `size` inputs and `pad` zeros; below 1: there are none. */
int64_t ir_conv_results(int64_t size, int64_t pad, int64_t kernel, int64_t stride);
/* Pairs of a result and a kernel element whose pixel lies inside the image. */
int64_t ir_conv_meetings(const IrConv *c);

/* ---- builder (builder.c) ------------------------------------------------------------------- */

/* Appends nodes to a graph (or before `at`). Copies of loc go on every node. */
typedef struct IrBuilder {
    IrGraph *g;
    IrNode *at; /* insert before this node; NULL: at the end */
    IrLoc loc;
    const char *error; /* set by ir_try only */
} IrBuilder;

IrBuilder ir_builder(IrGraph *g);

/* An attribute for ir_op/ir_try: use the A_ macros. */
typedef struct AttrArg {
    AttrId id;
    IrAttr v;
} AttrArg;
#define A_INT(id_, x) ((AttrArg){ATTR_##id_, {.set = true, .i = (x)}})
#define A_FLOAT(id_, x) ((AttrArg){ATTR_##id_, {.set = true, .f = (x)}})
#define A_STR(id_, x) ((AttrArg){ATTR_##id_, {.set = true, .s = (x)}})
#define A_INTS(id_, x, count) ((AttrArg){ATTR_##id_, {.set = true, .v = (x), .n = (count)}})

/* Builds a node; ill-formed is our bug. Returns result 0 (others: result->node->out[i]). */
IrValue *ir_op(IrBuilder *b, OpCode op, IrValue *const *in, int nin, const AttrArg *attr,
               int nattr);
/* Same, but NULL with b->error set when the shape rule refuses (nothing is added). */
IrValue *ir_try(IrBuilder *b, OpCode op, IrValue *const *in, int nin, const AttrArg *attr,
                int nattr);
/* IR_OP(b, matmul, VALS(x, w), ATTRS(A_INT(matmul_tb, 1))) */
#define VALS(...)                                                                                  \
    (IrValue *const[]){__VA_ARGS__},                                                               \
        (int)(sizeof((IrValue *const[]){__VA_ARGS__}) / sizeof(IrValue *))
#define ATTRS(...)                                                                                 \
    (const AttrArg[]){__VA_ARGS__}, (int)(sizeof((const AttrArg[]){__VA_ARGS__}) / sizeof(AttrArg))
#define NO_VALS NULL, 0
#define NO_ATTRS NULL, 0
#define IR_OP(b, name, ...) ir_op((b), OP_##name, __VA_ARGS__)

/* Leaves. Strings are copied. ir_param returns the existing node's value when the name is taken and
 * the type agrees (a type that differs is our bug). */
IrValue *ir_input(IrBuilder *b, const char *name, IrType t);
IrValue *ir_param(IrBuilder *b, const char *name, IrType t, const char *init,
                  const char *init_stream, bool decay);
IrValue *ir_state(IrBuilder *b, const char *name, IrType t);
IrValue *ir_rng_key(IrBuilder *b, const char *stream);
IrValue *ir_const(IrBuilder *b, double value, IrType t); /* splat */

/* A table; one node for equal `values`, whose type they tell. */
IrValue *ir_table(IrBuilder *b, const char *values);

/* "sincos_2d(12,12,192)" -> its three numbers. False: not of that form, or out of range (each at
 * least 1, dim a multiple of 4, at most 2^31 values). */
bool ir_table_sincos_2d(const char *values, int64_t *rows, int64_t *cols, int64_t *dim);

/* Shorthands used by gradient and expansion rules. */
IrValue *ir_unary(IrBuilder *b, OpCode op, IrValue *x);
IrValue *ir_binary(IrBuilder *b, OpCode op, IrValue *x, IrValue *y);
IrValue *ir_scale(IrBuilder *b, IrValue *x, double c);               /* x * const */
IrValue *ir_reshape(IrBuilder *b, IrValue *x, const IrType *like);   /* x itself if equal already */
IrValue *ir_broadcast(IrBuilder *b, IrValue *x, const IrType *like); /* x itself if equal already */
IrValue *ir_sum_axes(IrBuilder *b, IrValue *x, const int64_t *axes, int n);
IrValue *ir_slice(IrBuilder *b, IrValue *x, int axis, int64_t start, int64_t size);
/* Sum x down to the shape `to` that was broadcast to x's shape. */
IrValue *ir_unbroadcast(IrBuilder *b, IrValue *x, const IrType *to);

/* ---- text (print.c, read.c) ------------------------------------------------------------------ */
/*
 * graph @classifier {
 *   %0 = input {name = "image"} : f32[128,1,28,28]
 *   %1 = param {name = "classifier.gate.weight", init = "normal(0.02)"} : f32[192,8]
 *   %4, %5 = topk %3 {k = 2} : f32[64,2], i32[64,2] @3          ; tiny.vmoe:13:9
 *   loss "cross_entropy" %9 {weight = 1}
 *   output "logits" %7
 * }
 * A value is %<number>, numbered in order of appearance over results; `@3` is the cluster (absent
 * when -1); locations are comments. Attributes at their default are not printed, unless required.
 * Numbers print so that they read back to the same bits. print(read(x)) == x for printed text. */

void ir_print(Text *t, const IrGraph *g, bool with_locs);
const char *ir_to_text(Arena *a, const IrGraph *g); /* without locations */

/* Reads the first graph of the text; NULL and a message "name:line:col: ..." on any mistake. Types
 * are inferred again and must equal the written ones. */
IrGraph *ir_read(Arena *a, const char *text, const char *name, const char **error);

/* The op reference as Markdown (docs/ops.md). */
void ir_print_reference(FILE *f);
void ir_print_initialisers(FILE *f); /* the table in docs/language.md */

/* ---- verifier (verify.c) --------------------------------------------------------------------- */

/* NULL when g is legal: operands precede users and belong to the graph, arity, attribute kinds and
 * ranges, result types equal to ir_infer's, stage (allow_model false: only CORE ops), outputs valid
 * and scalar f32 for loss, aux and metric, names unique. Otherwise a message naming the node. */
const char *ir_verify(Arena *a, const IrGraph *g, bool allow_model);

#endif
