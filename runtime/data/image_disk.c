/* Decoded images on disk: one file for a part of a folder, under DIR/images-v1, with all images as
 * they come out, what is left out, and a checksum of the list of files it was made from (names,
 * sizes, times of change). What a file says is believed only if it is this user's own, in a folder
 * that nobody else can have a hand in, as kept kernels are; images are compared with their sums
 * when they are read, and what does not match is decoded again.
 *
 * A file is replaced when its folder's list of files has changed. Nothing is synced: what a crash
 * of the machine left half written does not match.
 *
 * Does not: decode; remove files of folders that nobody trains on any more. */
#include "runtime/data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VERSION = 1, HEAD = 4096 };
static const char magic[8] = "vmoecimg";

struct VmImageDisk {
    VmDir dir;
    int fd;
    int64_t one;   /* bytes of an image */
    char temp[32]; /* its name until it is finished; empty: it is */
    char name[33];
    char *key;
};

/* At the beginning. Images follow at HEAD, each at its number; behind them the tail: key, sums of
 * images, the first images left out, numbers of all of them. */
typedef struct Header {
    char magic[8];
    uint32_t version, key_bytes;
    int64_t images, one, lost, deep;
    uint64_t tail[2], self[2]; /* sums: of the tail; of this with self = 0 */
} Header;

static VmStatus failed(const VmImageDisk *d, const char *what, VmError *err) {
    return vm_fail(err, VM_ENV, "cannot %s decoded images in '%s': %s", what, d->dir.path,
                   strerror(errno));
}

