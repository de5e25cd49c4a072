/* Opens, checks and serves data sets: one split as bytes, in memory or decoded when they are
 * wanted, normalised on the way out.
 *
 * Does not: know files: where they are (kinds.c) and how they are read (reader_*.c). */
#include "runtime/data/dataset.h"
#include "runtime/data/kinds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const vm_split_names[VM_SPLITS] = {
    [VM_TRAIN] = "training", [VM_TEST] = "test", [VM_VALIDATION] = "validation"};

/* ---- checking and opening ---- */

static VmStatus check_spec(const VmDataQuery *spec, const VmSource **kind, VmError *err) {
    const VmSource *k = *kind = &vm_sources[spec->kind];
    if (spec->resize < 0 || spec->resize > VM_MAX_SIDE) {
        return vm_fail(err, VM_INPUT,
                       "cannot resize images to %" PRId64 "; expected 1..%d, or 0 to keep them",
                       spec->resize, VM_MAX_SIDE);
    }
    int64_t channels = spec->channels;
    if (channels != 0 && channels != 1 && channels != k->channels)
        return vm_fail(err, VM_INPUT, "data set '%s': channels is %s, not %" PRId64, k->name,
                       k->channels == 3 ? "3 or 1" : "1", channels);
    for (int c = 0; c < vm_channels_of(spec, k); c++) {
        if (!(spec->std[c] > 0))
            return vm_fail(err, VM_INPUT, "data set '%s': std must be above 0, it is %g", k->name,
                           spec->std[c]);
    }
    return VM_OK;
}

/* Of held images of these sides, with their labels. */
static int64_t data_bytes(int64_t size, int64_t channels, int64_t height, int64_t width) {
    return size * (channels * height * width + (int64_t)sizeof(uint16_t));
}

char *vm_dataset_place(const VmDataQuery *spec) {
    const VmSource *k = &vm_sources[spec->kind];
    char *path = NULL, *labels = NULL;
    VmStatus s = vm_readers[k->reader]->archives
                     ? vm_find_images(spec, k, &path, NULL)
                     : vm_find_idx(spec, k, VM_TRAIN, &path, &labels, NULL);
    char *real = s ? NULL : realpath(path, NULL);
    free(path);
    free(labels);
    return real;
}

bool vm_dataset_is_archive(const VmDataQuery *spec) {
    const VmSource *k = &vm_sources[spec->kind];
    char *path = NULL;
    struct stat st;
    bool found = vm_readers[k->reader]->archives && vm_find_images(spec, k, &path, NULL) == VM_OK;
    bool archive = found && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
    free(path);
    return archive;
}

VmStatus vm_dataset_find(const VmDataQuery *spec, VmSplit split, VmError *err) {
    const VmSource *k = &vm_sources[spec->kind];
    return vm_readers[k->reader]->find(spec, k, split, err);
}

/* Beside the sizes of splits the classes, if they are wanted. */
static VmStatus measure(const VmDataQuery *spec, const VmSource *k, VmImages split[VM_SPLITS],
                        VmDataset **classes, VmError *err) {
    if (!classes) return vm_readers[k->reader]->measure(spec, k, split, NULL, err);
    *classes = vm_calloc(1, sizeof **classes);
    VmStatus s = *classes ? vm_readers[k->reader]->measure(spec, k, split, *classes, err)
                          : vm_fail(err, VM_ENV, "out of memory");
    if (!s) return VM_OK;
    vm_dataset_close(*classes);
    *classes = NULL;
    return s;
}

VmStatus vm_dataset_measure(const VmDataQuery *spec, const bool together[VM_SPLITS],
                            VmDataSize out[VM_SPLITS], VmDataset **classes, VmError *err) {
    const VmSource *k;
    VmImages split[VM_SPLITS] = {{0}};
    if (classes) *classes = NULL;
    VmStatus s = check_spec(spec, &k, err);
    if (!s) s = measure(spec, k, split, classes, err);
    bool either = !s && vm_readers[k->reader]->archives && !vm_dataset_is_archive(spec);
    const VmImageSource where = {.cache = spec->cache, .room = spec->room};
    int64_t held = 0;
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        const VmImages *m = &split[i];
        int64_t n = m->size, one = vm_channels_of(spec, k) * m->height * m->width;
        VmDataSize *d = &out[i];
        *d = (VmDataSize){.images = n, .bytes = n * (one + (int64_t)sizeof(uint16_t)) + m->named};
        d->height = m->height;
        d->width = m->width;
        d->either = either;
        d->listed = n * (int64_t)sizeof(uint16_t) + m->listed;
        d->decoding = m->work + one + m->height * spec->resize;
        d->held = !either || vm_images_fit(&where, held + n * one);
        if (d->held && (!together || together[i])) held += n * one;
    }
    return s;
}

