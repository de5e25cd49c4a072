/* Tensor files in the safetensors format: 8 bytes of header length, a JSON header, the data.
 *
 * A file is refused unless its header is well-formed, names are unique, every tensor's bytes are
 * exactly what its shape needs, and the tensors cover the data without holes or overlaps. What
 * passes is safe to use without further checks.
 *
 * Does not: read types other than those of file_types; know what a weight is (weights.c). */
#include "runtime/train/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_HEADER = 100 << 20 };
#define META "__metadata__"

/* Converts n values; what does not fit: NULL, nothing. */
typedef const char *Convert(const char *src, int64_t n, void *to);
static Convert from_f64, from_i64, from_f16, from_bf16;

typedef struct FileType {
    const char *name;
    int size, dtype;
    Convert *convert; /* NULL: values are as the program has them */
} FileType;
static const FileType file_types[] = {
    {"F32", 4, 0, NULL},       {"F64", 8, 0, from_f64}, {"F16", 2, 0, from_f16},
    {"BF16", 2, 0, from_bf16}, {"I32", 4, 1, NULL},     {"I64", 8, 1, from_i64},
};
enum { TYPES = sizeof file_types / sizeof file_types[0] };

typedef struct Entry {
    VmTensorView view;
    const FileType *type;
    int64_t begin, end, elems;
    void *own; /* converted or aligned copy */
} Entry;

struct VmTensorFile {
    const char *bytes; /* the whole file; NULL: its values are read when wanted, from fd */
    char *own;         /* bytes, when they are its own */
    size_t size;
    int fd;          /* -1: bytes are there */
    int64_t data_at; /* where the data begins in the file */
    json_t *header;  /* owns the names */
    Entry *entry;
    int count;
};

void vm_tensors_close(VmTensorFile *f) {
    if (!f) return;
    for (int i = 0; i < f->count; i++) free(f->entry[i].own);
    free(f->entry);
    free(f->own);
    if (f->fd >= 0) close(f->fd);
    json_decref(f->header);
    free(f);
}

static VmTensorFile *new_file(VmError *err) {
    VmTensorFile *f = vm_calloc(1, sizeof *f);
    if (f)
        f->fd = -1;
    else
        vm_fail(err, VM_ENV, "out of memory");
    return f;
}

int vm_tensors_count(const VmTensorFile *f) {
    return f->count;
}

const VmTensorView *vm_tensors_at(const VmTensorFile *f, int i) {
    return i >= 0 && i < f->count ? &f->entry[i].view : NULL;
}

const VmTensorView *vm_tensors_find(const VmTensorFile *f, const char *name) {
    for (int i = 0; i < f->count; i++) {
        if (strcmp(f->entry[i].view.name, name) == 0) return &f->entry[i].view;
    }
    return NULL;
}

const char *vm_tensors_type(const VmTensorFile *f, int i) {
    return f->entry[i].type->name;
}

int64_t vm_tensors_size(const VmTensorFile *f, int i) {
    return f->entry[i].end - f->entry[i].begin;
}

bool vm_tensors_meta(const VmTensorFile *f, int i, const char **name, const char **value) {
    json_t *meta = json_object_get(f->header, META);
    void *at = json_object_iter(meta);
    while (at && i-- > 0) at = json_object_iter_next(meta, at);
    if (!at) return false;
    *name = json_object_iter_key(at);
    *value = json_string_value(json_object_iter_value(at));
    return true;
}

void vm_tensors_fingerprint(const VmTensorFile *f, char out[17]) {
    snprintf(out, 17, "%.16s", vm_hash_text(vm_tensors_sum(f).hash).text);
}

VmFileSum vm_tensors_sum(const VmTensorFile *f) {
    return (VmFileSum){(int64_t)f->size, vm_hash((VmHash){0, 0}, f->bytes, f->size)};
}

/* ---- reading ---- */

static VmStatus bad_tensor(VmError *err, const char *path, const char *name, const char *what) {
    return vm_fail(err, VM_INPUT, "%s: tensor '%s': %s", path, name, what);
}

