/* Image folders and archives: which bytes they give in which order, and what is refused with which
 * words. */
#include <archive.h>

#include "runtime/data/image.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

/* ---- reading ---- */

/* All images as bytes (free them). */
static unsigned char *bytes_of(const VmDataset *d, size_t *n, int32_t *label) {
    int64_t c, h, w;
    vm_dataset_shape(d, &c, &h, &w, NULL);
    size_t one = (size_t)(c * h * w), size = (size_t)vm_dataset_size(d);
    float *image = malloc(one * sizeof *image);
    unsigned char *out = malloc(one * size);
    for (size_t i = 0; i < size; i++) {
        vm_dataset_batch(d, (int64_t[]){(int64_t)i}, 1, image, &label[i]);
        for (size_t j = 0; j < one; j++)
            out[i * one + j] = (unsigned char)(image[j] * 255.0f + 0.5f);
    }
    free(image);
    *n = one * size;
    return out;
}

static void expect_planes(const unsigned char *planes, const unsigned char *rgb, int pixels,
                          int slack) {
    for (int i = 0; i < pixels; i++) {
        for (int c = 0; c < 3; c++) {
            int got = planes[c * pixels + i], want = rgb[3 * i + c];
            cr_assert(abs(got - want) <= slack, "channel %d of pixel %d is %d, expected %d", c, i,
                      got, want);
        }
    }
}

