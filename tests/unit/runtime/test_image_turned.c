/* How images stand and what their inks are: EXIF orientation, CMYK, and sizes of any kind. */
#include "runtime/data/image.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

enum { H = 16, W = 24, SIDE = 8 };

/* A JPEG with a segment put behind its start mark. */
static TiBytes with_segment(TiBytes jpeg, int marker, const unsigned char *data, size_t n) {
    TiBytes b = {malloc(jpeg.n + n + 4), jpeg.n + n + 4};
    const unsigned char head[4] = {0xff, (unsigned char)marker, (unsigned char)((n + 2) >> 8),
                                   (unsigned char)(n + 2)};
    memcpy(b.at, jpeg.at, 2);
    memcpy(b.at + 2, head, 4);
    memcpy(b.at + 6, data, n);
    memcpy(b.at + 6 + n, jpeg.at + 2, jpeg.n - 2);
    return b;
}

/* EXIF with one other entry and then the orientation; returns its bytes. */
static size_t exif(unsigned char *p, int orientation, bool little) {
    memcpy(p, "Exif\0\0MM\0\x2a\0\0\0\x08\0\x02", 16);
    unsigned char *e = p + 16;
    const unsigned make[4] = {0x010f, 2, 1, 0}, turn[4] = {0x0112, 3, 1, (unsigned)orientation};
    for (int k = 0; k < 2; k++, e += 12) {
        const unsigned *v = k ? turn : make;
        const int at[4] = {0, 2, 4, 8}, bytes[4] = {2, 2, 4, 2};
        memset(e, 0, 12);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < bytes[i]; j++)
                e[at[i] + j] = (unsigned char)(v[i] >> 8 * (little ? j : bytes[i] - 1 - j));
    }
    if (little) memcpy(p + 6, "II\x2a\0\x08\0\0\0\x02\0", 10);
    return 40;
}

/* Where the pixel of row y, column x of the upright image is stored, for a file of h x w. */
static void stored_at(int o, int h, int w, int y, int x, int *sy, int *sx) {
    const int table[8][2] = {{y, x}, {y, w - 1 - x}, {h - 1 - y, w - 1 - x}, {h - 1 - y, x},
                             {x, y}, {h - 1 - x, y}, {h - 1 - x, w - 1 - y}, {x, w - 1 - y}};
    *sy = table[o - 1][0];
    *sx = table[o - 1][1];
}

static void decode(const TiBytes *b, int64_t channels, unsigned char *planes, int64_t *h,
                   int64_t *w) {
    VmImageDecoder *d = vm_image_decoder_create();
    VmError err;
    cr_assert(vm_image_open(d, "x", b->at, b->n, h, w, &err) == VM_OK, "%s", err.text);
    cr_assert(vm_image_planes(d, channels, planes, &err) == VM_OK, "%s", err.text);
    vm_image_decoder_destroy(d);
}

/* The file's own pixels, turned by hand, are what comes out of all eight. */
Test(runtime_image_turned, all_orientations_of_a_jpeg) {
    for (int64_t channels = 1; channels <= 3; channels += 2) {
        TiBytes plain = ti_jpeg(H, W, 3, TJSAMP_444);
        unsigned char is[3 * H * W], was[3 * H * W], segment[64];
        int64_t h, w;
        decode(&plain, channels, was, &h, &w);
        for (int o = 1; o <= 16; o++) {
            int turn = (o - 1) % 8 + 1;
            TiBytes b = with_segment(plain, 0xe1, segment, exif(segment, turn, o > 8));
            decode(&b, channels, is, &h, &w);
            cr_assert(turn < 5 ? h == H && w == W : h == W && w == H, "orientation %d", o);
            for (int c = 0; c < channels; c++)
                for (int y = 0; y < h; y++)
                    for (int x = 0; x < w; x++) {
                        int sy, sx;
                        stored_at(turn, H, W, y, x, &sy, &sx);
                        cr_assert_eq(is[(c * h + y) * w + x], was[(c * H + sy) * W + sx],
                                     "orientation %d, row %d, column %d", o, y, x);
                    }
            free(b.at);
        }
        free(plain.at);
    }
}

