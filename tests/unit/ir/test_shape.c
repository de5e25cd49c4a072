/* Shape rules: for every op the result types it gives and the mistakes it reports. Cases run
 * through the text reader, which infers types and compares. */
#include <criterion/criterion.h>
#include <string.h>

#include "ir/internal.h"

typedef struct Case {
    const char *op, *operands, *attrs;
    const char *results; /* types, or NULL when the case is a mistake */
    const char *error;   /* the message after "op: " */
} Case;

#define GOOD(op, operands, attrs, results) {op, operands, attrs, results, NULL}
#define BAD(op, operands, attrs, error) {op, operands, attrs, NULL, error}

static const Case cases[] = {
    /* views */
    GOOD("reshape", "f32[4,6]", "shape = [2,12]", "f32[2,12]"),
    GOOD("reshape", "i32[1]", "shape = []", "i32[]"),
    BAD("reshape", "f32[4,6]", "shape = [5,5]",
        "expected a shape of 24 elements for f32[4,6], found f32[5,5] with 25"),
    BAD("reshape", "f32[4]", "shape = [2,0]",
        "shape: every dimension must be at least 1, found f32[2,0]"),
    BAD("reshape", "f32[4]", "shape = [-2,-2]",
        "shape: every dimension must be at least 1, found f32[-2,-2]"),
    BAD("reshape", "f32[4]", "shape = [1,1,1,1,1,1,4]",
        "expected at most 6 dimensions in shape, found 7"),
    BAD("reshape", "f32[4]", "shape = [4294967296,4294967297]",
        "shape: expected fewer than 2^40 elements, found f32[4294967296,4294967297]"),
    BAD("reshape", "f32[4]", "", "shape is not given"),
    GOOD("broadcast", "f32[1,5]", "shape = [2,3,5]", "f32[2,3,5]"),
    GOOD("broadcast", "f32[]", "shape = [2]", "f32[2]"),
    BAD("broadcast", "f32[4,5]", "shape = [4,6]",
        "f32[4,5] does not broadcast to f32[4,6] (dimensions are compared from the right)"),
    BAD("broadcast", "f32[4,5]", "shape = [5]",
        "f32[4,5] does not broadcast to f32[5] (dimensions are compared from the right)"),
    GOOD("transpose", "f32[2,3,4]", "perm = [2,0,1]", "f32[4,2,3]"),
    GOOD("transpose", "f32[]", "perm = []", "f32[]"),
    BAD("transpose", "f32[2,3]", "perm = [0]",
        "expected a permutation of 2 dimensions for f32[2,3], found 1 entries"),
    BAD("transpose", "f32[2,3]", "perm = [0,0]", "expected a permutation of 0 to 1, found 0 twice"),
    BAD("transpose", "f32[2,3]", "perm = [0,9223372036854775807]",
        "expected a permutation of 0 to 1, found 9223372036854775807"),
    GOOD("slice", "f32[2,8]", "axis = 1, start = 6, size = 2", "f32[2,2]"),
    BAD("slice", "f32[2,8]", "axis = 2, start = 0, size = 1",
        "axis is 2, but f32[2,8] has 2 dimensions (counted from 0)"),
    BAD("slice", "f32[]", "axis = 0, start = 0, size = 1",
        "axis is 0, but f32[] has 0 dimensions (counted from 0)"),
    BAD("slice", "f32[2,8]", "axis = 1, start = 8, size = 1", "start is 8, expected 0 to 7"),
    BAD("slice", "f32[2,8]", "axis = 1, start = 6, size = 3",
        "size is 3, expected 1 to 2 from 6 in dimension 1 of f32[2,8]"),
    BAD("slice", "f32[2,8]", "axis = 1, start = 6, size = 9223372036854775807",
        "size is 9223372036854775807, expected 1 to 2 from 6 in dimension 1 of f32[2,8]"),
    BAD("slice", "f32[2,8]", "axis = 1, start = 0, size = 0",
        "size is 0, expected 1 to 8 from 0 in dimension 1 of f32[2,8]"),

    /* elementwise */
    GOOD("kept", "f32[2,3]", "", "f32[2,3]"),
    GOOD("stop_gradient", "f32[2,3]", "", "f32[2,3]"),
    BAD("stop_gradient", "f32[3] f32[3]", "", "expected 1 operand, found 2"),
    BAD("kept", "f32[3] f32[3]", "", "expected 1 operand, found 2"),
    GOOD("copy", "i32[3]", "", "i32[3]"),
    BAD("copy", "f32[3] f32[3]", "", "expected 1 operand, found 2"),
#define UNARY(op)                                                                                  \
    GOOD(op, "f32[3,4]", "", "f32[3,4]"),                                                          \
        BAD(op, "i32[3]", "", "expected f32 elements in operand 1, found i32[3]")
    UNARY("neg"),
    UNARY("abs"),
    UNARY("exp"),
    UNARY("log"),
    UNARY("log1p"),
    UNARY("sqrt"),
    UNARY("rsqrt"),
    UNARY("tanh"),
    UNARY("erf"),
    UNARY("erfinv"),
    UNARY("sigmoid"),
    UNARY("relu"),
    UNARY("gelu"),
    UNARY("gelu_grad"),
    UNARY("gelu_tanh"),
    UNARY("gelu_tanh_grad"),
    UNARY("silu"),
    UNARY("softplus"),
    UNARY("square"),
#define BINARY(op)                                                                                 \
    GOOD(op, "f32[3,4] f32[3,4]", "", "f32[3,4]"),                                                 \
        BAD(op, "f32[3,4] f32[4]", "",                                                             \
            "expected operands of one shape, found f32[3,4] and f32[4]"),                          \
        BAD(op, "f32[3]", "", "expected 2 operands, found 1")
    BINARY("add"),
    BINARY("sub"),
    BINARY("mul"),
    BINARY("div"),
    BINARY("maximum"),
    BINARY("minimum"),
    BINARY("less"),
    BINARY("equal"),
    BAD("add", "i32[3] i32[3]", "", "expected f32 elements in operand 1, found i32[3]"),
    GOOD("equal", "i32[3] i32[3]", "", "f32[3]"),
    BAD("less", "i32[3] f32[3]", "", "expected i32 elements in operand 2, found f32[3]"),
    GOOD("select", "f32[3] f32[3] f32[3]", "", "f32[3]"),
    GOOD("select", "f32[3] i32[3] i32[3]", "", "i32[3]"),
    BAD("select", "i32[3] i32[3] i32[3]", "", "expected f32 elements in operand 1, found i32[3]"),
    BAD("select", "f32[3] i32[3] f32[3]", "", "expected i32 elements in operand 3, found f32[3]"),
    BAD("select", "f32[3] f32[3] f32[4]", "",
        "expected operands of one shape, found f32[3] and f32[4]"),
    GOOD("cast", "i32[3]", "", "f32[3]"),
    GOOD("lookup", "i32[3]", "values = [4,0]", "i32[3]"),
    BAD("lookup", "f32[3]", "values = [4,0]", "expected i32 elements in operand 1, found f32[3]"),
    BAD("lookup", "i32[3]", "values = []", "expected at least one value, found none"),
    BAD("lookup", "i32[3]", "values = [0,2147483648]",
        "value 1 is 2147483648, expected an i32 integer"),
    GOOD("narrow", "f32[3,5]", "", "bf16[3,5]"),
    BAD("narrow", "i32[3]", "", "expected f32 elements in operand 1, found i32[3]"),
    BAD("cast", "f32[3]", "", "expected i32 elements in operand 1, found f32[3]"),
    GOOD("iota", "", "shape = [2,7]", "i32[2,7]"),
    BAD("iota", "", "shape = [4294967296]",
        "expected a last dimension below 2^31, found i32[4294967296]"),
    GOOD("uniform", "i32[2]", "shape = [8]", "f32[8]"),
    BAD("uniform", "i32[3]", "shape = [8]", "expected i32[2] as operand 1, found i32[3]"),
    BAD("uniform", "i32[2]", "shape = [4294967297]",
        "expected at most 2^32 random numbers in one tensor, found 4294967297"),
    GOOD("routed", "i32[8,2] f32[2,4,3]", "", "i32[8,2]"),
    GOOD("routed", "i32[8,2]", "name = \"moe\"", "i32[8,2]"),
    BAD("routed", "i32[8,2] f32[4,3]", "", "expected a gate of 8 rows, found f32[4,3]"),
    BAD("routed", "f32[8,2]", "", "expected i32 elements in operand 1, found f32[8,2]"),
    GOOD("by_mode", "i32[8,3] i32[8,3]", "", "i32[8,3]"),
    BAD("by_mode", "f32[8,3] i32[8,3]", "", "expected f32[8,3] as operand 2, found i32[8,3]"),
    GOOD("noise", "f32[8,3]", "kind = \"gumbel\", stream = \"s\"", "f32[8,3]"),
    BAD("noise", "f32[8]", "kind = \"poisson\", stream = \"s\"",
        "kind is \"poisson\", expected normal, uniform or gumbel"),
    BAD("noise", "i32[8]", "kind = \"normal\", stream = \"s\"",
        "expected f32 elements in operand 1, found i32[8]"),
    GOOD("dropout", "f32[8]", "p = 0.5, stream = \"s\"", "f32[8]"),
    BAD("dropout", "f32[8]", "p = 1, stream = \"s\"",
        "p is 1, expected at least 0 and less than 1"),
    BAD("dropout", "f32[8]", "p = -0.1, stream = \"s\"",
        "p is -0.1, expected at least 0 and less than 1"),
    BAD("dropout", "f32[8]", "p = nan, stream = \"s\"",
        "p is nan, expected at least 0 and less than 1"),

    /* reductions and rows */
    GOOD("sum", "f32[2,3,4]", "axes = [0,2]", "f32[3]"),
    GOOD("sum", "f32[2,3]", "axes = [0,1]", "f32[]"),
    BAD("sum", "f32[2,3]", "axes = []", "expected at least one axis, found none"),
    BAD("sum", "f32[2,3]", "axes = [2]",
        "axis is 2, but f32[2,3] has 2 dimensions (counted from 0)"),
    BAD("sum", "f32[2,3]", "axes = [-1]",
        "axis is -1, but f32[2,3] has 2 dimensions (counted from 0)"),
    BAD("sum", "f32[2,3]", "axes = [1,0]", "expected ascending axes, each once, found 0 after 1"),
    BAD("sum", "f32[2,3]", "axes = [1,1]", "expected ascending axes, each once, found 1 after 1"),
    GOOD("mean", "f32[2,3,4]", "axes = [1]", "f32[2,4]"),
    BAD("mean", "f32[]", "axes = [0]", "axis is 0, but f32[] has 0 dimensions (counted from 0)"),
    GOOD("variance", "f32[2,3,4]", "", "f32[4]"),
    GOOD("variance", "f32[1,4]", "", "f32[4]"),
    BAD("variance", "f32[4]", "", "expected at least 2 dimensions in operand 1, found f32[4]"),
    BAD("variance", "i32[2,4]", "", "expected f32 elements in operand 1, found i32[2,4]"),
    GOOD("max", "f32[2,3]", "", "f32[2]"),
    BAD("max", "f32[]", "", "expected at least 1 dimension in operand 1, found f32[]"),
    GOOD("argmax", "f32[2,3]", "", "i32[2]"),
    BAD("argmax", "f32[4294967296]", "",
        "expected a last dimension below 2^31, found f32[4294967296]"),
    GOOD("softmax", "f32[2,3]", "", "f32[2,3]"),
    BAD("softmax", "f32[]", "", "expected at least 1 dimension in operand 1, found f32[]"),
    GOOD("softmax_grad", "f32[2,3] f32[2,3]", "", "f32[2,3]"),
    BAD("softmax_grad", "f32[2,3] f32[3,2]", "", "expected f32[2,3] as operand 2, found f32[3,2]"),
    GOOD("layer_norm", "f32[2,3]", "eps = 1e-6", "f32[2,3], f32[2,1]"),
    BAD("layer_norm", "f32[2,3]", "eps = -1", "eps is -1, expected at least 0"),
    BAD("layer_norm", "f32[2,3]", "eps = inf", "eps is inf, expected at least 0"),
    GOOD("layer_norm_grad", "f32[2,3] f32[2,1] f32[2,3]", "", "f32[2,3]"),
    GOOD("rms_norm", "f32[2,3]", "eps = 1e-6", "f32[2,3], f32[2,1]"),
    BAD("rms_norm", "f32[2,3]", "eps = -1", "eps is -1, expected at least 0"),
    BAD("rms_norm", "i32[2,3]", "eps = 1e-6", "expected f32 elements in operand 1, found i32[2,3]"),
    GOOD("rms_norm_grad", "f32[2,3] f32[2,1] f32[2,3]", "", "f32[2,3]"),
    BAD("rms_norm_grad", "f32[2,3] f32[2] f32[2,3]", "",
        "expected f32[2,1] as operand 2, found f32[2]"),
    BAD("layer_norm_grad", "f32[2,3] f32[2] f32[2,3]", "",
        "expected f32[2,1] as operand 2, found f32[2]"),
    GOOD("xent", "f32[8,10] i32[8]", "", "f32[8]"),
    BAD("xent", "f32[8,10] i32[10]", "",
        "expected labels i32[8] for logits f32[8,10], found i32[10]"),
    GOOD("cross_entropy", "f32[8,10] i32[8]", "", "f32[]"),
    BAD("cross_entropy", "f32[8] i32[8]", "", "expected 2 dimensions in operand 1, found f32[8]"),
    GOOD("accuracy", "f32[8,10] i32[8]", "", "f32[]"),
    BAD("accuracy", "f32[8,10] f32[8]", "",
        "expected labels i32[8] for logits f32[8,10], found f32[8]"),

    /* matrix products */
    GOOD("matmul", "f32[2,3] f32[3,5]", "", "f32[2,5]"),
    GOOD("matmul", "f32[7,2,3] f32[3,5]", "", "f32[7,2,5]"),
    GOOD("matmul", "f32[7,2,3] f32[7,5,3]", "tb = 1", "f32[7,2,5]"),
    GOOD("matmul", "f32[3,2] f32[3,5]", "ta = 1", "f32[2,5]"),
    GOOD("matmul", "f32[4,3,2] f32[4,5,3]", "ta = 1, tb = 1", "f32[4,2,5]"),
    BAD("matmul", "f32[2,3] f32[4,5]", "",
        "expected 3 rows in the second matrix for f32[2,3], found 4 in f32[4,5]"),
    BAD("matmul", "f32[2,3] f32[3,5]", "tb = 1",
        "expected 3 rows in the second matrix for f32[2,3], found 5 in f32[3,5] (after "
        "transposition)"),
    BAD("matmul", "f32[7,3,2] f32[3,5]", "ta = 1",
        "expected operands with the same number of dimensions, found f32[7,3,2] and f32[3,5]"),
    BAD("matmul", "f32[7,2,3] f32[6,3,5]", "",
        "expected equal leading dimensions, found f32[7,2,3] and f32[6,3,5]"),
    BAD("matmul", "f32[3] f32[3,5]", "",
        "expected at least 2 dimensions in operand 1, found f32[3]"),
    BAD("matmul", "f32[2,3] f32[3,5]", "ta = 2", "ta is 2, expected 0 to 1"),
    GOOD("matmul", "f32[2,3] f32[3,5]", "bf16 = 1", "f32[2,5]"),
    BAD("matmul", "f32[2,3] f32[3,5]", "bf16 = 2", "bf16 is 2, expected 0 to 1"),
    GOOD("linear", "f32[4,2,3] f32[3,5]", "", "f32[4,2,5]"),
    GOOD("linear", "f32[2,3] f32[3,5] f32[5]", "", "f32[2,5]"),
    BAD("linear", "f32[2,3] f32[4,5]", "",
        "expected a weight of 3 rows for f32[2,3], found f32[4,5]"),
    BAD("linear", "f32[2,3] f32[3,5] f32[3]", "", "expected f32[5] as operand 3, found f32[3]"),
    BAD("linear", "f32[2,3]", "", "expected 2 to 3 operands, found 1"),
    GOOD("attention", "f32[2,5,8] f32[2,7,8] f32[2,7,8]", "heads = 4", "f32[2,5,8]"),
    BAD("attention", "f32[2,5,8] f32[2,7,8] f32[2,7,8]", "heads = 3",
        "heads is 3, expected a divisor of the width 8 of f32[2,5,8]"),
    BAD("attention", "f32[2,5,8] f32[2,7,8] f32[2,7,8]", "heads = 0",
        "heads is 0, expected a divisor of the width 8 of f32[2,5,8]"),
    BAD("attention", "f32[2,5,8] f32[3,7,8] f32[3,7,8]", "heads = 4",
        "expected keys [2,..,8] for queries f32[2,5,8], found f32[3,7,8]"),
    BAD("attention", "f32[2,5,8] f32[2,7,8] f32[2,6,8]", "heads = 4",
        "expected f32[2,7,8] as operand 3, found f32[2,6,8]"),
    BAD("attention", "f32[65536,256,1] f32[65536,257,1] f32[65536,257,1]",
        "heads = 1, dropout = 0.1",
        "expected at most 2^32 random numbers in one tensor, found 4311744512"),
    GOOD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2]", "heads = 4, scale = 0.7",
         "f32[2,5,8], f32[2,4,5]"),
    GOOD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2]", "heads = 4, scale = 0.7, bf16 = 1",
         "f32[2,5,8], f32[2,4,5]"),
    BAD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2]", "heads = 4, scale = 0.7, bf16 = 2",
        "bf16 is 2, expected 0 to 1"),
    BAD("sdpa", "f32[2,5,8] f32[2,7,8] i32[2,7,8] i32[2]", "heads = 4, scale = 0.7, bf16 = 1",
        "expected f32 elements in operand 3, found i32[2,7,8]"),
    GOOD("sdpa_grad", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2] f32[2,4,5] f32[2,5,8]",
         "heads = 4, scale = 0.7, bf16 = 1", "f32[2,5,8], f32[2,7,8], f32[2,7,8]"),
    BAD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2]", "heads = 4, scale = nan",
        "scale is nan, expected a finite number"),
    BAD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2]", "heads = 4, scale = 1, dropout = 1.5",
        "dropout is 1.5, expected at least 0 and less than 1"),
    BAD("sdpa", "f32[2,5,8] f32[2,7,8] f32[2,7,8] f32[2]", "heads = 4, scale = 1",
        "expected i32[2] as operand 4, found f32[2]"),
    GOOD("sdpa_grad", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2] f32[2,4,5] f32[2,5,8]",
         "heads = 4, scale = 0.7", "f32[2,5,8], f32[2,7,8], f32[2,7,8]"),
    BAD("sdpa_grad", "f32[2,5,8] f32[2,7,8] f32[2,7,8] i32[2] f32[2,5,4] f32[2,5,8]",
        "heads = 4, scale = 0.7", "expected f32[2,4,5] as operand 5, found f32[2,5,4]"),

    /* convolutions and poolings */
    GOOD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1,1,1]", "f32[2,5,7,4]"),
    GOOD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [0,0,0,0], stride = 2, bf16 = 1",
         "f32[2,2,3,4]"),
    GOOD("conv", "f32[2,5,7,6] f32[3,2,2,2,4]", "pad = [1,0,0,0], groups = 3", "f32[2,5,6,12]"),
    GOOD("conv", "f32[2,5,7,6] f32[8,1,1,6,4] i32[9]", "pad = [0,0,0,0]", "f32[2,5,7,4]"),
    BAD("conv", "f32[5,7,6] f32[3,3,6,4]", "pad = [1,1,1,1]",
        "expected 4 dimensions in operand 1, found f32[5,7,6]"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1]",
        "pad has 2 numbers, expected top,left,bottom,right"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1]",
        "pad has 1 number, expected top,left,bottom,right"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1,-1,1]", "pad is -1, expected 0 or more"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1,1,1], stride = 0",
        "stride is 0, expected 1 to 2147483647"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1,1,1], groups = 0",
        "groups is 0, expected 1 to 2147483647"),
    BAD("conv", "f32[2,5,7,6] f32[6,3,6,4]", "pad = [0,0,0,0]",
        "a kernel of height 6 does not fit into 5 (5 and 0 of padding)"),
    BAD("conv", "f32[2,5,7,6] f32[3,10,6,4]", "pad = [0,1,0,1]",
        "a kernel of width 10 does not fit into 9 padded rows or columns (7 and 2 of padding)"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,5,4]", "pad = [1,1,1,1]",
        "expected 5 channels, as f32[3,3,5,4] has, found f32[2,5,7,6]"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,6,4]", "pad = [1,1,1,1], groups = 2",
        "expected 5 dimensions in operand 2, found f32[3,3,6,4]"),
    BAD("conv", "f32[2,5,7,6] f32[3,3,3,2,4]", "pad = [1,1,1,1], groups = 2",
        "expected weights of 2 groups, found f32[3,3,3,2,4]"),
    BAD("conv", "f32[2,5,7,6] f32[8,1,1,6,4] i32[8]", "pad = [0,0,0,0]",
        "expected weights of 7 experts, found f32[8,1,1,6,4]"),
    BAD("conv", "f32[2,5,7,6] f32[8,1,1,6,4] i32[1]", "pad = [0,0,0,0]",
        "expected offsets of at least one expert, found i32[1]"),
    BAD("conv", "f32[2,5,7,6] f32[8,1,1,6,4] f32[9]", "pad = [0,0,0,0]",
        "expected i32 elements in operand 3, found f32[9]"),
    GOOD("conv_dx", "f32[2,3,4,4] f32[3,3,6,4]",
         "height = 5, width = 7, pad = [1,1,1,1], stride = 2", "f32[2,5,7,6]"),
    GOOD("conv_dx", "f32[2,3,4,4] f32[3,3,6,4]",
         "height = 6, width = 8, pad = [1,1,1,1], stride = 2", "f32[2,6,8,6]"),
    BAD("conv_dx", "f32[2,3,4,4] f32[3,3,6,4]",
        "height = 7, width = 7, pad = [1,1,1,1], stride = 2",
        "expected 4 x 4 results of images 7 x 7, found f32[2,3,4,4]"),
    BAD("conv_dx", "f32[2,3,4,4] f32[3,3,6,5]", "height = 3, width = 4, pad = [1,1,1,1]",
        "expected 5 channels, as f32[3,3,6,5] has, found f32[2,3,4,4]"),
    BAD("conv_dx", "f32[2,3,4,4] f32[3,3,6,4]", "height = 0, width = 7, pad = [1,1,1,1]",
        "height is 0, expected 1 to 2147483647"),
    GOOD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4]", "kernel = [3,3], pad = [1,1,1,1]", "f32[3,3,6,4]"),
    GOOD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4] i32[4]",
         "kernel = [3,3], pad = [1,1,1,1], groups = 2", "f32[3,2,3,3,3,2]"),
    GOOD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4]", "kernel = [3,3], pad = [1,1,1,1], parts = 2",
         "f32[2,3,3,6,4]"),
    BAD("conv_dw", "f32[2,5,7,6] f32[3,5,7,4]", "kernel = [3,3], pad = [1,1,1,1]",
        "expected as many images, found f32[2,5,7,6] and f32[3,5,7,4]"),
    BAD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4]", "kernel = [3,3], pad = [1,1,1,1], groups = 3",
        "3 groups do not divide the channels of f32[2,5,7,4]"),
    BAD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4]", "kernel = [3], pad = [1,1,1,1]",
        "expected a kernel of two sizes of at least 1"),
    BAD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4]", "kernel = [3,0], pad = [1,1,1,1]",
        "expected a kernel of two sizes of at least 1"),
    BAD("conv_dw", "f32[2,5,7,6] f32[2,5,7,4] i32[4]",
        "kernel = [3,3], pad = [1,1,1,1], groups = 2, parts = 2",
        "expected no parts of grouped weights of experts"),
    GOOD("depthwise", "f32[2,5,7,6] f32[7,7,6]", "pad = [3,3,3,3]", "f32[2,5,7,6]"),
    GOOD("depthwise", "f32[2,5,7,6] f32[4,3,3,6] i32[5]", "pad = [1,1,1,1], stride = 3",
         "f32[2,2,3,6]"),
    BAD("depthwise", "f32[2,5,7,6] f32[7,7,5]", "pad = [3,3,3,3]",
        "expected 5 channels, as f32[7,7,5] has, found f32[2,5,7,6]"),
    BAD("depthwise", "f32[2,5,7,6] f32[3,3,3,6] i32[5]", "pad = [1,1,1,1]",
        "expected weights of 4 experts, found f32[3,3,3,6]"),
    BAD("depthwise", "f32[2,5,7,6] f32[3,3,1,6]", "pad = [1,1,1,1]",
        "expected 3 dimensions in operand 2, found f32[3,3,1,6]"),
    GOOD("depthwise_dx", "f32[2,5,7,6] f32[7,7,6]", "height = 5, width = 7, pad = [3,3,3,3]",
         "f32[2,5,7,6]"),
    BAD("depthwise_dx", "f32[2,5,7,6] f32[7,7,6]", "height = 5, width = 7, pad = [3,3,3,2]",
        "expected 5 x 6 results of images 5 x 7, found f32[2,5,7,6]"),
    GOOD("depthwise_dw", "f32[2,5,7,6] f32[2,5,7,6]", "kernel = [7,7], pad = [3,3,3,3], parts = 2",
         "f32[2,7,7,6]"),
    BAD("depthwise_dw", "f32[2,5,7,6] f32[2,5,7,5]", "kernel = [7,7], pad = [3,3,3,3]",
        "expected 5 channels, as f32[2,5,7,5] has, found f32[2,5,7,6]"),
    BAD("depthwise_dw", "f32[2,5,7,6] f32[2,5,7,6]", "kernel = [7,7], pad = [3,3,3,3], parts = 0",
        "parts is 0, expected 1 to 2147483647"),
    GOOD("max_pool", "f32[2,5,7,6]", "kernel = [3,2], pad = [1,1,1,0], stride = 2",
         "f32[2,3,4,6], i32[2,3,4,6]"),
    BAD("max_pool", "f32[2,5,7,6]", "kernel = [3,2], pad = [1,2,1,0]",
        "pad is 2, expected less than the kernel's 2"),
    BAD("max_pool", "f32[2,5,7,6]", "kernel = [6,2], pad = [0,0,0,0]",
        "a kernel of height 6 does not fit into 5 (5 and 0 of padding)"),
    BAD("max_pool", "i32[2,5,7,6]", "kernel = [2,2], pad = [0,0,0,0]",
        "expected f32 elements in operand 1, found i32[2,5,7,6]"),
    GOOD("max_pool_grad", "i32[2,3,4,6] f32[2,3,4,6]",
         "kernel = [3,2], height = 5, width = 7, pad = [1,1,1,0], stride = 2", "f32[2,5,7,6]"),
    BAD("max_pool_grad", "i32[2,3,4,6] f32[2,3,4,6]",
        "kernel = [3,2], height = 5, width = 9, pad = [1,1,1,0], stride = 2",
        "expected 3 x 5 results of images 5 x 9, found i32[2,3,4,6]"),
    BAD("max_pool_grad", "i32[2,3,4,6] f32[2,3,4,5]",
        "kernel = [3,2], height = 5, width = 7, pad = [1,1,1,0], stride = 2",
        "expected f32[2,3,4,6] as operand 2, found f32[2,3,4,5]"),

    /* data movement */
    GOOD("concat", "f32[2,3] f32[2,4] f32[2,1]", "axis = 1", "f32[2,8]"),
    GOOD("concat", "f32[2,3]", "axis = 0", "f32[2,3]"),
    BAD("concat", "f32[2,3] f32[3,4]", "axis = 1",
        "expected operands that differ only in dimension 1, found f32[2,3] and f32[3,4] (operand "
        "2)"),
    BAD("concat", "f32[2,3] f32[2,3,1]", "axis = 1",
        "expected operands that differ only in dimension 1, found f32[2,3] and f32[2,3,1] (operand "
        "2)"),
    BAD("concat", "f32[2,3]", "axis = -1",
        "axis is -1, but f32[2,3] has 2 dimensions (counted from 0)"),
    BAD("concat", "f32[549755813888] f32[549755813888]", "axis = 0",
        "result: expected fewer than 2^40 elements, found f32[1099511627776]"),
    BAD("concat", "", "axis = 0", "expected 1 to 64 operands, found 0"),
    GOOD("unslice", "f32[2,3]", "axis = 1, start = 5, size = 8", "f32[2,8]"),
    BAD("unslice", "f32[2,3]", "axis = 1, start = 6, size = 8", "start is 6, expected 0 to 5"),
    BAD("unslice", "f32[2,3]", "axis = 1, start = 0, size = 2", "size is 2, expected at least 3"),
    BAD("unslice", "f32[2,3]", "axis = 1, start = 0, size = 9223372036854775807",
        "result: expected fewer than 2^40 elements, found f32[2,9223372036854775807]"),
    GOOD("patchify", "f32[8,3,28,14]", "patch = 7", "f32[8,8,147]"),
    BAD("patchify", "f32[8,3,28,28]", "patch = 8",
        "patch is 8, expected a divisor of height 28 and width 28 of f32[8,3,28,28]"),
    BAD("patchify", "f32[8,3,28,28]", "patch = 0",
        "patch is 0, expected a divisor of height 28 and width 28 of f32[8,3,28,28]"),
    BAD("patchify", "f32[3,28,28]", "patch = 7",
        "expected 4 dimensions in operand 1, found f32[3,28,28]"),

    /* mixture of experts */
    GOOD("topk", "f32[64,8]", "k = 2", "f32[64,2], i32[64,2]"),
    BAD("topk", "f32[64,8]", "k = 0", "k is 0, expected 1 to 8, the experts of f32[64,8]"),
    BAD("topk", "f32[64,8]", "k = 9", "k is 9, expected 1 to 8, the experts of f32[64,8]"),
    BAD("topk", "f32[8]", "k = 1", "expected 2 dimensions in operand 1, found f32[8]"),
    GOOD("take_last", "f32[64,8] i32[64,2]", "", "f32[64,2]"),
    BAD("take_last", "f32[64,8] i32[63,2]", "",
        "expected indices i32[64,K] with K at most 8 for f32[64,8], found i32[63,2]"),
    BAD("take_last", "f32[64,8] i32[64,9]", "",
        "expected indices i32[64,K] with K at most 8 for f32[64,8], found i32[64,9]"),
    GOOD("put_last", "f32[64,2] i32[64,2]", "experts = 8", "f32[64,8]"),
    BAD("put_last", "f32[64,2] i32[64,3]", "experts = 8",
        "expected values and indices of one shape, found f32[64,2] and i32[64,3]"),
    BAD("put_last", "f32[64,2] i32[64,2]", "experts = 1", "experts is 1, expected 2 to 2147483647"),
    GOOD("histogram", "i32[64,2]", "bins = 8", "f32[8]"),
    BAD("histogram", "i32[64,2]", "bins = 0", "bins is 0, expected 1 to 2147483647"),
    BAD("histogram", "f32[64,2]", "bins = 8",
        "expected i32 elements in operand 1, found f32[64,2]"),
    GOOD("route_counts", "i32[64,2]", "experts = 8, segments = 3", "i32[3,8]"),
    BAD("route_counts", "f32[64,2]", "experts = 8, segments = 3",
        "expected i32 elements in operand 1, found f32[64,2]"),
    BAD("route_counts", "i32[64,2]", "experts = 0, segments = 3",
        "experts is 0, expected 1 to 2147483646"),
    BAD("route_counts", "i32[64,2]", "experts = 8, segments = 0",
        "segments is 0, expected 1 to 2147483647"),
    BAD("route_counts", "i32[65536,32768]", "experts = 8, segments = 2",
        "expected fewer than 2^31 routed rows, found 2147483648"),
    GOOD("route", "i32[64,2] i32[3,8]", "experts = 8", "i32[9], i32[128], i32[64,2], i32[128]"),
    BAD("route", "i32[64,2] i32[3,7]", "experts = 8",
        "expected counts of 8 experts, found i32[3,7]"),
    BAD("route", "i32[64,2] i32[8]", "experts = 8",
        "expected 2 dimensions in operand 2, found i32[8]"),
    BAD("route", "i32[64,2] f32[3,8]", "experts = 8",
        "expected i32 elements in operand 2, found f32[3,8]"),
    GOOD("route", "i32[64,2]", "experts = 8", "i32[9], i32[128], i32[64,2], i32[128]"),
    BAD("route", "i32[64,2]", "experts = 0", "experts is 0, expected 1 to 2147483646"),
    BAD("route", "i32[65536,32768]", "experts = 8",
        "expected fewer than 2^31 routed rows, found 2147483648"),
    GOOD("dispatch", "f32[64,5,3] i32[128]", "k = 2", "f32[128,5,3]"),
    BAD("dispatch", "f32[64,5,3] i32[128]", "k = 1",
        "expected at most 1 pairs for every row of f32[64,5,3], found i32[128]"),
    BAD("dispatch", "f32[64] i32[128]", "k = 0", "k is 0, expected at least 1"),
    GOOD("expert_expand", "f32[8,5] i32[128]", "", "f32[128,5]"),
    BAD("expert_expand", "f32[] i32[128]", "",
        "expected at least 1 dimension in operand 1, found f32[]"),
    GOOD("expert_sum", "f32[128,5] i32[128]", "experts = 8", "f32[8,5]"),
    BAD("expert_sum", "f32[128,5] i32[64]", "experts = 8",
        "expected one expert per row of f32[128,5], found i32[64]"),
    GOOD("combine", "f32[128,5] i32[64,2] f32[64,2]", "", "f32[64,5]"),
    GOOD("route", "i32[64,2]", "experts = 8, rows = 100", "i32[9], i32[100], i32[64,2], i32[100]"),
    BAD("route", "i32[64,2]", "experts = 8, rows = 129", "rows is 129, expected 0 to 128"),
    GOOD("rank", "f32[2,3,7]", "", "i32[2,3,7]"),
    BAD("rank", "i32[7]", "", "expected f32 elements in operand 1, found i32[7]"),
    GOOD("capacity", "i32[64,2] i32[64]", "experts = 8, limit = 3, groups = 4", "i32[64,2]"),
    BAD("capacity", "i32[64,2]", "experts = 8, limit = 0", "limit is 0, expected 1 to 2147483647"),
    BAD("capacity", "i32[64,2]", "experts = 8, limit = 3, groups = 5",
        "expected groups that divide 64 tokens, found 5"),
    BAD("capacity", "i32[64,2] i32[63]", "experts = 8, limit = 3",
        "expected i32[64] as operand 2, found i32[63]"),
    GOOD("expert_capacity", "i32[64,2] f32[64]", "experts = 8, train = 3, eval = 4, groups = 2",
         "i32[64,2]"),
    BAD("expert_capacity", "i32[64,2] i32[64]", "experts = 8, train = 3, eval = 4",
        "expected f32[64] as operand 2, found i32[64]"),
    BAD("expert_capacity", "i32[64,2]", "experts = 8, train = 0, eval = 4",
        "train is 0, expected 1 to 2147483647"),
    BAD("expert_capacity", "i32[64,2]", "experts = 8, train = 3, eval = 4, groups = 7",
        "expected groups that divide 64 tokens, found 7"),
    GOOD("fall_through", "i32[3,32]", "experts = 8, limit = 1", "i32[12,1]"),
    BAD("fall_through", "i32[3,33]", "experts = 8, limit = 1",
        "expected a multiple of 8 experts in i32[3,33]"),
    GOOD("combine", "f32[127,5] i32[64,2] f32[64,2]", "", "f32[64,5]"),
    BAD("combine", "f32[129,5] i32[64,2] f32[64,2]", "",
        "expected at most 128 rows (tokens times choices of i32[64,2]), found f32[129,5]"),
    BAD("combine", "f32[128,5] i32[64,2] f32[64,3]", "",
        "expected f32[64,2] as operand 3, found f32[64,3]"),
    GOOD("combine_rows", "f32[128] i32[64,2]", "", "f32[64]"),
    BAD("combine_rows", "f32[128] f32[64,2]", "",
        "expected i32 elements in operand 2, found f32[64,2]"),
    GOOD("combine_dw", "f32[128,5] i32[64,2] f32[64,5]", "", "f32[64,2]"),
    BAD("combine_dw", "f32[128,5] i32[64,2] f32[64,6]", "",
        "expected f32[64,5] as operand 3, found f32[64,6]"),
    GOOD("expert_matmul", "f32[128,5] f32[8,5,7] i32[9]", "", "f32[128,7]"),
    GOOD("expert_matmul", "f32[128,4,5] f32[8,7,5] i32[9]", "tb = 1", "f32[128,4,7]"),
    BAD("expert_matmul", "f32[128,5] f32[8,5,7] i32[8]", "",
        "expected offsets i32[9] for 8 experts, found i32[8]"),
    BAD("expert_matmul", "f32[128,5] f32[8,5,7] i32[9]", "tb = 1",
        "expected expert weights with 5 inputs for f32[128,5], found 7 in f32[8,5,7]"),
    GOOD("expert_matmul_dw", "f32[128,4,5] f32[128,4,7] i32[9]", "", "f32[8,5,7]"),
    BAD("expert_matmul_dw", "f32[128,5] f32[127,7] i32[9]", "",
        "expected f32[128,7] as operand 2, found f32[127,7]"),
    BAD("expert_matmul_dw", "f32[128,5] f32[128,7] i32[1]", "",
        "expected offsets of at least one expert, found i32[1]"),
    GOOD("expert_linear", "f32[128,5] f32[8,5,7] i32[9] i32[128] f32[8,7]", "", "f32[128,7]"),
    GOOD("expert_linear", "f32[128,5] f32[8,5,7] i32[9] i32[128]", "", "f32[128,7]"),
    BAD("expert_linear", "f32[128,5] f32[8,5,7] i32[9] i32[127]", "",
        "expected i32[128] as operand 4, found i32[127]"),
    BAD("expert_linear", "f32[128,5] f32[8,5,7] i32[9] i32[128] f32[7]", "",
        "expected f32[8,7] as operand 5, found f32[7]"),
    GOOD("gather", "f32[5,3] i32[2,7]", "", "f32[2,7,3]"),
    GOOD("gather", "f32[5] i32[]", "", "f32[]"),
    BAD("gather", "f32[5,3] f32[2]", "", "expected i32 elements in operand 2, found f32[2]"),
    BAD("gather", "f32[] i32[2]", "", "expected at least 1 dimension in operand 1, found f32[]"),
    BAD("gather", "f32[2,1,1,1] i32[1,1,1,1]", "",
        "the result would have 7 dimensions, at most 6 are possible"),
    GOOD("load_balance", "f32[4,16,8] i32[64,2]", "", "f32[]"),
    BAD("load_balance", "f32[4,16,8] i32[60,2]", "",
        "expected the choices i32[64,K] with K at most 8 for the gate f32[4,16,8], found "
        "i32[60,2]"),

    /* updates: results in place, so operands must be weights or state; inputs stand in here */
    GOOD("adamw", "f32[3] f32[3] f32[3] f32[3] f32[4]", "", "f32[3], f32[3], f32[3]"),
    GOOD("assign", "f32[3,4] f32[3,4]", "", "f32[3,4]"),
    BAD("assign", "f32[3,4] f32[4]", "", "expected f32[3,4] as operand 2, found f32[4]"),
    BAD("assign", "i32[3] i32[3]", "", "expected f32 elements in operand 1, found i32[3]"),
    BAD("adamw", "f32[3] f32[3] f32[3] f32[2] f32[4]", "",
        "expected f32[3] as operand 4, found f32[2]"),
    BAD("adamw", "f32[3] f32[3] f32[3] f32[3] f32[3]", "",
        "expected f32[4] as operand 5, found f32[3]"),
    BAD("adamw", "f32[3] f32[3] f32[3] f32[3] f32[4]", "beta2 = 1",
        "beta2 is 1, expected at least 0 and less than 1"),
    BAD("adamw", "f32[3] f32[3] f32[3] f32[3] f32[4]", "decay = -1",
        "decay is -1, expected at least 0"),
};
enum { NCASES = sizeof cases / sizeof cases[0] };

