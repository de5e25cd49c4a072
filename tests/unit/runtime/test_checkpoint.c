/* What a run leaves behind and goes on from: killed or not, damaged or not, twice at once. */
#include "tests/unit/runtime/util_toy.h"

#include <jansson.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/runtime/runtime_test.h"

/* First half in one process, the rest in another: as if it had never stopped. */
Test(runtime_checkpoint, resumed_run_has_the_same_bits, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig whole = toy_config(rt_path(dir, "whole")), parts = toy_config(rt_path(dir, "parts"));
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &whole.recipe.schedule);
    parts.recipe = whole.recipe;
    ToyRun a = toy_train(dir, &whole, 2);
    for (int64_t steps = 3; steps <= 9; steps += 2) { /* 3 is an epoch's end, 5 and 7 are not */
        parts.recipe.epochs = (VmSpan){(double)steps, true};
        parts.run.place.resume = steps > 3;
        ToyRun b = toy_train(dir, &parts, 1);
        cr_assert(b.status == VM_OK, "%s", b.err.text);
        cr_assert_eq(b.result.steps, steps);
        if (steps < 9) continue;
        toy_same_weights(&a, &b, "resumed");
        cr_assert(a.result.train.loss == b.result.train.loss &&
                  vm_metric(&a.result.train, "accuracy") == vm_metric(&b.result.train, "accuracy"));
    }
    rt_remove(dir);
}

/* Dies in the middle of epoch 2, in a process of its own; the next one goes on from epoch 1's end.
 */
