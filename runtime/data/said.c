/* What is said of data sets that are open. */
#include "runtime/data/data.h"

#include <stdlib.h>

const char *vm_dataset_class_list(Arena *a, const VmDataset *d, int64_t classes) {
    enum { MANY = 10 };
    const char *text = "";
    for (int64_t i = 0; i < classes && i < MANY && vm_dataset_class(d, i); i++)
        text = arena_printf(a, "%s%s%s", text, i ? ", " : " (", vm_dataset_class(d, i));
    return *text ? arena_printf(a, "%s%s)", text, classes > MANY ? ", .." : "") : "";
}

const char *vm_dataset_left_out_said(Arena *a, const VmDataset *d, VmSplit split) {
    int64_t n = d ? vm_dataset_left_out(d) : 0;
    if (!n) return NULL;
    char *list = vm_dataset_left_out_text(d);
    const char *text =
        arena_printf(a, "%lld of %lld images of the %s set of the data %s damaged and left out:%s",
                     (long long)n, (long long)(n + vm_dataset_size(d)), vm_split_names[split],
                     n == 1 ? "is" : "are", list ? list : "");
    free(list);
    return text;
}
