/* Tensor files: written, read back, refused when anything in them is wrong; weights that do not
 * fit. */
#include "runtime/train/internal.h"
#include "tests/unit/runtime/runtime_test.h"

#include <dirent.h>
#include <math.h>

/* Writes header text and n bytes of data as a file of the format. */
static void put(const char *path, const char *header, const void *data, size_t n) {
    size_t len = strlen(header);
    char *all = calloc(1, 8 + len + n);
    for (int i = 0; i < 8; i++) all[i] = (char)(len >> (8 * i));
    memcpy(all + 8, header, len);
    if (n) memcpy(all + 8 + len, data, n);
    rt_write(path, all, 8 + len + n);
    free(all);
}

static void refuse(const char *path, VmStatus status, const char *words) {
    VmTensorFile *f;
    VmError err = {.text = ""};
    cr_assert_eq(vm_tensors_open(path, &f, &err), status, "expected '%s', got: %s", words,
                 err.text);
    cr_assert_null(f);
    cr_assert(strstr(err.text, words) != NULL, "'%s' lacks '%s'", err.text, words);
    cr_assert(strstr(err.text, path) != NULL);
    /* by who reads the header first and then the values, too */
    int64_t values[16];
    VmStatus s = vm_tensors_open_header(path, &f, &err);
    cr_assert((s == VM_OK) == (f != NULL));
    for (int i = 0; s == VM_OK && i < vm_tensors_count(f); i++)
        s = vm_tensors_read(f, vm_tensors_at(f, i), values, path, &err);
    cr_assert(s == status && strstr(err.text, words), "'%s' lacks '%s'", err.text, words);
    vm_tensors_close(f);
}

/* The open file's values are those that are read one by one. */
static void same_when_read(const VmTensorFile *f, const char *path) {
    VmTensorFile *g;
    VmError err;
    char got[64], again[64];
    cr_assert(vm_tensors_open_header(path, &g, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_tensors_count(f), vm_tensors_count(g));
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const VmTensorView *a = vm_tensors_at(f, i), *b = vm_tensors_at(g, i);
        size_t bytes = 4;
        for (int d = 0; d < a->rank; d++) bytes *= (size_t)a->dim[d];
        cr_assert(bytes <= sizeof got && !b->data);
        cr_assert_str_eq(a->name, b->name);
        cr_assert(vm_tensors_read(g, b, got, path, &err) == VM_OK, "%s", err.text);
        cr_assert(vm_tensors_read(f, a, again, path, &err) == VM_OK, "%s", err.text);
        cr_assert(!memcmp(got, a->data, bytes) && !memcmp(again, a->data, bytes), "%s", a->name);
    }
    vm_tensors_close(g);
}

Test(runtime_safetensors, round_trip) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "t.safetensors");
    const float a[6] = {1, -2, 3.5f, INFINITY, -0.0f, 1e-40f};
    const int32_t b[2] = {INT32_MIN, 7};
    const float c = 42;
    const VmTensorView t[] = {
        {.name = "z.weight", .rank = 2, .dim = {2, 3}, .data = a},
        {.name = "a\"quoted\xc3\xa9", .dtype = 1, .rank = 1, .dim = {2}, .data = b},
        {.name = "m", .rank = 0, .data = &c},
        {.name = "empty", .rank = 2, .dim = {0, 3}, .data = a}};
    VmError err;
    const char *const meta[] = {"who", "test"};
    cr_assert(vm_tensors_write(p, t, 4, meta, 1, &err) == VM_OK, "%s", err.text);
    VmTensorFile *f;
    cr_assert(vm_tensors_open(p, &f, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_tensors_count(f), 4);
    const VmTensorView *v = vm_tensors_find(f, "z.weight");
    cr_assert(v && v->dtype == 0 && v->rank == 2 && v->dim[0] == 2 && v->dim[1] == 3);
    cr_assert(memcmp(v->data, a, sizeof a) == 0);
    v = vm_tensors_find(f, "a\"quoted\xc3\xa9");
    cr_assert(v && v->dtype == 1 && memcmp(v->data, b, sizeof b) == 0);
    v = vm_tensors_find(f, "m");
    cr_assert(v && v->rank == 0 && *(const float *)v->data == 42);
    cr_assert(vm_tensors_find(f, "empty") && !vm_tensors_find(f, "nothing"));
    cr_assert_str_eq(vm_tensors_at(f, 0)->name, "a\"quoted\xc3\xa9", "sorted by name");
    cr_assert_null(vm_tensors_at(f, 4));
    same_when_read(f, p);
    vm_tensors_close(f);
    size_t n;
    char *bytes = rt_read(p, &n);
    cr_assert_eq((unsigned char)bytes[0] % 8, 0, "data starts at a multiple of 8");
    free(bytes);
    rt_remove(dir);
}

