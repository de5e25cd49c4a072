/* vmoec info: what a model costs, per module and in total, and the memory that training takes. */
#include "driver/driver.h"

#include <jansson.h>
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
    memory_resident(&m->process, &peak);
    m->total = m->weights + m->state + m->work + m->other + m->scratch + m->data + m->process;
    return VM_OK;
}

static VmStatus plan_memory(Session *s, const Args *a, bool training, MemoryUse *m) {
    const char *budget = a->o.mem_budget;
    VmError err = {.text = ""};
    int threads = vm_threads((int)opt_or(a->o.threads, 0));
    *m = (MemoryUse){.scratch = memory_scratch_ahead(threads), .process = memory_process_ahead(0)};
    VmStatus st = budget ? drv_parse_size(budget, "mem-budget", &s->budget.limit) : VM_OK;
    if (!st) st = session_module(s);
    if (st) return st;
    if (training && session_data_bytes(s, true, a->o.data, &m->data, &err)) {
        if (strstr(err.text, "out of memory")) return drv_fail(VM_ENV, "%s", err.text);
        fprintf(stderr, "vmoec: the data set's memory is not counted: %s\n", err.text);
    }
    st = session_fit(s, training, m);
    return st ? st : measure_process(s, training, threads, m);
}

static void print_table(const Session *s, const Counts *c, const MemoryUse *m) {
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
        printf("%-32s %14s\n", part[i].name, drv_bytes_text(s->arena, part[i].bytes));
    budget_print(stdout, s);
}

/* Products of a training step, or of an evaluation when there is no loss: as the model has them,
 * before the passes that decide how to compute them (splitk cuts some, recompute repeats some). */
static json_t *matmuls_json(Session *s, const IrGraph *model) {
    static const PassId train[] = {PASS_expand, PASS_autodiff, PASS_simplify, PASS_cse};
    static const PassId eval[] = {PASS_expand, PASS_simplify, PASS_cse};
    IrGraph *g = ir_graph_clone(s->arena, model);
    bool loss = model_has_loss(g);
    session_run_passes(s, g, loss ? train : eval, loss ? 4 : 3, loss);
    Matmul *list;
    int n = count_matmuls(s->arena, g, &list);
    json_t *out = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(
            out, json_pack("{s:s, s:i}", "kernel", list[i].text, "calls", list[i].calls));
    return out;
}

static void print_json(const Session *s, const Counts *c, const MemoryUse *m, json_t *matmuls) {
    json_t *modules = json_array();
    for (int i = 0; i < c->nmodule; i++)
        json_array_append_new(modules, json_pack("{s:s, s:I, s:I, s:I}", "name", c->module[i].name,
                                                 "params", (json_int_t)c->module[i].params,
                                                 "params_active", (json_int_t)c->module[i].active,
                                                 "macs", (json_int_t)c->module[i].macs));
    json_t *memory = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights",
                               (json_int_t)m->weights, "state", (json_int_t)m->state, "activations",
                               (json_int_t)m->work, "packed", (json_int_t)m->other, "scratch",
                               (json_int_t)m->scratch, "data", (json_int_t)m->data, "process",
                               (json_int_t)m->process, "peak", (json_int_t)m->total);
    const Budget *u = &s->budget;
    if (u->limit)
        json_object_set_new(memory, "budget",
                            json_pack("{s:I, s:i, s:i, s:I, s:o}", "limit", (json_int_t)u->limit,
                                      "recomputed", u->steps, "of", u->all, "peak_without",
                                      (json_int_t)u->before, "extra_flops",
                                      drv_json_number(u->flops_after / u->flops_before - 1)));
    json_t *j = json_pack(
        "{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "file", drv_json_text(s->path),
        "model", s->model, "batch", (json_int_t)s->batch, "params", (json_int_t)c->total.params,
        "params_active", (json_int_t)c->total.active, "macs", (json_int_t)c->total.macs,
        "macs_without_attention", (json_int_t)(c->total.macs - c->total.attention), "params_image",
        (json_int_t)c->image, "memory", memory, "modules", modules, "matmuls", matmuls);
    drv_print_json(j);
}

VmStatus cmd_info(const Args *a) {
    const char *mode = a->o.mode;
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    Session s;
    VmStatus st = session_open(&s, a->operand[0], &a->o.set, a->o.model, a->o.precision, false);
    if (st) return st;
    s.batch = opt_or(a->o.batch, s.batch);
    IrGraph *g = session_elaborate(&s, s.batch);
    MemoryUse m = {0};
    bool infer = mode && !strcmp(mode, "infer");
    if (g && mode && !infer && !model_has_loss(g))
        st = drv_fail(VM_INPUT, "%s has no loss to train on", s.model);
    else
        st = g ? plan_memory(&s, a, !infer && model_has_loss(g), &m) : VM_INPUT;
    if (!st) {
        Counts c = count_model(s.arena, g, s.batch);
        if (a->o.json)
            print_json(&s, &c, &m, matmuls_json(&s, g));
        else
            print_table(&s, &c, &m);
    }
    session_close(&s);
    return st;
}
