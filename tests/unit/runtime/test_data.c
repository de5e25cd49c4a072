/* IDX files, resizing, data sets: what is read, what is refused and with which words. */
#include "runtime/data/internal.h"
#include "runtime/train/internal.h"
#include "tests/unit/runtime/runtime_test.h"

#include <math.h>

/* ---- IDX ---- */

static VmStatus read_idx(const char *path, int rank, VmError *err) {
    VmIdx x;
    err->text[0] = '\0';
    VmStatus s = vm_idx_read(path, rank, &x, err);
    cr_assert((s == VM_OK) == (x.data != NULL));
    free(x.data);
    return s;
}

Test(runtime_idx, reads_plain_and_packed) {
    char *dir = rt_folder();
    const unsigned char body[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255};
    static const char *const names[] = {"a", "a.gz"};
    for (int i = 0; i < 2; i++) {
        VmIdx x;
        VmError err;
        rt_write_idx(rt_path(dir, names[i]), 3, (int[]){2, 2, 3}, body, 12);
        cr_assert(vm_idx_read(rt_path(dir, names[i]), 3, &x, &err) == VM_OK, "%s", err.text);
        cr_assert(x.rank == 3 && x.dim[0] == 2 && x.dim[1] == 2 && x.dim[2] == 3);
        cr_assert(memcmp(x.data, body, 12) == 0);
        free(x.data);
    }
    rt_remove(dir);
}

static void refuse_idx(const char *path, int rank, VmStatus status, const char *words) {
    VmError err;
    cr_assert_eq(read_idx(path, rank, &err), status, "%s: %s", path, err.text);
    cr_assert(strstr(err.text, words) != NULL, "'%s' lacks '%s'", err.text, words);
    cr_assert(strstr(err.text, path) != NULL, "'%s' lacks the file", err.text);
}

Test(runtime_idx, refuses_wrong_contents) {
    char *dir = rt_folder();
    const unsigned char body[64] = {0};
    const char *p = rt_path(dir, "x"), *gz = rt_path(dir, "x.gz");
    refuse_idx(p, 3, VM_ENV, "cannot open");
    refuse_idx(dir, 3, VM_ENV, "not a file");
    rt_write(p, "", 0);
    refuse_idx(p, 3, VM_INPUT, "cut off: the header takes 16 bytes, the file has 0");
    rt_write(p, "hello, this is text", 19);
    refuse_idx(p, 3, VM_INPUT, "starts with 68 65 6c 6c, expected 00 00 08 03");
    rt_write_idx(p, 1, (int[]){4}, body, 4);
    refuse_idx(p, 3, VM_INPUT, "not an IDX file of images");
    rt_write_idx(p, 3, (int[]){2, 2, 2}, body, 7);
    refuse_idx(p, 3, VM_INPUT, "cut off");
    rt_write_idx(gz, 3, (int[]){2, 2, 2}, body, 7);
    refuse_idx(gz, 3, VM_INPUT, "cut off");
    rt_write_idx(p, 3, (int[]){2, 2, 2}, body, 9);
    refuse_idx(p, 3, VM_INPUT, "too long");
    rt_write_idx(p, 3, (int[]){0, 2, 2}, body, 0);
    refuse_idx(p, 3, VM_INPUT, "holds no images");
    rt_write_idx(p, 3, (int[]){1, 0, 2}, body, 0);
    refuse_idx(p, 3, VM_INPUT, "image side 0");
    rt_write_idx(p, 3, (int[]){-1, 4096, 4096}, body, 64); /* claims 64 PiB */
    refuse_idx(p, 3, VM_INPUT, "cut off");
    rt_remove(dir);
}

Test(runtime_idx, refuses_damaged_gzip) {
    char *dir = rt_folder();
    unsigned char body[3000];
    for (size_t i = 0; i < sizeof body; i++) body[i] = (unsigned char)(i * i >> 3);
    const char *p = rt_path(dir, "x.gz");
    rt_write_idx(p, 3, (int[]){3, 20, 50}, body, sizeof body);
    size_t n;
    char *bytes = rt_read(p, &n);
    for (size_t cut = 18; cut < n; cut += 5) { /* at every place: header, middle, checksum */
        VmError err;
        rt_write(p, bytes, cut);
        cr_assert_eq(read_idx(p, 3, &err), VM_INPUT, "cut at %zu of %zu: %s", cut, n, err.text);
    }
    VmError err;
    rt_write(p, bytes, n - 1);
    cr_assert_eq(read_idx(p, 3, &err), VM_INPUT, "%s", err.text);
    bytes[n - 6] ^= 1; /* the checksum */
    rt_write(p, bytes, n);
    refuse_idx(p, 3, VM_INPUT, "damaged");
    free(bytes);
    rt_remove(dir);
}

