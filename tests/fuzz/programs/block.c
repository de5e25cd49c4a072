/* Many programs: blocks of seeds, each in a process that a crash or an endless program may take
 * with it; the block goes on behind that seed. Finished blocks are lines of a file. */
#include "tests/fuzz/programs/gen.h"
#include "tests/fuzz/programs/programs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum { JOBS = 16 };

/* What a process tells its parent, in memory that both have. */
typedef struct Shared {
    uint64_t at; /* the seed it is at */
    Verdict verdict;
    bool told; /* verdict is of seed `at` */
    Tally tally;
} Shared;

typedef struct Job {
    pid_t pid;
    uint64_t next, end, first; /* seeds: to begin with; behind the last; of the block */
    Shared *shared;
    FILE *said; /* what the process wrote on stderr */
    Tally tally;
    double started;
} Job;

static Shared *share(void) {
    void *p = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void add(Tally *to, const Tally *t) {
    for (int i = 0; i < OUTCOMES; i++) to->outcome[i] += t->outcome[i];
    to->tried += t->tried;
    to->compared += t->compared;
    to->loosened += t->loosened;
    to->blind += t->blind;
    to->bits += t->bits;
    for (int i = 0; i < 4; i++) to->seconds[i] += t->seconds[i];
}

/* ---- in the process -------------------------------------------------------------------------- */

/* Seconds of computing; a process that does not compute has longer, for others may. */
static void set_limit(int seconds) {
    struct itimerval t = {.it_value = {.tv_sec = seconds}};
    (void)setitimer(ITIMER_PROF, &t, NULL);
    alarm(20 * (unsigned)seconds);
}

static void check_seed(const BlockOptions *o, uint64_t seed, Shared *s) {
    Arena *a = arena_create();
    GenProgram p = prog_make(a, seed);
    CheckOptions c = o->check;
    c.batch = p.batch;
    c.seed = seed;
    s->verdict = check_program(p.text, &c, &s->tally);
    s->told = true;
    arena_destroy(a);
}

/* ---- in the parent --------------------------------------------------------------------------- */

/* The first line that says something: what a mistake of ours prints before it aborts. */
static void read_said(FILE *f, char *to, size_t n) {
    rewind(f);
    to[0] = 0;
    char line[400];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (!to[0] || strstr(line, "bug") || strstr(line, "runtime error"))
            snprintf(to, n, "%.150s", line);
        if (strstr(to, "bug")) break;
    }
}

static Verdict death(int status, FILE *said) {
    Verdict v = {.outcome = OUT_OF_crash};
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (sig == SIGALRM || sig == SIGPROF) v.outcome = OUT_OF_hang;
    snprintf(v.stage, sizeof v.stage, sig ? "signal %d" : "exit %d",
             sig ? sig : WEXITSTATUS(status));
    read_said(said, v.text, sizeof v.text);
    return v;
}

static void start(const BlockOptions *o, Job *j) {
    rewind(j->said);
    if (ftruncate(fileno(j->said), 0)) abort();
    j->shared->at = j->next;
    j->shared->told = false;
    memset(&j->shared->tally, 0, sizeof j->shared->tally);
    fflush(NULL);
    j->pid = fork();
    if (j->pid) return;
    dup2(fileno(j->said), STDERR_FILENO);
    for (uint64_t seed = j->next; seed < j->end; seed++) {
        j->shared->at = seed;
        j->shared->told = false;
        set_limit(o->limit);
        check_seed(o, seed, j->shared);
        if (outcome_bad[j->shared->verdict.outcome]) _exit(1); /* the parent tells, and goes on */
    }
    _exit(0);
}

static void tell(const BlockOptions *o, uint64_t seed, const Verdict *v) {
    FILE *f = o->state ? fopen(o->state, "ae") : NULL;
    FILE *to[] = {stdout, f};
    for (int i = 0; i < 2; i++)
        if (to[i])
            fprintf(to[i], "BAD seed %" PRIu64 ": %s, %s: %s\n", seed, outcome_names[v->outcome],
                    v->stage, v->text);
    fflush(stdout);
    if (f) fclose(f);
}

static void print_line(FILE *f, const char *what, uint64_t first, uint64_t end, const Tally *t,
                       double seconds) {
    fprintf(f, "%s %" PRIu64 " %" PRIu64, what, first, end);
    for (int i = 0; i < OUTCOMES; i++) fprintf(f, " %s %" PRId64, outcome_names[i], t->outcome[i]);
    fprintf(f,
            " data %" PRId64 " compared %" PRId64 " loosened %" PRId64 " blind %" PRId64
            " bits %" PRId64,
            t->tried, t->compared, t->loosened, t->blind, t->bits);
    fprintf(f, " front %.1f reference %.1f code %.1f runs %.1f seconds %.1f\n", t->seconds[0],
            t->seconds[1], t->seconds[2], t->seconds[3], seconds);
    fflush(f);
}