Test(runtime_images, order_labels_and_pixels) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    ti_write_files(dir, f, n);
    VmDataQuery spec = ti_spec(dir);
    VmDataset *d[VM_SPLITS];
    VmError err;
    cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
    static const int order[2][7] = {{4, 3, 0, 1, 5, 6, 2}, {9, 8, 7}};
    static const int labels[2][7] = {{0, 0, 1, 1, 1, 2, 2}, {0, 1, 2}};
    for (int s = 0; s < 2; s++) {
        int64_t c, h, w, classes;
        vm_dataset_shape(d[s], &c, &h, &w, &classes);
        cr_assert(c == 3 && h == 6 && w == 5 && classes == 3);
        cr_assert_eq(vm_dataset_size(d[s]), s ? 3 : 7);
        cr_assert_null(vm_dataset_warning(d[s]));
        int32_t label[7];
        size_t bytes;
        unsigned char *all = bytes_of(d[s], &bytes, label);
        for (int i = 0; i < (s ? 3 : 7); i++) {
            int k = order[s][i];
            unsigned char *want = ti_gradient(6, 5, (unsigned)k);
            bool is_png = strstr(f[k].path, ".png") || strstr(f[k].path, ".PNG");
            expect_planes(all + i * 90, want, 30, is_png ? 0 : 8);
            cr_assert_eq(label[i], labels[s][i], "%s", f[k].path);
            free(want);
        }
        free(all);
        vm_dataset_close(d[s]);
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

/* The bytes of both splits with their labels, as one checksum. */
static unsigned long checksum(const VmDataQuery *spec) {
    VmDataset *d[VM_SPLITS], *one;
    VmError err;
    unsigned long sum = 0;
    cr_assert(vm_dataset_open_all(spec, d, &err) == VM_OK, "%s", err.text);
    for (int s = 0; s < 2; s++) {
        int32_t *label = calloc((size_t)vm_dataset_size(d[s]), sizeof *label);
        size_t n, m;
        unsigned char *all = bytes_of(d[s], &n, label);
        sum = crc32(crc32(sum, all, (unsigned)n), (unsigned char *)label,
                    (unsigned)vm_dataset_size(d[s]) * 4);
        cr_assert(vm_dataset_open(spec, (VmSplit)s, 0, &one, &err) == VM_OK, "%s", err.text);
        unsigned char *again = bytes_of(one, &m, label);
        cr_assert(n == m && memcmp(all, again, n) == 0, "a split alone is the same");
        vm_dataset_close(one);
        vm_dataset_close(d[s]);
        free(all);
        free(again);
        free(label);
    }
    return sum;
}

Test(runtime_images, archives_give_what_folders_give) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    ti_write_files(rt_path(dir, "set"), f, n);
    VmDataQuery spec = ti_spec(rt_path(dir, "set"));
    unsigned long want = checksum(&spec);
    static const struct {
        const char *name;
        int filter;
    } kinds[] = {{"x.tar", ARCHIVE_FILTER_NONE},
                 {"x.tar.gz", ARCHIVE_FILTER_GZIP},
                 {"x.tar.bz2", ARCHIVE_FILTER_BZIP2},
                 {"x.tar.xz", ARCHIVE_FILTER_XZ},
                 {"x.tar.zst", ARCHIVE_FILTER_ZSTD}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        TiFile moved[TI_MAX_FILES]; /* another order for each */
        for (int i = 0; i < n; i++) moved[i] = f[(i * 3 + (int)k) % n];
        char path[512];
        snprintf(path, sizeof path, "%s/%s", dir, kinds[k].name);
        ti_write_tar(path, kinds[k].filter, moved, n, 0);
        for (int threads = 1; threads <= 3; threads++) {
            spec.dir = path;
            spec.threads = threads;
            cr_assert_eq(checksum(&spec), want, "%s with %d threads", kinds[k].name, threads);
        }
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

/* More images than the first room, in an order that moves nearly all of them. */
Test(runtime_images, many_large_images_in_reverse) {
    enum { SIDE = 1024, COUNT = 27 };
    char *dir = rt_folder(), *names = calloc(COUNT, 32);
    TiFile f[COUNT];
    unsigned char *p = calloc(SIDE * SIDE, 3);
    for (int i = 0; i < COUNT; i++) {
        memset(p, i * 9, (size_t)SIDE * SIDE * 3);
        snprintf(names + 32 * i, 32, "%s/c/%03d.png", i < COUNT - 1 ? "train" : "val", COUNT - i);
        f[i] = (TiFile){names + 32 * i, ti_png_of(p, SIDE, SIDE, SPNG_COLOR_TYPE_TRUECOLOR, 8)};
    }
    const char *path = rt_path(dir, "x.tar");
    ti_write_tar(path, ARCHIVE_FILTER_NONE, f, COUNT, 0);
    VmDataQuery spec = ti_spec(path);
    VmDataset *d[VM_SPLITS];
    VmError err;
    cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
    cr_assert(vm_dataset_size(d[0]) == COUNT - 1 && vm_dataset_size(d[1]) == 1);
    float *image = malloc(sizeof(float) * SIDE * SIDE * 3);
    for (int64_t i = 0; i < COUNT - 1; i++) {
        vm_dataset_batch(d[0], &i, 1, image, NULL);
        for (int j = 0; j < 3; j++)
            cr_assert_eq((int)(image[j * SIDE * SIDE + j] * 255.0f + 0.5f),
                         (int)(COUNT - 2 - i) * 9);
    }
    free(image);
    free(p);
    vm_dataset_close(d[0]);
    vm_dataset_close(d[1]);
    ti_free_files(f, COUNT);
    free(names);
    rt_remove(dir);
}

Test(runtime_images, kinds_of_png) {
    unsigned char grey[4] = {0, 80, 160, 255}, rgba[16], index[4] = {3, 2, 1, 0};
    unsigned short deep[4] = {0x1234, 0xffff, 0x0080, 0xab00}, deeper[16];
    for (int i = 0; i < 16; i++) rgba[i] = (unsigned char)(i * 15);
    for (int i = 0; i < 16; i++)
        deeper[i] = (unsigned short)(i * 15 * 257 + (i ? i % 3 * 128 - 128 : 0));
    const struct {
        const void *pixels;
        int type, depth;
        unsigned char want[12]; /* planes */
    } cases[] = {
        {grey, SPNG_COLOR_TYPE_GRAYSCALE, 8, {0, 80, 160, 255, 0, 80, 160, 255, 0, 80, 160, 255}},
        {deep,
         SPNG_COLOR_TYPE_GRAYSCALE,
         16,
         {0x12, 255, 0, 0xaa, 0x12, 255, 0, 0xaa, 0x12, 255, 0, 0xaa}},
        {rgba,
         SPNG_COLOR_TYPE_TRUECOLOR_ALPHA,
         8,
         {0, 60, 120, 180, 15, 75, 135, 195, 30, 90, 150, 210}},
        {deeper, /* 128 below a byte's own value still rounds to it; so does 128 above */
         SPNG_COLOR_TYPE_TRUECOLOR_ALPHA,
         16,
         {0, 60, 120, 180, 15, 75, 135, 195, 30, 90, 150, 210}},
        {deeper,
         SPNG_COLOR_TYPE_TRUECOLOR,
         16,
         {0, 45, 90, 135, 15, 60, 105, 150, 30, 75, 120, 165}},
        {deeper,
         SPNG_COLOR_TYPE_GRAYSCALE_ALPHA,
         16,
         {0, 30, 60, 90, 0, 30, 60, 90, 0, 30, 60, 90}},
        {rgba, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, 8, {0, 30, 60, 90, 0, 30, 60, 90, 0, 30, 60, 90}},
        {index, SPNG_COLOR_TYPE_INDEXED, 8, {150, 100, 50, 0, 7, 7, 7, 7, 252, 253, 254, 255}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        TiBytes b = ti_png_of(cases[k].pixels, 2, 2, cases[k].type, cases[k].depth);
        VmImageDecoder *d = vm_image_decoder_create();
        int64_t h, w;
        VmError err;
        unsigned char planes[12];
        cr_assert(vm_image_open(d, "x", b.at, b.n, &h, &w, &err) == VM_OK, "case %zu: %s", k,
                  err.text);
        cr_assert(h == 2 && w == 2);
        cr_assert(vm_image_planes(d, 3, planes, &err) == VM_OK, "case %zu: %s", k, err.text);
        for (int i = 0; i < 12; i++)
            cr_assert_eq(planes[i], cases[k].want[i], "case %zu, byte %d", k, i);
        vm_image_decoder_destroy(d);
        free(b.at);
    }
}

Test(runtime_images, grey_and_resized) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/c/0.png", ti_png(8, 8, 1)},
                  {"train/c/1.png", ti_png(9, 4, 2)},
                  {"train/c/2.jpg", ti_jpeg(5, 5, 3, TJSAMP_GRAY)},
                  {"test/c/0.png", ti_png(16, 3, 4)}};
    ti_write_files(dir, f, 4);
    VmDataQuery spec = ti_spec(dir);
    ti_refuse(&spec, VM_INPUT, "train/c/1.png is 9 x 4 but ");
    ti_refuse(&spec, VM_INPUT, "train/c/0.png is 8 x 8; images of different sizes need `resize`");
    for (int64_t channels = 1; channels <= 3; channels += 2) {
        spec.channels = channels;
        spec.resize = 8;
        VmDataset *d;
        VmError err;
        cr_assert(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
        cr_assert_eq(vm_dataset_size(d), 3);
        cr_assert_eq(vm_dataset_bytes(d), 3 * (64 * channels + 2));
        int32_t label[3];
        size_t n;
        unsigned char *all = bytes_of(d, &n, label), planes[3 * 36], want[3 * 64];
        unsigned char *rgb = ti_gradient(9, 4, 2);
        for (int i = 0; i < 36; i++) {
            const unsigned char *q = rgb + 3 * i;
            for (int c = 0; c < 3; c++) planes[c * 36 + i] = q[c];
            if (channels == 1)
                planes[i] = (unsigned char)(0.299 * q[0] + 0.587 * q[1] + 0.114 * q[2] + 0.5);
        }
        cr_assert(vm_resize_u8(planes, channels, 9, 4, want, 8, 8));
        for (int i = 0; i < 64 * channels; i++)
            cr_assert(abs(all[64 * channels + i] - want[i]) <= (channels == 1), "byte %d", i);
        if (channels == 3) { /* a grey JPEG has three equal channels */
            cr_assert(memcmp(all + 2 * 192, all + 2 * 192 + 64, 64) == 0);
            cr_assert(memcmp(all + 2 * 192, all + 2 * 192 + 128, 64) == 0);
        }
        free(rgb);
        free(all);
        vm_dataset_close(d);
    }
    ti_free_files(f, 4);
    rt_remove(dir);
}

Test(runtime_images, normalised_per_channel) {
    char *dir = rt_folder();
    unsigned char rgb[3] = {0, 51, 255};
    TiFile f[] = {{"train/c/0.png", ti_png_of(rgb, 1, 1, SPNG_COLOR_TYPE_TRUECOLOR, 8)}};
    ti_write_files(dir, f, 1);
    VmDataQuery spec = ti_spec(dir);
    for (int c = 0; c < 3; c++) spec.mean[c] = 0.1 * (c + 1), spec.std[c] = 0.5 * (c + 1);
    VmDataset *d;
    VmError err;
    cr_assert(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
    float image[3];
    vm_dataset_batch(d, (int64_t[]){0}, 1, image, NULL);
    for (int c = 0; c < 3; c++) {
        float mean = (float)spec.mean[c], std = (float)spec.std[c];
        cr_assert(image[c] == ((float)rgb[c] / 255.0f - mean) / std, "channel %d", c);
    }
    vm_dataset_close(d);
    spec.std[2] = 0;
    ti_refuse(&spec, VM_INPUT, "std must be above 0");
    spec.channels = 2;
    ti_refuse(&spec, VM_INPUT, "channels is 3 or 1, not 2");
    ti_free_files(f, 1);
    rt_remove(dir);
}

/* ---- what else lies about ---- */

Test(runtime_images, skips_what_is_no_image) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/c/0.png", ti_png(2, 2, 0)},    {"train/c/.hidden.png", ti_text("x")},
                  {"train/.thumbs/1.png", ti_text("x")}, {"test/c/1.png", ti_png(2, 2, 1)},
                  {"README.md", ti_text("about")},       {"other/c/1.png", ti_text("x")},
                  {"train/c/notes.txt", ti_text("x")},   {"train/list.png", ti_text("x")},
                  {"test/c/deeper/1.txt", ti_text("x")}, {"train/c/a\nb.png", ti_text("x")}};
    int n = sizeof f / sizeof f[0];
    ti_write_files(rt_path(dir, "set"), f, n);
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, n, 0);
    for (int k = 0; k < 2; k++) {
        VmDataQuery spec = ti_spec(k ? tar : set);
        VmDataset *d[VM_SPLITS];
        VmError err;
        cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
        cr_assert(vm_dataset_size(d[0]) == 1 && vm_dataset_size(d[1]) == 1);
        const char *warning = vm_dataset_warning(d[0]);
        cr_assert_not_null(warning);
        cr_assert(strstr(warning, "skipped 4 files"), "%s", warning);
        cr_assert_null(strchr(warning, '\n'));
        vm_dataset_close(d[0]);
        vm_dataset_close(d[1]);
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

Test(runtime_images, says_once_that_16_bits_are_rounded) {
    char *dir = rt_folder();
    unsigned short deep[12] = {0};
    TiFile f[] = {{"train/c/0.png", ti_png(2, 2, 0)},
                  {"train/c/1.png", ti_png_of(deep, 2, 2, SPNG_COLOR_TYPE_TRUECOLOR, 16)},
                  {"test/c/0.png", ti_png_of(deep, 2, 2, SPNG_COLOR_TYPE_TRUECOLOR, 16)}};
    ti_write_files(dir, f, 3);
    VmDataQuery spec = ti_spec(dir);
    VmDataset *d[VM_SPLITS];
    VmError err;
    cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
    const char *warning = vm_dataset_warning(d[VM_TEST]);
    cr_assert(warning && !strncmp(warning, "2 PNG images of ", 16) &&
                  strstr(warning, "have 16 bits"),
              "%s", warning);
    vm_dataset_close(d[0]);
    vm_dataset_close(d[1]);
    ti_free_files(f, 3);
    rt_remove(dir);
}

Test(runtime_images, val_serves_where_there_is_no_test) {
    char *dir = rt_folder();
    TiFile f[] = {{"./val/c/0.png", ti_png(2, 2, 0)},
                  {"./train/c/1.png", ti_png(2, 2, 1)},
                  {"./test/c/0.png", ti_png(2, 2, 2)}};
    for (int k = 0; k < 4; k++) { /* folder and archive, without test/ and with it */
        char path[512];
        int n = k % 2 ? 3 : 2;
        snprintf(path, sizeof path, "%s/%d", dir, k);
        if (k < 2)
            ti_write_files(path, f, n);
        else
            ti_write_tar(path, ARCHIVE_FILTER_NONE, f, n, 0);
        VmDataQuery spec = ti_spec(path);
        VmDataset *d;
        VmError err;
        cr_assert(vm_dataset_open(&spec, VM_TEST, 0, &d, &err) == VM_OK, "%s", err.text);
        float image[12];
        vm_dataset_batch(d, (int64_t[]){0}, 1, image, NULL);
        cr_assert_eq((int)(image[0] * 255.0f + 0.5f), k % 2 ? 90 : 10);
        cr_assert_eq(vm_dataset_size(d), 1);
        vm_dataset_close(d);
    }
    ti_free_files(f, 3);
    rt_remove(dir);
}

Test(runtime_images, measured_as_opened) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *tar = rt_path(dir, "x.tar.gz"), *set = rt_path(dir, "set");
    ti_write_files(set, f, n);
    ti_write_tar(tar, ARCHIVE_FILTER_GZIP, f, n, 0);
    for (int k = 0; k < 4; k++) {
        VmDataQuery spec = ti_spec(k % 2 ? tar : set);
        spec.resize = k < 2 ? 0 : 9;
        VmDataSize size[VM_SPLITS];
        VmDataset *d[VM_SPLITS];
        VmError err;
        cr_assert(vm_dataset_measure(&spec, NULL, size, NULL, &err) == VM_OK, "%s", err.text);
        cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
        for (int s = 0; s < 2; s++) {
            cr_assert_eq(size[s].bytes, vm_dataset_bytes(d[s]));
            cr_assert_eq(size[s].images, vm_dataset_size(d[s]));
            vm_dataset_close(d[s]);
        }
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

/* Images so large that they do not wait together: of an archive that is only measured, headers are
 * all that is wanted. */
Test(runtime_images, an_archive_of_large_images_is_measured) {
    enum { SIDE = 320 };
    static const char *const names[] = {"train/a/1.png", "test/a/1.png", "val/a/1.png"};
    static unsigned char noise[SIDE * SIDE * 3];
    unsigned x = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)((x = x * 1103515245u + 12345u) >> 16);
    char *dir = rt_folder();
    TiFile f[3];
    for (int i = 0; i < 3; i++)
        f[i] = (TiFile){names[i], ti_png_of(noise, SIDE, SIDE, SPNG_COLOR_TYPE_TRUECOLOR, 8)};
    ti_write_tar(rt_path(dir, "x.tar"), ARCHIVE_FILTER_NONE, f, 3, 0);
    VmDataQuery spec = ti_spec(rt_path(dir, "x.tar"));
    VmDataSize size[VM_SPLITS];
    VmError err;
    cr_assert(vm_dataset_measure(&spec, NULL, size, NULL, &err) == VM_OK, "%s", err.text);
    for (int i = 0; i < VM_SPLITS; i++) {
        cr_assert_eq(size[i].images, 1);
        cr_assert_eq(size[i].bytes, SIDE * SIDE * 3 + 2);
    }
    ti_free_files(f, 3);
    rt_remove(dir);
}

/* The same from a folder and an archive, whatever images become. */
Test(runtime_images, looked_at_without_decoding) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_files(set, f, n);
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, n, 0);
    for (int k = 0; k < 4; k++) {
        VmDataQuery spec = ti_spec(k % 2 ? tar : set);
        spec.resize = k < 2 ? 0 : 9;
        VmDataLook look;
        VmError err;
        cr_assert(vm_dataset_look(&spec, &look, &err) == VM_OK, "%s", err.text);
        cr_assert_eq(look.images[VM_TRAIN], 7);
        cr_assert_eq(look.images[VM_TEST], 3);
        cr_assert_eq(look.classes, 3);
        cr_assert(memcmp(look.names, "B\0a\0a-b", 8) == 0);
        cr_assert_eq(look.shortest, 5);
        free(look.names);
    }
    VmDataQuery spec = ti_spec(rt_path(dir, "nowhere"));
    VmDataLook look;
    VmError err;
    cr_assert_eq(vm_dataset_look(&spec, &look, &err), VM_ENV);
    cr_assert_null(look.names);
    ti_free_files(f, n);
    rt_remove(dir);
}

