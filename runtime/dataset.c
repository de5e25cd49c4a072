/* Finds, checks and serves data sets: one split in memory as bytes, batches normalised on the way out.
 *
 * Does not: augment; know file formats (idx.c, image_*.c). */
#include "runtime/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/rng.h"

enum { PATH_CAP = 1024, MAX_PLACES = 4 };

struct VmDataset {
    int64_t size, channels, height, width, classes;
    uint8_t *image;      /* [size][channels][height][width] */
    uint16_t *label;     /* [size] */
    float value[3][256]; /* what each byte of a channel becomes */
    char warning[1024];  /* empty: none */
};

typedef struct Kind {
    const char *name;
    int64_t classes; /* 0: counted */
    const char *usual_place;
    const char *advice;
    bool folder;         /* class folders of images, or a tar archive of them */
    const char *archive; /* its usual name; NULL: there is none */
} Kind;

static const Kind kinds[] = {
    {.name = "fashion_mnist",
     .classes = 10,
     .usual_place = "/usr/share/datasets/fashion-mnist",
     .advice = "on Debian: apt install dataset-fashion-mnist; or put its four IDX files in a folder and give "
               "it with --data"},
    {.name = "mnist",
     .classes = 10,
     .advice = "put the four IDX files of MNIST in a folder and give it with --data, or set VMOE_DATA"},
    {.name = "idx",
     .advice =
         "give the folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte "
         "and t10k-labels-idx1-ubyte (each may end in .gz) with --data"},
    {.name = "cifar10",
     .classes = 10,
     .folder = true,
     .archive = "cifar10-jpeg.tar.xz",
     .advice = "give a folder with train/CLASS/NAME.png and test/CLASS/NAME.png (or .jpg), or a tar archive "
               "of one, with --data, or set VMOE_DATA"},
    {.name = "image_folder",
     .folder = true,
     .advice = "give a folder with train/CLASS/NAME.jpg and test/CLASS/NAME.jpg (or .png), or a tar archive "
               "of one, with --data"},
};

/* ---- finding files ---- */

typedef struct Places {
    char path[MAX_PLACES][PATH_CAP];
    int count;
} Places;

static void add_place(Places *p, const char *dir, const char *sub) {
    char *to = p->path[p->count];
    if (sub ? vm_path_join(to, PATH_CAP, dir, sub) : snprintf(to, PATH_CAP, "%s", dir) < PATH_CAP) p->count++;
}

static void list_places(const VmDataSpec *spec, const Kind *k, Places *p) {
    p->count = 0;
    if (spec->dir) {
        add_place(p, spec->dir, NULL);
        add_place(p, spec->dir, k->name);
        return;
    }
    if (!k->classes) return; /* could be anything: never guessed */
    const char *root = getenv("VMOE_DATA");
    if (root && *root) {
        add_place(p, root, k->name);
        add_place(p, root, NULL);
    }
    if (k->usual_place) add_place(p, k->usual_place, NULL);
}

static bool file_in(const char *dir, const char *name, char path[PATH_CAP]) {
    char packed[64];
    snprintf(packed, sizeof packed, "%s.gz", name);
    if (vm_path_join(path, PATH_CAP, dir, name) && access(path, F_OK) == 0) return true;
    return vm_path_join(path, PATH_CAP, dir, packed) && access(path, F_OK) == 0;
}

/* name: what was looked for in each place. */
static VmStatus not_found(const Kind *k, const Places *p, const char *name, VmError *err) {
    char tried[1400] = "";
    for (int i = 0; i < p->count; i++) {
        size_t at = strlen(tried);
        snprintf(tried + at, sizeof tried - at, "\n  tried %s/%s", p->path[i], name);
    }
    return vm_fail(err, VM_ENV, "data set '%s' not found%s\n  %s", k->name, tried, k->advice);
}

static VmStatus find_files(const VmDataSpec *spec, const Kind *k, VmSplit split, char images[PATH_CAP],
                           char labels[PATH_CAP], VmError *err) {
    const char *image_name = split == VM_TRAIN ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte";
    const char *label_name = split == VM_TRAIN ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte";
    Places p;
    list_places(spec, k, &p);
    for (int i = 0; i < p.count; i++) {
        if (!file_in(p.path[i], image_name, images)) continue;
        if (file_in(p.path[i], label_name, labels)) return VM_OK;
        return vm_fail(err, VM_ENV, "%s is there but %s/%s[.gz] is not", images, p.path[i], label_name);
    }
    char looked_for[64];
    snprintf(looked_for, sizeof looked_for, "%s[.gz]", image_name);
    return not_found(k, &p, looked_for, err);
}