Test(runtime_checkpoint, killed_run_resumes_to_the_same_bits, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out")), whole = toy_config(rt_path(dir, "whole"));
    pid_t child = fork(); /* before OpenMP has threads in this process */
    if (child == 0) {
        toy_kill_at_run = 5;
        toy_train(dir, &c, 1);
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    c.run.place.resume = true;
    ToyRun b = toy_train(dir, &c, 2), a = toy_train(dir, &whole, 2);
    toy_same_weights(&a, &b, "killed and resumed");
    size_t n;
    char *x = rt_read(rt_path(dir, "out/metrics.jsonl"), &n),
         *y = rt_read(rt_path(dir, "whole/metrics.jsonl"), &n);
    int lines[2] = {0};
    for (char *p = x; *p; p++) lines[0] += *p == '\n';
    for (char *p = y; *p; p++) lines[1] += *p == '\n';
    cr_assert_eq(lines[0], lines[1] + 1, "one more start line, no step twice");
    free(x);
    free(y);
    /* finished already: nothing changes */
    ToyRun again = toy_train(dir, &c, 2);
    toy_same_weights(&a, &again, "resumed after the end");
    cr_assert(again.result.test.loss == a.result.test.loss);
    rt_remove(dir);
}

/* The first object in the file. */
static json_t *read_json(const char *path) {
    size_t n;
    char *text = rt_read(path, &n);
    json_t *o = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    free(text);
    cr_assert(o != NULL, "%s", path);
    return o;
}

/* Dies in the first epoch; the next process has other weights at hand and must not use them. */
Test(runtime_checkpoint, a_run_from_given_weights_resumes_without_them, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out")), whole = toy_config(rt_path(dir, "whole"));
    ToyConfig fresh = toy_config(rt_path(dir, "fresh"));
    c.subject.weights = whole.subject.weights = "00c0ffee";
    pid_t child = fork(); /* before OpenMP has threads in this process */
    if (child == 0) {
        toy_kill_at_run = 2;
        toy_train(dir, &c, 1);
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    c.run.place.resume = true;
    c.subject.weights = NULL;
    ToyRun b = toy_train(dir, &c, 2), a = toy_train(dir, &whole, 2),
           other = toy_train(dir, &fresh, 2);
    toy_same_weights(&a, &b, "resumed from step 0");
    cr_assert(memcmp(a.w, other.w, sizeof a.w) != 0, "given weights make no difference");
    json_t *start = read_json(rt_path(dir, "out/metrics.jsonl"));
    cr_assert_str_eq(json_string_value(json_object_get(start, "weights")), "00c0ffee");
    json_t *end = read_json(rt_path(dir, "out/checkpoint/trainer.json"));
    cr_assert_str_eq(json_string_value(json_object_get(end, "weights_from")), "00c0ffee",
                     "taken over");
    json_decref(start);
    json_decref(end);
    end = read_json(rt_path(dir, "fresh/checkpoint/trainer.json"));
    cr_assert_str_eq(json_string_value(json_object_get(end, "weights_from")), "none");
    json_decref(end);
    rt_remove(dir);
}

static void refuse_resume(const char *dir, const ToyConfig *c, VmStatus status, const char *words) {
    ToyRun r = toy_train(dir, c, 1);
    cr_assert_eq(r.status, status, "%s", r.err.text);
    cr_assert(strstr(r.err.text, words) != NULL, "'%s' lacks '%s'", r.err.text, words);
}

/* A finished run of one epoch; c is set to resume it. */
static ToyConfig one_epoch(const char *dir) {
    ToyConfig c = toy_config(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    c.recipe.epochs = (VmSpan){3, true};
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    c.run.place.resume = true;
    return c;
}

/* Flips a bit of the file. */
static void flip(const char *path, size_t at, int bit) {
    size_t n;
    char *bytes = rt_read(path, &n);
    bytes[at % n] ^= (char)(1 << bit);
    rt_write(path, bytes, n);
    free(bytes);
}

Test(runtime_checkpoint, a_resumed_run_is_the_same_run, .timeout = 60) {
    char *dir = toy_data();
    static const char *const name[] = {"experts"}, *const four[] = {"4"}, *const eight[] = {"8"};
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.subject.config_name = name;
    c.subject.config_value = four;
    c.subject.nconfig = 1;
    c.subject.instructions = "avx512";
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    c.run.place.resume = true;
    ToyConfig other = c;
    other.recipe.schedule.peak = 0.5;
    refuse_resume(dir, &other, VM_USAGE, "recipe.schedule.peak: 0.05 there, 0.5 here");
    other.recipe.seed = 1;
    refuse_resume(dir, &other, VM_USAGE, "recipe.schedule.peak: 0.05 there, 0.5 here");
    refuse_resume(dir, &other, VM_USAGE, "seed: 11 there, 1 here");
    other = c;
    other.subject.config_value = eight;
    refuse_resume(dir, &other, VM_USAGE, "experts: \"4\" there, \"8\" here");
    other.subject.nconfig = 0;
    refuse_resume(dir, &other, VM_USAGE, "experts: \"4\" there, nothing here");
    other = c;
    other.recipe.epochs = (VmSpan){5, false}; /* a cosine over another length is another run */
    refuse_resume(dir, &other, VM_USAGE, "steps: 9 there, 15 here");
    other = c;
    other.subject.instructions = "avx2";
    refuse_resume(dir, &other, VM_USAGE, "instructions: \"avx512\" there, \"avx2\" here");
    rt_write_split(dir, "train", 24); /* other data */
    refuse_resume(dir, &c, VM_USAGE, "train_data: 22 images, fingerprint ");
    rt_write_split(dir, "t10k", 8);
    refuse_resume(dir, &c, VM_USAGE, "test_data: 10 images, fingerprint ");
    c.run.resume.anyway = true;
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    rt_remove(dir);
}

Test(runtime_checkpoint, damage_is_named_and_the_one_before_offered, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    c.recipe.epochs = (VmSpan){6, true};
    ToyRun second = toy_train(dir, &c, 1);
    c.recipe.epochs = (VmSpan){9, true};
    cr_assert(second.status == VM_OK);
    flip(rt_path(dir, "out/checkpoint/state.safetensors"), 700, 3);
    refuse_resume(dir, &c, VM_INPUT, "checkpoint/state.safetensors: damaged");
    refuse_resume(dir, &c, VM_INPUT, "of step 3, is undamaged: --resume=previous goes on from it");
    c.run.resume.previous = true;
    ToyRun third = toy_train(dir, &c, 1);
    cr_assert(third.status == VM_OK, "%s", third.err.text);
    ToyConfig whole = toy_config(rt_path(dir, "whole"));
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &whole.recipe.schedule);
    ToyRun undisturbed = toy_train(dir, &whole, 2);
    toy_same_weights(&undisturbed, &third, "resumed from the one before");
    cr_assert(access(rt_path(dir, "out/checkpoint.kept-1/state.safetensors"), F_OK) == 0,
              "the damaged one stays");
    size_t n;
    char *text = rt_read(rt_path(dir, "out/metrics.jsonl"), &n);
    int epochs = 0;
    for (char *p = text; (p = strstr(p, "\"event\":\"epoch\"")); p++) epochs++;
    cr_assert_eq(epochs, 3, "no epoch twice");
    free(text);
    rt_remove(dir);
}

/* One wrong character anywhere in the record is damage. */
/* Another blank, or another last digit of the same double. */
static bool says_the_same(const char *a, const char *b, size_t n) {
    json_t *x = json_loadb(a, n, 0, NULL), *y = json_loadb(b, n, 0, NULL);
    bool same = x && y && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

Test(runtime_checkpoint, the_record_is_checked_like_the_tensors, .timeout = 100) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    const char *path = rt_path(dir, "out/checkpoint/trainer.json");
    size_t n;
    char *good = rt_read(path, &n), *bad = malloc(n);
    for (size_t at = 0; at < n; at += 3) {
        memcpy(bad, good, n);
        bad[at] ^= (char)(1 << at % 7);
        if (says_the_same(good, bad, n)) continue;
        rt_write(path, bad, n);
        c.recipe.epochs = (VmSpan){3, true};
        ToyRun r = toy_train(dir, &c, 1);
        cr_assert(r.status == VM_INPUT, "%zu: %d %s", at, (int)r.status, r.err.text);
        cr_assert(strstr(r.err.text, "trainer.json"), "%s", r.err.text);
    }
    rt_write(path, "{\"format\":1}", 12);
    refuse_resume(dir, &c, VM_INPUT, "its checksum does not match");
    rt_write(path, "{", 1);
    refuse_resume(dir, &c, VM_INPUT, "not valid JSON");
    free(good);
    free(bad);
    rt_remove(dir);
}

/* With a checksum that is right. */
static void write_record(json_t *o, const char *path) {
    json_object_del(o, "checksum");
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    VmHashText sum = vm_hash_text(vm_hash((VmHash){0, 0}, text, strlen(text)));
    json_object_set_new(o, "checksum", json_string(sum.text));
    free(text);
    cr_assert(json_dump_file(o, path, JSON_REAL_PRECISION(17)) == 0);
}

/* A record of another version or one that contradicts itself, with a checksum that is right. */
Test(runtime_checkpoint, contradictions_are_damage, .timeout = 60) {
    static const struct {
        const char *key;
        int value;
        const char *words;
    } lie[] = {{"format", 2, "a checkpoint of format 2, this vmoec reads format 4"},
               {"epoch", 2, "its epoch is not that of its step"},
               {"step", 5, "its epoch's sums"},
               {"steps_per_epoch", 0, "'steps_per_epoch' is missing or wrong"},
               {"unfinished_routes", 0, "'unfinished_routes' is missing or wrong"}};
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    const char *path = rt_path(dir, "out/checkpoint/trainer.json");
    json_t *good = read_json(path);
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        json_t *o = json_deep_copy(good);
        json_object_set_new(o, lie[i].key, json_integer(lie[i].value));
        if (!strcmp(lie[i].key, "step")) {
            json_object_set_new(o, "epoch", json_integer(1));
            json_object_set_new(json_object_get(o, "unfinished_epoch"), "batches", json_integer(3));
        }
        write_record(o, path);
        refuse_resume(dir, &c, VM_INPUT, lie[i].words);
        json_decref(o);
    }
    json_decref(good);
    rt_remove(dir);
}

/* Batches of so many images that their number is no int64_t: another run's, and not a lie. */
Test(runtime_checkpoint, batches_of_any_size_are_counted, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    const char *path = rt_path(dir, "out/checkpoint/trainer.json");
    json_t *o = read_json(path), *run = json_object_get(o, "run"),
           *sums = json_object_get(o, "unfinished_epoch"),
           *data = json_object_get(json_object_get(run, "recipe"), "data");
    json_object_set_new(data, "batch", json_integer(INT64_MAX));
    json_object_set_new(o, "step", json_integer(2));
    json_object_set_new(o, "epoch", json_integer(0));
    json_object_set_new(o, "judged", json_integer(0));
    json_object_set_new(sums, "batches", json_integer(2));
    json_object_set_new(sums, "images", json_integer(5));
    write_record(o, path);
    refuse_resume(dir, &c, VM_USAGE, "recipe.data.batch: 9223372036854775807 there, 8 here");
    json_decref(o);
    rt_remove(dir);
}

Test(runtime_checkpoint, the_last_two_are_kept, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    json_t *now = read_json(rt_path(dir, "out/checkpoint/trainer.json")),
           *before = read_json(rt_path(dir, "out/checkpoint.previous/trainer.json"));
    cr_assert_eq(json_integer_value(json_object_get(now, "step")), 9);
    cr_assert_eq(json_integer_value(json_object_get(before, "step")), 6);
    json_decref(now);
    json_decref(before);
    /* a crash in mid-exchange on a file system that cannot exchange leaves the older one alone */
    c.run.place.resume = true;
    char newest[512];
    snprintf(newest, sizeof newest, "%s/newest", dir);
    cr_assert(rename(rt_path(dir, "out/checkpoint"), newest) == 0);
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && r.result.steps == 9, "%s", r.err.text);
    rt_remove(dir);
}

