/* Image folders and archives as people have them: nested, with one folder on top, zipped, with
 * damaged files among them, held in memory or not. */
#include <archive.h>
#include <sys/stat.h>

#include "runtime/data/feed.h"
#include "runtime/data/image.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

enum { SIDE = 7, ONE = 3 * SIDE * SIDE, BATCH = 4, STEPS = 11 };

/* Images of many sizes, some of them deep below their class folder; returns their number. */
static int nested_files(TiFile *f) {
    static const char *const names[] = {
        "train/a/images/0.png", "train/a/images/1.jpg",   "train/a/2020/may/2.png",
        "train/a/3.png",        "train/b/x/y/z/0.png",    "train/b/1.png",
        "train/b/x/1.png",      "train/b/images/2.JPEG",  "train/b/images/3.png",
        "test/a/images/0.png",  "test/b/images/here.png", "test/b/1.jpeg"};
    int n = sizeof names / sizeof names[0];
    for (int i = 0; i < n; i++) {
        bool png = strstr(names[i], ".png") != NULL;
        f[i] = (TiFile){names[i], png ? ti_png(5 + i, 31 - 2 * i, (unsigned)i % 6)
                                      : ti_jpeg(40 + i, 9, (unsigned)i % 6, TJSAMP_420)};
    }
    return n;
}

typedef struct Prints {
    VmHash split[VM_SPLITS];
    int64_t size[VM_SPLITS];
} Prints;

static Prints prints_of(const VmDataQuery *q) {
    VmDataset *d[VM_SPLITS];
    VmError err = {.text = ""};
    Prints p;
    memset(&p, 0, sizeof p);
    cr_assert(vm_dataset_open_all(q, d, &err) == VM_OK, "%s", err.text);
    for (int s = 0; s < VM_SPLITS; s++) {
        if (!d[s]) continue;
        p.split[s] = vm_dataset_fingerprint(d[s]);
        p.size[s] = vm_dataset_size(d[s]);
        vm_dataset_close(d[s]);
    }
    return p;
}

static void same_prints(Prints a, Prints b, const char *what) {
    cr_assert(!memcmp(&a, &b, sizeof a), "%s", what);
}

Test(runtime_image_sets, nested_folders_and_all_archives_of_them) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES], top[TI_MAX_FILES];
    int n = nested_files(f);
    const char *set = rt_path(dir, "set"), *tar = rt_path(dir, "x.tar.gz"),
               *zip = rt_path(dir, "x.zip");
    ti_write_files(set, f, n);
    VmDataQuery q = ti_spec(set);
    q.resize = SIDE;
    Prints want = prints_of(&q);
    cr_assert(want.size[0] == 9 && want.size[1] == 3);
    char names[TI_MAX_FILES][64];
    for (int i = 0; i < n; i++) {
        top[i] = (TiFile){names[i], f[n - 1 - i].bytes};
        snprintf(names[i], sizeof names[i], "./photos/%s", f[n - 1 - i].path);
    }
    q.dir = tar;
    ti_write_tar(tar, ARCHIVE_FILTER_GZIP, f, n, 0);
    same_prints(prints_of(&q), want, "tar");
    ti_write_tar(tar, ARCHIVE_FILTER_GZIP, top, n, 0);
    same_prints(prints_of(&q), want, "tar with one folder on top");
    top[n] = (TiFile){"train/a/more.png", f[0].bytes};
    ti_write_tar(tar, ARCHIVE_FILTER_GZIP, top, n + 1, 0);
    ti_refuse(&q, VM_INPUT, "there are images in 'photos/' and in another place, train/a/more.png");
    q.dir = zip;
    for (int k = 0; k < 4; k++) {
        ti_write_zip(zip, k % 2 ? "photos/" : "", f, n, k < 2);
        same_prints(prints_of(&q), want, "zip");
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

/* Cut anywhere, or with one byte of an image changed, a zip archive is never taken. */
Test(runtime_image_sets, damaged_zip_archives_are_refused, .timeout = 60) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/a/0.png", ti_png(4, 4, 0)}, {"test/a/0.png", ti_png(4, 4, 1)}};
    const char *zip = rt_path(dir, "x.zip");
    ti_write_zip(zip, "", f, 2, true);
    size_t n;
    char *b = rt_read(zip, &n);
    VmDataQuery q = ti_spec(zip);
    for (size_t cut = 1; cut < n; cut += 3) {
        rt_write(zip, b, cut);
        ti_refuse(&q, VM_INPUT, "x.zip");
    }
    char *more = malloc(n + 1);
    memcpy(more, b, n);
    more[n] = 'x';
    rt_write(zip, more, n + 1);
    ti_refuse(&q, VM_INPUT, "something follows its end");
    memcpy(more, b, n);
    more[n - 12]--; /* entries that the directory has */
    rt_write(zip, more, n);
    ti_refuse(&q, VM_INPUT, "the archive's directory has 1 entries but 2 were met");
    free(more);
    free(b);
    ti_free_files(f, 2);
    rt_remove(dir);
}