/* The folder that holds train/, or an archive. A place may be the archive itself. */
static VmStatus find_folder(const VmDataSpec *spec, const Kind *k, char found[PATH_CAP], VmError *err) {
    Places p;
    list_places(spec, k, &p);
    struct stat st;
    for (int i = 0; i < p.count; i++) {
        if (vm_path_join(found, PATH_CAP, p.path[i], "train") && stat(found, &st) == 0 &&
            S_ISDIR(st.st_mode)) {
            memcpy(found, p.path[i], PATH_CAP);
            return VM_OK;
        }
        if (k->archive && vm_path_join(found, PATH_CAP, p.path[i], k->archive) && access(found, F_OK) == 0)
            return VM_OK;
        memcpy(found, p.path[i], PATH_CAP);
        if (stat(found, &st) == 0 && !S_ISDIR(st.st_mode)) return VM_OK;
    }
    char looked_for[64];
    snprintf(looked_for, sizeof looked_for, "train/%s%s", k->archive ? " and " : "",
             k->archive ? k->archive : "");
    return not_found(k, &p, looked_for, err);
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
                           "%s: label %d of image %" PRId64 " is not below the number of classes, %" PRId64,
                           path, label->data[i], i, wanted);
        }
        if (label->data[i] > most) most = label->data[i];
        d->label[i] = label->data[i];
    }
    d->classes = wanted > 0 ? wanted : most + 1;
    return VM_OK;
}

/* In place, so that both sizes are never held at once: larger results grow into room made before the
 * originals, smaller ones stay behind what is still to be read. */
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
        return vm_fail(err, VM_ENV, "out of memory resizing %" PRId64 " images to %" PRId64 " x %" PRId64,
                       d->size, side, side);
    }
    all = realloc(d->image, n * to); /* gives back what smaller images leave */
    if (all) d->image = all;
    d->height = d->width = side;
    return VM_OK;
}

static VmStatus load_idx(VmDataset *d, const VmDataSpec *spec, const Kind *k, VmSplit split, VmError *err) {
    char image_path[PATH_CAP], label_path[PATH_CAP];
    VmStatus s = find_files(spec, k, split, image_path, label_path, err);
    if (s) return s;
    VmIdx image, label;
    s = vm_idx_read(image_path, 3, &image, err);
    d->image = image.data;
    if (s) return s;
    s = vm_idx_read(label_path, 1, &label, err);
    if (!s && image.dim[0] != label.dim[0])
        s = vm_fail(err, VM_INPUT, "%s has %" PRId64 " images but %s has %" PRId64 " labels", image_path,
                    image.dim[0], label_path, label.dim[0]);
    if (!s) s = take_labels(d, &label, label_path, spec->classes > 0 ? spec->classes : k->classes, err);
    free(label.data);
    if (s) return s;
    d->size = image.dim[0];
    d->channels = 1;
    d->height = image.dim[1];
    d->width = image.dim[2];
    return resize_all(d, spec->resize, err);
}

static VmImageSource image_source(const VmDataSpec *spec, const char *path) {
    return (VmImageSource){.path = path,
                           .channels = spec->channels ? spec->channels : 3,
                           .resize = spec->resize,
                           .threads = vm_threads(spec->threads)};
}

/* Splits whose place in d is NULL are not wanted. */
static VmStatus load_folder(VmDataset *d[VM_SPLITS], const VmDataSpec *spec, const Kind *k, VmError *err) {
    char path[PATH_CAP];
    VmStatus s = find_folder(spec, k, path, err);
    if (s) return s;
    VmImageSource src = image_source(spec, path);
    VmImages split[VM_SPLITS];
    VmImagesInfo info;
    s = vm_images_read(&src, (VmImages *[VM_SPLITS]){d[0] ? &split[0] : NULL, d[1] ? &split[1] : NULL}, &info,
                       err);
    if (s) return s;
    for (int i = 0; i < VM_SPLITS; i++) {
        if (!d[i]) continue;
        d[i]->image = split[i].image;
        d[i]->label = split[i].label;
        d[i]->size = split[i].size;
        d[i]->channels = src.channels;
        d[i]->height = split[i].height;
        d[i]->width = split[i].width;
        d[i]->classes = info.classes;
        memcpy(d[i]->warning, info.note, sizeof info.note);
    }
    int64_t most = spec->classes > 0 ? spec->classes : k->classes;
    if (most > 0 && (k->classes ? info.classes != most : info.classes > most))
        return vm_fail(err, VM_INPUT, "%s: train/ has %" PRId64 " class folders; %s %" PRId64, path,
                       info.classes, k->classes ? "expected are" : "at most expected are", most);
    return VM_OK;
}

static const Kind *find_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    }
    return NULL;
}

