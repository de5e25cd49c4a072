/* Generated code as text, before and after LLVM: vectors of the right width, own mathematics, one
 * kernel for equal clusters. What it computes is tested in tests/ops. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

#include "codegen/codegen.h"
#include "tests/unit/codegen/util_program.h"

typedef struct Code {
    const char *llvm, *assembly;
    CgStats stats;
} Code;

/* Everything one graph becomes; `text` false: only the numbers. */
static Code generate(Arena *a, IrGraph *g, const CgTarget *t, bool text) {
    const char *error = NULL;
    CgModule *m = cg_module_create(t);
    cg_add_program(m, g, "test", 1, 0);
    Text llvm = text_new(a), assembly = text_new(a);
    if (text) {
        cg_print_llvm(&llvm, m);
        error = cg_print_asm(&assembly, m);
        cr_assert_null(error, "%s", error);
        cr_assert(llvm.len > 0 && assembly.len > 0);
    }
    Code c = {llvm.data, assembly.data, *cg_module_stats(m)};
    cg_module_destroy(m);
    return c;
}

static Code generate_model(Arena *a, const char *set, Pipeline pipe, const CgTarget *t, bool text) {
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", set, 2);
    program_run(g, pipe);
    return generate(a, g, t, text);
}

/* Every function that vectors could be tempted to take from libm, and all shapes of kernels. */
static const char all_math[] =
    "graph @t {\n"
    "  %0 = input {name = \"x\"} : f32[7,19]\n"
    "  %1 = exp %0 : f32[7,19]\n"
    "  %2 = log %1 : f32[7,19]\n"
    "  %3 = tanh %2 : f32[7,19]\n"
    "  %4 = erf %3 : f32[7,19]\n"
    "  %5 = gelu %4 : f32[7,19]\n"
    "  %6 = gelu_grad %5 : f32[7,19]\n"
    "  %7 = sigmoid %6 : f32[7,19]\n"
    "  %8 = sqrt %7 : f32[7,19]\n"
    "  %9 = rsqrt %8 : f32[7,19]\n"
    "  %10 = abs %9 : f32[7,19]\n"
    "  %11 = maximum %10, %0 : f32[7,19]\n"
    "  %12 = rng_key {stream = \"s\"} : i32[2]\n"
    "  %13 = uniform %12 {shape = [7,19]} : f32[7,19]\n"
    "  %14 = less %13, %11 : f32[7,19]\n"
    "  %15 = mul %14, %11 : f32[7,19]\n"
    "  %16 = softmax %15 : f32[7,19]\n"
    "  %17 = input {name = \"l\"} : i32[7]\n"
    "  %18 = xent %16, %17 : f32[7]\n"
    "  %19, %20 = layer_norm %0 {eps = 1e-06} : f32[7,19], f32[7,1]\n"
    "  %21 = reshape %19 {shape = [1,7,19]} : f32[1,7,19]\n"
    "  %22, %23 = sdpa %21, %21, %21, %12 {heads = 1, scale = 0.5, dropout = 0.1} :"
    " f32[1,7,19], f32[1,1,7]\n"
    "  output \"a\" %18\n"
    "  output \"b\" %22\n"
    "}\n";

static bool may_be_called(const char *assembly, const char *name, size_t len) {
    static const char *const moves[] = {"memset", "memcpy", "memmove"};
    for (int i = 0; i < 3; i++)
        if (strlen(moves[i]) == len && !strncmp(name, moves[i], len)) return true;
    for (const char *at = assembly; (at = strchr(at, '\n')); at++) /* a function of this module */
        if (!strncmp(at + 1, name, len) && at[1 + len] == ':') return true;
    return false;
}

/* What an architecture's assembly says: of a call, a product, a fused multiply-add; and which
 * registers are those of vectors, by their size. */
typedef struct Words {
    const char *triple, *call, *product, *fused;
    struct {
        int floats;
        const char *name;
    } vectors[3];
} Words;

