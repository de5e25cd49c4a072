/* Inputs of fuzz targets as texts, files and folders. */
#include "tests/fuzz/target.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Noreturn void fuzz_fail(const char *file, int line, const char *fmt, ...) {
    fprintf(stderr, "%s:%d: ", file, line);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

char *fuzz_text(const uint8_t *data, size_t size) {
    size_t n = strnlen((const char *)data, size);
    char *text = malloc(n + 1);
    FUZZ_CHECK(text != NULL, "out of memory");
    if (n) memcpy(text, data, n);
    text[n] = '\0';
    return text;
}

static void write_whole(int fd, const void *data, size_t size) {
    FUZZ_CHECK(ftruncate(fd, 0) == 0, "%s", strerror(errno));
    FUZZ_CHECK(pwrite(fd, data, size, 0) == (ssize_t)size, "%s", strerror(errno));
}

const char *fuzz_file(const uint8_t *data, size_t size) {
    static int fd = -1;
    static pid_t owner;
    static char path[64];
    if (fd < 0 || owner != getpid()) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_CHECK(fd >= 0, "%s", strerror(errno));
        owner = getpid();
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    write_whole(fd, data, size);
    return path;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static char folder[PATH_MAX];
static pid_t folder_owner;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)type;
    return ftw->level ? remove(path) : 0;
}

void fuzz_clear(void) {
    if (folder_owner == getpid() && nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0)
        fuzz_fail(__FILE__, __LINE__, "%s: %s", folder, strerror(errno));
}

void fuzz_leave(void) {
    if (folder_owner != getpid()) return;
    fuzz_clear();
    (void)rmdir(folder);
    folder_owner = 0;
}

const char *fuzz_folder(void) {
    if (folder_owner == getpid()) return folder;
    const char *in = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vmoec-fuzz-XXXXXX", in ? in : "/tmp");
    FUZZ_CHECK(mkdtemp(folder) != NULL, "%s: %s", folder, strerror(errno));
    folder_owner = getpid();
    atexit(fuzz_leave);
    return folder;
}

void fuzz_put(const char *name, const void *data, size_t size) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    FUZZ_CHECK(fd >= 0, "%s: %s", path, strerror(errno));
    write_whole(fd, data, size);
    close(fd);
}

/* ---- parts ----------------------------------------------------------------------------------- */

bool fuzz_part(const uint8_t *data, size_t size, size_t *at, FuzzPart *out) {
    static const char mark[] = "\n====\n";
    if (*at > size) return false;
    const uint8_t *from = data + *at, *end = NULL;
    size_t left = size - *at;
    if (left) end = memmem(from, left, mark, sizeof mark - 1);
    *out = (FuzzPart){from, end ? (size_t)(end - from) : left};
    *at = end ? *at + out->size + sizeof mark - 1 : size + 1;
    return true;
}

/* ---- changes --------------------------------------------------------------------------------- */

size_t fuzz_change(uint8_t *file, size_t n, size_t most, const uint8_t *data, size_t size) {
    enum { WRITE, CUT, ADD, KINDS };
    while (size >= 4) {
        size_t at = (size_t)data[1] << 8 | data[2], k = data[3];
        int kind = data[0] % KINDS;
        data += 4, size -= 4;
        if (k > size) k = size;
        if (kind == ADD) at = n;
        size_t end = kind == ADD ? most : n, room = at < end ? end - at : 0,
               fits = k < room ? k : room;
        if (kind == CUT && at < n) n = at;
        if (kind != CUT && fits) memcpy(file + at, data, fits);
        if (kind == ADD) n += fits;
        data += k, size -= k;
    }
    return n;
}
