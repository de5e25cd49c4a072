/* Decoded images that are kept on disk. The input says how their file is changed (fuzz_change),
 * behind a byte whose first bit says whether it gets the checksums that fit it then. Without them
 * the images are those of the data set, whatever became of the file; with them whatever is read is
 * refused or an image. */
#include "tests/fuzz/target.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <spng.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "recipe/recipe.h"
#include "runtime/data/image.h"

/* LOST_AT, TAIL_SUM_AT, SELF_AT: in the header of image_disk.c. */
enum {
    IMAGES = 2,
    PIXELS = 4,
    HEADER = 80,
    LOST_AT = 32,
    TAIL_SUM_AT = 48,
    SELF_AT = 64,
    TAIL = 4096 + IMAGES * PIXELS,
    MOST = 1 << 16
};

typedef struct File {
    size_t n;
    uint8_t at[MOST];
} File;

static char kept[PATH_MAX]; /* the file of decoded images; nftw has no context */
static File was;            /* as it was made */

/* ---- the data set ---------------------------------------------------------------------------- */

static void pixels_of(int image, uint8_t to[PIXELS]) {
    for (int i = 0; i < PIXELS; i++) to[i] = (uint8_t)(100 * image + 20 * i);
}

static void put_image(int image) {
    uint8_t pixels[PIXELS];
    char name[64];
    size_t n;
    int bad = 0;
    pixels_of(image, pixels);
    spng_ctx *c = spng_ctx_new(SPNG_CTX_ENCODER);
    FUZZ_CHECK(c != NULL, "out of memory");
    struct spng_ihdr head = {.width = 2, .height = 2, .bit_depth = 8};
    bad |= spng_set_option(c, SPNG_ENCODE_TO_BUFFER, 1) | spng_set_ihdr(c, &head);
    bad |= spng_encode_image(c, pixels, PIXELS, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    void *png = spng_get_png_buffer(c, &n, &bad);
    FUZZ_CHECK(!bad, "%s", spng_strerror(bad));
    snprintf(name, sizeof name, "set/train/a/%d.png", image);
    fuzz_put(name, png, n);
    free(png);
    spng_ctx_free(c);
}

static void make_folder(const char *name) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    FUZZ_CHECK(mkdir(path, 0700) == 0 || errno == EEXIST, "%s: %s", path, strerror(errno));
}

static VmStatus read_set(VmImages *train, VmError *err) {
    char place[PATH_MAX + 64], cache[PATH_MAX + 64];
    VmImagesInfo info;
    snprintf(place, sizeof place, "%s/set", fuzz_folder());
    snprintf(cache, sizeof cache, "%s/cache", fuzz_folder());
    VmImageSource src = {.path = place,
                         .channels = 1,
                         .cache = VM_data_cache_disk,
                         .cache_dir = cache,
                         .skip = true,
                         .threads = 1};
    VmStatus s = vm_images_read(&src, (VmImages *[]){train, NULL, NULL}, &info, err);
    free(info.names);
    return s;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int meet(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)ftw;
    if (type == FTW_F && strstr(path, "/cache/")) snprintf(kept, sizeof kept, "%s", path);
    return 0;
}

static void make(void) {
    VmImages train;
    VmError err;
    const char *const folder[] = {"set", "set/train", "set/train/a"};
    for (int i = 0; i < 3; i++) make_folder(folder[i]);
    for (int i = 0; i < IMAGES; i++) put_image(i);
    FUZZ_CHECK(!read_set(&train, &err), "%s", err.text);
    vm_images_free(&train);
    kept[0] = '\0';
    FUZZ_CHECK(nftw(fuzz_folder(), meet, 8, FTW_PHYS) == 0 && kept[0], "nothing was kept");
    FILE *f = fopen(kept, "rb");
    FUZZ_CHECK(f != NULL, "%s", kept);
    was.n = fread(was.at, 1, sizeof was.at, f);
    fclose(f);
    FUZZ_CHECK(was.n > TAIL && was.n < MOST, "it has %zu bytes", was.n);
}

static void put_sum(uint8_t *to, VmHash h) {
    memcpy(to, (uint64_t[]){h.lo, h.hi}, 16);
}

static void mend_checksums(File *f) {
    int64_t lost = 0;
    if (f->n < TAIL) return;
    memcpy(&lost, f->at + LOST_AT, sizeof lost);
    if (lost >= 0 && lost <= IMAGES) {
        size_t n = was.n - TAIL + (size_t)lost * 8;
        if (n <= f->n - TAIL) put_sum(f->at + TAIL_SUM_AT, vm_hash((VmHash){0}, f->at + TAIL, n));
    }
    memset(f->at + SELF_AT, 0, 16);
    put_sum(f->at + SELF_AT, vm_hash((VmHash){0}, f->at, HEADER));
}

static void put(const File *x) {
    FILE *f = fopen(kept, "wb");
    FUZZ_CHECK(f && fwrite(x->at, 1, x->n, f) == x->n && fclose(f) == 0, "%s", kept);
}

/* ---- what is read ---------------------------------------------------------------------------- */

static void check_image(const VmImages *set, VmImageDecoder *d, int i, bool mended) {
    uint8_t got[PIXELS], want[PIXELS];
    VmError err;
    VmStatus s = set->files->ops->read(set->files, d, i, got, &err);
    FUZZ_CHECK(s == VM_OK || (mended && s == VM_INPUT), "status %d: %s", s, err.text);
    pixels_of(i, want);
    FUZZ_CHECK(mended || !memcmp(got, want, PIXELS), "image %d is another", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static File f;
    VmImages train;
    VmError err;
    bool mended = size && data[0] & 1;
    if (!was.n || strncmp(kept, fuzz_folder(), strlen(fuzz_folder())) != 0) make();
    f.n = was.n;
    memcpy(f.at, was.at, was.n);
    if (size) f.n = fuzz_change(f.at, f.n, MOST, data + 1, size - 1);
    if (mended) mend_checksums(&f);
    put(&f);
    VmStatus s = read_set(&train, &err);
    FUZZ_CHECK(s == VM_OK || (mended && s == VM_INPUT), "status %d: %s", s, err.text);
    if (s) return 0;
    VmImageDecoder *d = vm_image_decoder_create();
    FUZZ_CHECK(d && train.files && (mended || train.size == IMAGES), "%d images", (int)train.size);
    char text[4096] = "";
    if (train.left_out) vm_bad_lines(&(const VmBadImages *){train.left_out}, 1, text, sizeof text);
    for (int i = 0; i < train.size; i++) check_image(&train, d, i, mended);
    vm_image_decoder_destroy(d);
    vm_images_free(&train);
    return 0;
}