/* The case as a graph: one input per operand, then the op. */
static const char *case_text(Arena *a, const Case *c) {
    OpCode op = ir_op_by_name(c->op);
    cr_assert_neq(op, OP_COUNT, "%s", c->op);
    Text t = text_new(a), use = text_new(a), types = text_new(a), made = text_new(a);
    text_add(&t, "graph @t {\n");
    int nin = 0;
    for (const char *p = c->operands; *p; nin++) {
        size_t len = strcspn(p, " ");
        text_addf(&t, "%%%d = input {name = \"x%d\"} : %.*s\n", nin, nin, (int)len, p);
        text_addf(&use, "%s%%%d", nin ? ", " : " ", nin);
        p += len + (p[len] == ' ');
    }
    for (int i = 0; i < ir_ops[op].nout; i++) {
        text_addf(&made, "%s%%%d", i ? ", " : "", 100 + i);
        text_add(&types,
                 i ? ", f32[]" : "f32[]"); /* what a mistake is written as does not matter */
    }
    text_addf(&t, "%s = %s%s", made.data, c->op, use.data);
    if (c->attrs[0]) text_addf(&t, " {%s}", c->attrs);
    text_addf(&t, " : %s\n}\n", c->results ? c->results : types.data);
    return t.data;
}

Test(shape, every_case_gives_its_types_or_its_message) {
    for (int i = 0; i < NCASES; i++) {
        Arena *a = arena_create();
        const Case *c = &cases[i];
        const char *error = NULL, *text = case_text(a, c);
        IrGraph *g = ir_read(a, text, "case", &error);
        if (c->results) {
            cr_expect(g != NULL, "%s\n%s", error, text);
        } else {
            const char *label = strcmp(c->op, "topk") == 0 ? "top_k" : c->op;
            const char *want = arena_printf(a, "%s: %s", label, c->error);
            cr_expect(!g && error, "%s (%s) was accepted", c->op, c->error);
            const char *got = error ? strchr(error, ' ') : NULL; /* after "case:line:column:" */
            cr_expect(got && strcmp(got + 1, want) == 0, "expected %s\n   found %s", want, error);
        }
        arena_destroy(a);
    }
}