Test(runtime_image_sets, a_link_back_is_refused) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/a/b/0.png", ti_png(4, 4, 0)}, {"test/a/0.png", ti_png(4, 4, 1)}};
    ti_write_files(dir, f, 2);
    char link[600];
    snprintf(link, sizeof link, "%s/train/a/b/up", dir);
    cr_assert(symlink("..", link) == 0);
    VmDataQuery q = ti_spec(dir);
    ti_refuse(&q, VM_INPUT, "train/a/b/up: a link leads back to a folder above it");
    ti_free_files(f, 2);
    rt_remove(dir);
}

/* ---- damaged images ---- */

/* Left out, the rest is as if they had never been there: from folder and archive, held or not. */
Test(runtime_image_sets, damaged_images_are_left_out) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES], good[TI_MAX_FILES];
    int n = nested_files(f), k = 0;
    for (int i = 0; i < n; i++) good[k++] = f[i];
    const char *set = rt_path(dir, "set"), *tar = rt_path(dir, "x.tar"),
               *clean = rt_path(dir, "clean");
    ti_write_files(clean, good, k);
    f[n++] = (TiFile){"train/a/0.png", ti_text("no image")};
    f[n++] = (TiFile){"train/b/0-cut.png", ti_png(9, 9, 0)};
    f[n - 1].bytes.n -= 20;
    f[n++] = (TiFile){"test/b/zz.png", ti_text("")};
    ti_write_files(set, f, n);
    TiFile moved[TI_MAX_FILES];
    for (int i = 0; i < n; i++) moved[i] = f[(i * 4 + 14) % n]; /* a damaged one first */
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, moved, n, 0);
    VmDataQuery q = ti_spec(clean);
    q.resize = SIDE;
    Prints want = prints_of(&q);
    q.dir = set;
    ti_refuse(&q, VM_INPUT, "3 of 15 images cannot be used");
    q.bad = VM_data_bad_skip;
    for (int how = 0; how < 4; how++) {
        static const VmWord caches[4] = {VM_data_cache_memory, VM_data_cache_none,
                                         VM_data_cache_disk, VM_data_cache_disk};
        q.cache = caches[how];
        q.cache_dir = rt_path(dir, "cache");
        same_prints(prints_of(&q), want, vm_words[q.cache].name);
    }
    q.dir = tar;
    q.cache = VM_NO_WORD;
    same_prints(prints_of(&q), want, "archive");
    VmDataset *d;
    VmError err;
    cr_assert(vm_dataset_open(&q, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_dataset_left_out(d), 2);
    char *text = vm_dataset_left_out_text(d);
    cr_assert(strstr(text, "\n  train/a/0.png: neither") &&
                  strstr(text, "\n  train/b/0-cut.png: damaged PNG"),
              "%s", text);
    free(text);
    vm_dataset_close(d);
    q.resize = 0; /* sizes that differ are no damage */
    ti_refuse(&q, VM_INPUT, "images of different sizes need `resize`");
    ti_free_files(f, n);
    rt_remove(dir);
}

Test(runtime_image_sets, nothing_is_left_if_all_are_damaged) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/a/0.png", ti_text("x")},
                  {"train/a/1.png", ti_text("y")},
                  {"test/a/0.png", ti_png(2, 2, 0)}};
    ti_write_files(dir, f, 3);
    VmDataQuery q = ti_spec(dir);
    q.bad = VM_data_bad_skip;
    ti_refuse(&q, VM_INPUT, "2 of 3 images cannot be used:\n  train/a/0.png: neither");
    ti_free_files(f, 3);
    rt_remove(dir);
}

