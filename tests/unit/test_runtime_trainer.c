/* The whole training loop on a tiny program whose kernels are written here: softmax regression on 4 x 4
 * images with three classes, dropout on the pixels and Adam. Same bits for any team, resumed or not, killed
 * or not. */
#include "runtime/internal.h"
#include "runtime/rng.h"
#include "tests/unit/runtime_test.h"

#include <jansson.h>
#include <math.h>
#include <sys/wait.h>

enum { PIXELS = 16, CLASSES = 3, WEIGHTS = PIXELS * CLASSES, MOST = 8, SLOT = 1024 };

/* Places in the work space, in slots of SLOT bytes; a probability or pixel array of MOST images fits one. */
enum { AT_IMAGE, AT_LABEL, AT_STEP, AT_KEY, AT_DELTA, AT_TERMS, AT_LOSS, AT_AUX, AT_ACCURACY, AT_COUNT };

static int kill_at_run; /* the process dies in this run of the optimizer; 0: never */
static int runs;
static uint32_t seen_key[64]; /* of the steps of this process */
static int seen_keys;

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
            for (int c = 0; c < CLASSES; c++) z[c] += keep * image[n * PIXELS + i] * w[i * CLASSES + c];
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
    if (begin == 0 && kill_at_run && ++runs == kill_at_run) _exit(9);
    if (begin == 0 && seen_keys < 64) seen_key[seen_keys++] = ((const uint32_t *)args[3])[0];
    for (int64_t k = begin; k < end; k++) {
        float g = 0;
        for (int64_t n = 0; n < batch; n++)
            g += image[n * PIXELS + k / CLASSES] * delta[n * CLASSES + k % CLASSES];
        m[k] = 0.9f * m[k] + 0.1f * g;
        v[k] = 0.999f * v[k] + 0.001f * g * g;
        w[k] -= step[0] * (m[k] / step[1]) / (sqrtf(v[k] / step[2]) + 1e-8f);
    }
}

#define KERNELS(batch)                                                                                       \
    static void forward_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {              \
        (void)scratch;                                                                                       \
        forward(args, batch, begin, end);                                                                    \
    }                                                                                                        \
    static void summarise_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {            \
        (void)scratch, (void)begin, (void)end;                                                               \
        summarise(args, batch);                                                                              \
    }                                                                                                        \
    static void optimise_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {             \
        (void)scratch;                                                                                       \
        optimise(args, batch, begin, end);                                                                   \
    }
KERNELS(8)
KERNELS(6)
KERNELS(2)

/* A forward kernel without dropout gets a null key. */
#define EVAL_KERNEL(batch)                                                                                   \
    static void evaluate_##batch(void *const *args, int64_t begin, int64_t end, void *scratch) {             \
        void *without[12];                                                                                   \
        memcpy(without, args, sizeof without);                                                               \
        without[3] = NULL;                                                                                   \
        (void)scratch;                                                                                       \
        forward(without, batch, begin, end);                                                                 \
    }
EVAL_KERNEL(8)
EVAL_KERNEL(6)
EVAL_KERNEL(2)

#define WORK(slot) {VM_WORK, SLOT * (slot)}
static const VmArg args[12] = {WORK(AT_IMAGE),    WORK(AT_LABEL), {VM_WEIGHTS, 0}, WORK(AT_KEY),
                               WORK(AT_DELTA),    WORK(AT_TERMS), WORK(AT_LOSS),   WORK(AT_AUX),
                               WORK(AT_ACCURACY), WORK(AT_STEP),  {VM_STATE, 0},   {VM_STATE, SLOT}};

