/* Blocks of matrix products: what the model chooses from caches, blocks given from outside, and
 * that neither changes a bit of any result. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "codegen/plan/blocks.h"
#include "tests/unit/codegen/util_module.h"
#include "tests/unit/codegen/util_program.h"

static CgTarget caches(int64_t l1d, int64_t l2) {
    CgTarget t = *program_target(0);
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
        cr_assert(
            le(long, (long)(l.packed_kc * 256 + l.rows * 4096 + l.rows * l.cols * 4), (long)l2));
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

/* ---- whole programs -------------------------------------------------------------------------- */

static const PlanCluster *first_product(const Plan *p, CgProduct *out) {
    for (int i = 0; i < p->ncluster; i++)
        if (block_product(&p->cluster[i], out)) return &p->cluster[i];
    cr_fatal("no product");
}

static const char *signature(Arena *a, const CgTarget *t, const CgTuning *tuning) {
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", 3);
    program_run(g, PIPE_TRAIN);
    CgProduct product;
    return first_product(plan_create_tuned(a, g, t, pack_table_create(a), tuning), &product)
        ->signature;
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

static Made make(Arena *a, const CgTarget *t, const CgTuning *tuning) {
    return module_make(a, t, &(CgOptions){.workers = 2}, tuning, 9);
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
    const CgTarget *host = module_host(a);
    Made base = make(a, host, NULL);
    uint64_t want = module_train(&base, 1);
    for (int v = 0; v < 2; v++) {
        CgTuning t = v ? other_blocks(a, &base, 0.3, 2) : other_blocks(a, &base, 2.5, 0.4);
        Made tuned = make(a, host, &t);
        cr_assert(gt(int, differences(&base, &tuned), 5));
        for (int threads = 1; threads <= 3; threads++)
            cr_assert(module_train(&tuned, threads) == want, "variant %d, %d threads", v, threads);
        cg_module_destroy(tuned.m);
    }
    CgTarget tiny = *host; /* other chunks of inner dimensions too */
    tiny.l1d = 8 << 10;
    tiny.l2 = 64 << 10;
    Made small = make(a, &tiny, NULL);
    cr_assert(gt(int, differences(&base, &small), 5));
    cr_assert(module_train(&small, 2) == want);
    cg_module_destroy(small.m);
    cg_module_destroy(base.m);
    arena_destroy(a);
}
