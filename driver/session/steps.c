/* What the steps of rules do to tensors (steps.h). Nothing here knows names, rules as a whole, or
 * models. */
#include "driver/session/steps.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static int64_t elems(const VmTensorView *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

static void *room(Way *w, int64_t n) {
    return arena_array(w->arena, (size_t)n, 4);
}

/* The values of v in the order of a view with these dimensions and strides. */
static void gather(Way *w, int rank, const int64_t *dim, const int64_t *stride) {
    int64_t n = elems(&w->v), at[VM_MAX_RANK] = {0}, from = 0;
    int64_t inner = rank ? dim[rank - 1] : 1, step = rank ? stride[rank - 1] : 0;
    char *to = room(w, n);
    const char *data = w->v.data;
    for (int64_t i = 0; i < n; i += inner) {
        for (int64_t k = 0; k < inner; k++)
            memcpy(to + 4 * (i + k), data + 4 * (from + k * step), 4);
        for (int d = rank - 2; d >= 0; d--) {
            from += stride[d];
            if (++at[d] < dim[d]) break;
            from -= dim[d] * stride[d];
            at[d] = 0;
        }
    }
    w->v.data = to;
}

/* Dimension i becomes what order[i] was; order has each dimension once. */
static void reorder(Way *w, const int64_t *order) {
    int64_t dim[VM_MAX_RANK], stride[VM_MAX_RANK], all[VM_MAX_RANK], n = 1;
    int rank = w->v.rank;
    for (int i = rank - 1; i >= 0; i--) {
        all[i] = n;
        n *= w->v.dim[i];
    }
    for (int i = 0; i < rank; i++) {
        dim[i] = w->v.dim[order[i]];
        stride[i] = all[order[i]];
    }
    if (w->v.data) gather(w, rank, dim, stride);
    memcpy(w->v.dim, dim, (size_t)rank * sizeof dim[0]);
}

/* Those of a list as bits; false: one is none of rank dimensions, or there twice. */
static bool listed(const RenameStep *s, int rank, unsigned *bits) {
    *bits = 0;
    for (int i = 0; i < s->n; i++) {
        int64_t x = s->arg[i];
        if (x < 0 || x >= rank || *bits & 1u << x) return false;
        *bits |= 1u << x;
    }
    return true;
}

/* Each step and each way back returns NULL, or why it cannot be done. */

/* ---- order of dimensions --------------------------------------------------------------------- */

static const char *step_transpose(Way *w, const RenameStep *s) {
    unsigned seen;
    if (s->n != w->v.rank)
        return arena_printf(w->arena, "it has %d numbers for %d dimensions", s->n, w->v.rank);
    if (!listed(s, s->n, &seen))
        return arena_printf(w->arena, "it does not have each of 0 to %d once", s->n - 1);
    reorder(w, s->arg);
    return NULL;
}

static const char *back_transpose(Way *w, const RenameStep *s) {
    RenameStep back = *s;
    unsigned seen;
    if (listed(s, s->n, &seen))
        for (int i = 0; i < s->n; i++) back.arg[s->arg[i]] = i;
    return step_transpose(w, &back);
}

/* ---- dimensions of 1 ------------------------------------------------------------------------- */

static const char *step_drop(Way *w, const RenameStep *s) {
    unsigned gone;
    if (!listed(s, w->v.rank, &gone))
        return arena_printf(w->arena, "its numbers are not dimensions from 0 to %d, each once",
                            w->v.rank - 1);
    int rank = 0;
    for (int i = 0; i < w->v.rank; i++) {
        if (!(gone & 1u << i))
            w->v.dim[rank++] = w->v.dim[i];
        else if (w->v.dim[i] != 1)
            return arena_printf(w->arena, "dimension %d is %" PRId64 ", not 1", i, w->v.dim[i]);
    }
    w->v.rank = rank;
    return NULL;
}

static const char *back_drop(Way *w, const RenameStep *s) {
    unsigned gone;
    int rank = w->v.rank + s->n, from = 0;
    int64_t dim[VM_MAX_RANK];
    if (rank > VM_MAX_RANK || !listed(s, rank, &gone))
        return arena_printf(w->arena, "its numbers are not dimensions from 0 to %d, each once",
                            rank - 1);
    for (int i = 0; i < rank; i++) dim[i] = gone & 1u << i ? 1 : w->v.dim[from++];
    w->v.rank = rank;
    memcpy(w->v.dim, dim, sizeof dim);
    return NULL;
}

static const char *step_squeeze(Way *w, const RenameStep *s) {
    (void)s;
    int rank = 0;
    for (int i = 0; i < w->v.rank; i++)
        if (w->v.dim[i] != 1) w->v.dim[rank++] = w->v.dim[i];
    w->v.rank = rank;
    return NULL;
}

static const char *back_squeeze(Way *w, const RenameStep *s) {
    (void)w, (void)s;
    return "it does not say which dimensions it drops, as drop(0) does";
}

/* ---- patches --------------------------------------------------------------------------------- */

static const char *step_patches(Way *w, const RenameStep *s) {
    (void)s;
    static const int64_t order[] = {2, 3, 1, 0};
    int64_t *dim = w->v.dim;
    if (w->v.rank != 4 || dim[2] != dim[3]) return "it is no [O, C, P, P]";
    reorder(w, order);
    int64_t out = dim[3];
    dim[0] *= dim[1] * dim[2];
    dim[1] = out;
    w->v.rank = 2;
    return NULL;
}

