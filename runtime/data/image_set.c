/* Image data sets in memory: decoded images at their places, all of one size, in the order of their
 * names. What comes out does not depend on the number of threads, on folder or archive, or on the
 * order of an archive's entries; neither does which of several bad files an error names, for one
 * source.
 *
 * Does not: find files (image_folder.c, image_archive.c), know what paths mean (image_names.c) or
 * what is in an image (image_decode.c). */
#include "runtime/data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one image ---- */

static VmStatus thread_decoder(VmImageLoader *l, VmImageDecoder **out, VmError *err) {
    VmImageDecoder **d = &l->decoder[omp_get_thread_num()];
    if (!*d) *d = vm_image_decoder_create();
    *out = *d;
    return *d ? VM_OK : vm_fail(err, VM_ENV, "out of memory");
}

static VmStatus resized(VmImageDecoder *d, const VmImageForm *f, const char *name, int64_t h,
                        int64_t w, uint8_t *to, VmError *err) {
    VmImageView v;
    VmStatus s = vm_image_view(d, f->channels, &v, err);
    if (s || vm_resize_view(&v, f->channels, h, w, to, f->height, f->width)) return s;
    return vm_fail(err, VM_ENV, "%s: out of memory resizing", name);
}

VmStatus vm_image_decode(VmImageDecoder *d, const VmImageForm *f, const char *name,
                         const uint8_t *bytes, size_t n, uint8_t *to, bool *damaged, VmError *err) {
    int64_t h, w;
    *damaged = true;
    VmStatus s = vm_image_open(d, name, bytes, n, &h, &w, err);
    if (s) return s;
    if (h == f->height && w == f->width) return vm_image_planes(d, f->channels, to, err);
    if (f->resize) return resized(d, f, name, h, w, to, err);
    *damaged = false;
    return vm_fail(err, VM_INPUT,
                   "%s is %" PRId64 " x %" PRId64 " but %s is %" PRId64 " x %" PRId64
                   "; images of different sizes need `resize`",
                   name, h, w, f->first, f->height, f->width);
}

/* An image that is not held: what comes out is noted, and kept on disk if that was asked for. */
static VmStatus look_at(VmImageLoader *l, VmImageDecoder *d, int part, int64_t slot,
                        const char *name, const uint8_t *bytes, size_t n, bool *damaged,
                        VmError *err) {
    const VmImageForm *f = &l->store[part].form;
    uint8_t **to = &l->one[omp_get_thread_num()];
    size_t size = (size_t)vm_form_bytes(f);
    if (!*to) *to = malloc(size);
    if (!*to) return vm_fail(err, VM_ENV, "%s: out of memory for %zu bytes", name, size);
    VmStatus s = vm_image_decode(d, f, name, bytes, n, *to, damaged, err);
    if (s) return s;
    l->sum[part][slot] = vm_image_sum(*to, (int64_t)size);
    return l->disk[part] ? vm_image_disk_put(l->disk[part], slot, *to, err) : VM_OK;
}

/* `name` as messages show it. The store has room for the slot. */
VmStatus vm_image_load(VmImageLoader *l, int part, int64_t slot, const char *name,
                       const uint8_t *bytes, size_t n, bool *damaged, VmError *err) {
    VmImageStore *t = &l->store[part];
    VmImageDecoder *d;
    *damaged = false;
    VmStatus s = thread_decoder(l, &d, err);
    if (s) return s;
    if (l->ahead[part]) return look_at(l, d, part, slot, name, bytes, n, damaged, err);
    return vm_image_decode(d, &t->form, name, bytes, n, t->image + slot * vm_form_bytes(&t->form),
                           damaged, err);
}

VmStatus vm_image_first(VmImageLoader *l, int part, const char *name, const uint8_t *bytes,
                        size_t n, VmError *err) {
    VmImageForm *f = &l->store[part].form;
    VmImageDecoder *d;
    int64_t h, w;
    VmStatus s = thread_decoder(l, &d, err);
    if (!s) s = vm_image_open(d, name, bytes, n, &h, &w, err);
    if (s) return s;
    if (vm_image_decoder_work(d) > l->work[part]) l->work[part] = vm_image_decoder_work(d);
    int64_t side = h < w ? h : w, *shortest = &l->shortest[part];
    if (!*shortest || side < *shortest) *shortest = side;
    if (f->height) return VM_OK; /* only looked at */
    f->height = f->resize ? f->resize : h;
    f->width = f->resize ? f->resize : w;
    memcpy(f->first, name, strlen(name) + 1); /* at most VM_SHOWN_NAME, as `name` is */
    return VM_OK;
}

/* ---- where images are ---- */

