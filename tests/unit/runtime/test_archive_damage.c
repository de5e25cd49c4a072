/* Archives that are not whole: whatever is flipped, cut off or added, what is read is what was
 * packed, or nothing. The pictures are JPEGs, which have no checksums of their own and show most
 * damage to nobody. */
#include <archive.h>
#include <stdlib.h>

#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

enum { SIDE = 48, FILES = 6 };

typedef struct Prints {
    VmHash split[VM_SPLITS];
} Prints;

static VmStatus open_prints(const char *path, Prints *p, VmError *err) {
    VmDataQuery spec = ti_spec(path);
    VmDataset *d[VM_SPLITS];
    VmStatus s = vm_dataset_open_all(&spec, d, err);
    *p = (Prints){0};
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        if (!d[i]) continue;
        p->split[i] = vm_dataset_fingerprint(d[i]);
        vm_dataset_close(d[i]);
    }
    return s;
}

/* Nothing but the pixels that a JPEG of noise takes. */
static void write_noise(const char *path, int filter) {
    static const char *const names[FILES] = {"train/a/0.jpg", "train/a/1.jpg", "train/b/0.jpg",
                                             "train/b/1.jpg", "test/a/0.jpg",  "test/b/0.jpg"};
    TiFile f[FILES];
    unsigned noise = 7;
    for (int i = 0; i < FILES; i++) {
        unsigned char p[SIDE * SIDE * 3], *out = NULL;
        unsigned long n = 0;
        for (size_t j = 0; j < sizeof p; j++)
            p[j] = (unsigned char)((noise = noise * 1103515245u + 12345u) >> 16);
        tjhandle t = tjInitCompress();
        cr_assert(tjCompress2(t, p, SIDE, 0, SIDE, TJPF_RGB, &out, &n, TJSAMP_444, 60, 0) == 0);
        f[i] = (TiFile){names[i], {malloc(n), n}};
        memcpy(f[i].bytes.at, out, n);
        tjFree(out);
        tjDestroy(t);
    }
    ti_write_tar(path, filter, f, FILES, 0);
    ti_free_files(f, FILES);
}

/* Packed as users pack; false: the program is not installed. */
static bool pack(const char *dir, const char *program) {
    char command[512];
    write_noise(rt_path(dir, "plain"), ARCHIVE_FILTER_NONE);
    snprintf(command, sizeof command, "command -v %s > /dev/null && %s < '%s/plain' > '%s/packed'",
             program, program, dir, dir);
    return system(command) == 0;
}

static void flip(const char *program) {
    char *dir = rt_folder();
    const char *whole = rt_path(dir, "packed"), *path = rt_path(dir, "x");
    if (!pack(dir, program)) {
        rt_remove(dir);
        cr_skip("%s is not installed", program);
    }
    Prints want, got;
    VmError err;
    cr_assert(open_prints(whole, &want, &err) == VM_OK, "%s", err.text);
    size_t n;
    char *bytes = rt_read(whole, &n);
    unsigned noise = 1;
    int refused = 0;
    for (int round = 0; round < 400; round++) {
        noise = noise * 1103515245u + 12345u;
        size_t at = round < 100 ? (size_t)(round % 50 < 25 ? round % 50 : (int)n - 1 - round % 25)
                                : (noise >> 4) % n;
        char bit = (char)(1 << (noise >> 28) % 8);
        bytes[at] ^= bit;
        rt_write(path, bytes, n);
        bytes[at] ^= bit;
        VmStatus s = open_prints(path, &got, &err);
        cr_assert(s == VM_OK || s == VM_INPUT, "%s, byte %zu: %s", program, at, err.text);
        cr_assert(s || memcmp(&got, &want, sizeof got) == 0,
                  "%s: byte %zu of %zu changes what is read", program, at, n);
        refused += s != VM_OK;
    }
    cr_assert(refused > 300, "%s: %d refused", program, refused);
    free(bytes);
    rt_remove(dir);
}

Test(runtime_archive_damage, flips_in_gzip, .timeout = 120) {
    flip("gzip");
}
Test(runtime_archive_damage, flips_in_bzip2, .timeout = 120) {
    flip("bzip2");
}
Test(runtime_archive_damage, flips_in_xz, .timeout = 120) {
    flip("xz");
}
Test(runtime_archive_damage, flips_in_zstd, .timeout = 120) {
    flip("zstd");
}

/* Every cut is an error, but for those in the zeros that fill up a plain archive. */
static void cut(const char *program, size_t step) {
    char *dir = rt_folder();
    const char *path = rt_path(dir, "x"), *whole = rt_path(dir, program ? "packed" : "plain");
    if (!pack(dir, program ? program : "cat")) {
        rt_remove(dir);
        cr_skip("%s is not installed", program);
    }
    Prints want, got;
    VmError err;
    cr_assert(open_prints(whole, &want, &err) == VM_OK, "%s", err.text);
    size_t n;
    char *bytes = rt_read(whole, &n);
    size_t end = n;
    while (!program && bytes[end - 1] == 0) end--;
    end = program ? n : (end + 511) / 512 * 512 + 1024;
    for (size_t to = 0; to < n;
         to += to < 100 || to + 100 > end || to % 512 == 0 || to % 512 == 511 ? 1 : step) {
        rt_write(path, bytes, to);
        VmStatus s = open_prints(path, &got, &err);
        cr_assert_eq(s, to < end ? VM_INPUT : VM_OK, "cut to %zu of %zu: %d %s", to, n, s,
                     s ? err.text : "");
        cr_assert(s || memcmp(&got, &want, sizeof got) == 0, "cut to %zu", to);
    }
    free(bytes);
    rt_remove(dir);
}

