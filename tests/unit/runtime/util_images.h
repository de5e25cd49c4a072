/* Images, folders and archives made for tests. */
#ifndef VMOEC_TESTS_UNIT_RUNTIME_UTIL_IMAGES_H
#define VMOEC_TESTS_UNIT_RUNTIME_UTIL_IMAGES_H

#include <spng.h>
#include <turbojpeg.h>

#include "runtime/train/train.h"

typedef struct TiBytes {
    unsigned char *at; /* from malloc */
    size_t n;
} TiBytes;

typedef struct TiFile {
    const char *path; /* ending in /: a folder; starting with @: a link */
    TiBytes bytes;
} TiFile;

enum { TI_MAX_FILES = 64 };

/* rgb[h][w][3], a gradient that depends on seed; red is 10 + 40 seed. */
unsigned char *ti_gradient(int h, int w, unsigned seed);
/* type, depth: as in PNG's header. */
TiBytes ti_png_of(const void *pixels, int h, int w, int type, int depth);
/* Files of a gradient. sampling: TJSAMP_.. */
TiBytes ti_png(int h, int w, unsigned seed);
TiBytes ti_jpeg(int h, int w, unsigned seed, int sampling);
TiBytes ti_text(const char *s);

void ti_write_files(const char *dir, const TiFile *f, int n);
/* filter: ARCHIVE_FILTER_..; claim: size in the header of the last file, 0: its own. */
void ti_write_tar(const char *path, int filter, const TiFile *f, int n, int64_t claim);
/* All names with `top` before them. sizes: entries say how long they are before their contents. */
void ti_write_zip(const char *path, const char *top, const TiFile *f, int n, bool sizes);
void ti_free_files(const TiFile *f, int n);
/* Ten images of 6 x 5 in three classes whose bytewise order differs from that of their paths
 * ("a-b/x" < "a/x") and from a locale's. File i is the gradient of seed i. Returns their number. */
int ti_usual_files(TiFile *f);

/* An image folder or archive with the pixels as 0..1. */
VmDataQuery ti_spec(const char *path);
/* Opening fails with this status and a message with these words. */
void ti_refuse(const VmDataQuery *spec, VmStatus status, const char *words);

#endif