Test(runtime_safetensors, converts_and_checks_range) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "t");
    double d[2] = {0.5, INFINITY};
    put(p, "{\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", d, sizeof d);
    VmTensorFile *f;
    VmError err;
    cr_assert(vm_tensors_open(p, &f, &err) == VM_OK, "%s", err.text);
    const float *v = vm_tensors_find(f, "d")->data;
    cr_assert(vm_tensors_find(f, "d")->dtype == 0 && v[0] == 0.5f && isinf(v[1]));
    same_when_read(f, p);
    vm_tensors_close(f);
    d[0] = 1e300;
    put(p, "{\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", d, sizeof d);
    refuse(p, VM_INPUT, "too large for f32");
    int64_t n[2] = {-5, INT32_MAX};
    put(p, "{\"n\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}", n, sizeof n);
    cr_assert(vm_tensors_open(p, &f, &err) == VM_OK, "%s", err.text);
    const int32_t *i = vm_tensors_find(f, "n")->data;
    cr_assert(i[0] == -5 && i[1] == INT32_MAX);
    same_when_read(f, p);
    vm_tensors_close(f);
    n[1] += 1;
    put(p, "{\"n\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}", n, sizeof n);
    refuse(p, VM_INPUT, "too large for i32");
    rt_remove(dir);
}

/* Type and shape [8] of 16-bit patterns, and the value of each. */
static void halves(const char *type, const uint16_t bits[8], const float want[8]) {
    char *dir = rt_folder(), header[96];
    const char *p = rt_path(dir, "t");
    snprintf(header, sizeof header,
             "{\"h\":{\"dtype\":\"%s\",\"shape\":[8],\"data_offsets\":[0,16]}}", type);
    put(p, header, bits, 16);
    VmTensorFile *f;
    VmError err;
    cr_assert(vm_tensors_open(p, &f, &err) == VM_OK, "%s", err.text);
    const VmTensorView *v = vm_tensors_find(f, "h");
    cr_assert_eq(v->dtype, 0);
    for (int i = 0; i < 8; i++)
        cr_assert(memcmp((const float *)v->data + i, want + i, 4) == 0, "%s %04x is %a", type,
                  bits[i], (double)((const float *)v->data)[i]);
    same_when_read(f, p);
    vm_tensors_close(f);
    rt_remove(dir);
}

Test(runtime_safetensors, sixteen_bits_become_f32) {
    halves("F16", (uint16_t[]){0x3c00, 0xc000, 0x7bff, 0x0001, 0x83ff, 0x0400, 0x7c00, 0x8000},
           (float[]){1, -2, 65504, 0x1p-24f, -0x1.ff8p-15f, 0x1p-14f, INFINITY, -0.0f});
    halves("BF16", (uint16_t[]){0x3f80, 0xc000, 0x7f7f, 0x0001, 0x8080, 0x3eab, 0xff80, 0x8000},
           (float[]){1, -2, 0x1.fep127f, 0x1p-133f, -0x1p-126f, 0x1.56p-2f, -INFINITY, -0.0f});
}