Test(runtime_archive_damage, plain_cut, .timeout = 120) {
    cut(NULL, 53);
}
Test(runtime_archive_damage, gzip_cut, .timeout = 120) {
    cut("gzip", 97);
}
Test(runtime_archive_damage, bzip2_cut, .timeout = 120) {
    cut("bzip2", 197);
}
Test(runtime_archive_damage, xz_cut, .timeout = 120) {
    cut("xz", 197);
}
Test(runtime_archive_damage, zstd_cut, .timeout = 120) {
    cut("zstd", 197);
}

/* Within a header, too, of which the library says nothing. */
static void zip_cut(bool sizes) {
    char *dir = rt_folder();
    const char *path = rt_path(dir, "x.zip");
    TiFile f[TI_MAX_FILES];
    int files = ti_usual_files(f);
    ti_write_zip(path, "", f, files, sizes);
    ti_free_files(f, files);
    Prints got;
    VmError err;
    cr_assert(open_prints(path, &got, &err) == VM_OK, "%s", err.text);
    size_t n;
    char *bytes = rt_read(path, &n);
    for (size_t to = 0; to < n; to++) {
        rt_write(path, bytes, to);
        VmStatus s = open_prints(path, &got, &err);
        cr_assert_eq(s, VM_INPUT, "cut to %zu of %zu: %d %s", to, n, s, s ? err.text : "");
    }
    free(bytes);
    rt_remove(dir);
}

Test(runtime_archive_damage, zip_cut, .timeout = 120) {
    zip_cut(true);
    zip_cut(false);
}

static void refuse_bytes(const char *path, const char *bytes, size_t n, const char *words) {
    VmDataQuery spec = ti_spec(path);
    rt_write(path, bytes, n);
    ti_refuse(&spec, VM_INPUT, words);
}

Test(runtime_archive_damage, an_encrypted_zip_is_said_to_be_one) {
    enum { FLAGS = 6, ENCRYPTED = 1, STRONGLY = 1 << 6, NAMES = 1 << 13 };
    char *dir = rt_folder();
    const char *path = rt_path(dir, "x.zip");
    TiFile f[TI_MAX_FILES];
    int files = ti_usual_files(f);
    ti_write_zip(path, "", f, files, true);
    ti_free_files(f, files);
    size_t n;
    char *b = rt_read(path, &n);
    int flags = ENCRYPTED | STRONGLY | NAMES;
    b[FLAGS] = (char)flags;
    b[FLAGS + 1] = (char)(flags >> 8);
    refuse_bytes(path, b, n, "no tar or zip archive, or damaged at its beginning: it is encrypted");
    free(b);
    rt_remove(dir);
}

/* A zip whose first entry is stored as a stream, which ends nowhere. */
Test(runtime_archive_damage, what_the_library_says_nothing_of_is_damage) {
    VmDataQuery spec = ti_spec("tests/fuzz/corpus/archive/found-silent");
    VmDataSize size[VM_SPLITS];
    VmError err;
    cr_assert_eq(vm_dataset_measure(&spec, NULL, size, NULL, &err), VM_INPUT, "%s", err.text);
    cr_assert(strstr(err.text, "damaged at or behind the entry t/train/a/1.png: its contents make "
                               "no sense"),
              "%s", err.text);
}

Test(runtime_archive_damage, what_is_wrong_with_a_plain_archive_is_said) {
    char *dir = rt_folder();
    const char *path = rt_path(dir, "x.tar");
    write_noise(path, ARCHIVE_FILTER_NONE);
    size_t n, second;
    char *b = rt_read(path, &n);
    for (second = 512; memcmp(b + second, "train/a/1.jpg", 13) != 0;) second += 512;
    b[second + 3] ^= 1; /* its header: the checksum is wrong */
    refuse_bytes(path, b, n, "behind the entry train/a/0.jpg");
    b[second + 3] ^= 1;
    refuse_bytes(path, b, second,
                 "the archive's end mark is missing behind the entry train/a/0.jpg");
    memset(b + second, 0, 512); /* half an end mark */
    refuse_bytes(path, b, second + 512,
                 "the archive's end mark is missing behind the entry train/a/0.jpg");
    refuse_bytes(path, b, n, "something follows the end of the archive");
    write_noise(path, ARCHIVE_FILTER_NONE);
    free(b);
    b = rt_read(path, &n);
    b[n - 1] = 1; /* the last of the zeros */
    refuse_bytes(path, b, n, "something follows the end of the archive");
    free(b);
    rt_remove(dir);
}

