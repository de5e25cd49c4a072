#include "tests/unit/runtime/util_toy.h"

#include <math.h>

#include "base/rng.h"
#include "tests/unit/runtime/runtime_test.h"

enum { PIXELS = 16, CLASSES = 3, MOST = 8, SLOT = 1024 };

/* Places in the work space, in slots of SLOT bytes; a probability or pixel array of MOST images
 * fits one. */
enum {
    AT_IMAGE,
    AT_LABEL,
    AT_STEP,
    AT_KEY,
    AT_DELTA,
    AT_TERMS,
    AT_LOSS,
    AT_AUX,
    AT_ACCURACY,
    AT_COUNT
};

int toy_kill_at_run; /* the process dies in this run of the optimizer; 0: never */
int toy_stop_at_run;
volatile sig_atomic_t toy_stop;
static int runs;
uint32_t toy_seen_key[64]; /* of the steps of this process */
int toy_seen_keys;

/* delta[n][C] = (softmax - onehot) / batch; terms[n] = loss, correct. key NULL: no dropout. */
static void forward(void *const *args, int64_t batch, int64_t begin, int64_t end) {
    const float *image = args[0], *w = args[2];
    const int32_t *label = args[1];
    const uint32_t *key = args[3];
    float *delta = args[4], *terms = args[5];
    for (int64_t n = begin; n < end; n++) {
        float z[CLASSES] = {0}, sum = 0;
        int best = 0;
        for (int i = 0; i < PIXELS; i++) {
            float keep = key && vm_rng_uniform(key, (uint32_t)(n * PIXELS + i)) < 0.1f ? 0 : 1;
            for (int c = 0; c < CLASSES; c++)
                z[c] += keep * image[n * PIXELS + i] * w[i * CLASSES + c];
        }
        for (int c = 1; c < CLASSES; c++) best = z[c] > z[best] ? c : best;
        float top = z[best];
        for (int c = 0; c < CLASSES; c++) sum += z[c] = expf(z[c] - top);
        for (int c = 0; c < CLASSES; c++)
            delta[n * CLASSES + c] = (z[c] / sum - (c == label[n])) / (float)batch;
        terms[2 * n] = -logf(z[label[n]] / sum);
        terms[2 * n + 1] = best == label[n];
    }
}

static void summarise(void *const *args, int64_t batch) {
    const float *terms = args[5];
    float *loss = args[6], *aux = args[7], *accuracy = args[8];
    *loss = *accuracy = 0;
    for (int64_t n = 0; n < batch; n++) {
        *loss += terms[2 * n] / (float)batch;
        *accuracy += terms[2 * n + 1] / (float)batch;
    }
    *aux = 2;
}

static void optimise(void *const *args, int64_t batch, int64_t begin, int64_t end) {
    const float *image = args[0], *delta = args[4], *step = args[9];
    float *w = args[2], *m = args[10], *v = args[11];
    if (begin == 0 && toy_kill_at_run && ++runs == toy_kill_at_run) _exit(9);
    if (begin == 0 && toy_stop_at_run && --toy_stop_at_run == 0) toy_stop = SIGINT;
    if (begin == 0 && toy_seen_keys < 64)
        toy_seen_key[toy_seen_keys++] = ((const uint32_t *)args[3])[0];
    for (int64_t k = begin; k < end; k++) {
        float g = 0;
        for (int64_t n = 0; n < batch; n++)
            g += image[n * PIXELS + k / CLASSES] * delta[n * CLASSES + k % CLASSES];
        m[k] = 0.9f * m[k] + 0.1f * g;
        v[k] = 0.999f * v[k] + 0.001f * g * g;
        w[k] -= step[0] * (m[k] / step[1]) / (sqrtf(v[k] / step[2]) + 1e-8f);
    }
}

#define KERNELS(batch)                                                                             \
    static void forward_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {    \
        (void)scratch;                                                                             \
        forward(args, batch, begin, end);                                                          \
    }                                                                                              \
    static void summarise_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {  \
        (void)scratch, (void)begin, (void)end;                                                     \
        summarise(args, batch);                                                                    \
    }                                                                                              \
    static void optimise_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {   \
        (void)scratch;                                                                             \
        optimise(args, batch, begin, end);                                                         \
    }
KERNELS(8)
KERNELS(6)
KERNELS(2)