static VmStatus parse_shape(Entry *e, const json_t *shape, const char *path, VmError *err) {
    const char *name = e->view.name;
    if (!json_is_array(shape)) return bad_tensor(err, path, name, "no list 'shape'");
    size_t rank = json_array_size(shape);
    if (rank > VM_MAX_RANK) {
        return vm_fail(err, VM_INPUT,
                       "%s: tensor '%s' has %zu dimensions, at most %d are supported", path, name,
                       rank, VM_MAX_RANK);
    }
    e->view.rank = (int)rank;
    e->elems = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0) {
            return bad_tensor(err, path, name, "a dimension is not a whole number");
        }
        e->view.dim[i] = json_integer_value(d);
        if (__builtin_mul_overflow(e->elems, e->view.dim[i], &e->elems)) {
            return bad_tensor(err, path, name, "the shape is too large");
        }
    }
    return VM_OK;
}

static const FileType *type_named(const char *name) {
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(name, file_types[i].name)) return &file_types[i];
    return NULL;
}

static VmStatus parse_entry(Entry *e, const json_t *j, int64_t data_bytes, const char *path,
                            VmError *err) {
    const char *name = e->view.name;
    if (!json_is_object(j)) return bad_tensor(err, path, name, "not described by an object");
    const char *type = json_string_value(json_object_get(j, "dtype"));
    if (!type) return bad_tensor(err, path, name, "no 'dtype'");
    e->type = type_named(type);
    if (!e->type) {
        return vm_fail(err, VM_INPUT,
                       "%s: tensor '%s' has type %s; F32, F64, F16, BF16, I32 and I64 are "
                       "supported",
                       path, name, type);
    }
    e->view.dtype = e->type->dtype;
    VmStatus s = parse_shape(e, json_object_get(j, "shape"), path, err);
    if (s) return s;
    const json_t *range = json_object_get(j, "data_offsets");
    const json_t *begin = json_array_get(range, 0), *end = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(begin) || !json_is_integer(end)) {
        return bad_tensor(err, path, name, "no pair 'data_offsets'");
    }
    e->begin = json_integer_value(begin);
    e->end = json_integer_value(end);
    if (e->begin < 0 || e->end < e->begin || e->end > data_bytes) {
        return vm_fail(err, VM_INPUT,
                       "%s: tensor '%s' claims bytes %" PRId64 "..%" PRId64 " of %" PRId64
                       " bytes of data",
                       path, name, e->begin, e->end, data_bytes);
    }
    int64_t need;
    if (__builtin_mul_overflow(e->elems, (int64_t)e->type->size, &need) ||
        need != e->end - e->begin) {
        char shape[160];
        return vm_fail(
            err, VM_INPUT, "%s: tensor '%s' has %" PRId64 " bytes, which is not what %s %s needs",
            path, name, e->end - e->begin, type,
            vm_shape_text(e->view.dtype, e->view.rank, e->view.dim, shape, sizeof shape));
    }
    return VM_OK;
}

static int by_begin(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->view.name, y->view.name);
}

static VmStatus check_cover(const VmTensorFile *f, int64_t data_bytes, const char *path,
                            VmError *err) {
    int64_t at = 0;
    for (int i = 0; i < f->count; i++) {
        const Entry *e = &f->entry[i];
        if (e->begin != at) {
            return vm_fail(err, VM_INPUT,
                           "%s: tensor '%s' starts at byte %" PRId64
                           " of the data, expected %" PRId64 ": tensors %s",
                           path, e->view.name, e->begin, at,
                           e->begin < at ? "overlap" : "leave a hole");
        }
        at = e->end;
    }
    if (at == data_bytes) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: %" PRId64 " bytes follow the last tensor", path,
                   data_bytes - at);
}

static const char *from_f64(const char *src, int64_t n, void *to) {
    const char *why = NULL;
    for (int64_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, src + 8 * i, 8);
        float f = (float)x;
        if (isinf(f) && !isinf(x)) why = "a value is too large for f32";
        ((float *)to)[i] = f;
    }
    return why;
}

