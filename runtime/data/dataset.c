/* Loads, checks and serves data sets: one split in memory as bytes, batches normalised on the way
 * out.
 *
 * Does not: augment; know where files are (kinds.c) or their formats (idx.c, image_*.c). */
#include "runtime/data/image.h"
#include "runtime/data/kinds.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/rng.h"

struct VmDataset {
    int64_t size, channels, height, width, classes;
    uint8_t *image;      /* [size][channels][height][width] */
    uint16_t *label;     /* [size] */
    float value[3][256]; /* what each byte of a channel becomes */
    char warning[1024];  /* empty: none */
    char *names;         /* of classes by label, one after the other; NULL: they have none */
    size_t names_bytes;
    const char **class; /* [classes], in names */
};

VmDataQuery vm_data_query(const VmDataSpec *spec, const char *dir) {
    VmDataQuery q = {.kind = spec->kind,
                     .dir = dir ? dir : spec->dir,
                     .channels = spec->channels,
                     .resize = spec->resize};
    memcpy(q.mean, spec->mean.at, sizeof q.mean);
    memcpy(q.std, spec->std.at, sizeof q.std);
    return q;
}

/* ---- checking and loading ---- */

/* Keeps the labels if they are below `wanted`; 0: any. */
static VmStatus take_labels(VmDataset *d, const VmIdx *label, const char *path, int64_t wanted,
                            VmError *err) {
    int64_t most = 0;
    d->label = vm_calloc((size_t)label->dim[0], sizeof *d->label);
    if (!d->label) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    for (int64_t i = 0; i < label->dim[0]; i++) {
        if (wanted > 0 && label->data[i] >= wanted) {
            return vm_fail(err, VM_INPUT,
                           "%s: label %d of image %" PRId64
                           " is not below the number of classes, %" PRId64,
                           path, label->data[i], i, wanted);
        }
        if (label->data[i] > most) most = label->data[i];
        d->label[i] = label->data[i];
    }
    d->classes = most + 1;
    return VM_OK;
}

/* In place, so that both sizes are never held at once: larger results grow into room made before
 * the originals, smaller ones stay behind what is still to be read. */
static VmStatus resize_all(VmDataset *d, int64_t side, VmError *err) {
    enum { CHUNK = 256 };
    if (side == 0 || (side == d->height && side == d->width)) return VM_OK;
    size_t n = (size_t)d->size, from = (size_t)(d->height * d->width), to = (size_t)(side * side);
    uint8_t *chunk = vm_calloc(CHUNK, from);
    uint8_t *all = chunk && to > from ? realloc(d->image, n * to) : d->image;
    bool ok = chunk && all;
    if (all) d->image = all;
    size_t gap = to > from ? n * (to - from) : 0;
    if (ok && gap) memmove(all + gap, all, n * from);
    for (size_t i = 0; i < n && ok; i += CHUNK) {
        size_t count = n - i < CHUNK ? n - i : CHUNK;
        memcpy(chunk, all + gap + i * from, count * from);
        ok = vm_resize_u8(chunk, (int64_t)count, d->height, d->width, all + i * to, side, side);
    }
    free(chunk);
    if (!ok) {
        return vm_fail(err, VM_ENV,
                       "out of memory resizing %" PRId64 " images to %" PRId64 " x %" PRId64,
                       d->size, side, side);
    }
    all = realloc(d->image, n * to); /* gives back what smaller images leave */
    if (all) d->image = all;
    d->height = d->width = side;
    return VM_OK;
}

static VmStatus load_idx(VmDataset *d, const VmDataQuery *spec, const VmSource *k, VmSplit split,
                         VmError *err) {
    char *image_path, *label_path;
    VmIdx image = {0}, label = {0};
    VmStatus s = vm_find_idx(spec, k, split, &image_path, &label_path, err);
    if (!s) s = vm_idx_read(image_path, 3, &image, err);
    d->image = image.data;
    if (!s) s = vm_idx_read(label_path, 1, &label, err);
    if (!s && image.dim[0] != label.dim[0])
        s = vm_fail(err, VM_INPUT, "%s has %" PRId64 " images but %s has %" PRId64 " labels",
                    image_path, image.dim[0], label_path, label.dim[0]);
    if (!s)
        s = take_labels(d, &label, label_path, spec->classes > 0 ? spec->classes : k->classes, err);
    if (!s && k->classes) d->classes = k->classes;
    free(label.data);
    free(image_path);
    free(label_path);
    if (s) return s;
    d->size = image.dim[0];
    d->channels = 1;
    d->height = image.dim[1];
    d->width = image.dim[2];
    return resize_all(d, spec->resize, err);
}

static VmImageSource image_source(const VmDataQuery *spec, const char *path) {
    return (VmImageSource){.path = path,
                           .channels = spec->channels ? spec->channels : 3,
                           .resize = spec->resize,
                           .threads = vm_threads(spec->threads)};
}

