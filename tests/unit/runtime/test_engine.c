/* The engine with kernels written by hand: items shared by a team, barriers, addresses, memory that
 * survives adding programs, random keys, refusal of programs that do not fit. */
#include "runtime/exec/internal.h"
#include "base/rng.h"
#include "tests/unit/runtime/runtime_test.h"

enum { N = 1000 };

/* y = x * 2 + w */
static void kernel_scale(void *const *args, int64_t begin, int64_t end, void *scratch) {
    const float *x = args[0], *w = args[1];
    float *y = args[2], *tmp = scratch;
    for (int64_t i = begin; i < end; i++) {
        tmp[i % 64] = x[i] * 2;
        y[i] = tmp[i % 64] + w[i];
    }
}

/* z reversed y: reads what other items wrote, so it needs the barrier */
static void kernel_reverse(void *const *args, int64_t begin, int64_t end, void *scratch) {
    const float *y = args[0];
    float *z = args[1];
    (void)scratch;
    for (int64_t i = begin; i < end; i++) z[i] = y[N - 1 - i];
}

/* state += 1 */
static void kernel_count(void *const *args, int64_t begin, int64_t end, void *scratch) {
    (void)begin, (void)end;
    (void)scratch;
    ((float *)args[0])[0] += 1;
}

enum { BYTES = 4096 }; /* room for N floats, a multiple of 64 */

static const VmArg args_scale[] = {{VM_WORK, 0}, {VM_WEIGHTS, 0}, {VM_WORK, BYTES}};
static const VmArg args_reverse[] = {{VM_WORK, BYTES}, {VM_WORK, 2 * BYTES}};
static const VmArg args_count[] = {{VM_STATE, 0}};
static const VmTask tasks[] = {
    {.fn = kernel_scale, .name = "scale", .arg = args_scale, .narg = 3, .items = N},
    {.fn = kernel_reverse,
     .name = "reverse",
     .arg = args_reverse,
     .narg = 2,
     .items = N,
     .barrier = 1},
    {.fn = kernel_count, .name = "count", .arg = args_count, .narg = 1, .items = 1},
};

#define WEIGHT                                                                                     \
    {.name = "w",                                                                                  \
     .role = VM_ROLE_PARAM,                                                                        \
     .rank = 1,                                                                                    \
     .dim = {N},                                                                                   \
     .space = VM_WEIGHTS,                                                                          \
     .init = "uniform(1)"}
static const VmTensor tensors[] = {
    WEIGHT,
    {.name = "s", .role = VM_ROLE_STATE, .rank = 1, .dim = {1}, .space = VM_STATE},
    {.name = "x", .role = VM_ROLE_INPUT, .rank = 1, .dim = {N}, .space = VM_WORK},
    {.name = "z",
     .role = VM_ROLE_OUTPUT,
     .rank = 1,
     .dim = {N},
     .space = VM_WORK,
     .offset = 2 * BYTES},
    {.name = "drop",
     .role = VM_ROLE_RNG_KEY,
     .dtype = 1,
     .rank = 1,
     .dim = {2},
     .space = VM_WORK,
     .offset = 3 * BYTES},
};
static const VmTensor tensors_eval[] = {
    WEIGHT,
    {.name = "x",
     .role = VM_ROLE_INPUT,
     .rank = 1,
     .dim = {N},
     .space = VM_WORK,
     .offset = 40 * BYTES},
    {.name = "y", .role = VM_ROLE_OUTPUT, .rank = 1, .dim = {N}, .space = VM_WORK, .offset = BYTES},
};
static const VmArg args_eval[] = {{VM_WORK, 40 * BYTES}, {VM_WEIGHTS, 0}, {VM_WORK, BYTES}};
static const VmTask tasks_eval[] = {
    {.fn = kernel_scale, .name = "scale", .arg = args_eval, .narg = 3, .items = N}};

static VmProgram program(void) {
    return (VmProgram){.abi = VM_ABI_VERSION,
                       .name = "toy.train",
                       .batch = 1,
                       .task = tasks,
                       .ntask = 3,
                       .tensor = tensors,
                       .ntensor = 5,
                       .space_bytes = {BYTES, 64, 4 * BYTES},
                       .scratch_bytes = 256};
}

static VmProgram program_eval(void) {
    return (VmProgram){.abi = VM_ABI_VERSION,
                       .name = "toy.eval",
                       .batch = 1,
                       .task = tasks_eval,
                       .ntask = 1,
                       .tensor = tensors_eval,
                       .ntensor = 3,
                       .space_bytes = {BYTES, 0, 4 << 20},
                       .scratch_bytes = 512};
}

static VmEngine *engine(int threads) {
    VmEngine *e;
    VmError err;
    cr_assert(vm_engine_create(threads, &e, &err) == VM_OK);
    cr_assert_eq(vm_engine_threads(e), threads);
    return e;
}

