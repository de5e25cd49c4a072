/* References of convolutions and poolings: from the definition, one result after the other. They
 * read attributes themselves, so that they share nothing with who plans and lowers these ops. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

static void clear(RefTensor *t) {
    memset(t->data, 0, (size_t)ir_elems(&t->type) * sizeof(double));
}

static int64_t attr(const RefCall *c, const char *name, int64_t otherwise) {
    AttrId id = ir_attr_by_name(c->node->op, name);
    return id == ATTR_COUNT ? otherwise : ir_int(c->node, id);
}

/* The images, x and y, and how results see the image. */
typedef struct Scene {
    const IrType *x, *y;
    int64_t stride, top, left, kh, kw, groups, parts, experts;
} Scene;

static Scene scene(const RefCall *c, const IrType *x, const IrType *y, int64_t kh, int64_t kw) {
    const int64_t *pad;
    ir_ints(c->node, ir_attr_by_name(c->node->op, "pad"), &pad);
    return (Scene){.x = x,
                   .y = y,
                   .stride = attr(c, "stride", 1),
                   .top = pad[0],
                   .left = pad[1],
                   .kh = kh,
                   .kw = kw,
                   .groups = attr(c, "groups", 1),
                   .parts = attr(c, "parts", 1),
                   .experts = c->node->nin > 2 ? c->in[2]->type.dim[0] - 1 : 0};
}

/* The first pixel of image b that kernel element (kh,kw) of result (oh,ow) meets; -1: padding. */
static int64_t pixel(const Scene *s, int64_t b, int64_t oh, int64_t ow, int64_t kh, int64_t kw) {
    int64_t h = oh * s->stride + kh - s->top, w = ow * s->stride + kw - s->left;
    if (h < 0 || h >= s->x->dim[1] || w < 0 || w >= s->x->dim[2]) return -1;
    return ((b * s->x->dim[1] + h) * s->x->dim[2] + w) * s->x->dim[3];
}

/* The expert of image b; 0 without experts, -1: it is nobody's. */
static int64_t expert_of(const RefCall *c, const Scene *s, int64_t b) {
    if (!s->experts) return 0;
    for (int64_t e = 0; e < s->experts; e++)
        if (b >= ref_index(c->in[2], e, s->x->dim[0] + 1) &&
            b < ref_index(c->in[2], e + 1, s->x->dim[0] + 1))
            return e;
    return -1;
}

/* The part of its expert's images that image b is in. */
static int64_t part_of(const RefCall *c, const Scene *s, int64_t b, int64_t e) {
    int64_t lo = s->experts ? ref_index(c->in[2], e, s->x->dim[0] + 1) : 0;
    int64_t hi = s->experts ? ref_index(c->in[2], e + 1, s->x->dim[0] + 1) : s->x->dim[0];
    int64_t n = hi - lo, p = 0;
    while (b - lo >= (p + 1) * n / s->parts) p++;
    return p;
}

/* What is done where result `y0` (its first channel), pixel `x0` and kernel element `w0` (its first
 * number) meet: c channels each, of `group`. */
typedef void (*Meet)(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0);

static void walk(const RefCall *c, const Scene *s, int64_t per_weight, Meet meet) {
    int64_t OH = s->y->dim[1], OW = s->y->dim[2], taps = s->kh * s->kw;
    int64_t sets = s->experts ? s->experts : 1;
    for (int64_t b = 0; b < s->x->dim[0]; b++) {
        int64_t e = expert_of(c, s, b);
        if (e < 0) continue;
        int64_t set = part_of(c, s, b, e) * sets + e;
        for (int64_t i = 0; i < OH * OW; i++)
            for (int64_t t = 0; t < taps; t++) {
                int64_t x0 = pixel(s, b, i / OW, i % OW, t / s->kw, t % s->kw);
                int64_t y0 = (b * OH * OW + i) * s->y->dim[3];
                if (x0 >= 0)
                    meet(c, s, x0, y0, set * s->groups * taps * per_weight + t * per_weight);
            }
    }
}

/* ---- dense ----------------------------------------------------------------------------------- */

/* Calls for every group, input channel and output channel: indices into x, y and w. */
#define EACH_CHANNEL(statement)                                                                    \
    int64_t I = s->x->dim[3] / s->groups, O = s->y->dim[3] / s->groups;                            \
    for (int64_t g = 0; g < s->groups; g++)                                                        \
        for (int64_t i = 0; i < I; i++)                                                            \
            for (int64_t o = 0; o < O; o++) {                                                      \
                int64_t x = x0 + g * I + i, y = y0 + g * O + o;                                    \
                int64_t w = w0 + (g * s->kh * s->kw * I + i) * O + o;                              \
                statement                                                                          \
            }

static void meet_y(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    EACH_CHANNEL(c->out[0].data[y] += c->in[0]->data[x] * c->in[1]->data[w];)
}

static void meet_x(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    EACH_CHANNEL(c->out[0].data[x] += c->in[0]->data[y] * c->in[1]->data[w];)
}

