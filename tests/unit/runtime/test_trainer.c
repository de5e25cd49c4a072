/* The whole training loop on a tiny program: what it learns, writes and says; the same bits for any
 * team. */
#include "tests/unit/runtime/util_toy.h"

#include <jansson.h>
#include <math.h>
#include <unistd.h>

#include "base/rng.h"
#include "tests/unit/runtime/runtime_test.h"

Test(runtime_trainer, learns_and_writes_everything, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "deep/out"));
    c.recipe.epochs = (VmSpan){10, false};
    ToyRun r = toy_train(dir, &c, 2);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    cr_assert_eq(r.result.steps, 30);
    cr_assert(vm_metric(&r.result.test, "accuracy") == 1 &&
              vm_metric(&r.result.train, "accuracy") > 0.9);
    cr_assert(r.result.train.loss > 0 && r.result.train.loss < 0.5 && r.result.test.loss < 0.5);
    VmTensorFile *f;
    cr_assert(vm_tensors_open(r.result.weights, &f, &r.err) == VM_OK, "%s", r.err.text);
    cr_assert(memcmp(vm_tensors_find(f, "w")->data, r.w, sizeof r.w) == 0);
    vm_tensors_close(f);
    static const char *const files[] = {
        "deep/out/checkpoint/weights.safetensors", "deep/out/checkpoint/trainer.json",
        "deep/out/checkpoint/state.safetensors", "deep/out/weights.safetensors"};
    for (int i = 0; i < 4; i++)
        cr_assert(access(rt_path(dir, files[i]), F_OK) == 0, "%s", files[i]);
    size_t n;
    char *text = rt_read(r.result.metrics, &n);
    int lines[3] = {0}; /* start, step, epoch */
    double loss = 0, objective = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, 0, NULL);
        const char *event = json_string_value(json_object_get(o, "event"));
        lines[0] += strcmp(event, "start") == 0;
        lines[1] += strcmp(event, "step") == 0;
        lines[2] += strcmp(event, "epoch") == 0;
        loss = json_number_value(json_object_get(o, "train_loss"));
        objective = json_number_value(json_object_get(o, "train_objective"));
        json_decref(o);
    }
    cr_assert(lines[0] == 1 && lines[1] == 15 && lines[2] == 10);
    cr_assert(fabs(loss - r.result.train.loss) < 1e-8 && fabs(objective - loss - 1) < 1e-6,
              "aux: 0.5 * 2");
    free(text);
    rt_remove(dir);
}

Test(runtime_trainer, same_bits_for_any_team, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.run.place.numbered = true;
    ToyRun one = toy_train(dir, &c, 1), two = toy_train(dir, &c, 2), five = toy_train(dir, &c, 5);
    toy_same_weights(&one, &two, "2 threads");
    toy_same_weights(&one, &five, "5 threads");
    cr_assert(one.result.train.loss == five.result.train.loss &&
              one.result.test.loss == five.result.test.loss);
    c.recipe.seed = 12;
    ToyRun other = toy_train(dir, &c, 1);
    cr_assert(memcmp(one.w, other.w, sizeof one.w) != 0, "another seed is another run");
    rt_remove(dir);
}

/* Programs that are added late move the memory of the earlier ones. */
Test(runtime_trainer, programs_may_be_added_while_training, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.run.place.numbered = true;
    for (int drop = 0; drop < 2; drop++) {
        c.recipe.data.drop_last = drop;
        ToyRun late = toy_train_on(dir, &c, 2, 4, false), early = toy_train_on(dir, &c, 2, 4, true);
        toy_same_weights(&late, &early, drop ? "whole batches" : "with a partial batch");
        cr_assert(late.result.test.loss == early.result.test.loss);
    }
    rt_remove(dir);
}

Test(runtime_trainer, every_step_has_its_random_key, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    cr_assert_eq(toy_seen_keys, 9);
    for (int i = 0; i < 9; i++) {
        uint32_t key[2];
        vm_rng_key(c.recipe.seed, vm_hash_name("toy.dropout"), (uint64_t)i, key);
        cr_assert_eq(toy_seen_key[i], key[0], "step %d", i);
    }
    rt_remove(dir);
}

/* An epoch's train_loss is the mean of its own batches, each counting as much. */
Test(runtime_trainer, epoch_loss_is_the_mean_of_its_batches, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.recipe.log_every = 1;
    ToyRun r = toy_train(dir, &c, 1);
    size_t n;
    char *text = rt_read(r.result.metrics, &n);
    double sum = 0;
    int steps = 0, epochs = 0;
    for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
        json_t *o = json_loads(p, 0, NULL);
        const char *event = json_string_value(json_object_get(o, "event"));
        if (strcmp(event, "step") == 0) {
            sum += json_number_value(json_object_get(o, "loss"));
            cr_assert_eq(json_integer_value(json_object_get(o, "step")), ++steps);
        } else if (strcmp(event, "epoch") == 0) {
            cr_assert_eq(json_integer_value(json_object_get(o, "epoch")), ++epochs);
            cr_assert(fabs(json_number_value(json_object_get(o, "train_loss")) - sum / 3) < 1e-6,
                      "epoch %d", epochs);
            sum = 0;
        }
        json_decref(o);
    }
    cr_assert(steps == 9 && epochs == 3);
    free(text);
    rt_remove(dir);
}

