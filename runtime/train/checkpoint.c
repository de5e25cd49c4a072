/* Checkpoints: OUT/checkpoint/ with weights.safetensors, state.safetensors (if the optimizer has
 * state) and the record trainer.json, and OUT/checkpoint.previous/, the one before it.
 *
 * A checkpoint is complete or absent: it is written beside its place, synced, read back, and put
 * there by exchanging names. At every moment one of the two folders is complete; the older one is
 * removed only when a newer one has been read back. Nothing is saved that has a value which is no
 * finite number.
 *
 * Does not: decide when to save; read or write the record (record.c). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/train/record.h"

struct VmCheckpoints {
    VmRunFolder *folder;
    VmRecordRun run;
    VmPairs about;   /* of weights */
    bool keeps_best; /* weights are written once more */
    VmRouting *routing;
};

VmStatus vm_checkpoints_open(VmCheckpoints **out, VmRunFolder *folder, const VmTraining *what,
                             int64_t total, VmRouting *routing, VmError *err) {
    *out = vm_calloc(1, sizeof **out);
    if (!*out) return vm_fail(err, VM_ENV, "out of memory");
    (*out)->folder = folder;
    (*out)->routing = routing;
    (*out)->about = what->subject->about;
    (*out)->keeps_best = what->recipe->keep.kind == VM_keep_best;
    return vm_record_identity(what, total, &(*out)->run, err);
}

void vm_checkpoints_close(VmCheckpoints *k) {
    if (!k) return;
    vm_record_free(&k->run);
    free(k);
}

static bool has_role(VmEngine *e, int program, VmRole role) {
    const VmProgram *p = vm_engine_program(e, program);
    for (int i = 0; i < p->ntensor; i++) {
        if (p->tensor[i].role == (int32_t)role) return true;
    }
    return false;
}

/* ---- reading back ---- */

/* Whether the file is what the sum says, read from the disk where the system can forget what it
 * has. */
static VmStatus check_file(const VmDir *d, const char *name, const VmFileSum *want, VmError *err) {
    enum { CHUNK = 1 << 20 };
    char shown[600];
    snprintf(shown, sizeof shown, "%s/%s", d->path, name);
    int fd = vm_open_read_in(d, name, err);
    if (fd < 0) return VM_ENV;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    VmHasher *sum = vm_hasher_create();
    char *chunk = malloc(CHUNK);
    int64_t bytes = 0;
    ssize_t n = 1;
    while (sum && chunk && (n = read(fd, chunk, CHUNK)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        vm_hasher_add(sum, chunk, (size_t)n);
        bytes += n;
    }
    int why = errno;
    bool memory = sum && chunk;
    VmHash hash = vm_hasher_end(sum);
    free(chunk);
    close(fd);
    if (!memory) return vm_fail(err, VM_ENV, "out of memory");
    if (n < 0) return vm_fail(err, VM_ENV, "cannot read '%s': %s", shown, strerror(why));
    if (bytes == want->bytes && hash.lo == want->hash.lo && hash.hi == want->hash.hi) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: damaged: its contents are not what %s says of it", shown,
                   VM_RECORD_FILE);
}

static VmStatus check_folder(const VmDir *d, VmRecord *r, VmError *err) {
    VmRecordRun run;
    VmStatus s = vm_record_read(d, r, &run, err);
    if (s == VM_OK) s = check_file(d, VM_WEIGHTS_FILE, &r->weights, err);
    if (s == VM_OK && r->has_state) s = check_file(d, VM_STATE_FILE, &r->state, err);
    json_decref(r->routes);
    r->routes = NULL;
    vm_record_free(&run);
    return s;
}

/* Is the checkpoint of this name complete and undamaged? */
static bool is_good(const VmCheckpoints *k, const char *name, VmRecord *r) {
    VmDir d;
    if (vm_dir_in(&d, &k->folder->dir, name, false, NULL) != VM_OK) return false;
    bool good = check_folder(&d, r, NULL) == VM_OK;
    vm_dir_close(&d);
    return good;
}

/* ---- saving ---- */

static VmStatus write_files(VmCheckpoints *k, VmEngine *e, int program, const VmRunState *s,
                            const VmDir *d, VmError *err) {
    VmRecord r = {.at = *s,
                  .has_state = has_role(e, program, VM_ROLE_STATE),
                  .routing = k->routing},
             back;
    VmStatus status = vm_tensors_save_in(e, program, VM_ROLE_PARAM, k->about, d, VM_WEIGHTS_FILE,
                                         &r.weights, err);
    if (status == VM_OK && r.has_state)
        status = vm_tensors_save_in(e, program, VM_ROLE_STATE, (VmPairs){0}, d, VM_STATE_FILE,
                                    &r.state, err);
    if (status == VM_OK) status = vm_record_write(d, &k->run, &r, err);
    if (status == VM_OK) status = vm_dir_sync(d, err);
    if (status) return status;
    status = check_folder(d, &back, err);
    return status == VM_INPUT
               ? VM_ENV
               : status; /* what was just written has no other author than the disk */
}

