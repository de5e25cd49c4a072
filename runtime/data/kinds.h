/* Where the files of a data source are. For dataset.c and the readers alone. */
#ifndef VMOEC_RUNTIME_DATA_KINDS_H
#define VMOEC_RUNTIME_DATA_KINDS_H

#include "runtime/data/data.h"

/* Whether IDX files have such a split. */
bool vm_idx_has(VmSplit split);
/* The two files of a split of IDX files (free both, also on failure). Missing is VM_ENV with the
 * places tried; so is whatever keeps us from looking, which is never taken for missing. */
VmStatus vm_find_idx(const VmDataQuery *spec, const VmSource *k, VmSplit split, char **images,
                     char **labels, VmError *err);
/* The folder that holds train/, or an archive (free it). A place may be the archive itself. */
VmStatus vm_find_images(const VmDataQuery *spec, const VmSource *k, char **found, VmError *err);

#endif