/* ---- refusals ---- */

/* The same files as folder (if they can be) and archive. */
static void refuse_files(const TiFile *f, int n, const char *words) {
    char *dir = rt_folder();
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, n, 0);
    VmDataQuery spec = ti_spec(tar);
    ti_refuse(&spec, VM_INPUT, words);
    ti_write_files(set, f, n);
    spec.dir = set;
    ti_refuse(&spec, VM_INPUT, words);
    ti_free_files(f, n);
    rt_remove(dir);
}

#define REFUSE(words, ...)                                                                         \
    do {                                                                                           \
        const TiFile files[] = {__VA_ARGS__};                                                      \
        refuse_files(files, (int)(sizeof files / sizeof files[0]), words);                         \
    } while (0)

Test(runtime_images, refuses_wrong_sets) {
    REFUSE("no class folders in train/", {"train/", {0}}, {"train/0.png", ti_png(2, 2, 0)},
           {"test/c/0.png", ti_png(2, 2, 0)});
    REFUSE("class 'd' of test/ is not one of the 1 of train/", {"train/c/0.png", ti_png(2, 2, 0)},
           {"test/d/0.png", ti_png(2, 2, 0)});
    REFUSE("class 'd' of train/ has no images", {"train/c/0.png", ti_png(2, 2, 0)},
           {"train/d/", {0}}, {"test/c/0.png", ti_png(2, 2, 0)});
    REFUSE("no images in test/", {"train/c/0.png", ti_png(2, 2, 0)}, {"test/c/", {0}});
    REFUSE("train/c/0.png: neither a JPEG nor a PNG", {"train/c/0.png", ti_text("GIF89a")},
           {"test/c/0.png", ti_png(2, 2, 0)});
    REFUSE("train/c/0.jpg: neither a JPEG nor a PNG image: it is empty",
           {"train/c/0.jpg", ti_text("")}, {"test/c/0.png", ti_png(2, 2, 0)});
    REFUSE("test/c/1.png is 2 x 3 but", {"train/c/0.png", ti_png(2, 2, 0)},
           {"test/c/0.png", ti_png(2, 2, 0)}, {"test/c/1.png", ti_png(2, 3, 0)});
    REFUSE("train/c/1.png is 1 x 4097 but", {"train/c/0.png", ti_png(2, 2, 0)},
           {"train/c/1.png", ti_png(1, 4097, 0)}, {"test/c/0.png", ti_png(2, 2, 0)});
}