/* What others put into a run's folder is never followed and never removed. */
Test(runtime_checkpoint, files_of_others_are_left_alone, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    char command[1024];
    snprintf(
        command, sizeof command,
        "cd %s && mkdir precious out/.vmoec-aaaaaaaaaaaa out/.vmoec-bbbbbbbbbbbb && echo x > "
        "out/.vmoec-notes.txt && echo x > precious/t &&"
        " echo x > out/checkpoint/notes && cp -r out/checkpoint out/checkpoint.old &&"
        " ln -s ../precious out/checkpoint.tmp-1 && ln -s ../precious out/.vmoec-cccccccccccc &&"
        " cp out/checkpoint/state.safetensors out/.vmoec-aaaaaaaaaaaa && echo x > "
        "out/.vmoec-bbbbbbbbbbbb/t",
        dir);
    cr_assert(system(command) == 0);
    c.recipe.epochs = (VmSpan){9, true};
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    static const char *const stay[] = {"precious/t",
                                       "out/checkpoint.old/notes",
                                       "out/checkpoint.tmp-1/t",
                                       "out/.vmoec-bbbbbbbbbbbb/t",
                                       "out/.vmoec-cccccccccccc/t",
                                       "out/.vmoec-notes.txt",
                                       "out/checkpoint.kept-1/notes"};
    for (size_t i = 0; i < sizeof stay / sizeof stay[0]; i++)
        cr_assert(access(rt_path(dir, stay[i]), F_OK) == 0, "%s is gone", stay[i]);
    cr_assert(access(rt_path(dir, "out/.vmoec-aaaaaaaaaaaa"), F_OK) != 0, "what a killed run left");
    rt_remove(dir);
}