static const char *from_i64(const char *src, int64_t n, void *to) {
    const char *why = NULL;
    for (int64_t i = 0; i < n; i++) {
        int64_t x;
        memcpy(&x, src + 8 * i, 8);
        int32_t k = (int32_t)x;
        if (k != x) why = "a value is too large for i32";
        ((int32_t *)to)[i] = k;
    }
    return why;
}

static float of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* Every number of 16 bits is one of f32. */
static const char *from_bf16(const char *src, int64_t n, void *to) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, src + 2 * i, 2);
        ((float *)to)[i] = of_bits((uint32_t)x << 16);
    }
    return NULL;
}

static const char *from_f16(const char *src, int64_t n, void *to) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t x;
        memcpy(&x, src + 2 * i, 2);
        uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = x >> 10 & 31, rest = x & 1023;
        float *f = &((float *)to)[i];
        if (exponent == 31) /* infinite, or not a number */
            *f = of_bits(sign | 0x7f800000 | rest << 13);
        else if (exponent)
            *f = of_bits(sign | (exponent + 112) << 23 | rest << 13);
        else /* zero, or smaller than 2^-14 */
            *f = (sign ? -1 : 1) * ((float)rest * 0x1p-24f);
    }
    return NULL;
}

/* Points the view at its values: in place when they can be used as they are. */
static VmStatus place(Entry *e, const char *data, const char *path, VmError *err) {
    const char *src = data + e->begin;
    size_t bytes = (size_t)(e->end - e->begin);
    if (e->type->convert) {
        e->own = vm_calloc((size_t)e->elems, 4);
        if (!e->own) return vm_fail(err, VM_ENV, "%s: out of memory", path);
        const char *why = e->type->convert(src, e->elems, e->own);
        if (why) return bad_tensor(err, path, e->view.name, why);
        e->view.data = e->own;
        return VM_OK;
    }
    e->view.data = src;
    if ((uintptr_t)src % 4 == 0) return VM_OK;
    e->own = vm_calloc(bytes, 1);
    if (!e->own) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    memcpy(e->own, src, bytes);
    e->view.data = e->own;
    return VM_OK;
}

static bool metadata_ok(const json_t *meta) {
    const char *key;
    json_t *value;
    if (!json_is_object(meta)) return false;
    json_object_foreach ((json_t *)(uintptr_t)meta, key, value) {
        if (!json_is_string(value)) return false;
    }
    return true;
}

static VmStatus parse_header(VmTensorFile *f, int64_t data_bytes, const char *path, VmError *err) {
    f->entry = vm_calloc(json_object_size(f->header), sizeof *f->entry);
    if (!f->entry) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    const char *name;
    json_t *value;
    json_object_foreach (f->header, name, value) {
        if (strcmp(name, META) == 0) {
            if (!metadata_ok(value))
                return vm_fail(err, VM_INPUT, "%s: " META " is not a set of strings", path);
            continue;
        }
        Entry *e = &f->entry[f->count++];
        e->view.name = name;
        VmStatus s = parse_entry(e, value, data_bytes, path, err);
        if (s) return s;
    }
    qsort(f->entry, (size_t)f->count, sizeof *f->entry, by_begin);
    return check_cover(f, data_bytes, path, err);
}

/* What people take for it. */
static const char *other_format(const char *bytes) {
    if (!memcmp(bytes, "PK\3\4", 4))
        return "an archive of PyTorch's torch.save: "
               "safetensors.torch.save_file(torch.load(..), ..) makes one of it";
    if (!memcmp(bytes, "\x89HDF\r\n\x1a\n", 8)) return "HDF5";
    return NULL;
}

