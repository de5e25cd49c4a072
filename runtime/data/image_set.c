/* Whole image data sets: from a folder or an archive to splits. What comes out does not depend on
 * the number of threads, on folder or archive, or on the order of an archive's entries; neither
 * does which of several bad files an error names, for one source.
 *
 * Does not: find files (image_folder.c, image_archive.c), know what paths mean (image_names.c) or
 * bring images to their places (image_load.c). */
#include "runtime/data/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static VmStatus loader_open(VmImageLoader *l, const VmImageSource *src, const bool want[VM_SPLITS],
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
    memcpy(l->names.want, want, sizeof l->names.want);
    if (src->held_out) l->names.want[VM_VALIDATION] = false;
    size_t n = (size_t)src->threads;
    l->decoder = vm_calloc(n, sizeof(VmImageDecoder *));
    l->one = vm_calloc(n, sizeof(VmImageRoom));
    if (!l->decoder || !l->one) return vm_fail(err, VM_ENV, "%s: out of memory", src->path);
    return vm_team_ready(src->threads, err);
}

static void loader_close(VmImageLoader *l) {
    for (int i = 0; i < l->src->threads; i++) {
        if (l->decoder) vm_image_decoder_destroy(l->decoder[i]);
        if (l->one) free(l->one[i].at);
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
    if (l->src->paths && !vm_image_paths_take(&out->paths, &l->names, part))
        return vm_fail(err, VM_ENV, "%s: out of memory for the names of images", l->src->path);
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

/* Whether somebody asked for a validation set, there is one, and it does not count. */
static bool is_passed_over(const VmImageLoader *l, const bool want[VM_SPLITS]) {
    return want[VM_VALIDATION] && l->src->held_out && vm_names_part(&l->names, VM_VALIDATION) >= 0;
}

static void describe(const VmImageLoader *l, const bool want[VM_SPLITS], VmImagesInfo *info) {
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
    if (is_passed_over(l, want))
        add_note(info,
                 "%s/ of %.200s is not used: `validation` of the train block holds out a share of "
                 "train/; without it %s/ validates",
                 n->part[VM_PART_VAL].folder, l->src->path, n->part[VM_PART_VAL].folder);
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
    vm_image_paths_free(&i->paths);
    vm_image_files_close(i->files);
    *i = (VmImages){0};
}

VmStatus vm_images_read(const VmImageSource *src, VmImages *const out[VM_SPLITS],
                        VmImagesInfo *info, VmError *err) {
    VmImageLoader l;
    bool want[VM_SPLITS];
    *info = (VmImagesInfo){0};
    for (int i = 0; i < VM_SPLITS; i++) {
        want[i] = out[i] != NULL;
        if (out[i]) *out[i] = (VmImages){0};
    }
    VmStatus s = loader_open(&l, src, want, err);
    if (!s) s = l.archive ? vm_images_unpack(&l, false, err) : vm_images_walk(&l, false, err);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        int part = l.names.want[i] ? vm_names_part(&l.names, (VmSplit)i) : -1;
        if (part >= 0) s = hand_over(&l, part, out[i], err);
    }
    if (!s) s = class_names(&l, info, err);
    if (!s) describe(&l, want, info);
    loader_close(&l);
    for (int i = 0; i < VM_SPLITS && s; i++) {
        if (out[i]) vm_images_free(out[i]);
    }
    return s;
}

static VmImages measured(const VmImageLoader *l, int part) {
    const VmImagePart *p = &l->names.part[part];
    VmImages m = {.size = p->n,
                  .height = l->store[part].form.height,
                  .width = l->store[part].form.width,
                  .work = l->work[part],
                  .shortest = l->shortest[part],
                  .named = l->src->paths ? vm_image_paths_bytes(&l->names, part) : 0};
    for (int64_t k = 0; k < p->n; k++) /* path, its place, and a sum */
        m.listed += (int64_t)(strlen(l->names.text + p->at[k].text) + strlen(p->at[k].class->name) +
                              sizeof(VmImageName) + 24);
    return m;
}

VmStatus vm_images_measure(const VmImageSource *src, VmImages out[VM_SPLITS], VmImagesInfo *info,
                           VmError *err) {
    VmImageLoader l;
    *info = (VmImagesInfo){0};
    bool want[VM_SPLITS];
    for (int i = 0; i < VM_SPLITS; i++) want[i] = true;
    VmStatus s = loader_open(&l, src, want, err);
    if (!s) s = l.archive ? vm_images_unpack(&l, true, err) : vm_images_walk(&l, true, err);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        int part = l.names.want[i] ? vm_names_part(&l.names, (VmSplit)i) : -1;
        out[i] = part < 0 ? (VmImages){0} : measured(&l, part);
    }
    if (!s) s = class_names(&l, info, err);
    if (!s) describe(&l, want, info);
    loader_close(&l);
    return s;
}
