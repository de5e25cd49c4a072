/* The folder of a run: finding a free one, the lock that makes it this process's own, moving an old
 * run aside. Everything in it is reached from the open folder.
 *
 * Does not: know what checkpoints and logs look like, only what they are called. */
#include "runtime/train/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_FILE ".lock"

const char *const vm_checkpoint_files[VM_CHECKPOINT_FILES] = {"weights.safetensors",
                                                              "state.safetensors", "trainer.json"};

/* What is in a folder, seen once. */
typedef struct Contents {
    bool checkpoint, run;
} Contents;

static VmStatus look_at(const VmDir *d, const char *name, VmThere *there, VmError *err) {
    *there = vm_there(d, name);
    if (*there != VM_UNKNOWN) return VM_OK;
    return vm_fail(err, VM_ENV, "cannot look at '%s/%s': %s", d->path, name, strerror(errno));
}

static VmStatus look(const VmDir *d, Contents *c, VmError *err) {
    VmThere newest, previous, weights, best, log;
    VmStatus s = look_at(d, VM_CHECKPOINT, &newest, err);
    if (!s) s = look_at(d, VM_CHECKPOINT_PREVIOUS, &previous, err);
    if (!s) s = look_at(d, VM_WEIGHTS_FILE, &weights, err);
    if (!s) s = look_at(d, VM_BEST_FILE, &best, err);
    if (s) return s;
    c->checkpoint = newest != VM_NOTHING || previous != VM_NOTHING;
    c->run = c->checkpoint || weights == VM_REGULAR || best == VM_REGULAR;
    for (int i = 0; i < VM_SINK_COUNT; i++) {
        const char *name = vm_sink_file((VmSinkId)i);
        if (name) s = look_at(d, name, &log, err);
        if (s) return s;
        c->run |= name && log == VM_REGULAR && vm_size_in(d, name) != 0;
    }
    return VM_OK;
}

/* "runs/a" or "runs/a-2", without slashes at the end; NULL: out of memory. Freed by the caller. */
static char *numbered_path(const char *out, int i) {
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    char *path = NULL;
    int len =
        i < 2 ? asprintf(&path, "%.*s", (int)n, out) : asprintf(&path, "%.*s-%d", (int)n, out, i);
    return len < 0 ? NULL : path;
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0 || errno != ENOENT;
}

static VmStatus no_memory(VmError *err) {
    return vm_fail(err, VM_ENV, "out of memory");
}

static VmStatus already_there(const char *path, const Contents *c, VmError *err) {
    return vm_fail(
        err, VM_USAGE,
        "'%s' holds a run %s; --overwrite moves it aside, --out DIR names another folder", path,
        c->checkpoint ? "already: --resume goes on with it"
                      : "that ended before its first checkpoint, the end of its first epoch");
}

static VmStatus nothing_there(const char *path, const Contents *c, VmError *err) {
    if (c->run)
        return vm_fail(
            err, VM_USAGE,
            "'%s' holds a run that ended before its first checkpoint, the end of its first epoch: "
            "nothing can be resumed; --overwrite starts anew",
            path);
    return vm_fail(err, VM_USAGE, "there is no checkpoint in '%s' to resume from", path);
}

/* The last of OUT, OUT-2, .. that is there and has a checkpoint; 1: none has. Some may have been
 * moved away.
 */
static VmStatus last_number(const char *out, int *last, VmError *err) {
    enum { GAP = 100 };
    *last = 1;
    for (int i = 1, gone = 0; gone < GAP; i++) {
        char *path = numbered_path(out, i);
        if (!path) return no_memory(err);
        VmDir d;
        Contents c = {false, false};
        bool there = is_there(path), open = there && vm_dir_open(&d, path, false, NULL) == VM_OK;
        if (open && look(&d, &c, NULL) == VM_OK && c.run) *last = i;
        if (open) vm_dir_close(&d);
        free(path);
        gone = there ? 0 : gone + 1;
    }
    return VM_OK;
}

/* ---- before anything is loaded ---- */