/* A forward kernel without dropout gets a null key. */
#define EVAL_KERNEL(batch)                                                                         \
    static void evaluate_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {   \
        void *without[12];                                                                         \
        memcpy(without, args, sizeof without);                                                     \
        without[3] = NULL;                                                                         \
        (void)scratch;                                                                             \
        forward(without, batch, begin, end);                                                       \
    }
EVAL_KERNEL(8)
EVAL_KERNEL(6)
EVAL_KERNEL(2)

#define WORK(slot) {VM_WORK, SLOT * (slot)}
static const VmArg args[12] = {WORK(AT_IMAGE), WORK(AT_LABEL), {VM_WEIGHTS, 0},
                               WORK(AT_KEY),   WORK(AT_DELTA), WORK(AT_TERMS),
                               WORK(AT_LOSS),  WORK(AT_AUX),   WORK(AT_ACCURACY),
                               WORK(AT_STEP),  {VM_STATE, 0},  {VM_STATE, SLOT}};

static const int64_t sizes[3] = {8, 6, 2};
static const VmKernelFn kernels[3][4] = {{forward_8, summarise_8, optimise_8, evaluate_8},
                                         {forward_6, summarise_6, optimise_6, evaluate_6},
                                         {forward_2, summarise_2, optimise_2, evaluate_2}};

static int fill_tensors(VmTensor *t, bool training, int64_t batch, int64_t side) {
    const VmTensor all[] = {
        {.name = "w",
         .role = VM_ROLE_PARAM,
         .rank = 2,
         .dim = {PIXELS, CLASSES},
         .space = VM_WEIGHTS,
         .init = "normal(0.1)"},
        {.name = "image",
         .role = VM_ROLE_INPUT,
         .rank = 4,
         .dim = {batch, 1, side, side},
         .space = VM_WORK,
         .offset = SLOT * AT_IMAGE},
        {.name = "label",
         .role = VM_ROLE_INPUT,
         .dtype = 1,
         .rank = 1,
         .dim = {batch},
         .space = VM_WORK,
         .offset = SLOT * AT_LABEL},
        {.name = "cross_entropy",
         .role = VM_ROLE_LOSS,
         .space = VM_WORK,
         .offset = SLOT * AT_LOSS,
         .weight = 1},
        {.name = "balance",
         .role = VM_ROLE_AUX,
         .space = VM_WORK,
         .offset = SLOT * AT_AUX,
         .weight = 0.5},
        {.name = "accuracy",
         .role = VM_ROLE_METRIC,
         .space = VM_WORK,
         .offset = SLOT * AT_ACCURACY,
         .weight = 1},
        {.name = VM_INPUT_STEP,
         .role = VM_ROLE_INPUT,
         .rank = 1,
         .dim = {4},
         .space = VM_WORK,
         .offset = SLOT * AT_STEP},
        {.name = "toy.dropout",
         .role = VM_ROLE_RNG_KEY,
         .dtype = 1,
         .rank = 1,
         .dim = {2},
         .space = VM_WORK,
         .offset = SLOT * AT_KEY},
        {.name = "w.m",
         .role = VM_ROLE_STATE,
         .rank = 2,
         .dim = {PIXELS, CLASSES},
         .space = VM_STATE},
        {.name = "w.v",
         .role = VM_ROLE_STATE,
         .rank = 2,
         .dim = {PIXELS, CLASSES},
         .space = VM_STATE,
         .offset = SLOT},
    };
    memcpy(t, all, sizeof all);
    return training ? 10 : 6;
}

int toy_source(void *user, bool training, int64_t batch, VmError *err) {
    Toy *t = user;
    int k = 0;
    while (k < 3 && sizes[k] != batch) k++;
    if (k == 3) {
        vm_fail(err, VM_ENV, "no kernels for %d images", (int)batch);
        return -1;
    }
    if (t->index[training][k]) return t->index[training][k] - 1;
    VmTask *task = t->task[training][k];
    task[0] = (VmTask){.fn = kernels[k][training ? 0 : 3],
                       .name = "forward",
                       .arg = args,
                       .narg = 12,
                       .items = batch};
    task[1] = (VmTask){.fn = kernels[k][1],
                       .name = "summarise",
                       .arg = args,
                       .narg = 12,
                       .items = 1,
                       .barrier = 1};
    task[2] = (VmTask){
        .fn = kernels[k][2], .name = "optimise", .arg = args, .narg = 12, .items = TOY_WEIGHTS};
    VmProgram *p = &t->program[training][k];
    /* evaluation needs a block of another kind (mapped, not from the heap), so adding it surely
     * moves memory
     */
    int64_t grow = training ? 64 * (k + 1) : (4 << 20) * (k + 1);
    /* the evaluation program's argument list names state too, so it says it needs the space */
    *p = (VmProgram){.abi = VM_ABI_VERSION,
                     .name = training ? "toy.train" : "toy.eval",
                     .batch = batch,
                     .task = task,
                     .ntask = training ? 3 : 2,
                     .tensor = t->tensor[training][k],
                     .ntensor = fill_tensors(t->tensor[training][k], training, batch, t->side),
                     .space_bytes = {SLOT, 2 * SLOT, SLOT * AT_COUNT + grow}};
    int index = vm_engine_add(t->e, p, err);
    if (index >= 0) t->index[training][k] = index + 1;
    return index;
}