Test(runtime_safetensors, data_at_odd_places_is_aligned) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "t");
    const float x[2] = {1, 2};
    for (int pad = 0; pad < 4; pad++) {
        char header[128];
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}%.*s", pad,
                 "   ");
        put(p, header, x, sizeof x);
        VmTensorFile *f;
        VmError err;
        cr_assert(vm_tensors_open(p, &f, &err) == VM_OK, "%s", err.text);
        cr_assert_eq((uintptr_t)vm_tensors_find(f, "x")->data % 4, 0u);
        cr_assert(memcmp(vm_tensors_find(f, "x")->data, x, sizeof x) == 0);
        same_when_read(f, p);
        vm_tensors_close(f);
    }
    rt_remove(dir);
}

#define ONE "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
Test(runtime_safetensors, refuses_wrong_files) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "t");
    static const struct {
        const char *header, *words;
    } wrong[] = {
        {"", "not valid JSON"},
        {"{", "not valid JSON"},
        {"[]", "not a JSON object"},
        {"{\"a\":{" ONE "[0,4]},\"a\":{" ONE "[4,8]}}", "duplicate"},
        {"{\"a\":{" ONE "[0,4]}}", "4 bytes follow"},
        {"{\"a\":{" ONE "[4,8]}}", "leave a hole"},
        {"{\"a\":{" ONE "[0,4]},\"b\":{" ONE "[2,6]}}", "overlap"},
        {"{\"a\":{" ONE "[0,4]},\"b\":{" ONE "[0,4]}}", "overlap"},
        {"{\"a\":{" ONE "[0,12]}}", "claims bytes 0..12 of 8"},
        {"{\"a\":{" ONE "[-4,0]}}", "claims bytes -4..0"},
        {"{\"a\":{" ONE "[4,0]}}", "claims bytes 4..0"},
        {"{\"a\":{" ONE "[0,8]}}", "has 8 bytes"},
        {"{\"a\":{" ONE "[0]}}", "data_offsets"},
        {"{\"a\":{" ONE "[0,4.5]}}", "data_offsets"},
        {"{\"a\":7}", "not described"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "no 'dtype'"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}", "type U8"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", "whole number"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
         "too large"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,8]}}",
         "has 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}",
         "7 dimensions"},
        {"{\"__metadata__\":{\"a\":1}}", "__metadata__"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}",
         "not valid JSON"},
    };
    const char data[8] = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        put(p, wrong[i].header, data, sizeof data);
        refuse(p, VM_INPUT, wrong[i].words);
    }
    refuse(rt_path(dir, "absent"), VM_ENV, "cannot open");
    refuse(dir, VM_ENV, "not a file");
    rt_write(p, "1234567", 7);
    refuse(p, VM_INPUT, "only 7 bytes");
    rt_write(p, "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refuse(p, VM_INPUT, "claims a header of 18446744073709551615");
    rt_write(p, "PK\3\4\0\0\10\10\0\0", 10);
    refuse(p, VM_INPUT, "torch.save");
    rt_remove(dir);
}

Test(runtime_safetensors, every_cut_is_noticed) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "t");
    const float x[5] = {1, 2, 3, 4, 5};
    const VmTensorView t[] = {{.name = "a", .rank = 1, .dim = {2}, .data = x},
                              {.name = "b", .rank = 1, .dim = {3}, .data = x + 2}};
    VmError err;
    cr_assert(vm_tensors_write(p, t, 2, NULL, 0, &err) == VM_OK);
    size_t n;
    char *bytes = rt_read(p, &n);
    for (size_t cut = 0; cut < n; cut++) {
        VmTensorFile *f;
        rt_write(p, bytes, cut);
        cr_assert_eq(vm_tensors_open(p, &f, &err), VM_INPUT, "cut at %zu", cut);
        cr_assert_eq(vm_tensors_open_header(p, &f, &err), VM_INPUT, "cut at %zu", cut);
    }
    /* and one that is made while the file is open */
    VmTensorFile *f;
    float got[3];
    rt_write(p, bytes, n);
    cr_assert(vm_tensors_open_header(p, &f, &err) == VM_OK, "%s", err.text);
    cr_assert(truncate(p, (off_t)n - 4) == 0);
    cr_assert(vm_tensors_read(f, vm_tensors_at(f, 0), got, p, &err) == VM_OK && got[1] == 2);
    cr_assert_eq(vm_tensors_read(f, vm_tensors_at(f, 1), got, p, &err), VM_ENV);
    cr_assert(strstr(err.text, "was cut off while it was read") != NULL, "%s", err.text);
    vm_tensors_close(f);
    free(bytes);
    rt_remove(dir);
}