typedef struct Toy {
    VmEngine *e;
    VmProgram program[2][3];
    VmTask task[2][3][3];
    VmTensor tensor[2][3][10];
    int index[2][3]; /* 0: not added yet, else 1 + engine index */
    int64_t side;    /* of the images the model wants; 4 unless a test says otherwise */
} Toy;

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
        {.name = "pixels",
         .role = VM_ROLE_INPUT,
         .rank = 4,
         .dim = {batch, 1, side, side},
         .space = VM_WORK,
         .offset = SLOT * AT_IMAGE},
        {.name = "truth",
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
        {.name = "balance", .role = VM_ROLE_AUX, .space = VM_WORK, .offset = SLOT * AT_AUX, .weight = 0.5},
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
        {.name = "w.m", .role = VM_ROLE_STATE, .rank = 2, .dim = {PIXELS, CLASSES}, .space = VM_STATE},
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

static int toy_source(void *user, bool training, int64_t batch, VmError *err) {
    Toy *t = user;
    int k = 0;
    while (k < 3 && sizes[k] != batch) k++;
    if (k == 3) {
        vm_fail(err, VM_ENV, "no kernels for %d images", (int)batch);
        return -1;
    }
    if (t->index[training][k]) return t->index[training][k] - 1;
    VmTask *task = t->task[training][k];
    task[0] = (VmTask){
        .fn = kernels[k][training ? 0 : 3], .name = "forward", .arg = args, .narg = 12, .items = batch};
    task[1] =
        (VmTask){.fn = kernels[k][1], .name = "summarise", .arg = args, .narg = 12, .items = 1, .barrier = 1};
    task[2] = (VmTask){.fn = kernels[k][2], .name = "optimise", .arg = args, .narg = 12, .items = WEIGHTS};
    VmProgram *p = &t->program[training][k];
    /* evaluation needs a block of another kind (mapped, not from the heap), so adding it surely moves memory
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
                     .space_bytes = {SLOT, 2 * SLOT, SLOT * AT_COUNT + grow},
                     .training = training};
    int index = vm_engine_add(t->e, p, err);
    if (index >= 0) t->index[training][k] = index + 1;
    return index;
}

typedef struct Run {
    VmStatus status;
    VmTrainResult result;
    VmError err;
    float w[WEIGHTS];
} Run;

static VmTrainConfig toy_config(const char *out) {
    return (VmTrainConfig){.batch = 8,
                           .epochs = 3,
                           .seed = 11,
                           .shuffle = true,
                           .schedule = 1,
                           .lr_peak = 0.05,
                           .lr_min = 0.001,
                           .warmup_steps = 2,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .log_every = 2,
                           .out_dir = out,
                           .phase = "toy"};
}

static void open_toy(const char *dir, VmSplit split, VmDataset **d) {
    VmDataSpec spec = {.kind = "idx", .dir = dir, .mean = {0.5}, .std = {0.5}};
    VmError err;
    cr_assert(vm_dataset_open(&spec, split, 0, d, &err) == VM_OK, "%s", err.text);
}

/* One process's worth of training: fresh engine, initial weights, vm_train. early: every program is added
 * before. */
static Run train_on(const char *dir, const VmTrainConfig *c, int threads, int64_t side, bool early) {
    Run r = {.status = VM_OK};
    Toy toy = {.side = side};
    VmDataset *train, *test;
    open_toy(dir, VM_TRAIN, &train);
    open_toy(dir, VM_TEST, &test);
    cr_assert(vm_engine_create(threads, &toy.e, &r.err) == VM_OK);
    cr_assert(toy_source(&toy, true, 8, &r.err) == 0, "%s", r.err.text);
    for (int k = 0; k < 6 && early; k++) cr_assert(toy_source(&toy, k / 3, sizes[k % 3], &r.err) >= 0);
    cr_assert(vm_engine_init(toy.e, c->seed, &r.err) == VM_OK);
    float *w = vm_engine_data(toy.e, 0, "w");
    for (int i = 0; i < WEIGHTS && c->weights; i++) w[i] = 0.01f * (float)(i % 7); /* as if from a file */
    r.status = vm_train(toy.e, toy_source, &toy, c, train, test, &r.result, &r.err);
    memcpy(r.w, vm_engine_data(toy.e, 0, "w"), sizeof r.w);
    vm_engine_destroy(toy.e);
    vm_dataset_close(train);
    vm_dataset_close(test);
    return r;
}

static Run train(const char *dir, const VmTrainConfig *c, int threads) {
    return train_on(dir, c, threads, 4, false);
}

/* 22 training images: batches of 8, 8 and 6. 10 test images: 8 and 2. */
static char *toy_data(void) {
    char *dir = rt_folder();
    rt_write_split(dir, "train", 22);
    rt_write_split(dir, "t10k", 10);
    return dir;
}

static void same_weights(const Run *a, const Run *b, const char *what) {
    cr_assert(a->status == VM_OK && b->status == VM_OK, "%s%s", a->err.text, b->err.text);
    cr_assert(memcmp(a->w, b->w, sizeof a->w) == 0, "%s", what);
}

Test(runtime_trainer, learns_and_writes_everything, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "deep/out"));
    c.epochs = 10;
    Run r = train(dir, &c, 2);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    cr_assert_eq(r.result.steps, 30);
    cr_assert(r.result.test_accuracy == 1 && r.result.train_accuracy > 0.9);
    cr_assert(r.result.train_loss > 0 && r.result.train_loss < 0.5 && r.result.test_loss < 0.5);
    VmTensorFile *f;
    cr_assert(vm_tensors_open(r.result.weights, &f, &r.err) == VM_OK, "%s", r.err.text);
    cr_assert(memcmp(vm_tensors_find(f, "w")->data, r.w, sizeof r.w) == 0);
    vm_tensors_close(f);
    static const char *const files[] = {
        "deep/out/checkpoint/weights.safetensors", "deep/out/checkpoint/trainer.json",
        "deep/out/checkpoint/state.safetensors", "deep/out/weights.safetensors"};
    for (int i = 0; i < 4; i++) cr_assert(access(rt_path(dir, files[i]), F_OK) == 0, "%s", files[i]);
    size_t n;
    char *text = rt_read(r.result.metrics, &n);
    int lines[3] = {0}; /* start, step, epoch */
    double loss = 0, objective = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, 0, NULL);
        const char *event = json_string_value(json_object_get(o, "event"));
        lines[0] += strcmp(event, "start") == 0;
        lines[1] += strcmp(event, "step") == 0;
        lines[2] += strcmp(event, "epoch") == 0;
        loss = json_number_value(json_object_get(o, "train_loss"));
        objective = json_number_value(json_object_get(o, "train_objective"));
        json_decref(o);
    }
    cr_assert(lines[0] == 1 && lines[1] == 15 && lines[2] == 10);
    cr_assert(fabs(loss - r.result.train_loss) < 1e-8 && fabs(objective - loss - 1) < 1e-6, "aux: 0.5 * 2");
    free(text);
    rt_remove(dir);
}

