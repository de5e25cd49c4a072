/* Random valid .vmoe programs: a pure function of a seed. Expressions are grown with their shapes
 * known, so that what comes out compiles. What can be grown is in tables: a row for every builtin
 * function (frontend/meaning/builtins.def), every layer of the library (library.def) and every form
 * of statement (forms.def), and a function named after each, so that the linker tells which is
 * missing. coverage.h counts what of the language a text uses. */
#ifndef VMOEC_TESTS_FUZZ_PROGRAMS_GEN_H
#define VMOEC_TESTS_FUZZ_PROGRAMS_GEN_H

#include <stdbool.h>

#include "base/text.h"
#include "ir/ir.h"

/* ---- what is grown --------------------------------------------------------------------------- */

typedef struct Shape {
    int rank;
    int64_t dim[IR_MAX_RANK];
} Shape;

/* A tensor as the program says it. text NULL: it could not be grown. */
typedef struct Expr {
    const char *text;
    Shape shape;
    bool atom; /* needs no parentheses as an operand */
} Expr;

/* A number with a name: a dimension of a signature, a config value, a parameter. */
typedef struct Named {
    const char *name;
    int64_t value;
} Named;

enum {
    GEN_POOL = 96,
    GEN_NAMES = 32,
    GEN_LAYERS = 8,
    GEN_MOST = 4096, /* elements of a tensor */
    GEN_DEPTH = 3    /* of expressions inside expressions */
};

/* A layer of the program that was written already, for calls with tensors of the same shape. */
typedef struct GenLayer {
    const char *name;
    Shape in, out;
    bool rows; /* may be an expert */
    bool weights;
    const char *option; /* ", k = 3", or "" */
} GenLayer;

/* What statements of one body see. */
typedef struct GenBody {
    Text text;
    int indent;
    Expr pool[GEN_POOL]; /* tensors by name, in order of their making */
    int npool;
    Named name[GEN_NAMES];
    int nname;
    bool rows;  /* grouped tensors may come: dimension 0 is whatever it is */
    bool quiet; /* no weights and no statements: inside an update, or a branch */
    bool layer; /* of a layer, else of the model */
} GenBody;

typedef struct Gen {
    Arena *arena;
    uint64_t state;
    GenBody *body;
    Text layers;  /* text of finished layers */
    Text config;  /* lines of the config block */
    Text updates; /* of the current body: they stand anywhere behind their state */
    Named setting[GEN_NAMES];
    int nsetting;
    GenLayer layer[GEN_LAYERS];
    int nlayer;
    int64_t batch, classes;
    int64_t channels, height, width; /* of the image */
    bool shares;                     /* the label is f32[B, C] */
    bool weighted;                   /* there is an input of weights */
    const char *label, *index;       /* inputs; NULL: not here */
    int64_t nindex, index_below;
    int names; /* used so far */
    int nesting;
} Gen;

/* The text of the program of a seed, and the batch it is for. */
typedef struct GenProgram {
    const char *text;
    int64_t batch;
} GenProgram;
GenProgram prog_make(Arena *a, uint64_t seed);

/* ---- chance and text (gen.c) ----------------------------------------------------------------- */

int64_t prog_below(Gen *g, int64_t n);
bool prog_chance(Gen *g, int percent);
const char *prog_word(Gen *g, const char *const *list, int n);
#define GEN_WORD(g, ...)                                                                           \
    prog_word(g, (const char *const[]){__VA_ARGS__},                                               \
              (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))
