/* Turns the bytes of a JPEG or PNG file into 8-bit pixels, the same bits on every machine: JPEG
 * with the exact integer transform and smooth chroma, CMYK as plain inks without a profile, PNG
 * without gamma, transparency dropped, 16 bits rounded to 8. An image comes out as it is to be
 * looked at: a camera's note of how it was held (EXIF orientation) is followed. What a file is
 * decides its first bytes, not its name.
 *
 * Strict: a file the decoder complains about is refused, also when it could show something. What an
 * image takes is checked before anything is allocated.
 *
 * Does not: resize; look at colour profiles. */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <spng.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

/* of PNG, other than pixels: profiles and texts, which are not looked at */
enum { MAX_CHUNK = 1 << 22 };

struct VmImageDecoder {
    tjhandle jpeg; /* made when first needed */
    spng_ctx *png; /* of the open file; NULL: a JPEG is open, or nothing */
    const char *name;
    const uint8_t *bytes;
    size_t n;
    int64_t height, width; /* as stored */
    int orientation;       /* EXIF's, 1..8 */
    bool cmyk, inverted;   /* a JPEG of four inks; stored as 255 - ink */
    int deep;              /* channels of a PNG with 16 bits each; 0: of 8 bits or fewer */
    int stored;            /* bytes of a pixel as decoded, before it is red, green, blue */
    int64_t work;          /* bytes that decoding takes */
    int64_t rounded;
    uint8_t *rgb; /* [height][width][3] */
    size_t room;
};

/* libspng tells of some failed allocations as of damage, and gives its allocator nothing to know
 * the image by. */
static _Thread_local bool png_starved;

static void *noted(void *p) {
    png_starved |= !p;
    return p;
}

static void *png_malloc(size_t n) {
    return noted(malloc(n ? n : 1));
}

static void *png_realloc(void *p, size_t n) {
    return noted(realloc(p, n ? n : 1));
}

static void *png_calloc(size_t n, size_t size) {
    return noted(vm_calloc(n, size));
}

static void close_png(VmImageDecoder *d) {
    spng_ctx_free(d->png);
    d->png = NULL;
}

VmImageDecoder *vm_image_decoder_create(void) {
    return vm_calloc(1, sizeof(VmImageDecoder));
}

void vm_image_decoder_destroy(VmImageDecoder *d) {
    if (!d) return;
    close_png(d);
    if (d->jpeg) tjDestroy(d->jpeg);
    free(d->rgb);
    free(d);
}

int64_t vm_image_decoder_rounded(VmImageDecoder *d) {
    int64_t n = d->rounded;
    d->rounded = 0;
    return n;
}

int64_t vm_image_decoder_work(const VmImageDecoder *d) {
    return d->work;
}

static VmStatus no_memory(const VmImageDecoder *d, VmError *err) {
    return vm_fail(err, VM_ENV, "%s: out of memory", d->name);
}

/* The library has no codes for its errors, only the words of libjpeg's table and its own. */
static VmStatus jpeg_failed(const VmImageDecoder *d, VmError *err) {
    const char *why = tjGetErrorStr2(d->jpeg);
    if (strstr(why, "Insufficient memory") || strstr(why, "Memory allocation failure"))
        return no_memory(d, err);
    return vm_fail(err, VM_INPUT, "%s: damaged JPEG: %s", d->name, why);
}

static VmStatus png_failed(const VmImageDecoder *d, int bad, VmError *err) {
    if (bad == SPNG_EMEM || png_starved) return no_memory(d, err);
    return vm_fail(err, VM_INPUT, "%s: damaged PNG: %s", d->name, spng_strerror(bad));
}

static VmStatus open_jpeg(VmImageDecoder *d, VmError *err) {
    if (!d->jpeg) d->jpeg = tjInitDecompress();
    if (!d->jpeg) return no_memory(d, err);
    /* A file that ends before the image's header, or has none, is a success that sets nothing. */
    int w = 0, h = 0, sampling = -1, colours = -1;
    if (tjDecompressHeader3(d->jpeg, d->bytes, (unsigned long)d->n, &w, &h, &sampling, &colours) !=
        0)
        return jpeg_failed(d, err);
    if (w == 0 || h == 0)
        return vm_fail(err, VM_INPUT, "%s: damaged JPEG: it ends before the image's header",
                       d->name);
    VmJpegFacts facts = vm_jpeg_facts(d->bytes, d->n);
    d->orientation = facts.orientation;
    d->cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    d->inverted = facts.adobe;
    d->stored = d->cmyk ? 4 : 3;
    d->height = h;
    d->width = w;
    /* of a progressive one all coefficients are kept, two bytes each */
    d->work = (int64_t)h * w * (d->stored + (facts.progressive ? 2 * d->stored : 0));
    return VM_OK;
}

