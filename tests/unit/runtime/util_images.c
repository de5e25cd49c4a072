/* Images, folders and archives made for tests. */
#include "tests/unit/runtime/util_images.h"

#include <archive.h>
#include <archive_entry.h>
#include <spng.h>

#include "runtime/train/internal.h"
#include "tests/unit/runtime/runtime_test.h"

/* rgb[h][w][3], a gradient that depends on seed. */
unsigned char *ti_gradient(int h, int w, unsigned seed) {
    unsigned char *p = malloc((size_t)(h * w * 3));
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            unsigned char *q = p + (y * w + x) * 3;
            q[0] = (unsigned char)(seed * 40 + 10);
            q[1] = (unsigned char)(200 * y / h);
            q[2] = (unsigned char)(200 * x / w + (int)seed);
        }
    }
    return p;
}

TiBytes ti_png_of(const void *pixels, int h, int w, int type, int depth) {
    static const int per_pixel[7] = {1, 0, 3, 1, 2, 0, 4};
    spng_ctx *c = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr head = {.width = (unsigned)w,
                             .height = (unsigned)h,
                             .bit_depth = (unsigned char)depth,
                             .color_type = (unsigned char)type};
    spng_set_option(c, SPNG_ENCODE_TO_BUFFER, 1);
    cr_assert(spng_set_ihdr(c, &head) == 0);
    if (type == SPNG_COLOR_TYPE_INDEXED) {
        struct spng_plte colours = {.n_entries = 4};
        for (unsigned i = 0; i < 4; i++)
            colours.entries[i] =
                (struct spng_plte_entry){(unsigned char)(i * 50), 7, (unsigned char)(255 - i), 0};
        cr_assert(spng_set_plte(c, &colours) == 0);
    }
    size_t n = (size_t)(h * w * per_pixel[type] * depth / 8);
    cr_assert(spng_encode_image(c, pixels, n, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE) == 0);
    int bad;
    TiBytes b;
    b.at = spng_get_png_buffer(c, &b.n, &bad);
    cr_assert(b.at && !bad);
    spng_ctx_free(c);
    return b;
}

TiBytes ti_png(int h, int w, unsigned seed) {
    unsigned char *p = ti_gradient(h, w, seed);
    TiBytes b = ti_png_of(p, h, w, SPNG_COLOR_TYPE_TRUECOLOR, 8);
    free(p);
    return b;
}

TiBytes ti_jpeg(int h, int w, unsigned seed, int sampling) {
    unsigned char *p = ti_gradient(h, w, seed), *out = NULL;
    unsigned long n = 0;
    tjhandle t = tjInitCompress();
    cr_assert(tjCompress2(t, p, w, 0, h, TJPF_RGB, &out, &n, sampling, 95, TJFLAG_ACCURATEDCT) ==
              0);
    TiBytes b = {malloc(n), n};
    memcpy(b.at, out, n);
    tjFree(out);
    tjDestroy(t);
    free(p);
    return b;
}

TiBytes ti_text(const char *s) {
    return (TiBytes){(unsigned char *)strdup(s), strlen(s)};
}

/* ---- making data sets ---- */

void ti_write_files(const char *dir, const TiFile *f, int n) {
    for (int i = 0; i < n; i++) {
        char path[512], folder[512];
        VmError err;
        snprintf(path, sizeof path, "%s/%s", dir, f[i].path);
        snprintf(folder, sizeof folder, "%s", path);
        *strrchr(folder, '/') = '\0';
        cr_assert(rt_make_dirs(folder), "%s", err.text);
        if (f[i].bytes.at) rt_write(path, f[i].bytes.at, f[i].bytes.n);
    }
}

/* filter: ARCHIVE_FILTER_.. claim: size in the header of the last file, 0: its own. With a claim
 * the archive ends where the file's bytes do: a regular end would be filled up with as many zeros
 * as were claimed. */