/* names: as in VmImagesInfo. */
static VmStatus take_classes(VmDataset *d, const VmImagesInfo *info, VmError *err) {
    d->names = malloc(info->names_bytes + 1);
    d->class = vm_calloc((size_t)info->classes, sizeof *d->class);
    if (!d->names || !d->class)
        return vm_fail(err, VM_ENV, "out of memory for the names of classes");
    memcpy(d->names, info->names, info->names_bytes);
    d->names_bytes = info->names_bytes;
    d->classes = info->classes;
    const char *at = d->names;
    for (int64_t i = 0; i < d->classes; i++, at += strlen(at) + 1) d->class[i] = at;
    return VM_OK;
}

static VmStatus check_folders(const VmDataQuery *spec, const VmSource *k, const char *path,
                              int64_t classes, VmError *err) {
    int64_t most = spec->classes > 0 ? spec->classes : k->classes;
    if (most == 0 || (k->classes ? classes == most : classes <= most)) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: train/ has %" PRId64 " class folders; %s %" PRId64, path,
                   classes, k->classes ? "expected are" : "at most expected are", most);
}

/* Splits whose place in d is NULL are not wanted. */
static VmStatus load_folder(VmDataset *d[VM_SPLITS], const VmDataQuery *spec, const VmSource *k,
                            VmError *err) {
    char *path;
    VmStatus s = vm_find_images(spec, k, &path, err);
    VmImageSource src = image_source(spec, path);
    VmImages split[VM_SPLITS];
    VmImagesInfo info = {0};
    VmImages *wanted[VM_SPLITS] = {d[0] ? &split[0] : NULL, d[1] ? &split[1] : NULL};
    if (!s) s = vm_images_read(&src, wanted, &info, err);
    bool read = s == VM_OK;
    for (int i = 0; i < VM_SPLITS && read; i++) {
        if (!d[i]) continue;
        d[i]->image = split[i].image;
        d[i]->label = split[i].label;
        d[i]->size = split[i].size;
        d[i]->channels = src.channels;
        d[i]->height = split[i].height;
        d[i]->width = split[i].width;
        memcpy(d[i]->warning, info.note, sizeof info.note);
        if (!s) s = take_classes(d[i], &info, err);
    }
    if (!s) s = check_folders(spec, k, path, info.classes, err);
    free(info.names);
    free(path);
    return s;
}

static VmStatus check_spec(const VmDataQuery *spec, const VmSource **kind, VmError *err) {
    const VmSource *k = *kind = &vm_sources[spec->kind];
    if (spec->resize < 0 || spec->resize > VM_MAX_SIDE) {
        return vm_fail(err, VM_INPUT,
                       "cannot resize images to %" PRId64 "; expected 1..%d, or 0 to keep them",
                       spec->resize, VM_MAX_SIDE);
    }
    int64_t channels = spec->channels;
    if (channels != 0 && channels != 1 && !(channels == 3 && k->reader == VM_READER_folder))
        return vm_fail(err, VM_INPUT, "data set '%s': channels is %s, not %" PRId64, k->name,
                       k->reader == VM_READER_folder ? "3 or 1" : "1", channels);
    for (int c = 0; c < (k->reader == VM_READER_folder && channels != 1 ? 3 : 1); c++) {
        if (!(spec->std[c] > 0))
            return vm_fail(err, VM_INPUT, "data set '%s': std must be above 0, it is %g", k->name,
                           spec->std[c]);
    }
    return VM_OK;
}

static VmStatus measure_idx(const VmDataQuery *spec, const VmSource *k, VmImages out[VM_SPLITS],
                            VmError *err) {
    VmStatus s = VM_OK;
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        char *image_path, *label_path;
        VmIdx image;
        s = vm_find_idx(spec, k, (VmSplit)i, &image_path, &label_path, err);
        if (!s) s = vm_idx_header(image_path, 3, &image, err);
        free(image_path);
        free(label_path);
        if (s) return s;
        out[i] = (VmImages){.size = image.dim[0], .height = image.dim[1], .width = image.dim[2]};
        if (spec->resize) out[i].height = out[i].width = spec->resize;
    }
    return s;
}

/* Of images of these sides, with their labels. */
static int64_t data_bytes(int64_t size, int64_t channels, int64_t height, int64_t width) {
    return size * (channels * height * width + (int64_t)sizeof(uint16_t));
}

bool vm_dataset_is_archive(const VmDataQuery *spec) {
    const VmSource *k = &vm_sources[spec->kind];
    char *path = NULL;
    struct stat st;
    bool found = k->reader == VM_READER_folder && vm_find_images(spec, k, &path, NULL) == VM_OK;
    bool archive = found && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
    free(path);
    return archive;
}

