/* What stands in an image file beside its pixels and matters: how the camera was held (EXIF
 * orientation), and in a JPEG whether its inks are inverted and whether it is progressive.
 *
 * Nothing here trusts a length or an offset: what does not fit into the file's bytes is not there.
 *
 * Does not: say that anything is damaged; that is the decoder's. */
#include "runtime/data/image.h"

#include <string.h>

static unsigned number(const uint8_t *p, int bytes, bool little) {
    unsigned x = 0;
    for (int i = 0; i < bytes; i++) x = x << 8 | p[little ? bytes - 1 - i : i];
    return x;
}

/* n bytes as EXIF has them: the header of a TIFF file, then its first directory. */
int vm_exif_orientation(const uint8_t *p, size_t n) {
    enum { UPRIGHT = 1, TAG = 0x0112, SHORT = 3, LONG = 4, ENTRY = 12 };
    if (n < 8) return UPRIGHT;
    bool little = p[0] == 'I';
    if (p[0] != p[1] || (p[0] != 'I' && p[0] != 'M') || number(p + 2, 2, little) != 42)
        return UPRIGHT;
    size_t at = number(p + 4, 4, little);
    if (at > n - 2) return UPRIGHT;
    unsigned entries = number(p + at, 2, little);
    at += 2;
    for (unsigned i = 0; i < entries && n - at >= ENTRY; i++, at += ENTRY) {
        if (number(p + at, 2, little) != TAG) continue;
        unsigned type = number(p + at + 2, 2, little), count = number(p + at + 4, 4, little);
        if ((type != SHORT && type != LONG) || count != 1) return UPRIGHT;
        unsigned value = number(p + at + 8, type == SHORT ? 2 : 4, little);
        return value >= 1 && value <= 8 ? (int)value : UPRIGHT;
    }
    return UPRIGHT;
}

/* One segment of a JPEG: what follows its marker and length. */
static void take_segment(VmJpegFacts *f, int marker, const uint8_t *p, size_t n, bool *exif) {
    static const uint8_t name[6] = {'E', 'x', 'i', 'f', 0, 0};
    if (marker == 0xc2 || marker == 0xc6 || marker == 0xca || marker == 0xce) f->progressive = true;
    if (marker == 0xee && n >= 12 && memcmp(p, "Adobe", 5) == 0) f->adobe = true;
    if (marker != 0xe1 || *exif || n < sizeof name || memcmp(p, name, sizeof name) != 0) return;
    f->orientation = vm_exif_orientation(p + sizeof name, n - sizeof name);
    *exif = true;
}

VmJpegFacts vm_jpeg_facts(const uint8_t *p, size_t n) {
    VmJpegFacts f = {.orientation = 1};
    bool exif = false;
    size_t at = 2; /* behind the start mark */
    while (at + 4 <= n && p[at] == 0xff) {
        int marker = p[at + 1];
        bool fill = marker == 0xff;
        bool alone = marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8);
        if (marker == 0xda || marker == 0xd9) break; /* pixels begin, or the image ends */
        if (fill || alone) {
            at += fill ? 1 : 2;
            continue;
        }
        size_t length = number(p + at + 2, 2, false);
        if (length < 2 || length > n - at - 2) break;
        take_segment(&f, marker, p + at + 4, length - 2, &exif);
        at += 2 + length;
    }
    return f;
}
