/* vmoec import: weights with the names and layouts of another program become the model's. */
#include "driver/commands/commands.h"

static const char *view_text(Arena *a, const VmTensorView *v) {
    IrType t = ir_type(v->dtype ? DT_i32 : DT_f32, v->rank, v->dim);
    return ir_type_text(a, &t);
}

/* ---- for a person ---------------------------------------------------------------------------- */

static void head(const char *what, int n, const char *meaning) {
    if (n) printf("%-7s %5d %s\n", what, n, meaning);
}

static void print_fate(Session *s, const Rename *r, RenameFate fate) {
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != fate) continue;
        printf("  %s %s", x->tensor->name, view_text(s->arena, x->tensor));
        if (x->weight >= 0)
            printf(" -> %s %s", x->name, view_text(s->arena, &r->task->weight[x->weight]));
        else if (x->name)
            printf(": the model has no %s", x->name);
        putchar('\n');
    }
}

static void print_text(Session *s, const Imported *x) {
    const Rename *r = x->rename;
    printf("%s of %s from %s by %s\n", s->model, s->path, r->task->path, x->rules);
    printf("%-7s %5d of %d weights\n", "loaded", r->loaded, r->task->nweight);
    print_fate(s, r, RENAME_LOADED);
    head("missing", r->missing, "weights of the model that no tensor becomes");
    for (int i = 0; i < r->task->nweight; i++)
        if (!r->maker[i])
            printf("  %s %s\n", r->task->weight[i].name, view_text(s->arena, &r->task->weight[i]));
    head("unused", r->unused, "tensors of the file that become no weight");
    print_fate(s, r, RENAME_UNUSED);
    head("skipped", r->skipped, "tensors that a rule leaves out");
    print_fate(s, r, RENAME_SKIPPED);
}

/* ---- for programs ---------------------------------------------------------------------------- */

static VmJson view_json(const VmTensorView *v) {
    VmJson o = vm_json_object(), shape = vm_json_list();
    vm_json_string(&o, "name", v->name);
    vm_json_string(&o, "type", v->dtype ? "i32" : "f32");
    for (int i = 0; i < v->rank; i++) vm_json_int(&shape, NULL, v->dim[i]);
    vm_json_put(&o, "shape", shape);
    return o;
}

static VmJson fate_json(const Rename *r, RenameFate fate) {
    VmJson list = vm_json_list();
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != fate) continue;
        VmJson o = view_json(x->tensor);
        if (x->weight >= 0)
            vm_json_put(&o, "weight", view_json(&r->task->weight[x->weight]));
        else if (x->name)
            vm_json_string(&o, "no_weight", x->name);
        vm_json_put(&list, NULL, o);
    }
    return list;
}

static VmJson missing_json(const Rename *r) {
    VmJson list = vm_json_list();
    for (int i = 0; i < r->task->nweight; i++)
        if (!r->maker[i]) vm_json_put(&list, NULL, view_json(&r->task->weight[i]));
    return list;
}

static void print_json(const Session *s, const Imported *x) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "file", s->path);
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "tensors", x->rename->task->path);
    vm_json_string(&o, "rules", x->rules);
    vm_json_put(&o, "loaded", fate_json(x->rename, RENAME_LOADED));
    vm_json_put(&o, "missing", missing_json(x->rename));
    vm_json_put(&o, "unused", fate_json(x->rename, RENAME_UNUSED));
    vm_json_put(&o, "skipped", fate_json(x->rename, RENAME_SKIPPED));
    vm_json_print(stdout, &o);
}

/* ---- the command ----------------------------------------------------------------------------- */

static VmStatus import(Session *s, const Args *a, Imported *x) {
    const SessionImport how = {
        .path = a->operand[1], .from = a->o.from, .skip = a->o.skip.list, .nskip = a->o.skip.n};
    VmStatus st = session_import(s, &how, x);
    if (!st && !a->o.dry_run) st = session_import_write(s, x, a->o.o);
    if (st) return st;
    if (a->o.json)
        print_json(s, x);
    else
        print_text(s, x);
    return VM_OK;
}

VmStatus cmd_import(const Args *a) {
    VmStatus st = args_require(a, OPT_from);
    if (!st && !a->o.dry_run) st = args_require(a, OPT_o);
    Session s;
    VmoecOptions o;
    if (!st) st = drv_options(a, &o);
    o.precision = "f32"; /* no code is made: any machine will do */
    if (!st) st = drv_open_with(a, &o, NULL, false, &s);
    if (st) return st;
    Imported x;
    st = import(&s, a, &x);
    session_import_close(&x);
    session_close(&s);
    return st;
}
