/* The plan of one program: which clusters run in which order, and where every buffer lives.
 * Internal to this folder. Made by plan.c and memory.c from a fused graph; read by the lowering
 * rules. */
#ifndef VMOEC_CODEGEN_PLAN_PLAN_H
#define VMOEC_CODEGEN_PLAN_PLAN_H

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "passes/view.h"

/* A block of memory: a stored value, or the packed copy of a matrix. */
typedef struct PlanBuffer {
    int space; /* VmSpace */
    int64_t offset, bytes;
    int first, last; /* tasks between which the contents matter; last INT32_MAX: to the end */
    const IrValue *value;
    int over; /* a buffer whose last reader writes this one, into the same memory; -1: none */
} PlanBuffer;

/* Values that kb_eval keeps at a position. */
enum { PLAN_KEPT_VALUES = 128 };

/* Panels of `nr` columns for the matmul micro-kernels: [matrices][ceil(N/nr)][K][nr], zero padded.
 */
typedef struct Pack {
    View src; /* of the operand, [matrices..,K,N] or, when transposed, [matrices..,N,K] */
    bool transposed;
    bool bf16; /* rounded, and in pairs of inner positions: [matrices][ceil(N/nr)][K/2][nr][2] */
    int nr;
    int64_t matrices, k, n;
} Pack;

struct PlanKept;

typedef struct PlanCluster {
    IrNode *anchor;               /* NULL: elementwise only, or a pack */
    IrNode *front;                /* makes the rows of operand 0 of a product; usually NULL */
    IrNode *tail[FUSE_MAX_TAILS]; /* kernels that take its rows as they come: a gate's softmax and
                                     top-k */
    int ntail;
    IrNode **node; /* members in graph order */
    int nnode;
    const Pack *pack; /* not NULL: this task packs a matrix, and has no members */
    int pack_buffer;  /* packs: where the result goes; matmuls: where operand 1 was packed, or -1 */
    VmTaskKind kind;  /* an update: its results are stored over weights or state */
    const struct PlanKept **keep; /* updates: the packed copies of weights that it writes as well */
    int nkeep;
    IrValue **store; /* elementwise members' values that somebody outside reads */
    int nstore;
    /* The buffers its kernel gets, in argument order (filled by args.c). */
    struct PlanArg *arg;
    int narg, cap_arg;
    const char *signature;          /* plan_signature's result */
    int64_t block_rows, block_cols; /* products: the blocks to use; 0: blocks.c chooses */
    bool barrier;
    bool elided; /* a concat whose operands are written in place: no task */
} PlanCluster;

/* Columns [from, end) of a buffer seen as rows of `ld` bytes, counted in bytes; ld 0: all of the
 * buffer. */
typedef struct PlanCols {
    int64_t ld, from, end;
} PlanCols;

/* Where a stored value lies in its buffer: rows of `ld` elements from element `offset`. Dense
 * except for the operands of an elided concat. */
typedef struct PlanPlace {
    int buffer; /* -1: not stored */
    int64_t offset, ld;
} PlanPlace;

typedef struct PlanArg {
    int buffer;
    int64_t offset; /* bytes into the buffer */
    bool written;
    PlanCols cols; /* what is touched */
} PlanArg;

/* A packed copy of a weight that outlives the step. */
typedef struct PlanKept {
    const Pack *pack;
    int buffer;               /* in VM_PACKED */
    bool turned;              /* the packed columns are the weight's rows */
    int64_t row0, col0;       /* of the packed rectangle in the weight's last two dimensions */
    int64_t rows, cols;       /* its size there */
    bool updated;             /* an update of this program writes it with the weight */
    int next;                 /* copy of the same weight in Plan.kept; -1: there are no more */
    struct PlanCluster *task; /* makes it from the weight; not part of a step */
} PlanKept;

/* Places of packed weights in VM_PACKED, the same for all programs planned with the table. Places
 * are never given back. */
typedef struct PackTable PackTable;
PackTable *pack_table_create(Arena *a);

typedef struct Plan {
    Arena *arena;
    IrGraph *g;
    const CgTarget *target;
    PlanCluster *cluster;
    int ncluster;
    PlanBuffer *buffer;
    int nbuffer, cap_buffer;
    PackTable *packs; /* NULL: no packed copy outlives the step */
    PlanKept *kept;
    int nkept;
    struct PlanWeight *weight; /* packs.c: by node id; NULL: not needed yet */
    PlanPlace **place;         /* [node id][result] */
    int gate; /* the first task that may depend on losses being finite (VmProgram.gate); 0: none */
    int64_t space_bytes[VM_SPACE_COUNT];
} Plan;

/* Groups nodes, inserts packs, orders tasks, finds buffers and their lifetimes, places them. packs
 * NULL: all are made in the step. */
