/* Learning rates, the events of a run, and its logs. */
#include "runtime/train/internal.h"
#include "tests/unit/runtime/runtime_test.h"
#include "tests/unit/runtime/util_images.h"

#include <jansson.h>
#include <math.h>

/* ---- schedules ---- */

Test(runtime_schedule, step_scalars_count_from_one) {
    VmOptimizerSpec o = {.kind = VM_optimizer_adamw, .beta1 = 0.9, .beta2 = 0.999};
    float x[VM_STEP_SCALARS] = {7, 7, 7, 7};
    vm_step_scalars(&o, 0.25, 0, x);
    cr_assert_eq(x[VM_STEP_RATE], 0.25f);
    cr_assert_eq(x[VM_STEP_CORRECTION1], (float)(1 - 0.9));
    cr_assert_eq(x[VM_STEP_CORRECTION2], (float)(1 - 0.999));
    cr_assert_eq(x[VM_STEP_FREE], 0);
    vm_step_scalars(&o, 0.125, 2, x);
    cr_assert_eq(x[VM_STEP_RATE], 0.125f);
    cr_assert_eq(x[VM_STEP_CORRECTION1], (float)(1 - 0.9 * (0.9 * 0.9)));
    vm_step_scalars(&o, 1, 0, NULL);
}

Test(runtime_schedule, constant_with_warmup) {
    const VmScheduleSpec s = {.kind = VM_schedule_constant, .peak = 0.4};
    static const double expected[] = {0.1, 0.2, 0.3, 0.4, 0.4, 0.4};
    for (int i = 0; i < 6; i++)
        cr_assert(fabs(vm_learning_rate(&s, i, 4, 6) - expected[i]) < 1e-15);
    cr_assert_eq(vm_learning_rate(&s, 0, 0, 6), 0.4);
}

Test(runtime_schedule, cosine_with_warmup) {
    const VmScheduleSpec s = {.kind = VM_schedule_cosine, .peak = 1, .minimum = 0.2};
    for (int i = 0; i < 110; i++) {
        double expected =
            i < 10 ? (i + 1) / 10.0 : 0.2 + 0.8 * 0.5 * (1 + cos(acos(-1) * (i - 10) / 100.0));
        cr_assert(fabs(vm_learning_rate(&s, i, 10, 110) - expected) < 1e-15, "step %d", i);
    }
    cr_assert_eq(vm_learning_rate(&s, 10, 10, 110), 1.0, "the peak follows the warmup");
    cr_assert(fabs(vm_learning_rate(&s, 60, 10, 110) - 0.6) < 1e-15, "half way");
    cr_assert_eq(vm_learning_rate(&s, 110, 10, 110), 0.2);
    for (int i = 11; i < 110; i++)
        cr_assert(vm_learning_rate(&s, i, 10, 110) < vm_learning_rate(&s, i - 1, 10, 110));
    /* a warm-up longer than the run: it never leaves the rise */
    cr_assert(vm_learning_rate(&s, 109, 200, 110) == 110 / 200.0);
}

Test(runtime_schedule, polynomial_with_warmup) {
    static const double power[] = {0.5, 1, 2.5, 100};
    for (int k = 0; k < 4; k++) {
        const VmScheduleSpec s = {
            .kind = VM_schedule_polynomial, .peak = 1, .minimum = 0.2, .power = power[k]};
        for (int i = 10; i <= 110; i++) {
            double expected = 0.2 + 0.8 * pow(1 - (i - 10) / 100.0, power[k]);
            cr_assert(fabs(vm_learning_rate(&s, i, 10, 110) - expected) < 1e-14, "step %d", i);
        }
        cr_assert_eq(vm_learning_rate(&s, 4, 10, 110), 0.5, "the warm-up is every schedule's");
        cr_assert_eq(vm_learning_rate(&s, 110, 10, 110), 0.2);
    }
}

/* ---- metrics.jsonl ---- */

static json_t *line_of(const char *text, int n) {
    while (n-- > 0) text = strchr(text, '\n') + 1;
    json_t *o = json_loadb(text, strcspn(text, "\n"), 0, NULL);
    cr_assert(json_is_object(o), "not JSON: %s", text);
    return o;
}

static int lines_in(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    cr_assert(json_is_number(v), "no number '%s'", key);
    return json_number_value(v);
}

static const char *const names[] = {"experts", "lr", "kind"};
static const char *const values[] = {"8", "1e-3", "sparse"};
static const VmSubject subject = {
    .phase = "model", .config_name = names, .config_value = values, .nconfig = 3};

