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