Plan *plan_create(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs);
/* The same with other blocks of products. */
Plan *plan_create_tuned(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs,
                        const CgTuning *tuning);
/* Without signatures and barriers, up to where plan_place would follow: for what needs less than a
 * plan. */
Plan *plan_create_unplaced(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs);

/* table.c: what the tables hold. */
int plan_new_buffer(Plan *p, int space, int64_t bytes, const IrValue *v);
int64_t pack_bytes(const Pack *k);
bool pack_equal(const Pack *a, const Pack *b);
/* The first task at which a buffer takes memory of its own. */
int plan_counted_from(const PlanBuffer *b);

/* packs.c: the buffer of a packed weight that outlives the step, or -1 when it has to be packed in
 * every step: there is no table, the source is no weight, or this program updates the weight and
 * the update cannot write this copy. */
int plan_keep_pack(Plan *p, const Pack *want);
/* Tells every update which copies it writes. */
void plan_link_updates(Plan *p);

/* inplace.c: which results are written over an operand (PlanBuffer.over). */
void plan_in_place(Plan *p);

/* memory.c: offsets of the VM_WORK buffers by lifetime, and where barriers must stand. */
void plan_place(Plan *p);
/* The same, but false, with a lower bound in space_bytes[VM_WORK] and nothing placed, when VM_WORK
 * and VM_PACKED cannot be had in `enough` bytes. Below INT64_MAX the sizes are right alone: less
 * may be in place.
 */
bool plan_place_within(Plan *p, int64_t enough);
void plan_barriers(Plan *p);

/* gate.c: what a step waits for before it changes anything that outlives it. Losses, auxiliary
 * losses and metrics; the last cluster that makes one, -1: there are none. */
int plan_terms_ready(const Plan *p);
/* Sets Plan.gate, with a barrier there. Barriers must be there already. */
void plan_gate(Plan *p);

/* The bytes of VM_WORK that matter at each task; the most of them, and at which task. */
int64_t *plan_live_at(const Plan *p);
void plan_live(const Plan *p, int64_t *most, int *when);

/* table.c: the kernel that walks a cluster's rows: the anchor, or the front of a product, or its
 * first tail. And the one behind it, or NULL. */
IrNode *plan_row_kernel(const PlanCluster *c);
IrNode *plan_row_tail(const PlanCluster *c);

/* Is v elementwise work of a cluster that is no product's? Where such work is added to a product,
 * it is chance whether the addition joins it or the product, and sums must not round by chance. */
bool plan_made_apart(const Plan *p, IrValue *v);

/* n's index among the cluster's members; -1: it is none. */
int plan_member(const PlanCluster *c, const IrNode *n);

/* Buffer of a stored value; -1: not stored. */
int plan_buffer(const Plan *p, const IrValue *v);
bool plan_is_stored(const Plan *p, const IrValue *v);
PlanPlace plan_place_of(const Plan *p, const IrValue *v);

/* args.c: the argument that points at element `offset_elems` of v's buffer; added when new. */
int plan_arg(Plan *p, PlanCluster *c, const IrValue *v, int64_t offset_elems, PlanCols cols,
             bool written);
int plan_arg_buffer(PlanCluster *c, Arena *a, int buffer, int64_t offset_bytes, PlanCols cols,
                    bool written);
extern const PlanCols plan_all_cols;

/* The columns a stored value takes in its buffer, and those a view of one reads. */
PlanCols plan_value_cols(const Plan *p, const IrValue *v);
PlanCols plan_view_cols(const Plan *p, const View *w);

/* args.c: collects the arguments of a cluster and returns its signature: two clusters with equal
 * signatures have equal kernels. */
const char *plan_signature(Plan *p, PlanCluster *c);
void plan_arguments(Plan *p, PlanCluster *c); /* the arguments alone */

/* Useful arithmetic and least traffic of a cluster. */
double plan_flops(const PlanCluster *c);
double plan_bytes(const Plan *p, const PlanCluster *c);

/* print.c: a short name for profiles: "matmul_2048x256x128_add_gelu". */
const char *plan_kernel_name(Plan *p, const PlanCluster *c);
void plan_print(Text *t, const Plan *p);

/* tile.c: the register tile for a product with n columns: rows x (vectors *
 * vector_floats). */
typedef struct Tile {
    int rows, vectors, nr;
    int narrow; /* above 0: only so many columns of one vector count (narrow.c) */
} Tile;
Tile tile_choose(const CgTarget *t, int64_t n);
/* The same for a product of `rows` x n whose rows of a lie side by side, so that they need one
 * address register. */
Tile tile_choose_side_by_side(const CgTarget *t, int64_t rows, int64_t n);
/* The same for `cols` columns, at most three quarters of a vector (narrow.c). */
Tile tile_choose_narrow(const CgTarget *t, int cols, int64_t rows, bool side_by_side);

#endif