Test(shape, every_op_has_a_good_and_a_bad_case) {
    for (int op = 0; op < OP_COUNT; op++) {
        if (ir_ops[op].route == ROUTE_LEAF) continue;
        bool good = false, bad = false;
        for (int i = 0; i < NCASES; i++) {
            if (strcmp(cases[i].op, ir_ops[op].name) != 0) continue;
            good = good || cases[i].results;
            bad = bad || cases[i].error;
        }
        cr_expect(good && bad, "%s lacks a %s case", ir_ops[op].name, good ? "bad" : "good");
    }
}

/* Whatever the operands are, a rule answers. Operand types cycle through legal and odd ones. */
Test(shape, no_operands_make_a_rule_abort) {
    const IrType types[] = {ir_scalar(DT_f32),
                            ir_scalar(DT_i32),
                            IR_TYPE(DT_f32, 1),
                            IR_TYPE(DT_i32, 2),
                            IR_TYPE(DT_f32, 4),
                            IR_TYPE(DT_f32, 4, 4),
                            IR_TYPE(DT_i32, 4, 4),
                            IR_TYPE(DT_f32, 2, 4, 4),
                            IR_TYPE(DT_f32, 1, 1, 1, 1, 1, 1),
                            IR_TYPE(DT_f32, INT64_C(1) << 39),
                            IR_TYPE(DT_f32, 0),
                            IR_TYPE(DT_f32, INT64_MIN, INT64_MAX)};
    const int64_t values[] = {INT64_MIN, -1, 0, 1, 2, 4, INT32_MAX, INT64_MAX};
    enum { NTYPES = sizeof types / sizeof types[0], NVALUES = sizeof values / sizeof values[0] };
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "t");
    uint64_t random = 1;
    for (int round = 0; round < 40000; round++) {
        OpCode op = (OpCode)(round % OP_COUNT);
        IrNode *n = ir_node_new(g, op, round / OP_COUNT % 9);
        for (int i = 0; i < n->nin; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            n->in[i] = ARENA_NEW(a, IrValue);
            n->in[i]->type = types[(random >> 33) % NTYPES];
        }
        for (int i = 0; i < ir_ops[op].nattr; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            int64_t v = values[(random >> 33) % NVALUES];
            n->attr[i] = (IrAttr){.set = true,
                                  .i = v,
                                  .f = (double)v,
                                  .s = "s",
                                  .v = values,
                                  .n = (int)(random >> 40) % NVALUES};
        }
        ir_infer(a, n);
    }
    IrNode *missing = ir_node_new(g, OP_add, 2);
    cr_assert_str_eq(ir_infer(a, missing), "add: operand 1 is missing");
    arena_destroy(a);
}