static void write_start(VmLog *log, const VmRunState *run) {
    VmError err;
    VmRecipe recipe = vm_recipe_default();
    recipe.data.batch = 32;
    recipe.seed = 7;
    const VmRun how = {.tuning = NULL};
    const VmTraining what = {.recipe = &recipe, .subject = &subject, .run = &how};
    const VmOutline o = {
        .folder = "runs/a", .parameters = 12, .images = {60000, 0, 10000}, .threads = 3};
    cr_assert(vm_say_start(log, &what, run, &o, &err) == VM_OK);
}

static const VmRunState run = {.total = 100, .train_images = 60000, .weights = "12345678"};

static const VmRouting no_routes = {0};

/* A log of that sink alone in an open folder. */
static VmLog open_log(VmSinkId sink, const VmDir *folder, int64_t keep_step) {
    VmLog log = {.phase = "model", .sinks = 1u << sink};
    VmLogPlace place = {.dir = folder, .keep = {keep_step, keep_step}};
    VmError err = {.text = ""};
    cr_assert(vm_log_open(&log, &place, &err) == VM_OK, "%s", err.text);
    return log;
}

static void close_log(VmLog *log) {
    VmError err = {.text = ""};
    cr_assert(vm_log_close(log, &err) == VM_OK, "%s", err.text);
}

/* Behind what is in the file, as a killed process leaves it. */
static void append(const char *path, const char *text) {
    FILE *f = fopen(path, "a");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void write_run(VmLog *log, int64_t from, int64_t to) {
    VmError err;
    static const float cross = 0.5f, balance = 2, accuracy = 0.75f;
    static const VmTensor tensor[] = {{.name = "cross_entropy", .role = VM_ROLE_LOSS, .weight = 1},
                                      {.name = "balance", .role = VM_ROLE_AUX, .weight = 0.01},
                                      {.name = "accuracy", .role = VM_ROLE_METRIC, .weight = 1}};
    VmTerm term[] = {{&tensor[0], &cross}, {&tensor[1], &balance}, {&tensor[2], &accuracy}};
    VmBinding b = {.term = term, .nterm = 3};
    for (int64_t step = from; step <= to; step++) {
        cr_assert(vm_say_step(log, 1, step, 1e-4, 1000, &b, &no_routes, &err) == VM_OK);
    }
    VmEpochRecord r = {
        .epoch = 1,
        .step = to,
        .train = {.loss = 0.25},
        .test = {.loss = NAN, .metric = {{"top5", 0.75}, {"accuracy", 0.5}}, .nmetric = 2},
        .seconds = 3};
    cr_assert(vm_say_epoch(log, &r, &no_routes, &err) == VM_OK);
}

Test(runtime_metrics, lines_have_their_keys) {
    char *dir = rt_folder();
    VmDir folder;
    VmError err;
    cr_assert(vm_dir_open(&folder, dir, false, &err) == VM_OK);
    VmLog m = open_log(VM_SINK_jsonl, &folder, -1);
    write_start(&m, &run);
    write_run(&m, 1, 1);
    size_t n;
    char *text = rt_read(rt_path(dir, "metrics.jsonl"), &n); /* before closing: lines are flushed */
    cr_assert_eq(lines_in(text), 3);
    json_t *start = line_of(text, 0), *step = line_of(text, 1), *epoch = line_of(text, 2);
    cr_assert_str_eq(json_string_value(json_object_get(start, "event")), "start");
    cr_assert_str_eq(json_string_value(json_object_get(start, "phase")), "model");
    cr_assert_eq(number(start, "threads"), 3.0);
    const json_t *recipe = json_object_get(start, "recipe");
    cr_assert_eq(number(json_object_get(recipe, "data"), "batch"), 32.0);
    cr_assert_eq(number(recipe, "seed"), 7.0);
    cr_assert_eq(number(json_object_get(start, "config"), "experts"), 8.0, "numbers are numbers");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(start, "config"), "kind")),
                     "sparse");
    cr_assert_str_eq(json_string_value(json_object_get(start, "weights")), "12345678",
                     "digits of a fingerprint are no number");
    cr_assert_eq(number(start, "train_images"), 60000.0);
    cr_assert_eq(number(start, "steps"), 100.0);
    cr_assert_eq(number(step, "step"), 1.0);
    cr_assert_eq(number(step, "lr"), 1e-4);
    cr_assert_eq(number(step, "loss"), 0.5);
    cr_assert(fabs(number(step, "objective") - 0.52) < 1e-12);
    cr_assert_eq(number(json_object_get(step, "losses"), "cross_entropy"), 0.5);
    cr_assert_eq(number(json_object_get(step, "aux"), "balance"), 2.0);
    cr_assert_eq(number(json_object_get(step, "metrics"), "accuracy"), 0.75);
    cr_assert_eq(number(step, "images_per_second"), 1000.0);
    cr_assert_eq(number(epoch, "train_loss"), 0.25);
    cr_assert_eq(number(epoch, "test_accuracy"), 0.5);
    cr_assert_eq(number(epoch, "test_top5"), 0.75, "every metric has its own name");
    cr_assert(json_is_null(json_object_get(epoch, "test_loss")), "not a number is null");
    cr_assert_eq(number(epoch, "seconds"), 3.0);
    cr_assert(number(epoch, "images_per_second") >= 0 && number(epoch, "epoch") == 1);
    json_decref(start);
    json_decref(step);
    json_decref(epoch);
    free(text);
    close_log(&m);
    vm_dir_close(&folder);
    rt_remove(dir);
}

