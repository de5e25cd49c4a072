/* Damaged images and archives are refused or, where the damage does not show, read; nothing else.
 */
#include <archive.h>
#include <sys/resource.h>

#include "runtime/data/image.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

/* Decodes; returns the status, which is never the environment's fault. */
static VmStatus try_bytes(const unsigned char *bytes, size_t n, VmError *err) {
    unsigned char *copy = malloc(n ? n : 1),
                  *planes = NULL; /* its own block, so that overruns are seen */
    memcpy(copy, bytes, n);
    VmImageDecoder *d = vm_image_decoder_create();
    int64_t h, w;
    err->text[0] = '\0';
    VmStatus s = vm_image_open(d, "the-file", copy, n, &h, &w, err);
    if (!s && h * w > 1 << 20) s = vm_fail(err, VM_INPUT, "the-file: larger than this test wants");
    if (!s) {
        planes = malloc((size_t)(3 * h * w));
        s = vm_image_planes(d, 3, planes, err);
    }
    cr_assert(s == VM_OK || s == VM_INPUT, "%s", err->text);
    cr_assert(s == VM_OK || strstr(err->text, "the-file"), "%s", err->text);
    vm_image_decoder_destroy(d);
    free(planes);
    free(copy);
    return s;
}

Test(runtime_image_damage, cut_images_are_refused) {
    TiBytes kinds[] = {ti_jpeg(24, 40, 3, TJSAMP_420), ti_jpeg(9, 9, 1, TJSAMP_GRAY),
                       ti_png(24, 40, 3)};
    for (size_t k = 0; k < 3; k++) {
        VmError err;
        cr_assert_eq(try_bytes(kinds[k].at, kinds[k].n, &err), VM_OK, "%s", err.text);
        size_t end = kinds[k].n -
                     (k == 2 ? 4 : 0); /* the checksum of PNG's empty last chunk is not looked at */
        for (size_t cut = 0; cut < end; cut++)
            cr_assert_eq(try_bytes(kinds[k].at, cut, &err), VM_INPUT, "kind %zu cut at %zu of %zu",
                         k, cut, kinds[k].n);
        free(kinds[k].at);
    }
}

/* A JPEG without an image, or one that ends before its header, sets no sides in the decoder of the
 * library.
 */
Test(runtime_image_damage, a_jpeg_that_ends_before_its_header_is_damaged) {
    unsigned char b[3000] = {0xff, 0xd8, 0xff, 0xe1, 0xff, 0x00, 'E', 'x', 'i', 'f'};
    static const unsigned char none[4] = {0xff, 0xd8, 0xff, 0xd9};
    const struct {
        const unsigned char *at;
        size_t n;
    } cases[] = {{none, 4}, {b, 3000}, {b, 12}, {b, 4}};
    for (size_t i = 0; i < 4; i++) {
        VmImageDecoder *d = vm_image_decoder_create();
        VmError err;
        int64_t h, w;
        cr_assert_eq(vm_image_open(d, "x.jpg", cases[i].at, cases[i].n, &h, &w, &err), VM_INPUT);
        cr_assert(strncmp(err.text, "x.jpg: damaged JPEG: ", 21) == 0, "%s", err.text);
        vm_image_decoder_destroy(d);
    }
}

/* What the library of JPEG needs for a progressive image does not fit: that is not the image's
 * fault. */
Test(runtime_image_damage, out_of_memory_is_no_damage) {
#ifdef __SANITIZE_ADDRESS__
    cr_skip("the address sanitizer needs all of the address space");
#endif
    enum { SIDE = 2400 };
    unsigned char *p = calloc(SIDE * SIDE, 3), *out = NULL;
    unsigned long n = 0;
    tjhandle t = tjInitCompress();
    cr_assert(tjCompress2(t, p, SIDE, 0, SIDE, TJPF_RGB, &out, &n, TJSAMP_444, 50,
                          TJFLAG_PROGRESSIVE) == 0);
    tjDestroy(t);
    for (int small = 0; small < 2; small++) {
        VmImageDecoder *d = vm_image_decoder_create();
        VmError err = {.text = ""};
        int64_t h, w;
        cr_assert(vm_image_open(d, "x.jpg", out, n, &h, &w, &err) == VM_OK, "%s", err.text);
        if (small) { /* room for the result, which we allocate, and half of what the library does */
            long pages = 0;
            FILE *f = fopen("/proc/self/statm", "r");
            cr_assert(f && fscanf(f, "%ld", &pages) == 1);
            fclose(f);
            rlim_t room = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)SIDE * SIDE * 6;
            cr_assert(setrlimit(RLIMIT_AS, &(struct rlimit){room, room}) == 0);
        }
        VmStatus s = vm_image_planes(d, 3, p, &err);
        cr_assert_eq(s, small ? VM_ENV : VM_OK, "%s", err.text);
        cr_assert(!small || !strcmp(err.text, "x.jpg: out of memory"), "%s", err.text);
        vm_image_decoder_destroy(d);
    }
    tjFree(out);
    free(p);
}

Test(runtime_image_damage, damaged_images_do_no_harm) {
    TiBytes kinds[] = {ti_jpeg(24, 40, 3, TJSAMP_420), ti_png(24, 40, 3)};
    unsigned noise = 1;
    for (size_t k = 0; k < 2; k++) {
        int refused = 0;
        unsigned char *b = malloc(kinds[k].n);
        for (int round = 0; round < 3000; round++) {
            memcpy(b, kinds[k].at, kinds[k].n);
            for (int i = 0; i <= round % 3; i++) {
                noise = noise * 1103515245u + 12345u;
                b[(noise >> 8) % kinds[k].n] ^= (unsigned char)(1u << (noise >> 28) % 8);
            }
            VmError err;
            refused += try_bytes(b, kinds[k].n, &err) == VM_INPUT;
        }
        cr_assert(refused > 100, "%d refused", refused);
        free(b);
        free(kinds[k].at);
    }
}

Test(runtime_image_damage, damaged_archives_do_no_harm) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int files = ti_usual_files(f);
    static const int filters[] = {ARCHIVE_FILTER_NONE, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ};
    const char *whole = rt_path(dir, "whole"), *path = rt_path(dir, "x");
    unsigned noise = 1;
    for (int k = 0; k < 3; k++) {
        size_t n;
        ti_write_tar(whole, filters[k], f, files, 0);
        char *bytes = rt_read(whole, &n);
        int refused = 0;
        for (int round = 0; round < 300; round++) {
            char *b = malloc(n);
            memcpy(b, bytes, n);
            noise = noise * 1103515245u + 12345u;
            size_t at = (noise >> 4) % n;
            if (round % 2) b[at] ^= (char)(1u << round % 8);
            rt_write(path, b, round % 2 ? n : at);
            free(b);
            VmDataQuery spec = ti_spec(path);
            VmDataset *d[VM_SPLITS];
            VmError err;
            VmStatus s = vm_dataset_open_all(&spec, d, &err);
            cr_assert(s == VM_OK || s == VM_INPUT, "%d: %s", s, err.text);
            refused += s != VM_OK;
            vm_dataset_close(d[0]);
            vm_dataset_close(d[1]);
        }
        cr_assert(refused > 100, "filter %d: %d refused", filters[k], refused);
        free(bytes);
    }
    ti_free_files(f, files);
    rt_remove(dir);
}
