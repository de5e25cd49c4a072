/* JSON objects whose every failure is remembered: fields are put in without a look, and the text at
 * the end is complete or NULL. The library's calls fail when memory is short, and one that nobody
 * checks leaves a field out in silence. */
#ifndef VMOEC_BASE_JSON_H
#define VMOEC_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

struct json_t;

/* Reads one JSON value; names of an object are unique. VM_INPUT with `shown` and what is wrong,
 * VM_ENV when memory is short. The caller releases *out. */
VmStatus vm_json_read(const char *text, size_t n, const char *shown, struct json_t **out,
                      VmError *err);

typedef struct VmJson {
    struct json_t *value; /* owned, until vm_json_take or vm_json_text */
    bool failed;
} VmJson;

VmJson vm_json_object(void);
VmJson vm_json_list(void);

/* key NULL: appended to a list. */
void vm_json_int(VmJson *o, const char *key, int64_t v);
void vm_json_number(VmJson *o, const char *key, double v); /* null when it is not finite */
void vm_json_bool(VmJson *o, const char *key, bool v);
void vm_json_null(VmJson *o, const char *key);
/* Bytes that are no UTF-8 become the replacement character. */
void vm_json_string(VmJson *o, const char *key, const char *s);
void vm_json_string_n(VmJson *o, const char *key, const char *s, size_t n);
void vm_json_put(VmJson *o, const char *key, VmJson part); /* takes it over */
void vm_json_put_value(VmJson *o, const char *key,
                       struct json_t *v); /* the same; NULL: a failure */

void vm_json_free(VmJson *o);
/* The text of a value, freed by the caller; NULL when memory was short. flags: the library's. */
char *vm_json_dump(const struct json_t *value, size_t flags);
/* The text, freed by the caller; NULL when anything failed. Releases the object. */
char *vm_json_text(VmJson *o, size_t flags);
/* One line; releases the object. For programs in which JSON without memory ends the process. */
void vm_json_print(FILE *f, VmJson *o);

#endif
