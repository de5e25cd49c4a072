/* Validation sets of image data: val/ beside test/, by any of its names, from folders and archives,
 * and what becomes of it where there is no test/ or a share of the training set validates. */
#include <archive.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/image.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

enum { SIDE = 6, FILES = 9, OF_TRAIN = 4, OF_TEST = 2, OF_VAL = 3 };

/* `val`: what the folder of the validation set is called. The files of the test set stand last. */
static void make_files(TiFile f[FILES], char names[FILES][64], const char *val) {
    static const char *const below[FILES] = {"train/a/0.png", "train/a/1.jpg", "train/b/0.png",
                                             "train/b/1.png", "/a/deep/0.png", "/a/1.png",
                                             "/b/0.jpg",      "test/a/0.png",  "test/b/0.png"};
    for (int i = 0; i < FILES; i++) {
        bool png = strstr(below[i], ".png") != NULL;
        snprintf(names[i], sizeof names[0], "%s%s", *below[i] == '/' ? val : "", below[i]);
        f[i] = (TiFile){names[i], png ? ti_png(7 + i, 5, (unsigned)i % 6)
                                      : ti_jpeg(7 + i, 5, (unsigned)i % 6, TJSAMP_420)};
    }
}

typedef struct Sets {
    VmHash print[VM_SPLITS];
    int64_t size[VM_SPLITS]; /* 0: not there */
    int64_t left_out[VM_SPLITS];
    char warning[1024]; /* of the training set */
} Sets;

static Sets sets_of(const VmDataQuery *q) {
    VmDataset *d[VM_SPLITS];
    VmError err = {.text = ""};
    Sets x;
    memset(&x, 0, sizeof x);
    cr_assert(vm_dataset_open_all(q, d, &err) == VM_OK, "%s", err.text);
    const char *warning = vm_dataset_warning(d[VM_TRAIN]);
    snprintf(x.warning, sizeof x.warning, "%s", warning ? warning : "");
    for (int i = 0; i < VM_SPLITS; i++) {
        if (!d[i]) continue;
        x.print[i] = vm_dataset_fingerprint(d[i]);
        x.size[i] = vm_dataset_size(d[i]);
        x.left_out[i] = vm_dataset_left_out(d[i]);
        vm_dataset_close(d[i]);
    }
    return x;
}

static void same_split(const Sets *a, const Sets *b, VmSplit split, const char *what) {
    cr_assert_eq(a->size[split], b->size[split], "%s: %d of split %d", what, (int)a->size[split],
                 (int)split);
    cr_assert(!memcmp(&a->print[split], &b->print[split], sizeof(VmHash)), "%s: split %d", what,
              (int)split);
}

static VmDataQuery query(const char *path) {
    VmDataQuery q = ti_spec(path);
    q.resize = SIDE;
    return q;
}

/* Folder, tar and zip in two orders of their files: `how` 0..4. */
static void write_set(const char *path, int how, const TiFile *f, int n) {
    TiFile turned[TI_MAX_FILES];
    for (int i = 0; i < n; i++) turned[i] = f[n - 1 - i];
    if (how == 0) ti_write_files(path, f, n);
    if (how == 1 || how == 2) ti_write_tar(path, ARCHIVE_FILTER_GZIP, how == 1 ? f : turned, n, 0);
    if (how > 2) ti_write_zip(path, "photos/", how == 3 ? f : turned, n, how == 3);
}

static const char *const ways[5] = {"set", "x.tar.gz", "turned.tar.gz", "x.zip", "turned.zip"};

Test(runtime_image_splits, val_beside_test_is_the_validation_set, .timeout = 60) {
    static const char *const called[3] = {"val", "valid", "validation"};
    Sets want = {.size = {0}};
    for (int k = 0; k < 3; k++) {
        char *dir = rt_folder(), names[FILES][64];
        TiFile f[FILES];
        make_files(f, names, called[k]);
        for (int how = 0; how < 5; how++) {
            const char *path = rt_path(dir, ways[how]);
            write_set(path, how, f, FILES);
            VmDataQuery q = query(path);
            Sets is = sets_of(&q);
            cr_assert(is.size[VM_TRAIN] == OF_TRAIN && is.size[VM_TEST] == OF_TEST &&
                      is.size[VM_VALIDATION] == OF_VAL);
            cr_assert_str_eq(is.warning, "");
            if (k == 0 && how == 0) want = is;
            for (int i = 0; i < VM_SPLITS; i++) same_split(&is, &want, (VmSplit)i, ways[how]);
            VmDataSize size[VM_SPLITS];
            VmError err = {.text = ""};
            cr_assert(vm_dataset_measure(&q, NULL, size, NULL, &err) == VM_OK, "%s", err.text);
            for (int i = 0; i < VM_SPLITS; i++) {
                VmDataset *d;
                cr_assert_eq(size[i].images, want.size[i]);
                cr_assert(vm_dataset_open(&q, (VmSplit)i, 0, &d, &err) == VM_OK, "%s", err.text);
                VmHash print = vm_dataset_fingerprint(d);
                cr_assert(!memcmp(&print, &want.print[i], sizeof print), "a split alone");
                vm_dataset_close(d);
            }
        }
        ti_free_files(f, FILES);
        rt_remove(dir);
    }
}

