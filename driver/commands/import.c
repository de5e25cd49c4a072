/* vmoec import: weights with the names and layouts of another program become the model's. */
#include "driver/commands/commands.h"

static void print_text(Session *s, const Imported *x) {
    printf("%s of %s from %s by %s\n%s", s->model, s->path, x->rename->task->path, x->rules,
           session_rename_text(s->arena, x->rename));
}

/* ---- for programs ---------------------------------------------------------------------------- */

static VmJson fate_json(const Rename *r, RenameFate fate) {
    VmJson list = vm_json_list();
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != fate) continue;
        VmJson o = drv_view_json(x->tensor);
        if (x->weight >= 0)
            vm_json_put(&o, "weight", drv_view_json(&r->task->weight[x->weight]));
        else if (x->name)
            vm_json_string(&o, "no_weight", x->name);
        vm_json_put(&list, NULL, o);
    }
    return list;
}

static VmJson missing_json(const Rename *r) {
    VmJson list = vm_json_list();
    for (int i = 0; i < r->task->nweight; i++)
        if (!r->maker[i]) vm_json_put(&list, NULL, drv_view_json(&r->task->weight[i]));
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
    const SessionImport how = {.path = a->operand[1],
                               .from = a->o.from,
                               .skip = a->o.skip.list,
                               .nskip = a->o.skip.n,
                               .skip_mismatch = a->o.skip_mismatch};
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
    Session s;
    VmStatus st = drv_open_rules(a, OPT_from, &s);
    if (st) return st;
    Imported x;
    st = import(&s, a, &x);
    session_import_close(&x);
    session_close(&s);
    return st;
}