/* Length of the header, of which `start` holds the file's first bytes. */
static VmStatus header_length(const VmTensorFile *f, const char *start, const char *path,
                              uint64_t *length, VmError *err) {
    size_t size = f->size;
    if (size < 8)
        return vm_fail(err, VM_INPUT, "%s: not a safetensors file: only %zu bytes long", path,
                       size);
    *length = 0;
    for (int i = 0; i < 8; i++) *length |= (uint64_t)(unsigned char)start[i] << (8 * i);
    if (*length <= size - 8 && *length <= MAX_HEADER) return VM_OK;
    const char *other = other_format(start);
    if (other) return vm_fail(err, VM_INPUT, "%s: not a safetensors file but %s", path, other);
    return vm_fail(err, VM_INPUT,
                   "%s: not a safetensors file, or cut off: it claims a header of %" PRIu64
                   " bytes in a file of %zu",
                   path, *length, size);
}

static VmStatus parse(VmTensorFile *f, const char *header, uint64_t length, const char *path,
                      VmError *err) {
    char shown[600];
    snprintf(shown, sizeof shown, "%s: the header", path);
    VmStatus s = vm_json_read(header, (size_t)length, shown, &f->header, err);
    if (s) return s;
    if (!json_is_object(f->header))
        return vm_fail(err, VM_INPUT, "%s: the header is not a JSON object", path);
    f->data_at = (int64_t)(8 + length);
    return parse_header(f, (int64_t)f->size - f->data_at, path, err);
}

static VmStatus parse_bytes(VmTensorFile *f, const char *path, VmError *err) {
    uint64_t length;
    VmStatus s = header_length(f, f->bytes, path, &length, err);
    if (s == VM_OK) s = parse(f, f->bytes + 8, length, path, err);
    for (int i = 0; i < f->count && s == VM_OK; i++)
        s = place(&f->entry[i], f->bytes + f->data_at, path, err);
    return s;
}

/* Takes what vm_read_file or vm_read_in gave. */
static VmStatus open_bytes(VmTensorFile *f, VmStatus s, const char *path, VmTensorFile **out,
                           VmError *err) {
    if (f->own) f->bytes = f->own;
    if (s == VM_OK) s = parse_bytes(f, path, err);
    if (s) {
        vm_tensors_close(f);
        return s;
    }
    *out = f;
    return VM_OK;
}

VmStatus vm_tensors_open(const char *path, VmTensorFile **out, VmError *err) {
    *out = NULL;
    VmTensorFile *f = new_file(err);
    if (!f) return VM_ENV;
    return open_bytes(f, vm_read_file(path, &f->own, &f->size, err), path, out, err);
}

VmStatus vm_tensors_open_in(const VmDir *d, const char *name, const char *shown, VmTensorFile **out,
                            VmError *err) {
    *out = NULL;
    VmTensorFile *f = new_file(err);
    if (!f) return VM_ENV;
    return open_bytes(f, vm_read_in(d, name, &f->own, &f->size, err), shown, out, err);
}

VmStatus vm_tensors_open_memory(const void *bytes, size_t size, const char *shown,
                                VmTensorFile **out, VmError *err) {
    *out = NULL;
    VmTensorFile *f = new_file(err);
    if (!f) return VM_ENV;
    f->bytes = bytes;
    f->size = size;
    return open_bytes(f, VM_OK, shown, out, err);
}

/* ---- reading values when they are asked for ---- */

static VmStatus read_at(int fd, void *to, size_t n, int64_t at, const char *path, VmError *err) {
    for (size_t got = 0; got < n;) {
        ssize_t k = pread(fd, (char *)to + got, n - got, (off_t)(at + (int64_t)got));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return vm_fail(err, VM_ENV, "cannot read '%s': %s", path, strerror(errno));
        if (!k) return vm_fail(err, VM_ENV, "%s was cut off while it was read", path);
        got += (size_t)k;
    }
    return VM_OK;
}

static VmStatus open_header(VmTensorFile *f, const char *path, VmError *err) {
    char start[8] = "";
    uint64_t length;
    f->fd = vm_open_read(path, err);
    if (f->fd < 0) return err->status;
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return vm_fail(err, VM_ENV, "cannot read '%s': %s", path, strerror(errno));
    f->size = (size_t)st.st_size;
    VmStatus s = f->size < 8 ? VM_OK : read_at(f->fd, start, 8, 0, path, err);
    if (s == VM_OK) s = header_length(f, start, path, &length, err);
    if (s) return s;
    char *header = vm_calloc((size_t)length, 1);
    if (!header) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    s = read_at(f->fd, header, (size_t)length, 8, path, err);
    if (s == VM_OK) s = parse(f, header, length, path, err);
    free(header);
    return s;
}