static const Words *words_of(const CgTarget *t) {
    static const Words words[] = {
        {"x86_64", "call", "vmulps", "vfmadd", {{4, "xmm"}, {8, "ymm"}, {16, "zmm"}}},
        {"aarch64", "bl", "fmul", "fmla", {{4, ".4s"}, {8, "z0.s"}, {16, "z1.s"}}},
        {"wasm32", "call", "f32x4.mul", "madd", {{4, "f32x4"}, {8, "f32x8"}, {16, "f32x16"}}},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strncmp(words[i].triple, t->triple, strlen(words[i].triple))) return &words[i];
    cr_assert_fail("no words for %s", t->triple);
    return NULL;
}

/* Fails when anything but own functions and moves of memory is called. */
static void check_calls(const char *assembly, const char *call, const char *what) {
    for (const char *at = assembly; (at = strstr(at, call)); at++) {
        const char *name = at + strlen(call);
        name += *name == 'q';
        if ((at > assembly && !isspace((unsigned char)at[-1])) || !isspace((unsigned char)*name))
            continue;
        while (*name == ' ' || *name == '\t') name++;
        size_t len = strcspn(name, "@ \t\n");
        cr_assert(may_be_called(assembly, name, len), "%s: the code calls %.*s", what, (int)len,
                  name);
    }
}

static void check_declarations(const char *llvm, const char *what) {
    for (const char *at = llvm; (at = strstr(at, "\ndeclare ")); at++) {
        const char *name = strchr(at, '@');
        cr_assert(!strncmp(name, "@llvm.", 6), "%s: the code declares %.40s", what, name);
    }
}

static void check_text(Arena *a, const Code *c, const CgTarget *t) {
    const char *what = t->id;
    const Words *w = words_of(t);
    int widest = t->vector_floats * (t->has & CG_ABREAST ? 2 : 1);
    const char *fits = arena_printf(a, "<%d x float>", t->vector_floats),
               *wider = arena_printf(a, "<%d x float>", 2 * widest);
    cr_assert_not_null(strstr(c->llvm, fits), "%s", what);
    cr_assert_null(strstr(c->llvm, wider), "%s: vectors are too wide", what);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(strstr(c->assembly, w->vectors[i].name) != NULL,
                     w->vectors[i].floats <= t->vector_floats, "%s: registers of %d floats", what,
                     w->vectors[i].floats);
    check_declarations(c->llvm, what);
    check_calls(c->assembly, w->call, what);
}

Test(codegen_text, vectors_fit_and_mathematics_is_our_own) {
    Arena *a = arena_create();
    const CgTarget *t;
    for (int i = 0; (t = cg_target_at(i)); i++) {
        Code c = generate(a, program_read(a, all_math, PASS_fuse), t, true);
        check_text(a, &c, t);
    }
    arena_destroy(a);
}

Test(codegen_text, a_training_step_of_the_sparse_model) {
    Arena *a = arena_create();
    const CgTarget *t;
    for (int i = 0; (t = cg_target_at(i)); i++) {
        Code c = generate_model(a, "dim=32", PIPE_TRAIN, t, true);
        check_text(a, &c, t);
        bool fused = t->has & CG_FUSED;
        cr_assert_eq(strstr(c.llvm, "@llvm.fma.") != NULL, fused, "%s", t->id);
        cr_assert_eq(strstr(c.assembly, words_of(t)->fused) != NULL, fused, "%s", t->id);
    }
    arena_destroy(a);
}

