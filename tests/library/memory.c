/* Lets each allocation of the library fail in turn: an error value comes back every time, nothing
 * is lost, and the next call with memory does what it always did. Interposes the allocator of its
 * own process, which counts what is alive.
 *
 *   memory open F.vmoe              opening the file: every allocation
 *   memory train F.vmoe DATA OUT    training, with code from a cache: 48 of them, spread evenly
 *   memory predict F.vmoe WEIGHTS IMAGE IMAGE    a predictor and two calls: every one
 *
 * TRACE: says where each one is. ONLY=n: the n-th alone. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <ftw.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/session/vmoec.h"

/* ---- the allocator --------------------------------------------------------------------------- */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
void *memalign(size_t align, size_t size);

static _Atomic long made, fail_at, alive; /* made: since fail_at was set, which counts from 1 */

/* libgomp ends the process when it finds no memory, and libjansson by an assertion when it finds
 * none for a text that it reads, which nobody can help. */
static bool is_spared(const void *caller) {
    Dl_info where;
    return dladdr(caller, &where) != 0 && (strstr(where.dli_fname, "libgomp") != NULL ||
                                           strstr(where.dli_fname, "libjansson") != NULL);
}

static bool fails_for(const void *caller) {
    if (atomic_fetch_add(&made, 1) + 1 != atomic_load(&fail_at) || is_spared(caller)) return false;
    if (getenv("TRACE")) {
        void *frame[40];
        atomic_store(&fail_at, 0);
        backtrace_symbols_fd(frame, backtrace(frame, 40), 2);
    }
    errno = ENOMEM;
    return true;
}
#define fails() fails_for(__builtin_return_address(0))

static void *count(void *p) {
    if (p) atomic_fetch_add(&alive, 1);
    return p;
}

void *malloc(size_t size) {
    return fails() ? NULL : count(__libc_malloc(size));
}

void *calloc(size_t n, size_t size) {
    return fails() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size) {
    if (fails()) return NULL;
    void *q = __libc_realloc(p, size);
    if (q && !p) count(q);
    return q;
}

void *memalign(size_t align, size_t size) {
    return fails() ? NULL : count(__libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size) {
    return fails() ? NULL : count(__libc_memalign(align, size));
}

int posix_memalign(void **p, size_t align, size_t size) {
    void *got = fails() ? NULL : count(__libc_memalign(align, size));
    if (got) *p = got;
    return got ? 0 : ENOMEM;
}

void free(void *p) {
    if (p) atomic_fetch_sub(&alive, 1);
    __libc_free(p);
}

static int descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

/* ---- what is tried --------------------------------------------------------------------------- */

typedef struct Try {
    const char *file, *data, *out;
    const char *weights, *image[2];
} Try;

/* Two images, one after the other and together. */
static VmStatus predict(Vmoec *v, const Try *t, char error[512]) {
    VmoecPredictor *p;
    VmoecPredictOptions how;
    vmoec_predict_options_init(&how);
    how.weights = t->weights;
    how.batch = 2;
    VmStatus st = vmoec_predictor_open(v, &how, &p);
    const VmoecImage image[2] = {{.path = t->image[0]}, {.path = t->image[1]}};
    VmoecPrediction out[2] = {{.status = VM_OK}, {.status = VM_OK}};
    for (int64_t n = 1; n <= 2 && !st; n++) {
        st = vmoec_predict(p, image, n, out);
        /* an image that memory was not there for costs the others nothing */
        for (int i = 0; i < n && !st; i++)
            if (out[i].status) snprintf(error, 512, "%s", out[i].error), st = out[i].status;
    }
    if (st && !*error) snprintf(error, 512, "%s", vmoec_error(v));
    if (p && vmoec_status(v)) { /* it goes on, or says so every time */
        VmStatus again = vmoec_predict(p, image, 2, out);
        if (again ? again != VM_ENV || !*vmoec_error(v) : out[0].status || out[1].status)
            st = VM_INPUT;
    }
    vmoec_predictor_close(p);
    return st;
}

static VmStatus one(const Try *t, char error[512]) {
    VmoecOptions o;
    Vmoec *v;
    vmoec_options_init(&o);
    o.path = t->file;
    o.models = "models";
    o.backend = getenv("BACKEND");
    o.cache = getenv("CACHE");
    o.crash_file = "/dev/null";
    o.threads = 1;
    VmStatus st = vmoec_open(&o, &v);
    *error = '\0';
    if (!st && t->weights) {
        st = predict(v, t, error);
    } else if (!st && t->data) {
        VmoecTrainOptions how;
        vmoec_train_options_init(&how);
        how.data = t->data;
        how.out = t->out;
        how.overwrite = true; /* the second try finds what the first one left */
        how.steps = 4;
        st = vmoec_train(v, &how, NULL);
        snprintf(error, 512, "%s", vmoec_error(v));
        if (st && vmoec_train(v, &how, NULL) && *vmoec_error(v) == '\0') st = VM_INPUT;
    } else {
        snprintf(error, 512, "%s", vmoec_error(v));
    }
    vmoec_close(v);
    return st;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)st, (void)kind, (void)where;
    return remove(path);
}

/* As one; what is not as it should be is said. */
static bool check(const Try *t, long at) {
    static char error[512];
    if (t->out) (void)nftw(t->out, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    long before = atomic_load(&alive);
    int open = descriptors();
    atomic_store(&made, 0);
    atomic_store(&fail_at, at);
    VmStatus st = one(t, error);
    atomic_store(&fail_at, 0);
    long lost = atomic_load(&alive) - before;
    int left = descriptors() - open;
    bool said = st == VM_ENV && at && *error; /* nothing failed on purpose: nothing may fail */
    bool right = !lost && !left && (st == VM_OK || said);
    if (!right)
        fprintf(stderr, "allocation %ld: status %d, \"%s\", %ld pieces and %d descriptors left\n",
                at, (int)st, error, lost, left);
    return right;
}

static long only(void) {
    const char *text = getenv("ONLY");
    return text ? atol(text) : 0;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 5 && argc != 6) return VM_USAGE;
    Try t = {.file = argv[2]};
    if (argc == 6) t.weights = argv[3], t.image[0] = argv[4], t.image[1] = argv[5];
    if (argc == 5) t.data = argv[3], t.out = argv[4];
    char error[512];
    (void)one(&t, error); /* libraries get ready, and the cache is filled */
    bool right = check(&t, 0);
    long all = atomic_load(&made), failed = 0;
    long step = t.data ? all / 48 + 1 : 1;
    for (long at = only() ? only() : 1; at <= all; at += step, failed++) {
        right &= check(&t, at);
        if (only()) break;
    }
    right &= check(&t, 0);
    printf("%ld of %ld allocations failed in turn\n", failed, all);
    return right && failed ? VM_OK : VM_INPUT;
}
