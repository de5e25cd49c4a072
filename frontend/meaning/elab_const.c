/* Arithmetic and comparison of compile-time values. Integers are 64 bits and checked; `/` always
 * makes a float, `//` and `%` round down. Tensors do not come here. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const FeValue *check_finite(Elab *E, Span s, double f) {
    if (isfinite(f)) return fv_float(E->a, f, s);
    sema_error(E, s, D_not_finite, "the result is %s", isnan(f) ? "not a number" : "infinite");
    return fv_bad();
}

const char *fe_near_divisors(Arena *a, int64_t n, int64_t k) {
    enum { FAR = 100000 };
    int64_t below = k < n ? k : n, above = k, tried = 0;
    while (below > 1 && n % below != 0 && tried++ < FAR) below--;
    while (above < n && n % above != 0 && tried++ < FAR) above++;
    bool two = n % below == 0 && above <= n && n % above == 0 && below != above;
    if (tried >= FAR || n % below != 0) return "";
    if (!two) return arena_printf(a, ": %" PRId64 " does", below);
    return arena_printf(a, ": %" PRId64 " and %" PRId64 " do", below, above);
}

static const FeValue *wrong_operands(Elab *E, const Ast *x, const FeValue *a, const FeValue *b) {
    bool left = fv_is_number(a), right = fv_is_number(b);
    const FeValue *cause = left == right ? NULL : left ? b : a;
    Diag *dg = sema_error_of(E, cause, x->span, D_wrong_kind, "`%s` does not work on %s and %s%s",
                             x->op, fv_describe(E->a, a), fv_describe(E->a, b),
                             cause ? ": a number is expected" : "");
    sema_note_beside(E, dg, a->span, "the left side is made here");
    sema_note_beside(E, dg, b->span, "the right side is made here");
    return fv_bad();
}

static const FeValue *overflow(Elab *E, const Ast *x) {
    sema_error(E, x->span, D_int_overflow, "this integer does not fit in 64 bits");
    return fv_bad();
}

static const FeValue *div_zero(Elab *E, const Ast *x, const FeValue *b) {
    Diag *dg = sema_error(E, x->span, D_div_zero, "division by zero");
    if (b->span.src && b->span.start != x->b->span.start)
        sema_note(E, dg, b->span, "the zero comes from here");
    return fv_bad();
}

/* Rounds down, as Python does: -7 // 2 is -4 and -7 % 2 is 1. */
static const FeValue *int_divide(Elab *E, const Ast *x, int64_t a, const FeValue *bv, bool modulo) {
    int64_t b = bv->i;
    if (b == 0) return div_zero(E, x, bv);
    if (b == -1) {
        int64_t r;
        if (modulo) return fv_int(E->a, 0, x->span);
        if (__builtin_sub_overflow((int64_t)0, a, &r)) return overflow(E, x);
        return fv_int(E->a, r, x->span);
    }
    int64_t q = a / b, r = a % b;
    if (r != 0 && (r < 0) != (b < 0)) {
        q--;
        r += b;
    }
    return fv_int(E->a, modulo ? r : q, x->span);
}

static const FeValue *int_arith(Elab *E, const Ast *x, const FeValue *a, const FeValue *b) {
    int64_t r;
    switch (x->op[0]) {
    case '+':
        return __builtin_add_overflow(a->i, b->i, &r) ? overflow(E, x) : fv_int(E->a, r, x->span);
    case '-':
        return __builtin_sub_overflow(a->i, b->i, &r) ? overflow(E, x) : fv_int(E->a, r, x->span);
    case '*':
        return __builtin_mul_overflow(a->i, b->i, &r) ? overflow(E, x) : fv_int(E->a, r, x->span);
    case '%': return int_divide(E, x, a->i, b, true);
    default: return int_divide(E, x, a->i, b, false);
    }
}

static const FeValue *float_arith(Elab *E, const Ast *x, const FeValue *av, const FeValue *bv) {
    double a = fv_number(av), b = fv_number(bv);
    if (strchr("/%", x->op[0]) && b == 0) return div_zero(E, x, bv);
    switch (x->op[0]) {
    case '+': return check_finite(E, x->span, a + b);
    case '-': return check_finite(E, x->span, a - b);
    case '*': return check_finite(E, x->span, a * b);
    case '%': return check_finite(E, x->span, a - b * floor(a / b));
    default: return check_finite(E, x->span, x->op[1] == '/' ? floor(a / b) : a / b);
    }
}

static const FeValue *compare(Elab *E, const Ast *x, const FeValue *a, const FeValue *b) {
    if (!strcmp(x->op, "==") || !strcmp(x->op, "!=")) {
        if (a->kind >= FV_INIT || b->kind >= FV_INIT) return wrong_operands(E, x, a, b);
        E->work += a->size;
        if (a->kind != b->kind && !(fv_is_number(a) && fv_is_number(b)))
            return wrong_operands(E, x, a, b);
        return fv_bool(E->a, fv_equal(a, b) == (x->op[0] == '='), x->span);
    }
    if (!fv_is_number(a) || !fv_is_number(b)) return wrong_operands(E, x, a, b);
    bool ints = a->kind == FV_INT && b->kind == FV_INT;
    double fa = fv_number(a), fb = fv_number(b);
    int order = ints ? (a->i > b->i) - (a->i < b->i) : (fa > fb) - (fa < fb);
    bool r = x->op[0] == '<' ? order < 0 : order > 0;
    if (x->op[1] == '=') r = r || order == 0;
    return fv_bool(E->a, r, x->span);
}

const FeValue *const_binary(Elab *E, const Ast *x, const FeValue *a, const FeValue *b) {
    if (strchr("=!<>", x->op[0])) return compare(E, x, a, b);
    if (!fv_is_number(a) || !fv_is_number(b)) return wrong_operands(E, x, a, b);
    bool ints = a->kind == FV_INT && b->kind == FV_INT;
    if (ints && strcmp(x->op, "/") != 0) return int_arith(E, x, a, b);
    return float_arith(E, x, a, b);
}

const FeValue *const_unary(Elab *E, const Ast *x, const FeValue *a) {
    if (!strcmp(x->op, "not")) {
        if (a->kind == FV_BOOL) return fv_bool(E->a, !a->i, x->span);
    } else if (a->kind == FV_FLOAT) {
        return fv_float(E->a, -a->f, x->span);
    } else if (a->kind == FV_INT) {
        int64_t r;
        return __builtin_sub_overflow((int64_t)0, a->i, &r) ? overflow(E, x)
                                                            : fv_int(E->a, r, x->span);
    }
    Diag *dg = sema_error(E, x->span, D_wrong_kind, "`%s` does not work on %s", x->op,
                          fv_describe(E->a, a));
    sema_note(E, dg, a->span, "made here");
    return fv_bad();
}