/* Channels of PNG's colour types, by their number. */
static int png_channels(int type) {
    static const int channels[7] = {1, 0, 3, 1, 2, 0, 4};
    return channels[type];
}

static VmStatus open_png(VmImageDecoder *d, VmError *err) {
    struct spng_alloc alloc = {png_malloc, png_realloc, png_calloc, free};
    png_starved = false;
    d->png = spng_ctx_new2(&alloc, 0);
    if (!d->png) return no_memory(d, err);
    struct spng_ihdr header;
    int bad = spng_set_chunk_limits(d->png, MAX_CHUNK, MAX_CHUNK);
    if (!bad) bad = spng_set_png_buffer(d->png, d->bytes, d->n);
    if (!bad) bad = spng_get_ihdr(d->png, &header);
    if (bad) return png_failed(d, bad, err);
    struct spng_exif exif;
    if (spng_get_exif(d->png, &exif) == 0) /* what is wrong with it is found when decoding */
        d->orientation = vm_exif_orientation((const uint8_t *)exif.data, exif.length);
    d->deep = header.bit_depth == 16 ? png_channels(header.color_type) : 0;
    d->stored = d->deep > 1 ? 2 * d->deep : 3;
    d->height = header.height;
    d->width = header.width;
    d->work = d->height * d->width * d->stored;
    return VM_OK;
}

VmStatus vm_image_open(VmImageDecoder *d, const char *name, const uint8_t *bytes, size_t n,
                       int64_t *height, int64_t *width, VmError *err) {
    static const uint8_t jpeg[3] = {0xff, 0xd8, 0xff},
                         png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    close_png(d);
    d->name = name;
    d->bytes = bytes;
    d->n = n;
    d->orientation = 1;
    d->cmyk = d->inverted = false;
    d->deep = 0;
    VmStatus s;
    if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        s = open_jpeg(d, err);
    else if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        s = open_png(d, err);
    else
        s = vm_fail(err, VM_INPUT, "%s: neither a JPEG nor a PNG image%s", name,
                    n ? "" : ": it is empty");
    if (s) return s;
    if (d->height < 1 || d->width < 1 || d->height > VM_MAX_IMAGE_BYTES / d->width / d->stored)
        return vm_fail(err, VM_INPUT,
                       "%s: the image is %" PRId64 " x %" PRId64
                       ", which takes %.0f MiB decoded; expected are at most %d",
                       name, d->height, d->width,
                       (double)d->height * (double)d->width * d->stored / 0x1p20,
                       VM_MAX_IMAGE_BYTES >> 20);
    bool turned = d->orientation >= 5;
    *height = turned ? d->width : d->height;
    *width = turned ? d->height : d->width;
    return VM_OK;
}

/* x y / 255, rounded: exact for bytes. */
static uint8_t share(unsigned x, unsigned y) {
    unsigned p = x * y + 128;
    return (uint8_t)((p + (p >> 8)) >> 8);
}

/* Each ink takes its share of what black leaves, in place; as the Python Imaging Library does it.
 */
static void inks_to_rgb(uint8_t *pixel, size_t pixels, bool inverted) {
    for (size_t i = 0; i < pixels; i++) {
        uint8_t ink[4];
        for (size_t c = 0; c < 4; c++)
            ink[c] = inverted ? (uint8_t)(255 - pixel[4 * i + c]) : pixel[4 * i + c];
        unsigned white = 255u - ink[3];
        for (size_t c = 0; c < 3; c++) pixel[3 * i + c] = (uint8_t)(white - share(ink[c], white));
    }
}

/* 65535 becomes 255. */
static uint8_t rounded(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return (uint8_t)((value * 255u + 32767u) / 65535u);
}

