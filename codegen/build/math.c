/* Functions of vectors, so that results do not depend on any libm. Polynomials are weighted minimax
 * fits (the intervals stand with them); errors are bounds over all f32 inputs against the exact
 * value, checked by tests/ops/test_math.c on one in a thousand. NaN in, NaN out. */
#include "codegen/build/emit.h"

static Val fabs1(Kb *k, Val a) {
    return kb_call(k, "llvm.fabs", k->vf, &a, 1);
}
static Val as_int(Kb *k, Val a) {
    return LLVMBuildBitCast(k->b, a, k->vi, "");
}
static Val as_float(Kb *k, Val a) {
    return LLVMBuildBitCast(k->b, a, k->vf, "");
}

static Val copysign2(Kb *k, Val mag, Val sign) {
    return kb_call(k, "llvm.copysign", k->vf, (Val[]){mag, sign}, 2);
}

static Val poly(Kb *k, Val x, const double *c, int n) {
    Val r = kb_vf(k, c[n - 1]);
    for (int i = n - 2; i >= 0; i--) r = kb_fma(k, r, x, kb_vf(k, c[i]));
    return r;
}

/* 2^n for integer vectors n in [-126, 127]. */
static Val pow2(Kb *k, Val n) {
    Val biased = LLVMBuildAdd(k->b, n, kb_vi(k, 127), "");
    return as_float(k, LLVMBuildShl(k->b, biased, kb_vi(k, 23), ""));
}

/* x * 2^n for whole n, rounded once, denormals included: one instruction of AVX-512. */
static Val scalef(Kb *k, Val x, Val n) {
    static const char name[] = "llvm.x86.avx512.mask.scalef.ps.512";
    unsigned id = LLVMLookupIntrinsicID(name, sizeof name - 1);
    Val fn = LLVMGetIntrinsicDeclaration(k->mod, id, NULL, 0);
    enum { CURRENT_ROUNDING = 4 };
    Val all = LLVMConstInt(LLVMInt16TypeInContext(k->ctx), 0xffff, 0);
    Val arg[] = {x, n, kb_vf(k, 0), all, kb_i32(k, CURRENT_ROUNDING)};
    return LLVMBuildCall2(k->b, LLVMIntrinsicGetType(k->ctx, id, NULL, 0), fn, arg, 5, "");
}

/* x * 2^n for whole n; without that instruction in two steps, so that neither factor is out of
 * range. */
static Val times_pow2(Kb *k, Val x, Val n) {
    if (k->target->has & CG_SCALE) return scalef(k, x, n);
    Val i = LLVMBuildFPToSI(k->b, n, k->vi, "");
    Val half = LLVMBuildAShr(k->b, i, kb_vi(k, 1), "");
    Val rest = LLVMBuildSub(k->b, i, half, "");
    return kb_fmul(k, kb_fmul(k, x, pow2(k, half)), pow2(k, rest));
}

/* e^x. Error 2 ulp. x = n ln2 + r, |r| <= ln2/2; 2^n in two factors, so that overflow and denormals
 * come out right. */
Val kb_exp(Kb *k, Val x) {
    static const double c[] = {0.5000000095132499, 0.16666518885714088, 0.041666205979815046,
                               0.008368883751738448, 0.0013950479098018102};
    Val hi = LLVMBuildFCmp(k->b, LLVMRealOGT, x, kb_vf(k, 89), "");
    x = LLVMBuildSelect(k->b, hi, kb_vf(k, 89), x, "");
    Val lo = LLVMBuildFCmp(k->b, LLVMRealOLT, x, kb_vf(k, -104), "");
    x = LLVMBuildSelect(k->b, lo, kb_vf(k, -104), x, "");
    Val t = kb_fmul(k, x, kb_vf(k, 1.44269504088896341));
    Val n = kb_call(k, "llvm.rint", k->vf, &t, 1);
    Val r = kb_fma(k, n, kb_vf(k, -0.693359375), x);
    r = kb_fma(k, n, kb_vf(k, 2.12194440054690583e-4), r);
    Val p = kb_fma(k, kb_fmul(k, r, r), poly(k, r, c, 5), kb_fadd(k, r, kb_vf(k, 1)));
    return times_pow2(k, p, n);
}

