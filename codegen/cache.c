/* The cache of objects on disk: DIR/v1/XX/<30 hex digits>, XX being the first two digits of the key's hash.
 *
 * Only files that this user wrote are read: code from the cache runs with the user's rights, so a folder that
 * belongs to somebody else or that others may write to is not used. Nothing is synced: an entry that a crash
 * of the machine left half written does not match its checksum.
 *
 * An entry also names the LLVM library that made it, with its size and time: when the system's LLVM has been
 * replaced, its entries miss. */
#include "codegen/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "codegen/hash.h"

enum { VERSION = 1, DAY = 24 * 3600, MAX_ENTRY = 64 << 20 };
static const char magic[8] = "vmoecobj";

struct Cache {
    Arena *arena;
    const char *dir;    /* DIR/v1; NULL: off */
    const char *prefix; /* of every key */
    /* the library looked at last, as it is now */
    const char *library;
    int64_t library_size, library_time;
};

/* At the start of every entry; key, library's path and object follow. */
typedef struct Header {
    char magic[8];
    uint32_t version, key_bytes, library_bytes, unused;
    int64_t library_size, library_time;
    int64_t scratch_bytes, items;
    uint64_t object_bytes;
    uint64_t sum[2]; /* of the whole entry with sum = 0 */
} Header;

/* ---- folders ---- */