/* ---- bad images ---- */

Test(runtime_archive_damage, the_same_bad_images_are_listed_by_any_threads, .timeout = 60) {
    enum { MANY = 60 };
    char *dir = rt_folder(), names[MANY][128], *first = NULL;
    TiFile f[MANY];
    for (int i = 0; i < MANY; i++) { /* names of all lengths, so that lines end anywhere */
        snprintf(names[i], sizeof names[i], "%s/c/%02d%.*s.png", i < MANY - 4 ? "train" : "test", i,
                 i % 7 * 10, "-a-very-long-name-that-fills-the-message-up-to-its-end-and-beyond");
        f[i] = (TiFile){names[i], i % 2 || i == 0 ? ti_text("bad") : ti_png(4, 4, 0)};
    }
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, MANY, 0);
    ti_write_files(set, f, MANY);
    for (int round = 0; round < 24; round++) {
        VmDataQuery spec = ti_spec(round % 2 ? tar : set);
        spec.threads = 1 + round / 2 % 4;
        VmDataset *d[VM_SPLITS];
        VmError err;
        cr_assert_eq(vm_dataset_open_all(&spec, d, &err), VM_INPUT);
        const char *list = strchr(err.text, '\n');
        cr_assert(strstr(err.text, ": 31 of 60 images cannot be used:\n  train/c/00.png: neither"),
                  "%s", err.text);
        int lines = 0;
        for (const char *at = list; at; at = strchr(at + 1, '\n')) lines++;
        cr_assert_eq(lines, 11, "%s", err.text);
        cr_assert(strstr(list, "\n  and 21 more") && strlen(strstr(list, "\n  and 21 more")) == 14,
                  "%s", list);
        if (!first) first = strdup(list);
        cr_assert_str_eq(list, first);
    }
    free(first);
    ti_free_files(f, MANY);
    rt_remove(dir);
}

Test(runtime_archive_damage, long_names_leave_whole_lines) {
    char *dir = rt_folder(), names[12][700];
    TiFile f[12];
    for (int i = 0; i < 12; i++) {
        char part[201];
        memset(part, 'a' + i, 200);
        part[200] = '\0';
        snprintf(names[i], sizeof names[i], "%s/%s/%s.png", i < 11 ? "train" : "test", "class",
                 part);
        f[i] = (TiFile){names[i], ti_text("bad")};
    }
    ti_write_files(dir, f, 12);
    VmDataQuery spec = ti_spec(dir);
    VmDataset *d[VM_SPLITS];
    VmError err;
    cr_assert_eq(vm_dataset_open_all(&spec, d, &err), VM_INPUT);
    int lines = 0;
    for (const char *at = strchr(err.text, '\n'); at; at = strchr(at + 1, '\n')) {
        const char *end = strchrnul(at + 1, '\n');
        bool whole = end - at > 20 && !memcmp(end - 30, "neither a JPEG nor a PNG image", 30);
        cr_assert(whole || !*end, "%s", err.text);
        lines++;
    }
    char last[32];
    snprintf(last, sizeof last, "\n  and %d more", 12 - (lines - 1));
    cr_assert(lines > 5 && strstr(err.text, last), "%s", err.text);
    ti_free_files(f, 12);
    rt_remove(dir);
}

/* ---- fingerprints ---- */

Test(runtime_archive_damage, fingerprints_tell_data_apart) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *tar = rt_path(dir, "x.tar"), *set = rt_path(dir, "set");
    ti_write_files(set, f, n);
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, n, 0);
    Prints folder, archive, other;
    VmError err;
    cr_assert(open_prints(set, &folder, &err) == VM_OK &&
              open_prints(tar, &archive, &err) == VM_OK);
    cr_assert(memcmp(&folder, &archive, sizeof folder) == 0);
    cr_assert(memcmp(&folder.split[0], &folder.split[1], sizeof(VmHash)) != 0);
    char from[512], to[512];
    snprintf(from, sizeof from, "%s/train/a", set);
    snprintf(to, sizeof to, "%s/train/aa", set);
    cr_assert(rename(from, to) == 0);
    VmDataQuery spec = ti_spec(set);
    VmDataset *d;
    cr_assert(rename(rt_path(set, "test/a"), rt_path(set, "test/aa")) == 0);
    cr_assert(vm_dataset_open(&spec, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
    other.split[0] = vm_dataset_fingerprint(d);
    cr_assert_str_eq(vm_dataset_class(d, 0), "B");
    cr_assert_str_eq(vm_dataset_class(d, 1), "a-b");
    cr_assert_str_eq(vm_dataset_class(d, 2), "aa");
    cr_assert(!vm_dataset_class(d, 3) && !vm_dataset_class(d, -1));
    vm_dataset_close(d);
    cr_assert(memcmp(&folder.split[0], &other.split[0], sizeof(VmHash)) != 0,
              "a class's name counts");
    ti_free_files(f, n);
    rt_remove(dir);
}