/* 2^x for x <= 127: relative error below 2e-7. From 2^r on [-1/2, 1/2], exact at 0. */
Val kb_exp2(Kb *k, Val x) {
    static const double c[] = {0.6931469775991635, 0.24022242085375006, 0.055507337432519954,
                               0.009671512639652456, 0.001326472719719335};
    if (!(k->target->has & CG_SCALE)) { /* what scales by 2^n in one instruction takes any n */
        Val lo = LLVMBuildFCmp(k->b, LLVMRealOLT, x, kb_vf(k, -150), "");
        x = LLVMBuildSelect(k->b, lo, kb_vf(k, -150), x, "");
    }
    Val n = kb_call(k, "llvm.rint", k->vf, &x, 1), r = kb_fsub(k, x, n);
    return times_pow2(k, kb_fma(k, r, poly(k, r, c, 5), kb_vf(k, 1)), n);
}

/* ln x. Error 2 ulp, or 1e-7 absolute near 1; log 0 = -inf, of negatives NaN. x = 2^e m, m in
 * [sqrt(1/2), sqrt(2)). */
Val kb_log(Kb *k, Val x) {
    static const double c[] = {0.33333310576477015, -0.2499998663320009,  0.20002219278388284,
                               -0.166692453044777,  0.1421878041247736,   -0.12384494278374747,
                               0.11872309287103788, -0.11788799347015122, 0.06915578138247767};
    Val tiny = LLVMBuildFCmp(k->b, LLVMRealOLT, x, kb_vf(k, 0x1p-126), "");
    Val y = LLVMBuildSelect(k->b, tiny, kb_fmul(k, x, kb_vf(k, 0x1p23)), x, "");
    Val bits = as_int(k, y);
    Val e =
        LLVMBuildAShr(k->b, LLVMBuildSub(k->b, bits, kb_vi(k, 0x3f3504f3), ""), kb_vi(k, 23), "");
    Val m = as_float(k, LLVMBuildSub(k->b, bits, LLVMBuildShl(k->b, e, kb_vi(k, 23), ""), ""));
    Val bias = LLVMBuildSelect(k->b, tiny, kb_vf(k, -23), kb_vf(k, 0), "");
    Val ef = kb_fadd(k, LLVMBuildSIToFP(k->b, e, k->vf, ""), bias);
    Val f = kb_fsub(k, m, kb_vf(k, 1)), f2 = kb_fmul(k, f, f);
    Val r = kb_fmul(k, kb_fmul(k, f, f2), poly(k, f, c, 9));
    r = kb_fma(k, ef, kb_vf(k, -2.12194440054690583e-4), r);
    r = kb_fma(k, f2, kb_vf(k, -0.5), r);
    r = kb_fma(k, ef, kb_vf(k, 0.693359375), kb_fadd(k, r, f));
    Val zero = LLVMBuildFCmp(k->b, LLVMRealOEQ, x, kb_vf(k, 0), "");
    Val inf = kb_vf(k, 1e39); /* rounds to infinity */
    r = LLVMBuildSelect(k->b, zero, LLVMBuildFNeg(k->b, inf, ""), r, "");
    r = LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealOEQ, x, inf, ""), inf, r, "");
    Val bad = LLVMBuildFCmp(k->b, LLVMRealULT, x, kb_vf(k, 0), ""); /* negative or NaN */
    return LLVMBuildSelect(k->b, bad, kb_fdiv(k, kb_fsub(k, x, x), kb_vf(k, 0)), r, "");
}

/* ln(1+x). Error 4 ulp; ln(1-1) = -inf, NaN below. u = 1 + x has rounded away x - (u - 1), exactly
 * that, and (x - (u - 1)) / u is what this means to the logarithm. */
Val kb_log1p(Kb *k, Val x) {
    Val one = kb_vf(k, 1), u = kb_fadd(k, x, one), y = kb_log(k, u);
    Val lost = kb_fdiv(k, kb_fsub(k, x, kb_fsub(k, u, one)), u);
    Val finite = LLVMBuildFCmp(k->b, LLVMRealOLT, fabs1(k, y), kb_vf(k, 1e39), "");
    return LLVMBuildSelect(k->b, finite, kb_fadd(k, y, lost), y, "");
}

