/* Blocks of matrix products: what the model chooses from caches, blocks given from outside, and that neither
 * changes a bit of any result. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "codegen/blocks.h"
#include "runtime/vmoe.h"
#include "tests/unit/util_program.h"

static CgTarget caches(int64_t l1d, int64_t l2) {
    CgTarget t = program_targets[0];
    t.l1d = l1d;
    t.l2 = l2;
    return t;
}

Test(blocks, the_limits_of_a_known_machine) {
    CgTarget t = caches(48 << 10, 1 << 20);
    BlockLimits l = block_limits(&t);
    cr_assert(eq(long, (long)l.packed_kc, 2048));
    cr_assert(eq(long, (long)l.strided_kc, 256));
    cr_assert(eq(long, (long)l.rows, 96));
    cr_assert(eq(long, (long)l.strided_rows, 196));
    cr_assert(eq(long, (long)l.cols, 256));
}

Test(blocks, unknown_caches_are_usual_ones) {
    CgTarget t = caches(0, 0), usual = caches(32 << 10, 1 << 20);
    BlockLimits a = block_limits(&t), b = block_limits(&usual);
    cr_assert(eq(int, memcmp(&a, &b, sizeof a), 0));
}

/* Whatever a machine reports, the parts fit the second level, or the least blocks are taken. */
Test(blocks, limits_stay_sensible_for_any_caches) {
    for (int64_t l2 = 1; l2 < (int64_t)1 << 40; l2 *= 2) {
        CgTarget t = caches(l2 / 16 + 1, l2);
        BlockLimits l = block_limits(&t);
        cr_assert(l.rows >= 24 && l.rows <= 192 && l.strided_rows >= 48 && l.strided_rows <= 392);
        cr_assert(l.cols >= 64 && l.cols <= 512 && l.packed_kc >= 256 && l.packed_kc <= 4096);
        cr_assert(l.strided_kc >= 64 && l.strided_kc <= 1024);
        if (l2 < 256 << 10) continue;
        cr_assert(le(long, (long)(l.packed_kc * 256 + l.rows * 4096 + l.rows * l.cols * 4), (long)l2));
    }
}

Test(blocks, given_blocks_become_whole_tiles_within_the_product) {
    Tile tile = {.rows = 7, .vectors = 4, .nr = 64};
    Blocks b = block_fit(&tile, 100, 5, 50, 200);
    cr_assert(eq(long, (long)b.rows, 49));
    cr_assert(eq(long, (long)b.panels, 3));
    b = block_fit(&tile, 100, 5, 1, 1);
    cr_assert(eq(long, (long)b.rows, 7));
    cr_assert(eq(long, (long)b.panels, 1));
    b = block_fit(&tile, 100, 5, CG_BLOCK_MAX, CG_BLOCK_MAX);
    cr_assert(eq(long, (long)b.rows, 105));
    cr_assert(eq(long, (long)b.panels, 5));
}

/* ---- whole programs -------------------------------------------------------------------------------------
 */

static const PlanCluster *first_product(const Plan *p, CgProduct *out) {
    for (int i = 0; i < p->ncluster; i++)
        if (block_product(&p->cluster[i], out)) return &p->cluster[i];
    cr_fatal("no product");
}

static const char *signature(Arena *a, const CgTarget *t, const CgTuning *tuning) {
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", 3);
    program_run(g, PIPE_TRAIN);
    CgProduct product;
    return first_product(plan_create_tuned(a, g, t, pack_table_create(a), tuning), &product)->signature;
}

Test(blocks, caches_and_given_blocks_are_in_the_signature) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", 3);
    program_run(g, PIPE_TRAIN);
    CgBlocks b = {.rows = 7, .cols = 64};
    CgTarget large = caches(48 << 10, 1 << 20), small = caches(48 << 10, 256 << 10);
    first_product(plan_create(a, g, &large, pack_table_create(a)), &b.product);
    CgTuning tuning = {&b, 1};
    const char *plain = signature(a, &large, NULL);
    cr_assert(eq(str, (char *)plain, (char *)signature(a, &large, NULL)));
    cr_assert(ne(str, (char *)plain, (char *)signature(a, &small, NULL)));
    cr_assert(ne(str, (char *)plain, (char *)signature(a, &large, &tuning)));
    b.product.k++; /* another product's line */
    cr_assert(eq(str, (char *)plain, (char *)signature(a, &large, &tuning)));
    arena_destroy(a);
}

