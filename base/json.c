#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/text.h"

/* The library says "invalid" also when memory was short in the middle of a word: what is really
 * invalid is so again. */
VmStatus vm_json_read(const char *text, size_t n, const char *shown, json_t **out, VmError *err) {
    json_error_t first, again;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &first);
    if (!*out) *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &again);
    if (*out) return VM_OK;
    if (!again.text[0] || json_error_code(&again) == json_error_out_of_memory)
        return vm_fail(err, VM_ENV, "%s: out of memory", shown);
    return vm_fail(err, VM_INPUT, "%s: not valid JSON: %s", shown, again.text);
}

VmJson vm_json_object(void) {
    json_t *o = json_object();
    return (VmJson){o, o == NULL};
}

VmJson vm_json_list(void) {
    json_t *o = json_array();
    return (VmJson){o, o == NULL};
}

void vm_json_put_value(VmJson *o, const char *key, json_t *v) {
    if (!v || !o->value) {
        json_decref(v);
        o->failed = true;
        return;
    }
    int bad = key ? json_object_set_new(o->value, key, v) : json_array_append_new(o->value, v);
    if (bad) o->failed = true;
}

void vm_json_put(VmJson *o, const char *key, VmJson part) {
    o->failed |= part.failed;
    vm_json_put_value(o, key, part.value);
}

void vm_json_int(VmJson *o, const char *key, int64_t v) {
    vm_json_put_value(o, key, json_integer(v));
}

void vm_json_number(VmJson *o, const char *key, double v) {
    vm_json_put_value(o, key, isfinite(v) ? json_real(v) : json_null());
}

void vm_json_null(VmJson *o, const char *key) {
    vm_json_put_value(o, key, json_null());
}

void vm_json_bool(VmJson *o, const char *key, bool v) {
    vm_json_put_value(o, key, json_boolean(v));
}

/* The library takes nothing but UTF-8: the replacement character stands for every other byte. */
static json_t *repaired(const char *s, size_t n) {
    static const char replacement[] = "\xEF\xBF\xBD";
    char *copy = malloc(3 * n + 1), *to = copy;
    for (size_t i = 0; copy && i < n;) {
        size_t len = (size_t)text_utf8(s + i, n - i);
        memcpy(to, len ? s + i : replacement, len ? len : 3);
        to += len ? len : 3;
        i += len ? len : 1;
    }
    json_t *v = copy ? json_stringn(copy, (size_t)(to - copy)) : NULL;
    free(copy);
    return v;
}

void vm_json_string_n(VmJson *o, const char *key, const char *s, size_t n) {
    json_t *v = json_stringn(s, n);
    vm_json_put_value(o, key, v ? v : repaired(s, n));
}

void vm_json_string(VmJson *o, const char *key, const char *s) {
    vm_json_string_n(o, key, s, strlen(s));
}

void vm_json_free(VmJson *o) {
    json_decref(o->value);
    *o = (VmJson){0};
}

/* ---- text ---- */

typedef struct Said {
    char *at;
    size_t n, room;
    bool failed;
} Said;

static int put_text(const char *piece, size_t n, void *text) {
    Said *t = text;
    if (t->room - t->n <= n) { /* the end counts, too */
        size_t room = 2 * (t->n + n) + 64;
        char *more = t->failed ? NULL : realloc(t->at, room);
        if (!more) {
            t->failed = true;
            return -1;
        }
        t->at = more;
        t->room = room;
    }
    memcpy(t->at + t->n, piece, n);
    t->n += n;
    return 0;
}

/* The library does not look whether the name of a field could be written: with memory short it
 * would leave the name out. Here the text itself remembers. */
char *vm_json_dump(const json_t *value, size_t flags) {
    Said t = {0};
    if (json_dump_callback(value, put_text, &t, flags) || t.failed) {
        free(t.at);
        return NULL;
    }
    if (t.at) t.at[t.n] = '\0';
    return t.at;
}

char *vm_json_text(VmJson *o, size_t flags) {
    char *text = o->failed ? NULL : vm_json_dump(o->value, flags);
    vm_json_free(o);
    return text;
}

void vm_json_print(FILE *f, VmJson *o) {
    char *text = vm_json_text(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    VM_CHECK(text, "a result cannot be said in JSON");
    fprintf(f, "%s\n", text);
    free(text);
}