/* Whether a process has the lock, and what it says of itself. */
static bool in_use(const VmDir *d, char holder[256]) {
    char *text;
    size_t size;
    int fd = openat(d->fd, LOCK_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    if (!held || vm_read_in(d, LOCK_FILE, &text, &size, NULL) != VM_OK) return false;
    snprintf(holder, 256, "%.*s", (int)strcspn(text, "\n"), text);
    free(text);
    return true;
}

static VmStatus check_one(const VmRunPlace *p, const char *path, VmError *err) {
    VmDir d;
    char holder[256];
    Contents c = {false, false};
    if (!is_there(path)) return p->resume ? nothing_there(path, &c, err) : VM_OK;
    VmStatus s = vm_dir_open(&d, path, false, err);
    if (s) return s;
    s = look(&d, &c, err);
    if (s == VM_OK && c.run && in_use(&d, holder))
        s = vm_fail(err, VM_ENV,
                    "'%s' is in use by %s: wait for it, or name another folder with --out", path,
                    holder);
    else if (s == VM_OK && p->resume)
        s = c.checkpoint ? VM_OK : nothing_there(path, &c, err);
    else if (s == VM_OK && c.run && !p->overwrite)
        s = already_there(path, &c, err);
    vm_dir_close(&d);
    return s;
}

VmStatus vm_run_check(const VmRunPlace *p, VmError *err) {
    int last = 1;
    if (p->numbered && !p->resume) return VM_OK; /* a free one is found when it is needed */
    VmStatus s = p->numbered ? last_number(p->out, &last, err) : VM_OK;
    if (s) return s;
    char *path = numbered_path(p->out, last);
    if (!path) return no_memory(err);
    s = check_one(p, path, err);
    free(path);
    return s;
}

/* ---- opening ---- */

static void say_who(char about[256]) {
    char host[100] = "?", when[40] = "?";
    time_t now = time(NULL);
    struct tm t;
    (void)gethostname(host, sizeof host - 1);
    if (gmtime_r(&now, &t)) strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &t);
    snprintf(about, 256, "process %ld on %s since %s\n", (long)getpid(), host, when);
}

/* Does the path still lead to the folder that is open? Somebody may move a run aside between the
 * two. */
static bool still_there(const VmDir *d, const char *path) {
    struct stat is, was;
    return stat(path, &is) == 0 && fstat(d->fd, &was) == 0 && is.st_dev == was.st_dev &&
           is.st_ino == was.st_ino;
}

static VmStatus take(VmRunFolder *r, const char *path, bool make, bool *held, VmError *err) {
    char about[256], holder[256];
    say_who(about);
    *held = false;
    for (int i = 0; i < 100; i++) {
        VmStatus s = vm_dir_open(&r->dir, path, make, err);
        if (s) return s;
        s = vm_lock(&r->lock, &r->dir, LOCK_FILE, about, held, holder, err);
        if (s == VM_OK && still_there(&r->dir, path)) return VM_OK;
        bool moved = !still_there(&r->dir, path);
        vm_run_close(r);
        if (s && !moved) return s;
    }
    return vm_fail(err, VM_ENV, "'%s' is moved all the time", path);
}

/* Leftovers of killed processes; without locks nobody knows whose they are. */
static void clear(const VmRunFolder *r) {
    if (r->lock.fd >= 0) vm_remove_leftovers(&r->dir, vm_checkpoint_files, VM_CHECKPOINT_FILES);
}

/* Renames the folder to OUT.old, OUT.old-2, ..; r->aside says which. */
static VmStatus rename_aside(VmRunFolder *r, const char *path, VmError *err) {
    for (int i = 1;; i++) {
        char *aside = NULL;
        int len =
            i == 1 ? asprintf(&aside, "%s.old", path) : asprintf(&aside, "%s.old-%d", path, i);
        if (len < 0) return no_memory(err);
        bool moved = renameat2(AT_FDCWD, path, AT_FDCWD, aside, RENAME_NOREPLACE) == 0;
        if (!moved && (errno == EINVAL || errno == ENOSYS) && !is_there(aside))
            moved = rename(path, aside) == 0;
        int why = errno;
        if (moved) snprintf(r->aside, sizeof r->aside, "%s", aside);
        free(aside);
        if (moved) return VM_OK;
        if (why == EEXIST || why == ENOTEMPTY) continue;
        return vm_fail(err, VM_ENV, "cannot move '%s' aside: %s; name another folder with --out",
                       path, strerror(why));
    }
}

