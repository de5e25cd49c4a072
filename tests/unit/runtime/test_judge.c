/* Validation, the best weights, patience, checkpoints inside epochs and runs that are asked to
 * stop. */
#include "tests/unit/runtime/util_toy.h"

#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/runtime/runtime_test.h"

/* ---- holding out ---- */

/* Of 22 images of three classes: 8, 7 and 7. */
static void hold_out(const VmDataset *d, uint64_t seed, VmDataset **rest, VmDataset **held) {
    VmError err;
    cr_assert(vm_dataset_hold_out(d, 0.28, seed, rest, held, &err) == VM_OK, "%s", err.text);
}

Test(runtime_judge, every_class_gives_its_share) {
    char *dir = toy_data();
    VmDataset *d, *rest, *held, *again[2], *other[2];
    toy_open(dir, VM_TRAIN, &d);
    hold_out(d, 1, &rest, &held);
    hold_out(d, 1, &again[0], &again[1]);
    hold_out(d, 2, &other[0], &other[1]);
    int all[3] = {0}, out[3] = {0};
    for (int64_t i = 0; i < vm_dataset_size(d); i++) all[vm_dataset_label(d, i)]++;
    for (int64_t i = 0; i < vm_dataset_size(held); i++) out[vm_dataset_label(held, i)]++;
    for (int c = 0; c < 3; c++) cr_assert_eq(out[c], (int)(0.28 * all[c] + 0.5), "class %d", c);
    cr_assert_eq(vm_dataset_size(rest) + vm_dataset_size(held), vm_dataset_size(d));
    /* every image is in one of the two, in its order */
    int64_t r = 0, h = 0;
    for (int64_t i = 0; i < vm_dataset_size(d); i++) {
        const uint8_t *image = vm_dataset_pixels(d, i);
        if (r < vm_dataset_size(rest) && vm_dataset_pixels(rest, r) == image)
            r++;
        else if (h < vm_dataset_size(held) && vm_dataset_pixels(held, h) == image)
            h++;
        else
            cr_assert(false, "image %d is in neither", (int)i);
    }
    VmHash a = vm_dataset_fingerprint(held), b = vm_dataset_fingerprint(again[1]),
           c = vm_dataset_fingerprint(other[1]);
    cr_assert(a.lo == b.lo && a.hi == b.hi, "the seed decides");
    cr_assert(a.lo != c.lo || a.hi != c.hi, "and another one decides otherwise");
    VmDataset *part[] = {rest, held, again[0], again[1], other[0], other[1], d};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) vm_dataset_close(part[i]);
    rt_remove(dir);
}

/* ---- the best epoch ---- */

static ToyConfig judged(const char *out) {
    ToyConfig c = toy_config(out);
    c.recipe.validation = 0.28; /* 16 are left: two steps of 8 in an epoch */
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    c.recipe.schedule.peak = 0.05;
    return c;
}

Test(runtime_judge, the_best_weights_are_kept_and_tested, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = judged(rt_path(dir, "whole")), part = judged(rt_path(dir, "part"));
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &c.recipe.keep);
    c.recipe.keep.metric = "loss";
    c.recipe.schedule.peak = 2; /* goes to and fro: the last epoch is hardly the best */
    part.recipe.schedule.peak = 2;
    c.recipe.epochs = (VmSpan){6, false};
    ToyRun whole = toy_train(dir, &c, 2);
    cr_assert(whole.status == VM_OK, "%s", whole.err.text);
    int64_t best = whole.result.best_epoch;
    cr_assert(best >= 1 && best < 6, "%d", (int)best);
    part.recipe.epochs = (VmSpan){(double)best, false};
    ToyRun until = toy_train(dir, &part, 1);
    cr_assert(until.status == VM_OK, "%s", until.err.text);
    toy_same_weights(&whole, &until, "the engine has the best weights at the end");
    size_t n, m;
    char *kept = rt_read(rt_path(dir, "whole/best.safetensors"), &n);
    char *then = rt_read(rt_path(dir, "part/weights.safetensors"), &m);
    cr_assert(n == m && memcmp(kept, then, n) == 0);
    cr_assert(whole.result.test.images == 10 && whole.result.test.loss == until.result.test.loss,
              "the test is of the weights that are kept");
    cr_assert(strstr(whole.result.weights, "best.safetensors"));
    char *log = rt_read(rt_path(dir, "whole/metrics.jsonl"), &n);
    const char *first = strstr(log, "\"test_accuracy\"");
    cr_assert(first && !strstr(first + 1, "\"test_accuracy\""), "the test set is met once");
    cr_assert(strstr(log, "\"validation_accuracy\"") != NULL);
    free(kept);
    free(then);
    free(log);
    rt_remove(dir);
}

