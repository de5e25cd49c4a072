/* What the trainer says of a run: the facts of its events, in the order logs have them.
 *
 * Does not: decide when something is said, or what it looks like. */
#include "runtime/train/internal.h"

#include <math.h>

/* ---- the start ---- */

VmStatus vm_say_start(VmLog *log, const VmTraining *what, const VmRunState *run, const VmOutline *o,
                      VmError *err) {
    const VmSubject *s = what->subject;
    VmFacts f = {0}, config = {0};
    if (s->version) vm_facts_text(&f, "version", s->version);
    vm_facts_text(&f, "folder", o->folder);
    vm_facts_int(&f, "parameters", o->parameters);
    vm_facts_int(&f, "steps", run->total);
    vm_facts_bool(&f, "resumed", run->step > 0);
    vm_facts_int(&f, "threads", o->threads);
    vm_facts_int(&f, "train_images", o->images.train);
    vm_facts_int(&f, "validation_images", o->images.validation);
    vm_facts_int(&f, "test_images", o->images.test);
    vm_facts_int(&f, "batch", what->recipe->data.batch);
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

static VmStatus say_left_out_of(VmLog *log, VmSplit split, const VmDataset *d, int64_t step,
                                VmError *err) {
    int64_t n = d ? vm_dataset_left_out(d) : 0;
    if (!n) return VM_OK;
    VmFacts f = {0}, first = {0};
    vm_facts_text(&f, "split", vm_split_names[split]);
    vm_facts_int(&f, "images", n);
    const char *image;
    for (int i = 0; (image = vm_dataset_left_out_image(d, i)); i++)
        vm_facts_text(&first, NULL, image);
    vm_facts_list(&f, "first", first);
    return vm_log_tell(log, VM_EVENT_left_out, 0, step, f, err);
}

VmStatus vm_say_left_out(VmLog *log, const VmTraining *what, const VmRunState *run, VmError *err) {
    VmStatus s = say_left_out_of(log, VM_TRAIN, what->train, run->step, err);
    if (!s) s = say_left_out_of(log, VM_VALIDATION, what->validation, run->step, err);
    return s ? s : say_left_out_of(log, VM_TEST, what->test, run->step, err);
}

/* ---- failure ---- */

VmStatus vm_say_failure(VmLog *log, const VmRunState *run, const VmFailure *x, VmFacts found,
                        VmError *err) {
    VmFacts f = {0};
    vm_facts_text(&f, "in", x->training ? "training" : "evaluation");
    vm_facts_int(&f, "at", x->step);
    if (x->training) vm_facts_number(&f, "lr", x->rate);
    vm_facts_text(&f, "kind", x->kind);
    vm_facts_text(&f, "name", x->name);
    vm_facts_text(&f, "value", vm_failure_value(x->value));
    if (x->place) vm_facts_text(&f, "place", x->place);
    vm_facts_bool(&f, "weights_finite", !x->weight[0]);
    if (found.n)
        vm_facts_group(&f, "first", found);
    else
        vm_facts_free(&found);
    return vm_log_tell(log, VM_EVENT_diverged, 0, run->step, f, err);
}

/* ---- steps ---- */

VmStatus vm_say_tick(VmLog *log, const VmRunState *run, const VmBinding *b,
                     const VmRouting *routing, int64_t epoch, double lr, double rate,
                     VmError *err) {
    VmEvalResult mean = vm_sums_means(&run->sums, b);
    double least, most;
    (void)vm_routing_spread(routing, &least, &most);
    VmFact at[] = {
        {.name = "total", .type = VM_FACT_INT, .integer = run->total},
        {.name = "loss", .type = VM_FACT_NUMBER, .number = mean.loss},
        {.name = "accuracy", .type = VM_FACT_NUMBER, .number = vm_metric(&mean, "accuracy")},
        {.name = "lr", .type = VM_FACT_NUMBER, .number = lr},
        {.name = "images_per_second", .type = VM_FACT_NUMBER, .number = rate},
        {.name = "least_load", .type = VM_FACT_NUMBER, .number = least},
        {.name = "most_load", .type = VM_FACT_NUMBER, .number = most},
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

/* Names of facts live until the event was told. */
typedef struct Names {
    char at[3 * VM_MAX_METRICS][96];
    int n;
} Names;

/* "train_loss", "train_accuracy", ..: every metric under its own name. */
static void put_means(VmFacts *f, Names *names, const char *split, const char *loss,
                      const VmEvalResult *r) {
    vm_facts_number(f, loss, r->loss);
    for (int i = 0; i < r->nmetric; i++) {
        char *name = names->at[names->n++];
        snprintf(name, sizeof names->at[0], "%s_%s", split, r->metric[i].name);
        vm_facts_number(f, name, r->metric[i].value);
    }
}

VmStatus vm_say_epoch(VmLog *log, const VmEpochRecord *r, const VmRouting *routing, VmError *err) {
    VmFacts f = {0};
    Names names = {.n = 0};
    put_means(&f, &names, "train", "train_loss", &r->train);
    vm_facts_number(&f, "train_objective", r->train_objective);
    if (r->validation.images)
        put_means(&f, &names, "validation", "validation_loss", &r->validation);
    put_means(&f, &names, "test", "test_loss", &r->test);
    vm_facts_number(&f, "seconds", r->seconds);
    vm_facts_number(&f, "images_per_second", r->images_per_second);
    vm_facts_number(&f, "data_wait", r->data_wait);
    vm_facts_number(&f, r->validation.images ? "validation_seconds" : "test_seconds",
                    r->judge_seconds);
    if (routing->n) vm_facts_group(&f, "router", vm_routing_facts(routing, true));
    return vm_log_tell(log, VM_EVENT_epoch, r->epoch, r->step, f, err);
}

/* ---- the end ---- */

VmStatus vm_say_end(VmLog *log, const VmRunState *run, const VmTrainResult *r, VmError *err) {
    VmFacts f = {0};
    Names names = {.n = 0};
    vm_facts_int(&f, "best_epoch", r->best_epoch);
    put_means(&f, &names, "test", "test_loss", &r->test);
    return vm_log_tell(log, VM_EVENT_end, 0, run->step, f, err);
}
