/* Folders: opening, making, emptying, and the lock of one.
 *
 * Does not: read or write files (file.c). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"

/* ---- opening ---- */

static char *join(const char *dir, const char *name) {
    size_t n = strlen(dir), m = strlen(name);
    char *path = malloc(n + m + 2);
    if (!path) return NULL;
    memcpy(path, dir, n);
    if (n == 0 || dir[n - 1] != '/') path[n++] = '/';
    memcpy(path + n, name, m + 1);
    return path;
}

static VmStatus opened(VmDir *d, int fd, char *path, VmError *err) {
    int why = path ? errno : ENOMEM;
    *d = (VmDir){.fd = fd, .path = path};
    if (fd >= 0 && path) return VM_OK;
    vm_fail(err, VM_ENV, "cannot open folder '%s': %s", path ? path : "?", strerror(why));
    vm_dir_close(d);
    return VM_ENV;
}

/* A folder that was just made is in its parent after a power cut, too. */
static void sync_parent(const char *path) {
    char *parent = strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash) slash[slash == parent] = '\0';
    int fd = parent ? open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(parent);
}

static VmStatus make_parents(const char *path, VmError *err) {
    size_t n = strlen(path);
    char *part = malloc(n + 1);
    if (!part) return vm_fail(err, VM_ENV, "cannot create folder '%s': out of memory", path);
    VmStatus s = VM_OK;
    for (size_t i = 1; i <= n && !s; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        struct stat st;
        if (mkdir(part, 0777) == 0) {
            sync_parent(part);
            continue;
        }
        if (errno == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode)) continue;
        s = vm_fail(err, VM_ENV, "cannot create folder '%s': %s", part,
                    strerror(errno == EEXIST ? ENOTDIR : errno));
    }
    free(part);
    return s;
}

VmStatus vm_dir_open(VmDir *d, const char *path, bool make, VmError *err) {
    *d = VM_DIR_CLOSED;
    VmStatus s = make ? make_parents(path, err) : VM_OK;
    if (s) return s;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int why = errno;
    char *copy = strdup(path);
    errno = why;
    return opened(d, fd, copy, err);
}

VmStatus vm_dir_in(VmDir *d, const VmDir *p, const char *name, bool make, VmError *err) {
    *d = VM_DIR_CLOSED;
    char *path = join(p->path, name);
    VmThere there = vm_there(p, name);
    if (path && there != VM_FOLDER && there != VM_NOTHING) {
        vm_fail(err, VM_ENV, "'%s' is %s; expected a folder", path, vm_there_text(there));
        free(path);
        return VM_ENV;
    }
    if (path && make && mkdirat(p->fd, name, 0777) != 0 && errno != EEXIST) {
        vm_fail(err, VM_ENV, "cannot create folder '%s': %s", path, strerror(errno));
        free(path);
        return VM_ENV;
    }
    return opened(d, openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), path,
                  err);
}

enum { TEMP_DIGITS = 12 };
static const char digit[] = "abcdefghijklmnopqrstuvwxyz012345";

bool vm_temp_name(char name[32]) {
    unsigned char random[TEMP_DIGITS];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) return false;
    size_t at = sizeof VM_TEMP_PREFIX - 1;
    memcpy(name, VM_TEMP_PREFIX, at);
    for (size_t i = 0; i < sizeof random; i++) name[at++] = digit[random[i] % 32];
    name[at] = '\0';
    return true;
}

VmStatus vm_dir_temp(VmDir *d, const VmDir *p, char name[32], VmError *err) {
    *d = VM_DIR_CLOSED;
    bool made = false;
    for (int i = 0; i < 100 && !made; i++) {
        if (!vm_temp_name(name)) break;
        made = mkdirat(p->fd, name, 0777) == 0;
        if (!made && errno != EEXIST) break;
    }
    if (made) return vm_dir_in(d, p, name, false, err);
    return vm_fail(err, VM_ENV, "cannot create a folder in '%s': %s", p->path, strerror(errno));
}

void vm_dir_close(VmDir *d) {
    if (d->fd >= 0) close(d->fd);
    free(d->path);
    *d = VM_DIR_CLOSED;
}

VmStatus vm_dir_sync(const VmDir *d, VmError *err) {
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing better to do there.
     */
    if (fsync(d->fd) == 0 || errno == EINVAL) return VM_OK;
    return vm_fail(err, VM_ENV, "cannot sync folder '%s': %s", d->path, strerror(errno));
}

/* ---- looking ---- */

static VmThere kind_of(const struct stat *st) {
    if (S_ISREG(st->st_mode)) return VM_REGULAR;
    if (S_ISDIR(st->st_mode)) return VM_FOLDER;
    return S_ISLNK(st->st_mode) ? VM_LINK : VM_SPECIAL;
}

VmThere vm_there(const VmDir *d, const char *name) {
    struct stat st;
    if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) return kind_of(&st);
    return errno == ENOENT ? VM_NOTHING : VM_UNKNOWN;
}

const char *vm_there_text(VmThere t) {
    static const char *const text[] = {"nothing",
                                       "a file",
                                       "a folder",
                                       "a link",
                                       "a pipe, device or socket",
                                       "what the system does not let us see"};
    return text[t];
}

int64_t vm_size_in(const VmDir *d, const char *name) {
    struct stat st;
    if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT ? 0 : -1;
    return S_ISREG(st.st_mode) ? st.st_size : 0;
}

int64_t vm_free_bytes(const VmDir *d) {
    struct statvfs v;
    if (fstatvfs(d->fd, &v) != 0 || v.f_blocks == 0) return INT64_MAX; /* zeros: it does not say */
    double bytes = (double)v.f_bavail * (double)v.f_frsize;
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX;
}

/* ---- moving and removing ---- */