/* Links, pipes and files in the place of a checkpoint are refused, without waiting. */
Test(runtime_checkpoint, what_is_no_folder_is_refused, .timeout = 60) {
    static const char *const make[] = {
        "ln -s ../kept checkpoint", "mkfifo checkpoint", "echo x > checkpoint",
        "mkdir checkpoint && mkfifo checkpoint/trainer.json",
        "mkdir checkpoint && ln -s ../../kept/trainer.json checkpoint/"};
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    char command[512];
    snprintf(command, sizeof command, "mv %s/out/checkpoint %s/kept", dir, dir);
    cr_assert(system(command) == 0);
    for (size_t i = 0; i < sizeof make / sizeof make[0]; i++) {
        snprintf(command, sizeof command, "cd %s/out && rm -rf checkpoint && %s", dir, make[i]);
        cr_assert(system(command) == 0);
        ToyRun r = toy_train(dir, &c, 1);
        cr_assert_eq(r.status, VM_ENV, "%s: %s", make[i], r.err.text);
    }
    rt_remove(dir);
}

Test(runtime_checkpoint, a_run_is_not_overwritten, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    c.run.place.resume = false;
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_USAGE && strstr(r.err.text, "holds a run already"), "%s", r.err.text);
    c.run.place.numbered = true;
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && strstr(r.result.weights, "out-2/weights.safetensors"), "%s",
              r.err.text);
    c.run.place = (VmRunPlace){.out = c.run.place.out, .overwrite = true};
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    cr_assert(access(rt_path(dir, "out.old/checkpoint/trainer.json"), F_OK) == 0);
    cr_assert(access(rt_path(dir, "out.old-2/checkpoint/trainer.json"), F_OK) == 0);
    c.run.place = (VmRunPlace){.out = c.run.place.out, .numbered = true, .resume = true};
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && strstr(r.result.weights, "out-2/"),
              "the last one that nobody named");
    c.run.place = (VmRunPlace){.out = rt_path(dir, "mistyped"), .resume = true};
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_USAGE && strstr(r.err.text, "no checkpoint in"), "%s", r.err.text);
    cr_assert(access(c.run.place.out, F_OK) != 0, "asking makes no folder");
    rt_remove(dir);
}