Test(runtime_images, refuses_wrong_archives) {
    char *dir = rt_folder();
    const char *tar = rt_path(dir, "x.tar");
    VmDataQuery spec = ti_spec(tar);
    TiFile twice[] = {{"train/c/0.png", ti_png(2, 2, 0)},
                      {"train/c/0.png", ti_png(2, 2, 0)},
                      {"test/c/0.png", ti_png(2, 2, 0)}};
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, twice, 3, 0);
    ti_refuse(&spec, VM_INPUT, "train/c/0.png is there twice");
    TiFile link[] = {{"train/c/0.png", ti_png(2, 2, 0)}, {"@train/c/1.png", {0}}};
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, link, 2, 0);
    ti_refuse(&spec, VM_INPUT, "train/c/1.png is a link");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, twice, 1, 1ll << 40);
    ti_refuse(&spec, VM_INPUT, "damaged at or behind the entry train/c/0.png");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, twice, 1, 60 << 20);
    ti_refuse(&spec, VM_INPUT, "x.tar: no tar or zip archive, or damaged");
    rt_write(tar, "this is text", 12);
    ti_refuse(&spec, VM_INPUT, "x.tar: no tar or zip archive, or damaged");
    spec.dir = rt_path(dir, "missing");
    ti_refuse(&spec, VM_ENV, "missing/train/");
    ti_refuse(&spec, VM_ENV, "or an archive");
    spec.dir = NULL;
    ti_refuse(&spec, VM_ENV, "'image_folder' not found");
    ti_free_files(twice, 3);
    ti_free_files(link, 2);
    rt_remove(dir);
}