/* A flipped bit leads to an error or, where it is in what gzip's header says of the file, to the
 * same bytes.
 */
Test(runtime_idx, flips_in_gzip_never_change_bytes, .timeout = 60) {
    char *dir = rt_folder();
    unsigned char body[1500];
    for (size_t i = 0; i < sizeof body; i++) body[i] = (unsigned char)(i * i >> 3);
    const char *p = rt_path(dir, "x.gz");
    rt_write_idx(p, 3, (int[]){3, 20, 25}, body, sizeof body);
    size_t n;
    char *bytes = rt_read(p, &n);
    int same = 0;
    for (size_t bit = 0; bit < 8 * n; bit += bit < 256 || bit > 8 * n - 256 ? 1 : 7) {
        VmIdx x;
        VmError err;
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        rt_write(p, bytes, n);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        VmStatus s = vm_idx_read(p, 3, &x, &err);
        cr_assert(s == VM_INPUT || s == VM_OK, "bit %zu: %s", bit, err.text);
        if (s) continue;
        cr_assert(memcmp(x.data, body, sizeof body) == 0, "bit %zu changes what is read", bit);
        free(x.data);
        same++;
    }
    cr_assert(same > 0 && same <= 80, "%d", same);
    free(bytes);
    rt_remove(dir);
}

static void append(const char *to, const char *from, size_t more, const char *junk) {
    size_t n, m = 0;
    char *a = rt_read(to, &n), *b = from ? rt_read(from, &m) : NULL;
    a = realloc(a, n + m + more);
    if (m) memcpy(a + n, b, m);
    if (more) memcpy(a + n + m, junk, more);
    rt_write(to, a, n + m + more);
    free(a);
    free(b);
}

Test(runtime_idx, gzip_members_are_all_read_and_nothing_else) {
    char *dir = rt_folder();
    const unsigned char body[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *p = rt_path(dir, "x.gz"), *rest = rt_path(dir, "rest.gz");
    for (size_t junk = 0; junk < 3; junk++) {
        rt_write_idx(p, 3, (int[]){2, 2, 2}, body, 5);
        gzFile f = gzopen(rest, "wb");
        cr_assert(gzwrite(f, body + 5, 3) == 3 && gzclose(f) == Z_OK);
        append(p, rest, junk, "\0\0");
        if (junk) {
            refuse_idx(p, 3, VM_INPUT, "something follows the compressed data");
            continue;
        }
        VmIdx x;
        VmError err;
        cr_assert(vm_idx_read(p, 3, &x, &err) == VM_OK, "%s", err.text);
        cr_assert(memcmp(x.data, body, 8) == 0);
        free(x.data);
    }
    rt_remove(dir);
}

Test(runtime_idx, pipes_and_links_to_nothing_do_not_block, .timeout = 10) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "pipe"), *l = rt_path(dir, "link");
    cr_assert(mkfifo(p, 0600) == 0 && symlink("nowhere", l) == 0);
    refuse_idx(p, 3, VM_ENV, "a pipe, device or socket");
    refuse_idx(l, 3, VM_ENV, "cannot open");
    refuse_idx("/dev/zero", 3, VM_ENV, "a pipe, device or socket");
    rt_remove(dir);
}

/* ---- resizing: expected bytes from Pillow 10.4, Image.resize(..., BILINEAR) ---- */

static unsigned char *noise(int h, int w, unsigned seed) {
    unsigned char *p = malloc((size_t)(h * w));
    for (int i = 0; i < h * w; i++) {
        seed = seed * 1103515245u + 12345u;
        p[i] = (unsigned char)(seed >> 16);
    }
    return p;
}

static void check_resize(int h, int w, int oh, int ow, unsigned seed,
                         const unsigned char *expected) {
    unsigned char *from = noise(h, w, seed), *to = malloc((size_t)(oh * ow));
    cr_assert(vm_resize_u8(from, 1, h, w, to, oh, ow));
    for (int i = 0; i < oh * ow; i++) {
        cr_assert_eq(to[i], expected[i], "%dx%d to %dx%d: pixel %d is %d, expected %d", h, w, oh,
                     ow, i, to[i], expected[i]);
    }
    free(from);
    free(to);
}