static bool make_folder(const char *path) {
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool make_parents(Arena *a, const char *path) {
    char *p = arena_strdup(a, path);
    for (char *s = strchr(p + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = 0;
        if (!make_folder(p)) return false;
        *s = '/';
    }
    return make_folder(p);
}

static const char *folder_trouble(Arena *a, const char *path) {
    struct stat st;
    if (!make_parents(a, path) || stat(path, &st) != 0)
        return arena_printf(a, "%s cannot be made: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return arena_printf(a, "%s is no folder", path);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return arena_printf(a, "%s belongs to others, or they may write to it", path);
    if (access(path, R_OK | X_OK) != 0) return arena_printf(a, "%s cannot be read", path);
    return NULL;
}

Cache *cache_open(Arena *a, const CgTarget *t, const char *dir, const char **note) {
    Cache *c = ARENA_NEW(a, Cache);
    c->arena = a;
    *note = NULL;
    if (!dir) return c;
    const char *path = arena_printf(a, "%s/v%d", dir, VERSION);
    *note = folder_trouble(a, path);
    if (*note) return c;
    c->dir = path;
    c->prefix = arena_printf(a, "compiler %s\nisa %s %d %d\ncpu %s %s %s\n", cg_compiler_id, t->isa,
                             t->vector_floats, t->vector_registers, t->cpu, t->features, t->host);
    if (access(path, W_OK) != 0) *note = arena_printf(a, "%s can only be read", path);
    return c;
}

/* ---- entries ---- */

static const char *key_text(const Cache *c, Arena *a, const char *text) {
    return arena_printf(a, "%s%s", c->prefix, text);
}

static const char *folder_of(const Cache *c, Arena *a, Hash h) {
    return arena_printf(a, "%s/%02x", c->dir, (unsigned)(h.hi >> 56));
}

static const char *path_of(const Cache *c, Arena *a, Hash h) {
    return arena_printf(a, "%s/%014llx%016llx", folder_of(c, a, h), (unsigned long long)(h.hi << 8 >> 8),
                        (unsigned long long)h.lo);
}

/* Whole file into the arena; NULL when it is not there, empty, no file or too large. */
static char *read_file(Arena *a, const char *path, size_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NULL;
    struct stat st;
    char *data = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= MAX_ENTRY) {
        *size = (size_t)st.st_size;
        data = arena_alloc(a, *size);
        size_t at = 0;
        for (ssize_t n; at < *size; at += (size_t)n) {
            n = read(fd, data + at, *size - at);
            if (n < 0 && errno == EINTR)
                n = 0;
            else if (n <= 0)
                break;
        }
        if (at < *size) data = NULL;
        /* The time of last use decides who goes first; noting it once a day is enough. */
        if (data && st.st_mtime < time(NULL) - DAY) (void)futimens(fd, NULL);
    }
    close(fd);
    return data;
}

static void file_stamp(const char *path, int64_t *size, int64_t *when) {
    struct stat st;
    *size = *when = 0;
    if (!*path || stat(path, &st) != 0) return;
    *size = st.st_size;
    *when = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static bool library_unchanged(Cache *c, const char *path, size_t len, const Header *h) {
    if (!c->library || strlen(c->library) != len || memcmp(c->library, path, len) != 0) {
        c->library = arena_strndup(c->arena, path, len);
        file_stamp(c->library, &c->library_size, &c->library_time);
    }
    return h->library_size == c->library_size && h->library_time == c->library_time;
}

static Hash entry_sum(char *data, size_t size) {
    uint64_t kept[2];
    char *at = data + offsetof(Header, sum);
    memcpy(kept, at, sizeof kept);
    memset(at, 0, sizeof kept);
    Hash h = hash_bytes(data, size);
    memcpy(at, kept, sizeof kept);
    return h;
}

/* Is the file what cache_store writes for this key? */
static bool entry_read(Cache *c, char *data, size_t size, const char *key, CacheEntry *out) {
    Header h;
    if (size < sizeof h) return false;
    memcpy(&h, data, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.version != VERSION) return false;
    size_t rest = size - sizeof h, key_bytes = strlen(key);
    if (h.key_bytes != key_bytes || h.key_bytes > rest || h.library_bytes > rest - h.key_bytes) return false;
    if (h.object_bytes != rest - h.key_bytes - h.library_bytes) return false;
    Hash sum = entry_sum(data, size);
    if (h.sum[0] != sum.lo || h.sum[1] != sum.hi || memcmp(data + sizeof h, key, key_bytes) != 0)
        return false;
    if (h.scratch_bytes < 0 || h.items < 0) return false;
    if (!library_unchanged(c, data + sizeof h + key_bytes, h.library_bytes, &h)) return false;
    *out = (CacheEntry){.facts = {h.scratch_bytes, h.items},
                        .object = data + sizeof h + h.key_bytes + h.library_bytes,
                        .size = h.object_bytes};
    return true;
}

bool cache_find(Cache *c, Arena *a, const char *text, CacheEntry *out) {
    if (!c->dir) return false;
    const char *key = key_text(c, a, text);
    size_t size;
    char *data = read_file(a, path_of(c, a, hash_bytes(key, strlen(key))), &size);
    return data && entry_read(c, data, size, key, out);
}

/* ---- storing ---- */

static bool write_file(int fd, const char *data, size_t size) {
    if (fd < 0) return false;
    bool ok = true;
    for (size_t at = 0; at < size && ok;) {
        ssize_t n = write(fd, data + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else
            ok = n < 0 && errno == EINTR;
    }
    return close(fd) == 0 && ok;
}

typedef struct Kept {
    char *name;
    int64_t used, bytes;
} Kept;

static int by_use(const void *x, const void *y) {
    const Kept *a = x, *b = y;
    return (a->used > b->used) - (a->used < b->used);
}

/* Removes what was not used for longest until the folder keeps to its part, and what killed processes left.
 */
static void trim_folder(Arena *a, const char *folder) {
    DIR *d = opendir(folder);
    if (!d) return;
    enum { MOST = 1024 };
    Kept *kept = ARENA_ARRAY(a, Kept, MOST);
    int n = 0;
    int64_t sum = 0, now = (int64_t)time(NULL);
    for (struct dirent *f; (f = readdir(d)) && n < MOST;) {
        struct stat st;
        if (fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
        if (strchr(f->d_name, '.') && st.st_mtime < now - DAY) {
            unlinkat(dirfd(d), f->d_name, 0);
            continue;
        }
        /* a file takes whole blocks, and its name some space too */
        kept[n] = (Kept){arena_strdup(a, f->d_name), st.st_mtime, ((int64_t)st.st_size + 4095) / 4096 * 4096};
        sum += kept[n++].bytes;
    }
    int64_t part = CACHE_BYTES / CACHE_FOLDERS;
    if (sum > part) qsort(kept, (size_t)n, sizeof *kept, by_use);
    for (int i = 0; i < n && sum > part; i++) {
        unlinkat(dirfd(d), kept[i].name, 0);
        sum -= kept[i].bytes;
    }
    closedir(d);
}

static char *entry_make(Arena *a, const char *key, const CacheEntry *e, const char *library, size_t *size) {
    Header h = {.version = VERSION,
                .key_bytes = (uint32_t)strlen(key),
                .library_bytes = (uint32_t)strlen(library),
                .scratch_bytes = e->facts.scratch_bytes,
                .items = e->facts.items,
                .object_bytes = e->size};
    memcpy(h.magic, magic, sizeof magic);
    file_stamp(library, &h.library_size, &h.library_time);
    *size = sizeof h + h.key_bytes + h.library_bytes + e->size;
    char *data = arena_alloc(a, *size), *at = data + sizeof h;
    memcpy(at, key, h.key_bytes);
    memcpy(at + h.key_bytes, library, h.library_bytes);
    memcpy(at + h.key_bytes + h.library_bytes, e->object, e->size);
    memcpy(data, &h, sizeof h);
    Hash sum = hash_bytes(data, *size);
    memcpy(data + offsetof(Header, sum), (uint64_t[]){sum.lo, sum.hi}, sizeof h.sum);
    return data;
}

void cache_store(Cache *c, const char *text, const CacheEntry *e, const char *library) {
    if (!c->dir) return;
    Arena *a = arena_create();
    const char *key = key_text(c, a, text);
    Hash h = hash_bytes(key, strlen(key));
    const char *folder = folder_of(c, a, h), *path = path_of(c, a, h);
    size_t size;
    char *data = entry_make(a, key, e, library, &size);
    char *temp = arena_printf(a, "%s.XXXXXX", path);
    if (size <= MAX_ENTRY && make_folder(folder)) {
        int fd = mkostemp(temp, O_CLOEXEC);
        bool ok = write_file(fd, data, size) && rename(temp, path) == 0;
        if (fd >= 0 && !ok) (void)unlink(temp);
        if (ok) trim_folder(a, folder);
    }
    arena_destroy(a);
}