VmStatus vm_dataset_look(const VmDataQuery *spec, VmDataLook *out, VmError *err) {
    const VmSource *k;
    VmImages split[VM_SPLITS] = {{0}};
    VmDataset *classes = NULL;
    *out = (VmDataLook){0};
    VmStatus s = check_spec(spec, &k, err);
    if (!s) s = measure(spec, k, split, &classes, err);
    if (classes) {
        out->classes = classes->classes;
        out->names = classes->names;
        classes->names = NULL;
        vm_dataset_close(classes);
    }
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        int64_t side = split[i].shortest;
        out->images[i] = split[i].size;
        if (side && (!out->shortest || side < out->shortest)) out->shortest = side;
    }
    return s;
}

bool vm_dataset_is_held(const VmDataset *d) {
    return !d->files;
}

int64_t vm_dataset_bytes(const VmDataset *d) {
    if (d->files) return d->size * (int64_t)sizeof *d->label;
    return data_bytes(d->size, d->channels, d->height, d->width) + d->paths.bytes;
}

int64_t vm_dataset_left_out(const VmDataset *d) {
    return d->left_out ? d->left_out->count : 0;
}

char *vm_dataset_left_out_text(const VmDataset *d) {
    enum { ROOM = sizeof(VmError) };
    char *text = d->left_out ? vm_calloc(1, ROOM) : NULL;
    if (text) vm_bad_lines(&(const VmBadImages *){d->left_out}, 1, text, ROOM);
    return text;
}

const char *vm_dataset_left_out_image(const VmDataset *d, int i) {
    bool there = i < VM_BAD_SHOWN && i < vm_dataset_left_out(d);
    return there ? d->left_out->why[i].text : NULL;
}

const char *vm_dataset_warning(const VmDataset *d) {
    return d->warning[0] ? d->warning : NULL;
}

VmStatus vm_dataset_open_some(const VmDataQuery *spec, const bool want[VM_SPLITS],
                              VmDataset *out[VM_SPLITS], VmError *err) {
    const VmSource *k;
    for (int i = 0; i < VM_SPLITS; i++) out[i] = NULL;
    VmStatus s = check_spec(spec, &k, err);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        if (!want[i]) continue;
        out[i] = vm_calloc(1, sizeof *out[i]);
        if (!out[i]) s = vm_fail(err, VM_ENV, "out of memory");
    }
    if (!s) s = vm_readers[k->reader]->open(out, spec, k, err);
    for (int i = 0; i < VM_SPLITS; i++) {
        if (out[i] && !s) vm_pixel_values(spec, out[i]->channels, out[i]->value);
        bool there = out[i] && (out[i]->size || i != VM_VALIDATION);
        if (!s && there) continue;
        vm_dataset_close(out[i]);
        out[i] = NULL;
    }
    return s;
}

VmStatus vm_dataset_open(const VmDataQuery *spec, VmSplit split, int64_t limit, VmDataset **out,
                         VmError *err) {
    VmDataset *d[VM_SPLITS];
    bool want[VM_SPLITS] = {false};
    want[split] = true;
    VmStatus s = vm_dataset_open_some(spec, want, d, err);
    *out = d[split];
    if (!s && !*out)
        s = vm_fail(err, VM_ENV,
                    "data set '%s' has no validation set; expected val/ beside train/ and test/",
                    vm_sources[spec->kind].name);
    if (!s && limit > 0 && limit < (*out)->size) (*out)->size = limit;
    return s;
}

VmStatus vm_dataset_open_all(const VmDataQuery *spec, VmDataset *out[VM_SPLITS], VmError *err) {
    bool want[VM_SPLITS];
    for (int i = 0; i < VM_SPLITS; i++) want[i] = true;
    return vm_dataset_open_some(spec, want, out, err);
}