/* Whatever EXIF holds, nothing outside it is read (under the sanitizer) and the answer is 1..8. */
Test(runtime_image_turned, damaged_exif_is_upright_or_turned) {
    unsigned char good[64];
    size_t n = exif(good, 6, true) - 6;
    for (size_t cut = 0; cut <= n; cut++) {
        unsigned char *copy = malloc(cut ? cut : 1);
        memcpy(copy, good + 6, cut);
        cr_assert_eq(vm_exif_orientation(copy, cut), cut < 34 ? 1 : 6, "cut at %zu", cut);
        for (size_t i = 0; i < cut; i++) {
            for (int k = 0; k < 4; k++) {
                static const unsigned char put[4] = {0, 0xff, 0x7f, 9};
                unsigned char kept = copy[i];
                copy[i] = put[k];
                int o = vm_exif_orientation(copy, cut);
                cr_assert(o >= 1 && o <= 8);
                copy[i] = kept;
            }
        }
        free(copy);
    }
}

Test(runtime_image_turned, segments_that_lie_are_passed_over) {
    TiBytes plain = ti_jpeg(H, W, 3, TJSAMP_420);
    unsigned char segment[64];
    TiBytes b = with_segment(plain, 0xe1, segment, exif(segment, 8, false));
    for (size_t cut = 0; cut <= b.n; cut++) {
        unsigned char *copy = malloc(cut ? cut : 1);
        memcpy(copy, b.at, cut);
        VmJpegFacts f = vm_jpeg_facts(copy, cut);
        cr_assert_eq(f.orientation, cut < 46 ? 1 : 8, "cut at %zu", cut);
        free(copy);
    }
    free(b.at);
    free(plain.at);
}

/* A PNG with an eXIf chunk before its pixels. */
Test(runtime_image_turned, png_too) {
    TiBytes plain = ti_png(H, W, 5);
    unsigned char chunk[64], is[3 * H * W], was[3 * H * W];
    int64_t h, w;
    decode(&plain, 3, was, &h, &w);
    size_t n = exif(chunk + 2, 6, false) - 6; /* its name takes the place of "Exif", 0, 0 */
    memcpy(chunk + 4, "eXIf", 4);
    unsigned long sum = crc32(0, chunk + 4, (unsigned)(n + 4));
    TiBytes b = {malloc(plain.n + n + 12), plain.n + n + 12};
    memcpy(b.at, plain.at, 33); /* signature and header */
    const unsigned char length[4] = {0, 0, 0, (unsigned char)n};
    memcpy(b.at + 33, length, 4);
    memcpy(b.at + 37, chunk + 4, n + 4);
    for (int i = 0; i < 4; i++) b.at[41 + n + (size_t)i] = (unsigned char)(sum >> (24 - 8 * i));
    memcpy(b.at + 45 + n, plain.at + 33, plain.n - 33);
    decode(&b, 3, is, &h, &w);
    cr_assert(h == W && w == H);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) cr_assert_eq(is[y * w + x], was[(H - 1 - x) * W + y]);
    free(b.at);
    free(plain.at);
}

/* Four inks as they are stored. Red, green and blue are what black leaves of white. */
static TiBytes cmyk_jpeg(const unsigned char ink[4]) {
    unsigned char *p = malloc(16 * 16 * 4), *out = NULL;
    unsigned long n = 0;
    for (int i = 0; i < 16 * 16 * 4; i++) p[i] = ink[i % 4];
    tjhandle t = tjInitCompress();
    cr_assert(tjCompress2(t, p, 16, 0, 16, TJPF_CMYK, &out, &n, TJSAMP_444, 100,
                          TJFLAG_ACCURATEDCT) == 0);
    TiBytes b = {malloc(n), n};
    memcpy(b.at, out, n);
    tjFree(out);
    tjDestroy(t);
    free(p);
    return b;
}

