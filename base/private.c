/* A folder whose contents may be trusted as far as the user himself: found by walking from /
 * through open folders, so that what was checked is what is used afterwards, whoever exchanges
 * names meanwhile. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { MOST_LINKS = 40, MOST_PATH = 4096 };

typedef struct Walk {
    int fd;               /* of the folder reached, for paths only */
    char left[MOST_PATH]; /* what is still to be walked */
    char here[MOST_PATH]; /* the folder reached, for messages */
    int links;
    bool *refused;
    VmError *err;
} Walk;

static VmStatus failed(const Walk *w, const char *name, int why) {
    return vm_fail(w->err, VM_ENV, "'%s/%s' cannot be used: %s", w->here, name, strerror(why));
}

static VmStatus refuse(const Walk *w, const char *why) {
    *w->refused = true;
    return vm_fail(w->err, VM_ENV, "'%s' %s", *w->here ? w->here : "/", why);
}

static bool by_us(const struct stat *st) {
    return st->st_uid == geteuid() || st->st_uid == 0;
}

bool vm_owned(const struct stat *st) {
    return st->st_uid == geteuid() && !(st->st_mode & 022);
}

static VmStatus check_folder(Walk *w) {
    struct stat st;
    if (fstat(w->fd, &st) != 0) return failed(w, "", errno);
    if (!by_us(&st)) return refuse(w, "belongs to another user");
    /* where root lets all add entries but exchange only their own, as in /tmp, the entry tells */
    bool shared = st.st_uid == 0 && (st.st_mode & S_ISVTX);
    return (st.st_mode & 022) && !shared ? refuse(w, "can be written to by other users") : VM_OK;
}

/* Takes a descriptor of a folder as the place reached. */
static VmStatus enter(Walk *w, int fd) {
    if (w->fd >= 0) close(w->fd);
    w->fd = fd;
    return check_folder(w);
}

static VmStatus go_to_root(Walk *w) {
    int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    w->here[0] = '\0';
    return fd >= 0 ? enter(w, fd) : failed(w, "", errno);
}

/* A link of this user or of root is followed as if its text stood in the path. */
static VmStatus follow(Walk *w, int link, const char *name) {
    char text[MOST_PATH];
    struct stat st;
    ssize_t n = fstat(link, &st) == 0 ? readlinkat(link, "", text, sizeof text) : -1;
    int why = errno;
    close(link);
    if (n < 0) return failed(w, name, why);
    if (!by_us(&st)) return refuse(w, "holds a link of another user");
    size_t rest = strlen(w->left);
    if (++w->links > MOST_LINKS) return failed(w, name, ELOOP);
    if ((size_t)n + 1 + rest >= MOST_PATH) return failed(w, name, ENAMETOOLONG);
    memmove(w->left + n + 1, w->left, rest + 1);
    memcpy(w->left, text, (size_t)n);
    w->left[n] = '/';
    return text[0] == '/' ? go_to_root(w) : VM_OK;
}

static int open_folder(const Walk *w, const char *name, bool make) {
    int fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT || !make) return fd;
    if (mkdirat(w->fd, name, 0700) != 0 && errno != EEXIST) return -1;
    return openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static void append(Walk *w, const char *name) {
    size_t at = strlen(w->here);
    if (!strcmp(name, ".."))
        *(strrchr(w->here, '/') ? strrchr(w->here, '/') : w->here) = '\0';
    else if (at + strlen(name) + 2 < sizeof w->here)
        snprintf(w->here + at, sizeof w->here - at, "/%s", name);
}

static VmStatus step(Walk *w, bool make) {
    char *name = w->left + strspn(w->left, "/");
    size_t n = strcspn(name, "/");
    char one[256];
    if (n >= sizeof one) return failed(w, "..", ENAMETOOLONG);
    memcpy(one, name, n);
    one[n] = '\0';
    memmove(w->left, name + n, strlen(name + n) + 1);
    if (!n || !strcmp(one, ".")) return VM_OK;
    int fd = open_folder(w, one, make);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int why = errno;
        if (fd >= 0) close(fd);
        return failed(w, one, why);
    }
    if (S_ISLNK(st.st_mode)) return follow(w, fd, one);
    if (!S_ISDIR(st.st_mode)) {
        close(fd);
        return failed(w, one, ENOTDIR);
    }
    append(w, one);
    return enter(w, fd);
}

static VmStatus begin(Walk *w, const char *path) {
    char start[MOST_PATH] = "";
    if (path[0] != '/' && !getcwd(start, sizeof start)) return failed(w, path, errno);
    if (strlen(start) + strlen(path) + 2 > MOST_PATH) return failed(w, path, ENAMETOOLONG);
    size_t at = strlen(start);
    memcpy(w->left, start, at);
    w->left[at] = '/';
    memcpy(w->left + at + 1, path, strlen(path) + 1);
    return go_to_root(w);
}

VmStatus vm_dir_private(VmDir *d, const char *path, bool make, bool *refused, VmError *err) {
    Walk w = {.fd = -1, .refused = refused, .err = err};
    *d = VM_DIR_CLOSED;
    *refused = false;
    VmStatus s = begin(&w, path);
    while (!s && w.left[0]) s = step(&w, make);
    struct stat st;
    if (!s && (fstat(w.fd, &st) != 0 || !vm_owned(&st)))
        s = refuse(&w, "belongs to another user, or can be written to by others");
    if (!s) {
        d->fd = openat(w.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int why = d->fd >= 0 ? ENOMEM : errno;
        d->path = strdup(w.here);
        if (d->fd < 0 || !d->path) {
            s = failed(&w, "", why);
            vm_dir_close(d);
        }
    }
    if (w.fd >= 0) close(w.fd);
    return s;
}

int vm_private_in(const VmDir *p, const char *name, bool make) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(p->fd, name, flags);
    if (fd < 0 && errno == ENOENT && make && (mkdirat(p->fd, name, 0700) == 0 || errno == EEXIST))
        fd = openat(p->fd, name, flags);
    struct stat st;
    if (fd < 0 || (fstat(fd, &st) == 0 && vm_owned(&st))) return fd;
    close(fd);
    return -1;
}
