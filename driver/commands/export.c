/* vmoec export: a model's weights get the names and layouts that another program has for them. */
#include "driver/commands/commands.h"

/* ---- for a person ---------------------------------------------------------------------------- */

static void print_text(Session *s, const Exported *x) {
    const RenameBack *b = x->back;
    printf("%s of %s for %s by %s\n", s->model, b->task->path,
           session_rules_name(s->arena, x->rules), x->rules);
    printf("%-8s %5d of %d weights\n", "exported", b->named, b->task->nweight);
    for (int i = 0; i < b->task->nweight; i++) {
        const RenamedBack *w = &b->of[i];
        if (w->rule)
            printf("  %s %s -> %s %s\n", w->weight->name, session_view_text(s->arena, w->weight),
                   w->name, session_view_text(s->arena, &w->tensor));
    }
    if (b->left_out) printf("%-8s %5d weights that --skip leaves out\n", "skipped", b->left_out);
    for (int i = 0; i < b->task->nweight; i++)
        if (b->of[i].left_out) printf("  %s\n", b->of[i].weight->name);
}

/* ---- for programs ---------------------------------------------------------------------------- */

static void print_json(const Session *s, const Exported *x) {
    const RenameBack *b = x->back;
    VmJson o = vm_json_object(), list = vm_json_list(), skipped = vm_json_list();
    for (int i = 0; i < b->task->nweight; i++) {
        const RenamedBack *w = &b->of[i];
        if (w->left_out) vm_json_string(&skipped, NULL, w->weight->name);
        if (!w->rule) continue;
        VmJson y = drv_view_json(w->weight);
        vm_json_put(&y, "tensor", drv_view_json(&w->tensor));
        vm_json_put(&list, NULL, y);
    }
    vm_json_string(&o, "file", s->path);
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "weights", b->task->path);
    vm_json_string(&o, "rules", x->rules);
    vm_json_put(&o, "exported", list);
    vm_json_put(&o, "skipped", skipped);
    vm_json_print(stdout, &o);
}

/* ---- the command ----------------------------------------------------------------------------- */

static VmStatus export(Session *s, const Args *a, Exported *x) {
    const SessionExport how = {
        .path = a->operand[1], .to = a->o.to, .skip = a->o.skip.list, .nskip = a->o.skip.n};
    VmStatus st = session_export(s, &how, x);
    if (!st && !a->o.dry_run) st = session_export_write(s, x, a->o.o);
    if (st) return st;
    if (a->o.json)
        print_json(s, x);
    else
        print_text(s, x);
    return VM_OK;
}

VmStatus cmd_export(const Args *a) {
    Session s;
    VmStatus st = drv_open_rules(a, OPT_to, &s);
    if (st) return st;
    Exported x;
    st = export(&s, a, &x);
    session_export_close(&x);
    session_close(&s);
    return st;
}
