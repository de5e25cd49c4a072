/* vmoec new: a file to begin with, from a template, for data that is there. Never over another
 * file. */
#include "driver/commands/commands.h"

#include <ctype.h>
#include <string.h>

#include "base/file.h"

static VmStatus list(const Args *a) {
    const char *models;
    SessionTemplate *all;
    VmStatus st = a->noperand ? drv_fail(VM_USAGE, "--list takes no name") : VM_OK;
    if (!st) st = drv_models(a->arena, &models);
    if (st) return st;
    int n = session_templates(a->arena, models, &all);
    for (int i = 0; i < n; i++) printf("%-12s %s\n", all[i].name, all[i].about);
    return VM_OK;
}

/* The name without the ending, which may be typed, too. */
static VmStatus take_name(const Args *a, const char **name) {
    if (!a->noperand)
        return drv_fail(VM_USAGE, "new needs NAME, what the file will be called (vmoec help new)");
    const char *given = a->operand[0];
    size_t n = strlen(given);
    if (n > 5 && !strcmp(given + n - 5, ".vmoe")) n -= 5;
    *name = arena_strndup(a->arena, given, n);
    bool good = n > 0 && n <= 200 && **name != '-';
    for (const char *p = *name; *p && good; p++)
        good = isalnum((unsigned char)*p) || *p == '-' || *p == '_';
    if (good) return VM_OK;
    return drv_fail(VM_USAGE, "'%s' is no name for a file in this folder: letters, digits, - and _",
                    given);
}

/* Complete, and over nothing. */
static VmStatus write_new(const char *file, const Text *t) {
    VmDir here;
    VmFile w;
    VmError err = {.text = ""};
    VmStatus st = vm_dir_open(&here, ".", false, &err);
    if (!st) st = vm_file_begin_in(&w, &here, file, &err);
    if (!st) {
        w.fresh = true;
        fwrite(t->data, 1, t->len, w.f);
        st = vm_file_commit(&w, &err);
    }
    vm_dir_close(&here);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

static VmStatus check_fresh(const char *file) {
    VmDir here;
    VmError err = {.text = ""};
    if (vm_dir_open(&here, ".", false, &err)) return drv_fail(VM_ENV, "%s", err.text);
    VmThere there = vm_there(&here, file);
    vm_dir_close(&here);
    if (there == VM_NOTHING) return VM_OK;
    return drv_fail(VM_USAGE, "%s is there already: give the new file another name", file);
}

static void say(const Args *a, const char *file, const SessionFilled *f) {
    printf("%s is written", file);
    if (a->o.data)
        printf(" for %lld classes, %lld images to learn from and %lld to be tried on",
               (long long)f->classes, (long long)f->images[VM_TRAIN],
               (long long)f->images[VM_TEST]);
    printf("; next:\n  vmoec check %s\n  vmoec train %s\n", file, file);
}

static VmStatus make(const Args *a, const VmoecOptions *o, const char *name) {
    Session s;
    SessionFilled filled;
    Text t = text_new(a->arena);
    const char *file = arena_printf(a->arena, "%s.vmoe", name);
    const char *template = a->o.template ? a->o.template : "photos";
    VmStatus st = check_fresh(file);
    if (st) return st;
    session_init(&s, o);
    st = session_template_fill(&s, o, template, name, a->o.data, &t, &filled);
    if (!st) st = write_new(file, &t);
    if (!st) say(a, file, &filled);
    session_close(&s);
    return st;
}

VmStatus cmd_new(const Args *a) {
    const char *name = NULL;
    VmoecOptions o;
    if (a->o.list) return list(a);
    VmStatus st = take_name(a, &name);
    if (!st) st = drv_options(a, &o);
    return st ? st : make(a, &o, name);
}
