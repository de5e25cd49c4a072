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

/* Grey is the luma of ITU-R 601 in 16 bits of fixed point, as image libraries make it; equal
 * colours stay. */
static inline uint8_t vm_grey(const uint8_t rgb[3]) {
    return (uint8_t)((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16);
}

/* One per thread; keeps buffers from image to image. NULL: out of memory. */
typedef struct VmImageDecoder VmImageDecoder;
VmImageDecoder *vm_image_decoder_create(void);
void vm_image_decoder_destroy(VmImageDecoder *d);
/* Reads the header of a JPEG or PNG; its sides as it is looked at, and at most VM_MAX_IMAGE_BYTES
 * in all. `name` is for messages. Name and bytes are borrowed until the next vm_image_open.
 * VM_INPUT for files that are no images or damaged. */
VmStatus vm_image_open(VmImageDecoder *d, const char *name, const uint8_t *bytes, size_t n,
                       int64_t *height, int64_t *width, VmError *err);
/* PNG images of 16 bits per channel that were rounded to 8, since this was asked last. */
int64_t vm_image_decoder_rounded(VmImageDecoder *d);
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

/* Parts of the data set by their folders, which is not what they are used as: vm_names_part. */
enum { VM_PART_TRAIN, VM_PART_TEST, VM_PART_VAL, VM_PARTS };

/* The names that the folder of a part may have. */
typedef struct VmPartFolder {
    const char *name;
    int part;
} VmPartFolder;
enum { VM_PART_FOLDERS = 5 };
extern const VmPartFolder vm_part_folders[VM_PART_FOLDERS];

typedef struct VmImageClass {
    char *name;
    int64_t label; /* place among train's classes; -1: not there, or not known yet */
    int64_t count[VM_PARTS];
    bool folder[VM_PARTS];
} VmImageClass;

typedef struct VmImageName {
    const VmImageClass *class;
    size_t text;  /* the file's path below its class folder, in VmImageNames.text */
    int64_t slot; /* how many came before it in its part */
} VmImageName;

typedef struct VmImagePart {
    const char *folder; /* its name in vm_part_folders; NULL: not met */
    const char *other;  /* a second folder that would be this part; NULL: there is none */
    int64_t n;          /* images met */
    VmImageName *at;    /* [n] if kept */
    int64_t room;
} VmImagePart;

typedef struct VmImageNames {
    const char *root;         /* folder or archive, for messages */
    bool want[VM_SPLITS];     /* splits that are read */
    const char *const *known; /* classes by label; NULL: train/ says */
    int64_t nknown;
    bool may_have_top;    /* all may stand in one folder more, as in most archives */
    char *top;            /* that folder; empty: there is none; NULL: nothing of a part was met */
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
 * by name, files of a class by their path in it, bytewise. Files named twice and classes without
 * images are VM_INPUT. */
VmStatus vm_names_finish(VmImageNames *n, VmError *err);
/* A folder of the table is there. */
void vm_names_meet(VmImageNames *n, const VmPartFolder *folder);
/* The one place that says what folders are used as. The test set is test/, or val/ without one;
 * val/ beside test/ is the validation set. -1: the split is not there. */
int vm_names_part(const VmImageNames *n, VmSplit split);
/* Parts of all splits that are wanted and there, in the order of splits; how many. */
int vm_names_parts(const VmImageNames *n, int part[VM_SPLITS]);
/* Whether images of a part are wanted, as far as it is known: before test/ is met, val/ may be the
 * test set. */
bool vm_names_keeps(const VmImageNames *n, int part);
void vm_names_free(VmImageNames *n);
void vm_names_show(const char *path, char to[VM_SHOWN_NAME]);
/* The path of a kept name, relative to the data set (free it); NULL: out of memory. */
char *vm_names_path(const VmImageNames *n, int part, const VmImageName *name);

/* ---- image_paths.c: names that outlive the reading ------------------------------------------- */

/* Of one split, in the order of its images: what each file is called, in the folder or archive. */
typedef struct VmImagePaths {
    int64_t n;
    size_t *at; /* [n], in text */
    char *text;
    size_t before; /* characters of every path before its split's own: "train/" in a folder */
    int64_t bytes; /* of all this */
} VmImagePaths;

/* Of a part whose names are in order. False: out of memory; to be freed also then. */
bool vm_image_paths_take(VmImagePaths *to, const VmImageNames *n, int part);
/* What they would take. */
int64_t vm_image_paths_bytes(const VmImageNames *n, int part);
void vm_image_paths_free(VmImagePaths *p);
static inline const char *vm_image_path(const VmImagePaths *p, int64_t i) {
    return p->text + p->at[i];
}

/* ---- image_set.c, and what all others share -------------------------------------------------- */

/* What the images of a part become. */
typedef struct VmImageForm {
    int64_t channels;          /* 1 or 3 */
    int64_t resize;            /* side; 0: keep, all images have one size */
    int64_t height, width;     /* 0: no image met yet */
    char first[VM_SHOWN_NAME]; /* the image that set the size */
} VmImageForm;

static inline int64_t vm_form_bytes(const VmImageForm *f) {
    return f->channels * f->height * f->width;
}

/* What an image's decoded bytes are known by. */
static inline uint64_t vm_image_sum(const uint8_t *image, int64_t bytes) {
    return vm_hash((VmHash){0}, image, (size_t)bytes).lo;
}

/* Decodes an image into to[channels][height][width]. VM_INPUT: it cannot be used; *damaged unless
 * it is only of another size than the others. */
VmStatus vm_image_decode(VmImageDecoder *d, const VmImageForm *f, const char *name,
                         const uint8_t *bytes, size_t n, uint8_t *to, bool *damaged, VmError *err);

typedef struct VmImageFiles VmImageFiles;
typedef struct VmBadImages VmBadImages;

/* One split: label[size], and either image[size][channels][height][width] or the files of its
 * images; the caller's. */
typedef struct VmImages {
    int64_t size, height, width;
    uint8_t *image;        /* NULL: not held */
    VmImageFiles *files;   /* of images that are not held; vm_image_files_close */
    VmBadImages *left_out; /* vm_bad_free; NULL: none */
    uint16_t *label;
    VmImagePaths paths; /* of held images, if they were asked for */
    int64_t listed;     /* bytes of names; only measured */
    int64_t named;      /* bytes of paths, if they were asked for; only measured */
    int64_t work;       /* bytes that decoding an image takes; only measured */
    int64_t shortest;   /* the shortest side that was met; only measured */
} VmImages;

void vm_images_free(VmImages *i);

typedef struct VmImageSource {
    const char *path;         /* a folder with train/ and test/, or an archive of one */
    int64_t channels;         /* 1 or 3 */
    int64_t resize;           /* as in VmImageForm */
    VmWord cache;             /* where decoded images are; VM_NO_WORD: in memory if there is room */
    const char *cache_dir;    /* of decoded images on disk; NULL: there is none */
    int64_t room;             /* for images in memory, bytes; 0: half of the machine's memory */
    bool skip;                /* damaged images are left out */
    bool held_out;            /* as in VmDataQuery */
    bool paths;               /* those of held images are kept */
    const char *const *known; /* [nknown] classes, as in VmDataQuery */
    int64_t nknown;
    int threads;
} VmImageSource;

typedef struct VmImagesInfo {
    int64_t classes;
    /* of classes by label, one after the other, each with its zero byte; the caller's */
    char *names;
    size_t names_bytes; /* with all zero bytes */
    char note[1024];    /* what a user should know, as a sentence; empty: nothing */
} VmImagesInfo;

/* Reads splits (out[s] NULL: not wanted), decoding on all threads. A validation set that is not
 * there has no images; other splits have to be there. On errors nothing is kept. */
VmStatus vm_images_read(const VmImageSource *src, VmImages *const out[VM_SPLITS],
                        VmImagesInfo *info, VmError *err);
/* Sizes only, of all splits, and the classes: all names are read, and the headers of a few images
 * of each split. */
VmStatus vm_images_measure(const VmImageSource *src, VmImages out[VM_SPLITS], VmImagesInfo *info,
                           VmError *err);

typedef struct VmImageStore {
    VmImageForm form;
    int64_t room; /* images */
    uint8_t *image;
} VmImageStore;

/* ---- image_pixels.c: what needs no decoder --------------------------------------------------- */

/* Why an image of that size cannot be used: it is not resized, and others have another size. */
VmStatus vm_image_other_size(const VmImageForm *f, const char *name, int64_t h, int64_t w,
                             VmError *err);
/* Whether channels and sides are such that there can be pixels; else VM_USAGE. */
VmStatus vm_image_pixels_check(const VmSingleImage *x, const char *shown, VmError *err);
/* An image whose pixels are in memory into to[channels][height][width], as a file of these pixels
 * would be read. */
VmStatus vm_image_pixels(const VmImageForm *f, const VmSingleImage *x, const char *shown,
                         uint8_t *to, VmError *err);

/* ---- image_bad.c: images that cannot be used ------------------------------------------------- */

enum { VM_BAD_SHOWN = 10 };

/* Of one part: how many there are, and the first by number. */
struct VmBadImages {
    int64_t count;
    int64_t number[VM_BAD_SHOWN]; /* ascending; as many as count, at most VM_BAD_SHOWN */
    VmError why[VM_BAD_SHOWN];    /* begins with the file's name */
};

void vm_bad_add(VmBadImages *b, int64_t number, const VmError *why);

/* Numbers of images that are left out. */
typedef struct VmNumbers {
    int64_t n, room, *at;
} VmNumbers;

typedef struct VmImageDisk VmImageDisk;

/* Room of a thread for an image of any part. */
typedef struct VmImageRoom {
    uint8_t *at;
    size_t n;
} VmImageRoom;

typedef struct VmImageLoader {
    const VmImageSource *src;
    bool archive;
    int root; /* descriptor of a folder; -1 */
    VmImageNames names;
    VmImageStore store[VM_PARTS];
    VmImageDecoder **decoder; /* [threads] */
    VmImageRoom *one;         /* [threads]: an image that is not held */
    bool ahead[VM_PARTS];     /* not held: decoded once to be checked, and again for every batch */
    uint64_t *sum[VM_PARTS];  /* of images that are not held, by number */
    VmImageDisk *disk[VM_PARTS];
    int64_t held;               /* bytes of images in memory */
    int64_t work[VM_PARTS];     /* bytes that decoding took at most; measured */
    int64_t shortest[VM_PARTS]; /* side that was met; measured */
    int64_t deep[VM_PARTS];     /* images of 16 bits per channel; of a folder */
    bool unchecked;             /* an archive whose packing has no checksum */
    _Atomic int64_t pending;
    VmBadImages bad[VM_PARTS], lost[VM_PARTS]; /* end the reading; are left out */
    VmNumbers lost_at[VM_PARTS];
    _Atomic bool stop; /* the system failed */
    VmStatus status;   /* VM_ENV then */
    VmError failure;
} VmImageLoader;

/* By any thread: an image, known by its number in its part, is bad (VM_INPUT), or the system
 * failed. Bad images do not end the reading, so that all are known in the end, whoever met them
 * first. damaged: it may be left out if that was asked for. */
void vm_image_failed(VmImageLoader *l, int part, int64_t number, VmStatus s, bool damaged,
                     const VmError *err);
/* After the last image: the failure of the system, or the bad images of all kept parts, the first
 * of them by name; VM_OK if there are none. */
VmStatus vm_images_verdict(const VmImageLoader *l, VmError *err);
/* Takes the images that are left out from the names, the memory and the sums of a part. A name's
 * slot is its image's number. */
void vm_images_drop(VmImageLoader *l, int part);

/* ---- image_said.c ---------------------------------------------------------------------------- */

/* Those shown, a line each, behind what is in text. */
void vm_bad_lines(const VmBadImages *const *list, int n, char *text, size_t room);
int64_t vm_machine_memory(void); /* bytes */
/* Whether files lie in memory, for data that nobody has read yet. */
bool vm_images_fit(const VmImageSource *src, int64_t bytes);

/* ---- image_load.c: images at their places ---------------------------------------------------- */

/* The first image of a part that can be opened says how large all are. `name` is the file as
 * messages show it. */
VmStatus vm_image_first(VmImageLoader *l, int part, const char *name, const uint8_t *bytes,
                        size_t n, VmError *err);
/* Room for at least `need` images and, if that is reasonable, for `wish`. Nobody may be loading
 * into the part. */
VmStatus vm_image_room(VmImageLoader *l, int part, int64_t need, int64_t wish, VmError *err);
/* Decodes one image to its place, for which the part has room; of a part that is not held, notes
 * what it is. By any thread of a team of src->threads. */
VmStatus vm_image_load(VmImageLoader *l, int part, int64_t slot, const char *name,
                       const uint8_t *bytes, size_t n, bool *damaged, VmError *err);
/* Decides whether the images of a part, whose number and size are known, are held; makes room for
 * what is kept of them. */
VmStatus vm_image_place(VmImageLoader *l, int part, VmError *err);

/* ---- image_folder.c, image_archive.c --------------------------------------------------------- */

/* Names and images of the parts to be kept, or (measure) names and the size of each part's first
 * image. */
VmStatus vm_images_walk(VmImageLoader *l, bool measure, VmError *err);
VmStatus vm_images_unpack(VmImageLoader *l, bool measure, VmError *err);
/* The bytes of a file of the folder open as `root`, which `place` names (free them). */
VmStatus vm_image_file(int root, const char *place, const char *path, char **bytes, size_t *n,
                       VmError *err);
/* Those of any file. */
VmStatus vm_image_bytes(const char *path, char **bytes, size_t *n, VmError *err);

/* ---- image_files.c: images that are not held ------------------------------------------------- */

/* What a data set asks of files: behind pointers, so that a program whose data has none is linked
 * without the libraries that read them. */
typedef struct VmImageFilesOps {
    void (*close)(VmImageFiles *f);
    /* Image i as it was when it was looked at first. By any thread with a decoder of its own. */
    VmStatus (*read)(const VmImageFiles *f, VmImageDecoder *d, int64_t i, uint8_t *to,
                     VmError *err);
    VmImageDecoder *(*decoder)(void);
    void (*decoder_close)(VmImageDecoder *d);
} VmImageFilesOps;

/* Of one split, in the order of its images: where they are, and what came out of them. */
struct VmImageFiles {
    const VmImageFilesOps *ops;
    int root; /* the folder */
    char *place;
    VmImageForm form;
    int64_t n;
    VmImagePaths paths;
    uint64_t *sum;     /* [n] of bytes as decoded */
    VmImageDisk *disk; /* NULL: files are decoded again */
    int64_t *number;   /* [n]: place on disk */
};

/* Takes sums and disk of a part of which all images are known. */
VmStatus vm_image_files_open(VmImageLoader *l, int part, VmImageFiles **out, VmError *err);
void vm_image_files_close(VmImageFiles *f); /* NULL is fine */

/* ---- image_disk.c: decoded images on disk ---------------------------------------------------- */

/* Opens the file for a part whose names are in order and whose size is known. *there: it has all
 * images of just these files; what is known of them is then in the loader. Else it is made anew. */
VmStatus vm_image_disk_open(VmImageLoader *l, int part, bool *there, VmError *err);
/* Image `number`, by any thread. */
VmStatus vm_image_disk_put(VmImageDisk *d, int64_t number, const uint8_t *image, VmError *err);
/* After the last: the file gets its name. */
VmStatus vm_image_disk_finish(VmImageLoader *l, int part, VmError *err);
/* False: it could not be read, or is damaged. */
bool vm_image_disk_get(const VmImageDisk *d, int64_t number, uint64_t sum, uint8_t *to);
void vm_image_disk_close(VmImageDisk *d); /* and removes what was not finished */

#endif