Test(runtime_judge, patience_ends_a_run, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = judged(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_stop, VM_stop_patience, &c.recipe.stop);
    c.recipe.stop.epochs = 2;
    c.recipe.schedule.peak = 0; /* nothing becomes better */
    c.recipe.epochs = (VmSpan){20, false};
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && r.result.steps == 3 * 2, "%s %d", r.err.text,
              (int)r.result.steps);
    c.run.place.resume = true;
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && r.result.steps == 3 * 2, "nor does it go on: %s", r.err.text);
    rt_remove(dir);
}

Test(runtime_judge, the_test_set_chooses_nothing, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = judged(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &c.recipe.keep);
    c.recipe.keep.metric = "top5";
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(strstr(r.err.text, "no such metric; it has accuracy or loss"), "%s", r.err.text);
    c.recipe.validation = 0;
    r = toy_train(dir, &c, 1);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(strstr(r.err.text, "needs validation"), "%s", r.err.text);
    rt_remove(dir);
}

Test(runtime_judge, what_lies_under_its_name_is_not_written_over, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = judged(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &c.recipe.keep);
    VmDir folder;
    VmError err;
    cr_assert(vm_dir_open(&folder, c.run.place.out, true, &err) == VM_OK, "%s", err.text);
    vm_dir_close(&folder);
    rt_write(rt_path(dir, "out/best.safetensors"), "mine", 4);
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert_eq(r.status, VM_USAGE, "%s", r.err.text);
    size_t n;
    char *kept = rt_read(rt_path(dir, "out/best.safetensors"), &n);
    cr_assert(n == 4 && memcmp(kept, "mine", 4) == 0);
    free(kept);
    rt_remove(dir);
}

/* ---- asked to stop ---- */

static int times_in(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)); text++) n++;
    return n;
}

/* Stopped in every step of a run of 6, in the middle of epochs and before their validation, and
 * gone on with: the bits are those of a run that nobody stopped. */
Test(runtime_judge, a_run_that_is_stopped_goes_on, .timeout = 120) {
    char *dir = toy_data();
    ToyConfig whole = judged(rt_path(dir, "whole")), part;
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &whole.recipe.keep);
    ToyRun a = toy_train(dir, &whole, 1), b;
    cr_assert(a.status == VM_OK && !a.result.stopped, "%s", a.err.text);
    for (int at = 1; at <= 6; at++) {
        char name[16];
        snprintf(name, sizeof name, "stop%d", at);
        part = whole;
        part.run.place.out = rt_path(dir, name);
        part.run.stop = &toy_stop;
        toy_stop_at_run = at;
        b = toy_train(dir, &part, 2);
        cr_assert(b.status == VM_OK && b.result.stopped && b.result.steps == at, "%s", b.err.text);
        toy_stop = 0;
        part.run.place.resume = true;
        b = toy_train(dir, &part, 1);
        cr_assert(b.status == VM_OK && !b.result.stopped, "%d: %s", at, b.err.text);
        toy_same_weights(&a, &b, name);
        cr_assert(a.result.best_epoch == b.result.best_epoch &&
                  a.result.test.loss == b.result.test.loss &&
                  a.result.train.loss == b.result.train.loss);
        size_t n;
        char *log = rt_read(rt_path(part.run.place.out, "metrics.jsonl"), &n);
        cr_assert_eq(times_in(log, "\"event\":\"epoch\""), 3, "%s", log);
        cr_assert_eq(times_in(log, "\"event\":\"end\""), 1, "%s", log);
        free(log);
    }
    rt_remove(dir);
}