static void meet_w(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    EACH_CHANNEL(c->out[0].data[w] += c->in[0]->data[x] * c->in[1]->data[y];)
}

/* Numbers of one kernel element of one group. */
static int64_t per_element(const Scene *s) {
    return s->x->dim[3] / s->groups * (s->y->dim[3] / s->groups);
}

static const int64_t *kernel_of_weights(const RefCall *c, int channels) {
    const IrType *w = &c->in[1]->type;
    return &w->dim[w->rank - channels - 2];
}

void ref_conv(const RefCall *c) {
    const int64_t *k = kernel_of_weights(c, 2);
    Scene s = scene(c, &c->in[0]->type, &c->out[0].type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, per_element(&s), meet_y);
}

void ref_conv_dx(const RefCall *c) {
    const int64_t *k = kernel_of_weights(c, 2);
    Scene s = scene(c, &c->out[0].type, &c->in[0]->type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, per_element(&s), meet_x);
}

void ref_conv_dw(const RefCall *c) {
    const int64_t *k;
    ir_ints(c->node, ATTR_conv_dw_kernel, &k);
    Scene s = scene(c, &c->in[0]->type, &c->in[1]->type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, per_element(&s), meet_w);
}

/* ---- every channel by itself ----------------------------------------------------------------- */

static void meet_depthwise_y(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    for (int64_t i = 0; i < s->x->dim[3]; i++)
        c->out[0].data[y0 + i] += c->in[0]->data[x0 + i] * c->in[1]->data[w0 + i];
}

static void meet_depthwise_x(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    for (int64_t i = 0; i < s->x->dim[3]; i++)
        c->out[0].data[x0 + i] += c->in[0]->data[y0 + i] * c->in[1]->data[w0 + i];
}

static void meet_depthwise_w(const RefCall *c, const Scene *s, int64_t x0, int64_t y0, int64_t w0) {
    for (int64_t i = 0; i < s->x->dim[3]; i++)
        c->out[0].data[w0 + i] += c->in[0]->data[x0 + i] * c->in[1]->data[y0 + i];
}

void ref_depthwise(const RefCall *c) {
    const int64_t *k = kernel_of_weights(c, 1);
    Scene s = scene(c, &c->in[0]->type, &c->out[0].type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, s.x->dim[3], meet_depthwise_y);
}

void ref_depthwise_dx(const RefCall *c) {
    const int64_t *k = kernel_of_weights(c, 1);
    Scene s = scene(c, &c->out[0].type, &c->in[0]->type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, s.x->dim[3], meet_depthwise_x);
}

void ref_depthwise_dw(const RefCall *c) {
    const int64_t *k;
    ir_ints(c->node, ATTR_depthwise_dw_kernel, &k);
    Scene s = scene(c, &c->in[0]->type, &c->in[1]->type, k[0], k[1]);
    clear(&c->out[0]);
    walk(c, &s, s.x->dim[3], meet_depthwise_w);
}

/* ---- pooling --------------------------------------------------------------------------------- */

void ref_max_pool(const RefCall *c) {
    const int64_t *k;
    ir_ints(c->node, ATTR_max_pool_kernel, &k);
    Scene s = scene(c, &c->in[0]->type, &c->out[0].type, k[0], k[1]);
    int64_t C = s.x->dim[3], OH = s.y->dim[1], OW = s.y->dim[2];
    for (int64_t i = 0, n = ir_elems(s.y); i < n; i++) {
        int64_t at = i / C, best = -1;
        double most = 0;
        for (int64_t t = 0; t < k[0] * k[1]; t++) {
            int64_t x0 = pixel(&s, at / (OH * OW), at / OW % OH, at % OW, t / k[1], t % k[1]);
            if (x0 < 0) continue;
            double x = c->in[0]->data[x0 + i % C];
            if (isnan(most)) continue;
            if (best >= 0 && !(x > most) && !isnan(x)) continue;
            most = x;
            best = isnan(x) ? -1 : t;
        }
        c->out[0].data[i] = most;
        c->out[1].data[i] = (double)best;
    }
}

void ref_max_pool_grad(const RefCall *c) {
    const int64_t *k;
    ir_ints(c->node, ATTR_max_pool_grad_kernel, &k);
    Scene s = scene(c, &c->out[0].type, &c->in[1]->type, k[0], k[1]);
    int64_t C = s.x->dim[3], OH = s.y->dim[1], OW = s.y->dim[2];
    clear(&c->out[0]);
    for (int64_t i = 0, n = ir_elems(s.y); i < n; i++) {
        int64_t at = i / C, t = (int64_t)c->in[0]->data[i];
        if (t == -1) continue;
        t = ref_index(c->in[0], i, k[0] * k[1]);
        int64_t x0 = pixel(&s, at / (OH * OW), at / OW % OH, at % OW, t / k[1], t % k[1]);
        if (x0 >= 0) c->out[0].data[x0 + i % C] += c->in[1]->data[i];
    }
}
