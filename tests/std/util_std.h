/* Programs that use the library, as text: elaborated, run by the interpreter in f64 and compiled,
 * and their gradients compared with differences. Failures fail the running test. */
#ifndef VMOEC_TESTS_STD_UTIL_STD_H
#define VMOEC_TESTS_STD_UTIL_STD_H

#include "interp/interp.h"

/* Values of an input or weight; those that a test does not give are case_fill's. */
typedef struct StdData {
    const char *name;
    int n;
    double v[24];
} StdData;

/* The first model of the text. */
IrGraph *std_model(Arena *a, const char *text, int64_t batch);

/* A run of g, a graph before or after passes, with the data (ended by a row without a name) and
 * random step 3.
 */
Interp *std_run(Arena *a, const IrGraph *g, const StdData *data, bool training);

/* Result `name` against numbers, each with a relative error of at most 1e-5 (against the largest of
 * them). */
void std_expect(const Interp *it, const char *name, const double *want, int n);
#define STD_EXPECT(it, name, ...)                                                                  \
    std_expect((it), (name), (const double[]){__VA_ARGS__},                                        \
               (int)(sizeof((const double[]){__VA_ARGS__}) / sizeof(double)))

/* A copy of g with its gradients as results, in training. */
IrGraph *std_differentiated(Arena *a, const IrGraph *g);

/* Every loss and aux alone: its gradient for every element of every weight against central
 * differences in f64, in training. Then everything compiled for every instruction set of the host,
 * in training, against the interpreter: results, and the gradients of all losses together. */
void std_check(Arena *a, const IrGraph *g, const StdData *data);

#endif