static void run_and_check(int threads) {
    VmProgram p = program();
    VmError err;
    VmEngine *e = engine(threads);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    float *x = vm_engine_data(e, 0, "x"), *w = vm_engine_data(e, 0, "w"),
          *z = vm_engine_data(e, 0, "z");
    float *s = vm_engine_data(e, 0, "s");
    for (int i = 0; i < N; i++) cr_assert(w[i] == 0 && z[i] == 0, "memory starts zeroed");
    for (int i = 0; i < N; i++) w[i] = (float)i;
    for (int step = 0; step < 50; step++) {
        for (int i = 0; i < N; i++) x[i] = (float)(step + i);
        vm_engine_run(e, 0, 1, (uint64_t)step);
        for (int i = 0; i < N; i++) {
            int j = N - 1 - i;
            cr_assert(z[i] == (float)(2 * (step + j) + j));
        }
    }
    cr_assert_eq(s[0], 50.0f);
    vm_engine_destroy(e);
}

Test(runtime_engine, one_thread) {
    run_and_check(1);
}

Test(runtime_engine, two_threads, .timeout = 60) {
    run_and_check(2);
}

Test(runtime_engine, many_more_threads_than_cpus, .timeout = 60) {
    run_and_check(16);
}

Test(runtime_engine, fewer_threads_than_asked_for, .timeout = 60) {
    VmProgram p = program();
    VmError err;
    VmEngine *e = engine(4);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    float *x = vm_engine_data(e, 0, "x"), *z = vm_engine_data(e, 0, "z");
    for (int i = 0; i < N; i++) x[i] = (float)i;
    /* a nested region gets one thread: no share may be lost and no barrier may wait for absent
     * threads */
#pragma omp parallel num_threads(2)
    {
        if (omp_get_thread_num() == 0) vm_engine_run(e, 0, 0, 0);
    }
    for (int i = 0; i < N; i++) cr_assert(z[i] == (float)(2 * (N - 1 - i)));
    vm_engine_destroy(e);
}

Test(runtime_engine, blocks_are_aligned_and_counted) {
    VmProgram p = program(), big = program_eval();
    VmError err;
    VmEngine *e = engine(2);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    int64_t small = vm_engine_bytes(e);
    cr_assert(small >= BYTES + 64 + 4 * BYTES + 2 * 256 &&
              small < BYTES + 64 + 4 * BYTES + 2 * 256 + 1024);
    cr_assert_eq((uintptr_t)vm_engine_data(e, 0, "w") % 64, 0u);
    cr_assert_eq((uintptr_t)vm_engine_data(e, 0, "s") % 64, 0u);
    cr_assert_eq(vm_engine_add(e, &big, &err), 1);
    cr_assert_eq((uintptr_t)vm_engine_data(e, 1, "y") % (2 << 20), (uintptr_t)BYTES,
                 "large blocks are 2 MiB aligned");
    cr_assert(vm_engine_bytes(e) >= small - 4 * BYTES + (4 << 20));
    vm_engine_destroy(e);
}

Test(runtime_engine, adding_keeps_weights_and_state) {
    VmProgram p = program(), eval = program_eval();
    VmError err;
    VmEngine *e = engine(2);
    cr_assert_eq(vm_engine_add(e, &eval, &err), 0);
    ((float *)vm_engine_data(e, 0, "w"))[7] = 3.5f;
    cr_assert_eq(vm_engine_add(e, &p, &err), 1, "%s", err.text);
    ((float *)vm_engine_data(e, 1, "s"))[0] = 9;
    VmProgram again = program_eval();
    again.space_bytes[VM_WORK] = 8 << 20;
    cr_assert_eq(vm_engine_add(e, &again, &err), 2);
    cr_assert_eq(((float *)vm_engine_data(e, 2, "w"))[7], 3.5f);
    cr_assert_eq(((float *)vm_engine_data(e, 1, "s"))[0], 9.0f);
    /* the first programs still run, in the new memory */
    float *x = vm_engine_data(e, 1, "x"), *z = vm_engine_data(e, 1, "z");
    for (int i = 0; i < N; i++) x[i] = 1;
    vm_engine_run(e, 1, 0, 0);
    cr_assert_eq(z[N - 1 - 7], 5.5f);
    cr_assert_eq(((float *)vm_engine_data(e, 1, "s"))[0], 10.0f);
    vm_engine_destroy(e);
}

/* Memory of exactly `n` bytes between guards, which nobody may write to, all of it dirty. */
typedef struct Handed {
    unsigned char *all;
    VmRegion region;
    size_t n;
} Handed;

static Handed hand_in(size_t n) {
    Handed h = {.all = aligned_alloc(64, vm_region_piece(n) + 128), .n = n};
    memset(h.all, 0xa5, vm_region_piece(n) + 128);
    h.region = (VmRegion){h.all + 64, n};
    return h;
}

static void check_guards(const Handed *h) {
    for (size_t i = 0; i < 64; i++)
        cr_assert(h->all[i] == 0xa5 && h->all[64 + h->n + i] == 0xa5, "it wrote elsewhere");
    free(h->all);
}