static bool write_all(int fd, const void *data, size_t n, off_t at) {
    const char *p = data;
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n, at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t n, off_t at) {
    char *p = data;
    while (n > 0) {
        ssize_t k = pread(fd, p, n, at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        p += k;
        at += k;
        n -= (size_t)k;
    }
    return true;
}

static VmHash head_sum(const Header *h) {
    Header copy = *h;
    memset(copy.self, 0, sizeof copy.self);
    return vm_hash((VmHash){0}, &copy, sizeof copy);
}

/* ---- what a file is of ---- */

/* Names, sizes and times of change of a part's files, in order. */
static VmStatus list_sum(const VmImageLoader *l, int part, VmHash *sum, VmError *err) {
    const VmImagePart *p = &l->names.part[part];
    *sum = (VmHash){0};
    for (int64_t i = 0; i < p->n; i++) {
        char *path = vm_names_path(&l->names, part, &p->at[i]);
        struct stat st;
        if (!path) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
        bool there = fstatat(l->root, path, &st, 0) == 0;
        int64_t facts[3] = {0};
        if (there) {
            facts[0] = st.st_size;
            facts[1] = st.st_mtim.tv_sec;
            facts[2] = st.st_mtim.tv_nsec;
        }
        *sum = vm_hash(vm_hash(*sum, path, strlen(path) + 1), facts, sizeof facts);
        free(path);
    }
    return VM_OK;
}

/* The file's name comes from its place and form alone, so that a changed folder replaces it. */
static VmStatus name_file(VmImageDisk *d, const VmImageLoader *l, int part, VmError *err) {
    const VmImageForm *f = &l->store[part].form;
    VmHash list;
    VmStatus s = list_sum(l, part, &list, err);
    if (s) return s;
    char *place = realpath(l->src->path, NULL);
    int n = place ? asprintf(&d->key,
                             "%s/%s\n%" PRId64 " x %" PRId64 " x %" PRId64 " resize %" PRId64 "\n",
                             place, l->names.part[part].folder, f->channels, f->height, f->width,
                             f->resize)
                  : -1;
    free(place);
    if (n < 0) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    VmHashText name = vm_hash_text(vm_hash((VmHash){0}, d->key, (size_t)n));
    memcpy(d->name, name.text, sizeof d->name);
    char *key;
    n = asprintf(&key, "%s%s\n", d->key, vm_hash_text(list).text);
    if (n < 0) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    free(d->key);
    d->key = key;
    return VM_OK;
}

/* ---- reading ---- */

/* key, sums, first left out, numbers left out */
static size_t tail_bytes(size_t key, int64_t images, int64_t lost) {
    return key + (size_t)images * sizeof(uint64_t) + sizeof(VmBadImages) +
           (size_t)lost * sizeof(int64_t);
}

static bool take_tail(VmImageLoader *l, int part, const Header *h, const char *tail, size_t key) {
    VmNumbers *lost = &l->lost_at[part];
    size_t sums = (size_t)h->images * sizeof(uint64_t), numbers = (size_t)h->lost * sizeof(int64_t);
    lost->at = malloc(numbers + 1);
    if (!lost->at) return false;
    lost->n = lost->room = h->lost;
    memcpy(l->sum[part], tail + key, sums);
    memcpy(&l->lost[part], tail + key + sums, sizeof(VmBadImages));
    memcpy(lost->at, tail + key + sums + sizeof(VmBadImages), numbers);
    l->deep[part] = h->deep;
    return true;
}

/* Whether the open file has all images of the part, of just its files. */
static bool is_whole(const VmImageDisk *d, VmImageLoader *l, int part) {
    Header h;
    struct stat st;
    int64_t images = l->names.part[part].n;
    size_t key = strlen(d->key);
    if (fstat(d->fd, &st) != 0 || !S_ISREG(st.st_mode) || !vm_owned(&st) || st.st_nlink != 1)
        return false;
    if (!read_all(d->fd, &h, sizeof h, 0) || memcmp(h.magic, magic, sizeof magic) != 0)
        return false;
    VmHash self = head_sum(&h);
    if (self.lo != h.self[0] || self.hi != h.self[1] || h.version != VERSION) return false;
    if (h.images != images || h.one != d->one || h.key_bytes != key) return false;
    if (h.lost < 0 || h.lost > images || (h.lost && !l->src->skip)) return false;
    size_t n = tail_bytes(key, h.images, h.lost);
    char *tail = malloc(n);
    bool ok = tail && read_all(d->fd, tail, n, HEAD + images * d->one);
    VmHash sum = ok ? vm_hash((VmHash){0}, tail, n) : (VmHash){0};
    ok = ok && sum.lo == h.tail[0] && sum.hi == h.tail[1] && memcmp(tail, d->key, key) == 0;
    ok = ok && take_tail(l, part, &h, tail, key);
    free(tail);
    return ok;
}

bool vm_image_disk_get(const VmImageDisk *d, int64_t number, uint64_t sum, uint8_t *to) {
    return read_all(d->fd, to, (size_t)d->one, HEAD + number * d->one) &&
           vm_image_sum(to, d->one) == sum;
}

/* ---- making ---- */

static VmStatus begin(VmImageDisk *d, const VmImageLoader *l, int part, VmError *err) {
    vm_remove_leftovers(&d->dir, NULL, 0);
    int64_t images = l->names.part[part].n, room = vm_free_bytes(&d->dir),
            need = HEAD + images * (d->one + 8);
    if (need > room)
        return vm_fail(err, VM_ENV,
                       "cache = \"disk\" needs %.2f GiB in '%s' for %" PRId64
                       " decoded images; %.2f are free",
                       (double)need / 0x1p30, d->dir.path, images, (double)room / 0x1p30);
    d->fd = vm_temp_file(d->dir.fd, 0600, d->temp);
    if (d->fd >= 0) return VM_OK;
    d->temp[0] = '\0';
    return failed(d, "keep", err);
}

static VmStatus open_folder(VmImageDisk *d, const char *cache, VmError *err) {
    char *path;
    bool refused;
    if (!cache)
        return vm_fail(
            err, VM_USAGE,
            "cache = \"disk\" keeps decoded images in the cache folder, and there is none "
            "(--no-cache, or neither VMOEC_CACHE_DIR nor HOME is set)");
    if (asprintf(&path, "%s/images-v%d", cache, VERSION) < 0)
        return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s = vm_dir_private(&d->dir, path, true, &refused, err);
    free(path);
    return s;
}

VmStatus vm_image_disk_open(VmImageLoader *l, int part, bool *there, VmError *err) {
    *there = false;
    VmImageDisk *d = l->disk[part] = vm_calloc(1, sizeof *d);
    if (!d) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    d->dir = VM_DIR_CLOSED;
    d->fd = -1;
    d->one = vm_form_bytes(&l->store[part].form);
    VmStatus s = open_folder(d, l->src->cache_dir, err);
    if (!s) s = name_file(d, l, part, err);
    if (s) return s;
    d->fd = openat(d->dir.fd, d->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    *there = d->fd >= 0 && is_whole(d, l, part);
    if (*there) return VM_OK;
    if (d->fd >= 0) close(d->fd);
    d->fd = -1;
    return begin(d, l, part, err);
}

VmStatus vm_image_disk_put(VmImageDisk *d, int64_t number, const uint8_t *image, VmError *err) {
    if (write_all(d->fd, image, (size_t)d->one, HEAD + number * d->one)) return VM_OK;
    return failed(d, "keep", err);
}

static char *make_tail(const VmImageLoader *l, int part, const VmImageDisk *d, size_t *n) {
    size_t key = strlen(d->key);
    const VmNumbers *lost = &l->lost_at[part];
    int64_t images = l->names.part[part].n;
    *n = tail_bytes(key, images, lost->n);
    char *tail = malloc(*n), *at = tail;
    if (!tail) return NULL;
    memcpy(at, d->key, key);
    at += key;
    memcpy(at, l->sum[part], (size_t)images * sizeof(uint64_t));
    at += (size_t)images * sizeof(uint64_t);
    memcpy(at, &l->lost[part], sizeof(VmBadImages));
    at += sizeof(VmBadImages);
    if (lost->n) memcpy(at, lost->at, (size_t)lost->n * sizeof(int64_t));
    return tail;
}

VmStatus vm_image_disk_finish(VmImageLoader *l, int part, VmError *err) {
    VmImageDisk *d = l->disk[part];
    if (!d->temp[0]) return VM_OK;
    int64_t images = l->names.part[part].n;
    Header h = {.version = VERSION,
                .key_bytes = (uint32_t)strlen(d->key),
                .images = images,
                .one = d->one,
                .lost = l->lost_at[part].n,
                .deep = l->deep[part]};
    memcpy(h.magic, magic, sizeof magic);
    size_t n;
    char *tail = make_tail(l, part, d, &n);
    if (!tail) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    VmHash sum = vm_hash((VmHash){0}, tail, n);
    h.tail[0] = sum.lo;
    h.tail[1] = sum.hi;
    sum = head_sum(&h);
    h.self[0] = sum.lo;
    h.self[1] = sum.hi;
    bool ok = write_all(d->fd, tail, n, HEAD + images * d->one) &&
              write_all(d->fd, &h, sizeof h, 0) &&
              renameat(d->dir.fd, d->temp, d->dir.fd, d->name) == 0;
    free(tail);
    if (!ok) return failed(d, "keep", err);
    d->temp[0] = '\0';
    return VM_OK;
}

void vm_image_disk_close(VmImageDisk *d) {
    if (!d) return;
    if (d->temp[0]) (void)unlinkat(d->dir.fd, d->temp, 0);
    if (d->fd >= 0) close(d->fd);
    vm_dir_close(&d->dir);
    free(d->key);
    free(d);
}