Test(runtime_resize, small_images) {
    check_resize(3, 4, 5, 6, 1,
                 (unsigned char[]){198, 162, 127, 128, 118, 107, 149, 162, 175, 169,
                                   166, 165, 75,  163, 247, 230, 239, 251, 80,  164,
                                   240, 211, 219, 234, 84,  165, 236, 199, 206, 223});
    check_resize(7, 5, 3, 4, 2,
                 (unsigned char[]){137, 112, 143, 106, 179, 99, 130, 151, 139, 82, 101, 177});
    check_resize(8, 8, 3, 3, 5, (unsigned char[]){103, 130, 141, 134, 101, 108, 118, 142, 118});
    check_resize(5, 5, 5, 8, 3,
                 (unsigned char[]){83,  132, 191, 147, 123, 120, 132, 142, 180, 135,
                                   84,  150, 148, 79,  58,  47,  109, 92,  69,  64,
                                   50,  27,  140, 229, 112, 79,  39,  64,  111, 180,
                                   172, 160, 227, 166, 98,  201, 211, 128, 118, 116});
    check_resize(6, 4, 2, 9, 4,
                 (unsigned char[]){60, 67, 85, 103, 122, 140, 143, 146, 147, 126, 125, 123, 122,
                                   132, 142, 136, 128, 125});
}

Test(runtime_resize, whole_images_by_checksum) {
    static const struct {
        int h, w, oh, ow;
        unsigned seed, crc;
    } cases[] = {{28, 28, 32, 32, 7, 0x563ad4af},
                 {28, 28, 14, 14, 8, 0x0661158a},
                 {28, 28, 36, 36, 9, 0x824af292},
                 {32, 32, 28, 28, 10, 0xa731f5d0},
                 {64, 48, 28, 28, 11, 0x84250292}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char *from = noise(cases[i].h, cases[i].w, cases[i].seed);
        size_t n = (size_t)(cases[i].oh * cases[i].ow);
        unsigned char *to = malloc(n);
        cr_assert(vm_resize_u8(from, 1, cases[i].h, cases[i].w, to, cases[i].oh, cases[i].ow));
        cr_assert_eq((unsigned)crc32(0, to, (unsigned)n), cases[i].crc, "case %zu", i);
        free(from);
        free(to);
    }
}

Test(runtime_resize, same_size_and_extremes_stay) {
    unsigned char *from = noise(9, 7, 1), to[63], white[16], big[49];
    cr_assert(vm_resize_u8(from, 1, 9, 7, to, 9, 7));
    cr_assert(memcmp(from, to, 63) == 0);
    memset(white, 255, sizeof white);
    cr_assert(vm_resize_u8(white, 1, 4, 4, big, 7, 7));
    for (int i = 0; i < 49; i++) cr_assert_eq(big[i], 255);
    unsigned char one = 17, many[25];
    cr_assert(vm_resize_u8(&one, 1, 1, 1, many, 5, 5));
    for (int i = 0; i < 25; i++) cr_assert_eq(many[i], 17);
    free(from);
}

/* ---- data sets ---- */

static VmStatus open_set(VmDataKind kind, const char *dir, int64_t classes, VmDataset **d,
                         VmError *err) {
    VmDataQuery spec = {.kind = kind, .dir = dir, .mean = {0.5}, .std = {0.5}, .classes = classes};
    return vm_dataset_open(&spec, VM_TRAIN, 0, d, err);
}

static void refuse_set(VmDataKind kind, const char *dir, int64_t classes, VmStatus status,
                       const char *words) {
    VmDataset *d;
    VmError err = {.text = ""};
    cr_assert_eq(open_set(kind, dir, classes, &d, &err), status, "%s", err.text);
    cr_assert_null(d);
    cr_assert(strstr(err.text, words) != NULL, "'%s' lacks '%s'", err.text, words);
}

Test(runtime_dataset, serves_normalised_batches) {
    char *dir = rt_folder();
    const unsigned char pixels[12] = {0, 255, 51, 102, 10, 20, 30, 40, 1, 2, 3, 4};
    rt_write_idx(rt_path(dir, "train-images-idx3-ubyte"), 3, (int[]){3, 2, 2}, pixels, 12);
    rt_write_idx(rt_path(dir, "train-labels-idx1-ubyte"), 1, (int[]){3}, (unsigned char[]){2, 0, 4},
                 3);
    VmDataset *d;
    VmError err;
    cr_assert(open_set(VM_data_idx, dir, 0, &d, &err) == VM_OK, "%s", err.text);
    int64_t c, h, w, classes;
    vm_dataset_shape(d, &c, &h, &w, &classes);
    cr_assert(vm_dataset_size(d) == 3 && c == 1 && h == 2 && w == 2 && classes == 5);
    float image[8];
    int32_t label[2];
    vm_dataset_batch(d, (int64_t[]){2, 0}, 2, image, label);
    cr_assert(label[0] == 4 && label[1] == 2);
    for (int i = 0; i < 4; i++) {
        cr_assert(image[i] == ((float)pixels[8 + i] / 255.0f - 0.5f) / 0.5f);
        cr_assert(image[4 + i] == ((float)pixels[i] / 255.0f - 0.5f) / 0.5f);
    }
    cr_assert(image[4] == -1.0f && image[5] == 1.0f);
    vm_dataset_close(d);
    VmDataQuery spec = {.kind = VM_data_idx, .dir = dir, .std = {1}, .resize = 3};
    cr_assert(vm_dataset_open(&spec, VM_TRAIN, 2, &d, &err) == VM_OK, "%s", err.text);
    vm_dataset_shape(d, &c, &h, &w, &classes);
    cr_assert(vm_dataset_size(d) == 2 && h == 3 && w == 3);
    vm_dataset_close(d);
    rt_remove(dir);
}