bool vm_rename_in(const VmDir *d, const char *from, const char *to) {
    if (renameat2(d->fd, from, d->fd, to, RENAME_NOREPLACE) == 0) return true;
    if (errno != EINVAL && errno != ENOSYS) return false;
    if (vm_there(d, to) != VM_NOTHING) { /* a file system that knows plain renames only */
        errno = EEXIST;
        return false;
    }
    return renameat(d->fd, from, d->fd, to) == 0;
}

bool vm_exchange_in(const VmDir *d, const char *a, const char *b) {
    return renameat2(d->fd, a, d->fd, b, RENAME_EXCHANGE) == 0;
}

/* Exactly what vm_temp_name makes: what a user calls .vmoec-notes is his. */
static bool is_temporary(const char *name) {
    size_t n = sizeof VM_TEMP_PREFIX - 1;
    return strncmp(name, VM_TEMP_PREFIX, n) == 0 && strlen(name + n) == TEMP_DIGITS &&
           strspn(name + n, digit) == TEMP_DIGITS;
}

/* A file of this user's under a temporary name that no process is writing. */
static void remove_if_left(int dir, const char *name) {
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(dir, name, 0);
    close(fd);
}

/* Calls visit for every temporary name. */
static void each_temporary(int dir, void (*visit)(int dir, const char *name, void *user),
                           void *user) {
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (!list && fd >= 0) close(fd);
    for (struct dirent *e; list && (e = readdir(list));)
        if (is_temporary(e->d_name)) visit(dir, e->d_name, user);
    if (list) closedir(list);
}

static void visit_file(int dir, const char *name, void *user) {
    (void)user;
    remove_if_left(dir, name);
}

bool vm_remove_folder(const VmDir *p, const char *name, const char *const *files, int n) {
    VmThere there = vm_there(p, name);
    if (there != VM_FOLDER) return there == VM_NOTHING;
    int fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return false;
    for (int i = 0; i < n; i++) {
        struct stat st;
        if (fstatat(fd, files[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            (void)unlinkat(fd, files[i], 0);
    }
    each_temporary(fd, visit_file, NULL);
    close(fd);
    return unlinkat(p->fd, name, AT_REMOVEDIR) == 0;
}

typedef struct Leftovers {
    const VmDir *d;
    const char *const *files;
    int n;
} Leftovers;

static void visit_leftover(int dir, const char *name, void *user) {
    const Leftovers *l = user;
    if (vm_there(l->d, name) == VM_REGULAR) remove_if_left(dir, name);
    if (l->files && vm_there(l->d, name) == VM_FOLDER)
        (void)vm_remove_folder(l->d, name, l->files, l->n);
}

void vm_remove_leftovers(const VmDir *d, const char *const *files, int n) {
    Leftovers l = {d, files, n};
    each_temporary(d->fd, visit_leftover, &l);
}

/* ---- locks ---- */

#define HOLDER "process "

static void read_holder(int fd, char holder[256]) {
    ssize_t n = pread(fd, holder, 255, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    if (!holder[0]) snprintf(holder, 256, "a process that has not said who it is");
}

/* Its length reached the disk and its text did not when the power went: nobody syncs a lock. */
static bool is_lost(const char *text, ssize_t n) {
    for (ssize_t i = 0; i < n; i++)
        if (text[i]) return false;
    return true;
}

/* A lock file is one that we made: of this user, with no second name, and saying what ours say. */
static bool is_lock_file(int fd, const struct stat *st) {
    char text[256] = "";
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_nlink > 1) return false;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    bool small = st->st_size < (off_t)sizeof text;
    return (n >= 0 && small && is_lost(text, n)) || !strncmp(text, HOLDER, sizeof HOLDER - 1);
}

/* Who only looks whether a folder is in use holds its lock for a moment: one try is not enough. */
static bool wait_lock(int fd) {
    for (int i = 0; i < 10; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK) return false;
        (void)usleep(10000);
    }
    errno = EWOULDBLOCK;
    return false;
}

static VmStatus cannot_lock(const VmDir *d, const char *name, int fd, const char *why,
                            VmError *err) {
    if (fd >= 0) close(fd);
    return vm_fail(err, VM_ENV, "cannot lock '%s/%s': %s", d->path, name, why);
}

VmStatus vm_lock(VmLock *lock, const VmDir *d, const char *name, const char *about, bool *held,
                 char holder[256], VmError *err) {
    *lock = VM_UNLOCKED;
    *held = false;
    VmThere there = vm_there(d, name);
    if (there != VM_NOTHING && there != VM_REGULAR)
        return cannot_lock(d, name, -1, vm_there_text(there), err);
    int fd = openat(d->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    struct stat st, now;
    if (fd < 0 || fstat(fd, &st) != 0) return cannot_lock(d, name, fd, strerror(errno), err);
    if (!is_lock_file(fd, &st))
        return cannot_lock(d, name, fd, "vmoec did not make this file", err);
    if (!wait_lock(fd)) {
        *held = errno == EWOULDBLOCK;
        if (*held) read_holder(fd, holder);
        close(fd);
        return *held ? vm_fail(err, VM_ENV, "'%s' is in use by %s", d->path, holder) : VM_OK;
    }
    if (fstatat(d->fd, name, &now, AT_SYMLINK_NOFOLLOW) != 0 || now.st_ino != st.st_ino)
        return cannot_lock(d, name, fd, "it was replaced", err);
    size_t n = strlen(about);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, about, n, 0) != (ssize_t)n)
        return cannot_lock(d, name, fd, strerror(errno), err);
    lock->fd = fd;
    return VM_OK;
}

void vm_unlock(VmLock *lock) {
    if (lock->fd >= 0) close(lock->fd);
    *lock = VM_UNLOCKED;
}
