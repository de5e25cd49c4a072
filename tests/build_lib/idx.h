/* Reads IDX files, for programs that use a built library: all images and labels of one split. */
#ifndef VMOEC_TESTS_BUILD_LIB_IDX_H
#define VMOEC_TESTS_BUILD_LIB_IDX_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Set {
    int64_t images, size; /* size: bytes of one */
    uint8_t *image;       /* [images][size] */
    int32_t *label;
} Set;

static inline int64_t idx_number(FILE *f) {
    int64_t x = 0;
    for (int i = 0; i < 4; i++) x = x << 8 | fgetc(f);
    return x;
}

static inline FILE *idx_open(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(3);
    }
    return f;
}

/* which: "train" or "t10k" */
static inline Set idx_read(const char *folder, const char *which) {
    char name[64];
    Set s = {0, 0, NULL, NULL};
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", which);
    FILE *f = idx_open(folder, name);
    (void)idx_number(f);
    s.images = idx_number(f);
    s.size = idx_number(f);
    s.size *= idx_number(f);
    s.image = (uint8_t *)malloc((size_t)(s.images * s.size));
    s.label = (int32_t *)malloc((size_t)s.images * sizeof *s.label);
    if (fread(s.image, (size_t)s.size, (size_t)s.images, f) != (size_t)s.images) exit(3);
    fclose(f);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", which);
    f = idx_open(folder, name);
    (void)idx_number(f);
    (void)idx_number(f);
    for (int64_t i = 0; i < s.images; i++) s.label[i] = fgetc(f);
    fclose(f);
    return s;
}

static inline void idx_free(Set *s) {
    free(s->image);
    free(s->label);
}

#endif