static void finish(const BlockOptions *o, Job *j, Tally *all) {
    FILE *f = o->state ? fopen(o->state, "ae") : NULL;
    if (f) {
        print_line(f, "block", j->first, j->end, &j->tally, vm_seconds() - j->started);
        fclose(f);
    }
    add(all, &j->tally);
    j->pid = 0;
}

/* A process has ended: the block is done, or goes on behind the seed that ended it. */
static void ended(const BlockOptions *o, Job *j, int status, Tally *all) {
    add(&j->tally, &j->shared->tally);
    bool clean = WIFEXITED(status) && !WEXITSTATUS(status);
    if (!clean) {
        Verdict v = j->shared->told ? j->shared->verdict : death(status, j->said);
        if (!j->shared->told) j->tally.outcome[v.outcome]++;
        tell(o, j->shared->at, &v);
    }
    j->next = clean ? j->end : j->shared->at + 1;
    if (j->next < j->end)
        start(o, j);
    else
        finish(o, j, all);
}

/* Was the block that begins with this seed finished in an earlier run? Its sums count. */
static bool done_before(const BlockOptions *o, uint64_t first, uint64_t end, Tally *all) {
    FILE *f = o->state ? fopen(o->state, "re") : NULL;
    char line[2000];
    bool done = false;
    while (f && !done && fgets(line, sizeof line, f)) {
        char *save = NULL, *word = strtok_r(line, " \n", &save);
        if (!word || strcmp(word, "block") != 0) continue;
        uint64_t a = strtoull(strtok_r(NULL, " ", &save), NULL, 10),
                 b = strtoull(strtok_r(NULL, " ", &save), NULL, 10);
        if (a != first || b != end) continue;
        done = true;
        for (int i = 0; i < OUTCOMES && (word = strtok_r(NULL, " \n", &save)); i++)
            all->outcome[i] += strtoll(strtok_r(NULL, " \n", &save), NULL, 10);
        int64_t *more[] = {&all->tried, &all->compared, &all->loosened, &all->blind, &all->bits};
        for (int i = 0; i < 5 && (word = strtok_r(NULL, " \n", &save)); i++)
            *more[i] += strtoll(strtok_r(NULL, " \n", &save), NULL, 10);
    }
    if (f) fclose(f);
    return done;
}

static bool begin(const BlockOptions *o, Job *j, uint64_t *next, double t0, Tally *all) {
    uint64_t last = o->first + o->count;
    while (*next < last && (!o->seconds || vm_seconds() - t0 < o->seconds)) {
        uint64_t first = *next,
                 end = first + (uint64_t)o->size < last ? first + (uint64_t)o->size : last;
        *next = end;
        if (done_before(o, first, end, all)) continue;
        j->first = j->next = first;
        j->end = end;
        j->started = vm_seconds();
        memset(&j->tally, 0, sizeof j->tally);
        start(o, j);
        return true;
    }
    return false;
}

int64_t blocks_run(const BlockOptions *o) {
    Job job[JOBS] = {0};
    Tally all = {0};
    uint64_t next = o->first;
    int running = 0, jobs = o->jobs < JOBS ? o->jobs : JOBS;
    double t0 = vm_seconds();
    for (int i = 0; i < jobs; i++) {
        job[i].shared = share();
        job[i].said = tmpfile();
        if (!job[i].shared || !job[i].said) return 1;
        running += begin(o, &job[i], &next, t0, &all);
    }
    while (running) {
        int status;
        pid_t pid = wait(&status);
        if (pid < 0 && errno == EINTR) continue;
        for (int i = 0; i < jobs; i++) {
            if (pid != job[i].pid || !pid) continue;
            ended(o, &job[i], status, &all);
            if (!job[i].pid && !begin(o, &job[i], &next, t0, &all)) running--;
        }
    }
    print_line(stdout, "programs", o->first, next, &all, vm_seconds() - t0);
    int64_t bad = 0;
    for (int i = 0; i < OUTCOMES; i++) bad += outcome_bad[i] ? all.outcome[i] : 0;
    return bad;
}

Verdict check_apart(const char *text, const CheckOptions *o, int limit, Tally *t) {
    Shared *s = share();
    FILE *said = tmpfile();
    if (!s || !said) abort();
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        dup2(fileno(said), STDERR_FILENO);
        set_limit(limit);
        s->verdict = check_program(text, o, &s->tally);
        s->told = true;
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    Verdict v = s->told ? s->verdict : death(status, said);
    add(t, &s->tally);
    fclose(said);
    munmap(s, sizeof *s);
    return v;
}