ToyConfig toy_config(const char *out) {
    ToyConfig c = {
        .recipe = vm_recipe_default(), .subject = {.phase = "toy"}, .run = {.place = {.out = out}}};
    VmRecipe *r = &c.recipe;
    r->data.batch = 8;
    r->epochs = (VmSpan){3, false};
    r->seed = 11;
    vm_spec_default(VM_FIELD_schedule, VM_schedule_cosine, &r->schedule);
    r->schedule.peak = 0.05;
    r->schedule.minimum = 0.001;
    r->schedule.warmup = (VmSpan){2, true};
    r->log_every = 2;
    return c;
}

void toy_open(const char *dir, VmSplit split, VmDataset **d) {
    VmDataQuery spec = {.kind = VM_data_idx, .dir = dir, .mean = {0.5}, .std = {0.5}};
    VmError err;
    cr_assert(vm_dataset_open(&spec, split, 0, d, &err) == VM_OK, "%s", err.text);
}

/* One process's worth of training: fresh engine, initial weights, vm_train. early: every program is
 * added before. */
ToyRun toy_train_on(const char *dir, const ToyConfig *c, int threads, int64_t side, bool early) {
    ToyRun r = {.status = VM_OK};
    Toy toy = {.side = side};
    VmDataset *train, *test;
    toy_open(dir, VM_TRAIN, &train);
    toy_open(dir, VM_TEST, &test);
    cr_assert(vm_engine_create(threads, &toy.e, &r.err) == VM_OK);
    cr_assert(toy_source(&toy, true, 8, &r.err) == 0, "%s", r.err.text);
    for (int k = 0; k < 6 && early; k++)
        cr_assert(toy_source(&toy, k / 3, sizes[k % 3], &r.err) >= 0);
    cr_assert(vm_engine_init(toy.e, c->recipe.seed, &r.err) == VM_OK);
    float *w = vm_engine_data(toy.e, 0, "w");
    for (int i = 0; i < TOY_WEIGHTS && c->subject.weights; i++)
        w[i] = 0.01f * (float)(i % 7); /* as if from a file */
    VmDataset *rest = NULL, *held = NULL;
    if (c->recipe.validation > 0)
        cr_assert(vm_dataset_hold_out(train, c->recipe.validation, 1, &rest, &held, &r.err) ==
                  VM_OK);
    const VmTraining what = {&c->recipe, &c->subject, &c->run, rest ? rest : train, held, test};
    r.status = vm_train(toy.e, toy_source, &toy, &what, &r.result, &r.err);
    memcpy(r.w, vm_engine_data(toy.e, 0, "w"), sizeof r.w);
    vm_engine_destroy(toy.e);
    vm_dataset_close(rest);
    vm_dataset_close(held);
    vm_dataset_close(train);
    vm_dataset_close(test);
    return r;
}

ToyRun toy_train(const char *dir, const ToyConfig *c, int threads) {
    return toy_train_on(dir, c, threads, 4, false);
}

/* 22 training images: batches of 8, 8 and 6. 10 test images: 8 and 2. */
char *toy_data(void) {
    char *dir = rt_folder();
    rt_write_split(dir, "train", 22);
    rt_write_split(dir, "t10k", 10);
    return dir;
}

void toy_same_weights(const ToyRun *a, const ToyRun *b, const char *what) {
    cr_assert(a->status == VM_OK && b->status == VM_OK, "%s%s", a->err.text, b->err.text);
    cr_assert(memcmp(a->w, b->w, sizeof a->w) == 0, "%s", what);
}