Test(runtime_metrics, resuming_drops_what_comes_again) {
    char *dir = rt_folder();
    VmDir folder;
    const char *path = rt_path(dir, "metrics.jsonl");
    VmError err;
    cr_assert(vm_dir_open(&folder, dir, false, &err) == VM_OK);
    VmLog m = open_log(VM_SINK_jsonl, &folder, -1);
    write_start(&m, &run);
    write_run(&m, 1, 4);
    write_run(&m, 5, 8);
    close_log(&m);
    append(path, "{\"event\":\"step\",\"phase\":\"mo");
    m = open_log(VM_SINK_jsonl, &folder, 4);
    write_run(&m, 5, 5);
    close_log(&m);
    size_t n;
    char *text = rt_read(path, &n);
    cr_assert_eq(lines_in(text), 1 + 5 + 2, "%s", text);
    json_t *last = line_of(text, 7);
    cr_assert_str_eq(json_string_value(json_object_get(last, "event")), "epoch");
    json_decref(last);
    free(text);
    m = open_log(VM_SINK_jsonl, &folder, -1);
    close_log(&m);
    text = rt_read(path, &n);
    cr_assert_eq(n, 0u, "a new run starts a new file");
    free(text);
    rt_remove(dir);
}

/* Twelve damaged images of the training set, of which a part is held out, and one of the test set:
 * an event for each of the two, which stays whatever a resumed run repeats. */
Test(runtime_metrics, left_out_images_are_an_event) {
    enum { BAD = 12, FILES = BAD + 6 };
    char *dir = rt_folder(), paths[FILES][32];
    TiFile f[FILES];
    for (int i = 0; i < FILES; i++) {
        bool test = i > FILES - 3, bad = i < BAD || i == FILES - 1;
        snprintf(paths[i], sizeof paths[i], "%s/a/%02d.png", test ? "test" : "train", i);
        f[i] = (TiFile){paths[i], bad ? ti_text("no image") : ti_png(2, 2, 0)};
    }
    ti_write_files(rt_path(dir, "set"), f, FILES);
    VmDataQuery q = ti_spec(rt_path(dir, "set"));
    q.bad = VM_data_bad_skip;
    VmDataset *d[VM_SPLITS], *rest, *held;
    VmError err = {.text = ""};
    VmDir folder;
    cr_assert(vm_dataset_open_all(&q, d, &err) == VM_OK, "%s", err.text);
    cr_assert(vm_dataset_hold_out(d[VM_TRAIN], 0.5, 1, &rest, &held, &err) == VM_OK);
    cr_assert(vm_dir_open(&folder, dir, false, &err) == VM_OK);
    VmRunState at = {.step = 7};
    const VmTraining what = {.train = rest, .validation = held, .test = d[VM_TEST]};
    for (int64_t keep = -1; keep < 1; keep++) {
        VmLog m = open_log(VM_SINK_jsonl, &folder, keep);
        if (keep < 0) cr_assert(vm_say_left_out(&m, &what, &at, &err) == VM_OK);
        close_log(&m);
        size_t n;
        char *text = rt_read(rt_path(dir, "metrics.jsonl"), &n);
        cr_assert_eq(lines_in(text), 2, "%s", text);
        for (int i = 0; i < 2; i++) {
            json_t *o = line_of(text, i), *first = json_object_get(o, "first");
            const char *image = json_string_value(json_array_get(first, 0));
            cr_assert_str_eq(json_string_value(json_object_get(o, "event")), "left_out");
            cr_assert_str_eq(json_string_value(json_object_get(o, "split")),
                             i ? "test" : "training");
            cr_assert(number(o, "images") == (i ? 1 : BAD) && number(o, "step") == 7);
            cr_assert_eq(json_array_size(first), i ? 1u : 10u);
            cr_assert_str_eq(image, i ? "test/a/17.png: neither a JPEG nor a PNG image"
                                      : "train/a/00.png: neither a JPEG nor a PNG image");
            json_decref(o);
        }
        free(text);
    }
    vm_dir_close(&folder);
    vm_dataset_close(rest);
    vm_dataset_close(held);
    for (int i = 0; i < VM_SPLITS; i++) vm_dataset_close(d[i]);
    ti_free_files(f, FILES);
    rt_remove(dir);
}

