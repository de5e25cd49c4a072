/* Names of images: of a folder below their split, of an archive its entries, whether images are in
 * memory or not; counted where memory is predicted; those of images held out of a set. */
#include <archive.h>

#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

enum { TRAIN = 7 };

/* The training set of ti_usual_files in its order: classes and files bytewise. */
static const char *const in_order[TRAIN] = {"B/0.jpeg", "B/1.png",   "a/10.png", "a/9.png",
                                            "a/aa.jpg", "a-b/0.jpg", "a-b/1.PNG"};

static int by_bytes(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static VmDataset *opened(const VmDataQuery *q, VmSplit split) {
    VmDataset *d;
    VmError err = {.text = ""};
    cr_assert(vm_dataset_open(q, split, 0, &d, &err) == VM_OK, "%s", err.text);
    return d;
}

/* Every image of the training set has the file that its number stands for. */
static void has_names(const VmDataset *d, const char *before) {
    cr_assert_eq(vm_dataset_size(d), TRAIN);
    for (int64_t i = 0; i < TRAIN; i++) {
        char want[64];
        const char *file = vm_dataset_file(d, i);
        snprintf(want, sizeof want, "%s%s", before, in_order[i]);
        cr_assert(file && !strcmp(file, want), "%d: %s, not %s", (int)i, file ? file : "none",
                  want);
        size_t n = strlen(vm_dataset_class(d, vm_dataset_label(d, i)));
        cr_assert(!strncmp(in_order[i], vm_dataset_class(d, vm_dataset_label(d, i)), n));
        cr_assert_eq(in_order[i][n], '/');
    }
}

typedef struct Place {
    const char *path, *before;
    VmWord cache;
} Place;

Test(runtime_image_paths, of_folders_and_archives_in_memory_or_not) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *set = rt_path(dir, "set"), *tar = rt_path(dir, "x.tar"),
               *zip = rt_path(dir, "x.zip");
    ti_write_files(set, f, n);
    ti_write_tar(tar, ARCHIVE_FILTER_NONE, f, n, 0);
    ti_write_zip(zip, "photos/", f, n, true);
    const Place place[] = {{set, "", VM_data_cache_memory},
                           {set, "", VM_data_cache_none},
                           {tar, "train/", VM_NO_WORD},
                           {zip, "photos/train/", VM_NO_WORD}};
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        VmDataQuery q = ti_spec(place[i].path);
        q.cache = place[i].cache;
        VmDataset *silent = opened(&q, VM_TRAIN);
        cr_assert_eq(vm_dataset_file(silent, 0) == NULL, vm_dataset_is_held(silent));
        q.files = true;
        VmDataset *d = opened(&q, VM_TRAIN);
        has_names(d, place[i].before);
        vm_dataset_close(silent);
        vm_dataset_close(d);
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

Test(runtime_image_paths, are_in_the_memory_that_is_predicted) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *zip = rt_path(dir, "x.zip"), *set = rt_path(dir, "set");
    ti_write_files(set, f, n);
    ti_write_zip(zip, "photos/", f, n, true);
    for (int k = 0; k < 2; k++) {
        VmDataQuery q = ti_spec(k ? zip : set);
        VmDataSize without[VM_SPLITS], with[VM_SPLITS];
        VmError err = {.text = ""};
        cr_assert_eq(vm_dataset_measure(&q, NULL, without, NULL, &err), VM_OK, "%s", err.text);
        q.files = true;
        cr_assert_eq(vm_dataset_measure(&q, NULL, with, NULL, &err), VM_OK, "%s", err.text);
        int64_t names = TRAIN * (int64_t)sizeof(size_t);
        for (int i = 0; i < TRAIN; i++)
            names += (int64_t)(strlen(k ? "photos/train/" : "train/") + strlen(in_order[i]) + 1);
        VmDataset *d = opened(&q, VM_TRAIN);
        cr_assert_eq(with[VM_TRAIN].bytes, without[VM_TRAIN].bytes + names);
        cr_assert_eq(with[VM_TRAIN].bytes, vm_dataset_bytes(d));
        vm_dataset_close(d);
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

Test(runtime_image_paths, of_what_is_held_out) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *set = rt_path(dir, "set");
    ti_write_files(set, f, n);
    for (int k = 0; k < 2; k++) {
        VmDataQuery q = ti_spec(set);
        q.files = true;
        q.cache = k ? VM_data_cache_none : VM_data_cache_memory;
        VmDataset *d = opened(&q, VM_TRAIN), *part[2];
        VmError err = {.text = ""};
        cr_assert_eq(vm_dataset_hold_out(d, 0.4, 7, &part[0], &part[1], &err), VM_OK);
        const char *all[TRAIN], *want[TRAIN];
        int found = 0;
        for (int p = 0; p < 2; p++)
            for (int64_t i = 0; i < vm_dataset_size(part[p]) && found < TRAIN; i++) {
                const char *class = vm_dataset_class(d, vm_dataset_label(part[p], i));
                const char *file = all[found++] = vm_dataset_file(part[p], i);
                cr_assert(!strncmp(file, class, strlen(class)), "%s of %s", file, class);
            }
        cr_assert_eq(found, TRAIN);
        cr_assert_gt(vm_dataset_size(part[1]), 0);
        memcpy(want, in_order, sizeof want);
        qsort(all, TRAIN, sizeof all[0], by_bytes);
        qsort(want, TRAIN, sizeof want[0], by_bytes);
        for (int i = 0; i < TRAIN; i++) cr_assert_str_eq(all[i], want[i]);
        for (int p = 0; p < 2; p++) vm_dataset_close(part[p]);
        vm_dataset_close(d);
    }
    ti_free_files(f, n);
    rt_remove(dir);
}

Test(runtime_image_paths, skip_what_is_damaged) {
    char *dir = rt_folder();
    TiFile f[TI_MAX_FILES];
    int n = ti_usual_files(f);
    const char *set = rt_path(dir, "set");
    f[0].bytes.n /= 2; /* train/a/10.png */
    ti_write_files(set, f, n);
    VmDataQuery q = ti_spec(set);
    q.files = true;
    q.bad = VM_data_bad_skip;
    VmDataset *d = opened(&q, VM_TRAIN);
    cr_assert_eq(vm_dataset_size(d), TRAIN - 1);
    cr_assert_str_eq(vm_dataset_file(d, 1), "B/1.png");
    cr_assert_str_eq(vm_dataset_file(d, 2), "a/9.png");
    vm_dataset_close(d);
    ti_free_files(f, n);
    rt_remove(dir);
}