Test(runtime_engine, lies_in_a_region_to_the_byte, .timeout = 60) {
    VmProgram p = program(), eval = program_eval();
    const VmProgram *const list[] = {&p, &eval};
    for (int threads = 1; threads <= 3; threads++) {
        VmError err = {.text = ""};
        VmEngine *e;
        size_t needs = vm_engine_needs(list, 2, threads);
        Handed h = hand_in(needs), small = hand_in(needs - 64);
        cr_assert_eq(vm_engine_create_in(&small.region, list, 2, threads, &e, &err), VM_USAGE);
        cr_assert(!e && small.region.left == needs - 64);
        cr_assert(vm_engine_create_in(&h.region, list, 2, threads, &e, &err) == VM_OK, "%s",
                  err.text);
        cr_assert_eq(h.region.left, 0, "all of it is used");
        cr_assert(vm_engine_add(e, &p, &err) < 0, "there is no room for more");
        float *w = vm_engine_data(e, 0, "w"), *x = vm_engine_data(e, 0, "x");
        float *z = vm_engine_data(e, 0, "z"), *s = vm_engine_data(e, 0, "s");
        for (int i = 0; i < N; i++) cr_assert(w[i] == 0 && x[i] == 0, "it starts zeroed");
        for (int i = 0; i < N; i++) w[i] = x[i] = (float)i;
        for (int i = 0; i < 9; i++) vm_engine_run(e, 0, 1, (uint64_t)i);
        for (int i = 0; i < N; i++) cr_assert(z[i] == (float)(3 * (N - 1 - i)));
        cr_assert_eq(s[0], 9.0f);
        vm_engine_run(e, 1, 0, 0);
        vm_engine_destroy(e);
        check_guards(&h);
        check_guards(&small);
    }
}

Test(runtime_engine, random_keys_follow_seed_step_and_name) {
    VmProgram p = program();
    VmError err;
    VmEngine *e = engine(1);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    const uint32_t *key = vm_engine_data(e, 0, "drop");
    uint32_t expected[2];
    for (uint64_t step = 0; step < 3; step++) {
        vm_engine_run(e, 0, 77, step);
        vm_rng_key(77, vm_hash_name("drop"), step, expected);
        cr_assert(key[0] == expected[0] && key[1] == expected[1]);
    }
    vm_engine_destroy(e);
}

Test(runtime_engine, profile_adds_times_of_every_task) {
    VmProgram p = program();
    VmError err;
    VmEngine *e = engine(2);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    double seconds[3] = {0}, before = vm_seconds();
    for (int i = 0; i < 20; i++) vm_engine_profile(e, 0, 0, 0, seconds);
    double wall = vm_seconds() - before, sum = seconds[0] + seconds[1] + seconds[2];
    for (int i = 0; i < 3; i++) cr_assert(seconds[i] > 0);
    cr_assert(sum <= wall);
    cr_assert_eq(((float *)vm_engine_data(e, 0, "s"))[0], 20.0f);
    vm_engine_destroy(e);
}

static void refuse(const VmProgram *p, const char *word) {
    VmError err = {.text = ""};
    VmProgram good = program();
    VmEngine *e = engine(1);
    cr_assert_eq(vm_engine_add(e, &good, &err), 0);
    cr_assert_eq(vm_engine_add(e, p, &err), -1);
    cr_assert(strstr(err.text, word) != NULL, "'%s' lacks '%s'", err.text, word);
    vm_engine_run(e, 0, 0, 0); /* what was there still works */
    vm_engine_destroy(e);
}

Test(runtime_engine, refuses_what_does_not_fit) {
    VmProgram p = program();
    p.abi = 99;
    refuse(&p, "version 99");
    p = program();
    p.gate = 3;
    refuse(&p, "impossible gate");
    p.gate = 2; /* without a barrier */
    refuse(&p, "impossible gate");
    VmTensor moved[5];
    memcpy(moved, tensors, sizeof tensors);
    p = program();
    p.tensor = moved;
    moved[0].dim[0] = N - 1;
    refuse(&p, "layout of 'w'");
    moved[0].dim[0] = BYTES;
    refuse(&p, "'w' lies outside");
    memcpy(moved, tensors, sizeof tensors);
    moved[1].name = "t";
    refuse(&p, "layout of 's'");
    memcpy(moved, tensors, sizeof tensors);
    p.ntensor = 0;
    refuse(&p, "layout of 'w'");
    p = program();
    p.space_bytes[VM_WORK] = BYTES;
    refuse(&p, "lies outside");
    p = program();
    p.space_bytes[VM_WORK] = INT64_MAX / 4;
    refuse(&p, "cannot allocate");
}

Test(runtime_engine, unknown_tensors_are_null) {
    VmProgram p = program();
    VmError err;
    VmEngine *e = engine(1);
    cr_assert_eq(vm_engine_add(e, &p, &err), 0);
    cr_assert_null(vm_engine_data(e, 0, "nothing"));
    cr_assert_null(vm_engine_tensor(e, 1, "w"));
    cr_assert_null(vm_engine_tensor(e, -1, "w"));
    cr_assert_eq(vm_engine_tensor(e, 0, "w"), &tensors[0]);
    vm_engine_destroy(e);
    vm_engine_destroy(NULL);
}