/* ---- metrics.csv ---- */

Test(runtime_metrics, csv_has_a_row_for_every_epoch) {
    static const char rows[] =
        "epoch,step,phase,train_loss,train_objective,train_accuracy,validation_loss,"
        "validation_accuracy,test_loss,test_accuracy,seconds,images_per_second,validation_seconds,"
        "test_seconds\n"
        "1,4,\"a \"\"model\"\", or two\",0.25,0,,,,,0.5,3,0,,0\n"
        "1,5,model,0.25,0,,,,,0.5,3,0,,0\n";
    char *dir = rt_folder();
    VmDir folder;
    VmError err;
    cr_assert(vm_dir_open(&folder, dir, false, &err) == VM_OK);
    VmLog log = open_log(VM_SINK_csv, &folder, -1);
    log.phase = "a \"model\", or two";
    write_run(&log, 1, 4);
    write_run(&log, 5, 8);
    close_log(&log);
    append(rt_path(dir, "metrics.csv"), "3,1");
    log = open_log(VM_SINK_csv, &folder, 4);
    write_run(&log, 5, 5);
    close_log(&log);
    size_t n;
    char *text = rt_read(rt_path(dir, "metrics.csv"), &n);
    cr_assert_str_eq(text, rows);
    free(text);
    append(rt_path(dir, "metrics.csv"), "epoch one\n2,8,model\n");
    VmLogPlace place = {.dir = &folder, .keep = {5, 5}};
    cr_assert_eq(vm_log_open(&log, &place, &err), VM_INPUT);
    cr_assert(strstr(err.text, "metrics.csv: damaged: line 4"), "%s", err.text);
    vm_dir_close(&folder);
    rt_remove(dir);
}

/* ---- the hub ---- */

Test(runtime_log, names_choose_the_files) {
    unsigned set;
    VmError err;
    cr_assert(vm_sinks_parse("jsonl", &set, &err) == VM_OK);
    cr_assert_eq(set, 1u << VM_SINK_jsonl | 1u << VM_SINK_progress, "what has no file stays");
    static const char *const wrong[] = {"", "jsonl,", "json", "progress", "jsonl,,jsonl"};
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(vm_sinks_parse(wrong[i], &set, &err), VM_USAGE, "'%s'", wrong[i]);
        cr_assert(strstr(err.text, "names with commas between, of jsonl"), "%s", err.text);
    }
}

Test(runtime_log, an_event_that_memory_was_short_for_is_not_told) {
    char *dir = rt_folder();
    VmDir folder;
    VmError err;
    cr_assert(vm_dir_open(&folder, dir, false, &err) == VM_OK);
    VmLog log = open_log(VM_SINK_jsonl, &folder, -1);
    VmFacts part = {.failed = true}, f = {0};
    vm_facts_int(&f, "kept", 1);
    vm_facts_group(&f, "part", part);
    cr_assert_eq(vm_log_tell(&log, VM_EVENT_step, 1, 1, f, &err), VM_ENV);
    cr_assert(strstr(err.text, "out of memory"), "%s", err.text);
    close_log(&log);
    cr_assert_eq(vm_size_in(&folder, "metrics.jsonl"), 0);
    vm_dir_close(&folder);
    rt_remove(dir);
}

Test(runtime_peaks, are_plausible, .timeout = 60) {
    double gflops, gbs, one;
    vm_measure_peaks(1, &one, &gbs);
    cr_assert(one > 1 && one < 1000, "%g GFLOP/s", one);
    cr_assert(gbs > 0.3 && gbs < 1000, "%g GB/s", gbs);
    vm_measure_peaks(2, &gflops, NULL);
    cr_assert(gflops < 2.6 * one, "two threads: %g, one: %g", gflops, one);
}
