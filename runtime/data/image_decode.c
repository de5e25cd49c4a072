/* Turns the bytes of a JPEG or PNG file into 8-bit planes, the same bits on every machine: JPEG
 * with the exact integer transform and smooth chroma, PNG without gamma, transparency dropped, 16
 * bits cut to 8. What a file is decides its first bytes, not its name.
 *
 * Strict: a file the decoder complains about is refused, also when it could show something. Sides
 * are checked before anything is allocated.
 *
 * Does not: resize; look at EXIF orientation or colour profiles; read CMYK. */
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
    int64_t height, width;
    bool deep; /* 16 bits per channel */
    int64_t cut;
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

int64_t vm_image_decoder_cut(const VmImageDecoder *d) {
    return d->cut;
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
    if (colours == TJCS_CMYK || colours == TJCS_YCCK)
        return vm_fail(err, VM_INPUT, "%s: a JPEG in CMYK; expected RGB or grey", d->name);
    d->height = h;
    d->width = w;
    return VM_OK;
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
    d->deep = header.bit_depth == 16;
    d->height = header.height;
    d->width = header.width;
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
    VmStatus s;
    if (n >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        s = open_jpeg(d, err);
    else if (n >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        s = open_png(d, err);
    else
        s = vm_fail(err, VM_INPUT, "%s: neither a JPEG nor a PNG image%s", name,
                    n ? "" : ": it is empty");
    if (s) return s;
    if (d->height < 1 || d->width < 1 || d->height > VM_MAX_SIDE || d->width > VM_MAX_SIDE) {
        return vm_fail(err, VM_INPUT,
                       "%s: the image is %" PRId64 " x %" PRId64
                       "; sides are expected within 1..%d",
                       name, d->height, d->width, VM_MAX_SIDE);
    }
    *height = d->height;
    *width = d->width;
    return VM_OK;
}

static VmStatus decode_rgb(VmImageDecoder *d, size_t need, VmError *err) {
    if (d->png) {
        size_t size = 0;
        int bad = spng_decoded_image_size(d->png, SPNG_FMT_RGB8, &size);
        if (!bad && size != need) bad = SPNG_EINTERNAL;
        if (!bad) bad = spng_decode_image(d->png, d->rgb, need, SPNG_FMT_RGB8, 0);
        if (!bad) bad = spng_decode_chunks(d->png); /* to the end: what is cut off there shows */
        close_png(d);
        if (!bad) d->cut += d->deep;
        return bad ? png_failed(d, bad, err) : VM_OK;
    }
    int flags = TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS;
    if (tjDecompress2(d->jpeg, d->bytes, (unsigned long)d->n, d->rgb, (int)d->width, 0,
                      (int)d->height, TJPF_RGB, flags) != 0)
        return jpeg_failed(d, err);
    return VM_OK;
}

/* Grey is the luma of ITU-R 601 in 16 bits of fixed point, as image libraries make it; equal
 * colours stay. */
static void to_planes(const uint8_t *rgb, size_t pixels, int64_t channels, uint8_t *plane) {
    if (channels == 1) {
        for (size_t i = 0; i < pixels; i++) {
            const uint8_t *p = rgb + 3 * i;
            plane[i] = (uint8_t)((19595u * p[0] + 38470u * p[1] + 7471u * p[2] + 0x8000u) >> 16);
        }
        return;
    }
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < 3; c++) plane[c * pixels + i] = rgb[3 * i + c];
    }
}

VmStatus vm_image_planes(VmImageDecoder *d, int64_t channels, uint8_t *plane, VmError *err) {
    size_t pixels = (size_t)(d->height * d->width), need = 3 * pixels;
    if (need > d->room) {
        uint8_t *rgb = realloc(d->rgb, need);
        if (!rgb) return vm_fail(err, VM_ENV, "%s: out of memory for %zu bytes", d->name, need);
        d->rgb = rgb;
        d->room = need;
    }
    VmStatus s = decode_rgb(d, need, err);
    if (s == VM_OK) to_planes(d->rgb, pixels, channels, plane);
    return s;
}