/* In place, from the end where pixels grow. */
static void deep_to_rgb(uint8_t *pixel, size_t pixels, size_t channels) {
    for (size_t k = 0; k < pixels; k++) {
        size_t i = channels == 1 ? pixels - 1 - k : k;
        uint8_t rgb[3];
        for (size_t c = 0; c < 3; c++)
            rgb[c] = rounded(pixel + 2 * (i * channels + (channels < 3 ? 0 : c)));
        memcpy(pixel + 3 * i, rgb, sizeof rgb);
    }
}

static VmStatus decode_png(VmImageDecoder *d, size_t pixels, VmError *err) {
    size_t size = 0, need = pixels * (d->deep ? 2 * (size_t)d->deep : 3);
    int format = d->deep ? SPNG_FMT_PNG : SPNG_FMT_RGB8;
    int bad = spng_decoded_image_size(d->png, format, &size);
    if (!bad && size != need) bad = SPNG_EINTERNAL;
    if (!bad) bad = spng_decode_image(d->png, d->rgb, need, format, 0);
    if (!bad) bad = spng_decode_chunks(d->png); /* to the end: what is cut off there shows */
    close_png(d);
    if (bad) return png_failed(d, bad, err);
    if (d->deep) deep_to_rgb(d->rgb, pixels, (size_t)d->deep);
    d->rounded += d->deep > 0;
    return VM_OK;
}

static VmStatus decode_rgb(VmImageDecoder *d, size_t pixels, VmError *err) {
    if (d->png) return decode_png(d, pixels, err);
    int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    if (tjDecompress2(d->jpeg, d->bytes, (unsigned long)d->n, d->rgb, (int)d->width, 0,
                      (int)d->height, d->cmyk ? TJPF_CMYK : TJPF_RGB, flags) != 0)
        return jpeg_failed(d, err);
    if (d->cmyk) inks_to_rgb(d->rgb, pixels, d->inverted);
    return VM_OK;
}

/* In place. */
static void to_grey(uint8_t *rgb, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) rgb[i] = vm_grey(rgb + 3 * i);
}

/* How the stored rows and columns lie in the image as it is looked at. */
static VmImageView oriented(const VmImageDecoder *d, int64_t pixel) {
    int o = d->orientation;
    bool up = o == 3 || o == 4 || o == 6 || o == 7, left = o == 2 || o == 3 || o == 7 || o == 8;
    int64_t row = d->width * pixel, column = pixel;
    VmImageView v = {.at = d->rgb, .plane = pixel == 3};
    if (up) v.at += (d->height - 1) * row;
    if (left) v.at += (d->width - 1) * column;
    if (up) row = -row;
    if (left) column = -column;
    v.down = o >= 5 ? column : row;
    v.across = o >= 5 ? row : column;
    return v;
}

VmStatus vm_image_view(VmImageDecoder *d, int64_t channels, VmImageView *v, VmError *err) {
    size_t pixels = (size_t)(d->height * d->width), need = pixels * (size_t)d->stored;
    if (need > d->room) {
        free(d->rgb); /* nothing in it is wanted, so both are never held at once */
        d->room = 0;
        d->rgb = malloc(need);
        if (!d->rgb) return vm_fail(err, VM_ENV, "%s: out of memory for %zu bytes", d->name, need);
        d->room = need;
    }
    VmStatus s = decode_rgb(d, pixels, err);
    if (s) return s;
    if (channels == 1) to_grey(d->rgb, pixels);
    *v = oriented(d, channels == 1 ? 1 : 3);
    return VM_OK;
}

VmStatus vm_image_planes(VmImageDecoder *d, int64_t channels, uint8_t *plane, VmError *err) {
    VmImageView v;
    VmStatus s = vm_image_view(d, channels, &v, err);
    bool turned = d->orientation >= 5;
    int64_t h = turned ? d->width : d->height, w = turned ? d->height : d->width;
    for (int64_t c = 0; c < channels && !s; c++) {
        for (int64_t y = 0; y < h; y++) {
            const uint8_t *row = v.at + c * v.plane + y * v.down;
            for (int64_t x = 0; x < w; x++) *plane++ = row[x * v.across];
        }
    }
    return s;
}