void vm_dataset_close(VmDataset *d) {
    if (!d) return;
    if (!d->whole) {
        if (d->files) d->files->ops->close(d->files);
        free(d->left_out);
        free(d->image);
        free(d->label);
        free(d->names);
        free(d->class);
        vm_image_paths_free(&d->paths);
    }
    free(d->index);
    free(d);
}

/* ---- serving ---- */

const char *vm_dataset_class(const VmDataset *d, int64_t i) {
    return d->class && i >= 0 && i < d->classes ? d->class[i] : NULL;
}

const char *vm_dataset_file(const VmDataset *d, int64_t i) {
    if (d->whole) return vm_dataset_file(d->whole, d->index[i]);
    const VmImagePaths *p = d->files ? &d->files->paths : &d->paths;
    return p->n ? vm_image_path(p, i) + p->before : NULL;
}

/* Through the sum of every image: those that are not held have no other bytes. */
static VmHash hash_of(const VmDataset *d) {
    const int64_t sides[4] = {d->size, d->channels, d->height, d->width};
    int64_t one = d->channels * d->height * d->width;
    VmHash h = vm_hash((VmHash){0}, sides, sizeof sides);
    for (int64_t i = 0; i < d->size; i++) {
        int64_t at = d->whole ? d->index[i] : i;
        uint64_t sum = d->files ? d->files->sum[at] : vm_image_sum(d->image + at * one, one);
        int32_t label = vm_dataset_label(d, i);
        h = vm_hash(h, &sum, sizeof sum);
        h = vm_hash(h, &label, sizeof label);
    }
    return vm_hash(h, d->names ? d->names : "", d->names_bytes);
}

/* Kept in the set, which is const to those who ask, and made by us. */
VmHash vm_dataset_fingerprint(const VmDataset *d) {
    VmDataset *own = (VmDataset *)(uintptr_t)d;
    if (!d->hashed) own->hash = hash_of(d);
    own->hashed = true;
    return d->hash;
}

int64_t vm_dataset_size(const VmDataset *d) {
    return d->size;
}

void vm_dataset_shape(const VmDataset *d, int64_t *channels, int64_t *height, int64_t *width,
                      int64_t *classes) {
    if (channels) *channels = d->channels;
    if (height) *height = d->height;
    if (width) *width = d->width;
    if (classes) *classes = d->classes;
}

VmDataShape vm_dataset_inputs(const VmDataset *d) {
    return (VmDataShape){.name = "the data set",
                         .channels = d->channels,
                         .height = d->height,
                         .width = d->width,
                         .classes = d->classes,
                         .class_names = ""};
}

const uint8_t *vm_dataset_pixels(const VmDataset *d, int64_t i) {
    if (d->whole) return vm_dataset_pixels(d->whole, d->index[i]);
    return d->image + i * d->channels * d->height * d->width;
}

const uint8_t *vm_dataset_fetch(const VmDataset *d, struct VmImageDecoder *own, int64_t i,
                                uint8_t *room, VmError *err) {
    if (!d->files) return vm_dataset_pixels(d, i);
    if (d->whole) i = d->index[i];
    err->status = d->files->ops->read(d->files, own, i, room, err);
    return err->status ? NULL : room;
}

struct VmImageDecoder *vm_dataset_decoder(const VmDataset *d) {
    return d->files->ops->decoder();
}

void vm_dataset_decoder_close(const VmDataset *d, struct VmImageDecoder *own) {
    d->files->ops->decoder_close(own);
}

int32_t vm_dataset_label(const VmDataset *d, int64_t i) {
    return d->whole ? vm_dataset_label(d->whole, d->index[i]) : d->label[i];
}

void vm_dataset_normalise(const VmDataset *d, const uint8_t *pixels, float *image) {
    int64_t plane = d->height * d->width;
    for (int64_t c = 0; c < d->channels; c++) {
        const float *value = d->value[c];
        for (int64_t j = 0; j < plane; j++) image[c * plane + j] = value[pixels[c * plane + j]];
    }
}

void vm_dataset_batch(const VmDataset *d, const int64_t *index, int64_t n, float *image,
                      int32_t *label) {
    int64_t size = d->channels * d->height * d->width;
    for (int64_t i = 0; i < n; i++) {
        vm_dataset_normalise(d, vm_dataset_pixels(d, index[i]), image + i * size);
        if (label) label[i] = vm_dataset_label(d, index[i]);
    }
}