static const char *back_patches(Way *w, const RenameStep *s) {
    (void)s;
    static const int64_t order[] = {3, 2, 0, 1};
    int64_t *dim = w->v.dim, c = w->channels, out = dim[1];
    if (w->v.rank != 2) return "it is no [P*P*C, O]";
    if (!c) return "the model has no images that would say how many channels a patch has";
    int64_t pixels = dim[0] / c, side = (int64_t)lround(sqrt((double)pixels));
    if (side * side * c != dim[0])
        return arena_printf(
            w->arena, "%" PRId64 " rows are no square patches of %" PRId64 " channels", dim[0], c);
    dim[0] = dim[1] = side;
    dim[2] = c;
    dim[3] = out;
    w->v.rank = 4;
    reorder(w, order);
    return NULL;
}

/* ---- other dimensions ------------------------------------------------------------------------ */

static const char *step_reshape(Way *w, const RenameStep *s) {
    int64_t n = elems(&w->v), known = 1, dim[VM_MAX_RANK];
    int rank = s->n ? s->n : w->weight->rank, open = -1;
    for (int i = 0; i < rank; i++) {
        dim[i] = s->n ? s->arg[i] : w->weight->dim[i];
        if (dim[i] < 0 && open >= 0) return "more than one dimension is -1";
        if (dim[i] < 0)
            open = i;
        else if (__builtin_mul_overflow(known, dim[i], &known))
            return "the shape is too large";
    }
    if (open >= 0) {
        dim[open] = known ? n / known : 0;
        known *= dim[open];
    }
    if (known != n)
        return arena_printf(w->arena, "it has room for %" PRId64 " values, not for %" PRId64, known,
                            n);
    w->v.rank = rank;
    memcpy(w->v.dim, dim, (size_t)rank * sizeof dim[0]);
    return NULL;
}

static const char *back_reshape(Way *w, const RenameStep *s) {
    (void)w, (void)s;
    return "it does not say which dimensions there were, as drop(0), patches and split(0,2) do";
}

static const char *step_split(Way *w, const RenameStep *s) {
    int64_t at = s->arg[0], n = s->arg[1];
    if (at < 0 || at >= w->v.rank)
        return arena_printf(w->arena, "there is no dimension %" PRId64, at);
    if (n < 1 || w->v.dim[at] % n)
        return arena_printf(w->arena, "%" PRId64 " does not divide %" PRId64, n, w->v.dim[at]);
    if (w->v.rank == VM_MAX_RANK) return "there are too many dimensions";
    memmove(w->v.dim + at + 1, w->v.dim + at, (size_t)(w->v.rank - at) * sizeof w->v.dim[0]);
    w->v.dim[at] = n;
    w->v.dim[at + 1] /= n;
    w->v.rank++;
    return NULL;
}

static const char *back_split(Way *w, const RenameStep *s) {
    int64_t at = s->arg[0], n = s->arg[1];
    if (at < 0 || at + 1 >= w->v.rank || w->v.dim[at] != n)
        return arena_printf(w->arena, "dimension %" PRId64 " is not %" PRId64 " parts", at, n);
    w->v.dim[at + 1] *= n;
    memmove(w->v.dim + at, w->v.dim + at + 1, (size_t)(w->v.rank - at - 1) * sizeof w->v.dim[0]);
    w->v.rank--;
    return NULL;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static const char *step_repeat(Way *w, const RenameStep *s) {
    (void)s;
    if (w->weight->rank != w->v.rank + 1)
        return arena_printf(w->arena, "it makes %d dimensions, the weight has %d", w->v.rank + 1,
                            w->weight->rank);
    int64_t copies = w->weight->dim[0], bytes = 4 * elems(&w->v);
    if (w->v.data) {
        char *to = arena_array(w->arena, (size_t)copies, (size_t)bytes);
        for (int64_t i = 0; i < copies; i++) memcpy(to + i * bytes, w->v.data, (size_t)bytes);
        w->v.data = to;
    }
    memmove(w->v.dim + 1, w->v.dim, (size_t)w->v.rank * sizeof w->v.dim[0]);
    w->v.dim[0] = copies;
    w->v.rank++;
    return NULL;
}

static const char *back_repeat(Way *w, const RenameStep *s) {
    (void)w, (void)s;
    return "copies that have learned are not one tensor any more";
}

/* ---- all of a rule --------------------------------------------------------------------------- */

typedef const char *Step(Way *, const RenameStep *);

static Step *const step_of[STEP_COUNT] = {
#define STEP(name, ...) step_##name,
#include "driver/session/rename.def"
};

static Step *const back_of[STEP_COUNT] = {
#define STEP(name, ...) back_##name,
#include "driver/session/rename.def"
};

const RenameStep *session_steps_take(Way *w, const RenameRule *r, const char **why) {
    for (int i = 0; i < r->step.n; i++) {
        *why = step_of[r->step.at[i].kind](w, &r->step.at[i]);
        if (*why) return &r->step.at[i];
    }
    return NULL;
}

const RenameStep *session_steps_back(Way *w, const RenameRule *r, const char **why) {
    for (int i = r->step.n - 1; i >= 0; i--) {
        *why = back_of[r->step.at[i].kind](w, &r->step.at[i]);
        if (*why) return &r->step.at[i];
    }
    return NULL;
}
