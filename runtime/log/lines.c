/* Files of whole lines: flushed at once, so that a run can be watched and a killed one leaves all
 * it said.
 *
 * Does not: know what a line means; the sink whose file it is says so. */
#include "runtime/log/lines.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static VmStatus cannot_write(const VmLines *l, int why, VmError *err) {
    return vm_fail(err, VM_ENV, "cannot write '%s/%s': %s", l->dir->path, l->name, strerror(why));
}

/* What a file's lines are to a run that goes on, seen so far. */
typedef struct Seen {
    int64_t line, good;
    int64_t bad;  /* the first bad line; 0: none */
    int64_t lost; /* the first that has zeros, where sectors did not reach the disk; 0: none */
} Seen;

/* What a crash of the machine left half written stands at the end, perhaps with lines behind it
 * that a checkpoint does not count on: what it counts on was on the disk before it. A bad line with
 * a good one behind it is damage, and so are zeros with a line behind them that was counted on.
 * 0, or the line that is damage. */
static int64_t see(Seen *s, VmLineKind kind, bool zeros) {
    s->line++;
    s->good += kind != VM_LINE_BAD;
    if (kind == VM_LINE_BAD) {
        if (zeros && !s->bad && !s->lost) s->lost = s->line;
        if (!s->lost && !s->bad) s->bad = s->line;
        return 0;
    }
    return s->bad ? s->bad : kind == VM_LINE_KEPT ? s->lost : 0;
}

/* Copies the lines that stay. */
static VmStatus copy_lines(const VmLines *l, const char *text, size_t size, VmLogKept keep,
                           VmLineRule *rule, FILE *to, VmError *err) {
    Seen seen = {0};
    for (const char *p = text, *end = text + size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline) break;
        size_t n = (size_t)(newline - p);
        VmLineKind kind = rule(p, n, keep);
        if (kind == VM_LINE_NO_MEMORY)
            return vm_fail(err, VM_ENV, "out of memory reading %s", l->name);
        int64_t damage = see(&seen, kind, memchr(p, '\0', n) != NULL);
        if (damage)
            return vm_fail(err, VM_INPUT,
                           "%s/%s: damaged: line %" PRId64
                           " is no event; mend it or move the file away to go on without it",
                           l->dir->path, l->name, damage);
        bool stays = kind == VM_LINE_KEPT || kind == VM_LINE_ASIDE;
        if (stays && !seen.lost) fwrite(p, 1, n + 1, to);
        p = newline + 1;
    }
    if (seen.good || !seen.line) return VM_OK;
    return vm_fail(err, VM_INPUT,
                   "%s/%s: no line of it is an event: it is no log of a run; move it away",
                   l->dir->path, l->name);
}

static VmStatus keep_lines(const VmLines *l, VmLogKept keep, VmLineRule *rule, VmError *err) {
    char *text;
    size_t size;
    if (vm_there(l->dir, l->name) == VM_NOTHING) return VM_OK; /* nothing to keep */
    VmStatus s = vm_read_in(l->dir, l->name, &text, &size, err);
    if (s) return s;
    VmFile w;
    s = vm_file_begin_in(&w, l->dir, l->name, err);
    if (s == VM_OK) {
        s = copy_lines(l, text, size, keep, rule, w.f, err);
        if (s == VM_OK)
            s = vm_file_commit(&w, err);
        else
            vm_file_abandon(&w);
    }
    free(text);
    return s;
}

VmStatus vm_lines_open(VmLines *l, const VmDir *dir, const char *name, VmLogKept keep,
                       VmLineRule *rule, VmError *err) {
    *l = (VmLines){.dir = dir, .name = name};
    VmStatus s = keep.step >= 0 ? keep_lines(l, keep, rule, err) : VM_OK;
    return s ? s : vm_append_in(&l->f, dir, name, keep.step >= 0, err);
}

VmStatus vm_lines_write(VmLines *l, const char *text, VmError *err) {
    if (!text) return vm_fail(err, VM_ENV, "out of memory for a line of %s", l->name);
    bool ok = fputs(text, l->f) >= 0 && fputc('\n', l->f) != EOF && fflush(l->f) == 0;
    return ok ? VM_OK : cannot_write(l, errno, err);
}

VmStatus vm_lines_sync(VmLines *l, VmError *err) {
    return fdatasync(fileno(l->f)) == 0 || errno == EINVAL ? VM_OK : cannot_write(l, errno, err);
}

VmStatus vm_lines_close(VmLines *l, VmError *err) {
    bool ok = fclose(l->f) == 0;
    l->f = NULL;
    return ok ? VM_OK : cannot_write(l, errno, err);
}
