/* Files: read whole, and written whole or not at all.
 *
 * Does not: know any format; remove anything but its own temporary files. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* ---- reading ---- */

static int open_regular(int dir, const char *path, int flags, const char *shown, VmError *err) {
    struct stat st;
    bool there = fstatat(dir, path, &st, flags & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) == 0;
    int fd = -1;
    if (there && S_ISREG(st.st_mode)) /* a device may do things when it is opened */
        fd = openat(dir, path, flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) return fd;
    int why = errno;
    if (fd >= 0) close(fd);
    if (!there || S_ISREG(st.st_mode)) {
        vm_fail(err, VM_ENV, "cannot open '%s': %s", shown, strerror(why));
    } else {
        vm_fail(err, VM_ENV, "'%s' is %s, not a file", shown,
                S_ISDIR(st.st_mode)   ? "a folder"
                : S_ISLNK(st.st_mode) ? "a link"
                                      : "a pipe, device or socket");
    }
    return -1;
}

int vm_open_read_at(int dir, const char *path, const char *shown, VmError *err) {
    return open_regular(dir, path, 0, shown, err);
}

int vm_open_read(const char *path, VmError *err) {
    return open_regular(AT_FDCWD, path, 0, path, err);
}

VmStatus vm_read_descriptor(int fd, const char *shown, char **data, size_t *size, VmError *err) {
    *data = NULL;
    *size = 0;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return vm_fail(err, VM_ENV, "cannot read '%s': %s", shown, strerror(errno));
    size_t n = (size_t)st.st_size;
    char *p = malloc(n + 1);
    if (!p) return vm_fail(err, VM_ENV, "out of memory reading '%s' (%zu bytes)", shown, n);
    for (size_t at = 0; at < n;) {
        ssize_t k = read(fd, p + at, n - at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            int why = errno;
            free(p);
            return vm_fail(err, VM_ENV, "cannot read '%s': %s", shown,
                           k < 0 ? strerror(why) : "it shrank");
        }
        at += (size_t)k;
    }
    p[n] = '\0';
    *data = p;
    *size = n;
    return VM_OK;
}

static VmStatus read_and_close(int fd, const char *shown, char **data, size_t *size, VmError *err) {
    *data = NULL;
    *size = 0;
    if (fd < 0) return VM_ENV;
    VmStatus s = vm_read_descriptor(fd, shown, data, size, err);
    close(fd);
    return s;
}

VmStatus vm_read_file(const char *path, char **data, size_t *size, VmError *err) {
    return read_and_close(vm_open_read(path, err), path, data, size, err);
}

/* "FOLDER/NAME"; NULL: out of memory. */
static char *shown_path(const VmDir *d, const char *name) {
    char *path = NULL;
    size_t n = strlen(d->path);
    const char *slash = n > 0 && d->path[n - 1] == '/' ? "" : "/";
    return asprintf(&path, "%s%s%s", d->path, slash, name) < 0 ? NULL : path;
}

int vm_open_read_in(const VmDir *d, const char *name, VmError *err) {
    char *shown = shown_path(d, name);
    if (!shown) {
        vm_fail(err, VM_ENV, "out of memory");
        return -1;
    }
    int fd = open_regular(d->fd, name, O_NOFOLLOW, shown, err);
    free(shown);
    return fd;
}

VmStatus vm_read_in(const VmDir *d, const char *name, char **data, size_t *size, VmError *err) {
    return read_and_close(vm_open_read_in(d, name, err), name, data, size, err);
}

/* ---- writing ---- */

static void forget(VmFile *w) {
    if (w->dir >= 0) close(w->dir);
    free(w->path);
    free(w->name);
    *w = (VmFile){.dir = -1};
}

static VmStatus cannot_write(VmFile *w, int why, VmError *err) {
    VmStatus s =
        vm_fail(err, VM_ENV, "cannot write '%s': %s", w->path ? w->path : "?", strerror(why));
    forget(w);
    return s;
}

/* Somebody who clears the folder between the making and the locking takes the file for left: then
 * another one is made. */
int vm_temp_file(int dir, unsigned mode, char name[32]) {
    for (int i = 0; i < 100; i++) {
        if (!vm_temp_name(name)) return -1;
        int fd =
            openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
        if (fd < 0 && errno == EEXIST) continue;
        if (fd < 0) return -1;
        struct stat st;
        if (flock(fd, LOCK_EX | LOCK_NB) != 0 &&
            errno == EWOULDBLOCK) { /* it is about to be removed */
            close(fd);
            continue;
        }
        bool known = fstat(fd, &st) == 0;
        int why = errno;
        if (known && st.st_nlink > 0) return fd;
        if (!known) (void)unlinkat(dir, name, 0);
        close(fd);
        errno = why;
        if (!known) return -1;
    }
    errno = EEXIST;
    return -1;
}

/* `old`: what is replaced, whose permissions stay; NULL: nothing. */
static VmStatus begin_temporary(VmFile *w, const struct stat *old, VmError *err) {
    int fd = vm_temp_file(w->dir, 0666, w->temp);
    if (fd < 0) return cannot_write(w, errno, err);
    if (old) (void)!fchmod(fd, old->st_mode & 0777);
    w->f = fdopen(fd, "wb");
    if (w->f) return VM_OK;
    int why = errno;
    (void)unlinkat(w->dir, w->temp, 0);
    close(fd);
    return cannot_write(w, why, err);
}

VmStatus vm_file_begin_in(VmFile *w, const VmDir *d, const char *name, VmError *err) {
    *w = (VmFile){.dir = -1};
    w->path = shown_path(d, name);
    w->name = strdup(name);
    if (!w->path || !w->name) return cannot_write(w, ENOMEM, err);
    struct stat st;
    bool there = fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISREG(st.st_mode)) {
        VmStatus s = vm_fail(err, VM_ENV, "cannot write '%s': %s is in its place", w->path,
                             vm_there_text(vm_there(d, name)));
        forget(w);
        return s;
    }
    w->dir = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
    if (w->dir < 0) return cannot_write(w, errno, err);
    return begin_temporary(w, there ? &st : NULL, err);
}