/* What turbojpeg writes has Adobe's mark, so what is stored is 255 - ink. */
Test(runtime_image_turned, inks_become_colours) {
    const struct {
        unsigned char stored[4];
        int rgb[3];
    } cases[] = {{{255, 255, 255, 255}, {255, 255, 255}}, /* no ink */
                 {{255, 255, 255, 0}, {0, 0, 0}},         /* black */
                 {{0, 255, 255, 255}, {0, 255, 255}},     /* cyan */
                 {{255, 0, 0, 255}, {255, 0, 0}},         /* magenta and yellow */
                 {{128, 255, 64, 128}, {64, 128, 32}}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        TiBytes b = cmyk_jpeg(cases[k].stored);
        unsigned char is[3 * 256];
        int64_t h, w;
        decode(&b, 3, is, &h, &w);
        cr_assert(vm_jpeg_facts(b.at, b.n).adobe);
        for (int c = 0; c < 3; c++)
            cr_assert(abs(is[c * 256 + 100] - cases[k].rgb[c]) <= 3, "case %zu: %d is %d", k, c,
                      is[c * 256 + 100]);
        free(b.at);
    }
}

/* Without Adobe's mark the inks are stored as they are. What stands in this file is 0, 128, 128 and
 * 0: luma and chroma of what would be white with the mark. */
Test(runtime_image_turned, plain_inks_are_not_inverted) {
    TiBytes b = cmyk_jpeg((unsigned char[4]){255, 255, 255, 0});
    unsigned char *mark = memmem(b.at, b.n, "Adobe", 5), is[3 * 256];
    int64_t h, w;
    cr_assert_not_null(mark);
    memcpy(mark, "Other", 5);
    decode(&b, 3, is, &h, &w);
    cr_assert(!vm_jpeg_facts(b.at, b.n).adobe);
    cr_assert(is[0] > 252 && abs(is[256] - 127) < 3 && abs(is[512] - 127) < 3, "%d %d %d", is[0],
              is[256], is[512]);
    free(b.at);
}

/* Large, thin and turned images become squares as the upright ones do. */
Test(runtime_image_turned, resized_as_it_is_looked_at) {
    char *dir = rt_folder();
    unsigned char segment[64];
    TiBytes plain = ti_jpeg(H, W, 3, TJSAMP_444);
    TiFile f[] = {{"train/c/0.jpg", with_segment(plain, 0xe1, segment, exif(segment, 6, true))},
                  {"train/c/1.png", ti_png(9000, 30, 2)},
                  {"train/c/2.png", ti_png(5000, 5000, 2)}};
    ti_write_files(dir, f, 3);
    VmDataQuery spec = ti_spec(dir);
    spec.resize = SIDE;
    VmDataset *d;
    VmError err;
    cr_assert(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
    unsigned char was[3 * H * W], turned[3 * H * W], want[3 * SIDE * SIDE];
    int64_t h, w;
    decode(&plain, 3, was, &h, &w);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < W; y++)
            for (int x = 0; x < H; x++)
                turned[(c * W + y) * H + x] = was[(c * H + (H - 1 - x)) * W + y];
    cr_assert(vm_resize_u8(turned, 3, W, H, want, SIDE, SIDE));
    cr_assert(memcmp(vm_dataset_pixels(d, 0), want, sizeof want) == 0);
    vm_dataset_close(d);
    free(plain.at);
    ti_free_files(f, 3);
    rt_remove(dir);
}

/* A header that claims more than an image may take is refused before anything is allocated. */
Test(runtime_image_turned, refuses_what_takes_too_much) {
    TiBytes b = ti_png(4, 4, 0);
    const unsigned char side[8] = {0, 0, 0x40, 0, 0, 0, 0x40, 0}; /* 16384 x 16384 */
    memcpy(b.at + 16, side, 8);
    unsigned long sum = crc32(0, b.at + 12, 17);
    for (int i = 0; i < 4; i++) b.at[29 + i] = (unsigned char)(sum >> (24 - 8 * i));
    VmImageDecoder *d = vm_image_decoder_create();
    VmError err;
    int64_t h, w;
    cr_assert_eq(vm_image_open(d, "x", b.at, b.n, &h, &w, &err), VM_INPUT);
    cr_assert_str_eq(err.text, "x: the image is 16384 x 16384, which takes 768 MiB decoded; "
                               "expected are at most 256");
    vm_image_decoder_destroy(d);
    free(b.at);
}