static VmStatus check_spec(const VmDataSpec *spec, const Kind **kind, VmError *err) {
    const Kind *k = *kind = find_kind(spec->kind);
    if (!k) {
        return vm_fail(err, VM_INPUT,
                       "unknown data set '%s'; known are fashion_mnist, mnist, idx, cifar10 and "
                       "image_folder",
                       spec->kind);
    }
    if (spec->resize < 0 || spec->resize > VM_MAX_SIDE) {
        return vm_fail(err, VM_INPUT,
                       "cannot resize images to %" PRId64 "; expected 1..%d, or 0 to keep them", spec->resize,
                       VM_MAX_SIDE);
    }
    int64_t channels = spec->channels;
    if (channels != 0 && channels != 1 && !(channels == 3 && k->folder))
        return vm_fail(err, VM_INPUT, "data set '%s': channels is %s, not %" PRId64, k->name,
                       k->folder ? "3 or 1" : "1", channels);
    for (int c = 0; c < (k->folder && channels != 1 ? 3 : 1); c++) {
        if (!(spec->std[c] > 0))
            return vm_fail(err, VM_INPUT, "data set '%s': std must be above 0, it is %g", k->name,
                           spec->std[c]);
    }
    return VM_OK;
}

static VmStatus measure_idx(const VmDataSpec *spec, const Kind *k, VmImages out[VM_SPLITS], VmError *err) {
    VmStatus s = VM_OK;
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        char image_path[PATH_CAP], label_path[PATH_CAP];
        VmIdx image;
        s = find_files(spec, k, (VmSplit)i, image_path, label_path, err);
        if (!s) s = vm_idx_header(image_path, 3, &image, err);
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

VmStatus vm_dataset_measure(const VmDataSpec *spec, int64_t bytes[VM_SPLITS], int64_t images[VM_SPLITS],
                            VmError *err) {
    const Kind *k;
    char path[PATH_CAP];
    VmImages split[VM_SPLITS];
    VmStatus s = check_spec(spec, &k, err);
    if (s) return s;
    VmImageSource src = image_source(spec, path);
    if (!k->folder) {
        s = measure_idx(spec, k, split, err);
    } else {
        s = find_folder(spec, k, path, err);
        if (!s) s = vm_images_measure(&src, split, err);
    }
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        images[i] = split[i].size;
        bytes[i] = data_bytes(split[i].size, k->folder ? src.channels : 1, split[i].height, split[i].width);
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
static void set_values(VmDataset *d, const VmDataSpec *spec) {
    for (int64_t c = 0; c < d->channels; c++) {
        float mean = (float)spec->mean[c], std = (float)spec->std[c];
        for (int i = 0; i < 256; i++) d->value[c][i] = ((float)i / 255.0f - mean) / std;
    }
}

static VmStatus open_splits(const VmDataSpec *spec, const bool want[VM_SPLITS], VmDataset *out[VM_SPLITS],
                            VmError *err) {
    out[VM_TRAIN] = out[VM_TEST] = NULL;
    const Kind *k;
    VmStatus s = check_spec(spec, &k, err);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        if (!want[i]) continue;
        out[i] = vm_calloc(1, sizeof *out[i]);
        if (!out[i]) s = vm_fail(err, VM_ENV, "out of memory");
        if (!s && !k->folder) s = load_idx(out[i], spec, k, (VmSplit)i, err);
    }
    if (!s && k->folder) s = load_folder(out, spec, k, err);
    for (int i = 0; i < VM_SPLITS; i++) {
        if (out[i] && !s) set_values(out[i], spec);
        if (!s) continue;
        vm_dataset_close(out[i]);
        out[i] = NULL;
    }
    return s;
}

VmStatus vm_dataset_open(const VmDataSpec *spec, VmSplit split, int64_t limit, VmDataset **out,
                         VmError *err) {
    VmDataset *d[VM_SPLITS];
    VmStatus s = open_splits(spec, (bool[VM_SPLITS]){split == VM_TRAIN, split == VM_TEST}, d, err);
    *out = d[split];
    if (!s && limit > 0 && limit < (*out)->size) (*out)->size = limit;
    return s;
}

VmStatus vm_dataset_open_all(const VmDataSpec *spec, VmDataset *out[VM_SPLITS], VmError *err) {
    return open_splits(spec, (bool[VM_SPLITS]){true, true}, out, err);
}

void vm_dataset_close(VmDataset *d) {
    if (!d) return;
    free(d->image);
    free(d->label);
    free(d);
}

/* ---- serving ---- */

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

void vm_dataset_batch(const VmDataset *d, const int64_t *index, int64_t n, float *image, int32_t *label) {
    int64_t pixels = d->height * d->width;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < d->channels; c++) {
            const uint8_t *from = d->image + (index[i] * d->channels + c) * pixels;
            float *to = image + (i * d->channels + c) * pixels;
            for (int64_t j = 0; j < pixels; j++) to[j] = d->value[c][from[j]];
        }
        if (label) label[i] = d->label[index[i]];
    }
}

/* Fisher and Yates, from the end; element i of the stream decides where place i takes its image from. */
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
VmHash vm_dataset_fingerprint(const VmDataset *d) {
    VmHash h = vm_hash((VmHash){0, 0}, d->label, (size_t)d->size * sizeof *d->label);
    return vm_hash(h, d->image, (size_t)(d->size * d->channels * d->height * d->width));
}
const char *vm_dataset_class(const VmDataset *d, int64_t i) {
    (void)d, (void)i;
    return NULL;
}