/* 20 000 images of 4096 x 4096 from a small archive would take a terabyte. */
Test(runtime_images, refuses_what_cannot_be_held) {
    VmImageSource src = {.path = "set", .channels = 3};
    VmImageLoader l = {.src = &src};
    VmError err;
    l.store[0].form = (VmImageForm){.channels = 3, .height = VM_MAX_SIDE, .width = VM_MAX_SIDE};
    cr_assert_eq(vm_image_room(&l, 0, 20000, 20000, &err), VM_ENV);
    cr_assert(strstr(err.text, "20000 images of 3 x 4096 x 4096 take 937.50 GiB"), "%s", err.text);
    cr_assert_eq(vm_image_room(&l, 0, 1, 20000, &err), VM_OK, "a wish is cut");
    free(l.store[0].image);
}

Test(runtime_images, names_the_first_bad_image) {
    char *dir = rt_folder(), names[TI_MAX_FILES][32];
    TiFile f[TI_MAX_FILES];
    for (int i = 0; i < TI_MAX_FILES; i++) {
        snprintf(names[i], sizeof names[i], "%s/c/%02d.png",
                 i < TI_MAX_FILES - 1 ? "train" : "test", i);
        f[i] = (TiFile){names[i], i % 20 == 19 ? ti_text("bad") : ti_png(2, 2, 0)};
    }
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, TI_MAX_FILES, 0);
    ti_write_files(set, f, TI_MAX_FILES);
    VmDataQuery spec = ti_spec(set);
    for (int round = 0; round < 20; round++) {
        spec.dir = round % 2 ? tar : set;
        ti_refuse(&spec, VM_INPUT, "train/c/19.png");
    }
    ti_free_files(f, TI_MAX_FILES);
    rt_remove(dir);
}