/* A run of constant rate may be made longer; shorter than it was meant to be is a mistake. */
Test(runtime_checkpoint, a_run_may_become_longer_only, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    c.recipe.epochs = (VmSpan){2, true};
    refuse_resume(dir, &c, VM_USAGE, "steps: 3 there, 2 here");
    c.recipe.epochs = (VmSpan){6, true};
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    rt_remove(dir);
}

/* Killed in its first epoch: there is nothing to resume, and both refusals say what to do. */
Test(runtime_checkpoint, a_run_without_a_checkpoint_is_said_to_be_one, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    pid_t child = fork(); /* before OpenMP has threads in this process */
    if (child == 0) {
        toy_kill_at_run = 2;
        toy_train(dir, &c, 1);
        _exit(0);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    refuse_resume(dir, &c, VM_USAGE,
                  "before its first checkpoint, the end of its first epoch; --overwrite moves");
    c.run.place.resume = true;
    refuse_resume(dir, &c, VM_USAGE, "nothing can be resumed; --overwrite starts anew");
    c.run.place = (VmRunPlace){.out = c.run.place.out, .numbered = true, .resume = true};
    refuse_resume(dir, &c, VM_USAGE, "nothing can be resumed");
    c.run.place = (VmRunPlace){.out = c.run.place.out, .overwrite = true};
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    rt_remove(dir);
}

/* What lies beside a run in its folder is not moved with it. */
Test(runtime_checkpoint, only_runs_are_moved_aside, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    cr_assert(mkdir(rt_path(dir, "out/train"), 0777) == 0);
    c.run.place = (VmRunPlace){.out = c.run.place.out, .overwrite = true};
    refuse_resume(dir, &c, VM_USAGE,
                  "holds more than a run (the folder 'train'): nothing was moved");
    cr_assert(access(rt_path(dir, "out/weights.safetensors"), F_OK) == 0);
    rt_remove(dir);
}

/* Another process has the folder; with a name that nobody chose there is another one. */
Test(runtime_checkpoint, a_folder_belongs_to_one_process, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    VmRunFolder other;
    VmError err;
    cr_assert(vm_run_open(&other, &c.run.place, &err) == VM_OK, "%s", err.text);
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_ENV && strstr(r.err.text, "is in use by process "), "%s", r.err.text);
    c.run.place.numbered = true;
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK && strstr(r.result.weights, "out-2/"), "%s", r.err.text);
    vm_run_close(&other);
    rt_remove(dir);
}

/* A file called .lock that is not one of ours, or has a second name elsewhere, is not written to.
 */
Test(runtime_checkpoint, a_lock_is_no_way_to_write_a_file, .timeout = 60) {
    static const char *const make[] = {
        "echo precious > out/.lock", "echo precious > f && ln f out/.lock",
        ": > f && ln f out/.lock", "ln -s ../f out/.lock", "mkfifo out/.lock"};
    char *dir = toy_data(), command[512];
    ToyConfig c = toy_config(rt_path(dir, "out"));
    for (size_t i = 0; i < sizeof make / sizeof make[0]; i++) {
        snprintf(command, sizeof command,
                 "cd %s && rm -rf out f && mkdir out && echo kept > f && %s", dir, make[i]);
        cr_assert(system(command) == 0);
        ToyRun r = toy_train(dir, &c, 1);
        cr_assert(r.status == VM_ENV && strstr(r.err.text, "out/.lock"), "%s: %s", make[i],
                  r.err.text);
        snprintf(command, sizeof command, "cd %s && ! grep -qs process f out/.lock", dir);
        cr_assert(i == 4 || system(command) == 0, "%s", make[i]);
    }
    rt_remove(dir);
}