VmStatus vm_tensors_open_header(const char *path, VmTensorFile **out, VmError *err) {
    *out = NULL;
    VmTensorFile *f = new_file(err);
    if (!f) return VM_ENV;
    VmStatus s = open_header(f, path, err);
    if (s) {
        vm_tensors_close(f);
        return s;
    }
    *out = f;
    return VM_OK;
}

VmStatus vm_tensors_read(const VmTensorFile *f, const VmTensorView *v, void *to, const char *path,
                         VmError *err) {
    const Entry *e = (const Entry *)(const void *)v; /* its first member */
    if (v->data) {
        memcpy(to, v->data, (size_t)e->elems * 4);
        return VM_OK;
    }
    size_t bytes = (size_t)(e->end - e->begin);
    if (!e->type->convert) return read_at(f->fd, to, bytes, f->data_at + e->begin, path, err);
    char *raw = vm_calloc(bytes, 1);
    if (!raw) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    VmStatus s = read_at(f->fd, raw, bytes, f->data_at + e->begin, path, err);
    const char *why = s == VM_OK ? e->type->convert(raw, e->elems, to) : NULL;
    free(raw);
    return why ? bad_tensor(err, path, v->name, why) : s;
}

/* ---- writing ---- */

static size_t view_bytes(const VmTensorView *t) {
    size_t n = 4;
    for (int i = 0; i < t->rank; i++) n *= (size_t)t->dim[i];
    return n;
}

static int by_name(const void *a, const void *b) {
    const VmTensorView *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static VmJson describe(const VmTensorView *t, size_t begin) {
    VmJson o = vm_json_object(), shape = vm_json_list(), range = vm_json_list();
    for (int i = 0; i < t->rank; i++) vm_json_int(&shape, NULL, t->dim[i]);
    vm_json_int(&range, NULL, (int64_t)begin);
    vm_json_int(&range, NULL, (int64_t)(begin + view_bytes(t)));
    vm_json_string(&o, "dtype", t->dtype == 0 ? "F32" : "I32");
    vm_json_put(&o, "shape", shape);
    vm_json_put(&o, "data_offsets", range);
    return o;
}

/* The header's text, padded with spaces so that the data starts at a multiple of 8; NULL: out of
 * memory. */
static char *header_text(const VmTensorView *const *t, int n, const char *const *meta, int npairs,
                         size_t *len) {
    VmJson header = vm_json_object(), info = vm_json_object();
    for (int i = 0; i < npairs; i++) vm_json_string(&info, meta[2 * i], meta[2 * i + 1]);
    if (npairs > 0)
        vm_json_put(&header, META, info);
    else
        vm_json_free(&info);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        vm_json_put(&header, t[i]->name, describe(t[i], at));
        at += view_bytes(t[i]);
    }
    char *text = vm_json_text(&header, JSON_COMPACT);
    if (!text) return NULL;
    size_t used = strlen(text);
    *len = (used + 7) & ~(size_t)7;
    char *padded = vm_calloc(*len + 1, 1);
    if (padded) {
        memset(padded, ' ', *len);
        memcpy(padded, text, used);
    }
    free(text);
    return padded;
}

/* Where a file's bytes go. */
typedef struct Sink {
    FILE *f;            /* NULL: to memory */
    VmHasher *sum;      /* NULL: nobody asks */
    unsigned char *to;  /* memory, `room` bytes of it; what does not fit is only counted */
    size_t room, bytes; /* bytes: so far */
} Sink;

static void put(Sink *s, const void *data, size_t n) {
    if (s->f)
        fwrite(data, 1, n, s->f); /* vm_file_commit sees a failure */
    else if (s->bytes <= s->room && n <= s->room - s->bytes)
        memcpy(s->to + s->bytes, data, n);
    s->bytes += n;
    if (s->sum) vm_hasher_add(s->sum, data, n);
}