/* A folder in the run's folder that no run makes: what lies there is more than a run. */
static VmStatus refuse_others(const VmDir *d, VmError *err) {
    static const char kept[] = "checkpoint.kept-";
    int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (!list) {
        int why = errno;
        if (fd >= 0) close(fd);
        return vm_fail(err, VM_ENV, "cannot look into '%s': %s", d->path, strerror(why));
    }
    VmStatus s = VM_OK;
    for (struct dirent *e; !s && (e = readdir(list));) {
        bool ours = e->d_name[0] == '.' || strcmp(e->d_name, VM_CHECKPOINT) == 0 ||
                    strcmp(e->d_name, VM_CHECKPOINT_PREVIOUS) == 0 ||
                    strncmp(e->d_name, kept, sizeof kept - 1) == 0;
        if (!ours && vm_there(d, e->d_name) == VM_FOLDER)
            s = vm_fail(err, VM_USAGE,
                        "'%s' holds more than a run (the folder '%s'): nothing was moved; --out "
                        "DIR names another "
                        "folder",
                        d->path, e->d_name);
    }
    closedir(list);
    return s;
}

/* Moves the run, which is this process's, aside and starts with an empty folder. A link to a folder
 * stays, and leads to the empty one. */
static VmStatus move_aside(VmRunFolder *r, const char *path, VmError *err) {
    VmStatus s = refuse_others(&r->dir, err);
    if (s) return s;
    struct stat st;
    bool link = lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
    char *real = link ? realpath(path, NULL) : strdup(path);
    if (!real) return vm_fail(err, VM_ENV, "cannot move '%s' aside: %s", path, strerror(errno));
    clear(r);
    s = rename_aside(r, real, err);
    VmRunFolder fresh = {.dir = VM_DIR_CLOSED, .lock = VM_UNLOCKED};
    bool held;
    if (s == VM_OK) s = take(&fresh, real, true, &held, err);
    free(real);
    vm_run_close(r);
    r->dir = fresh.dir;
    r->lock = fresh.lock;
    if (s == VM_OK) { /* messages go on with the user's own word for it */
        char *own = strdup(path);
        if (own) free(r->dir.path);
        if (own) r->dir.path = own;
    }
    return s;
}

static VmStatus check_name(const VmDir *d, const char *name, VmThere want, VmError *err) {
    VmThere there = vm_there(d, name);
    if (there == VM_NOTHING || there == want) return VM_OK;
    return vm_fail(err, VM_ENV, "'%s/%s' is %s; expected %s", d->path, name, vm_there_text(there),
                   vm_there_text(want));
}

/* What the run will write to or read is a file or a folder, or nothing: seen now and not after
 * hours. */
static VmStatus check_names(const VmDir *d, VmError *err) {
    VmStatus s = check_name(d, VM_CHECKPOINT, VM_FOLDER, err);
    if (!s) s = check_name(d, VM_CHECKPOINT_PREVIOUS, VM_FOLDER, err);
    if (!s) s = check_name(d, VM_WEIGHTS_FILE, VM_REGULAR, err);
    if (!s) s = check_name(d, VM_BEST_FILE, VM_REGULAR, err);
    if (!s) s = check_name(d, VM_RUN_RECORD, VM_REGULAR, err);
    if (!s) s = check_name(d, VM_RUN_SOURCE, VM_REGULAR, err);
    for (int i = 0; i < VM_SINK_COUNT && !s; i++)
        if (vm_sink_file((VmSinkId)i))
            s = check_name(d, vm_sink_file((VmSinkId)i), VM_REGULAR, err);
    return s;
}

/* Somebody's own files of these names stay: a folder without a run may hold those of a run that
 * ended while it wrote them, run.json first, and that one tells. */
