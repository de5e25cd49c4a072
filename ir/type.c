/* Tensor types: element type and static dimensions. Products of dimensions saturate instead of
 * overflowing, so every question about an illegal type has a defined answer; ir_type_check refuses
 * such types before they get anywhere. */
#include "ir/internal.h"

#include <string.h>

static const struct {
    const char *name;
    int size;
} dtypes[DT_COUNT] = {[DT_f32] = {"f32", 4}, [DT_i32] = {"i32", 4}, [DT_bf16] = {"bf16", 2}};

IrType ir_type(DType dtype, int rank, const int64_t *dim) {
    VM_CHECK(rank >= 0 && rank <= IR_MAX_RANK, "a type of rank %d", rank);
    VM_CHECK((unsigned)dtype < DT_COUNT, "element type %d", (int)dtype);
    IrType t = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
    return t;
}

IrType ir_scalar(DType dtype) {
    return ir_type(dtype, 0, NULL);
}

static int64_t product(const int64_t *dim, int n) {
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        if (__builtin_mul_overflow(p, dim[i], &p)) return INT64_MAX;
    return p;
}

int64_t ir_elems(const IrType *t) {
    return product(t->dim, t->rank);
}

int64_t ir_rows(const IrType *t) {
    return t->rank ? product(t->dim, t->rank - 1) : 1;
}

int64_t ir_cols(const IrType *t) {
    return t->rank ? t->dim[t->rank - 1] : 1;
}

bool ir_shape_equal(const IrType *a, const IrType *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

bool ir_type_equal(const IrType *a, const IrType *b) {
    return a->dtype == b->dtype && ir_shape_equal(a, b);
}

const char *ir_dtype_name(DType d) {
    VM_CHECK((unsigned)d < DT_COUNT, "element type %d", (int)d);
    return dtypes[d].name;
}

int ir_dtype_size(DType d) {
    VM_CHECK((unsigned)d < DT_COUNT, "element type %d", (int)d);
    return dtypes[d].size;
}

DType ir_dtype_by_name(const char *name) {
    for (int d = 0; d < DT_COUNT; d++)
        if (strcmp(dtypes[d].name, name) == 0) return (DType)d;
    return DT_COUNT;
}

const char *ir_type_text(Arena *a, const IrType *t) {
    Text text = text_new(a);
    text_add(&text, ir_dtype_name(t->dtype));
    text_add(&text, "[");
    for (int i = 0; i < t->rank; i++)
        text_addf(&text, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    text_add(&text, "]");
    return text.data;
}

const char *ir_type_check(Arena *a, const IrType *t) {
    if ((unsigned)t->dtype >= DT_COUNT) return "unknown element type";
    if (t->rank < 0 || t->rank > IR_MAX_RANK)
        return arena_printf(a, "expected at most %d dimensions, found %d", IR_MAX_RANK, t->rank);
    int64_t elems = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] < 1)
            return arena_printf(a, "every dimension must be at least 1, found %s",
                                ir_type_text(a, t));
        if (__builtin_mul_overflow(elems, t->dim[i], &elems) || elems >= IR_MAX_ELEMS)
            return arena_printf(a, "expected fewer than 2^40 elements, found %s",
                                ir_type_text(a, t));
    }
    return NULL;
}
