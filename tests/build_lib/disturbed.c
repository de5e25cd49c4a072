/* A program that uses the library `linear` (data.py), one call at a time, while a driver disturbs
 * it (library.py). A call that the environment lets down is made once more: the handle has to be as
 * it was before, so it works then and the end is the same.
 *
 *   disturbed work FILE THREADS   trains, and writes FILE with state after the first step and after
 *                              the third; says "done, N refused" at its end
 *   disturbed load FILE           whether FILE holds one of these two states: "step N"
 *
 * Exit status 0: every call was right, at the first or second attempt; 3: a call was refused twice;
 * 1: a wrong status or other numbers. It allocates nothing itself. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linear.h>

enum { N = LINEAR_BATCH, SIZE = LINEAR_CHANNELS * LINEAR_HEIGHT * LINEAR_WIDTH };

static _Alignas(64) char memory[2][4 << 20];
static char file[4 << 20];
static float image[N * SIZE];
static int32_t label[N];
static int refused;

/* In one write, which is tried again: nobody's buffer is needed. */
static void say(int to, const char *text) {
    for (int i = 0; i < 2; i++)
        if (write(to, text, strlen(text)) >= 0) return;
}

static void end(int status, const char *call, const char *why) {
    say(2, call);
    say(2, ": ");
    say(2, why);
    say(2, "\n");
    _exit(status);
}

/* The call succeeds, or was refused for the environment and succeeds at its second attempt. */
#define CALL(h, call)                                                                              \
    do {                                                                                           \
        linear_status s_ = call;                                                                   \
        if (s_ == LINEAR_ENV && linear_error(h)[0]) {                                              \
            refused++;                                                                             \
            s_ = call;                                                                             \
        }                                                                                          \
        if (s_) end(s_ == LINEAR_ENV ? 3 : 1, #call, linear_error(h));                             \
    } while (0)

static linear *make(int which, int threads) {
    linear *h = NULL;
    size_t size = linear_memory_needed(threads, 0);
    if (size > sizeof memory[which]) end(1, "memory", "the model is larger than was thought");
    for (int i = 0; i < 2; i++) {
        linear_status s = linear_create(memory[which], size, threads, 0, &h);
        if (!s) return h;
        if (s != LINEAR_ENV || !h || !linear_error(h)[0]) end(1, "create", "another status");
        refused++;
    }
    end(3, "create", linear_error(h));
    return NULL;
}

static void batch(int64_t step) {
    for (int i = 0; i < N * SIZE; i++) image[i] = (float)((i * 31 + step * 17) % 97) / 48 - 1;
    for (int i = 0; i < N; i++) label[i] = (int32_t)((i + step) % LINEAR_CLASSES);
}

static void step(linear *h) {
    batch(linear_steps(h));
    CALL(h, linear_step(h, image, label, N));
}

/* What another handle makes of the file and a step more is what this one makes of it. */
static void compare(linear *h, const char *path, int threads) {
    static double here[N * LINEAR_CLASSES], there[N * LINEAR_CLASSES];
    linear_result r;
    linear *other = make(1, threads);
    CALL(other, linear_load(other, path));
    step(h);
    step(other);
    CALL(h, linear_predict(h, image, N, here));
    CALL(other, linear_predict(other, image, N, there));
    if (memcmp(here, there, sizeof here)) end(1, "predict", "other numbers");
    CALL(h, linear_evaluate(h, image, label, N, &r));
    linear_close(other);
}

static int work(const char *path, int threads) {
    size_t size;
    char line[64];
    linear *h = make(0, threads);
    CALL(h, linear_init(h, 1, 0));
    step(h);
    CALL(h, linear_save(h, path, 1));
    step(h);
    step(h);
    CALL(h, linear_save(h, path, 1));
    CALL(h, linear_save_memory(h, file, sizeof file, 1, &size));
    CALL(h, linear_load_memory(h, file, size));
    compare(h, path, threads);
    linear_close(h);
    snprintf(line, sizeof line, "done, %d refused\n", refused);
    say(1, line);
    return 0;
}

static int load(const char *path) {
    char line[64];
    size_t size;
    static char was[4 << 20];
    linear *h = make(0, 1), *again = make(1, 1);
    CALL(h, linear_load(h, path));
    CALL(again, linear_init(again, 1, 0));
    while (linear_steps(again) < linear_steps(h)) step(again);
    CALL(h, linear_save_memory(h, file, sizeof file, 1, &size));
    CALL(again, linear_save_memory(again, was, sizeof was, 1, &size));
    if (memcmp(file, was, size)) end(1, "load", "another state");
    snprintf(line, sizeof line, "step %d\n", (int)linear_steps(h));
    say(1, line);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 2) return 0; /* for who counts what happens before */
    say(1, "begin\n");
    if (argc == 4 && !strcmp(argv[1], "work")) return work(argv[2], argv[3][0] - '0');
    return argc == 3 && !strcmp(argv[1], "load") ? load(argv[2]) : 2;
}