/* A run that is moved away between the opening of its folder and its lock is not the one that is
 * meant. */
Test(runtime_checkpoint, a_folder_that_moves_is_looked_for_again, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    c.run.place = (VmRunPlace){.out = rt_path(dir, "link"), .overwrite = true};
    cr_assert(symlink("out", c.run.place.out) == 0);
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    cr_assert(access(rt_path(dir, "out.old/weights.safetensors"), F_OK) == 0,
              "what the link leads to is moved");
    cr_assert(access(rt_path(dir, "link/weights.safetensors"), F_OK) == 0,
              "and the link leads to the new run");
    cr_assert(access(rt_path(dir, "out/weights.safetensors"), F_OK) == 0);
    rt_remove(dir);
}

/* The sums of an unfinished epoch mean nothing to a run with another batch, which can be saved all
 * the same.
 */
Test(runtime_checkpoint, another_run_that_is_resumed_can_be_saved, .timeout = 60) {
    char *dir = toy_data();
    rt_write_split(dir, "t10k", 8);
    ToyConfig c = toy_config(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    c.recipe.epochs = (VmSpan){2, true};
    cr_assert(toy_train(dir, &c, 1).status == VM_OK);
    c.run.place.resume = c.run.resume.anyway = true;
    c.recipe.data.batch = 6;
    c.recipe.data.drop_last = true;
    c.recipe.epochs = (VmSpan){3, true};
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    c.run.resume.anyway = false;
    r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    rt_remove(dir);
}

/* Weights or state that are no numbers never replace a checkpoint. */
Test(runtime_checkpoint, what_is_not_finite_is_not_saved, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    VmRunFolder folder;
    VmCheckpoints *k;
    Toy toy = {.side = 4};
    VmDataset *train, *test;
    VmError err, none;
    toy_open(dir, VM_TRAIN, &train);
    toy_open(dir, VM_TEST, &test);
    cr_assert(vm_engine_create(1, &toy.e, &err) == VM_OK && toy_source(&toy, true, 8, &err) == 0);
    const VmTraining what = {&c.recipe, &c.subject, &c.run, train, NULL, test};
    cr_assert(vm_run_open(&folder, &c.run.place, &err) == VM_OK, "%s", err.text);
    cr_assert(vm_checkpoints_open(&k, &folder, &what, 9, NULL, &err) == VM_OK);
    VmRunState at = {.steps_per_epoch = 3, .total = 9, .train_images = 22};
    cr_assert(vm_checkpoint_load(k, toy.e, 0, &c.run.resume, &at, &none, &err) == VM_OK, "%s",
              err.text);
    size_t n, m;
    char *before = rt_read(rt_path(dir, "out/checkpoint/weights.safetensors"), &n);
    static const char *const name[] = {"w", "w.v"};
    for (int i = 0; i < 2; i++) {
        float *x = vm_engine_data(toy.e, 0, name[i]), kept = x[5];
        x[5] = i ? INFINITY : NAN;
        cr_assert_eq(vm_checkpoint_save(k, toy.e, 0, &at, &err), VM_INPUT);
        cr_assert(strstr(err.text, name[i]) && strstr(err.text, "1 of 48 values"), "%s", err.text);
        x[5] = kept;
    }
    at.sums.loss = NAN;
    cr_assert_eq(vm_checkpoint_save(k, toy.e, 0, &at, &err), VM_INPUT);
    char *after = rt_read(rt_path(dir, "out/checkpoint/weights.safetensors"), &m);
    cr_assert(n == m && memcmp(before, after, n) == 0);
    free(before);
    free(after);
    vm_checkpoints_close(k);
    vm_run_close(&folder);
    vm_engine_destroy(toy.e);
    vm_dataset_close(train);
    vm_dataset_close(test);
    rt_remove(dir);
}

/* A log that cannot be kept stops the resume: its lines would come twice, or be lost. */
/* What was written after the last checkpoint is lost in part when the power goes: zeros, and lines
 * behind them. Zeros before what the checkpoint counts on are damage. */
static void expect_lost_sectors(const char *dir, ToyConfig *c, const char *path) {
    static const char lost[] = "{\"event\":\0\0\0\0\0\0\"x\"}\n"
                               "{\"event\":\"step\",\"step\":99999}\n";
    size_t n;
    char *text = rt_read(path, &n);
    memcpy(text + n, lost, sizeof lost - 1);
    rt_write(path, text, n + sizeof lost - 1);
    c->recipe.epochs.count++;
    ToyRun r = toy_train(dir, c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    free(text);
    text = rt_read(path, &n);
    cr_assert(!memchr(text, '\0', n) && !strstr(text, "99999"));
    char kept[8], *line = strchr(text, '\n') + 1;
    memcpy(kept, line, sizeof kept);
    memset(line, 0, sizeof kept);
    rt_write(path, text, n);
    refuse_resume(dir, c, VM_INPUT, "metrics.jsonl: damaged: line 2");
    memcpy(line, kept, sizeof kept);
    rt_write(path, text, n);
    free(text);
}

Test(runtime_checkpoint, a_damaged_log_stops_the_resume, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = one_epoch(dir);
    c.recipe.epochs = (VmSpan){9, true};
    const char *path = rt_path(dir, "out/metrics.jsonl");
    size_t n;
    char *text = rt_read(path, &n), *line = strchr(text, '\n') + 1;
    char kept = line[0];
    line[0] = '#';
    rt_write(path, text, n);
    refuse_resume(dir, &c, VM_INPUT, "metrics.jsonl: damaged: line 2");
    line[0] = kept;
    rt_write(path, text, n - 7); /* cut in its last line: a crash does that */
    ToyRun r = toy_train(dir, &c, 1);
    cr_assert(r.status == VM_OK, "%s", r.err.text);
    free(text);
    expect_lost_sectors(dir, &c, path);
    char command[256];
    snprintf(command, sizeof command, "rm %s && mkfifo %s", path, path);
    cr_assert(system(command) == 0);
    refuse_resume(dir, &c, VM_ENV, "metrics.jsonl' is a pipe");
    rt_remove(dir);
}

/* The sums of routes come back as they were, null for what has none; anything else is refused. */
Test(runtime_checkpoint, sums_of_routes_come_back) {
    double load[2] = {1.25, 0.75}, again[2] = {0};
    VmRoute route = {.name = "r", .experts = 2, .load_sum = load, .sum = {0.5, 3, 0, (double)NAN}};
    route.steps = 2;
    route.measured = 1;
    VmRoute fresh = {.name = "r", .experts = 2, .load_sum = again};
    VmRouting was = {.route = &route, .n = 1}, is = {.route = &fresh, .n = 1};
    VmJson o = vm_routing_sums(&was);
    cr_assert(!o.failed && vm_routing_are_sums(o.value));
    vm_routing_go_on(&is, o.value);
    cr_assert(fresh.steps == 2 && fresh.measured == 1 && memcmp(load, again, sizeof load) == 0);
    cr_assert(fresh.sum[0] == 0.5 && fresh.sum[1] == 3 && isnan(fresh.sum[3]));
    VmRoute other = {.name = "r", .experts = 3};
    vm_routing_go_on(&(VmRouting){.route = &other, .n = 1}, o.value);
    cr_assert_eq(other.steps, 0, "sums of another number of experts are taken");
    static const char *const wrong[] = {
        "[]",
        "{\"r\":1}",
        "{\"r\":{\"steps\":0,\"measured\":0,\"load\":[],\"measures\":[0,0,0,0]}}",
        "{\"r\":{\"steps\":1,\"measured\":2,\"load\":[],\"measures\":[0,0,0,0]}}",
        "{\"r\":{\"steps\":1,\"measured\":1,\"load\":[],\"measures\":[0,0,0]}}",
        "{\"r\":{\"steps\":1,\"measured\":1,\"load\":[\"a\"],\"measures\":[0,0,0,0]}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        json_t *v = json_loads(wrong[i], 0, NULL);
        cr_assert(v && !vm_routing_are_sums(v), "%s", wrong[i]);
        json_decref(v);
    }
    vm_json_free(&o);
}
