/* JSON's memory. */
#include "driver/commands/commands.h"

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
