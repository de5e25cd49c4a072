/* vmoec info: what a model costs, per module and in total, and the memory that training takes. */
#include "driver/commands/commands.h"

#include <string.h>

/* Compiles what a run of training would and looks at this process then: all but tensors and data is
 * there. */
static VmStatus measure_process(Session *s, bool training, int threads, MemoryUse *m) {
    ProgramKind kinds[2] = {KIND_EVAL, KIND_TRAIN};
    int64_t scratch = 0, peak;
    m->other = 0;
    for (int i = 0; i < (training ? 2 : 1); i++) {
        VmError err = {.text = ""};
        const Program *p = session_compile(s, kinds[i], s->batch, false, &err);
        if (!p) return drv_fail(err.status, "%s", err.text);
        if (p->code->scratch_bytes > scratch) scratch = p->code->scratch_bytes;
        if (p->code->space_bytes[VM_PACKED] > m->other) m->other = p->code->space_bytes[VM_PACKED];
    }
    m->scratch = scratch * threads;
    vm_memory_now(&m->process, &peak);
    m->total = m->weights + m->state + m->work + m->other + m->scratch + m->data + m->process;
    return VM_OK;
}

static VmStatus plan_memory(Session *s, const Args *a, bool training, Budget *b, MemoryUse *m) {
    const char *budget = a->o.mem_budget;
    VmError err = {.text = ""};
    int threads = vm_threads((int)opt_or(a->o.threads, 0));
    *m =
        (MemoryUse){.scratch = session_scratch_ahead(threads), .process = session_process_ahead(0)};
    VmStatus st = budget ? drv_parse_size(budget, "mem-budget", &b->limit) : VM_OK;
    if (!st) st = session_module(s);
    if (st) return st;
    if (training && session_data_use(s, &session_data_training, a->o.data, threads, m, &err)) {
        if (strstr(err.text, "out of memory")) return drv_fail(VM_ENV, "%s", err.text);
        fprintf(stderr, "vmoec: the data set's memory is not counted: %s\n", err.text);
    }
    st = session_fit(s, b, training, m);
    return st ? st : measure_process(s, training, threads, m);
}

static void print_table(const Session *s, const Counts *c, const Budget *b, const MemoryUse *m) {
    printf("%s of %s, %lld image%s per step\n\n", s->model, s->path, (long long)s->batch,
           s->batch == 1 ? "" : "s");
    printf("%-32s %14s %14s %16s\n", "module", "parameters", "activated", "MAC per image");
    for (int i = 0; i < c->nmodule; i++)
        printf("%-32s %14lld %14lld %16.0f\n", c->module[i].name, (long long)c->module[i].params,
               (long long)c->module[i].active, c->module[i].macs);
    printf("%-32s %14lld %14lld %16.0f\n", "total", (long long)c->total.params,
           (long long)c->total.active, c->total.macs);
    if (c->image != c->total.active)
        printf("%-47s %14lld\n", "met by the tokens of an image, at most", (long long)c->image);
    if (c->total.attention > 0)
        printf("%-62s %16.0f\n", "without attention's two products",
               c->total.macs - c->total.attention);
    putchar('\n');
    const struct {
        const char *name;
        int64_t bytes;
    } part[] = {{"weights", m->weights},
                {"optimizer state", m->state},
                {"packed weights", m->other},
                {"activations and gradients", m->work},
                {"scratch of threads", m->scratch},
                {"data set", m->data},
                {"program, libraries, code", m->process},
                {"memory at the peak", m->total}};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        printf("%-32s %14s\n", part[i].name, session_bytes_text(s->arena, part[i].bytes));
    const char *chosen = session_budget_text(s->arena, b);
    if (chosen) printf("%s\n", chosen);
}

/* Products of a training step, or of an evaluation when there is no loss: as the model has them,
 * before the passes that decide how to compute them (splitk cuts some, recompute repeats some). */