VmStatus vm_dataset_measure(const VmDataQuery *spec, int64_t bytes[VM_SPLITS],
                            int64_t images[VM_SPLITS], VmError *err) {
    const VmSource *k;
    char *path = NULL;
    VmImages split[VM_SPLITS];
    VmStatus s = check_spec(spec, &k, err);
    if (s) return s;
    if (k->reader == VM_READER_folder) s = vm_find_images(spec, k, &path, err);
    VmImageSource src = image_source(spec, path);
    if (!s)
        s = k->reader == VM_READER_folder ? vm_images_measure(&src, split, err)
                                          : measure_idx(spec, k, split, err);
    free(path);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        images[i] = split[i].size;
        bytes[i] = data_bytes(split[i].size, k->reader == VM_READER_folder ? src.channels : 1,
                              split[i].height, split[i].width);
    }
    return s;
}

int64_t vm_dataset_bytes(const VmDataset *d) {
    return data_bytes(d->size, d->channels, d->height, d->width);
}

const char *vm_dataset_warning(const VmDataset *d) {
    return d->warning[0] ? d->warning : NULL;
}

/* In f32, step by step, as the usual image transforms do it. */
static void set_values(VmDataset *d, const VmDataQuery *spec) {
    for (int64_t c = 0; c < d->channels; c++) {
        float mean = (float)spec->mean[c], std = (float)spec->std[c];
        for (int i = 0; i < 256; i++) d->value[c][i] = ((float)i / 255.0f - mean) / std;
    }
}

static VmStatus open_splits(const VmDataQuery *spec, const bool want[VM_SPLITS],
                            VmDataset *out[VM_SPLITS], VmError *err) {
    out[VM_TRAIN] = out[VM_TEST] = NULL;
    const VmSource *k;
    VmStatus s = check_spec(spec, &k, err);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        if (!want[i]) continue;
        out[i] = vm_calloc(1, sizeof *out[i]);
        if (!out[i]) s = vm_fail(err, VM_ENV, "out of memory");
        if (!s && k->reader != VM_READER_folder) s = load_idx(out[i], spec, k, (VmSplit)i, err);
    }
    if (!s && k->reader == VM_READER_folder) s = load_folder(out, spec, k, err);
    for (int i = 0; i < VM_SPLITS; i++) {
        if (out[i] && !s) set_values(out[i], spec);
        if (!s) continue;
        vm_dataset_close(out[i]);
        out[i] = NULL;
    }
    return s;
}

VmStatus vm_dataset_open(const VmDataQuery *spec, VmSplit split, int64_t limit, VmDataset **out,
                         VmError *err) {
    VmDataset *d[VM_SPLITS];
    VmStatus s = open_splits(spec, (bool[VM_SPLITS]){split == VM_TRAIN, split == VM_TEST}, d, err);
    *out = d[split];
    if (!s && limit > 0 && limit < (*out)->size) (*out)->size = limit;
    return s;
}

VmStatus vm_dataset_open_all(const VmDataQuery *spec, VmDataset *out[VM_SPLITS], VmError *err) {
    return open_splits(spec, (bool[VM_SPLITS]){true, true}, out, err);
}

void vm_dataset_close(VmDataset *d) {
    if (!d) return;
    free(d->image);
    free(d->label);
    free(d->names);
    free(d->class);
    free(d);
}

/* ---- serving ---- */

const char *vm_dataset_class(const VmDataset *d, int64_t i) {
    return d->class && i >= 0 && i < d->classes ? d->class[i] : NULL;
}

VmHash vm_dataset_fingerprint(const VmDataset *d) {
    const int64_t sides[4] = {d->size, d->channels, d->height, d->width};
    size_t n = (size_t)d->size;
    VmHash h = vm_hash((VmHash){0}, sides, sizeof sides);
    h = vm_hash(h, d->image, n * (size_t)(d->channels * d->height * d->width));
    h = vm_hash(h, d->label, n * sizeof *d->label);
    return vm_hash(h, d->names ? d->names : "", d->names_bytes);
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
    return d->image + i * d->channels * d->height * d->width;
}

int32_t vm_dataset_label(const VmDataset *d, int64_t i) {
    return d->label[i];
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
        if (label) label[i] = d->label[index[i]];
    }
}

/* Fisher and Yates, from the end; element i of the stream decides where place i takes its image
 * from. */
void vm_dataset_shuffle(int64_t size, uint64_t seed, uint64_t epoch, int64_t *index) {
    uint32_t key[2];
    vm_rng_key(seed, vm_hash_name("data.shuffle"), epoch, key);
    for (int64_t i = 0; i < size; i++) index[i] = i;
    for (int64_t i = size - 1; i > 0; i--) {
        /* 32 random bits scaled to 0..i: the bias is below size / 2^32 */
        int64_t j = (int64_t)((uint64_t)vm_rng_bits(key, (uint32_t)i) * (uint64_t)(i + 1) >> 32);
        int64_t t = index[i];
        index[i] = index[j];
        index[j] = t;
    }
}
