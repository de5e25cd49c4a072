/* Checkpoints: OUT/checkpoint/ with weights.safetensors, state.safetensors (if the optimizer has state) and
 * trainer.json. The folder is complete or absent: it is written beside its place, synced, and exchanged with
 * the old one by a single rename. Checksums in trainer.json tell a damaged file from a good one.
 *
 * Where the file system cannot exchange two folders, the old one is OUT/checkpoint.old for a moment; a run
 * that finds only that one takes it.
 *
 * Does not: decide when to save. */
#include "runtime/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_CAP = 1024, FORMAT = 1 };

static VmStatus too_long(const char *dir, VmError *err) {
    return vm_fail(err, VM_ENV, "folder name '%s' is too long", dir);
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static bool has_role(VmEngine *e, int program, VmRole role) {
    const VmProgram *p = vm_engine_program(e, program);
    for (int i = 0; i < p->ntensor; i++) {
        if (p->tensor[i].role == (int32_t)role) return true;
    }
    return false;
}

/* ---- trainer.json ---- */

/* What must be equal for a resumed run to be the same run. Caller releases. */
static json_t *identity(const VmTrainConfig *c, const VmRunState *s) {
    json_t *o = json_pack("{s:s, s:I, s:I, s:b, s:b, s:i, s:f, s:f, s:I, s:f, s:f, s:I}", "phase", c->phase,
                          "batch", (json_int_t)c->batch, "seed", (json_int_t)c->seed, "shuffle", c->shuffle,
                          "drop_last", c->drop_last, "schedule", c->schedule, "lr_peak", c->lr_peak, "lr_min",
                          c->lr_min, "warmup_steps", (json_int_t)c->warmup_steps, "beta1", c->beta1, "beta2",
                          c->beta2, "train_images", (json_int_t)s->train_images);
    /* A constant rate does not depend on the run's length, so such a run may be continued for longer. */
    if (o && c->schedule != 0) json_object_set_new(o, "steps", json_integer(s->total));
    json_t *config = json_object();
    for (int i = 0; i < c->nconfig; i++)
        json_object_set_new(config, c->config_name[i], json_string(c->config_value[i]));
    if (o) {
        json_object_set_new(o, "config", config);
    } else {
        json_decref(config);
    }
    return o;
}

static VmStatus write_json(const char *dir, json_t *o, VmError *err) {
    char path[PATH_CAP];
    VmFile w;
    if (!vm_path_join(path, sizeof path, dir, "trainer.json")) return too_long(dir, err);
    VmStatus s = vm_file_begin(&w, path, err);
    if (s) return s;
    if (json_dumpf(o, w.f, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) != 0 || fputc('\n', w.f) == EOF) {
        vm_file_abandon(&w);
        return vm_fail(err, VM_ENV, "cannot write '%s'", path);
    }
    return vm_file_commit(&w, err);
}

static VmStatus write_position(VmEngine *e, int program, const VmTrainConfig *c, const VmRunState *s,
                               const char *dir, VmError *err) {
    json_t *id = identity(c, s);
    if (!id) return vm_fail(err, VM_ENV, "out of memory, or a setting of the run is not a finite number");
    json_t *o =
        json_pack("{s:i, s:I, s:I, s:I, s:o, s:s, s:I, s:I, s:{s:f, s:f, s:f, s:I, s:I}}", "format", FORMAT,
                  "step", (json_int_t)s->step, "epoch", (json_int_t)(s->step / s->steps_per_epoch),
                  "steps_per_epoch", (json_int_t)s->steps_per_epoch, "run", id, "weights_from", s->weights,
                  "weights_crc32", (json_int_t)vm_tensors_checksum(e, program, VM_ROLE_PARAM, NULL),
                  "state_crc32", (json_int_t)vm_tensors_checksum(e, program, VM_ROLE_STATE, NULL),
                  "unfinished_epoch", "loss", s->loss_sum, "objective", s->objective_sum, "correct",
                  s->correct_sum, "batches", (json_int_t)s->batches, "images", (json_int_t)s->images);
    if (!o) return vm_fail(err, VM_ENV, "out of memory, or a sum of losses is not a finite number");
    VmStatus status = write_json(dir, o, err);
    json_decref(o);
    return status;
}

/* ---- saving ---- */

static VmStatus write_files(VmEngine *e, int program, const VmTrainConfig *c, const VmRunState *s,
                            const char *dir, VmError *err) {
    char path[PATH_CAP];
    if (!vm_path_join(path, sizeof path, dir, "weights.safetensors")) return too_long(dir, err);
    VmStatus status = vm_tensors_save_role(e, program, VM_ROLE_PARAM, path, err);
    if (status) return status;
    if (has_role(e, program, VM_ROLE_STATE)) {
        if (!vm_path_join(path, sizeof path, dir, "state.safetensors")) return too_long(dir, err);
        status = vm_tensors_save_role(e, program, VM_ROLE_STATE, path, err);
        if (status) return status;
    }
    status = write_position(e, program, c, s, dir, err);
    return status ? status : vm_sync_dir(dir, err);
}

/* Puts the finished folder `fresh` at `place`; what stood there is removed. */
static VmStatus put_in_place(const char *out_dir, const char *fresh, const char *place, VmError *err) {
    char old[PATH_CAP];
    if (!vm_path_join(old, sizeof old, out_dir, "checkpoint.old")) return too_long(out_dir, err);
    const char *leftover = fresh;
    bool ok;
    if (!exists(place)) {
        ok = rename(fresh, place) == 0;
        leftover = old;
    } else {
        ok = renameat2(AT_FDCWD, fresh, AT_FDCWD, place, RENAME_EXCHANGE) == 0;
        if (!ok && (errno == EINVAL || errno == ENOSYS)) {
            vm_remove_dir(old);
            ok = rename(place, old) == 0 && rename(fresh, place) == 0;
            leftover = old;
        }
    }
    if (!ok) return vm_fail(err, VM_ENV, "cannot replace '%s': %s", place, strerror(errno));
    VmStatus s = vm_sync_dir(out_dir, err);
    vm_remove_dir(leftover);
    return s;
}

VmStatus vm_checkpoint_save(VmEngine *e, int program, const VmTrainConfig *c, const VmRunState *s,
                            VmError *err) {
    char fresh[PATH_CAP], place[PATH_CAP], name[64];
    snprintf(name, sizeof name, "checkpoint.tmp-%ld", (long)getpid());
    if (!vm_path_join(fresh, sizeof fresh, c->out_dir, name) ||
        !vm_path_join(place, sizeof place, c->out_dir, "checkpoint")) {
        return too_long(c->out_dir, err);
    }
    vm_remove_dir(fresh);
    if (mkdir(fresh, 0777) != 0) {
        return vm_fail(err, VM_ENV, "cannot create folder '%s': %s", fresh, strerror(errno));
    }
    VmStatus status = write_files(e, program, c, s, fresh, err);
    if (status == VM_OK) status = put_in_place(c->out_dir, fresh, place, err);
    if (status) vm_remove_dir(fresh);
    return status;
}

/* ---- loading ---- */

static VmStatus run_differs(const char *path, const char *key, const json_t *before, const json_t *now,
                            VmError *err) {
    char *a = before ? json_dumps(before, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    char *b = now ? json_dumps(now, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    VmStatus s = vm_fail(err, VM_USAGE, "cannot resume: %s was made with %s = %s, this run has %s", path, key,
                         a ? a : "nothing", b ? b : "nothing");
    free(a);
    free(b);
    return s;
}

/* Both ways, so that an entry only one of them has is found too. */
static VmStatus compare_objects(json_t *was, json_t *is, const char *path, VmError *err) {
    const char *key;
    json_t *value;
    json_object_foreach(is, key, value) {
        json_t *before = json_object_get(was, key);
        if (json_is_object(before) && json_is_object(value)) continue;
        if (!json_equal(before, value)) return run_differs(path, key, before, value, err);
    }
    json_object_foreach(was, key, value) {
        if (!json_object_get(is, key)) return run_differs(path, key, value, NULL, err);
    }
    return VM_OK;
}

static VmStatus compare_run(json_t *was, json_t *is, const char *path, VmError *err) {
    VmStatus s = compare_objects(was, is, path, err);
    return s ? s : compare_objects(json_object_get(was, "config"), json_object_get(is, "config"), path, err);
}

static bool get_int(const json_t *o, const char *key, int64_t *out) {
    const json_t *v = json_object_get(o, key);
    *out = json_integer_value(v);
    return json_is_integer(v) && *out >= 0;
}

static VmStatus parse_position(const json_t *o, const VmTrainConfig *c, VmRunState *s, int64_t crc[2],
                               const char *path, VmError *err) {
    int64_t format, per_epoch;
    const json_t *sums = json_object_get(o, "unfinished_epoch");
    if (!get_int(o, "format", &format) || format != FORMAT) {
        return vm_fail(err, VM_INPUT, "%s: not a checkpoint of a version this program knows (%d)", path,
                       FORMAT);
    }
    if (!get_int(o, "step", &s->step) || !get_int(o, "steps_per_epoch", &per_epoch) ||
        !get_int(o, "weights_crc32", &crc[0]) || !get_int(o, "state_crc32", &crc[1]) ||
        !get_int(sums, "batches", &s->batches) || !get_int(sums, "images", &s->images)) {
        return vm_fail(err, VM_INPUT, "%s: entries are missing or not whole numbers", path);
    }
    /* Beside "run" because it is not compared: whoever resumes has these weights, and says of no others. */
    const char *from = json_string_value(json_object_get(o, "weights_from"));
    if (from && strlen(from) < sizeof s->weights) snprintf(s->weights, sizeof s->weights, "%s", from);
    s->loss_sum = json_number_value(json_object_get(sums, "loss"));
    s->objective_sum = json_number_value(json_object_get(sums, "objective"));
    s->correct_sum = json_number_value(json_object_get(sums, "correct"));
    json_t *id = identity(c, s);
    if (!id) return vm_fail(err, VM_ENV, "out of memory, or a setting of the run is not a finite number");
    VmStatus status = compare_run(json_object_get(o, "run"), id, path, err);
    json_decref(id);
    if (status) return status;
    if (per_epoch != s->steps_per_epoch)
        return vm_fail(err, VM_INPUT, "%s: inconsistent steps per epoch", path);
    /* A constant rate may have been trained for longer than it now is asked to. */
    if (c->schedule != 0 && s->step > s->total)
        return vm_fail(err, VM_INPUT, "%s: at step %" PRId64 " of a run of %" PRId64 " steps", path, s->step,
                       s->total);
    return VM_OK;
}

static VmStatus read_position(const char *dir, const VmTrainConfig *c, VmRunState *s, int64_t crc[2],
                              VmError *err) {
    char path[PATH_CAP], *text;
    size_t size;
    if (!vm_path_join(path, sizeof path, dir, "trainer.json")) return too_long(dir, err);
    VmStatus status = vm_read_file(path, &text, &size, err);
    if (status) return status;
    json_error_t why;
    json_t *o = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!o) return vm_fail(err, VM_INPUT, "%s: not valid JSON: %s", path, why.text);
    status = parse_position(o, c, s, crc, path, err);
    json_decref(o);
    return status;
}

/* Opens one of the two tensor files and checks that it fits and is undamaged. */
static VmStatus open_checked(VmEngine *e, int program, VmRole role, const char *dir, const char *name,
                             int64_t crc, VmTensorFile **f, VmError *err) {
    char path[PATH_CAP];
    *f = NULL;
    if (!has_role(e, program, role)) return VM_OK;
    if (!vm_path_join(path, sizeof path, dir, name)) return too_long(dir, err);
    VmStatus s = vm_tensors_open(path, f, err);
    if (s) return s;
    s = vm_tensors_check(e, program, role, *f, path, err);
    if (s) return s;
    if (vm_tensors_checksum(e, program, role, *f) == (uint64_t)crc) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: damaged: its contents do not match the checksum in trainer.json",
                   path);
}

VmStatus vm_checkpoint_load(VmEngine *e, int program, const VmTrainConfig *c, VmRunState *s, bool *found,
                            VmError *err) {
    char dir[PATH_CAP];
    *found = false;
    if (!vm_path_join(dir, sizeof dir, c->out_dir, "checkpoint")) return too_long(c->out_dir, err);
    if (!exists(dir)) return VM_OK;
    VmRunState read = *s;
    int64_t crc[2] = {0, 0};
    VmStatus status = read_position(dir, c, &read, crc, err);
    if (status) return status;
    VmTensorFile *weights = NULL, *state = NULL;
    status = open_checked(e, program, VM_ROLE_PARAM, dir, "weights.safetensors", crc[0], &weights, err);
    if (status == VM_OK) {
        status = open_checked(e, program, VM_ROLE_STATE, dir, "state.safetensors", crc[1], &state, err);
    }
    if (status == VM_OK) {
        if (weights) vm_tensors_apply(e, program, VM_ROLE_PARAM, weights);
        if (state) vm_tensors_apply(e, program, VM_ROLE_STATE, state);
        *s = read;
        *found = true;
    }
    vm_tensors_close(weights);
    vm_tensors_close(state);
    return status;
}

/* ---- before a run ---- */

/* Half-written folders of processes that no longer run. */
static void remove_leftovers(const char *out_dir) {
    const char prefix[] = "checkpoint.tmp-";
    DIR *d = opendir(out_dir);
    if (!d) return;
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0) continue;
        long pid = strtol(entry->d_name + sizeof prefix - 1, NULL, 10);
        char path[PATH_CAP];
        bool dead = pid > 0 && (pid == (long)getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH));
        if (dead && vm_path_join(path, sizeof path, out_dir, entry->d_name)) vm_remove_dir(path);
    }
    closedir(d);
}

VmStatus vm_checkpoint_prepare(const VmTrainConfig *c, VmError *err) {
    char place[PATH_CAP], old[PATH_CAP], previous[PATH_CAP];
    if (!vm_path_join(place, sizeof place, c->out_dir, "checkpoint") ||
        !vm_path_join(old, sizeof old, c->out_dir, "checkpoint.old") ||
        !vm_path_join(previous, sizeof previous, c->out_dir, "checkpoint.previous")) {
        return too_long(c->out_dir, err);
    }
    remove_leftovers(c->out_dir);
    if (exists(place)) {
        vm_remove_dir(old);
    } else if (exists(old) && rename(old, place) != 0) {
        return vm_fail(err, VM_ENV, "cannot rename '%s' to '%s': %s", old, place, strerror(errno));
    }
    if (c->resume || !exists(place)) return VM_OK;
    vm_remove_dir(previous);
    if (rename(place, previous) == 0) return VM_OK;
    return vm_fail(err, VM_ENV, "cannot rename '%s' to '%s': %s", place, previous, strerror(errno));
}
