/* What a person sees of a run: plain lines where there is no terminal, one rewritten line where
 * there is one, never longer than it is wide. */
#include "runtime/log/progress.h"
#include "runtime/train/internal.h"
#include "tests/unit/runtime/runtime_test.h"

#include <math.h>

static const VmRouting no_routes = {0};

static int lines_in(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

static void close_log(VmLog *log) {
    VmError err = {.text = ""};
    cr_assert(vm_log_close(log, &err) == VM_OK, "%s", err.text);
}

static VmLog watch(FILE *f) {
    VmLog log = {.phase = "model", .sinks = 1u << VM_SINK_progress};
    VmLogPlace place = {.progress = f};
    VmError err;
    cr_assert(vm_log_open(&log, &place, &err) == VM_OK);
    VmFacts facts = {0};
    vm_facts_text(&facts, "folder", "runs/a");
    vm_facts_int(&facts, "parameters", 12);
    vm_facts_int(&facts, "steps", 7);
    vm_facts_int(&facts, "batch", 32);
    vm_facts_int(&facts, "threads", 1);
    vm_facts_int(&facts, "train_images", 100);
    vm_facts_int(&facts, "validation_images", 10);
    cr_assert(vm_log_tell(&log, VM_EVENT_start, 0, 0, facts, &err) == VM_OK);
    return log;
}

static void tick(VmLog *log, int64_t step, int64_t total, bool has_accuracy,
                 const VmRouting *routing) {
    VmRunState at = {.step = step,
                     .total = total,
                     .sums = {.loss = 1, .batches = 2, .metric = {9}, .nmetric = 1, .images = 10}};
    static const VmTensor accuracy = {.name = "accuracy", .role = VM_ROLE_METRIC, .weight = 1};
    VmTerm term = {&accuracy, NULL};
    VmBinding b = {.term = &term, .nterm = has_accuracy};
    VmError err;
    cr_assert(vm_say_tick(log, &at, &b, routing, 1, 1e-3, 500, &err) == VM_OK);
}

Test(runtime_progress, plain_lines_where_there_is_no_terminal) {
    char *dir = rt_folder();
    FILE *f = fopen(rt_path(dir, "log"), "w+");
    VmLog log = watch(f);
    VmProgress *p = log.self[VM_SINK_progress];
    VmError err;
    for (int i = 1; i <= 100; i++)
        tick(&log, i, 100, true, &no_routes); /* too soon to say anything */
    p->last -= 11;
    tick(&log, 50, 100, true, &no_routes);
    VmEpochRecord r = {.epoch = 1,
                       .step = 100,
                       .train = {.loss = 0.25},
                       .test = {.loss = 0.125, .metric = {{"accuracy", 0.875}}, .nmetric = 1},
                       .seconds = 2,
                       .images_per_second = 640};
    cr_assert(vm_say_epoch(&log, &r, &no_routes, &err) == VM_OK);
    close_log(&log);
    fclose(f);
    size_t n;
    char *text = rt_read(rt_path(dir, "log"), &n);
    cr_assert_eq(lines_in(text), 3, "%s", text);
    cr_assert(strstr(text, "model: 12 parameters, 100 images, 10 for validation; 7 steps of 32, 1 "
                           "thread; in runs/a\n") == text,
              "%s", text);
    cr_assert(strchr(text, '\r') == NULL && strchr(text, '\033') == NULL);
    cr_assert(strstr(text, "epoch 1  step 50/100  loss 0.5000  accuracy 90.00 %  lr 0.001  500 "
                           "images/s  left 0:") != NULL);
    cr_assert(strstr(
        text,
        "epoch 1  train loss 0.2500  test loss 0.1250 accuracy 87.50 %  2.0 s  640 images/s\n"));
    free(text);
    rt_remove(dir);
}

Test(runtime_progress, one_rewritten_line_on_a_terminal) {
    char *dir = rt_folder();
    FILE *f = fopen(rt_path(dir, "log"), "w+");
    VmLog log = watch(f);
    VmProgress *p = log.self[VM_SINK_progress];
    p->terminal = true;
    for (int i = 1; i <= 3; i++) {
        p->last -= 1;
        tick(&log, i, 10000, false, &no_routes);
        tick(&log, i, 10000, false, &no_routes); /* at most five a second */
    }
    close_log(&log);
    fclose(f);
    size_t n;
    char *text = rt_read(rt_path(dir, "log"), &n);
    int returns = 0;
    for (size_t i = 0; i < n; i++) returns += text[i] == '\r';
    cr_assert(lines_in(text) == 1 && returns == 4, "%d", returns);
    cr_assert(strstr(text, "accuracy") == NULL);
    free(text);
    rt_remove(dir);
    log = watch(NULL); /* silent */
    tick(&log, 1, 1, true, &no_routes);
    close_log(&log);
}

/* What a terminal of so many columns (0: it does not say) shows of step `step` of 46900 behind
 * its first one; to be freed. */
static char *shown(int wide, int64_t step, const VmRouting *routing) {
    char *dir = rt_folder();
    FILE *f = fopen(rt_path(dir, "log"), "w+");
    VmLog log = watch(f);
    VmProgress *p = log.self[VM_SINK_progress];
    p->terminal = true;
    p->columns = wide;
    p->last -= 1;
    tick(&log, step, 46900, true, routing);
    fclose(f);
    p->f = NULL;
    close_log(&log);
    size_t n;
    char *text = rt_read(rt_path(dir, "log"), &n), *line = strstr(text, "\033[K");
    cr_assert_not_null(line, "%s", text);
    line = strdup(line + strlen("\033[K"));
    free(text);
    rt_remove(dir);
    return line;
}

/* Two routes: the second is worse. */
static double even_load[] = {2.4, 2.6, 2.5, 2.5}, uneven_load[] = {0.5, 1.5};
static VmRoute some_routes[] = {
    {.name = "0.moe", .experts = 4, .load_sum = even_load, .steps = 10},
    {.name = "1.moe", .experts = 2, .load_sum = uneven_load, .steps = 2},
    {.name = "2.moe", .experts = 2, .load_sum = even_load, .steps = 0},
};
static const VmRouting routes = {.route = some_routes, .n = 3};

Test(runtime_progress, least_important_fields_give_way) {
    static const struct {
        int wide;
        const char *begins; /* what stands before the time that is left */
    } want[] = {
        {120, "epoch 1  step 1234/46900  loss 0.5000  accuracy 90.00 %  lr 0.001  500 images/s  "
              "load 0.50-1.50  left "},
        {100, "epoch 1  step 1234/46900  loss 0.5000  accuracy 90.00 %  500 images/s  load "
              "0.50-1.50  left "},
        {80, "step 1234/46900  loss 0.5000  accuracy 90.00 %  load 0.50-1.50  left "},
        {0, "step 1234/46900  loss 0.5000  accuracy 90.00 %  load 0.50-1.50  left "},
        {60, "step 1234/46900  loss 0.5000  accuracy 90.00 %  left "},
        {46, "step 1234/46900  loss 0.5000  left "},
        {30, "step 1234/46900  loss 0.5000"},
        {20, "loss 0.5000"},
        {6, "loss "},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char *line = shown(want[i].wide, 1234, &routes);
        size_t n = strlen(want[i].begins);
        cr_assert(!strncmp(line, want[i].begins, n), "%d columns: '%s'", want[i].wide, line);
        bool left = n > 6 && !strcmp(want[i].begins + n - 6, " left ");
        cr_assert(left ? strchr(line + n, ' ') == NULL : line[n] == '\0', "'%s'", line);
        cr_assert_lt((int)strlen(line), want[i].wide ? want[i].wide : 80);
        free(line);
    }
}

Test(runtime_progress, never_as_wide_as_the_terminal) {
    for (int wide = 2; wide < 130; wide++) {
        char *line = shown(wide, 46899, &routes);
        cr_assert_lt((int)strlen(line), wide, "'%s' on %d columns", line, wide);
        cr_assert(wide < 12 || strstr(line, "loss 0.5000"), "'%s' on %d columns", line, wide);
        free(line);
    }
}

Test(runtime_progress, load_is_of_the_worst_route) {
    char *line = shown(200, 1, &no_routes);
    cr_assert(strstr(line, "load") == NULL, "%s", line);
    free(line);
    const VmRouting first = {.route = some_routes, .n = 1};
    line = shown(200, 1, &first);
    cr_assert(strstr(line, "  load 0.96-1.04"), "%s", line);
    free(line);
    const VmRouting idle = {.route = &some_routes[2], .n = 1};
    line = shown(200, 1, &idle);
    cr_assert(strstr(line, "load") == NULL, "%s", line);
    free(line);
}

/* What a terminal of so many columns (0: no terminal) shows of an epoch; to be freed. */
static char *epoch_on(int wide, const VmEpochRecord *r) {
    char *dir = rt_folder();
    FILE *f = fopen(rt_path(dir, "log"), "w+");
    VmLog log = watch(f);
    VmProgress *p = log.self[VM_SINK_progress];
    VmError err;
    p->terminal = wide > 0;
    p->columns = wide;
    cr_assert_eq(vm_say_epoch(&log, r, &no_routes, &err), VM_OK);
    close_log(&log);
    fclose(f);
    size_t n;
    char *text = rt_read(rt_path(dir, "log"), &n), *epoch = strstr(text, "epoch ");
    cr_assert_not_null(epoch, "%s", text);
    epoch = strdup(epoch);
    free(text);
    rt_remove(dir);
    return epoch;
}

static const VmEpochRecord layered = {
    .epoch = 12,
    .train = {.loss = 0.25, .metric = {{"block.sure", 1.5}, {"accuracy", 0.9}}, .nmetric = 2},
    .validation = {.loss = 0.5,
                   .images = 10,
                   .metric = {{"block.sure", 1.25}, {"accuracy", 0.875}},
                   .nmetric = 2},
    .test = {.loss = NAN},
    .seconds = 2,
    .images_per_second = 640};

Test(runtime_progress, epochs_begin_with_what_counts_where_they_are_broken) {
    static const char *const one =
        "epoch 12  train loss 0.2500 block.sure 1.5000 accuracy 90.00 %  validation loss 0.5000 "
        "block.sure 1.2500 accuracy 87.50 %  2.0 s  640 images/s\n";
    const struct {
        int wide;
        const char *text;
    } want[] = {
        {0, one},
        {(int)strlen(one), one}, /* the last column stays free */
        {(int)strlen(one) - 1,
         "epoch 12  train loss 0.2500 accuracy 90.00 %  validation loss 0.5000 accuracy 87.50 %  "
         "2.0 s  640 images/s\n"
         "    train block.sure 1.5000  validation block.sure 1.2500\n"},
        {80, "epoch 12  train loss 0.2500 accuracy 90.00 %\n"
             "    validation loss 0.5000 accuracy 87.50 %  2.0 s  640 images/s\n"
             "    train block.sure 1.5000  validation block.sure 1.2500\n"},
        {40, "epoch 12\n"
             "    train loss 0.2500 accuracy 90.00 %\n"
             "    validation loss 0.5000\n"
             "    validation accuracy 87.50 %  2.0 s\n"
             "    640 images/s\n"
             "    train block.sure 1.5000\n"
             "    validation block.sure 1.2500\n"},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char *text = epoch_on(want[i].wide, &layered);
        cr_assert_str_eq(text, want[i].text, "%d columns: %s", want[i].wide, text);
        free(text);
    }
}

Test(runtime_progress, no_line_of_an_epoch_is_as_wide_as_the_terminal) {
    for (int wide = 34; wide < 160; wide++) {
        char *text = epoch_on(wide, &layered), *saved;
        for (char *line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved))
            cr_assert_lt((int)strlen(line), wide, "'%s'", line);
        free(text);
    }
}

Test(runtime_progress, shares_of_images_are_in_per_cent) {
    VmEpochRecord r = {.epoch = 1,
                       .train = {.loss = 0.25,
                                 .metric = {{"accuracy", 1},
                                            {"teacher_accuracy", 0.5},
                                            {"block.accuracy", 0},
                                            {"top5", 0.125},
                                            {"teacher_top10", 0.25},
                                            {"inaccuracy", 0.5},
                                            {"accuracy_gap", 0.5},
                                            {"top", 0.5},
                                            {"top5x", 0.5},
                                            {"stop5", 0.5},
                                            {"top1", 93.75}},
                                 .nmetric = 11},
                       .test = {.loss = NAN},
                       .seconds = 2,
                       .images_per_second = 640};
    char *text = epoch_on(0, &r);
    cr_assert_str_eq(
        text, "epoch 1  train loss 0.2500 accuracy 100.00 % teacher_accuracy 50.00 % "
              "block.accuracy 0.00 % top5 12.50 % teacher_top10 25.00 % inaccuracy 0.5000 "
              "accuracy_gap 0.5000 top 0.5000 top5x 0.5000 stop5 0.5000 top1 93.7500  2.0 s  640 "
              "images/s\n");
    free(text);
}