Test(runtime_trainer, same_bits_for_any_team, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    Run one = train(dir, &c, 1), two = train(dir, &c, 2), five = train(dir, &c, 5);
    same_weights(&one, &two, "2 threads");
    same_weights(&one, &five, "5 threads");
    cr_assert(one.result.train_loss == five.result.train_loss &&
              one.result.test_loss == five.result.test_loss);
    c.seed = 12;
    Run other = train(dir, &c, 1);
    cr_assert(memcmp(one.w, other.w, sizeof one.w) != 0, "another seed is another run");
    rt_remove(dir);
}

/* Programs that are added late move the memory of the earlier ones. */
Test(runtime_trainer, programs_may_be_added_while_training, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    for (int drop = 0; drop < 2; drop++) {
        c.drop_last = drop;
        Run late = train_on(dir, &c, 2, 4, false), early = train_on(dir, &c, 2, 4, true);
        same_weights(&late, &early, drop ? "whole batches" : "with a partial batch");
        cr_assert(late.result.test_loss == early.result.test_loss);
    }
    rt_remove(dir);
}

Test(runtime_trainer, every_step_has_its_random_key, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    cr_assert(train(dir, &c, 1).status == VM_OK);
    cr_assert_eq(seen_keys, 9);
    for (int i = 0; i < 9; i++) {
        uint32_t key[2];
        vm_rng_key(c.seed, vm_hash_name("toy.dropout"), (uint64_t)i, key);
        cr_assert_eq(seen_key[i], key[0], "step %d", i);
    }
    rt_remove(dir);
}

