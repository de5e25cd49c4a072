/* What the trainer says of a run: the facts of its events, in the order logs have them.
 *
 * Does not: decide when something is said, or what it looks like. */
#include "runtime/train/internal.h"

#include <math.h>

/* ---- the start ---- */

VmStatus vm_say_start(VmLog *log, const VmTraining *what, const VmRunState *run, int threads,
                      int64_t test_images, VmError *err) {
    const VmSubject *s = what->subject;
    VmFacts f = {0}, config = {0};
    vm_facts_int(&f, "steps", run->total);
    vm_facts_bool(&f, "resumed", run->step > 0);
    vm_facts_int(&f, "threads", threads);
    vm_facts_int(&f, "train_images", run->train_images);
    vm_facts_int(&f, "test_images", test_images);
    if (what->run->tuning) vm_facts_text(&f, "tuning", what->run->tuning);
    vm_facts_text(&f, "weights", run->weights);
    if (s->graph) vm_facts_text(&f, "graph", s->graph);
    if (s->instructions) vm_facts_text(&f, "instructions", s->instructions);
    vm_facts_json(&f, "recipe", vm_recipe_json(what->recipe, false));
    for (int i = 0; i < s->nconfig; i++)
        vm_facts_word(&config, s->config_name[i], s->config_value[i]);
    vm_facts_group(&f, "config", config);
    return vm_log_tell(log, VM_EVENT_start, 0, run->step, f, err);
}

/* ---- steps ---- */

VmStatus vm_say_tick(VmLog *log, const VmRunState *run, int64_t epoch, double rate,
                     bool has_accuracy, VmError *err) {
    double accuracy = has_accuracy ? run->correct_sum / (double)run->images : (double)NAN;
    double loss = run->loss_sum / (double)run->batches;
    VmFact at[] = {
        {.name = "total", .type = VM_FACT_INT, .integer = run->total},
        {.name = "loss", .type = VM_FACT_NUMBER, .number = loss},
        {.name = "accuracy", .type = VM_FACT_NUMBER, .number = accuracy},
        {.name = "images_per_second", .type = VM_FACT_NUMBER, .number = rate},
    };
    VmFacts f = {.at = at, .n = sizeof at / sizeof *at};
    return vm_log_tell(log, VM_EVENT_tick, epoch, run->step, f, err);
}

static void put_terms(VmFacts *f, const char *name, const VmBinding *b, VmRole role) {
    VmFacts o = {0};
    for (int i = 0; i < b->nterm; i++) {
        const VmTensor *t = b->term[i].tensor;
        if (t->role == (int32_t)role) vm_facts_number(&o, t->name, (double)*b->term[i].value);
    }
    vm_facts_group(f, name, o);
}

VmStatus vm_say_step(VmLog *log, int64_t epoch, int64_t step, double lr, double rate,
                     const VmBinding *b, const VmRouting *routing, VmError *err) {
    VmFacts f = {0};
    vm_facts_number(&f, "lr", lr);
    vm_facts_number(&f, "loss", vm_binding_loss(b, false));
    vm_facts_number(&f, "objective", vm_binding_loss(b, true));
    vm_facts_number(&f, "images_per_second", rate);
    put_terms(&f, "losses", b, VM_ROLE_LOSS);
    put_terms(&f, "aux", b, VM_ROLE_AUX);
    put_terms(&f, "metrics", b, VM_ROLE_METRIC);
    if (routing->n) vm_facts_group(&f, "router", vm_routing_facts(routing, false));
    return vm_log_tell(log, VM_EVENT_step, epoch, step, f, err);
}

/* ---- epochs ---- */

VmStatus vm_say_epoch(VmLog *log, const VmEpochRecord *r, const VmRouting *routing, VmError *err) {
    VmFacts f = {0};
    vm_facts_number(&f, "train_loss", r->train_loss);
    vm_facts_number(&f, "train_objective", r->train_objective);
    vm_facts_number(&f, "train_accuracy", r->train_accuracy);
    vm_facts_number(&f, "test_loss", r->test_loss);
    vm_facts_number(&f, "test_accuracy", r->test_accuracy);
    vm_facts_number(&f, "seconds", r->seconds);
    vm_facts_number(&f, "images_per_second", r->images_per_second);
    vm_facts_number(&f, "data_wait", r->data_wait);
    vm_facts_number(&f, "test_seconds", r->test_seconds);
    if (routing->n) vm_facts_group(&f, "router", vm_routing_facts(routing, true));
    return vm_log_tell(log, VM_EVENT_epoch, r->epoch, r->step, f, err);
}
