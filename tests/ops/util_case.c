/* Graphs and data for the rows of cases.def. */
#include "tests/ops/util_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

const OpCase op_cases[] = {
#define CASE(op, operands, attrs, tol, flops)                                                      \
    {OP_##op, 0, 0, 0, FILL_none, operands, attrs, tol, flops},
#define ROUTED(op, T, K, E, fill, operands, attrs, tol, flops)                                     \
    {OP_##op, T, K, E, FILL_##fill, operands, attrs, tol, flops},
#include "tests/ops/cases.def"
};
const int op_ncases = (int)(sizeof op_cases / sizeof op_cases[0]);

static const char *const fill_names[] = {"", "even", "one", "gap", "drop"};

const char *case_text(Arena *a, const OpCase *c) {
    const char *name = ir_ops[c->op].name;
    if (c->fill == FILL_none) return arena_printf(a, "%s %s {%s}", name, c->operands, c->attrs);
    return arena_printf(a, "%s %s {%s} T=%d K=%d E=%d %s", name, c->operands, c->attrs, c->T, c->K,
                        c->E, fill_names[c->fill]);
}

bool case_has_ties(const OpCase *c) {
    return strstr(c->operands, "tie[") || strstr(c->operands, "wide[");
}

/* ---- numbers --------------------------------------------------------------------------------- */

uint64_t case_next(CaseRng *r) {
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    return vm_mix64(r->state);
}

int64_t case_below(CaseRng *r, int64_t n) {
    return (int64_t)(case_next(r) % (uint64_t)n);
}

double case_unit(CaseRng *r) {
    return (double)(case_next(r) >> 40) * 0x1p-24;
}

/* ---- data ------------------------------------------------------------------------------------ */

static void fill_sep(CaseRng *r, const IrType *t, double *data) {
    int64_t n = ir_cols(t);
    for (int64_t row = 0, rows = ir_rows(t); row < rows; row++) {
        double *x = data + row * n;
        for (int64_t i = 0; i < n; i++)
            x[i] = ((double)i - (double)(n / 2)) * 0.375 + case_unit(r) * 0.125;
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = case_below(r, i + 1);
            double swap = x[i];
            x[i] = x[j];
            x[j] = swap;
        }
    }
}

static void fill_perm(CaseRng *r, const IrType *t, double *data) {
    for (int64_t i = 0, n = ir_elems(t); i < n; i++) {
        int64_t j = case_below(r, i + 1);
        data[i] = data[j];
        data[j] = (double)i;
    }
}

/* spec: "<E><fill>". Distinct experts in every row. */
static void fill_choice(CaseRng *r, const IrType *t, const char *spec, double *data) {
    char *fill;
    int64_t E = strtoll(spec, &fill, 10), K = ir_cols(t);
    int64_t lowest = strcmp(fill, "gap") == 0;
    bool drop = strcmp(fill, "drop") == 0;
    for (int64_t row = 0, rows = ir_rows(t); row < rows; row++) {
        double *x = data + row * K;
        for (int64_t j = 0; j < K; j++) {
            bool again = true;
            while (again) {
                x[j] = (double)(lowest + case_below(r, E - lowest));
                if (j == 0 && strcmp(fill, "one") == 0) x[j] = (double)(E - 1);
                again = false;
                for (int64_t i = 0; i < j; i++) again |= x[i] == x[j];
            }
        }
        for (int64_t j = 0; drop && j < K; j++)
            if ((row + j) % 3 == 0) x[j] = -1;
    }
}

static double draw(CaseRng *r, const char *domain) {
    if (strcmp(domain, "pos") == 0) return 0.5 + 1.5 * case_unit(r);
    if (strcmp(domain, "tie") == 0) return (double)(case_below(r, 3) - 1);
    if (strcmp(domain, "bool") == 0) return (double)case_below(r, 2);
    if (strncmp(domain, "int", 3) == 0) return (double)case_below(r, strtoll(domain + 3, NULL, 10));
    if (strcmp(domain, "wide") == 0) {
        double size = pow(10, -4 + case_unit(r) * 5.9), sign = case_below(r, 2) ? 1 : -1;
        return case_below(r, 16) == 0 ? 0 : sign * size;
    }
    double half = domain[0] == 'x' ? strtod(domain + 1, NULL) : 2;
    return half * (2 * case_unit(r) - 1);
}

/* What the name of a leaf says about its values. */
static const char *domain_of(const IrNode *leaf) {
    AttrId id = leaf->op == OP_param   ? ATTR_param_name
                : leaf->op == OP_state ? ATTR_state_name
                                       : ATTR_input_name;
    const char *name = ir_str(leaf, id), *colon = strrchr(name, ':');
    return colon ? colon + 1 : "f";
}

static const char *leaf_name(const IrNode *leaf) {
    if (leaf->op == OP_input) return ir_str(leaf, ATTR_input_name);
    if (leaf->op == OP_param) return ir_str(leaf, ATTR_param_name);
    return leaf->op == OP_state ? ir_str(leaf, ATTR_state_name) : NULL;
}

void case_fill(const IrNode *leaf, uint64_t seed, double *data) {
    const IrType *t = &leaf->out[0].type;
    const char *domain = domain_of(leaf);
    CaseRng r = {vm_mix64(seed ^ vm_hash_name(leaf_name(leaf)))};
    if (strcmp(domain, "step") == 0) {
        const double step[4] = {0.0625, 0.271, 0.002997, 0}; /* t = 3 of the defaults */
        for (int i = 0; i < 4; i++) data[i] = (float)step[i];
        return;
    }
    if (strcmp(domain, "sep") == 0) {
        fill_sep(&r, t, data);
    } else if (strcmp(domain, "perm") == 0) {
        fill_perm(&r, t, data);
    } else if (strncmp(domain, "choice", 6) == 0) {
        fill_choice(&r, t, domain + 6, data);
    } else {
        for (int64_t i = 0, n = ir_elems(t); i < n; i++) data[i] = draw(&r, domain);
    }
    for (int64_t i = 0, n = ir_elems(t); i < n; i++) data[i] = (float)data[i];
}

void case_fill_all(Interp *it, const IrGraph *g, uint64_t seed) {
    Arena *scratch = arena_create();
    IR_FOR (n, g) {
        if (!leaf_name(n)) continue;
        double *data = ARENA_ARRAY(scratch, double, ir_elems(&n->out[0].type));
        case_fill(n, seed, data);
        interp_set(it, leaf_name(n), data);
    }
    interp_set_rng(it, seed, 3);
    arena_destroy(scratch);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

/* "[3,17]" -> type; NULL-terminated spec is trusted: it is ours. */
static IrType parse_type(const char *spec, DType dtype) {
    int64_t dim[IR_MAX_RANK];
    int rank = 0;
    char *at = (char *)spec + 1;
    while (*at != ']') {
        VM_CHECK(rank < IR_MAX_RANK, "case: bad dimensions '%s'", spec);
        dim[rank++] = strtoll(at, &at, 10);
        if (*at == ',') at++;
    }
    return ir_type(dtype, rank, dim);
}

static IrAttr parse_attr(Arena *a, AttrKind kind, const char *text) {
    IrAttr v = {.set = true};
    if (kind == ATTR_KIND_INT) v.i = strtoll(text, NULL, 10);
    if (kind == ATTR_KIND_FLOAT) v.f = strtod(text, NULL);
    if (kind == ATTR_KIND_STR) v.s = arena_strdup(a, text);
    if (kind == ATTR_KIND_INTS) {
        int64_t *list = ARENA_ARRAY(a, int64_t, IR_MAX_RANK);
        char *at = (char *)text;
        while (*at) {
            VM_CHECK(v.n < IR_MAX_RANK, "case: list '%s' is too long", text);
            list[v.n++] = strtoll(at, &at, 10);
            if (*at == ',') at++;
        }
        v.v = list;
    }
    return v;
}

/* Attributes of `text` that op has (others are skipped: sdpa inside sdpa_grad, segments in route).
 */
static int parse_attrs(Arena *a, OpCode op, const char *text, AttrArg *out) {
    int n = 0;
    char *copy = arena_strdup(a, text), *save = NULL;
    for (char *tok = strtok_r(copy, " ", &save); tok; tok = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(tok, '=');
        *eq = 0;
        for (int i = 0; i < ir_ops[op].nattr; i++) {
            AttrId id = (AttrId)(ir_ops[op].first_attr + i);
            if (strcmp(ir_attrs[id].name, tok) == 0)
                out[n++] = (AttrArg){id, parse_attr(a, ir_attrs[id].kind, eq + 1)};
        }
    }
    return n;
}

typedef struct Maker {
    Arena *arena;
    const OpCase *c;
    IrBuilder b;
    bool as_params;
    IrValue *choice;
    IrNode *route;
} Maker;

static IrValue *choice_value(Maker *m) {
    if (m->choice) return m->choice;
    const char *name = arena_printf(m->arena, "choice:choice%d%s", m->c->E, fill_names[m->c->fill]);
    m->choice = ir_input(&m->b, name, IR_TYPE(DT_i32, m->c->T, m->c->K));
    return m->choice;
}

static IrValue *route_value(Maker *m, int result) {
    AttrArg attr[8];
    int n = parse_attrs(m->arena, OP_route, m->c->attrs, attr);
    int64_t rows = 0;
    for (int i = 0; i < n; i++)
        if (attr[i].id == ATTR_route_rows) rows = attr[i].v.i;
    if (!m->route)
        m->route = IR_OP(&m->b, route, VALS(choice_value(m)),
                         ATTRS(A_INT(route_experts, m->c->E), A_INT(route_rows, rows)))
                       ->node;
    return &m->route->out[result];
}

static IrValue *counts_value(Maker *m) {
    AttrArg attr[8];
    int n = parse_attrs(m->arena, OP_route_counts, m->c->attrs, attr);
    return ir_op(&m->b, OP_route_counts, VALS(choice_value(m)), attr, n);
}

/* The logsumexp of sdpa of the operands before. */
static IrValue *lse_value(Maker *m, IrValue *const *in) {
    AttrArg attr[8];
    int n = parse_attrs(m->arena, OP_sdpa, m->c->attrs, attr);
    return &ir_op(&m->b, OP_sdpa, in, 4, attr, n)->node->out[1];
}

static IrValue *leaf_value(Maker *m, int index, char *tok) {
    char *dims = strchr(tok, '[');
    bool param = strncmp(tok, "p.", 2) == 0, state = strncmp(tok, "s.", 2) == 0;
    char *domain = arena_strndup(m->arena, tok, (size_t)(dims - tok));
    if (param || state) domain += 2;
    bool whole = strncmp(domain, "int", 3) == 0 || strcmp(domain, "perm") == 0;
    if (m->as_params && !whole && strcmp(domain, "bool") != 0) param = true;
    const char *name = arena_printf(m->arena, "x%d:%s", index, domain);
    IrType t = parse_type(dims, whole ? DT_i32 : DT_f32);
    if (param) return ir_param(&m->b, name, t, "zeros", "", true);
    return state ? ir_state(&m->b, name, t) : ir_input(&m->b, name, t);
}

static IrValue *operand(Maker *m, int index, char *tok, IrValue *const *before) {
    static const char *const routes[] = {"@off", "@pair", "@row", "@exp"};
    for (int i = 0; i < 4; i++)
        if (strcmp(tok, routes[i]) == 0) return route_value(m, i);
    if (strcmp(tok, "@choice") == 0) return choice_value(m);
    if (strcmp(tok, "@counts") == 0) return counts_value(m);
    if (strcmp(tok, "@lse") == 0) return lse_value(m, before);
    if (strcmp(tok, "key") == 0) return ir_rng_key(&m->b, "case.noise");
    return leaf_value(m, index, tok);
}

IrGraph *case_graph(Arena *a, const OpCase *c, bool as_params, IrNode **node) {
    IrGraph *g = ir_graph_create(a, ir_ops[c->op].name);
    Maker m = {.arena = a, .c = c, .b = ir_builder(g), .as_params = as_params};
    IrValue *in[64] = {NULL};
    int nin = 0;
    char *copy = arena_strdup(a, c->operands), *save = NULL;
    for (char *tok = strtok_r(copy, " ", &save); tok; tok = strtok_r(NULL, " ", &save), nin++)
        in[nin] = operand(&m, nin, tok, in);
    AttrArg attr[8];
    int nattr = parse_attrs(a, c->op, c->attrs, attr);
    IrNode *n = ir_op(&m.b, c->op, in, nin, attr, nattr)->node;
    for (int i = 0; i < n->nout; i++)
        ir_add_out(g, OUT_output, arena_printf(a, "y%d", i), &n->out[i], 1, (IrLoc){0});
    if (node) *node = n;
    return g;
}

void case_add_objective(IrGraph *g, IrValue *v) {
    IrBuilder b = ir_builder(g);
    IrValue *w = ir_input(&b, "objective:f", v->type);
    IrValue *x = ir_binary(&b, OP_mul, v, w);
    int64_t axes[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    if (v->type.rank > 0) x = ir_sum_axes(&b, x, axes, v->type.rank);
    ir_add_out(g, OUT_loss, "objective", x, 1, (IrLoc){0});
}

/* ---- comparison ------------------------------------------------------------------------------ */

double case_error(const double *want, const double *got, int64_t n, bool f32, double cap,
                  int64_t *at) {
    double top = 0, worst = 0;
    if (at) *at = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(want[i])) top = fmax(top, fabs(want[i]));
    top = fmin(top, cap);
    for (int64_t i = 0; i < n; i++) {
        double w = f32 ? (float)want[i] : want[i];
        if (w == got[i] || (isnan(w) && isnan(got[i]))) continue;
        double err = isfinite(w) && isfinite(got[i])
                         ? fabs(w - got[i]) / (fabs(w) + top / 10 + 0.01)
                         : INFINITY;
        if (err <= worst) continue;
        worst = err;
        if (at) *at = i;
    }
    return worst;
}