/* Opens the folder of `path` (relative to from) and takes its last name. */
static bool split(VmFile *w, int from, const char *path) {
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash ? slash + 1 : path);
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = name && folder ? openat(from, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int why = name && folder ? errno : ENOMEM;
    free(folder);
    free(w->name);
    if (w->dir >= 0) close(w->dir);
    w->name = name;
    w->dir = fd;
    errno = why;
    return fd >= 0;
}

/* Follows links at the end of the user's path; in a folder where others may write, only those that
 * this user or root made. *fixed: a descriptor's name, whose file cannot be replaced. False with
 * errno set. */
static bool follow(VmFile *w, const char *path, struct stat *st, bool *there, bool *fixed) {
    if (!split(w, AT_FDCWD, path)) return false;
    for (int i = 0; i < 40; i++) {
        struct statfs system;
        *fixed = fstatfs(w->dir, &system) == 0 &&
                 system.f_type == PROC_SUPER_MAGIC; /* /dev/stdout ends here */
        if (*fixed) return *there = fstatat(w->dir, w->name, st, 0) == 0;
        *there = fstatat(w->dir, w->name, st, AT_SYMLINK_NOFOLLOW) == 0;
        if (!*there) return errno == ENOENT;
        if (!S_ISLNK(st->st_mode)) return true;
        if (st->st_uid != geteuid() && st->st_uid != 0) {
            errno = EACCES;
            return false;
        }
        char target[4097];
        ssize_t n = readlinkat(w->dir, w->name, target, sizeof target - 1);
        if (n < 0) return false;
        target[n] = '\0';
        if (!split(w, w->dir, target)) return false;
    }
    errno = ELOOP;
    return false;
}

VmStatus vm_file_begin(VmFile *w, const char *path, VmError *err) {
    *w = (VmFile){.dir = -1};
    w->path = strdup(path);
    if (!w->path) return cannot_write(w, ENOMEM, err);
    struct stat st;
    bool there, fixed;
    if (!follow(w, path, &st, &there, &fixed)) return cannot_write(w, errno, err);
    if (there && S_ISDIR(st.st_mode)) return cannot_write(w, EISDIR, err);
    if (!w->name[0]) return cannot_write(w, EISDIR, err);
    if (fixed || (there && !S_ISREG(st.st_mode))) {
        int fd = openat(w->dir, w->name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0) return cannot_write(w, errno == ENXIO ? EPIPE : errno, err);
        (void)fcntl(fd, F_SETFL, 0); /* a reader is there; waiting for it is fine */
        close(w->dir);
        w->dir = -1;
        w->f = fdopen(fd, "wb");
        return w->f ? VM_OK : cannot_write(w, errno, err);
    }
    if (there && faccessat(w->dir, w->name, W_OK, AT_EACCESS) != 0)
        return cannot_write(w, errno, err);
    VmDir d = {.fd = w->dir, .path = w->path};
    vm_remove_leftovers(&d, NULL, 0);
    return begin_temporary(w, there ? &st : NULL, err);
}

void vm_file_abandon(VmFile *w) {
    if (!w->f) return;
    fclose(w->f);
    if (w->dir >= 0) (void)unlinkat(w->dir, w->temp, 0);
    forget(w);
}

/* Pipes and devices cannot be synced and say EINVAL or the like, and neither can some folders. */
static bool put_in_place(VmFile *w) {
    if (w->dir < 0) return true;
    const VmDir d = {.fd = w->dir, .path = w->path};
    bool moved = w->fresh ? vm_rename_in(&d, w->temp, w->name)
                          : renameat(w->dir, w->temp, w->dir, w->name) == 0;
    if (!moved) return false;
    return fsync(w->dir) == 0 || errno == EINVAL || errno == EROFS;
}

VmStatus vm_file_commit(VmFile *w, VmError *err) {
    errno = 0;
    bool flushed = fflush(w->f) == 0; /* also after a failed write: this time errno stays */
    if (flushed && ferror(w->f) && w->dir >= 0)
        (void)!write(fileno(w->f), "", 1); /* why a large write failed: into what is thrown away */
    bool ok = flushed && !ferror(w->f) && (fsync(fileno(w->f)) == 0 || w->dir < 0);
    int why = errno ? errno : EIO;
    ok = ok && put_in_place(w); /* while the file is open, and so held */
    if (!ok && errno) why = errno;
    bool closed = fclose(w->f) == 0;
    if (ok && closed) {
        forget(w);
        return VM_OK;
    }
    if (!ok && w->dir >= 0) (void)unlinkat(w->dir, w->temp, 0);
    return cannot_write(w, ok ? errno : why, err);
}

VmStatus vm_append_in(FILE **f, const VmDir *d, const char *name, bool keep, VmError *err) {
    VmThere there = vm_there(d, name);
    *f = NULL;
    if (there != VM_NOTHING && there != VM_REGULAR)
        return vm_fail(err, VM_ENV, "cannot write '%s/%s': %s is in its place", d->path, name,
                       vm_there_text(there));
    int flags =
        O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (keep ? 0 : O_TRUNC);
    int fd = openat(d->fd, name, flags, 0666);
    if (fd >= 0) *f = fdopen(fd, "ab");
    if (*f) return VM_OK;
    int why = errno;
    if (fd >= 0) close(fd);
    return vm_fail(err, VM_ENV, "cannot write '%s/%s': %s", d->path, name, strerror(why));
}
