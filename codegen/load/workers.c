/* Forked compilers. Each writes what it made into a file in memory that the parent reads when the
 * process is gone; the queue is a counter in shared memory. Which worker makes an object does not
 * change its bytes.
 *
 * A worker may be forked while other threads run, the team's or those of a program that has this as
 * a library. In the child there is the forking thread alone, so a lock that another one held stays
 * locked. What a worker does needs the C library's locks only (memory, streams, the loader), which
 * fork() puts right in the child; OpenMP, which it does not, is not used. It holds no descriptors
 * but its own, so that another run's lock is not kept by it, and ends without running what the
 * program registered for its end. */
#include "codegen/load/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/recover.h"
#include "base/vec.h"

/* STATUS_LOADER: the dynamic loader's, when a thread's variables find no memory. */
enum { MAX_WORKERS = 64, LOADING = -2, STATUS_ENV = 3, STATUS_LOADER = 127 };

typedef enum RecordKind { REC_KERNEL, REC_HELPER, REC_ERROR, REC_END } RecordKind;

/* Before every piece of a worker's result; name and data follow. */
typedef struct Record {
    uint32_t kind, item; /* item: REC_KERNEL */
    uint64_t name_bytes, data_bytes;
    CgFacts facts;
    double seconds[3]; /* REC_END: start, LLVM IR, LLVM */
} Record;

/* Shared by parent and workers. */
typedef struct Queue {
    _Atomic int next;
    _Atomic int current[MAX_WORKERS]; /* the item a worker is at, -1: none, LOADING */
} Queue;

typedef struct Worker {
    pid_t pid;
    int fd;
} Worker;

typedef struct Child {
    Work *w;
    const int *order;
    Arena *arena;
    int fd;
    const CgBackend *backend;
    CgUnit *unit;
    int item;
    CgFacts facts;
} Child;

const char *work_helper_text(Arena *a, const char *name) {
    return arena_printf(a, "shared function %s", name);
}

/* ---- in the worker ---- */

static void put(int fd, const void *data, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, (const char *)data + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            _exit(STATUS_ENV); /* memory is full; the parent misses the end record */
    }
}

static void put_record(int fd, Record r, const char *name, const void *data, size_t size) {
    r.name_bytes = strlen(name);
    r.data_bytes = size;
    put(fd, &r, sizeof r);
    put(fd, name, r.name_bytes);
    put(fd, data, size);
}

static bool complain(const Child *c, const char *message) {
    put_record(c->fd, (Record){.kind = REC_ERROR}, "", message, strlen(message));
    return false;
}

static void take_object(void *user, const char *symbol, const void *object, size_t size) {
    Child *c = user;
    bool kernel = !strcmp(symbol, CG_KERNEL_SYMBOL);
    const char *text = kernel ? c->w->item[c->item].text : work_helper_text(c->arena, symbol);
    CacheEntry e = {kernel ? c->facts : (CgFacts){0}, object, size};
    cache_store(c->w->cache, text, &e, c->backend->library());
    Record r = {
        .kind = kernel ? REC_KERNEL : REC_HELPER, .item = (uint32_t)c->item, .facts = c->facts};
    put_record(c->fd, r, kernel ? "" : symbol, object, size);
}

/* Compiles what the queue has left; false: said why not. */
static bool compile_queue(Child *c, Queue *q, int me) {
    Work *w = c->w;
    Record end = {.kind = REC_END};
    const char *error = NULL;
    double t0 = vm_seconds();
    atomic_store(&q->current[me], LOADING);
    c->arena = arena_create();
    c->backend = backend_load(c->arena, w->backend, &error);
    CgUnit *u = c->backend ? c->backend->create(c->arena, w->target, &error) : NULL;
    c->unit = u;
    if (!u) return complain(c, error);
    atomic_store(&q->current[me], -1);
    end.seconds[0] = vm_seconds() - t0;
    for (int i; (i = atomic_fetch_add(&q->next, 1)) < w->n;) {
        c->item = c->order[i];
        atomic_store(&q->current[me], c->item);
        CgJob job = w->item[c->item].job;
        *w->lowering = job.plan->g;
        if (w->code) {
            error = c->backend->compile(u, job, &c->facts, take_object, c, end.seconds + 1);
            if (error) return complain(c, error);
        } else {
            Record r = {
                .kind = REC_KERNEL, .item = (uint32_t)c->item, .facts = c->backend->facts(u, job)};
            put_record(c->fd, r, "", NULL, 0);
        }
        atomic_store(&q->current[me], -1);
    }
    put_record(c->fd, end, "", NULL, 0);
    return true;
}