static VmJson matmuls_json(Session *s, const IrGraph *model) {
    static const PassId train[] = {PASS_expand, PASS_autodiff, PASS_simplify, PASS_cse};
    static const PassId eval[] = {PASS_expand, PASS_simplify, PASS_cse};
    IrGraph *g = ir_graph_clone(s->arena, model);
    bool loss = session_has_loss(g);
    session_run_passes(s, g, loss ? train : eval, loss ? 4 : 3, loss);
    Matmul *list;
    int n = count_matmuls(s->arena, g, &list);
    VmJson out = vm_json_list();
    for (int i = 0; i < n; i++) {
        VmJson o = vm_json_object();
        vm_json_string(&o, "kernel", list[i].text);
        vm_json_int(&o, "calls", list[i].calls);
        vm_json_put(&out, NULL, o);
    }
    return out;
}

static VmJson modules_json(const Counts *c) {
    VmJson list = vm_json_list();
    for (int i = 0; i < c->nmodule; i++) {
        VmJson o = vm_json_object();
        vm_json_string(&o, "name", c->module[i].name);
        vm_json_int(&o, "params", c->module[i].params);
        vm_json_int(&o, "params_active", c->module[i].active);
        vm_json_int(&o, "macs", c->module[i].macs);
        vm_json_put(&list, NULL, o);
    }
    return list;
}

static VmJson budget_json(const Budget *u) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "limit", u->limit);
    vm_json_int(&o, "recomputed", u->steps);
    vm_json_int(&o, "of", u->all);
    vm_json_int(&o, "peak_without", u->before);
    vm_json_number(&o, "extra_flops", u->flops_after / u->flops_before - 1);
    return o;
}

static VmJson memory_json(const MemoryUse *m, const Budget *u) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "weights", m->weights);
    vm_json_int(&o, "state", m->state);
    vm_json_int(&o, "activations", m->work);
    vm_json_int(&o, "packed", m->other);
    vm_json_int(&o, "scratch", m->scratch);
    vm_json_int(&o, "data", m->data);
    vm_json_int(&o, "process", m->process);
    vm_json_int(&o, "peak", m->total);
    if (u->limit) vm_json_put(&o, "budget", budget_json(u));
    return o;
}

static void print_json(const Session *s, const Counts *c, const Budget *b, const MemoryUse *m,
                       VmJson matmuls) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "file", s->path);
    vm_json_string(&o, "model", s->model);
    vm_json_int(&o, "batch", s->batch);
    vm_json_int(&o, "params", c->total.params);
    vm_json_int(&o, "params_active", c->total.active);
    vm_json_int(&o, "macs", c->total.macs);
    vm_json_int(&o, "macs_without_attention", c->total.macs - c->total.attention);
    vm_json_int(&o, "params_image", c->image);
    vm_json_put(&o, "memory", memory_json(m, b));
    vm_json_put(&o, "modules", modules_json(c));
    vm_json_put(&o, "matmuls", matmuls);
    vm_json_print(stdout, &o);
}

VmStatus cmd_info(const Args *a) {
    const char *mode = a->o.mode;
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    Session s;
    VmStatus st = drv_open(a, false, &s);
    if (st) return st;
    const IrGraph *g = session_graph(&s, s.batch);
    Budget b = {0};
    MemoryUse m = {0};
    bool infer = mode && !strcmp(mode, "infer");
    if (g && mode && !infer && !session_has_loss(g))
        st = drv_fail(VM_INPUT, "%s has no loss to train on", s.model);
    else
        st = g ? plan_memory(&s, a, !infer && session_has_loss(g), &b, &m) : VM_INPUT;
    if (!st) {
        Counts c = session_count(s.arena, g, s.batch);
        if (a->o.json)
            print_json(&s, &c, &b, &m, matmuls_json(&s, g));
        else
            print_table(&s, &c, &b, &m);
    }
    session_close(&s);
    return st;
}