Test(runtime_trainer, divergence_stops_and_keeps_the_checkpoint, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.recipe.epochs = (VmSpan){3, true};
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    c.recipe.schedule.warmup = (VmSpan){0, true};
    ToyRun good = toy_train(dir, &c, 1);
    cr_assert(good.status == VM_OK);
    c.recipe.schedule.peak = 1e38;
    c.recipe.epochs = (VmSpan){9, true};
    c.run.place.resume = c.run.resume.anyway = true;
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(strstr(r.err.text, "'cross_entropy' is") && strstr(r.err.text, "at step ") &&
                  strstr(r.err.text, "learning rate 1e+38"),
              "%s", r.err.text);
    VmTensorFile *f;
    cr_assert(vm_tensors_open(rt_path(dir, "out/checkpoint/weights.safetensors"), &f, &r.err) ==
              VM_OK);
    cr_assert(memcmp(vm_tensors_find(f, "w")->data, good.w, sizeof good.w) == 0);
    vm_tensors_close(f);
    rt_remove(dir);
}

Test(runtime_trainer, says_what_does_not_fit, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    ToyRun r = toy_train_on(dir, &c, 1, 3, false);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert(
        strstr(r.err.text, "the data set gives images [B, 1, 4, 4], the model takes f32[8,1,3,3]"),
        "%s", r.err.text);
    rt_write(rt_path(dir, "file"), "x", 1);
    c.run.place.out = rt_path(dir, "file/out");
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_ENV && strstr(r.err.text, "Not a directory"), "%s", r.err.text);
    c = toy_config(rt_path(dir, "out"));
    c.recipe.data.batch = 0;
    cr_assert_eq(toy_train(dir, &c, 1).status, VM_USAGE);
    c.recipe.data.batch = 30;
    c.recipe.data.drop_last = true;
    cr_assert_eq(toy_train(dir, &c, 1).status, VM_INPUT);
    c = toy_config(rt_path(dir, "out"));
    c.recipe.epochs = (VmSpan){NAN, false};
    cr_assert_eq(toy_train(dir, &c, 1).status, VM_USAGE);
    c = toy_config(rt_path(dir, "out"));
    c.recipe.data.batch = 7; /* the source has no program for it */
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_ENV && strstr(r.err.text, "no kernels for 7 images"), "%s",
              r.err.text);
    rt_remove(dir);
}

Test(runtime_trainer, drop_last_and_fractions_of_epochs, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.recipe.data.drop_last = true;
    cr_assert_eq(toy_train(dir, &c, 1).result.steps, 6,
                 "two whole batches in each of three epochs");
    c.recipe.data.drop_last = false;
    c.run.place.overwrite = true;
    c.recipe.epochs = (VmSpan){1.5, false};
    cr_assert_eq(toy_train(dir, &c, 1).result.steps, 5, "four and a half steps, rounded");
    c.recipe.epochs = (VmSpan){0.1, false};
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert_eq(r.status, VM_INPUT);
    cr_assert_str_eq(r.err.text, "epochs = 0.1 of 3 steps each is no step at all");
    cr_assert(access(rt_path(dir, "out/weights.safetensors"), F_OK) == 0,
              "the run before it is where it was");
    rt_remove(dir);
}

/* The last partial batch counts by its images: the same as one image at a time, whatever the batch.
 */
Test(runtime_trainer, evaluation_covers_every_image, .timeout = 60) {
    char *dir = toy_data();
    VmError err;
    VmDataset *test;
    toy_open(dir, VM_TEST, &test);
    Toy toy = {.side = 4};
    cr_assert(vm_engine_create(2, &toy.e, &err) == VM_OK);
    cr_assert(toy_source(&toy, false, 8, &err) == 0);
    cr_assert(vm_engine_init(toy.e, 1, &err) == VM_OK);
    VmEvalResult by8, by2;
    cr_assert(
        vm_evaluate(
            &(VmEvaluation){
                .engine = toy.e, .source = toy_source, .user = &toy, .data = test, .batch = 8},
            &by8, NULL, &err) == VM_OK,
        "%s", err.text);
    cr_assert(
        vm_evaluate(
            &(VmEvaluation){
                .engine = toy.e, .source = toy_source, .user = &toy, .data = test, .batch = 2},
            &by2, NULL, &err) == VM_OK,
        "%s", err.text);
    cr_assert(by8.images == 10 && by2.images == 10);
    cr_assert(fabs(by8.loss - by2.loss) < 1e-6 &&
              fabs(vm_metric(&by8, "accuracy") - vm_metric(&by2, "accuracy")) < 1e-6);
    cr_assert(by8.loss > 0.1 && vm_metric(&by8, "accuracy") >= 0 &&
              vm_metric(&by8, "accuracy") <= 1);
    cr_assert_eq(
        vm_evaluate(
            &(VmEvaluation){
                .engine = toy.e, .source = toy_source, .user = &toy, .data = test, .batch = 0},
            &by8, NULL, &err),
        VM_USAGE);
    vm_engine_destroy(toy.e);
    vm_dataset_close(test);
    rt_remove(dir);
}