/* Renames to checkpoint.kept-1, -2, ..: a name that shows. */
static bool keep_aside(const VmDir *d, const char *name) {
    char kept[64];
    for (int i = 1; i < 1000; i++) {
        snprintf(kept, sizeof kept, "checkpoint.kept-%d", i);
        if (vm_rename_in(d, name, kept)) return true;
        if (errno != EEXIST) return false;
    }
    return false;
}

/* A folder that is no longer needed goes; one that somebody put things into stays. */
static void dispose(const VmDir *d, const char *name) {
    if (!vm_remove_folder(d, name, vm_checkpoint_files, VM_CHECKPOINT_FILES))
        (void)keep_aside(d, name);
}

/* Where the file system cannot exchange two names: there is no OUT/checkpoint for a moment, but the
 * one before it is, and is found. */
static bool shift(const VmDir *d, const char *fresh, char spare[32]) {
    if (!vm_temp_name(spare)) return false;
    if (vm_there(d, VM_CHECKPOINT_PREVIOUS) != VM_NOTHING &&
        !vm_rename_in(d, VM_CHECKPOINT_PREVIOUS, spare))
        return false;
    return vm_rename_in(d, VM_CHECKPOINT, VM_CHECKPOINT_PREVIOUS) &&
           vm_rename_in(d, fresh, VM_CHECKPOINT);
}

/* Puts the finished folder `fresh` at OUT/checkpoint and what stood there at
 * OUT/checkpoint.previous. */
static VmStatus put_in_place(VmCheckpoints *k, const char *fresh, VmError *err) {
    const VmDir *d = &k->folder->dir;
    char spare[32] = "";
    bool ok;
    if (vm_there(d, VM_CHECKPOINT) == VM_NOTHING) {
        ok = vm_rename_in(d, fresh, VM_CHECKPOINT);
    } else if ((ok = vm_exchange_in(d, fresh, VM_CHECKPOINT))) {
        bool first = vm_there(d, VM_CHECKPOINT_PREVIOUS) == VM_NOTHING;
        ok = first ? vm_rename_in(d, fresh, VM_CHECKPOINT_PREVIOUS)
                   : vm_exchange_in(d, fresh, VM_CHECKPOINT_PREVIOUS);
        if (!first) snprintf(spare, sizeof spare, "%s", fresh);
    } else if (errno == EINVAL || errno == ENOSYS) {
        ok = shift(d, fresh, spare);
    }
    if (!ok)
        return vm_fail(err, VM_ENV, "cannot replace '%s/%s': %s", d->path, VM_CHECKPOINT,
                       strerror(errno));
    VmStatus s = vm_dir_sync(d, err);
    if (spare[0]) dispose(d, spare);
    return s;
}

static VmStatus save_once(VmCheckpoints *k, VmEngine *e, int program, const VmRunState *s,
                          VmError *err) {
    VmDir fresh;
    char name[32];
    VmStatus status = vm_dir_temp(&fresh, &k->folder->dir, name, err);
    if (status) return status;
    status = write_files(k, e, program, s, &fresh, err);
    vm_dir_close(&fresh);
    if (status == VM_OK) status = put_in_place(k, name, err);
    if (status)
        (void)vm_remove_folder(&k->folder->dir, name, vm_checkpoint_files, VM_CHECKPOINT_FILES);
    return status;
}

VmStatus vm_checkpoint_values(VmEngine *e, int program, const VmRunState *s, VmError *err) {
    char what[160];
    snprintf(what, sizeof what, "the run diverged by step %" PRId64 " (no checkpoint was replaced)",
             s->step);
    VmStatus status = vm_tensors_finite(e, program, VM_ROLE_PARAM, what, err);
    if (status == VM_OK) status = vm_tensors_finite(e, program, VM_ROLE_STATE, what, err);
    if (status) return status;
    if (vm_sums_finite(&s->sums)) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: the sum of losses or of a metric is not finite", what);
}

/* The disk, or this user's part of it. */
static bool is_full(const VmError *err) {
    return strstr(err->text, strerror(ENOSPC)) || strstr(err->text, strerror(EDQUOT));
}

