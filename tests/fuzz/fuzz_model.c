/* Writes a random, valid .vmoe model to stdout: fuzz_model SEED. Tokens [B, N, D] pass through a
 * few parts of the library (norms, mixtures, gates, attention, plain functions), then comes a head
 * with losses and metrics. Sizes are small and rarely multiples of a vector. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state;

static int pick(int n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

static const char *one_of(const char *const *list, int n) {
    return list[pick(n)];
}
#define ONE_OF(...)                                                                                \
    one_of((const char *const[]){__VA_ARGS__},                                                     \
           (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static void mixture(void) {
    int experts = 2 + pick(4), k = 1 + pick(experts > 2 ? 2 : 1);
    printf("  g = %s(norm(x), %d)\n", ONE_OF("linear_gate", "cosine_gate", "l2_gate"), experts);
    if (pick(2)) printf("  g = %s(g)\n", ONE_OF("vmoe_noise", "gumbel"));
    if (!pick(4))
        printf("  route = top_k(g, %d, weights = softmax(linear(x, %d)))\n", k, experts);
    else
        printf("  route = %s(g, %d)\n",
               ONE_OF("topk_softmax", "softmax_topk", "softmax_topk_renorm", "sigmoid_topk"), k);
    if (!pick(3)) printf("  route = capacity(route, 1.%d, groups = B)\n", pick(5));
    printf("  x = x + (dispatch(x, route) |> mlp(%d, dropout = 0.%d) |> combine(route))\n",
           3 + pick(20), pick(3));
    switch (pick(6)) {
    case 0: printf("  aux load_balance(softmax(g), route), weight = 0.01\n"); break;
    case 1: printf("  aux importance(softmax(g), groups = B), weight = 0.05\n"); break;
    case 2: printf("  aux z_loss(g), weight = 0.01\n"); break;
    case 3: printf("  aux sharpness(softmax(g)), weight = 0.001\n"); break;
    case 4:
        if (k < experts) printf("  aux load(g, g, %d, 0.5, groups = B), weight = 0.05\n", k);
        break;
    default: break;
    }
}

static void part(int tokens, int heads) {
    switch (pick(11)) {
    case 9:
        printf("  x = x + where(x < %s, gelu(linear(x, dim(x, 2)), approximate = \"tanh\"), x * "
               "0.5)\n",
               ONE_OF("0", "norm(x)", "mean(x, axis = 1, keep = true)"));
        break;
    case 10:
        printf("  for w in [%d, %d] { x = x + (linear(rms_norm(x), w) |> linear(dim(x, 2))) }\n",
               2 + pick(9), 2 + pick(9));
        break;
    case 0: printf("  x = x + attention(norm(x), %d, dropout = 0.%d)\n", heads, pick(3)); break;
    case 1: printf("  x = x + mlp(norm(x), %d, activation = \"gelu_tanh\")\n", 2 + pick(30)); break;
    case 2: printf("  x = %s(x)\n", ONE_OF("norm", "rms_norm")); break;
    case 3:
        printf("  x = x + %s(linear(x, dim(x, 2)))\n",
               ONE_OF("tanh", "softplus", "relu", "silu", "erf", "sigmoid"));
        break;
    case 4:
        printf("  x = x + (transpose(x, [0, 2, 1]) |> linear(%d) |> transpose([0, 2, 1]))\n",
               tokens);
        break;
    case 5: printf("  x = layer_scale(x, 0.5) + log1p(square(linear(x, dim(x, 2))))\n"); break;
    case 6: printf("  x = encoder_layer(x, %d, %d)\n", heads, 2 + pick(17)); break;
    default: mixture(); break;
    }
}

int main(int argc, char **argv) {
    state = argc > 1 ? strtoull(argv[1], NULL, 10) * 2 + 1 : 1;
    for (int i = 0; i < 8; i++) pick(2);
    int patch = 1 + pick(2), rows = 1 + pick(3), cols = 1 + pick(3), channels = 1 + pick(3),
        heads = 1 + pick(3);
    int dim = heads *
              (4 + pick(6)), /* the norm of two numbers is a sign, whose gradient is rounding */
        classes = 2 + pick(9), tokens = rows * cols;
    printf("use \"std/vit\"\nuse \"std/moe\"\nuse \"std/encoder\"\n\n");
    printf("model m(image: f32[B, %d, %d, %d], label: class[B, %d]) {\n", channels, rows * patch,
           cols * patch, classes);
    printf("  x = patch_embed(image, %d, %d)\n", patch, dim);
    if (pick(2)) printf("  x = position(x)\n");
    if (!pick(3)) {
        printf("  x = class_token(x)\n");
        tokens++;
    }
    for (int i = 0, n = 1 + pick(4); i < n; i++) part(tokens, heads);
    if (!pick(4))
        printf("  param table: [%d, %d] = normal(0.5)\n"
               "  x = x + reshape(gather(table, label), [B, 1, %d])\n",
               classes, dim, dim);
    printf("  logits = linear(mean(%s, axis = 1), %d)\n", pick(2) ? "norm(x)" : "x", classes);
    printf("  loss %s(logits, label)\n",
           ONE_OF("cross_entropy", "cross_entropy", "sigmoid_cross_entropy"));
    printf("  metric accuracy(logits, label)\n  metric largest = mean(max(logits))\n}\n");
    return 0;
}
