/* The cache of objects on disk: DIR/v2/XX/<30 hex digits>, XX being the first two digits of the
 * key's hash.
 *
 * Code from the cache runs with the user's rights, so only what this user wrote and nobody else can
 * have touched is read: v2 is opened once with every folder above it checked (vm_dir_private),
 * everything else is reached from there without following links, and each file is checked after it
 * was opened. Nothing is synced: an entry that a crash of the machine left half written does not
 * match its checksum.
 *
 * New entries are written in v2 itself under temporary names, so that what killed processes left is
 * found by looking at one folder.
 *
 * An entry also names the LLVM library that made it, with its size and time: when the system's LLVM
 * has been replaced, its entries miss. */
#include "codegen/load/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/recover.h"

enum { VERSION = 2, DAY = 24 * 3600, MAX_ENTRY = 64 << 20 };
static const char magic[8] = "vmoecobj";

struct Cache {
    Arena *arena;
    VmDir dir;          /* DIR/v2; closed: off */
    bool cleared;       /* of what killed processes left */
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

static void close_dir(void *dir) {
    vm_dir_close(dir);
}

Cache *cache_open(Arena *a, const CgTarget *t, const char *dir, const char **note, bool *refused) {
    Cache *c = ARENA_NEW(a, Cache);
    c->arena = a;
    c->dir = VM_DIR_CLOSED;
    *note = NULL;
    *refused = false;
    if (!dir) return c;
    VmError err;
    if (vm_dir_private(&c->dir, arena_printf(a, "%s/v%d", dir, VERSION), true, refused, &err)) {
        *note = arena_strdup(a, err.text);
        return c;
    }
    VmUndo undo;
    vm_undo_push(&undo, close_dir, &c->dir);
    c->prefix =
        arena_printf(a, "compiler %s\nisa %s %d %d %x\ncpu %s %s %s\n", cg_compiler_id, t->isa,
                     t->vector_floats, t->vector_registers, t->has, t->cpu, t->features, t->host);
    if (faccessat(c->dir.fd, ".", W_OK, AT_EACCESS) != 0)
        *note = arena_printf(a, "'%s' can only be read", c->dir.path);
    vm_undo_pop(&undo);
    return c;
}

int cache_descriptor(const Cache *c) {
    return c->dir.fd;
}

void cache_close(Cache *c) {
    if (c) vm_dir_close(&c->dir);
}

/* ---- entries ---- */

static const char *key_text(const Cache *c, Arena *a, const char *text) {
    return arena_printf(a, "%s%s", c->prefix, text);
}

typedef struct Name {
    char folder[3], file[31];
} Name;

static Name name_of(const char *key) {
    Name n;
    VmHashText digits = vm_hash_text(vm_hash((VmHash){0}, key, strlen(key)));
    snprintf(n.folder, sizeof n.folder, "%.2s", digits.text);
    snprintf(n.file, sizeof n.file, "%.30s", digits.text + 2);
    return n;
}

static bool is_entry(const char *name) {
    return strlen(name) == sizeof((Name *)0)->file - 1 &&
           strspn(name, "0123456789abcdef") == sizeof((Name *)0)->file - 1;
}

/* A second name would let others keep a file that was removed, or bring it back; none is left when
 * somebody has just put a newer file in its place. */
static bool is_ours(const struct stat *st) {
    return S_ISREG(st->st_mode) && vm_owned(st) && st->st_nlink <= 1;
}

static bool read_whole(int fd, char *data, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fd, data + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

/* An entry's bytes in the arena; NULL when it is not there, or not a file as cache_store makes
 * them. */
static char *read_entry(const Cache *c, Arena *a, const Name *name, size_t *size) {
    int folder = vm_private_in(&c->dir, name->folder, false);
    if (folder < 0) return NULL;
    int fd = openat(folder, name->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    close(folder);
    if (fd < 0) return NULL;
    struct stat st;
    char *data = NULL;
    if (fstat(fd, &st) == 0 && is_ours(&st) && st.st_size > 0 && st.st_size <= MAX_ENTRY) {
        VmUndo undo;
        *size = (size_t)st.st_size;
        vm_undo_push(&undo, vm_undo_close, &fd);
        data = arena_alloc(a, *size);
        vm_undo_pop(&undo);
        if (!read_whole(fd, data, *size)) data = NULL;
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

static VmHash entry_sum(char *data, size_t size) {
    uint64_t kept[2];
    char *at = data + offsetof(Header, sum);
    memcpy(kept, at, sizeof kept);
    memset(at, 0, sizeof kept);
    VmHash h = vm_hash((VmHash){0}, data, size);
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
    if (h.key_bytes != key_bytes || h.key_bytes > rest || h.library_bytes > rest - h.key_bytes)
        return false;
    if (h.object_bytes != rest - h.key_bytes - h.library_bytes) return false;
    VmHash sum = entry_sum(data, size);
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
    if (c->dir.fd < 0) return false;
    const char *key = key_text(c, a, text);
    Name name = name_of(key);
    size_t size;
    char *data = read_entry(c, a, &name, &size);
    return data && entry_read(c, data, size, key, out);
}

/* ---- storing ---- */

static bool write_whole(int fd, const char *data, size_t size) {
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, data + at, size - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return false;
    }
    return true;
}

/* Puts a file into an open folder of the cache; the temporary one is held until it has its name. */
static bool put_file(const Cache *c, int folder, const char *name, const char *data, size_t size) {
    char temp[32];
    int fd = vm_temp_file(c->dir.fd, 0600, temp);
    if (fd < 0) return false;
    bool ok = write_whole(fd, data, size) && renameat(c->dir.fd, temp, folder, name) == 0;
    if (!ok) (void)unlinkat(c->dir.fd, temp, 0);
    close(fd);
    return ok;
}

typedef struct Kept {
    Name name;
    int64_t used, bytes;
} Kept;

static int by_use(const void *x, const void *y) {
    const Kept *a = x, *b = y;
    return (a->used > b->used) - (a->used < b->used);
}

/* The entries of a folder, and not more than MOST of them: a folder that holds to its part has
 * fewer. What is not an entry's name is not ours. */
enum { MOST = 1024, MOST_OTHERS = 1024 };
static int list_entries(DIR *d, Kept *kept, int64_t *bytes) {
    int n = 0, others = 0;
    for (struct dirent *f; n < MOST && others < MOST_OTHERS && (f = readdir(d));) {
        struct stat st;
        if (!is_entry(f->d_name) || fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode)) {
            others++;
            continue;
        }
        /* a file takes whole blocks, and its name some space too */
        kept[n] = (Kept){.used = st.st_mtime, .bytes = ((int64_t)st.st_size + 4095) / 4096 * 4096};
        memcpy(kept[n].name.file, f->d_name, sizeof kept[n].name.file);
        *bytes += kept[n++].bytes;
    }
    return n;
}

/* Removes what was not used for longest until the folder keeps to its part. */
static void trim_folder(Arena *a, int folder) {
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0) close(fd);
    if (!d) return;
    Kept *kept = ARENA_ARRAY(a, Kept, MOST);
    int64_t sum = 0, part = CACHE_BYTES / CACHE_FOLDERS;
    int n = list_entries(d, kept, &sum);
    if (sum > part) qsort(kept, (size_t)n, sizeof *kept, by_use);
    for (int i = 0; i < n && sum > part; i++) {
        (void)unlinkat(dirfd(d), kept[i].name.file, 0);
        sum -= kept[i].bytes;
    }
    closedir(d);
}

static char *entry_make(Arena *a, const char *key, const CacheEntry *e, const char *library,
                        size_t *size) {
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
    VmHash sum = vm_hash((VmHash){0}, data, *size);
    memcpy(data + offsetof(Header, sum), (uint64_t[]){sum.lo, sum.hi}, sizeof h.sum);
    return data;
}

void cache_store(Cache *c, const char *text, const CacheEntry *e, const char *library) {
    if (c->dir.fd < 0) return;
    Arena *a = arena_create();
    const char *key = key_text(c, a, text);
    Name name = name_of(key);
    size_t size;
    char *data = entry_make(a, key, e, library, &size);
    if (!c->cleared) vm_remove_leftovers(&c->dir, NULL, 0);
    c->cleared = true;
    int folder = size <= MAX_ENTRY ? vm_private_in(&c->dir, name.folder, true) : -1;
    if (folder >= 0 && put_file(c, folder, name.file, data, size)) trim_folder(a, folder);
    if (folder >= 0) close(folder);
    arena_destroy(a);
}
