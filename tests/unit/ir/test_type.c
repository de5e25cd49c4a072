/* Tensor types. */
#include <criterion/criterion.h>

#include "ir/internal.h"

Test(type, rows_columns_and_elements) {
    IrType t = IR_TYPE(DT_f32, 4, 3, 5), vector = IR_TYPE(DT_i32, 7), scalar = ir_scalar(DT_f32);
    cr_assert_eq(ir_elems(&t), 60);
    cr_assert_eq(ir_rows(&t), 12);
    cr_assert_eq(ir_cols(&t), 5);
    cr_assert_eq(ir_elems(&vector), 7);
    cr_assert_eq(ir_rows(&vector), 1);
    cr_assert_eq(ir_cols(&vector), 7);
    cr_assert_eq(ir_elems(&scalar), 1);
    cr_assert_eq(ir_rows(&scalar), 1);
    cr_assert_eq(ir_cols(&scalar), 1);
}

Test(type, equality_looks_at_element_type_rank_and_dimensions) {
    IrType a = IR_TYPE(DT_f32, 4, 3), b = IR_TYPE(DT_i32, 4, 3), c = IR_TYPE(DT_f32, 4, 3, 1);
    IrType d = IR_TYPE(DT_f32, 3, 4), same = IR_TYPE(DT_f32, 4, 3);
    cr_assert(ir_type_equal(&a, &same));
    cr_assert_not(ir_type_equal(&a, &b));
    cr_assert(ir_shape_equal(&a, &b));
    cr_assert_not(ir_shape_equal(&a, &c));
    cr_assert_not(ir_shape_equal(&a, &d));
}

Test(type, text) {
    Arena *a = arena_create();
    IrType t = IR_TYPE(DT_f32, 64, 192), s = ir_scalar(DT_i32);
    cr_assert_str_eq(ir_type_text(a, &t), "f32[64,192]");
    cr_assert_str_eq(ir_type_text(a, &s), "i32[]");
    cr_assert_eq(ir_dtype_by_name("i32"), DT_i32);
    cr_assert_eq(ir_dtype_by_name("f64"), DT_COUNT);
    arena_destroy(a);
}

Test(type, legal_types_are_bounded_without_overflow) {
    Arena *a = arena_create();
    const int64_t big = INT64_C(1) << 39;
    IrType fine = IR_TYPE(DT_f32, big), many = IR_TYPE(DT_f32, big, 2);
    IrType overflow = IR_TYPE(DT_f32, INT64_MAX, INT64_MAX, INT64_MAX);
    IrType zero = IR_TYPE(DT_f32, 3, 0), negative = IR_TYPE(DT_f32, -1, -1);
    cr_assert_null(ir_type_check(a, &fine));
    cr_assert_not_null(ir_type_check(a, &many));
    cr_assert_not_null(ir_type_check(a, &overflow));
    cr_assert_str_eq(ir_type_check(a, &zero), "every dimension must be at least 1, found f32[3,0]");
    cr_assert_not_null(ir_type_check(a, &negative));
    cr_assert_eq(ir_elems(&overflow), INT64_MAX);
    arena_destroy(a);
}

Test(type, a_rank_out_of_range_is_our_bug, .signal = 6) {
    int64_t dim[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    ir_type(DT_f32, 7, dim);
}
