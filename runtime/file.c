/* Files and folders: paths, whole-file reading, and files that are complete or absent whatever happens.
 *
 * Does not: know any format. */
#include "runtime/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool vm_path_join(char *out, size_t cap, const char *dir, const char *name) {
    size_t n = strlen(dir);
    const char *slash = n > 0 && dir[n - 1] == '/' ? "" : "/";
    int len = snprintf(out, cap, "%s%s%s", dir, slash, name);
    return len >= 0 && (size_t)len < cap;
}

VmStatus vm_make_dirs(const char *path, VmError *err) {
    char part[1024];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return vm_fail(err, VM_ENV, "folder name '%s' is empty or too long", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(part, path, i);
        part[i] = '\0';
        struct stat st;
        if (mkdir(part, 0777) == 0) continue;
        if (errno == EEXIST && stat(part, &st) == 0 && S_ISDIR(st.st_mode)) continue;
        int why = errno == EEXIST ? ENOTDIR : errno;
        return vm_fail(err, VM_ENV, "cannot create folder '%s': %s", part, strerror(why));
    }
    return VM_OK;
}

VmStatus vm_sync_dir(const char *path, VmError *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return vm_fail(err, VM_ENV, "cannot open folder '%s': %s", path, strerror(errno));
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing better to do there. */
    bool ok = fsync(fd) == 0 || errno == EINVAL;
    int why = errno;
    close(fd);
    return ok ? VM_OK : vm_fail(err, VM_ENV, "cannot sync folder '%s': %s", path, strerror(why));
}

void vm_remove_dir(const char *path) {
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        (void)unlinkat(dirfd(d), entry->d_name, 0);
    }
    closedir(d);
    (void)rmdir(path);
}

static VmStatus read_all(FILE *f, const char *path, char **data, size_t *size, VmError *err) {
    struct stat st;
    if (fstat(fileno(f), &st) != 0)
        return vm_fail(err, VM_ENV, "cannot read '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return vm_fail(err, VM_ENV, "'%s' is not a file", path);
    size_t n = (size_t)st.st_size;
    char *p = malloc(n + 1); /* not vm_calloc: it is about to be overwritten */
    if (!p) return vm_fail(err, VM_ENV, "out of memory reading '%s' (%zu bytes)", path, n);
    if (fread(p, 1, n, f) != n) {
        free(p);
        return vm_fail(err, VM_ENV, "cannot read '%s': %s", path, ferror(f) ? strerror(errno) : "it shrank");
    }
    p[n] = '\0';
    *data = p;
    *size = n;
    return VM_OK;
}

VmStatus vm_read_file(const char *path, char **data, size_t *size, VmError *err) {
    *data = NULL;
    *size = 0;
    FILE *f = fopen(path, "rbe");
    if (!f) return vm_fail(err, VM_ENV, "cannot open '%s': %s", path, strerror(errno));
    VmStatus s = read_all(f, path, data, size, err);
    fclose(f);
    return s;
}

VmStatus vm_file_begin(VmFile *w, const char *path, VmError *err) {
    *w = (VmFile){0};
    int n = snprintf(w->path, sizeof w->path, "%s", path);
    if (n < 0 || (size_t)n >= sizeof w->path) return vm_fail(err, VM_ENV, "file name '%s' is too long", path);
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (there && S_ISDIR(st.st_mode))
        return vm_fail(err, VM_ENV, "cannot write '%s': %s", path, strerror(EISDIR));
    if (there && !S_ISREG(st.st_mode)) {
        w->f = fopen(path, "wbe");
    } else {
        snprintf(w->temp, sizeof w->temp, "%s.tmp-%ld", w->path, (long)getpid());
        w->f = fopen(w->temp, "wbe");
    }
    if (!w->f) return vm_fail(err, VM_ENV, "cannot write '%s': %s", path, strerror(errno));
    return VM_OK;
}

static void remove_temp(const VmFile *w) {
    if (w->temp[0]) (void)unlink(w->temp);
}

/* Pipes and devices cannot be synced and say EINVAL or the like. */
static bool sync_file(const VmFile *w) {
    return fsync(fileno(w->f)) == 0 || !w->temp[0];
}

void vm_file_abandon(VmFile *w) {
    if (!w->f) return;
    fclose(w->f);
    w->f = NULL;
    remove_temp(w);
}

VmStatus vm_file_commit(VmFile *w, VmError *err) {
    bool written = !ferror(w->f) && fflush(w->f) == 0 && sync_file(w);
    int why = errno;
    bool closed = fclose(w->f) == 0;
    w->f = NULL;
    if (!written || !closed) {
        remove_temp(w);
        return vm_fail(err, VM_ENV, "cannot write '%s': %s", w->path, strerror(written ? errno : why));
    }
    if (!w->temp[0]) return VM_OK;
    if (rename(w->temp, w->path) != 0) {
        why = errno;
        remove_temp(w);
        return vm_fail(err, VM_ENV, "cannot write '%s': %s", w->path, strerror(why));
    }
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", w->path);
    char *slash = strrchr(dir, '/');
    if (!slash) return vm_sync_dir(".", err);
    slash[slash == dir] = '\0';
    return vm_sync_dir(dir, err);
}
