/* Data sets: finding, reading and serving them. */
#ifndef VMOEC_RUNTIME_DATA_DATA_H
#define VMOEC_RUNTIME_DATA_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/status.h"
#include "recipe/inputs.h"
#include "recipe/recipe.h"

/* ---- data (kinds.c, stream.c, idx.c, image_*.c, resize.c, dataset.c) ------------------------- */

/* What to open, and how. A recipe's data says most of it (vm_data_query). */
typedef struct VmDataQuery {
    VmDataKind kind;
    const char *dir;        /* NULL: VMOE_DATA/<kind>, VMOE_DATA, then the kind's usual place */
    const char *beside;     /* a folder where a relative dir is looked up first; NULL: none */
    int64_t channels;       /* of image folders: 3 or 1 (grey); 0: the source's */
    int64_t resize;         /* 0: keep */
    double mean[3], std[3]; /* per channel */
    int64_t classes;        /* labels must be below it; 0: any */
    int threads;            /* that decode; 0: vm_threads(0) */
    VmWord cache, bad;      /* of image folders, as in a recipe */
    bool held_out;          /* a share of the training set validates: what the data has for it is
                               not read, and a warning says so */
    bool files;             /* vm_dataset_file is wanted, also of images in memory */
    int64_t room;           /* bytes that images in memory may take; 0: half of the machine's */
    const char *cache_dir;  /* where decoded images may be kept; NULL: nowhere */
    /* Of image folders: the classes by label, as weights know them. Folders have the labels of
     * their names then, one that has none is VM_INPUT, and train/ need not be there for another
     * split. NULL: the folders of train/, bytewise, say what there is. */
    const char *const *class_name;
    int64_t nclass_name;
} VmDataQuery;

/* dir: goes before the recipe's; NULL: none. */
VmDataQuery vm_data_query(const VmDataSpec *spec, const char *dir);

/* One split, as bytes, in memory or decoded when they are wanted (VmDataQuery.cache): what comes
 * out is the same. Resizing (to a square of side `resize`, bilinear with antialiasing) rounds to
 * bytes as image libraries do. An explicit `dir` is the only place looked at (and DIR/<kind>; a
 * relative one beside the experiment's file, then in the current folder). Files that are missing
 * are VM_ENV, with every place tried and how to get the data; so are files that cannot be opened or
 * read. Files with wrong contents are VM_INPUT; of images, the first ten by name and how many there
 * are.
 *
 * The order of images is that of an IDX file, or bytewise by class and path in its folder. */
typedef struct VmDataset VmDataset;
/* Most data has no validation set: it is val/ beside test/. Where there is no test/, val/ is the
 * test set. */
typedef enum VmSplit { VM_TRAIN, VM_TEST, VM_VALIDATION, VM_SPLITS } VmSplit;
extern const char *const vm_split_names[VM_SPLITS]; /* "training", "test", "validation" */
/* A split that is not there is VM_ENV. */
VmStatus vm_dataset_open(const VmDataQuery *spec, VmSplit split, int64_t limit /* 0: all */,
                         VmDataset **out, VmError *err);
/* Whether its files are there; else VM_ENV, and err has a line for what is missing, one for each
 * place that was tried, and one for how to get the data. */
VmStatus vm_dataset_find(const VmDataQuery *spec, VmSplit split, VmError *err);
/* Several at once: an archive is unpacked only once. out[i] NULL: not wanted, or there is no
 * validation set. */
VmStatus vm_dataset_open_some(const VmDataQuery *spec, const bool want[VM_SPLITS],
                              VmDataset *out[VM_SPLITS], VmError *err);
/* The same with all of them wanted. */
VmStatus vm_dataset_open_all(const VmDataQuery *spec, VmDataset *out[VM_SPLITS], VmError *err);
void vm_dataset_close(VmDataset *d);
/* Two parts of a set, which must outlive them: *held has the given share of the images of every
 * class (rounded, at least one where the class has two, never all), chosen by the seed, and *rest
 * the others, both in the order of the set. */
VmStatus vm_dataset_hold_out(const VmDataset *whole, double share, uint64_t seed, VmDataset **rest,
                             VmDataset **held, VmError *err);
/* Whether its images are in memory. */
bool vm_dataset_is_held(const VmDataset *d);
/* Bytes of images, labels and names (VmDataQuery.files) in memory. */
int64_t vm_dataset_bytes(const VmDataset *d);
/* Of a split that is not open, from files' headers (an archive is read through, but nothing
 * decoded). */
typedef struct VmDataSize {
    int64_t images;
    int64_t height,
        width;        /* as the data set has them; of images that are not resized the first's */
    int64_t bytes;    /* as vm_dataset_bytes, when all are held */
    int64_t listed;   /* when they are not: labels and names */
    int64_t decoding; /* what a thread that decodes takes besides; 0: nothing is decoded */
    bool held;        /* as the query has it they would be in memory */
    bool either;      /* they need not be */
} VmDataSize;
/* Errors as vm_dataset_open_all, without a look at the contents; a split that is not there has no
 * images. together: the splits that would be open at the same time, and share the memory there is;
 * NULL: all. *classes (NULL: not wanted) is a data set of no images that has the warning and the
 * classes, by name where they are folders; NULL after an error. */
VmStatus vm_dataset_measure(const VmDataQuery *spec, const bool together[VM_SPLITS],
                            VmDataSize out[VM_SPLITS], VmDataset **classes, VmError *err);
