/* Which programs a trainer needs: one for every batch size that a run of its recipe comes to, for
 * evaluating every split, and for predicting. */
#include "driver/build/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct Sizes {
    int64_t at[BUILD_SIZES];
    int n;
} Sizes;

static void add_size(Sizes *s, int64_t n) {
    for (int i = 0; i < s->n; i++)
        if (s->at[i] == n) return;
    if (n > 0 && s->n < BUILD_SIZES) s->at[s->n++] = n;
}

/* Batches of a split: whole ones, and what is left. */
static void add_split(Sizes *s, int64_t images, int64_t batch) {
    if (!images) return;
    add_size(s, batch < images ? batch : images);
    add_size(s, images % batch);
}

/* --batch 1,8,64 or 1..64 */
static VmStatus parse_sizes(const char *text, Sizes *out) {
    for (const char *p = text; p;) {
        char *end;
        errno = 0;
        long long first = strtoll(p, &end, 10), last = first;
        bool good = end != p;
        if (good && !strncmp(end, "..", 2)) {
            p = end + 2;
            last = strtoll(p, &end, 10);
            good = end != p && last >= first;
        }
        if (!good || errno || first < 1 || last > 65536 || (*end && *end != ','))
            return drv_fail(VM_USAGE,
                            "--batch takes numbers of images such as 1,8,64 or 1..16, not '%s'",
                            text);
        if (out->n + last - first >= BUILD_SIZES)
            return drv_fail(VM_USAGE, "--batch asks for more than %d sizes", BUILD_SIZES);
        for (long long k = first; k <= last; k++) add_size(out, k);
        p = *end ? end + 1 : NULL;
    }
    return VM_OK;
}

static int by_size(const void *x, const void *y) {
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static ProgramKind kind_of(VmBuiltUse use) {
    ProgramKind kind = use == VM_BUILT_TRAIN ? KIND_TRAIN : KIND_EVAL;
    if (use == VM_BUILT_EVAL) kind.scores = SCORES_TOO;
    if (use == VM_BUILT_PREDICT) kind.scores = SCORES_ALONE;
    return kind;
}

static VmStatus plan_uses(Build *b, VmBuiltUse use, Sizes *sizes) {
    qsort(sizes->at, (size_t)sizes->n, sizeof sizes->at[0], by_size);
    for (int i = 0; i < sizes->n; i++) {
        VmError err = {.text = ""};
        const Program *p = session_ahead(b->s, kind_of(use), sizes->at[i], &err);
        if (!p) return drv_fail(err.status, "%s", err.text);
        b->program[b->nprogram++] = (BuildProgram){use, p};
    }
    return VM_OK;
}

/* Any number of epochs: what is left at the end of one, too. */
static void sizes_of_data(const Build *b, Sizes *train, Sizes *judge, Sizes *eval) {
    const Session *s = b->s;
    VmImageCounts c = vm_image_counts(s->train_set, s->validation, s->data[VM_TEST]);
    bool drop = s->train->recipe.data.drop_last && c.train >= s->batch;
    add_split(train, drop ? s->batch : c.train, s->batch);
    add_split(judge, c.validation, s->batch);
    add_split(judge, c.test, s->batch);
    add_split(eval, c.train, s->batch);
    add_split(eval, c.validation, s->batch);
    add_split(eval, c.test, s->batch);
}

VmStatus build_plan(Build *b) {
    Session *s = b->s;
    Sizes asked = {.n = 0}, train = asked, judge = asked;
    const IrGraph *g = session_graph(s, s->batch);
    VmStatus st = b->a->o.batch__sizes ? parse_sizes(b->a->o.batch__sizes, &asked) : VM_OK;
    if (st) return st;
    if (!g) return VM_INPUT;
    Sizes eval = asked, predict = asked;
    for (int i = 0; i < asked.n; i++) {
        add_size(&judge, asked.at[i]);
        if (b->lib) add_size(&train, asked.at[i]);
    }
    if (s->data[VM_TRAIN]) sizes_of_data(b, &train, &judge, &eval);
    if (!s->data[VM_TRAIN] || b->lib) add_size(&train, s->batch);
    add_size(&judge, s->batch);
    add_size(&eval, s->batch);
    if (!b->a->o.batch__sizes) add_size(&predict, s->batch);
    add_size(&predict, 1);
    if (session_has_loss(g)) st = plan_uses(b, VM_BUILT_TRAIN, &train);
    if (!st && session_has_loss(g)) st = plan_uses(b, VM_BUILT_JUDGE, &judge);
    if (!st && !b->lib) st = plan_uses(b, VM_BUILT_EVAL, &eval);
    return st || !pass_scores_of(g) ? st : plan_uses(b, VM_BUILT_PREDICT, &predict);
}