static VmStatus refuse_foreign(const VmDir *d, VmError *err) {
    static const char begin[] = "{\n \"format\":";
    char *text = NULL;
    size_t size;
    bool record = vm_there(d, VM_RUN_RECORD) == VM_REGULAR;
    bool source = vm_there(d, VM_RUN_SOURCE) == VM_REGULAR;
    VmStatus s = record ? vm_read_in(d, VM_RUN_RECORD, &text, &size, err) : VM_OK;
    bool ours = !s && text && !strncmp(text, begin, sizeof begin - 1);
    free(text);
    if (s || ours || (!record && !source)) return s;
    return vm_fail(err, VM_USAGE,
                   "'%s/%s' is there and belongs to no run: a run would write over it; --out DIR "
                   "names another folder",
                   d->path, record ? VM_RUN_RECORD : VM_RUN_SOURCE);
}

/* A folder that holds a run, which need not be ours to lock. */
static bool is_taken(const char *path) {
    VmDir d;
    if (!is_there(path) || vm_dir_open(&d, path, false, NULL) != VM_OK) return false;
    Contents c = {false, false};
    char holder[256];
    bool known =
        look(&d, &c, NULL) == VM_OK; /* else the lock, or whoever looks then, says why not */
    bool run = known && c.run && !in_use(&d, holder);
    vm_dir_close(&d);
    return run;
}

/* *next: try the following number. */
static VmStatus open_one(VmRunFolder *r, const VmRunPlace *p, const char *path, bool *next,
                         VmError *err) {
    bool held, free_choice = p->numbered && !p->resume;
    Contents c = {false, false};
    *next = free_choice && is_taken(path);
    if (*next) return VM_USAGE; /* whoever tries the next does not hear of it */
    if (p->resume && !is_there(path)) return nothing_there(path, &c, err);
    VmStatus s = take(r, path, !p->resume, &held, err);
    if (s) {
        *next = held && free_choice;
        if (*next && err) snprintf(r->passed_over, sizeof r->passed_over, "%.*s", 900, err->text);
        return s;
    }
    s = look(&r->dir, &c, err);
    if (s == VM_OK && p->resume) {
        s = c.checkpoint ? VM_OK : nothing_there(path, &c, err);
    } else if (s == VM_OK && c.run) {
        *next = free_choice;
        s = p->overwrite ? move_aside(r, path, err) : already_there(path, &c, err);
    } else if (s == VM_OK) {
        s = refuse_foreign(&r->dir, err);
    }
    if (s == VM_OK) s = check_names(&r->dir, err);
    if (s) vm_run_close(r);
    return s;
}

VmStatus vm_run_open(VmRunFolder *r, const VmRunPlace *p, VmError *err) {
    *r = (VmRunFolder){.dir = VM_DIR_CLOSED, .lock = VM_UNLOCKED};
    int i = 1;
    VmStatus s = p->numbered && p->resume ? last_number(p->out, &i, err) : VM_OK;
    for (bool next = s == VM_OK; next; i++) {
        char *path = numbered_path(p->out, i);
        if (!path) return no_memory(err);
        s = open_one(r, p, path, &next, err);
        free(path);
    }
    if (s == VM_OK) clear(r);
    return s;
}

VmStatus vm_run_describe(const VmRunFolder *r, const VmRun *run, VmError *err) {
    VmStatus s = VM_OK;
    for (int i = 0; i < run->nfile && !s; i++) {
        const VmRunFile *file = &run->file[i];
        VmFile w;
        if (vm_there(&r->dir, file->name) == VM_REGULAR && run->place.resume) continue;
        s = vm_file_begin_in(&w, &r->dir, file->name, err);
        if (s) return s;
        fputs(file->text, w.f);
        s = vm_file_commit(&w, err);
    }
    return s;
}

bool vm_run_moved(const VmRunFolder *r, const char *path, char now[4200]) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", r->dir.fd);
    if (still_there(&r->dir, path)) return false;
    ssize_t n = readlink(link, now, 4199);
    now[n > 0 ? n : 0] = '\0';
    return n > 0;
}

void vm_run_close(VmRunFolder *r) {
    vm_unlock(&r->lock);
    vm_dir_close(&r->dir);
}
