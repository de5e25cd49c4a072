/* Bad images of a set: counted, and the first of them kept by their number, so that what a user
 * reads does not depend on threads. They end the reading, or are left out if that was asked for.
 *
 * Does not: decide what is bad. */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void vm_bad_add(VmBadImages *b, int64_t number, const VmError *why) {
    int n = b->count < VM_BAD_SHOWN ? (int)b->count : VM_BAD_SHOWN, at = n;
    b->count++;
    while (at > 0 && b->number[at - 1] > number) at--;
    if (at == VM_BAD_SHOWN) return;
    size_t behind = (size_t)((n < VM_BAD_SHOWN ? n : VM_BAD_SHOWN - 1) - at);
    memmove(&b->number[at + 1], &b->number[at], behind * sizeof b->number[0]);
    memmove(&b->why[at + 1], &b->why[at], behind * sizeof b->why[0]);
    b->number[at] = number;
    b->why[at] = *why;
}

static bool note_number(VmNumbers *list, int64_t number) {
    if (list->n == list->room) {
        int64_t room = list->room ? 2 * list->room : 64;
        int64_t *at = realloc(list->at, (size_t)room * sizeof *at);
        if (!at) return false;
        list->at = at;
        list->room = room;
    }
    list->at[list->n++] = number;
    return true;
}

static void fail_all(VmImageLoader *l, VmStatus s, const VmError *err) {
    if (l->status) return;
    l->status = s;
    l->failure = *err;
    l->stop = true;
}

void vm_image_failed(VmImageLoader *l, int part, int64_t number, VmStatus s, bool damaged,
                     const VmError *err) {
#pragma omp critical(vm_image_failed)
    if (s != VM_INPUT) {
        fail_all(l, s, err);
    } else if (!damaged || !l->src->skip) {
        vm_bad_add(&l->bad[part], number, err);
    } else if (note_number(&l->lost_at[part], number)) {
        vm_bad_add(&l->lost[part], number, err);
    } else {
        VmError why;
        fail_all(l, vm_fail(&why, VM_ENV, "out of memory for a list of damaged images"), &why);
    }
}

/* What ends the reading of a part: bad images, or that all are to be left out. */
static const VmBadImages *fatal(const VmImageLoader *l, int part) {
    bool all = l->names.part[part].n > 0 && l->lost[part].count == l->names.part[part].n;
    return all ? &l->lost[part] : &l->bad[part];
}

VmStatus vm_images_verdict(const VmImageLoader *l, VmError *err) {
    if (l->status) return vm_fail(err, l->status, "%s", l->failure.text);
    const VmBadImages *list[VM_SPLITS];
    int64_t count = 0, images = 0;
    int part[VM_SPLITS], parts = vm_names_parts(&l->names, part), n = 0;
    for (int p = 0; p < parts; p++) {
        const VmBadImages *b = fatal(l, part[p]);
        count += b->count;
        images += l->names.part[part[p]].n;
        if (b->count) list[n++] = b;
    }
    if (count == 0) return VM_OK;
    char root[VM_SHOWN_NAME], text[sizeof err->text];
    vm_names_show(l->src->path, root);
    if (count == 1)
        return vm_fail(err, VM_INPUT, "%s%s%s", root, l->archive ? ": " : "/",
                       list[0]->why[0].text);
    snprintf(text, sizeof text, "%s: %" PRId64 " of %" PRId64 " images cannot be used:", root,
             count, images);
    vm_bad_lines(list, n, text, sizeof text);
    return vm_fail(err, VM_INPUT, "%s", text);
}

/* ---- leaving out ---- */

static int by_number(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* How many numbers of an ascending list are below x; *in: x is one of them. */
static int64_t below(const VmNumbers *list, int64_t x, bool *in) {
    int64_t low = 0, high = list->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (list->at[middle] < x)
            low = middle + 1;
        else
            high = middle;
    }
    *in = low < list->n && list->at[low] == x;
    return low;
}

void vm_images_drop(VmImageLoader *l, int part) {
    VmNumbers *lost = &l->lost_at[part];
    VmImagePart *p = &l->names.part[part];
    if (!lost->n) return;
    qsort(lost->at, (size_t)lost->n, sizeof *lost->at, by_number);
    size_t one = (size_t)vm_form_bytes(&l->store[part].form);
    uint8_t *image = l->store[part].image;
    bool in;
    for (int64_t i = 0; i < p->n && image;
         i++) { /* towards the beginning: nothing is overwritten */
        int64_t to = i - below(lost, i, &in);
        if (!in && to < i) memcpy(image + (size_t)to * one, image + (size_t)i * one, one);
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < p->n; i++) {
        VmImageName name = p->at[i];
        int64_t before = below(lost, name.slot, &in);
        if (in) continue;
        if (image) name.slot -= before; /* of images elsewhere it stays their number */
        p->at[kept++] = name;
    }
    p->n = kept;
}
