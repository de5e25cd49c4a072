/* Bad images of a set: counted, and the first of them kept by their number, so that what a user
 * reads does not depend on threads.
 *
 * Does not: decide what is bad. */
#include "runtime/data/image.h"

#include <inttypes.h>
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

void vm_image_failed(VmImageLoader *l, int part, int64_t number, VmStatus s, const VmError *err) {
#pragma omp critical(vm_image_failed)
    if (s == VM_INPUT) {
        vm_bad_add(&l->bad[part], number, err);
    } else if (!l->status) {
        l->status = s;
        l->failure = *err;
        l->stop = true;
    }
}

/* Lines that do not fit are left out, whole, and counted. */
static VmStatus list(const VmImageLoader *l, const char *root, const int part[2], int64_t count,
                     int64_t images, VmError *err) {
    enum { LAST_LINE = 48 };
    char text[sizeof err->text];
    size_t at = (size_t)snprintf(text, sizeof text,
                                 "%s: %" PRId64 " of %" PRId64 " images cannot be used:", root,
                                 count, images);
    int shown = 0;
    for (int p = 0; p < 2; p++) {
        const VmBadImages *b = &l->bad[part[p]];
        for (int i = 0; i < b->count && i < VM_BAD_SHOWN && shown < VM_BAD_SHOWN; i++) {
            size_t n = strlen(b->why[i].text) + 3;
            if (at + n + LAST_LINE >= sizeof text) continue;
            at += (size_t)snprintf(text + at, sizeof text - at, "\n  %s", b->why[i].text);
            shown++;
        }
    }
    if (count > shown)
        snprintf(text + at, sizeof text - at, "\n  and %" PRId64 " more", count - shown);
    return vm_fail(err, VM_INPUT, "%s", text);
}

VmStatus vm_images_verdict(const VmImageLoader *l, VmError *err) {
    if (l->status) return vm_fail(err, l->status, "%s", l->failure.text);
    const int part[2] = {VM_PART_TRAIN, vm_names_test(&l->names)};
    int64_t count = 0, images = 0;
    const VmError *only = NULL;
    for (int p = 0; p < 2; p++) {
        if (!l->names.part[part[p]].keep) continue;
        const VmBadImages *b = &l->bad[part[p]];
        count += b->count;
        images += l->names.part[part[p]].n;
        if (b->count) only = &b->why[0];
    }
    if (count == 0) return VM_OK;
    char root[VM_SHOWN_NAME];
    vm_names_show(l->src->path, root);
    if (count > 1) return list(l, root, part, count, images, err);
    return vm_fail(err, VM_INPUT, "%s%s%s", root, l->archive ? ": " : "/", only->text);
}