static int files_in(const char *dir) {
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

Test(runtime_safetensors, writing_leaves_nothing_behind) {
    char *dir = rt_folder();
    const float x = 1;
    const VmTensorView twice[] = {{.name = "a", .data = &x}, {.name = "a", .data = &x}};
    VmError err;
    cr_assert_eq(vm_tensors_write(rt_path(dir, "t"), twice, 2, NULL, 0, &err), VM_INPUT);
    cr_assert(strstr(err.text, "two tensors are named 'a'") != NULL);
    cr_assert_eq(files_in(dir), 0);
    cr_assert_eq(vm_tensors_write(rt_path(dir, "no/such/t"), twice, 1, NULL, 0, &err), VM_ENV);
    /* a folder stands where the file should go: the rename fails, the temporary file goes */
    cr_assert(mkdir(rt_path(dir, "t"), 0777) == 0);
    cr_assert_eq(vm_tensors_write(rt_path(dir, "t"), twice, 1, NULL, 0, &err), VM_ENV);
    cr_assert_eq(files_in(dir), 1);
    rt_remove(dir);
}

/* ---- weights of a program ---- */

static const VmTensor tensors[] = {
    {.name = "a", .role = VM_ROLE_PARAM, .rank = 2, .dim = {2, 3}, .space = VM_WEIGHTS},
    {.name = "b", .role = VM_ROLE_PARAM, .rank = 1, .dim = {4}, .space = VM_WEIGHTS, .offset = 64},
    {.name = "s", .role = VM_ROLE_STATE, .rank = 1, .dim = {4}, .space = VM_STATE},
};
static const VmProgram program = {.abi = VM_ABI_VERSION,
                                  .name = "p",
                                  .tensor = tensors,
                                  .ntensor = 3,
                                  .space_bytes = {128, 64, 64}};

Test(runtime_safetensors, weights_load_all_or_nothing) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "w"), *q = rt_path(dir, "v");
    VmEngine *e;
    VmError err;
    cr_assert(vm_engine_create(1, &e, &err) == VM_OK);
    cr_assert_eq(vm_engine_add(e, &program, &err), 0, "%s", err.text);
    float *a = vm_engine_data(e, 0, "a"), *b = vm_engine_data(e, 0, "b");
    for (int i = 0; i < 4; i++) a[i] = b[i] = (float)(i + 1);
    cr_assert(vm_weights_save(e, 0, (VmPairs){0}, p, &err) == VM_OK, "%s", err.text);
    for (int i = 0; i < 4; i++) a[i] = b[i] = 0;
    cr_assert(vm_weights_load(e, 0, p, NULL, &err) == VM_OK, "%s", err.text);
    cr_assert(a[3] == 4 && b[0] == 1 && a[4] == 0);
    const float x[6] = {9, 9, 9, 9, 9, 9};
    const VmTensorView wrong[] = {{.name = "a", .rank = 2, .dim = {3, 2}, .data = x},
                                  {.name = "c", .rank = 1, .dim = {1}, .data = x},
                                  {.name = "b", .rank = 1, .dim = {4}, .data = x}};
    cr_assert(vm_tensors_write(q, wrong, 2, NULL, 0, &err) == VM_OK);
    cr_assert_eq(vm_weights_load(e, 0, q, NULL, &err), VM_INPUT);
    cr_assert(strstr(err.text, "1 missing: 'b'") != NULL, "%s", err.text);
    cr_assert(strstr(err.text, "1 not in the model: 'c'") != NULL, "%s", err.text);
    cr_assert(strstr(err.text, "'a' (model f32[2,3], file f32[3,2])") != NULL, "%s", err.text);
    cr_assert(vm_tensors_write(q, wrong + 1, 2, NULL, 0, &err) == VM_OK);
    cr_assert_eq(vm_weights_load(e, 0, q, NULL, &err), VM_INPUT);
    cr_assert_eq(b[0], 1.0f, "nothing changes when something does not fit");
    vm_engine_destroy(e);
    rt_remove(dir);
}

