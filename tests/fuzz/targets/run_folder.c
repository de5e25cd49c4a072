/* A run's folder: the first part of the input says how it is opened, then come names and contents
 * by turns. With a bit of the first part, records of checkpoints get the sums that fit the files
 * beside them. Opening ends with a status; a checkpoint that is refused changes neither weights nor
 * state, and one that is taken has only numbers that are finite. */
#include "tests/fuzz/target.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>

#include "runtime/data/dataset.h"
#include "runtime/train/record.h"

enum { WEIGHTS = 4, MOST_FILES = 16 };

typedef enum Wish {
    RESUME = 1,
    OVERWRITE = 2,
    PREVIOUS = 4,
    ANYWAY = 8,
    NUMBERED = 16,
    MEND = 32 /* records are made to fit */
} Wish;

/* ---- the folder's contents ------------------------------------------------------------------- */

/* Below "out": a name with at most one folder before it. */
static bool is_name(const char *text) {
    size_t n = strlen(text);
    const char *slash = strchr(text, '/');
    bool plain = strspn(text, "abcdefghijklmnopqrstuvwxyz.-_0123456789/") == n;
    return n > 0 && n < 60 && plain && slash != text && text[n - 1] != '/' && !strstr(text, "..") &&
           (!slash || !strchr(slash + 1, '/')) && strcmp(text, ".") != 0 &&
           strncmp(text, "./", 2) != 0 && (!slash || strcmp(slash + 1, ".") != 0);
}

static void make_folder(const char *name, size_t n) {
    char path[4300];
    snprintf(path, sizeof path, "%s/%.*s", fuzz_folder(), (int)n, name);
    FUZZ_CHECK(mkdir(path, 0700) == 0 || errno == EEXIST, "%s: %s", path, strerror(errno));
}