/* Says nothing: the parent misses the end record. Registered in the worker for a library that calls
 * exit(): the first to run, so that buffers of the parent's files are not written twice. */
static void end_worker(void) {
    _exit(STATUS_ENV);
}

/* All but the standard streams and these two: a lock of a run's folder must not outlive the run. */
static void close_others(int x, int y) {
    int low = x < y ? x : y, high = x < y ? y : x;
    unsigned next = STDERR_FILENO + 1;
    const int keep[] = {low, high};
    for (int i = 0; i < 2; i++) {
        if (keep[i] < (int)next) continue;
        if (keep[i] > (int)next) (void)close_range(next, (unsigned)keep[i] - 1, 0);
        next = (unsigned)keep[i] + 1;
    }
    (void)close_range(next, ~0u, 0);
}

typedef struct Life {
    Child child;
    Queue *queue;
    int me;
    bool complete;
} Life;

static void live(void *user) {
    Life *l = user;
    l->complete = compile_queue(&l->child, l->queue, l->me);
}

/* LLVM is not taken down. Memory that is not there ends this process alone. */
static _Noreturn void worker_main(Life *l) {
    VmRecover point;
    close_others(l->child.fd, cache_descriptor(l->child.w->cache));
    if (atexit(end_worker) != 0) end_worker();
    _exit(vm_recover(&point, live, l) && l->complete ? 0 : STATUS_ENV);
}

/* ---- in the parent ---- */

#ifdef __SANITIZE_ADDRESS__
/* the sanitizer's allocator deadlocks in a child when another thread was inside it */
enum { FORKS = false };
#else
enum { FORKS = true };
#endif

static bool start_worker(Work *w, const int *order, Queue *q, int me, Worker *out) {
    out->fd = memfd_create("vmoec-objects", MFD_CLOEXEC);
    if (out->fd < 0) return false;
    if (!FORKS) {
        Child c = {.w = w, .order = order, .fd = out->fd, .item = -1};
        out->pid = 0;
        (void)compile_queue(&c, q, me);
        if (c.unit) c.backend->destroy(c.unit);
        arena_destroy(c.arena);
        return true;
    }
    pid_t parent = getpid();
    out->pid = fork();
    if (out->pid < 0) {
        int why = errno;
        close(out->fd);
        errno = why;
        return false;
    }
    if (out->pid > 0) return true;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(STATUS_ENV);
    Life l = {.child = {.w = w, .order = order, .fd = out->fd, .item = -1}, .queue = q, .me = me};
    worker_main(&l);
}