void ti_write_tar(const char *path, int filter, const TiFile *f, int n, int64_t claim) {
    struct archive *a = archive_write_new();
    cr_assert(archive_write_add_filter(a, filter) >= ARCHIVE_WARN);
    cr_assert(archive_write_set_format_gnutar(a) == ARCHIVE_OK);
    if (claim)
        cr_assert(archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK); /* nothing is held back */
    cr_assert(archive_write_open_filename(a, path) == ARCHIVE_OK);
    for (int i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        const char *name = f[i].path + (f[i].path[0] == '@');
        bool folder = name[strlen(name) - 1] == '/';
        archive_entry_set_pathname(e, name);
        archive_entry_set_filetype(e, folder                ? AE_IFDIR
                                      : f[i].path[0] == '@' ? AE_IFLNK
                                                            : AE_IFREG);
        if (f[i].path[0] == '@') archive_entry_set_symlink(e, "elsewhere.png");
        archive_entry_set_perm(e, 0755);
        archive_entry_set_size(e, claim && i == n - 1 ? claim : (int64_t)f[i].bytes.n);
        cr_assert(archive_write_header(a, e) >= ARCHIVE_WARN, "%s", archive_error_string(a));
        if (f[i].bytes.n) archive_write_data(a, f[i].bytes.at, f[i].bytes.n);
        archive_entry_free(e);
    }
    if (claim)
        archive_write_fail(a);
    else
        cr_assert(archive_write_close(a) == ARCHIVE_OK);
    archive_write_free(a);
}

void ti_write_zip(const char *path, const char *top, const TiFile *f, int n, bool sizes) {
    struct archive *a = archive_write_new();
    cr_assert(archive_write_set_format_zip(a) == ARCHIVE_OK);
    cr_assert(archive_write_open_filename(a, path) == ARCHIVE_OK);
    for (int i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        char name[600];
        snprintf(name, sizeof name, "%s%s", top, f[i].path);
        archive_entry_set_pathname(e, name);
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_perm(e, 0644);
        if (sizes) archive_entry_set_size(e, (int64_t)f[i].bytes.n);
        cr_assert(archive_write_header(a, e) >= ARCHIVE_WARN, "%s", archive_error_string(a));
        archive_write_data(a, f[i].bytes.at, f[i].bytes.n);
        archive_entry_free(e);
    }
    cr_assert(archive_write_close(a) == ARCHIVE_OK);
    archive_write_free(a);
}

void ti_free_files(const TiFile *f, int n) {
    for (int i = 0; i < n; i++) free(f[i].bytes.at);
}

/* Three classes whose bytewise order differs from that of their paths ("a-b/x" < "a/x") and of a
 * locale. */
int ti_usual_files(TiFile *f) {
    static const char *const names[] = {
        "train/a/10.png", "train/a/9.png",   "train/a-b/1.PNG", "train/B/1.png", "train/B/0.jpeg",
        "train/a/aa.jpg", "train/a-b/0.jpg", "test/a-b/2.png",  "test/a/1.jpg",  "test/B/0.png"};
    int n = sizeof names / sizeof names[0];
    for (int i = 0; i < n; i++) {
        bool is_png = strstr(names[i], ".png") || strstr(names[i], ".PNG");
        f[i] = (TiFile){names[i], is_png ? ti_png(6, 5, (unsigned)i)
                                         : ti_jpeg(6, 5, (unsigned)i, TJSAMP_444)};
    }
    return n;
}

VmDataQuery ti_spec(const char *path) {
    return (VmDataQuery){.kind = VM_data_image_folder,
                         .dir = path,
                         .mean = {0, 0, 0},
                         .std = {1, 1, 1},
                         .threads = 3};
}

void ti_refuse(const VmDataQuery *spec, VmStatus status, const char *words) {
    VmDataset *d[VM_SPLITS];
    VmError err = {.text = ""};
    cr_assert_eq(vm_dataset_open_all(spec, d, &err), status, "%s", err.text);
    cr_assert(!d[0] && !d[1]);
    cr_assert(strstr(err.text, words) != NULL, "'%s' lacks '%s'", err.text, words);
}
