/* Helpers shared by the runtime's tests: a folder of one's own, files, and tiny IDX data sets. */
#ifndef VMOEC_TESTS_UNIT_RUNTIME_RUNTIME_TEST_H
#define VMOEC_TESTS_UNIT_RUNTIME_RUNTIME_TEST_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "runtime/train/train.h"

/* A fresh folder; removed by rt_remove. */
static inline char *rt_folder(void) {
    char *dir = strdup("/tmp/vmoec-test-XXXXXX");
    cr_assert(mkdtemp(dir) != NULL);
    return dir;
}

static inline void rt_remove(char *dir) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    cr_assert(system(command) == 0);
    free(dir);
}

/* dir/name in one of a few rotating buffers. */
static inline const char *rt_path(const char *dir, const char *name) {
    static char buffer[8][512];
    static int next;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return memcpy(buffer[next++ % 8], path, sizeof path);
}

/* The folder and its parents. */
static inline bool rt_make_dirs(const char *path) {
    VmDir d;
    bool made = vm_dir_open(&d, path, true, NULL) == VM_OK;
    vm_dir_close(&d);
    return made;
}

static inline void rt_write(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    cr_assert(f != NULL);
    cr_assert(fwrite(data, 1, n, f) == n);
    cr_assert(fclose(f) == 0);
}

static inline char *rt_read(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    cr_assert(f != NULL, "no file %s", path);
    char *data = calloc(1, 1 << 20);
    *n = fread(data, 1, (1 << 20) - 1, f);
    fclose(f);
    return data;
}

/* Writes an IDX file (gzip when the name ends in .gz). rank 1 or 3; body_bytes of body. */
static inline void rt_write_idx(const char *path, int rank, const int *dim,
                                const unsigned char *body, size_t body_bytes) {
    unsigned char h[16] = {0, 0, 8, (unsigned char)rank};
    for (int i = 0; i < rank; i++) {
        for (int k = 0; k < 4; k++) h[4 + 4 * i + k] = (unsigned char)(dim[i] >> (24 - 8 * k));
    }
    size_t n = strlen(path), header = 4 + 4 * (size_t)rank;
    bool packed = n > 3 && strcmp(path + n - 3, ".gz") == 0;
    gzFile f = gzopen(path, packed ? "wb" : "wbT");
    cr_assert(f != NULL);
    cr_assert(gzwrite(f, h, (unsigned)header) == (int)header);
    if (body_bytes) cr_assert(gzwrite(f, body, (unsigned)body_bytes) == (int)body_bytes);
    cr_assert(gzclose(f) == Z_OK);
}

/* n images of 4 x 4 whose bright row says the class (0..2), with some noise. */
static inline void rt_write_split(const char *dir, const char *split, int n) {
    unsigned char *image = calloc((size_t)n, 16), *label = calloc((size_t)n, 1);
    char name[64];
    unsigned noise = 12345;
    for (int i = 0; i < n; i++) {
        label[i] = (unsigned char)(i * 7 % 3);
        for (int j = 0; j < 16; j++) {
            noise = noise * 1103515245u + 12345u;
            image[16 * i + j] =
                (unsigned char)((j / 4 == label[i] ? 150 : 30) + (noise >> 16) % 60);
        }
    }
    snprintf(name, sizeof name, "%s-images-idx3-ubyte.gz", split);
    rt_write_idx(rt_path(dir, name), 3, (int[]){n, 4, 4}, image, (size_t)n * 16);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
    rt_write_idx(rt_path(dir, name), 1, (int[]){n}, label, (size_t)n);
    free(image);
    free(label);
}

#endif
