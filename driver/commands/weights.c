/* vmoec weights: what a file of weights holds, or how two of them differ. */
#include "driver/commands/commands.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { SHOWN = 200 }; /* characters of what a file says of itself */

/* Names come from files and may hold anything; a terminal must not obey them. */
static const char *safe(Session *s, const char *text) {
    char *copy = arena_strdup(s->arena, text);
    vm_make_printable(copy);
    return copy;
}

/* ---- one file -------------------------------------------------------------------------------- */

typedef struct Total {
    int64_t numbers, bytes;
} Total;

static Total total_of(const VmTensorFile *f) {
    Total t = {0};
    for (int i = 0; i < vm_tensors_count(f); i++) {
        t.numbers += session_view_elems(vm_tensors_at(f, i));
        t.bytes += vm_tensors_size(f, i);
    }
    return t;
}

static const char *shape_text(Arena *a, const VmTensorView *v) {
    Text t = text_new(a);
    text_add(&t, "[");
    for (int i = 0; i < v->rank; i++) text_addf(&t, "%s%" PRId64, i ? "," : "", v->dim[i]);
    text_add(&t, "]");
    return t.data;
}

static void print_meta(Session *s, const VmTensorFile *f) {
    const char *name, *value;
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++) {
        bool cut = strlen(value) > SHOWN;
        const char *shown = cut ? arena_strndup(s->arena, value, SHOWN) : value;
        printf("%s: %s%s\n", safe(s, name), safe(s, shown), cut ? " .." : "");
    }
}

static void print_file(Session *s, const VmTensorFile *f, const char *path) {
    int n = vm_tensors_count(f), wide = 0;
    Total t = total_of(f);
    for (int i = 0; i < n; i++) {
        int len = (int)strlen(vm_tensors_at(f, i)->name);
        if (len > wide && len < 60) wide = len;
    }
    for (int i = 0; i < n; i++) {
        const VmTensorView *v = vm_tensors_at(f, i);
        printf("%-*s %-4s %-18s %10s\n", wide, safe(s, v->name), vm_tensors_type(f, i),
               shape_text(s->arena, v), session_bytes_text(s->arena, vm_tensors_size(f, i)));
    }
    printf("%s: %d tensors, %" PRId64 " numbers, %s\n", safe(s, path), n, t.numbers,
           session_bytes_text(s->arena, t.bytes));
    print_meta(s, f);
}

static VmJson shape_json(const VmTensorView *v) {
    VmJson shape = vm_json_list();
    for (int i = 0; i < v->rank; i++) vm_json_int(&shape, NULL, v->dim[i]);
    return shape;
}

static VmJson meta_json(const VmTensorFile *f) {
    VmJson o = vm_json_object();
    const char *name, *value;
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++) vm_json_string(&o, name, value);
    return o;
}

static void print_file_json(const VmTensorFile *f, const char *path) {
    VmJson o = vm_json_object(), list = vm_json_list();
    Total t = total_of(f);
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const VmTensorView *v = vm_tensors_at(f, i);
        VmJson x = vm_json_object();
        vm_json_string(&x, "name", v->name);
        vm_json_string(&x, "type", vm_tensors_type(f, i));
        vm_json_put(&x, "shape", shape_json(v));
        vm_json_int(&x, "bytes", vm_tensors_size(f, i));
        vm_json_put(&list, NULL, x);
    }
    vm_json_string(&o, "file", path);
    vm_json_put(&o, "tensors", list);
    vm_json_int(&o, "numbers", t.numbers);
    vm_json_int(&o, "bytes", t.bytes);
    vm_json_put(&o, "metadata", meta_json(f));
    vm_json_print(stdout, &o);
}

/* ---- two files ------------------------------------------------------------------------------- */