/* a*b + c written as two operations stays two: results must not depend on what LLVM contracts. */
Test(codegen_text, nothing_is_contracted) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a,
                              "graph @t {\n"
                              "  %0 = input {name = \"x\"} : f32[64]\n"
                              "  %1 = input {name = \"y\"} : f32[64]\n"
                              "  %2 = mul %0, %1 : f32[64]\n"
                              "  %3 = add %2, %1 : f32[64]\n"
                              "  output \"a\" %3\n"
                              "}\n",
                              PASS_fuse);
    const CgTarget *t;
    for (int i = 0; (t = cg_target_at(i)); i++) {
        Code c = generate(a, g, t, true);
        cr_assert_not_null(strstr(c.assembly, words_of(t)->product), "%s", t->id);
        cr_assert_null(strstr(c.assembly, words_of(t)->fused), "%s", t->id);
    }
    arena_destroy(a);
}

/* Depth costs no code. */
Test(codegen_text, equal_blocks_are_compiled_once) {
    static const Pipeline pipelines[] = {PIPE_EVAL, PIPE_TRAIN};
    for (int p = 0; p < 2; p++) {
        Arena *a = arena_create();
        const CgTarget *t = cg_target_at(0);
        CgStats four = generate_model(a, "depth=4", pipelines[p], t, false).stats;
        CgStats twelve = generate_model(a, "depth=12", pipelines[p], t, false).stats;
        cr_assert(twelve.clusters > 2 * four.clusters, "%d clusters, then %d", four.clusters,
                  twelve.clusters);
        cr_assert_eq(twelve.kernels, four.kernels, "%d kernels, then %d", four.kernels,
                     twelve.kernels);
        arena_destroy(a);
    }
}

static size_t code_size(const char *set, const CgTarget *t) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "tests/unit/wide.vmoe", set, 128);
    program_run(g, PIPE_TRAIN);
    size_t n = strlen(generate(a, g, t, true).llvm);
    arena_destroy(a);
    return n;
}

/* What is written out per line of a row or per expert would make compile time grow with a model's
 * sizes. */
Test(codegen_text, code_does_not_grow_with_sizes) {
    const CgTarget *t;
    for (int i = 0; (t = cg_target_at(i)); i++) {
        size_t wide = code_size("width=4096", t), wider = code_size("width=65536", t);
        cr_assert(wider < wide + wide / 16, "%s: %zu bytes of code, then %zu", t->id, wide, wider);
        size_t few = code_size("experts=64", t), many = code_size("experts=65536", t);
        cr_assert(many < few + few / 8, "%s: %zu bytes of code, then %zu", t->id, few, many);
    }
}

static int kernels_of(const char *second) {
    Arena *a = arena_create();
    const char *text = arena_printf(a,
                                    "graph @t {\n"
                                    "  %%0 = input {name = \"a\"} : f32[12,8]\n"
                                    "  %%1 = input {name = \"b\"} : f32[12,8]\n"
                                    "  %%2 = exp %%0 : f32[12,8]\n"
                                    "  %%3 = exp %%1 : f32[12,8]\n"
                                    "  %%4 = reshape %%2 {shape = [2,2,3,8]} : f32[2,2,3,8]\n"
                                    "  %%5 = reshape %%3 {shape = [%s,8]} : f32[%s,8]\n"
                                    "  %%6 = sum %%4 {axes = [0,2]} : f32[2,8]\n"
                                    "  %%7 = sum %%5 {axes = [0,2]} : f32[2,8]\n"
                                    "  output \"y\" %%6\n"
                                    "  output \"z\" %%7\n"
                                    "}\n",
                                    second, second);
    int n = generate(a, program_read(a, text, PASS_fuse), cg_target_at(0), false).stats.kernels;
    arena_destroy(a);
    return n;
}

/* Tiles of few columns: all sums in registers, and no rows left over where rows are read by
 * vectors. */
Test(codegen_text, narrow_tiles_fit_the_registers) {
    const CgTarget *t = program_target(0);
    for (int cols = 1; cols <= t->vector_floats * 3 / 4; cols++)
        for (int64_t rows = t->vector_floats; rows <= 640; rows += t->vector_floats) {
            Tile side = tile_choose_narrow(t, cols, rows, true),
                 apart = tile_choose_narrow(t, cols, rows, false);
            int sums = side.rows / t->vector_floats * cols;
            cr_assert(sums < t->vector_registers - 1, "%d columns: %d sums", cols, sums);
            cr_assert_eq(rows % side.rows, 0);
            cr_assert(side.narrow == cols && side.nr == t->vector_floats);
            cr_assert_eq(apart.rows, t->vector_floats);
        }
}

