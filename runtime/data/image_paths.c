/* Paths of the images of a split by number, kept in one text: what finds files that are read again,
 * and what a user knows an image by. */
#include "runtime/data/image.h"

#include <stdlib.h>
#include <string.h>

static size_t length_of(const VmImageNames *n, int part, const VmImageName *name) {
    return strlen(n->top ? n->top : "") + strlen(n->part[part].folder) + 1 +
           strlen(name->class->name) + 1 + strlen(n->text + name->text) + 1;
}

int64_t vm_image_paths_bytes(const VmImageNames *n, int part) {
    const VmImagePart *p = &n->part[part];
    size_t bytes = (size_t)p->n * sizeof(size_t);
    for (int64_t i = 0; i < p->n; i++) bytes += length_of(n, part, &p->at[i]);
    return (int64_t)bytes;
}

bool vm_image_paths_take(VmImagePaths *to, const VmImageNames *n, int part) {
    const VmImagePart *p = &n->part[part];
    const char *top = n->top ? n->top : "";
    size_t used = 0;
    *to = (VmImagePaths){.n = p->n, .bytes = vm_image_paths_bytes(n, part)};
    to->at = vm_calloc((size_t)p->n, sizeof *to->at);
    to->text = malloc((size_t)to->bytes - (size_t)p->n * sizeof *to->at + 1);
    if (!to->at || !to->text) return false;
    if (!n->may_have_top) to->before = strlen(p->folder) + 1;
    for (int64_t i = 0; i < p->n; i++) {
        const VmImageName *name = &p->at[i];
        char *at = to->text + used;
        to->at[i] = used;
        at = stpcpy(stpcpy(stpcpy(at, top), p->folder), "/");
        at = stpcpy(stpcpy(stpcpy(at, name->class->name), "/"), n->text + name->text);
        used = (size_t)(at - to->text) + 1;
    }
    return true;
}

void vm_image_paths_free(VmImagePaths *p) {
    free(p->at);
    free(p->text);
    *p = (VmImagePaths){0};
}