static void print_only(Session *s, const WeightPairs *p, const char *path, bool first) {
    int n = first ? p->only_a : p->only_b;
    if (!n) return;
    printf("only in %s: %d\n", safe(s, path), n);
    for (int i = 0; i < p->n; i++) {
        const WeightPair *x = &p->of[i];
        const VmTensorView *v = first ? x->a : x->b;
        if (first ? !x->b : !x->a)
            printf("  %s %s\n", safe(s, v->name), session_view_text(s->arena, v));
    }
}

static void print_shapes(Session *s, const WeightPairs *p) {
    if (p->other_shape) printf("of other shapes: %d\n", p->other_shape);
    for (int i = 0; i < p->n; i++) {
        const WeightPair *x = &p->of[i];
        if (x->a && x->b && !x->same_shape)
            printf("  %s %s and %s\n", safe(s, x->a->name), session_view_text(s->arena, x->a),
                   session_view_text(s->arena, x->b));
    }
}

static void print_values(Session *s, const WeightPairs *p) {
    if (p->differ) printf("of other values: %d\n", p->differ);
    for (int i = 0; i < p->n; i++) {
        const WeightPair *x = &p->of[i];
        if (!x->same_shape || !x->differ) continue;
        printf("  %s %s: %" PRId64 " values, by at most %.6g\n", safe(s, x->a->name),
               session_view_text(s->arena, x->a), x->differ, x->largest);
    }
    printf("equal: %d\n", p->equal);
}

static void print_pairs_json(const WeightPairs *p, const char *const *path) {
    VmJson o = vm_json_object(), only_a = vm_json_list(), only_b = vm_json_list();
    VmJson shapes = vm_json_list(), values = vm_json_list();
    for (int i = 0; i < p->n; i++) {
        const WeightPair *x = &p->of[i];
        const char *name = x->a ? x->a->name : x->b->name;
        if (!x->a || !x->b) {
            vm_json_string(x->a ? &only_a : &only_b, NULL, name);
        } else if (!x->same_shape || x->differ) {
            VmJson y = vm_json_object();
            vm_json_string(&y, "name", name);
            vm_json_put(&y, "shape", shape_json(x->a));
            if (!x->same_shape) vm_json_put(&y, "other_shape", shape_json(x->b));
            if (x->same_shape) vm_json_int(&y, "differ", x->differ);
            if (x->same_shape) vm_json_number(&y, "largest", x->largest);
            vm_json_put(x->same_shape ? &values : &shapes, NULL, y);
        }
    }
    vm_json_string(&o, "file", path[0]);
    vm_json_string(&o, "other_file", path[1]);
    vm_json_put(&o, "only_in_file", only_a);
    vm_json_put(&o, "only_in_other_file", only_b);
    vm_json_put(&o, "other_shape", shapes);
    vm_json_put(&o, "other_values", values);
    vm_json_int(&o, "equal", p->equal);
    vm_json_print(stdout, &o);
}

static void print_pairs(Session *s, const WeightPairs *p, const char *const *path) {
    print_only(s, p, path[0], true);
    print_only(s, p, path[1], false);
    print_shapes(s, p);
    print_values(s, p);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void print(Session *s, const Args *a, VmTensorFile *const *f) {
    if (a->noperand < 2) {
        if (a->o.json)
            print_file_json(f[0], a->operand[0]);
        else
            print_file(s, f[0], a->operand[0]);
        return;
    }
    WeightPairs p = session_weights_compare(s->arena, f[0], f[1]);
    if (a->o.json)
        print_pairs_json(&p, a->operand);
    else
        print_pairs(s, &p, a->operand);
}

VmStatus cmd_weights(const Args *a) {
    Session s;
    VmTensorFile *f[2] = {NULL, NULL};
    VmStatus st = VM_OK;
    drv_init(a, &s);
    for (int i = 0; i < a->noperand && !st; i++)
        st = session_tensors_open(&s, a->operand[i], &f[i]);
    if (!st) print(&s, a, f);
    for (int i = 0; i < 2; i++) vm_tensors_close(f[i]);
    session_close(&s);
    return st;
}