static void write_all(Sink *s, const char *header, size_t len, const VmTensorView *const *t,
                      int n) {
    unsigned char size[8];
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)len >> (8 * i));
    put(s, size, 8);
    put(s, header, len);
    for (int i = 0; i < n; i++) put(s, t[i]->data, view_bytes(t[i]));
}

static VmStatus check_unique(const VmTensorView *const *t, int n, const char *path, VmError *err) {
    for (int i = 1; i < n; i++) {
        if (strcmp(t[i - 1]->name, t[i]->name) != 0) continue;
        return vm_fail(err, VM_INPUT, "%s: two tensors are named '%s'", path, t[i]->name);
    }
    return VM_OK;
}

/* dir NULL: `path` is the user's. sum may be NULL. */
static VmStatus write_sorted(const VmDir *dir, const char *path, const VmTensorView *const *t,
                             int n, const char *const *meta, int npairs, VmFileSum *sum,
                             VmError *err) {
    VmStatus s = check_unique(t, n, path, err);
    if (s) return s;
    size_t len = 0;
    char *header = header_text(t, n, meta, npairs, &len);
    VmHasher *hasher = sum ? vm_hasher_create() : NULL;
    VmFile w = {.dir = -1};
    if (!header || (sum && !hasher))
        s = vm_fail(err, VM_ENV, "%s: out of memory", path);
    else
        s = dir ? vm_file_begin_in(&w, dir, path, err) : vm_file_begin(&w, path, err);
    if (s == VM_OK) {
        write_all(&(Sink){.f = w.f, .sum = hasher}, header, len, t, n);
        if (sum) *sum = (VmFileSum){.bytes = ftello(w.f)};
        s = vm_file_commit(&w, err);
    }
    free(header);
    VmHash hash = vm_hasher_end(hasher);
    if (sum) sum->hash = hash;
    return s;
}

/* By name; NULL: out of memory. Freed by the caller. */
static const VmTensorView **sort(const VmTensorView *t, int n) {
    const VmTensorView **sorted = vm_calloc((size_t)n, sizeof *sorted);
    for (int i = 0; i < n && sorted; i++) sorted[i] = &t[i];
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    return sorted;
}

static VmStatus write_tensors(const VmDir *dir, const char *path, const VmTensorView *t, int n,
                              const char *const *meta, int npairs, VmFileSum *sum, VmError *err) {
    const VmTensorView **sorted = sort(t, n);
    if (!sorted) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    VmStatus s = write_sorted(dir, path, sorted, n, meta, npairs, sum, err);
    free(sorted);
    return s;
}

VmStatus vm_tensors_write_memory(const VmTensorView *t, int n, VmPairs meta, void *to, size_t room,
                                 size_t *bytes, VmError *err) {
    size_t len = 0;
    *bytes = 0;
    const VmTensorView **sorted = sort(t, n);
    VmStatus s = sorted ? check_unique(sorted, n, "memory", err) : VM_ENV;
    char *header = s ? NULL : header_text(sorted, n, meta.at, meta.n, &len);
    Sink sink = {.to = to, .room = to ? room : 0};
    if (header) write_all(&sink, header, len, sorted, n);
    *bytes = sink.bytes;
    if (!sorted || (!s && !header)) s = vm_fail(err, VM_ENV, "out of memory");
    free(header);
    free(sorted);
    return s;
}

VmStatus vm_tensors_write(const char *path, const VmTensorView *t, int n, const char *const *meta,
                          int nmeta_pairs, VmError *err) {
    return write_tensors(NULL, path, t, n, meta, nmeta_pairs, NULL, err);
}

VmStatus vm_tensors_write_in(const VmDir *d, const char *name, const VmTensorView *t, int n,
                             const char *const *meta, int nmeta_pairs, VmFileSum *sum,
                             VmError *err) {
    return write_tensors(d, name, t, n, meta, nmeta_pairs, sum, err);
}