Test(runtime_dataset, search_order) {
    char *dir = rt_folder();
    VmDataset *d;
    VmError err;
    unsetenv("VMOE_DATA");
    refuse_set(VM_data_mnist, NULL, 0, VM_ENV, "VMOE_DATA");
    refuse_set(VM_data_idx, NULL, 0, VM_ENV, "--data");
    setenv("VMOE_DATA", dir, 1);
    refuse_set(VM_data_mnist, NULL, 0, VM_ENV, "/mnist/train-images-idx3-ubyte[.gz]");
    refuse_set(VM_data_idx, NULL, 0, VM_ENV, "'idx' not found"); /* never guessed */
    rt_write_split(dir, "train", 5);
    cr_assert(open_set(VM_data_mnist, NULL, 0, &d, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_dataset_size(d), 5);
    vm_dataset_close(d);
    cr_assert(rt_make_dirs(rt_path(dir, "mnist")));
    rt_write_split(rt_path(dir, "mnist"), "train", 6);
    cr_assert(open_set(VM_data_mnist, NULL, 0, &d, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_dataset_size(d), 6, "the kind's own folder comes first");
    vm_dataset_close(d);
    /* a folder that was asked for is the only one looked at */
    refuse_set(VM_data_fashion_mnist, rt_path(dir, "nowhere"), 0, VM_ENV, "nowhere/train-images");
    refuse_set(VM_data_fashion_mnist, rt_path(dir, "nowhere"), 0, VM_ENV,
               "apt install dataset-fashion-mnist");
    rt_remove(dir);
}

Test(runtime_dataset, refuses_what_does_not_belong_together) {
    char *dir = rt_folder();
    const unsigned char body[64] = {1, 9, 3};
    const char *images = rt_path(dir, "train-images-idx3-ubyte"),
               *labels = rt_path(dir, "train-labels-idx1-ubyte");
    rt_write_idx(images, 3, (int[]){3, 2, 2}, body, 12);
    refuse_set(VM_data_idx, dir, 0, VM_ENV, "train-labels-idx1-ubyte[.gz] is not");
    rt_write_idx(labels, 1, (int[]){2}, body, 2);
    refuse_set(VM_data_idx, dir, 0, VM_INPUT, "has 3 images but");
    rt_write_idx(labels, 1, (int[]){3}, body, 3);
    refuse_set(VM_data_idx, dir, 5, VM_INPUT,
               "label 9 of image 1 is not below the number of classes, 5");
    VmDataQuery spec = {.kind = VM_data_idx, .dir = dir, .std = {0}};
    VmDataset *d;
    VmError err;
    cr_assert_eq(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err), VM_INPUT);
    spec.std[0] = 1;
    spec.resize = -1;
    cr_assert_eq(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err), VM_INPUT);
    rt_remove(dir);
}

Test(runtime_dataset, shuffle_is_a_permutation_of_seed_and_epoch) {
    enum { SIZE = 1000 };
    int64_t a[SIZE], b[SIZE];
    char seen[SIZE] = {0};
    vm_dataset_shuffle(SIZE, 1, 0, a);
    for (int i = 0; i < SIZE; i++) {
        cr_assert(a[i] >= 0 && a[i] < SIZE && !seen[a[i]]);
        seen[a[i]] = 1;
    }
    vm_dataset_shuffle(SIZE, 1, 0, b);
    cr_assert(memcmp(a, b, sizeof a) == 0);
    int fixed = 0, same_epoch = 0, same_seed = 0;
    vm_dataset_shuffle(SIZE, 1, 1, b);
    for (int i = 0; i < SIZE; i++) same_epoch += a[i] == b[i];
    vm_dataset_shuffle(SIZE, 2, 0, b);
    for (int i = 0; i < SIZE; i++) {
        same_seed += a[i] == b[i];
        fixed += a[i] == i;
    }
    cr_assert(fixed < 10 && same_epoch < 10 && same_seed < 10);
    vm_dataset_shuffle(1, 1, 0, a);
    cr_assert_eq(a[0], 0);
}

/* Every image should come first about equally often. */
Test(runtime_dataset, shuffle_is_fair) {
    int count[6] = {0};
    int64_t order[6];
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        vm_dataset_shuffle(6, 5, epoch, order);
        count[order[0]]++;
    }
    for (int i = 0; i < 6; i++) cr_assert(count[i] > 850 && count[i] < 1150, "%d: %d", i, count[i]);
}