static char *read_results(Arena *a, int fd, size_t *size) {
    struct stat st;
    *size = 0;
    if (fstat(fd, &st) != 0 || st.st_size <= 0) return NULL;
    *size = (size_t)st.st_size;
    char *data = arena_alloc(a, *size);
    for (size_t at = 0; at < *size;) {
        ssize_t n = pread(fd, data + at, *size - at, (off_t)at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            *size = at;
    }
    return data;
}

static void add_helper(Arena *a, Work *w, const char *name, const void *object, size_t size) {
    for (int i = 0; i < w->nhelper; i++)
        if (!strcmp(w->helper[i].name, name)) return; /* another worker needed it too */
    VEC_ROOM(a, w->helper, w->nhelper, w->cap_helper);
    w->helper[w->nhelper++] = (WorkHelper){name, object, size};
}

/* Takes a worker's records in; true when the last one is there. *error: what the worker complained
 * of. */
static bool take_results(Arena *a, Work *w, int fd, const char **error) {
    size_t size, at = 0;
    char *data = read_results(a, fd, &size);
    for (Record r; size - at >= sizeof r;) {
        memcpy(&r, data + at, sizeof r);
        at += sizeof r;
        if (r.name_bytes > size - at || r.data_bytes > size - at - r.name_bytes) return false;
        const char *name = arena_strndup(a, data + at, r.name_bytes),
                   *object = data + at + r.name_bytes;
        at += r.name_bytes + r.data_bytes;
        switch (r.kind) {
        case REC_KERNEL:
            VM_CHECK(r.item < (uint32_t)w->n, "codegen: a result for kernel %u", (unsigned)r.item);
            w->item[r.item].facts = r.facts;
            w->item[r.item].object = object;
            w->item[r.item].size = r.data_bytes;
            w->item[r.item].done = true;
            break;
        case REC_HELPER: add_helper(a, w, name, object, r.data_bytes); break;
        case REC_ERROR: *error = arena_strndup(a, object, r.data_bytes); return false;
        default:
            w->seconds_start += r.seconds[0];
            w->seconds_ir += r.seconds[1];
            w->seconds_llvm += r.seconds[2];
            return true;
        }
    }
    return false;
}

/* The same order whatever the hash tables say: long kernels first, so that no worker begins one
 * last. */
static int by_length(const void *x, const void *y) {
    const WorkItem *a = *(const WorkItem *const *)x, *b = *(const WorkItem *const *)y;
    size_t m = strlen(a->text), n = strlen(b->text);
    if (m != n) return m < n ? 1 : -1;
    return a < b ? -1 : a > b;
}

static int *work_order(Arena *a, const Work *w) {
    const WorkItem **item = ARENA_ARRAY(a, const WorkItem *, w->n);
    int *order = ARENA_ARRAY(a, int, w->n);
    for (int i = 0; i < w->n; i++) item[i] = &w->item[i];
    qsort(item, (size_t)w->n, sizeof *item, by_length);
    for (int i = 0; i < w->n; i++) order[i] = (int)(item[i] - w->item);
    return order;
}

/* A worker that was ended from outside is the environment's doing; one that crashed is ours. */
static const char *death(Arena *a, Work *w, const Queue *q, int me, int status, bool complete) {
    if (complete) return NULL;
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool crashed =
        sig == SIGABRT || sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE;
    if (sig == SIGKILL)
        return "a process that compiled was killed (signal 9), as systems do when memory runs out";
    if (sig && !crashed)
        return arena_printf(a, "a process that compiled was ended by signal %d", sig);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    if (code == STATUS_ENV || code == STATUS_LOADER) return "out of memory while compiling";
    if (!sig)
        return arena_printf(a, "a process that compiled ended early, with exit status %d", code);
    int item = atomic_load(&q->current[me]);
    /* LLVM's constructors abort without memory, before a handler of ours can be in place */
    if (item == LOADING && sig == SIGABRT)
        return "LLVM could not be loaded, most likely without memory";
    if (item < 0 || item >= w->n)
        VM_BUG("codegen: a worker died of signal %d between kernels", sig);
    *w->lowering = w->item[item].job.plan->g;
    VM_BUG("codegen: a worker died of signal %d while it compiled\n%s", sig, w->item[item].text);
}

/* What a run of workers holds beside memory of the arena. */
typedef struct Team {
    Queue *queue;
    Worker worker[MAX_WORKERS];
    int n;
} Team;

static void team_end(void *team) {
    Team *t = team;
    for (int i = 0; i < t->n; i++) vm_undo_close(&t->worker[i].fd);
    munmap(t->queue, sizeof *t->queue);
}

/* Waits for all, and takes their results; the first complaint counts. */
static const char *gather(Arena *a, Work *w, Team *t) {
    const char *first = NULL;
    int status[MAX_WORKERS] = {0};
    for (int i = 0; i < t->n; i++)
        while (t->worker[i].pid > 0 && waitpid(t->worker[i].pid, &status[i], 0) < 0 &&
               errno == EINTR)
            continue;
    for (int i = 0; i < t->n; i++) {
        const char *error = NULL;
        bool complete = take_results(a, w, t->worker[i].fd, &error);
        if (!error) error = death(a, w, t->queue, i, status[i], complete);
        if (!first) first = error;
    }
    return first;
}

const char *work_run(Arena *a, Work *w) {
    if (w->n == 0) return NULL;
    const int *order = work_order(a, w);
    Team t = {.n = 0};
    t.queue =
        mmap(NULL, sizeof *t.queue, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.queue == MAP_FAILED) return "no memory for compiling";
    VmUndo undo;
    vm_undo_push(&undo, team_end, &t);
    for (int i = 0; i < MAX_WORKERS; i++) atomic_init(&t.queue->current[i], -1);
    int want = w->workers < 1 || !FORKS ? 1 : w->workers < MAX_WORKERS ? w->workers : MAX_WORKERS;
    if (want > w->n) want = w->n;
    while (t.n < want && start_worker(w, order, t.queue, t.n, &t.worker[t.n])) t.n++;
    w->started = t.n;
    const char *error =
        t.n ? gather(a, w, &t) : arena_printf(a, "no process to compile in: %s", strerror(errno));
    vm_undo_pop(&undo);
    team_end(&t);
    *w->lowering = NULL;
    for (int i = 0; i < w->n && !error; i++)
        VM_CHECK(w->item[i].done, "codegen: a kernel was not compiled\n%s", w->item[i].text);
    return error;
}