VmStatus vm_checkpoint_save(VmCheckpoints *k, VmEngine *e, int program, const VmRunState *s,
                            VmError *err) {
    VmStatus status = vm_checkpoint_values(e, program, s, err);
    if (status) return status;
    VmError first = {0};
    status = save_once(k, e, program, s, &first);
    VmRecord r;
    /* A disk with room for two: the older one makes place when the newer one is known to be good.
     */
    if (status == VM_ENV && is_full(&first) &&
        vm_there(&k->folder->dir, VM_CHECKPOINT_PREVIOUS) == VM_FOLDER &&
        is_good(k, VM_CHECKPOINT, &r)) {
        dispose(&k->folder->dir, VM_CHECKPOINT_PREVIOUS);
        status = save_once(k, e, program, s, &first);
    }
    if (status && err) *err = first;
    return status;
}

/* ---- room ---- */

int64_t vm_checkpoint_bytes(VmEngine *e, int program) {
    enum { RECORD_AND_BLOCKS = 32 << 10 };
    return vm_tensors_bytes(e, program, VM_ROLE_PARAM) +
           vm_tensors_bytes(e, program, VM_ROLE_STATE) + RECORD_AND_BLOCKS;
}

static int64_t bytes_there(const VmDir *d, const char *name) {
    VmDir sub;
    int64_t bytes = 0;
    if (vm_dir_in(&sub, d, name, false, NULL) != VM_OK) return 0;
    for (int i = 0; i < VM_CHECKPOINT_FILES; i++) bytes += vm_size_in(&sub, vm_checkpoint_files[i]);
    vm_dir_close(&sub);
    return bytes;
}

VmStatus vm_checkpoint_room(VmCheckpoints *k, VmEngine *e, int program, VmError *err) {
    const VmDir *d = &k->folder->dir;
    int64_t one = vm_checkpoint_bytes(e, program),
            weights = vm_tensors_bytes(e, program, VM_ROLE_PARAM);
    int64_t there = bytes_there(d, VM_CHECKPOINT) + bytes_there(d, VM_CHECKPOINT_PREVIOUS) +
                    vm_size_in(d, VM_WEIGHTS_FILE) + vm_size_in(d, VM_BEST_FILE);
    if (k->keeps_best) weights *= 2;
    int64_t need = 2 * one + weights - there, left = vm_free_bytes(d);
    if (need <= left) return VM_OK;
    return vm_fail(err, VM_ENV,
                   "'%s' has no room for this run: two checkpoints of %.0f KiB each and the "
                   "weights need %.0f KiB "
                   "more, %.0f KiB are free; --out DIR names a folder on another disk",
                   d->path, (double)one / 1024, (double)need / 1024, (double)left / 1024);
}

/* ---- loading ---- */

/* Opens one of the two tensor files and checks that it fits and is undamaged. */
static VmStatus open_checked(VmEngine *e, int program, VmRole role, const VmDir *d,
                             const char *name, const VmFileSum *want, VmTensorFile **f,
                             VmError *err) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    VmStatus s = check_file(d, name, want,
                            err); /* what is damaged is said to be, not what it then looks like */
    if (s == VM_OK) s = vm_tensors_open_in(d, name, path, f, err);
    if (s) return s;
    return vm_tensors_check(e, program, role, *f, path, err);
}

/* Of the first n files: one that is gone is damage; one that cannot be read is the environment's.
 */
static VmStatus check_there(const VmDir *d, int n, VmError *err) {
    static const char *const names[] = {VM_RECORD_FILE, VM_WEIGHTS_FILE, VM_STATE_FILE};
    for (int i = 0; i < n; i++)
        if (vm_there(d, names[i]) == VM_NOTHING)
            return vm_fail(err, VM_INPUT, "%s: damaged: %s is missing", d->path, names[i]);
    return VM_OK;
}

static VmStatus take_tensors(VmEngine *e, int program, const VmDir *d, const VmRecord *r,
                             VmError *err) {
    VmTensorFile *weights = NULL, *state = NULL;
    VmStatus s =
        open_checked(e, program, VM_ROLE_PARAM, d, VM_WEIGHTS_FILE, &r->weights, &weights, err);
    if (s == VM_OK && r->has_state != has_role(e, program, VM_ROLE_STATE))
        s = vm_fail(err, VM_INPUT, "%s: its optimizer has %sstate, that of the recipe has %s",
                    d->path, r->has_state ? "" : "no ", r->has_state ? "none" : "some");
    if (s == VM_OK && r->has_state)
        s = open_checked(e, program, VM_ROLE_STATE, d, VM_STATE_FILE, &r->state, &state, err);
    if (s == VM_OK) {
        s = vm_tensors_apply(e, program, VM_ROLE_PARAM, weights, d->path, err);
        if (s == VM_OK && state)
            s = vm_tensors_apply(e, program, VM_ROLE_STATE, state, d->path, err);
    }
    vm_tensors_close(weights);
    vm_tensors_close(state);
    return s;
}