/* An epoch's train_loss is the mean of its own batches, each counting as much. */
Test(runtime_trainer, epoch_loss_is_the_mean_of_its_batches, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    c.log_every = 1;
    Run r = train(dir, &c, 1);
    size_t n;
    char *text = rt_read(r.result.metrics, &n);
    double sum = 0;
    int steps = 0, epochs = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, 0, NULL);
        const char *event = json_string_value(json_object_get(o, "event"));
        if (strcmp(event, "step") == 0) {
            sum += json_number_value(json_object_get(o, "loss"));
            cr_assert_eq(json_integer_value(json_object_get(o, "step")), ++steps);
        } else if (strcmp(event, "epoch") == 0) {
            cr_assert_eq(json_integer_value(json_object_get(o, "epoch")), ++epochs);
            cr_assert(fabs(json_number_value(json_object_get(o, "train_loss")) - sum / 3) < 1e-6, "epoch %d",
                      epochs);
            sum = 0;
        }
        json_decref(o);
    }
    cr_assert(steps == 9 && epochs == 3);
    free(text);
    rt_remove(dir);
}

/* First half in one process, the rest in another: as if it had never stopped. */
Test(runtime_trainer, resumed_run_has_the_same_bits, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig whole = toy_config(rt_path(dir, "whole")), parts = toy_config(rt_path(dir, "parts"));
    whole.schedule = parts.schedule = 0;
    Run a = train(dir, &whole, 2);
    for (int64_t steps = 3; steps <= 9; steps += 2) { /* 3 is an epoch's end, 5 and 7 are not */
        parts.steps = steps;
        parts.resume = steps > 3;
        Run b = train(dir, &parts, 1);
        cr_assert(b.status == VM_OK, "%s", b.err.text);
        cr_assert_eq(b.result.steps, steps);
        if (steps < 9) continue;
        same_weights(&a, &b, "resumed");
        cr_assert(a.result.train_loss == b.result.train_loss &&
                  a.result.train_accuracy == b.result.train_accuracy);
    }
    rt_remove(dir);
}