const char *prog_text(Gen *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One line of the body. */
void prog_line(Gen *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void prog_open(Gen *g, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* adds " {" */
void prog_close(Gen *g);
const char *prog_name(Gen *g, const char *stem); /* a new one */
void prog_metric(Gen *g, const char *value);     /* of one number, named or not */

/* ---- shapes ---------------------------------------------------------------------------------- */

#define SHAPE(...)                                                                                 \
    prog_shape((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
Shape prog_shape(int rank, const int64_t *dim);
int64_t prog_elems(const Shape *s);
int64_t prog_last(const Shape *s);
bool prog_same(const Shape *a, const Shape *b);
Shape prog_with_last(Shape s, int64_t last);
Shape prog_without(Shape s, int axis);
const char *prog_dims(Gen *g, const Shape *s); /* "[3, B, 7]" */
extern const Expr prog_none;

/* ---- expressions (expr.c) -------------------------------------------------------------------- */

Expr prog_expr(const char *text, Shape s);
Expr prog_atom(const char *text, Shape s);
const char *prog_operand(Gen *g, Expr e); /* with parentheses where they are needed */
/* name(x, rest) or x |> name(rest); rest NULL: there is none. */
Expr prog_call(Gen *g, const char *name, Expr x, Shape s, const char *rest);
/* Binds e to a name and puts that into the pool. */
Expr prog_bind(Gen *g, Expr e);
void prog_keep(Gen *g, Expr e);                         /* an atom into the pool */
Expr prog_pick(Gen *g, int least);                      /* of the pool, of at least that rank */
Expr prog_like(Gen *g, Shape s, int depth);             /* any expression of that shape */
Expr prog_beside(Gen *g, Shape s, int depth);           /* one that broadcasts to it */
Expr prog_mask(Gen *g, Shape s, int depth);             /* of zeros and ones */
Expr prog_weight(Gen *g, Shape s);                      /* a new param */
Expr prog_unary(Gen *g, Expr x);                        /* some function that keeps sizes small */
Expr prog_damp(Gen *g, Expr e);                         /* of order one again */
Expr prog_positive(Gen *g, Expr e);                     /* above 0.4 */
Expr prog_join(Gen *g, Expr a, const char *op, Expr b); /* of a's shape */
const char *prog_init(Gen *g, bool matrix);             /* an initialiser that is not all zeros */

/* ---- numbers (number.c) ---------------------------------------------------------------------- */

const char *prog_int(Gen *g, int64_t n);    /* an expression that is n */
const char *prog_real(Gen *g, double x);    /* of a short decimal */
const char *prog_truth(Gen *g, bool value); /* a condition */
int64_t prog_divisor(Gen *g, int64_t n);    /* one of n's */
/* A width of a layer, least..most. There are not many, so that kernels kept from other programs are
 * met again; few of them are multiples of a vector. */
int64_t prog_width(Gen *g, int64_t least, int64_t most);

/* ---- bodies (layer.c, program.c) ------------------------------------------------------------- */

/* Grows some statements; at least one tensor is in the pool. */
void prog_statements(Gen *g, int n);
/* Calls a layer of the program, a new one as long as there is room, with x. */
Expr prog_own_layer(Gen *g, Expr x, bool rows);
/* An expert, or several in turn, over the grouped tensor x: [rows, ..]. */
Expr prog_expert(Gen *g, Expr x);
/* A route for x, whose leading dimensions are routed; *k: choices of a row, *experts. */
typedef struct GenRoute {
    const char *text; /* NULL: none */
    const char *gate; /* the values that chose, NULL: nothing did */
    int64_t experts, k, rows, lead;
    bool images; /* whole images are routed, not rows of the last dimension */
} GenRoute;
GenRoute prog_route(Gen *g, Expr x, bool images);
Expr prog_mixture(Gen *g, Expr x, const GenRoute *r);

/* ---- rows of the tables ---------------------------------------------------------------------- */

/* Grows something from x with the function, layer or form. */
typedef Expr GenFn(Gen *g, Expr x);
typedef struct GenRow {
    const char *name;
    GenFn *grow;
} GenRow;

extern const GenRow prog_builtins[], prog_library[], prog_forms[];
extern const int prog_nbuiltin, prog_nlibrary, prog_nform;
/* Those that keep to the rows of a grouped tensor. */
extern const GenRow prog_row_wise[];
extern const int prog_nrow_wise;

#define BUILTIN(name, params, fn, op) GenFn grow_##name;
#include "frontend/meaning/builtins.def"
#define LAYER(name) GenFn library_##name;
#include "tests/fuzz/programs/library.def"
#define FORM(name) GenFn grow_form_##name;
#include "tests/fuzz/programs/forms.def"

#endif