Test(runtime_image_splits, the_other_splits_are_as_without_it, .timeout = 60) {
    char *dir = rt_folder(), names[FILES][64];
    TiFile f[FILES], less[FILES - OF_VAL];
    make_files(f, names, "val");
    for (int i = 0; i < FILES - OF_VAL; i++) less[i] = f[i < OF_TRAIN ? i : i + OF_VAL];
    for (int how = 0; how < 5; how++) {
        char other[32];
        snprintf(other, sizeof other, "less-%s", ways[how]);
        write_set(rt_path(dir, ways[how]), how, f, FILES);
        write_set(rt_path(dir, other), how, less, FILES - OF_VAL);
        VmDataQuery q = query(rt_path(dir, ways[how]));
        Sets all = sets_of(&q);
        q.held_out = true;
        Sets held_out = sets_of(&q);
        q.dir = rt_path(dir, other);
        Sets without = sets_of(&q);
        for (int i = 0; i < VM_VALIDATION; i++) {
            same_split(&all, &without, (VmSplit)i, ways[how]);
            same_split(&held_out, &without, (VmSplit)i, ways[how]);
        }
        cr_assert(!held_out.size[VM_VALIDATION] && !without.size[VM_VALIDATION]);
        cr_assert(strstr(held_out.warning, "val/ of ") && strstr(held_out.warning, " is not used"),
                  "%s", held_out.warning);
        cr_assert_str_eq(without.warning, "");
    }
    ti_free_files(f, FILES);
    rt_remove(dir);
}

/* As in data for which nobody made a test set: ImageNet has train/ and val/. */
Test(runtime_image_splits, without_test_val_is_the_test_set, .timeout = 60) {
    static const char *const called[3] = {"val", "valid", "validation"};
    enum { N = FILES - OF_TEST };
    for (int k = 0; k < 3; k++) {
        char *dir = rt_folder(), names[FILES][64];
        TiFile f[FILES];
        make_files(f, names, called[k]);
        for (int how = 0; how < 5; how++) {
            const char *path = rt_path(dir, ways[how]);
            write_set(path, how, f, N);
            VmDataQuery q = query(path);
            for (int share = 0; share < 2; share++) {
                q.held_out = share;
                Sets is = sets_of(&q);
                cr_assert_eq(is.size[VM_TEST], OF_VAL);
                cr_assert_eq(is.size[VM_VALIDATION], 0);
                cr_assert_str_eq(is.warning, "");
            }
            VmDataset *d;
            VmError err = {.text = ""};
            cr_assert_eq(vm_dataset_open(&q, VM_VALIDATION, 0, &d, &err), VM_ENV);
            cr_assert(!d && strstr(err.text, "has no validation set"), "%s", err.text);
        }
        ti_free_files(f, FILES);
        rt_remove(dir);
    }
}

/* Images that are not held are decoded into a thread's own room, which a larger split outgrows. */
Test(runtime_image_splits, splits_may_have_images_of_other_sizes, .timeout = 60) {
    enum { N = 6, LARGE = 1500 };
    char *dir = rt_folder();
    TiFile f[N] = {
        {"train/a/0.png", ti_png(2, 2, 0)},       {"train/a/1.png", ti_png(2, 2, 1)},
        {"test/a/0.png", ti_png(LARGE, 9, 2)},    {"test/a/1.png", ti_png(LARGE, 9, 3)},
        {"val/a/0.png", ti_png(LARGE, LARGE, 4)}, {"val/a/1.png", ti_png(LARGE, LARGE, 5)}};
    ti_write_files(rt_path(dir, "set"), f, N);
    Sets want = {.size = {0}};
    for (int how = 0; how < 3; how++) {
        static const VmWord caches[3] = {VM_data_cache_memory, VM_data_cache_none,
                                         VM_data_cache_disk};
        VmDataQuery q = ti_spec(rt_path(dir, "set"));
        q.cache = caches[how];
        q.cache_dir = rt_path(dir, "cache");
        q.threads = 1;
        Sets is = sets_of(&q);
        if (!how) want = is;
        for (int i = 0; i < VM_SPLITS; i++)
            same_split(&is, &want, (VmSplit)i, vm_words[q.cache].name);
    }
    ti_free_files(f, N);
    rt_remove(dir);
}

