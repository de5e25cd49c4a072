/* A data set that is open, and what reads one. For dataset.c and the readers alone. */
#ifndef VMOEC_RUNTIME_DATA_DATASET_H
#define VMOEC_RUNTIME_DATA_DATASET_H

#include "runtime/data/data.h"
#include "runtime/data/image.h"

struct VmDataset {
    int64_t size, channels, height, width, classes;
    uint8_t *image;        /* [size][channels][height][width]; NULL: not held */
    VmImageFiles *files;   /* of images that are not held */
    VmBadImages *left_out; /* NULL: none */
    uint16_t *label;       /* [size] */
    float value[3][256];   /* what each byte of a channel becomes */
    char warning[1024];    /* empty: none */
    char *names;           /* of classes by label, one after the other; NULL: they have none */
    size_t names_bytes;
    const char **class; /* [classes], in names */
    VmImagePaths paths; /* of held images, if they were asked for; n 0: not kept */
    /* A part of another set: image i of it is that one's index[i], and of the above only the
     * numbers and `value` are its own. NULL: whole. */
    const VmDataset *whole;
    int64_t *index; /* [size] */
    VmHash hash;    /* once it was asked for */
    bool hashed;
};

/* How the files of a source are read: vm_reader_<name> for every READER of recipe/sources.def. The
 * query was checked. */
typedef struct VmReader {
    bool archives; /* the data may be one */
    /* Whether the files of a split are there. */
    VmStatus (*find)(const VmDataQuery *, const VmSource *, VmSplit, VmError *);
    /* Sizes of all splits, from headers; one that is not there has no images. classes, if not NULL,
     * gets the names of class folders and the warning. */
    VmStatus (*measure)(const VmDataQuery *, const VmSource *, VmImages out[VM_SPLITS],
                        VmDataset *classes, VmError *);
    /* Fills the splits that are not NULL; the caller closes them, also on failure. A validation set
     * that is not there stays without images. */
    VmStatus (*open)(VmDataset *out[VM_SPLITS], const VmDataQuery *, const VmSource *, VmError *);
} VmReader;

#define READER(name, files) extern const VmReader vm_reader_##name;
#include "recipe/sources.def"
/* All of them (readers.c); a program that needs only one has a list of its own. */
extern const VmReader *const vm_readers[VM_READERS];

/* Channels of the images of a source. */
static inline int64_t vm_channels_of(const VmDataQuery *q, const VmSource *k) {
    return q->channels ? q->channels : k->channels;
}

/* What each byte of a channel becomes: value[channels][256]. */
void vm_pixel_values(const VmDataQuery *q, int64_t channels, float value[3][256]);

#endif
