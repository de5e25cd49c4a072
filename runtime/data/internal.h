/* What the files of runtime/data share, one section per file. */
#ifndef VMOEC_RUNTIME_DATA_INTERNAL_H
#define VMOEC_RUNTIME_DATA_INTERNAL_H

#include <stdio.h>

#include "base/file.h"
#include "runtime/data/data.h"
#include "runtime/exec/internal.h"

/* ---- idx.c ----------------------------------------------------------------------------------- */

/* One IDX file of unsigned bytes, plain or gzip. */
typedef struct VmIdx {
    int rank;
    int64_t dim[3];
    uint8_t *data;
} VmIdx;
/* rank 3 (images) or 1 (labels). data is freed by the caller. */
/* Shape only; data is NULL. */
VmStatus vm_idx_header(const char *path, int rank, VmIdx *out, VmError *err);
VmStatus vm_idx_read(const char *path, int rank, VmIdx *out, VmError *err);

/* ---- resize.c -------------------------------------------------------------------------------- */

/* Pixels somewhere in memory: channel c of the pixel in row y, column x is
 * at[c * plane + y * down + x * across]. */
typedef struct VmImageView {
    const uint8_t *at;
    int64_t plane, down, across;
} VmImageView;

/* Bilinear with antialiasing, 8 bits: n planes of a view of h x w to dst[n][oh][ow]. False: out of
 * memory. */
bool vm_resize_view(const VmImageView *v, int64_t n, int64_t h, int64_t w, uint8_t *dst, int64_t oh,
                    int64_t ow);
/* The same of src[n][h][w]. */
bool vm_resize_u8(const uint8_t *src, int64_t n, int64_t h, int64_t w, uint8_t *dst, int64_t oh,
                  int64_t ow);

#endif
