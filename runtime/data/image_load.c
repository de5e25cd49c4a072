/* Images of a set at their places: decoded, all of a part in one size, in memory or (looked at
 * only) to be decoded again; by any thread of the team that reads the set.
 *
 * Does not: find files (image_folder.c, image_archive.c), know what paths mean (image_names.c) or
 * what is in an image (image_decode.c). */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
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
    return vm_image_other_size(f, name, h, w, err);
}

/* The thread's room, for at least `size` bytes: splits may have images of different sizes. */
static uint8_t *room_for_one(VmImageLoader *l, size_t size) {
    VmImageRoom *r = &l->one[omp_get_thread_num()];
    if (size <= r->n) return r->at;
    free(r->at);
    r->at = malloc(size);
    r->n = r->at ? size : 0;
    return r->at;
}

/* An image that is not held: what comes out is noted, and kept on disk if that was asked for. */
static VmStatus look_at(VmImageLoader *l, VmImageDecoder *d, int part, int64_t slot,
                        const char *name, const uint8_t *bytes, size_t n, bool *damaged,
                        VmError *err) {
    const VmImageForm *f = &l->store[part].form;
    size_t size = (size_t)vm_form_bytes(f);
    uint8_t *to = room_for_one(l, size);
    if (!to) return vm_fail(err, VM_ENV, "%s: out of memory for %zu bytes", name, size);
    VmStatus s = vm_image_decode(d, f, name, bytes, n, to, damaged, err);
    if (s) return s;
    l->sum[part][slot] = vm_image_sum(to, (int64_t)size);
    return l->disk[part] ? vm_image_disk_put(l->disk[part], slot, to, err) : VM_OK;
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

/* Room for at least `need` images and, if that is reasonable, for `wish`. Nobody may be decoding
 * into this part. What this machine cannot hold is refused before it is tried: systems that promise
 * memory they do not have would kill the process. */
VmStatus vm_image_room(VmImageLoader *l, int part, int64_t need, int64_t wish, VmError *err) {
    VmImageStore *t = &l->store[part];
    int64_t one = vm_form_bytes(&t->form), memory = vm_machine_memory(), most = memory / one;
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
