/* JSON results, and JSON's memory: what the library would refuse (numbers that are not finite, text
 * that is not UTF-8) is said in a way it takes, so that a result is always printed. */
#include "driver/driver.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

json_t *drv_json_number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *drv_json_text(const char *s) {
    json_t *j = json_string(s);
    if (j) return j;
    Arena *a = arena_create();
    char *copy = arena_strdup(a, s);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    j = json_string(copy);
    arena_destroy(a);
    return j;
}

void drv_print_json(json_t *j) {
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    VM_CHECK(text, "a result cannot be said in JSON");
    puts(text);
    free(text);
    json_decref(j);
}

static void *json_memory(size_t size) {
    void *p = malloc(size);
    if (!p) vm_out_of_memory(size);
    return p;
}

void drv_json_memory(void) {
    json_set_alloc_funcs(json_memory, free);
}