static bool is_folder(const char *name, size_t n) {
    char path[4300];
    struct stat st;
    snprintf(path, sizeof path, "%s/%.*s", fuzz_folder(), (int)n, name);
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void put_file(const FuzzPart *name, const FuzzPart *contents) {
    char *text = fuzz_text(name->data, name->size), below[80];
    if (is_name(text)) {
        const char *slash = strchr(text, '/');
        snprintf(below, sizeof below, "out/%s", text);
        size_t folder = slash ? (size_t)(slash - text) + 4 : 3;
        if (slash && !is_folder(below, folder)) {
            char path[4300];
            snprintf(path, sizeof path, "%s/%.*s", fuzz_folder(), (int)folder, below);
            if (mkdir(path, 0700) != 0) folder = 0; /* a file is there */
        }
        if (folder && !is_folder(below, strlen(below)))
            fuzz_put(below, contents->data, contents->size);
    }
    free(text);
}

/* ---- records that fit ------------------------------------------------------------------------ */

static void set_sum(json_t *o, const char *key, const VmDir *d, const char *name) {
    char *bytes;
    size_t n;
    if (vm_read_in(d, name, &bytes, &n, NULL)) return;
    VmHashText sum = vm_hash_text(vm_hash((VmHash){0, 0}, bytes, n));
    json_t *v = json_pack("{s:I, s:s}", "bytes", (json_int_t)n, "xxh3", sum.text);
    (void)json_object_set_new(o, key, v);
    free(bytes);
}

static void mend(const VmDir *out, const char *name) {
    const size_t compact = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
    VmDir d;
    char *text = NULL, *bare = NULL, below[80];
    size_t n;
    if (vm_dir_in(&d, out, name, false, NULL)) return;
    json_t *o = NULL;
    if (!vm_read_in(&d, VM_RECORD_FILE, &text, &n, NULL))
        o = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    if (json_is_object(o)) {
        set_sum(o, "weights", &d, VM_WEIGHTS_FILE);
        if (json_object_get(o, "state")) set_sum(o, "state", &d, VM_STATE_FILE);
        (void)json_object_del(o, "checksum");
        bare = json_dumps(o, compact);
    }
    if (bare) {
        VmHashText sum = vm_hash_text(vm_hash((VmHash){0, 0}, bare, strlen(bare)));
        (void)json_object_set_new(o, "checksum", json_string(sum.text));
        free(bare);
        bare = json_dumps(o, compact);
        snprintf(below, sizeof below, "out/%s/%s", name, VM_RECORD_FILE);
        if (bare) fuzz_put(below, bare, strlen(bare));
    }
    free(bare);
    json_decref(o);
    vm_dir_close(&d);
}

static void mend_all(void) {
    VmDir out;
    char path[4300];
    snprintf(path, sizeof path, "%s/out", fuzz_folder());
    if (vm_dir_open(&out, path, false, NULL)) return;
    mend(&out, VM_CHECKPOINT);
    mend(&out, VM_CHECKPOINT_PREVIOUS);
    vm_dir_close(&out);
}

/* ---- a program to load into ------------------------------------------------------------------ */

static void nothing(void *const *args, int64_t begin, int64_t end, void *scratch) {
    (void)args, (void)begin, (void)end, (void)scratch;
}

static const VmTask task = {.fn = nothing, .name = "nothing", .items = 1};
static const VmTensor tensor[] = {
    {.name = "w", .role = VM_ROLE_PARAM, .rank = 1, .dim = {WEIGHTS}, .init = "zeros"},
    {.name = "w.m", .role = VM_ROLE_STATE, .rank = 1, .dim = {WEIGHTS}, .space = VM_STATE}};
static const VmProgram program = {.abi = VM_ABI_VERSION,
                                  .name = "fuzz",
                                  .batch = 2,
                                  .task = &task,
                                  .ntask = 1,
                                  .tensor = tensor,
                                  .ntensor = 2,
                                  .space_bytes = {64, 64, 64}};

static VmEngine *engine(void) {
    VmEngine *e;
    VmError err;
    FUZZ_CHECK(!vm_engine_create(1, &e, &err), "%s", err.text);
    FUZZ_CHECK(vm_engine_add(e, &program, &err) == 0, "%s", err.text);
    return e;
}

static bool is_zero(VmEngine *e) {
    static const float zeros[WEIGHTS];
    return !memcmp(vm_engine_data(e, 0, "w"), zeros, sizeof zeros) &&
           !memcmp(vm_engine_data(e, 0, "w.m"), zeros, sizeof zeros);
}

/* ---- opening --------------------------------------------------------------------------------- */

static VmStatus load(VmRunFolder *folder, const VmTraining *what, VmRunState *run, VmError *err) {
    VmCheckpoints *k;
    VmEngine *e = engine();
    VmError differences;
    VmStatus s = vm_checkpoints_open(&k, folder, what, run->total, NULL, err);
    FUZZ_CHECK(!s, "%s", err->text);
    s = vm_checkpoint_load(k, e, 0, &what->run->resume, run, &differences, err);
    FUZZ_CHECK(!s || is_zero(e), "refused (%s), and weights have changed", err->text);
    if (!s) {
        VmStatus finite = vm_checkpoint_values(e, 0, run, err);
        FUZZ_CHECK(finite == VM_OK || finite == VM_INPUT, "status %d: %s", finite, err->text);
        FUZZ_CHECK(run->step >= 0 && run->judged <= run->step, "a position that cannot be");
        VmStatus saved = vm_checkpoint_save(k, e, 0, run, err);
        FUZZ_CHECK(saved == finite, "saving: status %d: %s", saved, err->text);
    }
    vm_checkpoints_close(k);
    vm_engine_destroy(e);
    return s;
}

static void open_logs(VmRunFolder *folder, const VmRunState *run, bool keep) {
    VmLog log = {.phase = "fuzz", .sinks = (1u << VM_SINK_COUNT) - 1};
    VmLogPlace place = {.dir = &folder->dir, .keep = {-1, -1}};
    VmError err;
    if (keep) place.keep = (VmLogKept){run->step, run->judged};
    VmStatus s = vm_log_open(&log, &place, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "logs: status %d: %s", s, err.text);
    (void)vm_log_close(&log, &err);
}

static void open_run(const VmTraining *what) {
    VmRunFolder folder;
    VmError err = {.text = ""};
    VmRunState run = {.steps_per_epoch = 2, .total = 4, .train_images = 4};
    VmStatus checked = vm_run_check(&what->run->place, &err);
    VmStatus s = vm_run_open(&folder, &what->run->place, &err);
    FUZZ_CHECK(s || !checked, "it was refused, and is opened");
    if (!s) {
        bool resume = what->run->place.resume;
        if (resume) s = load(&folder, what, &run, &err);
        if (!s) open_logs(&folder, &run, resume);
    }
    vm_run_close(&folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t pixels[16];
    static uint16_t label[4];
    VmDataset set = {.size = 4, .channels = 1, .height = 2, .width = 2, .classes = 1};
    set.image = pixels;
    set.label = label;
    size_t at = 0;
    FuzzPart first, name, contents;
    char out[4300];
    (void)fuzz_part(data, size, &at, &first);
    int wish = first.size ? first.data[0] : 0;
    fuzz_clear();
    snprintf(out, sizeof out, "%s/out", fuzz_folder());
    make_folder("out", 3);
    for (int i = 0; i < MOST_FILES && fuzz_part(data, size, &at, &name); i++)
        if (fuzz_part(data, size, &at, &contents)) put_file(&name, &contents);
    if (wish & MEND) mend_all();
    VmRecipe recipe = vm_recipe_default();
    recipe.data.batch = 2;
    VmSubject subject = {.phase = "fuzz"};
    VmRun run = {.place = {.out = out,
                           .numbered = (wish & NUMBERED) != 0,
                           .resume = (wish & RESUME) != 0,
                           .overwrite = (wish & OVERWRITE) != 0},
                 .resume = {.previous = (wish & PREVIOUS) != 0, .anyway = (wish & ANYWAY) != 0}};
    open_run(&(VmTraining){&recipe, &subject, &run, &set, NULL, NULL});
    return 0;
}