/* A run that ends inside an epoch judges that part of one too, whenever it was stopped. */
Test(runtime_judge, a_part_of_an_epoch_is_judged_once, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig whole = judged(rt_path(dir, "whole")), part;
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &whole.recipe.keep);
    whole.recipe.keep.metric = "loss";
    whole.recipe.epochs = (VmSpan){5, true};
    ToyRun a = toy_train(dir, &whole, 1);
    cr_assert(a.status == VM_OK && a.result.best_epoch == 3, "%d", (int)a.result.best_epoch);
    cr_assert(a.result.best_step == 5 && !strcmp(a.result.best_metric, "loss"), "%d",
              (int)a.result.best_step);
    cr_assert(a.result.best_value == a.result.validation.loss);
    part = whole;
    part.run.place.out = rt_path(dir, "part");
    part.run.stop = &toy_stop;
    toy_stop_at_run = 5;
    ToyRun b = toy_train(dir, &part, 1);
    cr_assert(b.status == VM_OK && b.result.stopped && b.result.steps == 5, "%s", b.err.text);
    toy_stop = 0;
    part.run.place.resume = true;
    for (int again = 0; again < 2; again++) { /* the second time, nothing is left to do */
        b = toy_train(dir, &part, 1);
        cr_assert(b.status == VM_OK && b.result.best_epoch == 3, "%s", b.err.text);
        toy_same_weights(&a, &b, "the best");
        size_t n;
        char *log = rt_read(rt_path(dir, "part/metrics.jsonl"), &n);
        cr_assert_eq(times_in(log, "\"event\":\"epoch\""), 3, "%s", log);
        cr_assert_eq(times_in(log, "\"event\":\"end\""), 1, "%s", log);
        free(log);
    }
    rt_remove(dir);
}

/* Weights that somebody put in the place of the best ones are not taken for them. */
Test(runtime_judge, other_weights_are_not_the_best, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = judged(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_keep, VM_keep_best, &c.recipe.keep);
    c.recipe.keep.metric = "loss";
    c.recipe.schedule.peak = 2;
    c.recipe.epochs = (VmSpan){6, false};
    ToyRun a = toy_train(dir, &c, 1);
    cr_assert(a.status == VM_OK && a.result.best_epoch > 0 && a.result.best_epoch < 6);
    size_t n;
    char *last = rt_read(rt_path(dir, "out/weights.safetensors"), &n);
    rt_write(rt_path(dir, "out/best.safetensors"), last, n);
    c.run.place.resume = true;
    ToyRun b = toy_train(dir, &c, 1);
    cr_assert(b.status == VM_OK && b.result.best_epoch == 0, "%s", b.err.text);
    cr_assert(b.result.best_step == 0 && !b.result.best_metric && isnan(b.result.best_value));
    cr_assert(a.result.best_step == a.result.best_epoch * a.result.total / 6);
    cr_assert(strstr(b.result.weights, "weights.safetensors") != NULL, "%s", b.result.weights);
    free(last);
    rt_remove(dir);
}

Test(runtime_judge, checkpoints_inside_epochs, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.run.save_steps = 2; /* steps 2 and 4, beside the ends 3, 6 and 9 */
    ToyRun whole = toy_train(dir, &c, 1);
    cr_assert(whole.status == VM_OK, "%s", whole.err.text);
    c.run.place.out = rt_path(dir, "killed");
    if (fork() == 0) {
        toy_kill_at_run = 6; /* the last checkpoint is of step 4 */
        (void)toy_train(dir, &c, 1);
        _exit(0);
    }
    int status;
    wait(&status);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    size_t n;
    char *record = rt_read(rt_path(dir, "killed/checkpoint/trainer.json"), &n);
    cr_assert(strstr(record, "\"step\": 4,") != NULL, "%s", record);
    c.run.place.resume = true;
    ToyRun rest = toy_train(dir, &c, 1);
    cr_assert(rest.status == VM_OK, "%s", rest.err.text);
    toy_same_weights(&whole, &rest, "after step 4");
    free(record);
    rt_remove(dir);
}
