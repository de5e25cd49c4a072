/* vmoec info: what a model costs, per module and in total, and the memory training it takes. */
#include "driver/driver.h"

#include <jansson.h>
#include <string.h>

typedef struct Memory {
    int64_t weights, packed, state, activations, scratch, peak;
} Memory;

/* The engine keeps one block per space, as large as the largest program needs. */
static VmStatus plan_memory(Session *s, bool training, Memory *m) {
    VmStatus st = session_module(s);
    if (st) return st;
    ProgramKind kinds[2] = {KIND_EVAL, KIND_TRAIN};
    int64_t space[VM_SPACE_COUNT] = {0};
    *m = (Memory){0};
    for (int i = 0; i < (training ? 2 : 1); i++) {
        VmError err = {{0}};
        const Program *p = session_plan(s, kinds[i], s->batch, false, &err);
        if (!p) return drv_fail(VM_ENV, "%s", err.text);
        for (int j = 0; j < VM_SPACE_COUNT; j++)
            if (p->code->space_bytes[j] > space[j]) space[j] = p->code->space_bytes[j];
        if (p->code->scratch_bytes > m->scratch) m->scratch = p->code->scratch_bytes;
    }
    m->weights = space[VM_WEIGHTS];
    m->packed = space[VM_PACKED];
    m->state = space[VM_STATE];
    m->activations = space[VM_WORK];
    m->scratch *= vm_threads(0);
    m->peak = m->weights + m->packed + m->state + m->activations + m->scratch;
    return VM_OK;
}

static void print_table(const Session *s, const Counts *c, const Memory *m) {
    printf("%s of %s, %lld image%s per step\n\n", s->model, s->path, (long long)s->batch,
           s->batch == 1 ? "" : "s");
    printf("%-32s %14s %14s %16s\n", "module", "parameters", "activated", "MAC per image");
    for (int i = 0; i < c->nmodule; i++)
        printf("%-32s %14lld %14lld %16.0f\n", c->module[i].name, (long long)c->module[i].params,
               (long long)c->module[i].active, c->module[i].macs);
    printf("%-32s %14lld %14lld %16.0f\n\n", "total", (long long)c->total.params, (long long)c->total.active,
           c->total.macs);
    printf("tensor memory: weights %s, packed weights %s, optimizer state %s, activations and gradients %s, "
           "scratch %s, peak %s\n",
           drv_bytes_text(s->arena, m->weights), drv_bytes_text(s->arena, m->packed),
           drv_bytes_text(s->arena, m->state), drv_bytes_text(s->arena, m->activations),
           drv_bytes_text(s->arena, m->scratch), drv_bytes_text(s->arena, m->peak));
}

static void print_json(const Session *s, const Counts *c, const Memory *m) {
    json_t *modules = json_array();
    for (int i = 0; i < c->nmodule; i++)
        json_array_append_new(modules, json_pack("{s:s, s:I, s:I, s:I}", "name", c->module[i].name, "params",
                                                 (json_int_t)c->module[i].params, "params_active",
                                                 (json_int_t)c->module[i].active, "macs",
                                                 (json_int_t)c->module[i].macs));
    json_t *memory =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)m->weights, "packed",
                  (json_int_t)m->packed, "state", (json_int_t)m->state, "activations",
                  (json_int_t)m->activations, "scratch", (json_int_t)m->scratch, "peak", (json_int_t)m->peak);
    json_t *j = json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:o}", "file", drv_json_text(s->path), "model",
                          s->model, "batch", (json_int_t)s->batch, "params", (json_int_t)c->total.params,
                          "params_active", (json_int_t)c->total.active, "macs", (json_int_t)c->total.macs,
                          "memory", memory, "modules", modules);
    drv_print_json(j);
}

VmStatus cmd_info(const Args *a) {
    const char *mode = args_str(a, OPT_info_mode);
    if (mode && strcmp(mode, "train") && strcmp(mode, "infer"))
        return drv_fail(VM_USAGE, "--mode is train or infer, not '%s'", mode);
    Session s;
    VmStatus st =
        session_open(&s, a->operand[0], &a->value[OPT_info_set], args_str(a, OPT_info_model), false);
    if (st) return st;
    s.batch = args_int(a, OPT_info_batch, s.batch);
    IrGraph *g = session_elaborate(&s, s.batch);
    Memory m = {0};
    bool infer = mode && !strcmp(mode, "infer");
    if (g && mode && !infer && !model_has_loss(g))
        st = drv_fail(VM_INPUT, "%s has no loss to train on", s.model);
    else
        st = g ? plan_memory(&s, !infer && model_has_loss(g), &m) : VM_INPUT;
    if (!st) {
        Counts c = count_model(s.arena, g, s.batch);
        if (args_flag(a, OPT_info_json))
            print_json(&s, &c, &m);
        else
            print_table(&s, &c, &m);
    }
    session_close(&s);
    return st;
}