Test(runtime_safetensors, weights_are_set_one_by_one) {
    VmEngine *e;
    VmError err;
    cr_assert(vm_engine_create(1, &e, &err) == VM_OK);
    cr_assert_eq(vm_engine_add(e, &program, &err), 0, "%s", err.text);
    float *a = vm_engine_data(e, 0, "a"), *b = vm_engine_data(e, 0, "b");
    for (int i = 0; i < 4; i++) a[i] = b[i] = 5;
    const float x[4] = {1, 2, 3, 4};
    vm_weights_set(e, 0, &(VmTensorView){.name = "b", .rank = 1, .dim = {4}, .data = x});
    vm_weights_set(e, 0, &(VmTensorView){.name = "s", .rank = 1, .dim = {4}, .data = x});
    cr_assert(b[0] == 1 && b[3] == 4 && a[0] == 5, "b alone; state is no weight");
    vm_engine_destroy(e);
}

Test(runtime_safetensors, a_file_tells_of_itself) {
    char *dir = rt_folder();
    const char *q = rt_path(dir, "w");
    VmTensorFile *f;
    VmError err;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    const char *const meta[] = {"format", "vmoec", "classes", "[\"cat\",\"dog\"]"};
    const VmTensorView t[] = {{.name = "b", .rank = 2, .dim = {2, 3}, .data = x}};
    cr_assert(vm_tensors_write(q, t, 1, meta, 2, &err) == VM_OK);
    cr_assert(vm_tensors_open(q, &f, &err) == VM_OK, "%s", err.text);
    const char *name, *value;
    cr_assert(vm_tensors_meta(f, 1, &name, &value));
    cr_assert_str_eq(name, "classes");
    cr_assert_str_eq(value, meta[3]);
    cr_assert(!vm_tensors_meta(f, 2, &name, &value));
    cr_assert_str_eq(vm_tensors_type(f, 0), "F32");
    cr_assert_eq(vm_tensors_size(f, 0), 24);
    size_t n;
    char *bytes = rt_read(q, &n), sum[17], own[17];
    snprintf(sum, sizeof sum, "%.16s", vm_hash_text(vm_hash((VmHash){0, 0}, bytes, n)).text);
    free(bytes);
    vm_tensors_fingerprint(f, own);
    cr_assert_str_eq(own, sum, "as xxh128sum prints it");
    vm_tensors_close(f);
    cr_assert(vm_tensors_write(q, t, 1, NULL, 0, &err) == VM_OK);
    cr_assert(vm_tensors_open(q, &f, &err) == VM_OK, "%s", err.text);
    cr_assert(!vm_tensors_meta(f, 0, &name, &value), "nothing is said");
    vm_tensors_close(f);
    rt_remove(dir);
}

Test(runtime_safetensors, long_lists_of_trouble_are_cut) {
    char *dir = rt_folder();
    const char *p = rt_path(dir, "w");
    VmEngine *e;
    VmError err;
    cr_assert(vm_engine_create(1, &e, &err) == VM_OK);
    cr_assert_eq(vm_engine_add(e, &program, &err), 0);
    VmTensorView many[40];
    static char name[40][300];
    const float x = 0;
    for (int i = 0; i < 40; i++) {
        memset(name[i], 'a' + i % 26, 250);
        name[i][0] = (char)('0' + i);
        many[i] = (VmTensorView){.name = name[i], .data = &x};
    }
    cr_assert(vm_tensors_write(p, many, 40, NULL, 0, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(vm_weights_load(e, 0, p, NULL, &err), VM_INPUT);
    cr_assert(strstr(err.text, "40 not in the model") != NULL &&
              strstr(err.text, "2 missing: 'a', 'b'") != NULL);
    vm_engine_destroy(e);
    rt_remove(dir);
}
