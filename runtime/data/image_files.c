/* Images that are not held: their files are read and decoded again whenever a batch wants them.
 * What came out the first time was noted, so a file that has changed since is an error and never
 * another run.
 *
 * Does not: find files or look at them for the first time (image_folder.c). */
#include "runtime/data/image.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void vm_image_files_close(VmImageFiles *f) {
    if (!f) return;
    if (f->root >= 0) close(f->root);
    vm_image_disk_close(f->disk);
    free(f->place);
    vm_image_paths_free(&f->paths);
    free(f->sum);
    free(f->number);
    free(f);
}

static VmStatus read_image(const VmImageFiles *f, VmImageDecoder *d, int64_t i, uint8_t *to,
                           VmError *err) {
    if (f->disk && vm_image_disk_get(f->disk, f->number[i], f->sum[i], to)) return VM_OK;
    const char *path = vm_image_path(&f->paths, i);
    char shown[VM_SHOWN_NAME], *bytes;
    size_t n;
    bool damaged;
    VmError why;
    vm_names_show(path, shown);
    VmStatus s = vm_image_file(f->root, f->place, path, &bytes, &n, &why);
    if (!s) s = vm_image_decode(d, &f->form, shown, (const uint8_t *)bytes, n, to, &damaged, &why);
    free(bytes);
    if (s == VM_ENV) return vm_fail(err, s, "%s", why.text);
    if (!s && vm_image_sum(to, vm_form_bytes(&f->form)) == f->sum[i]) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s/%s has changed since the data was opened%s%s", f->place,
                   shown, s ? ": " : "", s ? why.text : "");
}

static const VmImageFilesOps ops = {.close = vm_image_files_close,
                                    .read = read_image,
                                    .decoder = vm_image_decoder_create,
                                    .decoder_close = vm_image_decoder_destroy};

VmStatus vm_image_files_open(VmImageLoader *l, int part, VmImageFiles **out, VmError *err) {
    VmImageFiles *f = *out = vm_calloc(1, sizeof *f);
    if (!f) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    f->ops = &ops;
    f->n = l->names.part[part].n;
    f->form = l->store[part].form;
    f->root = fcntl(l->root, F_DUPFD_CLOEXEC, 0);
    f->place = strdup(l->src->path);
    f->number = vm_calloc((size_t)f->n, sizeof *f->number);
    f->sum = vm_calloc((size_t)f->n, sizeof *f->sum);
    bool ok = f->root >= 0 && f->place && f->number && f->sum;
    ok = ok && vm_image_paths_take(&f->paths, &l->names, part);
    for (int64_t i = 0; i < f->n && ok; i++) {
        f->number[i] = l->names.part[part].at[i].slot;
        f->sum[i] = l->sum[part][f->number[i]];
    }
    if (!ok) return vm_fail(err, VM_ENV, "%s: out of memory for the names of images", l->src->path);
    f->disk = l->disk[part];
    l->disk[part] = NULL;
    return VM_OK;
}
