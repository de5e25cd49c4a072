/* What a model may take, against what data give. */
#include <criterion/criterion.h>
#include <string.h>

#include "recipe/inputs.h"

static const VmDataShape digits = {
    .name = "digits", .channels = 1, .height = 8, .width = 8, .classes = 4, .class_names = ""};

static const VmTensor image = {.name = "image", .rank = 4, .dim = {2, 1, 8, 8}};
static const VmTensor number = {.name = "label", .dtype = 1, .rank = 1, .dim = {2}};
static const VmTensor shares = {.name = "label", .rank = 2, .dim = {2, 4}};

/* The first message, or "". */
static const char *message(VmTensor label, const VmDataShape *d, int64_t classes) {
    static VmError err;
    const VmTensor both[] = {image, label};
    VmModelInputs in = {.at = both, .n = 2, .classes = classes, .limit = " but logits have"};
    int at = 0;
    return vm_inputs_check(&in, d, &at, &err) ? err.text : "";
}

Test(inputs, labels_of_any_kind) {
    cr_assert_str_eq(message(number, &digits, 4), "");
    cr_assert_str_eq(message(number, &digits, 0), "");
    cr_assert_str_eq(message(number, &digits, 7), "");
    cr_assert_str_eq(message(shares, &digits, 0), "");
    cr_assert_str_eq(message(number, &digits, 3), "digits has 4 classes but logits have 3");
    VmTensor few = shares, rank = shares;
    few.dim[1] = 3;
    rank.rank = 1;
    cr_assert_str_eq(message(few, &digits, 0), "digits has 4 classes, the label has 3");
    cr_assert(strstr(message(rank, &digits, 0), "here it is f32[2]"));
    VmDataShape exact = digits, mixed = digits;
    exact.exact = mixed.mixed = true;
    cr_assert_str_eq(message(number, &exact, 7), "digits has 4 classes but logits have 7");
    cr_assert(strstr(message(number, &mixed, 4), "`augment` mixes labels"));
    cr_assert_str_eq(message(shares, &mixed, 4), "");
}

Test(inputs, all_that_does_not_fit_is_found) {
    const VmTensor all[] = {{.name = "picture", .rank = 4, .dim = {2, 1, 8, 8}}, number};
    VmModelInputs in = {.at = all, .n = 2, .classes = 3, .limit = ", the label has"};
    VmError err;
    int at = 0;
    cr_assert(vm_inputs_check(&in, &digits, &at, &err) == VM_INPUT && at == 0);
    cr_assert(strstr(err.text, "no data for `picture`"), "%s", err.text);
    at++;
    cr_assert(vm_inputs_check(&in, &digits, &at, &err) == VM_INPUT && at == 1);
    at++;
    cr_assert(vm_inputs_check(&in, &digits, &at, &err) == VM_INPUT && at == 2);
    cr_assert_str_eq(err.text, "a model that is trained has an input `image`");
    at++;
    cr_assert_eq(vm_inputs_check(&in, &digits, &at, &err), VM_OK);
}
