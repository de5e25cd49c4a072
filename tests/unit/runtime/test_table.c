/* Constant tables: their arithmetic, their numbers against the formula, and what an engine does
 * with them. */
#include "interp/interp.h"
#include "runtime/exec/internal.h"
#include "tests/ops/util_jit.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/codegen/util_program.h"

#include <math.h>

Test(runtime_table, functions_are_accurate) {
    for (double x = -650; x < 650; x += 0.137)
        cr_assert(fabs(vm_exp(x) - exp(x)) <= 1e-15 * exp(x), "exp %.17g", x);
    cr_assert_eq(vm_exp(0), 1.0);
    for (double x = 0; x < 1 << 20; x = x * 1.013 + 0.0107) {
        cr_assert(fabs(vm_sin(x) - sin(x)) < 1e-15, "sin %.17g", x);
        cr_assert(fabs(vm_cos(x) - cos(x)) < 1e-15, "cos %.17g", x);
    }
    cr_assert_eq(vm_sin(0), 0.0);
    cr_assert_eq(vm_cos(0), 1.0);
}

static VmTensor table(const char *name, int64_t lines, int64_t dim) {
    return (VmTensor){.name = name, .role = VM_ROLE_TABLE, .rank = 2, .dim = {lines, dim}};
}

/* The whole formula once more, as written in docs/language.md. */
Test(runtime_table, sincos_2d) {
    enum { ROWS = 3, COLS = 5, DIM = 12 };
    float got[ROWS * COLS * DIM];
    VmError err = {.text = ""};
    VmTensor t = table("sincos_2d(3,5,12)", ROWS * COLS, DIM);
    cr_assert_eq(vm_fill_table(&t, got, &err), VM_OK, "%s", err.text);
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLS; c++)
            for (int i = 0; i < 3; i++) {
                const float *line = got + (r * COLS + c) * DIM;
                double w = pow(10000, -i / 3.0);
                cr_assert_float_eq(line[i], sin(c * w), 6e-8);
                cr_assert_float_eq(line[3 + i], cos(c * w), 6e-8);
                cr_assert_float_eq(line[6 + i], sin(r * w), 6e-8);
                cr_assert_float_eq(line[9 + i], cos(r * w), 6e-8);
            }
}

Test(runtime_table, unknown_tables_are_refused) {
    static const char *const bad[] = {"sincos_2d(2,2)", "sincos_2d(2,2,8",  "sincos_2d(2,2,8)x",
                                      "cosines(2,2,8)", "sincos_2d(2,3,8)", "sincos_2d(0,2,8)"};
    float got[64];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        VmError err = {.text = ""};
        VmTensor t = table(bad[i], 4, 8);
        cr_assert_eq(vm_fill_table(&t, got, &err), VM_ENV, "%s", bad[i]);
        cr_assert(strstr(err.text, bad[i]) != NULL, "%s", err.text);
    }
}

/* Through the compiler: image + table, compared with the interpreter's own formula. */
Test(runtime_table, compiled_programs_have_them) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a,
                              "graph @m {\n"
                              "  %0 = input {name = \"image\"} : f32[2,6,8]\n"
                              "  %1 = table {values = \"sincos_2d(2,3,8)\"} : f32[6,8]\n"
                              "  %2 = broadcast %1 {shape = [2,6,8]} : f32[2,6,8]\n"
                              "  %3 = add %2, %2 : f32[2,6,8]\n"
                              "  output \"table\" %1\n"
                              "  output \"twice\" %3\n}\n",
                              PASS_COUNT);
    Interp *it = interp_create(a, g, false);
    interp_run(it);
    Jit j = jit_compile(a, g, PIPE_EVAL, jit_isa(a, 0), "table");
    JitRun r = jit_run(a, &j, 1, 2, "table");
    static const char *const name[] = {"table", "twice"};
    for (int k = 0; k < 2; k++) {
        const JitResult *y = jit_find(&r, name[k]);
        const RefTensor *want = interp_out(it, name[k]);
        for (int64_t i = 0; i < ir_elems(&want->type); i++)
            cr_assert_float_eq(y->data[i], want->data[i], 2e-7, "%s, element %d", name[k], (int)i);
    }
    cr_assert_float_eq(jit_find(&r, "table")->data[8], sin(1),
                       1e-7); /* line 1 is column 1 of row 0 */
    jit_free(&j);
    arena_destroy(a);
}

Test(runtime_table, ir_text_with_wrong_tables) {
    static const char *const bad[][2] = {
        {"sincos_2d(2,3,6)\"} : f32[6,6]", "expected sincos_2d(rows,cols,dim)"},
        {"sincos_2d(2,3)\"} : f32[6,4]", "expected sincos_2d(rows,cols,dim)"},
        {"sincos_2d(2,3,4)\"} : f32[5,4]", "has the type f32[6,4], found f32[5,4]"},
        {"sincos_2d(999999999,999999999,999999996)\"} : f32[5,4]",
         "expected sincos_2d(rows,cols,dim)"}};
    Arena *a = arena_create();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *error = NULL,
                   *text =
                       arena_printf(a, "graph @m {\n  %%0 = table {values = \"%s\n}\n", bad[i][0]);
        cr_assert(!ir_read(a, text, "test", &error), "%s", text);
        cr_assert(strstr(error, bad[i][1]) != NULL, "%s", error);
    }
    arena_destroy(a);
}