/* ---- real images ---- */

/* Checksums of what Pillow 13 gives (Image.open().convert("RGB"), planes, each image followed by
 * its label as 4 bytes), also resized with BILINEAR. */
Test(runtime_images, cifar10_as_pillow_reads_it, .timeout = 60) {
    const char *root = getenv("VMOE_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/cifar10/cifar10-jpeg.tar.xz", root ? root : "");
    if (!root || access(path, R_OK) != 0)
        cr_skip_test("no cifar10/cifar10-jpeg.tar.xz in VMOE_DATA");
    static const unsigned want[2][2] = {{0xffd3c78b, 0x30969d64}, {0x9b1b8135, 0xe52c1039}};
    for (int k = 0; k < 2; k++) {
        VmDataQuery spec = {.kind = VM_data_cifar10, .resize = k ? 36 : 0, .std = {1, 1, 1}};
        VmDataset *d[VM_SPLITS];
        VmError err;
        cr_assert(vm_dataset_open_all(&spec, d, &err) == VM_OK, "%s", err.text);
        for (int s = 0; s < 2; s++) {
            cr_assert_eq(vm_dataset_size(d[s]), s ? 10000 : 50000);
            cr_assert_null(vm_dataset_warning(d[s]));
            int32_t *label = calloc((size_t)vm_dataset_size(d[s]), sizeof *label);
            size_t n, one = k ? 3 * 36 * 36 : 3 * 32 * 32;
            unsigned char *all = bytes_of(d[s], &n, label);
            unsigned long sum = 0;
            for (size_t i = 0; i < n / one; i++)
                sum =
                    crc32(crc32(sum, all + i * one, (unsigned)one), (unsigned char *)&label[i], 4);
            cr_assert_eq((unsigned)sum, want[k][s], "split %d, resize %d: %08lx", s, k, sum);
            free(all);
            free(label);
            vm_dataset_close(d[s]);
        }
    }
}