/* What data is like, for whoever writes a file for it: from names and headers. */
typedef struct VmDataLook {
    int64_t images[VM_SPLITS];
    int64_t classes;
    char *names; /* of classes by label, each with its zero byte (free it); NULL: they have none */
    int64_t shortest; /* side of the images whose headers were read, before they are resized */
} VmDataLook;
/* Errors as vm_dataset_measure; the names are to be freed after one, too. */
VmStatus vm_dataset_look(const VmDataQuery *spec, VmDataLook *out, VmError *err);
/* Damaged images that were left out (bad = "skip"); a text with the first of them, a line each
 * (free it; NULL: none); and the i-th of these, a text that begins with the file's name (NULL:
 * there are no more). What is held out of a set has none: they are those of the rest. */
int64_t vm_dataset_left_out(const VmDataset *d);
char *vm_dataset_left_out_text(const VmDataset *d);
const char *vm_dataset_left_out_image(const VmDataset *d, int i);
/* What a user should know of the data, a sentence; NULL: nothing. */
const char *vm_dataset_warning(const VmDataset *d);
/* Where the data is: a folder, an archive, or of IDX files the one with training images; absolute.
 * NULL: it is not there, or memory is not. Freed by the caller. */
char *vm_dataset_place(const VmDataQuery *spec);
/* Whether the data is an archive, which is read through to be measured; false also when there is
 * none. */
bool vm_dataset_is_archive(const VmDataQuery *spec);
/* Of everything that training sees of a split: images as bytes (after resizing), labels, sides,
 * channels and the names of class folders. Equal data gives equal fingerprints, from a folder or an
 * archive. The first time all bytes that are held are read, about 10 GB/s. By one thread at a time.
 */
VmHash vm_dataset_fingerprint(const VmDataset *d);
/* The name of class i of a data set with class folders; NULL: it has no names, or no such class. */
const char *vm_dataset_class(const VmDataset *d, int64_t i);
/* What the file of image i is called: its path below its split's folder, "cat/1.jpg", or the name
 * of its entry in an archive (without "./" before it), as its bytes are. NULL: images are no files,
 * or the query did not ask. */
const char *vm_dataset_file(const VmDataset *d, int64_t i);
/* " (cat, dog, ..)", at most ten of the first `classes`; "": they have no names. In the arena. */
const char *vm_dataset_class_list(Arena *a, const VmDataset *d, int64_t classes);
/* What a user should know of a split that is open: which of its images were left out, as a sentence
 * in the arena; NULL: nothing. */
const char *vm_dataset_left_out_said(Arena *a, const VmDataset *d, VmSplit split);
int64_t vm_dataset_size(const VmDataset *d);
/* classes: what the kind or its class folders say; of other data the largest label + 1. */
void vm_dataset_shape(const VmDataset *d, int64_t *channels, int64_t *height, int64_t *width,
                      int64_t *classes);
/* The same as the comparison with a model's inputs wants it. */
VmDataShape vm_dataset_inputs(const VmDataset *d);
/* Image i as bytes [C][H][W], in the data set's memory, which holds it; its class; its bytes
 * normalised. */
const uint8_t *vm_dataset_pixels(const VmDataset *d, int64_t i);
/* The same, held or not; those that are not come into `room` by the thread's own decoder. NULL: the
 * file cannot be read or has changed, with err filled in. */
struct VmImageDecoder;
const uint8_t *vm_dataset_fetch(const VmDataset *d, struct VmImageDecoder *own, int64_t i,
                                uint8_t *room, VmError *err);
/* A thread's decoder of images that are not held; NULL: memory is not there. */
struct VmImageDecoder *vm_dataset_decoder(const VmDataset *d);
void vm_dataset_decoder_close(const VmDataset *d, struct VmImageDecoder *own);
int32_t vm_dataset_label(const VmDataset *d, int64_t i);
void vm_dataset_normalise(const VmDataset *d, const uint8_t *pixels, float *image);
/* Normalised images and labels of the given indices, densely into image[n][C][H][W] and label[n];
 * of images that are held. */
void vm_dataset_batch(const VmDataset *d, const int64_t *index, int64_t n, float *image,
                      int32_t *label);
/* ---- images by themselves (image_single.c) --------------------------------------------------- */

/* A PNG or JPEG file, or pixels of any size in memory. */
typedef struct VmSingleImage {
    const char *path;      /* with pixels only what messages call them */
    const uint8_t *pixels; /* [height][width][channels]; NULL: the file's */
    int64_t height, width;
    int64_t channels; /* 1: grey; 3: red, green, blue; 4: and how opaque, which is not looked at */
} VmSingleImage;

/* Reads them as the images of a data set of that query, whose sides are given; to be closed also
 * after a failure. */
typedef struct VmImageReader VmImageReader;
VmStatus vm_image_reader_open(const VmDataQuery *q, int64_t height, int64_t width, int threads,
                              VmImageReader **out, VmError *err);
void vm_image_reader_close(VmImageReader *r);
/* Image i, normalised, becomes to[i][C][H][W]; err[i].status says how that went. */
void vm_image_reader_read(VmImageReader *r, const VmSingleImage *image, int64_t n, float *to,
                          VmError *err);

/* The order of one epoch: a permutation of 0..size-1, a pure function of (seed, epoch). */
void vm_dataset_shuffle(int64_t size, uint64_t seed, uint64_t epoch, int64_t *index);

#endif
