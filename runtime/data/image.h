/* What the readers of image data sets share. reader_folder.c uses vm_images_read and
 * vm_images_measure; nobody else sees any of it. */
#ifndef VMOEC_RUNTIME_DATA_IMAGE_H
#define VMOEC_RUNTIME_DATA_IMAGE_H

#include <stdatomic.h>

#include "runtime/data/internal.h"

/* VM_MAX_SIDE: of resized images. VM_MAX_IMAGE_BYTES: of an image as it is decoded, before it is
 * resized: 89 million pixels of three bytes. */
enum {
    VM_MAX_SIDE = 4096,
    VM_MAX_CLASSES = 1 << 16,
    VM_MAX_IMAGE_FILE = 1 << 28,
    VM_MAX_IMAGE_BYTES = 1 << 28
};

/* The name of a file as messages show it; long ones lose their middle. */
enum { VM_SHOWN_NAME = 256 };

/* ---- image_decode.c -------------------------------------------------------------------------- */

/* One per thread; keeps buffers from image to image. NULL: out of memory. */
typedef struct VmImageDecoder VmImageDecoder;
VmImageDecoder *vm_image_decoder_create(void);
void vm_image_decoder_destroy(VmImageDecoder *d);
/* Reads the header of a JPEG or PNG; its sides as it is looked at, and at most VM_MAX_IMAGE_BYTES
 * in all. `name` is for messages. Name and bytes are borrowed until the next vm_image_open.
 * VM_INPUT for files that are no images or damaged. */
VmStatus vm_image_open(VmImageDecoder *d, const char *name, const uint8_t *bytes, size_t n,
                       int64_t *height, int64_t *width, VmError *err);
/* PNG images of 16 bits per channel that were rounded to 8. */
int64_t vm_image_decoder_rounded(const VmImageDecoder *d);
/* Bytes that decoding the open image takes, about. */
int64_t vm_image_decoder_work(const VmImageDecoder *d);
/* Pixels of the open image, upright, in the decoder's memory until the next vm_image_open; channels
 * 3 (red, green, blue) or 1 (grey). Once per vm_image_open. */
VmStatus vm_image_view(VmImageDecoder *d, int64_t channels, VmImageView *v, VmError *err);
/* The same into plane[channels][height][width]. */
VmStatus vm_image_planes(VmImageDecoder *d, int64_t channels, uint8_t *plane, VmError *err);

/* ---- image_exif.c ---------------------------------------------------------------------------- */

/* 1..8 of n bytes as EXIF has them; 1, upright, where they do not say. */
int vm_exif_orientation(const uint8_t *p, size_t n);

typedef struct VmJpegFacts {
    int orientation;
    bool adobe; /* written by Adobe's rules: of four inks, what is stored is 255 - ink */
    bool progressive;
} VmJpegFacts;
VmJpegFacts vm_jpeg_facts(const uint8_t *p, size_t n);

/* ---- image_names.c: what the paths of a data set say ----------------------------------------- */

/* Folders of the data set: val/ serves as the test set where there is no test/. */
enum { VM_PART_TRAIN, VM_PART_TEST, VM_PART_VAL, VM_PARTS };

typedef struct VmImageClass {
    char *name;
    int64_t label; /* place among train's classes; -1: not there, or not known yet */
    int64_t count[VM_PARTS];
    bool folder[VM_PARTS];
} VmImageClass;

typedef struct VmImageName {
    const VmImageClass *class;
    size_t text;  /* the file's name, in VmImageNames.text */
    int64_t slot; /* how many came before it in its part */
} VmImageName;

typedef struct VmImagePart {
    bool keep, seen; /* names wanted; folder there */
    int64_t n;       /* images met */
    VmImageName *at; /* [n] if kept */
    int64_t room;
} VmImagePart;

typedef struct VmImageNames {
    const char *root;     /* folder or archive, for messages */
    VmImageClass **class; /* by name */
    int64_t nclass, class_room;
    VmImagePart part[VM_PARTS];
    char *text;
    size_t text_used, text_room;
    int64_t skipped; /* files in class folders that are no images */
    char first_skipped[256];
} VmImageNames;

typedef enum VmEntryKind {
    VM_ENTRY_FILE,
    VM_ENTRY_FOLDER,
    VM_ENTRY_LINK,
    VM_ENTRY_OTHER
} VmEntryKind;

/* Takes one path, relative to the data set, in any order. *part: where the image belongs (its slot
 * is part[..].n - 1 now), or -1: not an image. */
VmStatus vm_names_add(VmImageNames *n, const char *path, VmEntryKind kind, int *part, VmError *err);
/* After the last: checks classes, sets labels, and puts the names of kept parts in order: classes
 * by name, files of a class by name, bytewise. Files named twice and classes without images are
 * VM_INPUT. */
