/* As much of Criterion as the runtime's tests use, for a binary under ThreadSanitizer: Criterion
 * itself moves memory between processes in a way that ThreadSanitizer does not survive. Found in
 * place of Criterion's own header by MODE=tsan (Makefile). */
#ifndef VMOEC_TESTS_HARDENING_ALONE_CRITERION_H
#define VMOEC_TESTS_HARDENING_ALONE_CRITERION_H
#pragma GCC system_header /* macros without further arguments, as Criterion has them */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct AloneTest {
    const char *suite, *name;
    void (*run)(void), (*init)(void);
    double timeout; /* seconds; 0: none of its own */
    struct AloneTest *next;
} AloneTest;

void alone_add(AloneTest *t);
_Noreturn void alone_fail(const char *file, int line, const char *what, const char *fmt, ...);
_Noreturn void alone_skip(const char *fmt, ...);

#define Test(suite_, name_, ...)                                                                   \
    static void suite_##_##name_##_run(void);                                                      \
    static AloneTest suite_##_##name_##_row = {                                                    \
        .suite = #suite_, .name = #name_, .run = suite_##_##name_##_run, __VA_ARGS__};             \
    __attribute__((constructor)) static void suite_##_##name_##_add(void) {                        \
        alone_add(&suite_##_##name_##_row);                                                        \
    }                                                                                              \
    static void suite_##_##name_##_run(void)

/* A message is a literal, or there is none. */
#define cr_assert(x, ...) ((x) ? (void)0 : alone_fail(__FILE__, __LINE__, #x, "" __VA_ARGS__))
#define cr_assert_not(x, ...) cr_assert(!(x), __VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), __VA_ARGS__)
#define cr_assert_null(p, ...) cr_assert((p) == NULL, __VA_ARGS__)
#define cr_assert_not_null(p, ...) cr_assert((p) != NULL, __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0, __VA_ARGS__)
#define cr_assert_str_empty(a, ...) cr_assert((a)[0] == '\0', __VA_ARGS__)
#define cr_assert_float_eq(a, b, e, ...)                                                           \
    cr_assert((a) - (b) <= (e) && (b) - (a) <= (e), __VA_ARGS__)
#define cr_skip(...) alone_skip("" __VA_ARGS__)
#define cr_skip_test(...) alone_skip("" __VA_ARGS__)

#endif