/* ---- held or not ---- */

static void take(const VmDataset *d, int workers, float *image) {
    VmFeedSpec spec = {.source = d,
                       .order = VM_ORDER_SHUFFLED,
                       .batch = BATCH,
                       .seed = 3,
                       .end = STEPS,
                       .workers = workers};
    VmFeed *f;
    VmError err = {.text = ""};
    cr_assert(vm_feed_open(&f, &spec, &err) == VM_OK, "%s", err.text);
    for (int64_t step = 0; step < STEPS; step++) {
        VmBatch b = {.image = image + step * BATCH * ONE};
        cr_assert(vm_feed_batch(f, step, &b, &err) == VM_OK, "%s", err.text);
    }
    cr_assert(vm_feed_waited(f) > 0 && vm_feed_waited(f) == 0);
    vm_feed_close(f);
}

Test(runtime_image_sets, the_same_batches_wherever_images_are, .timeout = 60) {
    enum { ALL = STEPS * BATCH * ONE };
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = nested_files(f);
    const char *set = rt_path(dir, "set"), *cache = rt_path(dir, "cache");
    ti_write_files(set, f, n);
    float *want = calloc(ALL, sizeof *want), *is = calloc(ALL, sizeof *is);
    for (int how = 0; how < 9; how++) {
        static const VmWord caches[3] = {VM_data_cache_none, VM_data_cache_disk,
                                         VM_data_cache_memory};
        VmDataQuery q = ti_spec(set);
        q.resize = SIDE;
        q.cache = how ? caches[how % 3] : VM_data_cache_memory;
        q.cache_dir = cache;
        VmDataset *d;
        VmError err;
        cr_assert(vm_dataset_open(&q, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
        cr_assert_eq(vm_dataset_is_held(d), q.cache == VM_data_cache_memory);
        take(d, how ? how / 2 : 0, how ? is : want);
        if (how) cr_assert(!memcmp(is, want, ALL * sizeof *is), "%s", vm_words[q.cache].name);
        vm_dataset_close(d);
    }
    free(is);
    free(want);
    ti_free_files(f, n);
    rt_remove(dir);
}

/* What is more than the room is not held, without being told. */
Test(runtime_image_sets, what_has_no_room_is_not_held) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = nested_files(f);
    ti_write_files(dir, f, n);
    VmDataQuery q = ti_spec(dir);
    q.resize = SIDE;
    for (int k = 0; k < 3; k++) { /* room for all, for the training set, for less */
        static const int64_t room[3] = {12 * ONE, 11 * ONE, 8 * ONE};
        VmDataset *d[VM_SPLITS];
        VmDataSize size[VM_SPLITS];
        VmError err;
        q.room = room[k];
        cr_assert(vm_dataset_open_all(&q, d, &err) == VM_OK, "%s", err.text);
        cr_assert(vm_dataset_measure(&q, NULL, size, NULL, &err) == VM_OK, "%s", err.text);
        cr_assert_eq(vm_dataset_is_held(d[VM_TRAIN]), k < 2);
        cr_assert_eq(vm_dataset_is_held(d[VM_TEST]), k != 1);
        for (int s = 0; s < VM_SPLITS; s++) {
            if (d[s]) cr_assert_eq(size[s].held, vm_dataset_is_held(d[s]));
            vm_dataset_close(d[s]);
        }
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

/* The first step that wants it fails, and says why. */
Test(runtime_image_sets, a_file_that_changes_is_an_error) {
    char *dir = rt_folder();
    TiFile f[] = {{"train/a/0.png", ti_png(SIDE, SIDE, 0)},
                  {"train/a/1.png", ti_png(SIDE, SIDE, 1)}};
    const char *words[3] = {"train/a/1.png has changed since the data was opened",
                            "has changed since the data was opened: train/a/1.png: neither",
                            "cannot open"};
    for (int k = 0; k < 3; k++) {
        ti_write_files(dir, f, 2);
        VmDataQuery q = ti_spec(dir);
        q.cache = VM_data_cache_none;
        VmDataset *d;
        VmFeed *feed;
        VmError err = {.text = ""};
        cr_assert(vm_dataset_open(&q, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
        char path[600];
        snprintf(path, sizeof path, "%s/train/a/1.png", dir);
        if (k == 0) rt_write(path, f[0].bytes.at, f[0].bytes.n);
        if (k == 1) rt_write(path, "text", 4);
        if (k == 2) cr_assert(remove(path) == 0);
        VmFeedSpec spec = {.source = d, .order = VM_ORDER_STORED, .batch = 1, .end = 2};
        cr_assert(vm_feed_open(&feed, &spec, &err) == VM_OK, "%s", err.text);
        float image[ONE];
        VmBatch b = {.image = image};
        cr_assert(vm_feed_batch(feed, 0, &b, &err) == VM_OK, "%s", err.text);
        cr_assert_eq(vm_feed_batch(feed, 1, &b, &err), k == 2 ? VM_ENV : VM_INPUT);
        cr_assert(strstr(err.text, words[k]), "%s", err.text);
        vm_feed_close(feed);
        vm_dataset_close(d);
    }
    ti_free_files(f, 2);
    rt_remove(dir);
}

/* ---- on disk ---- */

/* The one file of decoded images. */
static char *kept_file(const char *cache) {
    char command[700], *path = calloc(1, 600);
    snprintf(command, sizeof command, "ls -d %s/images-v1/*", cache);
    FILE *p = popen(command, "r");
    cr_assert(p && fgets(path, 600, p) != NULL);
    pclose(p);
    path[strcspn(path, "\n")] = '\0';
    return path;
}

static VmHash open_print(const VmDataQuery *q, float *image) {
    VmDataset *d;
    VmError err;
    cr_assert(vm_dataset_open(q, VM_TRAIN, 0, &d, &err) == VM_OK, "%s", err.text);
    VmHash h = vm_dataset_fingerprint(d);
    take(d, 1, image);
    vm_dataset_close(d);
    return h;
}

/* Used again without decoding; made anew when a file is another; what is damaged in it is decoded.
 */
Test(runtime_image_sets, decoded_images_on_disk, .timeout = 60) {
    enum { ALL = STEPS * BATCH * ONE };
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = nested_files(f);
    const char *set = rt_path(dir, "set"), *cache = rt_path(dir, "cache");
    ti_write_files(set, f, n);
    VmDataQuery q = ti_spec(set);
    q.resize = SIDE;
    q.cache = VM_data_cache_disk;
    ti_refuse(&q, VM_USAGE, "there is none");
    q.cache_dir = cache;
    float *want = calloc(ALL, sizeof *want), *is = calloc(ALL, sizeof *is);
    VmHash first = open_print(&q, want);
    char *path = kept_file(cache);
    struct stat was, now;
    cr_assert(stat(path, &was) == 0 && (was.st_mode & 0777) == 0600);
    VmHash again = open_print(&q, is);
    cr_assert(stat(path, &now) == 0 && now.st_ino == was.st_ino, "it is used again");
    cr_assert(again.lo == first.lo && !memcmp(want, is, ALL * sizeof *is));
    size_t size;
    char *bytes = rt_read(path, &size);
    for (size_t at = 0; at < size; at += at < 4096 ? 13 : 97) { /* one byte wrong anywhere */
        bytes[at] ^= 0x55;
        rt_write(path, bytes, size);
        again = open_print(&q, is);
        cr_assert(again.lo == first.lo && !memcmp(want, is, ALL * sizeof *is), "byte %zu", at);
        bytes[at] ^= 0x55;
    }
    cr_assert(chmod(path, 0666) == 0);
    again = open_print(&q, is);
    cr_assert(stat(path, &now) == 0 && (now.st_mode & 0777) == 0600, "others could write to it");
    char image[600];
    snprintf(image, sizeof image, "%s/train/a/3.png", set);
    TiBytes other = ti_png(8, 8, 5);
    rt_write(image, other.at, other.n);
    again = open_print(&q, is);
    cr_assert(again.lo != first.lo, "another file is another set");
    free(other.at);
    free(bytes);
    free(path);
    free(is);
    free(want);
    ti_free_files(f, n);
    rt_remove(dir);
}