static int64_t machine_memory(void) {
    return (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
}

/* Room for at least `need` images and, if that is reasonable, for `wish`. Nobody may be decoding
 * into this part. What this machine cannot hold is refused before it is tried: systems that promise
 * memory they do not have would kill the process. */
VmStatus vm_image_room(VmImageLoader *l, int part, int64_t need, int64_t wish, VmError *err) {
    VmImageStore *t = &l->store[part];
    int64_t one = vm_form_bytes(&t->form), memory = machine_memory(), most = memory / one;
    if (wish > most) wish = most;
    if (wish < need) wish = need;
    uint8_t *p = most < need ? NULL : realloc(t->image, (size_t)(wish * one));
    if (!p)
        return vm_fail(err, VM_ENV,
                       "%s: out of memory: %" PRId64 " images of %" PRId64 " x %" PRId64
                       " x %" PRId64
                       " take %.2f GiB; this machine has %.2f (`resize` makes images smaller%s)",
                       l->src->path, need, l->src->channels, t->form.height, t->form.width,
                       (double)need * (double)one / 0x1p30, (double)memory / 0x1p30,
                       l->archive ? "; of a folder they need not be in memory" : "");
    t->image = p;
    t->room = wish;
    return VM_OK;
}

bool vm_images_fit(const VmImageSource *src, int64_t bytes) {
    if (src->cache) return src->cache == VM_data_cache_memory;
    return bytes <= (src->room ? src->room : machine_memory() / 2);
}

VmStatus vm_image_place(VmImageLoader *l, int part, VmError *err) {
    int64_t n = l->names.part[part].n, bytes = n * vm_form_bytes(&l->store[part].form);
    l->ahead[part] = !vm_images_fit(l->src, l->held + bytes);
    if (!l->ahead[part]) {
        l->held += bytes;
        return vm_image_room(l, part, n, n, err);
    }
    l->sum[part] = vm_calloc((size_t)n, sizeof(uint64_t));
    return l->sum[part] ? VM_OK : vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
}

/* ---- whole sets ---- */

static VmStatus loader_open(VmImageLoader *l, const VmImageSource *src, bool train, bool test,
                            VmError *err) {
    struct stat st;
    *l = (VmImageLoader){.src = src, .names.root = src->path, .root = -1};
    for (int i = 0; i < VM_PARTS; i++)
        l->store[i].form = (VmImageForm){.channels = src->channels, .resize = src->resize};
    if (stat(src->path, &st) != 0)
        return vm_fail(err, VM_ENV, "cannot open '%s': %s", src->path, strerror(errno));
    l->archive = !S_ISDIR(st.st_mode); /* what it is instead is found out when it is opened */
    if (l->archive && src->cache && src->cache != VM_data_cache_memory)
        return vm_fail(
            err, VM_INPUT,
            "%s: an archive has to be read from its beginning, so its images are held in "
            "memory; for cache = \"%s\" unpack it into a folder",
            src->path, vm_words[src->cache].name);
    l->names.may_have_top = l->archive;
    l->names.known = src->known;
    l->names.nknown = src->nknown;
    if (!l->archive) l->root = open(src->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!l->archive && l->root < 0)
        return vm_fail(err, VM_ENV, "cannot open folder '%s': %s", src->path, strerror(errno));
    l->names.part[VM_PART_TRAIN].keep = train;
    l->names.part[VM_PART_TEST].keep = l->names.part[VM_PART_VAL].keep = test;
    size_t n = (size_t)src->threads;
    l->decoder = vm_calloc(n, sizeof(VmImageDecoder *));
    l->one = vm_calloc(n, sizeof(uint8_t *));
    if (!l->decoder || !l->one) return vm_fail(err, VM_ENV, "%s: out of memory", src->path);
    return vm_team_ready(src->threads, err);
}

static void loader_close(VmImageLoader *l) {
    for (int i = 0; i < l->src->threads; i++) {
        if (l->decoder) vm_image_decoder_destroy(l->decoder[i]);
        if (l->one) free(l->one[i]);
    }
    free(l->decoder);
    free(l->one);
    for (int i = 0; i < VM_PARTS; i++) {
        free(l->store[i].image);
        free(l->sum[i]);
        free(l->lost_at[i].at);
        vm_image_disk_close(l->disk[i]);
    }
    vm_names_free(&l->names);
    if (l->root >= 0) close(l->root);
}

/* The part's images and labels go to the caller. */
static VmStatus hand_over(VmImageLoader *l, int part, VmImages *out, VmError *err) {
    VmImageStore *t = &l->store[part];
    const VmImagePart *p = &l->names.part[part];
    *out = (VmImages){.size = p->n, .height = t->form.height, .width = t->form.width};
    out->label = vm_calloc((size_t)p->n, sizeof *out->label);
    if (!out->label) return vm_fail(err, VM_ENV, "%s: out of memory for labels", l->src->path);
    for (int64_t i = 0; i < p->n; i++) out->label[i] = (uint16_t)p->at[i].class->label;
    if (l->lost[part].count) {
        out->left_out = malloc(sizeof *out->left_out);
        if (!out->left_out) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
        *out->left_out = l->lost[part];
    }
    if (l->ahead[part]) return vm_image_files_open(l, part, &out->files, err);
    uint8_t *less = realloc(t->image, (size_t)(p->n * vm_form_bytes(&t->form)));
    out->image = less ? less : t->image;
    t->image = NULL;
    return VM_OK;
}

static void add_note(VmImagesInfo *info, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void add_note(VmImagesInfo *info, const char *fmt, ...) {
    size_t at = strlen(info->note), room = sizeof info->note - at;
    if (at) at += (size_t)snprintf(info->note + at, room, "; ");
    if (at >= sizeof info->note) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(info->note + at, sizeof info->note - at, fmt, ap);
    va_end(ap);
}

static void describe(const VmImageLoader *l, VmImagesInfo *info) {
    const VmImageNames *n = &l->names;
    bool one = n->skipped == 1;
    int64_t deep = 0;
    for (int i = 0; i < VM_PARTS; i++) deep += l->deep[i];
    for (int i = 0; i < l->src->threads; i++)
        deep += l->decoder[i] ? vm_image_decoder_rounded(l->decoder[i]) : 0;
    info->note[0] = '\0';
    if (n->skipped)
        add_note(info,
                 "skipped %" PRId64
                 " file%s of %.200s that %s no image .jpg, .jpeg or .png in a class folder: %s%s",
                 n->skipped, one ? "" : "s", l->src->path, one ? "is" : "are", n->first_skipped,
                 one ? "" : " and others");
    if (deep)
        add_note(info,
                 "%" PRId64 " PNG image%s of %.200s %s 16 bits per channel, which are rounded to 8",
                 deep, deep == 1 ? "" : "s", l->src->path, deep == 1 ? "has" : "have");
    if (l->unchecked)
        add_note(info, "%.200s is packed without a checksum, so that damage may not show",
                 l->src->path);
}

/* The classes' names by label, one after the other, each with its zero byte. */
static VmStatus class_names(const VmImageLoader *l, VmImagesInfo *info, VmError *err) {
    size_t room = 1;
    const VmImageNames *n = &l->names;
    for (int64_t i = 0; i < n->nclass; i++) room += strlen(n->class[i]->name) + 1;
    for (int64_t i = 0; i < n->nknown; i++) room += strlen(n->known[i]) + 1;
    info->classes = n->nknown;
    info->names = malloc(room);
    if (!info->names) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    char *to = info->names;
    for (int64_t i = 0; i < n->nknown; i++) to = stpcpy(to, n->known[i]) + 1;
    for (int64_t i = 0; i < n->nclass && !n->known; i++) { /* bytewise by name, as labels are */
        if (n->class[i]->label < 0) continue;
        to = stpcpy(to, n->class[i]->name) + 1;
        info->classes++;
    }
    info->names_bytes = (size_t)(to - info->names);
    return VM_OK;
}

void vm_images_free(VmImages *i) {
    free(i->image);
    free(i->label);
    free(i->left_out);
    vm_image_files_close(i->files);
    *i = (VmImages){0};
}

VmStatus vm_images_read(const VmImageSource *src, VmImages *const out[2], VmImagesInfo *info,
                        VmError *err) {
    VmImageLoader l;
    *info = (VmImagesInfo){0};
    for (int i = 0; i < 2; i++) {
        if (out[i]) *out[i] = (VmImages){0};
    }
    VmStatus s = loader_open(&l, src, out[0] != NULL, out[1] != NULL, err);
    if (!s) s = l.archive ? vm_images_unpack(&l, false, err) : vm_images_walk(&l, false, err);
    if (!s && out[0]) s = hand_over(&l, VM_PART_TRAIN, out[0], err);
    if (!s && out[1]) s = hand_over(&l, vm_names_test(&l.names), out[1], err);
    if (!s) s = class_names(&l, info, err);
    if (!s) describe(&l, info);
    loader_close(&l);
    for (int i = 0; i < 2 && s; i++) {
        if (out[i]) vm_images_free(out[i]);
    }
    return s;
}

VmStatus vm_images_measure(const VmImageSource *src, VmImages out[2], VmImagesInfo *info,
                           VmError *err) {
    VmImageLoader l;
    if (info) *info = (VmImagesInfo){0};
    VmStatus s = loader_open(&l, src, true, true, err);
    if (!s) s = l.archive ? vm_images_unpack(&l, true, err) : vm_images_walk(&l, true, err);
    for (int i = 0; i < 2 && !s; i++) {
        int part = i == 0 ? VM_PART_TRAIN : vm_names_test(&l.names);
        const VmImagePart *p = &l.names.part[part];
        out[i] = (VmImages){.size = p->n,
                            .height = l.store[part].form.height,
                            .width = l.store[part].form.width,
                            .work = l.work[part],
                            .shortest = l.shortest[part]};
        for (int64_t k = 0; k < p->n; k++) /* path, its place, and a sum */
            out[i].listed += (int64_t)(strlen(l.names.text + p->at[k].text) +
                                       strlen(p->at[k].class->name) + sizeof(VmImageName) + 24);
    }
    if (!s && info) s = class_names(&l, info, err);
    loader_close(&l);
    return s;
}
