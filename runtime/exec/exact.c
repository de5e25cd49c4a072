/* The few mathematical functions whose results end up in weights, tables or learning rates, built
 * from IEEE operations only (+ - * / sqrt), so that a run's bits do not depend on the C library or
 * its version. Requires that the compiler does not contract a * b + c (-ffp-contract=off).
 *
 * Does not: handle arguments outside the stated domains. */
#include "runtime/exec/internal.h"

#include <math.h>
#include <string.h>

double vm_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(1023) << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6a09e667f3bcdp+0) { /* sqrt(2): keep m within sqrt(1/2)..sqrt(2) */
        m *= 0.5;
        exponent++;
    }
    /* log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172 */
    double s = (m - 1) / (m + 1), z = s * s, sum = 0;
    for (int k = 21; k >= 3; k -= 2) sum = (sum + 1.0 / k) * z;
    /* ln 2 in two parts: the first has few enough bits for exponent * high to be exact */
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    return exponent * ln2_high + (2 * s + (2 * s * sum + exponent * ln2_low));
}

static double cos_series(double y) { /* |y| <= pi/4 */
    double z = y * y, sum = 0;
    for (int k = 18; k >= 2; k -= 2) sum = (1 + sum) * -z / (k * (k - 1));
    return 1 + sum;
}

static double sin_series(double y) {
    double z = y * y, sum = 0;
    for (int k = 19; k >= 3; k -= 2) sum = (1 + sum) * -z / (k * (k - 1));
    return y * (1 + sum);
}

double vm_exp(double x) {
    /* x = k ln 2 + r, |r| <= ln 2 / 2: k ln2_high is exact */
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    double k = (double)(int64_t)(x / (ln2_high + ln2_low) + (x < 0 ? -0.5 : 0.5));
    double r = (x - k * ln2_high) - k * ln2_low, sum = 1;
    for (int i = 16; i >= 1; i--) sum = 1 + sum * r / i;
    uint64_t bits = (uint64_t)((int64_t)k + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

/* sin(x + quarters pi/2): pi/2 in three parts of which the first two times a quarter count are
 * exact. */
static double sin_quarters(double x, int64_t quarters) {
    const double high = 0x1.921fb54400000p+0, middle = 0x1.0b4611a600000p-34,
                 low = 0x1.3198a2e037073p-69;
    int64_t n = (int64_t)(x / (high + middle) + 0.5);
    double y = ((x - (double)n * high) - (double)n * middle) - (double)n * low;
    quarters = (quarters + n) & 3;
    double v = quarters & 1 ? cos_series(y) : sin_series(y);
    return quarters & 2 ? -v : v;
}

double vm_sin(double x) {
    return sin_quarters(x, 0);
}

double vm_cos(double x) {
    return sin_quarters(x, 1);
}

double vm_cos_pi(double x) {
    const double pi = 0x1.921fb54442d18p+1;
    if (x <= 0.25) return cos_series(pi * x);
    if (x < 0.75) return sin_series(pi * (0.5 - x));
    return -cos_series(pi * (1 - x));
}

double vm_power(double x, uint64_t n) {
    double result = 1;
    for (; n; n >>= 1, x *= x) {
        if (n & 1) result *= x;
    }
    return result;
}

static double ratio8(const double num[8], const double den[8], double r) {
    double a = num[7], b = den[7];
    for (int i = 6; i >= 0; i--) {
        a = a * r + num[i];
        b = b * r + den[i];
    }
    return a / b;
}

/* Wichura's algorithm AS 241 (Applied Statistics 37, 1988), relative error about 1e-16. */
double vm_normal_quantile(double p) {
    static const double centre_num[8] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                                         1.9715909503065514427e+3, 1.3731693765509461125e+4,
                                         4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                         3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double centre_den[8] = {1.0,
                                         4.2313330701600911252e+1,
                                         6.8718700749205790830e+2,
                                         5.3941960214247511077e+3,
                                         2.1213794301586595867e+4,
                                         3.9307895800092710610e+4,
                                         2.8729085735721942674e+4,
                                         5.2264952788528545610e+3};
    static const double middle_num[8] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                         5.76949722146069140550e0,  3.64784832476320460504e0,
                                         1.27045825245236838258e0,  2.41780725177450611770e-1,
                                         2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double middle_den[8] = {1.0,
                                         2.05319162663775882187e0,
                                         1.67638483018380384940e0,
                                         6.89767334985100004550e-1,
                                         1.48103976427480074590e-1,
                                         1.51986665636164571966e-2,
                                         5.47593808499534494600e-4,
                                         1.05075007164441684324e-9};
    static const double tail_num[8] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                       1.78482653991729133580e0,  2.96560571828504891230e-1,
                                       2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                       2.71155556874348757815e-5, 2.01033439929228813265e-7};
    static const double tail_den[8] = {1.0,
                                       5.99832206555887937690e-1,
                                       1.36929880922735805310e-1,
                                       1.48753612908506148525e-2,
                                       7.86869131145613259100e-4,
                                       1.84631831751005468180e-5,
                                       1.42151175831644588870e-7,
                                       2.04426310338993978564e-15};
    double q = p - 0.5;
    if (q >= -0.425 && q <= 0.425) return q * ratio8(centre_num, centre_den, 0.180625 - q * q);
    double r = sqrt(-vm_log(q < 0 ? p : 1 - p));
    double x = r <= 5 ? ratio8(middle_num, middle_den, r - 1.6) : ratio8(tail_num, tail_den, r - 5);
    return q < 0 ? -x : x;
}