VmStatus vm_names_finish(VmImageNames *n, VmError *err);
int64_t vm_names_classes(const VmImageNames *n);
/* The part that is the test set: test/, or val/ without one. */
int vm_names_test(const VmImageNames *n);
void vm_names_free(VmImageNames *n);
void vm_names_show(const char *path, char to[VM_SHOWN_NAME]);
/* The path of a kept name, relative to the data set (free it); NULL: out of memory. */
char *vm_names_path(const VmImageNames *n, int part, const VmImageName *name);
extern const char *const vm_part_names[VM_PARTS];

/* ---- image_set.c ----------------------------------------------------------------------------- */

/* One split: image[size][channels][height][width] and label[size], freed by the caller. */
typedef struct VmImages {
    int64_t size, height, width;
    uint8_t *image;
    uint16_t *label;
} VmImages;

typedef struct VmImageSource {
    const char *path; /* a folder with train/ and test/, or a tar archive of one */
    int64_t channels; /* 1 or 3 */
    int64_t resize;   /* side; 0: keep, all images have one size */
    int threads;
} VmImageSource;

typedef struct VmImagesInfo {
    int64_t classes;
    /* of classes by label, one after the other, each with its zero byte; the caller's */
    char *names;
    size_t names_bytes; /* with all zero bytes */
    char note[1024];    /* what a user should know, as a sentence; empty: nothing */
} VmImagesInfo;

/* Reads a split or both (out[s] NULL: not wanted), decoding on all threads. On errors nothing is
 * kept. */
VmStatus vm_images_read(const VmImageSource *src, VmImages *const out[2], VmImagesInfo *info,
                        VmError *err);
/* Sizes only: all names are read, and the header of one image of each split. */
VmStatus vm_images_measure(const VmImageSource *src, VmImages out[2], VmError *err);

typedef struct VmImageStore {
    int64_t height, width; /* of the images in memory; 0: no image met yet */
    int64_t room;          /* images */
    uint8_t *image;
    char first[VM_SHOWN_NAME]; /* the image that set the size */
} VmImageStore;

/* ---- image_bad.c: images that cannot be used ------------------------------------------------- */

enum { VM_BAD_SHOWN = 10 };

/* Of one part: how many there are, and the first by number. */
typedef struct VmBadImages {
    int64_t count;
    int64_t number[VM_BAD_SHOWN]; /* ascending; as many as count, at most VM_BAD_SHOWN */
    VmError why[VM_BAD_SHOWN];    /* begins with the file's name */
} VmBadImages;

void vm_bad_add(VmBadImages *b, int64_t number, const VmError *why);

typedef struct VmImageLoader {
    const VmImageSource *src;
    bool archive;
    int root; /* descriptor of a folder; -1 */
    VmImageNames names;
    VmImageStore store[VM_PARTS];
    VmImageDecoder **decoder; /* [threads] */
    bool unchecked;           /* an archive whose packing has no checksum */
    _Atomic int64_t pending;
    VmBadImages bad[VM_PARTS];
    _Atomic bool stop; /* the system failed */
    VmStatus status;   /* VM_ENV then */
    VmError failure;
} VmImageLoader;

/* By any thread: an image, known by its number in its part, is bad (VM_INPUT), or the system
 * failed. Bad images do not end the reading, so that all are known in the end, whoever met them
 * first. */
void vm_image_failed(VmImageLoader *l, int part, int64_t number, VmStatus s, const VmError *err);
/* After the last image: the failure of the system, or the bad images of all kept parts, the first
 * of them by name; VM_OK if there are none. */
VmStatus vm_images_verdict(const VmImageLoader *l, VmError *err);

/* The first image of a part that can be opened says how large all are. `name` is the file as
 * messages show it. */
VmStatus vm_image_first(VmImageLoader *l, int part, const char *name, const uint8_t *bytes,
                        size_t n, VmError *err);
int64_t vm_image_bytes(const VmImageLoader *l, int part);
/* Room for at least `need` images and, if that is reasonable, for `wish`. Nobody may be loading
 * into the part. */
VmStatus vm_image_room(VmImageLoader *l, int part, int64_t need, int64_t wish, VmError *err);
/* Decodes one image to its place; the part has room for it. By any thread of a team of
 * src->threads. */
VmStatus vm_image_load(VmImageLoader *l, int part, int64_t slot, const char *name,
                       const uint8_t *bytes, size_t n, VmError *err);

/* ---- image_folder.c, image_archive.c --------------------------------------------------------- */

/* Names and images of the parts to be kept, or (measure) names and the size of each part's first
 * image. */
VmStatus vm_images_walk(VmImageLoader *l, bool measure, VmError *err);
VmStatus vm_images_unpack(VmImageLoader *l, bool measure, VmError *err);

#endif
