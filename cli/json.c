/* JSON's memory. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>

static void *json_memory(size_t size) {
    void *p = malloc(size);
    if (!p) vm_out_of_memory(size);
    return p;
}

void drv_json_memory(void) {
    json_set_alloc_funcs(json_memory, free);
}

VmJson drv_view_json(const VmTensorView *v) {
    VmJson o = vm_json_object(), shape = vm_json_list();
    vm_json_string(&o, "name", v->name);
    vm_json_string(&o, "type", v->dtype ? "i32" : "f32");
    for (int i = 0; i < v->rank; i++) vm_json_int(&shape, NULL, v->dim[i]);
    vm_json_put(&o, "shape", shape);
    return o;
}