/* What differs from this run; an error unless the user resumes anyway. */
static VmStatus compare(const VmCheckpoints *k, const VmDir *d, const VmRecordRun *was, bool anyway,
                        VmError *differences, VmError *err) {
    differences->text[0] = '\0';
    if (vm_record_differences(was, &k->run, differences->text, sizeof differences->text) == 0)
        return VM_OK;
    if (anyway) return VM_OK;
    return vm_fail(
        err, VM_USAGE,
        "cannot resume: %s belongs to another run:%.1500s\n  --resume=anyway goes on all the same",
        d->path, differences->text);
}

/* The position in a run that differs: the sums of its unfinished epoch are of other images, or
 * other losses. */
static void take_position(const VmRecord *r, bool same, VmRunState *s, VmRouting *routing) {
    VmRunState now = *s;
    *s = r->at;
    s->total = now.total;
    s->train_images = now.train_images;
    s->steps_per_epoch = now.steps_per_epoch;
    if (!same)
        s->sums = (VmSums){0};
    else if (routing)
        vm_routing_go_on(routing, r->routes);
}

static VmStatus load_from(VmCheckpoints *k, VmEngine *e, int program, const char *name, bool anyway,
                          VmRunState *s, VmError *differences, VmError *err) {
    VmDir d;
    VmRecord r = {0};
    VmRecordRun was = {0};
    if (vm_there(&k->folder->dir, name) == VM_NOTHING)
        return vm_fail(err, VM_USAGE, "there is no %s in '%s': --resume goes on from the last one",
                       name, k->folder->dir.path);
    VmStatus status = vm_dir_in(&d, &k->folder->dir, name, false, err);
    if (status) return status;
    status = check_there(&d, 1, err);
    if (status == VM_OK) status = vm_record_read(&d, &r, &was, err);
    if (status == VM_OK) status = check_there(&d, 2 + r.has_state, err);
    if (status == VM_OK) status = compare(k, &d, &was, anyway, differences, err);
    if (status == VM_OK) status = take_tensors(e, program, &d, &r, err);
    if (status == VM_OK) take_position(&r, !differences->text[0], s, k->routing);
    json_decref(r.routes);
    vm_record_free(&was);
    vm_dir_close(&d);
    return status;
}

/* Names the checkpoint before a damaged one, if it is good. */
static void offer_previous(const VmCheckpoints *k, VmError *err) {
    VmRecord r;
    if (!err || !is_good(k, VM_CHECKPOINT_PREVIOUS, &r)) return;
    size_t at = strlen(err->text);
    snprintf(err->text + at, sizeof err->text - at,
             "\n  the checkpoint before it, of step %" PRId64
             ", is undamaged: --resume=previous goes on from it",
             r.at.step);
}

/* The run goes on from the checkpoint before the newest, which becomes checkpoint.kept-1. At every
 * moment there is a checkpoint under one of the two names that are looked for. */
static VmStatus step_back(const VmCheckpoints *k, VmError *err) {
    const VmDir *d = &k->folder->dir;
    if (vm_there(d, VM_CHECKPOINT) == VM_NOTHING ||
        (keep_aside(d, VM_CHECKPOINT) && vm_rename_in(d, VM_CHECKPOINT_PREVIOUS, VM_CHECKPOINT)))
        return vm_dir_sync(d, err);
    return vm_fail(err, VM_ENV, "cannot move '%s/%s' aside: %s", d->path, VM_CHECKPOINT,
                   strerror(errno));
}

VmStatus vm_checkpoint_load(VmCheckpoints *k, VmEngine *e, int program, const VmResume *how,
                            VmRunState *s, VmError *differences, VmError *err) {
    bool newest = vm_there(&k->folder->dir, VM_CHECKPOINT) != VM_NOTHING;
    bool previous =
        how->previous || !newest; /* the newest is missing after a crash in mid-exchange */
    const char *name = previous ? VM_CHECKPOINT_PREVIOUS : VM_CHECKPOINT;
    VmStatus status = load_from(k, e, program, name, how->anyway, s, differences, err);
    if (status == VM_INPUT && !previous) offer_previous(k, err);
    return status == VM_OK && how->previous ? step_back(k, err) : status;
}
