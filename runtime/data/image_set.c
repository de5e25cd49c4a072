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

static VmStatus resized(const VmImageLoader *l, VmImageDecoder *d, const char *name, int64_t h,
                        int64_t w, uint8_t *to, VmError *err) {
    VmImageView v;
    int64_t c = l->src->channels, side = l->src->resize;
    VmStatus s = vm_image_view(d, c, &v, err);
    if (s || vm_resize_view(&v, c, h, w, to, side, side)) return s;
    return vm_fail(err, VM_ENV, "%s: out of memory resizing", name);
}

int64_t vm_image_bytes(const VmImageLoader *l, int part) {
    return l->src->channels * l->store[part].height * l->store[part].width;
}

/* `name` as messages show it. The store has room for the slot. */
VmStatus vm_image_load(VmImageLoader *l, int part, int64_t slot, const char *name,
                       const uint8_t *bytes, size_t n, VmError *err) {
    VmImageStore *t = &l->store[part];
    VmImageDecoder *d;
    int64_t h, w;
    VmStatus s = thread_decoder(l, &d, err);
    if (!s) s = vm_image_open(d, name, bytes, n, &h, &w, err);
    if (s) return s;
    uint8_t *to = t->image + slot * vm_image_bytes(l, part);
    if (h == t->height && w == t->width) return vm_image_planes(d, l->src->channels, to, err);
    if (l->src->resize) return resized(l, d, name, h, w, to, err);
    return vm_fail(err, VM_INPUT,
                   "%s is %" PRId64 " x %" PRId64 " but %s is %" PRId64 " x %" PRId64
                   "; images of different sizes need `resize`",
                   name, h, w, t->first, t->height, t->width);
}

VmStatus vm_image_first(VmImageLoader *l, int part, const char *name, const uint8_t *bytes,
                        size_t n, VmError *err) {
    VmImageStore *t = &l->store[part];
    VmImageDecoder *d;
    VmStatus s = thread_decoder(l, &d, err);
    if (!s) s = vm_image_open(d, name, bytes, n, &t->height, &t->width, err);
    if (s) return s;
    if (l->src->resize) t->height = t->width = l->src->resize;
    memcpy(t->first, name, strlen(name) + 1); /* at most VM_SHOWN_NAME, as `name` is */
    return VM_OK;
}

/* Room for at least `need` images and, if that is reasonable, for `wish`. Nobody may be decoding
 * into this part. What this machine cannot hold is refused before it is tried: systems that promise
 * memory they do not have would kill the process. */
VmStatus vm_image_room(VmImageLoader *l, int part, int64_t need, int64_t wish, VmError *err) {
    VmImageStore *t = &l->store[part];
    int64_t one = vm_image_bytes(l, part);
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE),
            most = memory / one;
    if (wish > most) wish = most;
    if (wish < need) wish = need;
    uint8_t *p = most < need ? NULL : realloc(t->image, (size_t)(wish * one));
    if (!p)
        return vm_fail(err, VM_ENV,
                       "%s: out of memory: %" PRId64 " images of %" PRId64 " x %" PRId64
                       " x %" PRId64
                       " take %.2f GiB; this machine has %.2f (`resize` makes images smaller)",
                       l->src->path, need, l->src->channels, t->height, t->width,
                       (double)need * (double)one / 0x1p30, (double)memory / 0x1p30);
    t->image = p;
    t->room = wish;
    return VM_OK;
}

/* ---- whole sets ---- */

static VmStatus loader_open(VmImageLoader *l, const VmImageSource *src, bool train, bool test,
                            VmError *err) {
    struct stat st;
    *l = (VmImageLoader){.src = src, .names.root = src->path, .root = -1};
    if (stat(src->path, &st) != 0)
        return vm_fail(err, VM_ENV, "cannot open '%s': %s", src->path, strerror(errno));
    l->archive = !S_ISDIR(st.st_mode); /* what it is instead is found out when it is opened */
    if (!l->archive) l->root = open(src->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!l->archive && l->root < 0)
        return vm_fail(err, VM_ENV, "cannot open folder '%s': %s", src->path, strerror(errno));
    l->names.part[VM_PART_TRAIN].keep = train;
    l->names.part[VM_PART_TEST].keep = l->names.part[VM_PART_VAL].keep = test;
    size_t n = (size_t)src->threads;
    l->decoder = vm_calloc(n, sizeof(VmImageDecoder *));
    if (!l->decoder) return vm_fail(err, VM_ENV, "%s: out of memory", src->path);
    return vm_team_ready(src->threads, err);
}

static void loader_close(VmImageLoader *l) {
    for (int i = 0; i < l->src->threads; i++) {
        if (l->decoder) vm_image_decoder_destroy(l->decoder[i]);
    }
    free(l->decoder);
    for (int i = 0; i < VM_PARTS; i++) free(l->store[i].image);
    vm_names_free(&l->names);
    if (l->root >= 0) close(l->root);
}

/* The part's images and labels go to the caller. */
static VmStatus hand_over(VmImageLoader *l, int part, VmImages *out, VmError *err) {
    VmImageStore *t = &l->store[part];
    const VmImagePart *p = &l->names.part[part];
    *out = (VmImages){.size = p->n, .height = t->height, .width = t->width};
    out->label = vm_calloc((size_t)p->n, sizeof *out->label);
    if (!out->label) return vm_fail(err, VM_ENV, "%s: out of memory for labels", l->src->path);
    for (int64_t i = 0; i < p->n; i++) out->label[i] = (uint16_t)p->at[i].class->label;
    uint8_t *less = realloc(t->image, (size_t)(p->n * vm_image_bytes(l, part)));
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
    for (int i = 0; i < l->src->threads; i++)
        deep += l->decoder[i] ? vm_image_decoder_rounded(l->decoder[i]) : 0;
    info->note[0] = '\0';
    if (n->skipped)
        add_note(info,
                 "skipped %" PRId64
                 " file%s of %.200s that %s no image train/CLASS/NAME.jpg, .jpeg or .png: %s%s",
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
    info->classes = 0;
    info->names = malloc(room);
    if (!info->names) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    char *to = info->names;
    for (int64_t i = 0; i < n->nclass; i++) { /* bytewise by name, as labels are */
        if (n->class[i]->label < 0) continue;
        to = stpcpy(to, n->class[i]->name) + 1;
        info->classes++;
    }
    info->names_bytes = (size_t)(to - info->names);
    return VM_OK;
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
        if (!out[i]) continue;
        free(out[i]->image);
        free(out[i]->label);
        *out[i] = (VmImages){0};
    }
    return s;
}

VmStatus vm_images_measure(const VmImageSource *src, VmImages out[2], VmError *err) {
    VmImageLoader l;
    VmStatus s = loader_open(&l, src, true, true, err);
    if (!s) s = l.archive ? vm_images_unpack(&l, true, err) : vm_images_walk(&l, true, err);
    for (int i = 0; i < 2 && !s; i++) {
        int part = i == 0 ? VM_PART_TRAIN : vm_names_test(&l.names);
        out[i] =
            (VmImages){l.names.part[part].n, l.store[part].height, l.store[part].width, NULL, NULL};
    }
    loader_close(&l);
    return s;
}