/* tanh x. Error 3 ulp. */
Val kb_tanh(Kb *k, Val x) {
    static const double c[] = {-0.33333283926126417, 0.13331491305252643, -0.05374349936588009,
                               0.020650590948052272, -0.005717048690075179};
    Val a = fabs1(k, x), x2 = kb_fmul(k, x, x);
    Val small = kb_fma(k, kb_fmul(k, x, x2), poly(k, x2, c, 5), x);
    Val e = kb_exp(k, kb_fadd(k, a, a));
    Val big = kb_fsub(k, kb_vf(k, 1), kb_fdiv(k, kb_vf(k, 2), kb_fadd(k, e, kb_vf(k, 1))));
    Val near0 = LLVMBuildFCmp(k->b, LLVMRealOLT, a, kb_vf(k, 0.625), "");
    return LLVMBuildSelect(k->b, near0, small, copysign2(k, big, x), "");
}

/* erf x. Error 2e-7 absolute and relative. Odd polynomial below 1, 1 - exp(-Q(|x|)) above, 1 from 4
 * on. */
Val kb_erf(Kb *k, Val x) {
    static const double small_c[] = {
        1.1283791659180988,   -0.3761262714850124,   0.11283600278304343,  -0.02685444813296614,
        0.005189541293987784, -0.000802088924838934, 7.889267951273482e-05};
    static const double large_c[] = {-0.00017055203043297607, 1.1294951590577995,
                                     0.6333866465652668,      0.10823661932748668,
                                     -0.02509149677691591,    0.004160526992208868,
                                     -0.00043230300504881747, 2.090955558731178e-05};
    Val a = fabs1(k, x);
    Val small = kb_fmul(k, x, poly(k, kb_fmul(k, x, x), small_c, 7));
    Val far = LLVMBuildFCmp(k->b, LLVMRealOGT, a, kb_vf(k, 4), "");
    Val clamped = LLVMBuildSelect(k->b, far, kb_vf(k, 4), a, "");
    Val q = LLVMBuildFNeg(k->b, poly(k, clamped, large_c, 8), "");
    Val big = copysign2(k, kb_fsub(k, kb_vf(k, 1), kb_exp(k, q)), x);
    Val near0 = LLVMBuildFCmp(k->b, LLVMRealOLT, a, kb_vf(k, 1), "");
    return LLVMBuildSelect(k->b, near0, small, big, "");
}

/* erf^-1 x. Error 4 ulp; infinite at -1 and 1, NaN beyond. x P(w) with w = -ln(1 - x^2), as Giles
 * (2010) has it: P by w - 5/2 below w = 5 and by sqrt(w) - 3 up to w = 16, which is beyond the last
 * f32 below 1. The fits are ours, with relative errors below 6e-9. 1 - x^2 is made of its factors:
 * both are exact or nearly so where it is small. */
Val kb_erfinv(Kb *k, Val x) {
    static const double near_c[] = {1.5014093592833349,      0.24664028615311745,
                                    -0.004177386784447849,   -0.0012527418833153793,
                                    0.00021834443603034422,  -4.963345585561324e-06,
                                    -3.4627030115974046e-06, 4.66170389890342e-07,
                                    2.3232462791351318e-08,  -8.791051064317831e-09};
    static const double far_c[] = {2.832976795532601,       1.001675092978576,
                                   0.009445697563060448,    -0.00763952729121209,
                                   0.005683029500178584,    -0.003586389661209756,
                                   0.0014962927740356726,   -7.777219465526124e-05,
                                   -0.00031911466280577067, 0.0001297270559743513};
    Val one = kb_vf(k, 1);
    Val w = LLVMBuildFNeg(k->b, kb_log(k, kb_fmul(k, kb_fsub(k, one, x), kb_fadd(k, one, x))), "");
    Val inner = poly(k, kb_fsub(k, w, kb_vf(k, 2.5)), near_c, 10);
    Val root = kb_call(k, "llvm.sqrt", k->vf, &w, 1);
    Val outer = poly(k, kb_fsub(k, root, kb_vf(k, 3)), far_c, 10);
    Val near0 = LLVMBuildFCmp(k->b, LLVMRealOLT, w, kb_vf(k, 5), "");
    return kb_fmul(k, x, LLVMBuildSelect(k->b, near0, inner, outer, ""));
}

/* 1/(1+e^-x). Error 3 ulp; 0 below -88.7, where e^-x overflows. */
Val kb_sigmoid(Kb *k, Val x) {
    return kb_fdiv(k, kb_vf(k, 1), kb_fadd(k, kb_vf(k, 1), kb_exp(k, LLVMBuildFNeg(k->b, x, ""))));
}