typedef struct Made {
    CgModule *m;
    VmProgram *p;
} Made;

static Made make(Arena *a, const CgTarget *t, const CgTuning *tuning) {
    const char *error = NULL;
    Made x = {.m = cg_module_create(t)};
    cg_module_options(x.m, &(CgOptions){2, NULL});
    cg_module_tuning(x.m, tuning);
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", 9);
    program_run(g, PIPE_TRAIN);
    x.p = cg_add_program(x.m, g, "test", 9, 0, true);
    error = cg_module_compile(x.m);
    cr_assert_null(error, "%s", error);
    return x;
}

static int64_t elems(const VmTensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++) n *= t->dim[d];
    return n;
}

/* Every weight's bits after two steps from fixed inputs, mixed. */
static uint64_t weights_after_two_steps(const Made *x, int threads) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK);
    cr_assert_eq(vm_engine_add(e, x->p, &err), 0, "%s", err.text);
    cr_assert_eq(vm_engine_init(e, 5, &err), VM_OK);
    for (int i = 0; i < x->p->ntensor; i++) {
        const VmTensor *t = &x->p->tensor[i];
        if (t->role != VM_ROLE_INPUT || t->dtype != 0) continue;
        float *v = vm_engine_data(e, 0, t->name);
        for (int64_t k = 0, n = elems(t); k < n; k++) v[k] = (float)(1 + k % 17) / 17;
    }
    for (uint64_t step = 0; step < 2; step++) vm_engine_run(e, 0, 9, step);
    uint64_t sum = 0;
    for (int i = 0; i < x->p->ntensor; i++) {
        const VmTensor *t = &x->p->tensor[i];
        if (t->role != VM_ROLE_PARAM) continue;
        const uint32_t *v = vm_engine_data(e, 0, t->name);
        for (int64_t k = 0, n = elems(t); k < n; k++) sum = sum * 31 + v[k];
    }
    vm_engine_destroy(e);
    return sum;
}

static CgTuning other_blocks(Arena *a, const Made *x, double rows, double cols) {
    CgBlocks *list = ARENA_ARRAY(a, CgBlocks, x->p->ntask);
    CgTuning t = {list, 0};
    CgChosen c;
    for (int i = 0; i < x->p->ntask; i++) {
        if (!cg_task_product(x->m, x->p, i, &c)) continue;
        list[t.n++] = cg_blocks_near(&c, (int64_t)(rows * (double)c.blocks.rows),
                                     (int64_t)(cols * (double)c.blocks.cols));
    }
    return t;
}

/* How many products of x have other blocks than those of y. */
static int differences(const Made *x, const Made *y) {
    CgChosen a, b;
    int n = 0;
    for (int i = 0; i < x->p->ntask; i++)
        if (cg_task_product(x->m, x->p, i, &a) && cg_task_product(y->m, y->p, i, &b))
            n += a.blocks.rows != b.blocks.rows || a.blocks.cols != b.blocks.cols;
    return n;
}

Test(blocks, results_keep_their_bits, .timeout = 120) {
    Arena *a = arena_create();
    const char *error = NULL;
    const CgTarget *host = cg_target_host(a, &error);
    cr_assert_not_null(host, "%s", error);
    Made base = make(a, host, NULL);
    uint64_t want = weights_after_two_steps(&base, 1);
    for (int v = 0; v < 2; v++) {
        CgTuning t = v ? other_blocks(a, &base, 0.3, 2) : other_blocks(a, &base, 2.5, 0.4);
        Made tuned = make(a, host, &t);
        cr_assert(gt(int, differences(&base, &tuned), 5));
        for (int threads = 1; threads <= 3; threads++)
            cr_assert(weights_after_two_steps(&tuned, threads) == want, "variant %d, %d threads", v, threads);
        cg_module_destroy(tuned.m);
    }
    CgTarget tiny = *host; /* other chunks of inner dimensions too */
    tiny.l1d = 8 << 10;
    tiny.l2 = 64 << 10;
    Made small = make(a, &tiny, NULL);
    cr_assert(gt(int, differences(&base, &small), 5));
    cr_assert(weights_after_two_steps(&small, 2) == want);
    cg_module_destroy(small.m);
    cg_module_destroy(base.m);
    arena_destroy(a);
}