/* Dies in the middle of epoch 2, in a process of its own; the next one goes on from epoch 1's end. */
Test(runtime_trainer, killed_run_resumes_to_the_same_bits, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out")), whole = toy_config(rt_path(dir, "whole"));
    pid_t child = fork(); /* before OpenMP has threads in this process */
    if (child == 0) {
        kill_at_run = 5;
        train(dir, &c, 1);
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    c.resume = true;
    Run b = train(dir, &c, 2), a = train(dir, &whole, 2);
    same_weights(&a, &b, "killed and resumed");
    size_t n;
    char *x = rt_read(rt_path(dir, "out/metrics.jsonl"), &n),
         *y = rt_read(rt_path(dir, "whole/metrics.jsonl"), &n);
    int lines[2] = {0};
    for (char *p = x; *p; p++) lines[0] += *p == '\n';
    for (char *p = y; *p; p++) lines[1] += *p == '\n';
    cr_assert_eq(lines[0], lines[1] + 1, "one more start line, no step twice");
    free(x);
    free(y);
    /* finished already: nothing changes */
    Run again = train(dir, &c, 2);
    same_weights(&a, &again, "resumed after the end");
    cr_assert(again.result.test_loss == a.result.test_loss);
    rt_remove(dir);
}

/* The first object in the file. */
static json_t *read_json(const char *path) {
    size_t n;
    char *text = rt_read(path, &n);
    json_t *o = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    free(text);
    cr_assert(o != NULL, "%s", path);
    return o;
}

/* Dies in the first epoch; the next process has other weights at hand and must not use them. */
Test(runtime_trainer, a_run_from_given_weights_resumes_without_them, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out")), whole = toy_config(rt_path(dir, "whole"));
    VmTrainConfig fresh = toy_config(rt_path(dir, "fresh"));
    c.weights = whole.weights = "00c0ffee";
    pid_t child = fork(); /* before OpenMP has threads in this process */
    if (child == 0) {
        kill_at_run = 2;
        train(dir, &c, 1);
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    c.resume = true;
    c.weights = NULL;
    Run b = train(dir, &c, 2), a = train(dir, &whole, 2), other = train(dir, &fresh, 2);
    same_weights(&a, &b, "resumed from step 0");
    cr_assert(memcmp(a.w, other.w, sizeof a.w) != 0, "given weights make no difference");
    json_t *start = read_json(rt_path(dir, "out/metrics.jsonl"));
    json_t *config = json_object_get(start, "config");
    cr_assert_str_eq(json_string_value(json_object_get(config, "train.weights")), "00c0ffee");
    json_t *end = read_json(rt_path(dir, "out/checkpoint/trainer.json"));
    cr_assert_str_eq(json_string_value(json_object_get(end, "weights_from")), "00c0ffee", "taken over");
    json_decref(start);
    json_decref(end);
    end = read_json(rt_path(dir, "fresh/checkpoint/trainer.json"));
    cr_assert_str_eq(json_string_value(json_object_get(end, "weights_from")), "none");
    json_decref(end);
    rt_remove(dir);
}

static void refuse_resume(const char *dir, const VmTrainConfig *c, VmStatus status, const char *words) {
    Run r = train(dir, c, 1);
    cr_assert_eq(r.status, status, "%s", r.err.text);
    cr_assert(strstr(r.err.text, words) != NULL, "'%s' lacks '%s'", r.err.text, words);
}

Test(runtime_trainer, resume_checks_the_checkpoint, .timeout = 60) {
    char *dir = toy_data();
    static const char *const name[] = {"experts"}, *const four[] = {"4"}, *const eight[] = {"8"};
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    c.config_name = name;
    c.config_value = four;
    c.nconfig = 1;
    c.resume = true; /* nothing there yet: starts from the beginning */
    cr_assert(train(dir, &c, 1).status == VM_OK);
    VmTrainConfig other = c;
    other.batch = 6;
    refuse_resume(dir, &other, VM_USAGE, "batch = 8, this run has 6");
    other = c;
    other.seed = 1;
    refuse_resume(dir, &other, VM_USAGE, "seed = 11, this run has 1");
    other = c;
    other.config_value = eight;
    refuse_resume(dir, &other, VM_USAGE, "experts = \"4\", this run has \"8\"");
    other = c;
    other.nconfig = 0;
    refuse_resume(dir, &other, VM_USAGE, "experts = \"4\", this run has nothing");
    other = c;
    other.epochs = 5; /* a cosine over another length is another run */
    refuse_resume(dir, &other, VM_USAGE, "steps = 9, this run has 15");
    size_t n;
    const char *path = rt_path(dir, "out/checkpoint/state.safetensors");
    char *bytes = rt_read(path, &n);
    bytes[n - 3] ^= 1;
    rt_write(path, bytes, n);
    refuse_resume(dir, &c, VM_INPUT, "state.safetensors: damaged");
    rt_write(path, bytes, n - 1);
    refuse_resume(dir, &c, VM_INPUT, "state.safetensors");
    free(bytes);
    rt_write(rt_path(dir, "out/checkpoint/trainer.json"), "{\"format\":1}", 12);
    refuse_resume(dir, &c, VM_INPUT, "trainer.json: entries are missing");
    rt_write(rt_path(dir, "out/checkpoint/trainer.json"), "{\"format\":2}", 12);
    refuse_resume(dir, &c, VM_INPUT, "not a checkpoint of a version");
    rt_write(rt_path(dir, "out/checkpoint/trainer.json"), "{", 1);
    refuse_resume(dir, &c, VM_INPUT, "not valid JSON");
    rt_remove(dir);
}

Test(runtime_trainer, a_new_run_keeps_the_old_checkpoint_aside, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    c.epochs = 1;
    cr_assert(train(dir, &c, 1).status == VM_OK);
    cr_assert(mkdir(rt_path(dir, "out/checkpoint.tmp-999999999"), 0777) == 0);
    c.seed = 5;
    cr_assert(train(dir, &c, 1).status == VM_OK);
    cr_assert(access(rt_path(dir, "out/checkpoint.previous/weights.safetensors"), F_OK) == 0);
    cr_assert(access(rt_path(dir, "out/checkpoint.tmp-999999999"), F_OK) != 0, "leftovers of dead runs go");
    /* a crash between the two renames of the fallback leaves only checkpoint.old */
    c.resume = true;
    cr_assert(rename(rt_path(dir, "out/checkpoint"), rt_path(dir, "out/checkpoint.old")) == 0);
    Run r = train(dir, &c, 1);
    cr_assert(r.status == VM_OK && r.result.steps == 3);
    cr_assert(access(rt_path(dir, "out/checkpoint/trainer.json"), F_OK) == 0);
    rt_remove(dir);
}

Test(runtime_trainer, divergence_stops_and_keeps_the_checkpoint, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    c.epochs = 1;
    c.schedule = 0;
    c.warmup_steps = 0;
    Run good = train(dir, &c, 1);
    cr_assert(good.status == VM_OK);
    c.lr_peak = 1e38;
    c.epochs = 3;
    Run r = train(dir, &c, 1);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(strstr(r.err.text, "'cross_entropy' is") && strstr(r.err.text, "at step ") &&
                  strstr(r.err.text, "learning rate 1e+38"),
              "%s", r.err.text);
    VmTensorFile *f;
    cr_assert(vm_tensors_open(rt_path(dir, "out/checkpoint.previous/weights.safetensors"), &f, &r.err) ==
              VM_OK);
    cr_assert(memcmp(vm_tensors_find(f, "w")->data, good.w, sizeof good.w) == 0);
    vm_tensors_close(f);
    rt_remove(dir);
}

Test(runtime_trainer, says_what_does_not_fit, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    Run r = train_on(dir, &c, 1, 3, false);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(strstr(r.err.text, "'pixels' of shape f32[8,1,3,3], but the data set gives f32[8,1,4,4]"), "%s",
              r.err.text);
    rt_write(rt_path(dir, "file"), "x", 1);
    c.out_dir = rt_path(dir, "file/out");
    r = train(dir, &c, 1);
    cr_assert(r.status == VM_ENV && strstr(r.err.text, "Not a directory"), "%s", r.err.text);
    c = toy_config(rt_path(dir, "out"));
    c.batch = 0;
    cr_assert_eq(train(dir, &c, 1).status, VM_USAGE);
    c.batch = 30;
    c.drop_last = true;
    cr_assert_eq(train(dir, &c, 1).status, VM_INPUT);
    c = toy_config(rt_path(dir, "out"));
    c.epochs = NAN;
    cr_assert_eq(train(dir, &c, 1).status, VM_USAGE);
    c = toy_config(rt_path(dir, "out"));
    c.batch = 7; /* the source has no program for it */
    r = train(dir, &c, 1);
    cr_assert(r.status == VM_ENV && strstr(r.err.text, "no kernels for 7 images"), "%s", r.err.text);
    rt_remove(dir);
}

Test(runtime_trainer, drop_last_and_fractions_of_epochs, .timeout = 60) {
    char *dir = toy_data();
    VmTrainConfig c = toy_config(rt_path(dir, "out"));
    c.drop_last = true;
    cr_assert_eq(train(dir, &c, 1).result.steps, 6, "two whole batches in each of three epochs");
    c.drop_last = false;
    c.epochs = 1.5;
    cr_assert_eq(train(dir, &c, 1).result.steps, 5, "four and a half steps, rounded");
    c.epochs = 0;
    Run r = train(dir, &c, 1);
    cr_assert(r.status == VM_OK && r.result.steps == 0 && isnan(r.result.train_loss) &&
              r.result.test_loss > 0);
    rt_remove(dir);
}

/* The last partial batch counts by its images: the same as one image at a time, whatever the batch. */
Test(runtime_trainer, evaluation_covers_every_image, .timeout = 60) {
    char *dir = toy_data();
    VmError err;
    VmDataset *test;
    open_toy(dir, VM_TEST, &test);
    Toy toy = {.side = 4};
    cr_assert(vm_engine_create(2, &toy.e, &err) == VM_OK);
    cr_assert(toy_source(&toy, false, 8, &err) == 0);
    cr_assert(vm_engine_init(toy.e, 1, &err) == VM_OK);
    VmEvalResult by8, by2;
    cr_assert(vm_evaluate(toy.e, toy_source, &toy, test, 8, &by8, &err) == VM_OK, "%s", err.text);
    cr_assert(vm_evaluate(toy.e, toy_source, &toy, test, 2, &by2, &err) == VM_OK, "%s", err.text);
    cr_assert(by8.images == 10 && by2.images == 10);
    cr_assert(fabs(by8.loss - by2.loss) < 1e-6 && fabs(by8.accuracy - by2.accuracy) < 1e-6);
    cr_assert(by8.loss > 0.1 && by8.accuracy >= 0 && by8.accuracy <= 1);
    cr_assert_eq(vm_evaluate(toy.e, toy_source, &toy, test, 0, &by8, &err), VM_USAGE);
    vm_engine_destroy(toy.e);
    vm_dataset_close(test);
    rt_remove(dir);
}