/* ---- what is wrong with it ----------------------------------------------------------------- */

/* With one file more: what is said of it, from a folder and from archives; not a word when a share
 * of the training set validates, or the test set alone is read. */
static void refuse_more(TiFile more, const char *words) {
    char *dir = rt_folder(), names[FILES][64];
    TiFile f[FILES + 1];
    make_files(f, names, "val");
    f[FILES] = more;
    for (int how = 0; how < 5; how++) {
        const char *path = rt_path(dir, ways[how]);
        if (how > 2 && !more.bytes.n) continue; /* no zip archive of folders is made here */
        write_set(path, how, f, FILES + 1);
        VmDataQuery q = query(path);
        ti_refuse(&q, VM_INPUT, words);
        VmDataset *d;
        VmError err = {.text = ""};
        cr_assert(vm_dataset_open(&q, VM_TEST, 0, &d, &err) == VM_OK, "%s", err.text);
        vm_dataset_close(d);
        q.held_out = true;
        cr_assert_eq(sets_of(&q).size[VM_VALIDATION], 0);
    }
    ti_free_files(f, FILES + 1);
    rt_remove(dir);
}

Test(runtime_image_splits, its_classes_are_those_of_train, .timeout = 60) {
    refuse_more((TiFile){"val/c/0.png", ti_png(3, 3, 0)},
                "class 'c' of val/ is not one of the 2 of train/");
}

Test(runtime_image_splits, one_name_at_a_time, .timeout = 60) {
    char *dir = rt_folder(), names[FILES][64];
    TiFile f[FILES + 1];
    make_files(f, names, "val");
    f[FILES] = (TiFile){"valid/a/0.png", ti_png(3, 3, 0)};
    for (int how = 0; how < 5; how++) {
        const char *path = rt_path(dir, ways[how]);
        write_set(path, how, f, FILES + 1);
        VmDataQuery q = query(path);
        ti_refuse(&q, VM_INPUT, "/ are both there; expected one of them");
    }
    ti_free_files(f, FILES + 1);
    rt_remove(dir);
}

Test(runtime_image_splits, an_empty_one_is_none, .timeout = 60) {
    char *dir = rt_folder();
    TiFile f[] = {
        {"train/a/0.png", ti_png(2, 2, 0)}, {"test/a/0.png", ti_png(2, 2, 1)}, {"valid/", {0}}};
    for (int how = 0; how < 2; how++) {
        const char *path = rt_path(dir, ways[how]);
        write_set(path, how, f, 3);
        VmDataQuery q = query(path);
        ti_refuse(&q, VM_INPUT, "no images in valid/; expected valid/CLASS/NAME.jpg");
    }
    ti_free_files(f, 3);
    rt_remove(dir);
}

Test(runtime_image_splits, damaged_images_of_it_are_named, .timeout = 60) {
    refuse_more((TiFile){"val/b/9.png", ti_text("no image")},
                "val/b/9.png: neither a JPEG nor a PNG");
}

Test(runtime_image_splits, damaged_images_of_it_are_left_out, .timeout = 60) {
    char *dir = rt_folder(), names[FILES][64];
    TiFile f[FILES + 1];
    make_files(f, names, "val");
    write_set(rt_path(dir, "good"), 0, f, FILES);
    VmDataQuery q = query(rt_path(dir, "good"));
    Sets want = sets_of(&q);
    f[FILES] = (TiFile){"val/a/0.png", ti_text("no image")};
    for (int how = 0; how < 5 + 3; how++) {
        static const VmWord caches[3] = {VM_data_cache_none, VM_data_cache_disk,
                                         VM_data_cache_disk};
        const char *path = rt_path(dir, ways[how < 5 ? how : 0]);
        if (how < 5) write_set(path, how, f, FILES + 1);
        q = query(path);
        q.bad = VM_data_bad_skip;
        q.cache = how < 5 ? VM_NO_WORD : caches[how - 5];
        q.cache_dir = rt_path(dir, "cache");
        Sets is = sets_of(&q);
        for (int i = 0; i < VM_SPLITS; i++) {
            same_split(&is, &want, (VmSplit)i, how < 5 ? ways[how] : vm_words[q.cache].name);
            cr_assert_eq(is.left_out[i], i == VM_VALIDATION);
        }
    }
    ti_free_files(f, FILES + 1);
    rt_remove(dir);
}
