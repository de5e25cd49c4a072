/* Finds, checks and serves data sets: one split in memory as bytes, batches normalised on the way out.
 *
 * Does not: augment; read anything but IDX files. */
#include "runtime/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/rng.h"

enum { PATH_CAP = 1024, MAX_PLACES = 4, MAX_RESIZE = 4096 };

struct VmDataset {
    int64_t size, channels, height, width, classes;
    uint8_t *image;   /* [size][channels][height][width] */
    uint8_t *label;   /* [size] */
    float value[256]; /* what each byte becomes */
};

typedef struct Kind {
    const char *name;
    int64_t classes; /* 0: counted */
    const char *usual_place;
    const char *advice;
} Kind;

static const Kind kinds[] = {
    {"fashion_mnist", 10, "/usr/share/datasets/fashion-mnist",
     "on Debian: apt install dataset-fashion-mnist; or put its four IDX files in a folder and give it with "
     "--data"},
    {"mnist", 10, NULL,
     "put the four IDX files of MNIST in a folder and give it with --data, or set VMOE_DATA"},
    {"idx", 0, NULL,
     "give the folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
     "t10k-labels-idx1-ubyte (each may end in .gz) with --data"},
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
    if (strcmp(k->name, "idx") == 0) return; /* could be anything: never guessed */
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

static VmStatus not_found(const Kind *k, const Places *p, const char *name, VmError *err) {
    char tried[1400] = "";
    for (int i = 0; i < p->count; i++) {
        size_t at = strlen(tried);
        snprintf(tried + at, sizeof tried - at, "\n  tried %s/%s[.gz]", p->path[i], name);
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
    return not_found(k, &p, image_name, err);
}

/* ---- checking and loading ---- */

static VmStatus check_labels(const VmIdx *label, const char *path, int64_t wanted, int64_t *classes,
                             VmError *err) {
    int64_t most = 0;
    for (int64_t i = 0; i < label->dim[0]; i++) {
        if (wanted > 0 && label->data[i] >= wanted) {
            return vm_fail(err, VM_INPUT,
                           "%s: label %d of image %" PRId64 " is not below the number of classes, %" PRId64,
                           path, label->data[i], i, wanted);
        }
        if (label->data[i] > most) most = label->data[i];
    }
    *classes = wanted > 0 ? wanted : most + 1;
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

static VmStatus load(VmDataset *d, const VmDataSpec *spec, const Kind *k, VmSplit split, int64_t limit,
                     VmError *err) {
    char image_path[PATH_CAP], label_path[PATH_CAP];
    VmStatus s = find_files(spec, k, split, image_path, label_path, err);
    if (s) return s;
    VmIdx image, label;
    s = vm_idx_read(image_path, 3, &image, err);
    d->image = image.data;
    if (s) return s;
    s = vm_idx_read(label_path, 1, &label, err);
    d->label = label.data;
    if (s) return s;
    if (image.dim[0] != label.dim[0]) {
        return vm_fail(err, VM_INPUT, "%s has %" PRId64 " images but %s has %" PRId64 " labels", image_path,
                       image.dim[0], label_path, label.dim[0]);
    }
    d->size = limit > 0 && limit < image.dim[0] ? limit : image.dim[0];
    d->channels = 1;
    d->height = image.dim[1];
    d->width = image.dim[2];
    s = check_labels(&label, label_path, spec->classes > 0 ? spec->classes : k->classes, &d->classes, err);
    return s ? s : resize_all(d, spec->resize, err);
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
        return vm_fail(err, VM_INPUT, "unknown data set '%s'; known are fashion_mnist, mnist and idx",
                       spec->kind);
    }
    if (spec->resize < 0 || spec->resize > MAX_RESIZE) {
        return vm_fail(err, VM_INPUT,
                       "cannot resize images to %" PRId64 "; expected 1..%d, or 0 to keep them", spec->resize,
                       MAX_RESIZE);
    }
    if (!(spec->std > 0))
        return vm_fail(err, VM_INPUT, "data set '%s': std must be above 0, it is %g", k->name, spec->std);
    return VM_OK;
}

VmStatus vm_dataset_measure(const VmDataSpec *spec, VmSplit split, int64_t *bytes, int64_t *images,
                            VmError *err) {
    const Kind *k;
    char image_path[PATH_CAP], label_path[PATH_CAP];
    VmIdx image;
    VmStatus s = check_spec(spec, &k, err);
    if (!s) s = find_files(spec, k, split, image_path, label_path, err);
    if (!s) s = vm_idx_header(image_path, 3, &image, err);
    if (s) return s;
    int64_t pixels = spec->resize ? spec->resize * spec->resize : image.dim[1] * image.dim[2];
    *images = image.dim[0];
    *bytes = image.dim[0] * (pixels + 1);
    return VM_OK;
}

int64_t vm_dataset_bytes(const VmDataset *d) {
    return d->size * (d->channels * d->height * d->width + 1);
}

VmStatus vm_dataset_open(const VmDataSpec *spec, VmSplit split, int64_t limit, VmDataset **out,
                         VmError *err) {
    *out = NULL;
    const Kind *k;
    VmStatus s = check_spec(spec, &k, err);
    if (s) return s;
    VmDataset *d = vm_calloc(1, sizeof *d);
    if (!d) return vm_fail(err, VM_ENV, "out of memory");
    s = load(d, spec, k, split, limit, err);
    if (s) {
        vm_dataset_close(d);
        return s;
    }
    /* In f32, step by step, as the usual image transforms do it. */
    float mean = (float)spec->mean, std = (float)spec->std;
    for (int i = 0; i < 256; i++) d->value[i] = ((float)i / 255.0f - mean) / std;
    *out = d;
    return VM_OK;
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
    int64_t pixels = d->channels * d->height * d->width;
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *from = d->image + index[i] * pixels;
        float *to = image + i * pixels;
        for (int64_t j = 0; j < pixels; j++) to[j] = d->value[from[j]];
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