/* The host's target is a row of the table, and a row's name finds it. */
Test(codegen_text, targets_have_names) {
    Arena *a = arena_create();
    const char *error = NULL;
    const CgTarget *host = cg_target_host(a, &error), *t;
    cr_assert_not_null(host, "%s", error);
    int n = 0, hosts = 0;
    for (; (t = cg_target_at(n)); n++) {
        cr_assert_eq(cg_target_named(t->id), t);
        cr_assert(!t->native && strcmp(t->cpu, "host"), "%s is for any CPU", t->id);
        hosts += !strcmp(t->id, host->id) && !strcmp(t->isa, host->isa) && t->has == host->has;
    }
    cr_assert(n >= 5 && hosts == 1 && host->native);
    cr_assert_null(cg_target_named("avx5"));
    cr_assert_null(cg_target_at(-1));
    arena_destroy(a);
}

/* A target for tests is met by its name in VMOEC_ISA and in no other way: avx512's sixteen floats,
 * without its instructions. */
Test(codegen_text, a_target_for_tests_is_not_offered) {
    Arena *a = arena_create();
    const char *error = NULL;
    setenv("VMOEC_ISA", "avx512-halves", 1);
    const CgTarget *t = cg_target_host(a, &error);
    if (!t) cr_skip_test("%s", error);
    cr_assert(t->native && t->vector_floats == 16 && !(t->has & CG_SCALE));
    cr_assert_null(cg_target_named(t->id));
    for (int i = 0; cg_target_at(i); i++) cr_assert_str_neq(cg_target_at(i)->isa, t->isa);
    Code c = generate(a, program_read(a, all_math, PASS_fuse), t, true);
    cr_assert_not_null(strstr(c.llvm, "<16 x float>"));
    cr_assert_null(strstr(c.assembly, "zmm"));
    setenv("VMOEC_ISA", "avx5", 1);
    cr_assert_null(cg_target_host(a, &error));
    cr_assert_null(strstr(error, "halves"), "%s", error);
    unsetenv("VMOEC_ISA");
    cr_assert_str_neq(cg_target_host(a, &error)->isa, "avx512-halves");
    arena_destroy(a);
}

Test(codegen_text, only_equal_clusters_share_a_kernel) {
    cr_assert_eq(kernels_of("2,2,3"), 1);
    cr_assert_eq(kernels_of("3,2,2"), 2);
}

/* Accumulators, one vector of b per column vector and one broadcast of a: all in registers. */
Test(codegen_text, tiles_fit_the_registers) {
    const CgTarget *t;
    for (int i = 0; (t = cg_target_at(i)); i++) {
        for (int64_t n = 1; n <= 2000; n++) {
            Tile tile = tile_choose(t, n);
            int used = tile.rows * tile.vectors + tile.vectors + 1;
            cr_assert(tile.rows >= 1 && tile.vectors >= 1);
            cr_assert(used <= t->vector_registers, "%s, n %lld: %d registers", t->isa, (long long)n,
                      used);
            cr_assert(tile.rows * tile.vectors >= 8, "%s, n %lld: too few sums to hide latency",
                      t->isa, (long long)n);
            cr_assert_eq(tile.nr, tile.vectors * t->vector_floats);
            int64_t padded = (n + tile.nr - 1) / tile.nr * tile.nr;
            cr_assert(padded - n < tile.nr && (n < 256 || padded <= n + n / 8),
                      "%s, n %lld: %lld columns", t->isa, (long long)n, (long long)padded);
        }
    }
}
