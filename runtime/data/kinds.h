/* The kinds of data sets, and where their files are. For dataset.c alone. */
#ifndef VMOEC_RUNTIME_DATA_KINDS_H
#define VMOEC_RUNTIME_DATA_KINDS_H

#include "runtime/data/data.h"

typedef struct VmDataKind {
    const char *name;
    int64_t classes; /* 0: counted */
    const char *usual_place;
    const char *advice;
    bool folder;         /* class folders of images, or a tar archive of them */
    const char *archive; /* its usual name; NULL: there is none */
} VmDataKind;

/* NULL: no such kind. */
const VmDataKind *vm_data_kind(const char *name);

/* The two files of a split of IDX files (free both, also on failure). Missing is VM_ENV with the
 * places tried; so is whatever keeps us from looking, which is never taken for missing. */
VmStatus vm_find_idx(const VmDataSpec *spec, const VmDataKind *k, VmSplit split, char **images,
                     char **labels, VmError *err);
/* The folder that holds train/, or an archive (free it). A place may be the archive itself. */
VmStatus vm_find_images(const VmDataSpec *spec, const VmDataKind *k, char **found, VmError *err);

#endif
