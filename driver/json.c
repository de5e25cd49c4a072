/* JSON results: what the library would refuse (numbers that are not finite, text that is not UTF-8) is said
 * in a way it takes, so that a result is always printed. */
#include "driver/driver.h"

#include <jansson.h>
#include <math.h>

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
    VM_CHECK(j, "a result cannot be said in JSON");
    json_dumpf(j, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(j);
}