/* Phi(x) by Phi(-|x|) = exp(-x^2/2) u P(u), u = 1/(1 + 0.28 |x|): relative error 3e-7, and x^2 3e-8
 * more from the rounding of the exponent, down to where it underflows, so that the far left of GELU
 * keeps five digits and more. The form is Hastings' (1955), the fit ours. */
Val kb_normal_cdf(Kb *k, Val x, Val *gauss) {
    static const double c[] = {0.11164743949831231, 0.11261823052454337,  0.09680521571548162,
                               0.10716501168957726, 0.019860170971284872, 0.06675941050667157,
                               0.03143131188408011, -0.06554180034420655, 0.01925502527337481};
    Val u = kb_fdiv(k, kb_vf(k, 1), kb_fma(k, fabs1(k, x), kb_vf(k, 0.28), kb_vf(k, 1)));
    *gauss = kb_exp(k, kb_fmul(k, kb_fmul(k, x, x), kb_vf(k, -0.5)));
    Val tail = kb_fmul(k, kb_fmul(k, *gauss, u), poly(k, u, c, 9));
    Val left = LLVMBuildFCmp(k->b, LLVMRealOLT, x, kb_vf(k, 0), "");
    return LLVMBuildSelect(k->b, left, tail, kb_fsub(k, kb_vf(k, 1), tail), "");
}

/* s = sigmoid(u), u = 2 sqrt(2 / pi) (x + 0.044715 x^3): gelu_tanh is x s. slope: ds/dx = s (1 - s)
 * u'. Both from q = e^-|u|, s being 1 / (1 + q) or q / (1 + q), so that no digits are lost on
 * either side but to the rounding of the exponent: x s to 7 + 2 x^2 ulp. s (1 - s) is 0 long before
 * x^2 reaches what u' is limited by. */
Val kb_gelu_sigmoid(Kb *k, Val x, Val *slope) {
    const double c = 1.5957691216057308, c3 = 0.044715 * c;
    Val one = kb_vf(k, 1), x2 = kb_fmul(k, x, x);
    Val u = kb_fmul(k, x, kb_fma(k, x2, kb_vf(k, c3), kb_vf(k, c)));
    Val q = kb_exp(k, LLVMBuildFNeg(k->b, fabs1(k, u), ""));
    Val right = kb_fdiv(k, one, kb_fadd(k, one, q)), left = kb_fmul(k, q, right);
    Val far = LLVMBuildFCmp(k->b, LLVMRealOGT, x2, kb_vf(k, 1024), "");
    Val near2 = LLVMBuildSelect(k->b, far, kb_vf(k, 1024), x2, "");
    *slope = kb_fmul(k, kb_fmul(k, left, right), kb_fma(k, near2, kb_vf(k, 3 * c3), kb_vf(k, c)));
    Val negative = LLVMBuildFCmp(k->b, LLVMRealOLT, u, kb_vf(k, 0), "");
    return LLVMBuildSelect(k->b, negative, left, right, "");
}

/* x^(-1/2), from the correctly rounded root and quotient. */
Val kb_rsqrt(Kb *k, Val x) {
    return kb_fdiv(k, kb_vf(k, 1), kb_call(k, "llvm.sqrt", k->vf, &x, 1));
}

/* base/rng.h's vm_mix32 */
static Val mix32(Kb *k, Val x) {
    x = LLVMBuildXor(k->b, x, LLVMBuildLShr(k->b, x, kb_vi(k, 16), ""), "");
    x = LLVMBuildMul(k->b, x, kb_vi(k, 0x7feb352d), "");
    x = LLVMBuildXor(k->b, x, LLVMBuildLShr(k->b, x, kb_vi(k, 15), ""), "");
    x = LLVMBuildMul(k->b, x, kb_vi(k, (int32_t)0x846ca68bu), "");
    return LLVMBuildXor(k->b, x, LLVMBuildLShr(k->b, x, kb_vi(k, 16), ""), "");
}

Val kb_uniform(Kb *k, Val key0, Val key1, Val element) {
    Val x = mix32(k, LLVMBuildXor(k->b, element, kb_splat(k, key0), ""));
    x = mix32(k, LLVMBuildAdd(k->b, x, kb_splat(k, key1), ""));
    Val top = LLVMBuildLShr(k->b, x, kb_vi(k, 8), "");
    return kb_fmul(k, LLVMBuildSIToFP(k->b, top, k->vf, ""), kb_vf(k, 0x1p-24));
}
