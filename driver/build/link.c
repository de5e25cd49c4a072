/* Files of a build, and the compiler driver that makes a program of them: `cc`, for another
 * machine that of its row in machines.def, or what CC names. What it needs of ours, headers and the
 * runtime as an archive, is the kit: a folder beside the program, or where it was installed. That
 * of another machine also has the libraries. */
#include "driver/build/build.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/vec.h"

/* ---- the folder ------------------------------------------------------------------------------ */

VmStatus build_folder(Build *b) {
    const char *tmp = getenv("TMPDIR");
    char *path = arena_printf(b->s->arena, "%s/vmoec-build-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        return drv_fail(VM_ENV, "cannot make a folder '%s': %s", path, strerror(errno));
    b->folder = path;
    return VM_OK;
}

void build_clean(Build *b) {
    if (!b->folder) return;
    DIR *d = opendir(b->folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.') (void)unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
    (void)rmdir(b->folder);
}

const char *build_in_folder(const Build *b, const char *name) {
    return arena_printf(b->s->arena, "%s/%s", b->folder, name);
}

void build_object(void *build, const char *name, const void *data, size_t size) {
    Build *b = build;
    Arena *a = b->s->arena;
    const char *file = arena_printf(a, "%s.o", name);
    if (b->status) return;
    b->status = drv_write_file(build_in_folder(b, file), data, size);
    VEC_ROOM(a, b->object, b->nobject, b->objects_room);
    b->object[b->nobject++] = file;
}

/* ---- the kit --------------------------------------------------------------------------------- */

VmStatus build_kit(const Build *b, const char **out) {
    static const char *const place[] = {"kit", "../lib/vmoec/kit"};
    Arena *a = b->s->arena;
    const char *dash = b->machine ? "-" : "", *machine = b->machine ? b->machine : "";
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        *out = arena_printf(a, "%s/%s%s%s", exe, place[i], dash, machine);
        if (drv_is_folder(*out)) return VM_OK;
    }
    return drv_fail(VM_ENV,
                    "the kit for programs, '%s/kit%s%s', is not there: `make%s%s` builds it", exe,
                    dash, machine, *machine ? " kit TARGET=" : "", machine);
}

/* ---- the compiler driver --------------------------------------------------------------------- */

void build_word(BuildWords *w, const char *word) {
    VEC_ROOM(w->arena, w->at, w->n, w->cap);
    w->at[w->n++] = word ? arena_strdup(w->arena, word) : NULL;
}

void build_words(BuildWords *w, const char *const *list) {
    while (*list) build_word(w, *list++);
}

const char *build_tool_name(const Build *b, const char *variable, const char *usual) {
    const char *name = getenv(variable);
    if (name && *name) return name;
    if (!b->machine) return usual;
    return strcmp(usual, "cc") ? arena_printf(b->s->arena, "%s-%s", b->machine, usual)
                               : b->compiler;
}

BuildWords build_compiler(const Build *b, const char *const *how, const char *kit) {
    BuildWords w = {.arena = b->s->arena};
    build_word(&w, build_tool_name(b, "CC", "cc"));
    build_words(&w, how);
    build_word(&w, arena_printf(w.arena, "-I%s/include", kit));
    build_word(&w, "model.c");
    for (int i = 0; i < b->nobject; i++) build_word(&w, b->object[i]);
    return w;
}

VmStatus build_tool(const Build *b, BuildWords *w) {
    extern char **environ;
    posix_spawn_file_actions_t files;
    pid_t pid;
    bool cc = !strcmp(w->at[0], build_tool_name(b, "CC", "cc"));
    int status, e = posix_spawn_file_actions_init(&files);
    build_word(w, NULL);
    if (!e) e = posix_spawn_file_actions_addchdir_np(&files, b->folder);
    if (!e) e = posix_spawnp(&pid, w->at[0], &files, NULL, w->at, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    if (e)
        return drv_fail(VM_ENV, "cannot run %s'%s', which links %s: %s",
                        cc ? "the C compiler " : "", w->at[0],
                        b->module ? "modules"
                        : b->lib  ? "libraries"
                                  : "programs",
                        strerror(e));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return drv_fail(VM_ENV, "lost '%s': %s", w->at[0], strerror(errno));
    if (WIFEXITED(status) && !WEXITSTATUS(status)) return VM_OK;
    return drv_fail(VM_ENV, "'%s' could not make the %s%s", w->at[0],
                    b->module ? "module"
                    : b->lib  ? "library"
                              : "program",
                    b->a->o.static__link ? "; --static needs all libraries as lib*.a" : "");
}

static const char *const compile[] = {
    "-std=c11", "-O1", "-fPIE", "-pie", "-w", "-fstack-protector-strong", NULL};
static const char *const harden[] = {"-Wl,-z,relro,-z,now",
                                     "-Wl,-z,noexecstack",
                                     "-Wl,-z,text",
                                     "-Wl,--gc-sections",
                                     "-Wl,--as-needed",
                                     "-Wl,-s",
                                     NULL};
static const char *const of_images[] = {"-larchive", "-lturbojpeg", "-lspng", NULL};
static const char *const libraries[] = {"-fopenmp", "-ljansson", "-lz", "-lxxhash", "-lm", NULL};

bool build_has_images(const Build *b) {
    enum { NUMBERS, IMAGES };
    static const int files_of[VM_READERS] = {
#define READER(name, files) [VM_READER_##name] = files,
#define SOURCE(...)
#include "recipe/sources.def"
    };
    VmReaderId reader = vm_sources[b->s->train->recipe.data.kind].reader;
    return b->a->o.images || files_of[reader] == IMAGES;
}

VmStatus build_may_replace(const char *path, const char *begins, size_t n) {
    struct stat there;
    char found[32] = "";
    if (stat(path, &there) || !S_ISREG(there.st_mode) || !there.st_size) return VM_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ours = fd >= 0 && read(fd, found, n) == (ssize_t)n && !memcmp(found, begins, n);
    if (fd >= 0) close(fd);
    if (ours) return VM_OK;
    return drv_fail(VM_USAGE, "'%s' is there and was not built: it is not written over", path);
}

/* A file that whoever may read it may also run. */
static VmStatus make_program(const char *path) {
    struct stat s;
    if (!stat(path, &s) && !chmod(path, s.st_mode | (s.st_mode & 0444) >> 2)) return VM_OK;
    return drv_fail(VM_ENV, "cannot make '%s' a program: %s", path, strerror(errno));
}

VmStatus build_copy(const char *from, const char *to, bool program) {
    char *data;
    size_t n;
    VmError err = {.text = ""};
    VmStatus st = vm_read_file(from, &data, &n, &err);
    if (st) return drv_fail(st, "%s", err.text);
    st = drv_write_file(to, data, n);
    free(data);
    return st || !program ? st : make_program(to);
}

VmStatus build_link(Build *b, const Text *constants, const char *path) {
    const char *kit;
    VmStatus st = build_kit(b, &kit);
    if (!st) st = drv_write_file(build_in_folder(b, "model.c"), constants->data, constants->len);
    if (st) return st;
    BuildWords w = build_compiler(b, compile, kit);
    build_word(&w, arena_printf(w.arena, "%s/libvmoec-trainer.a", kit));
    build_words(&w, harden);
    if (b->a->o.static__link) build_word(&w, "-static-pie");
    if (build_has_images(b)) build_words(&w, of_images);
    if (b->machine) build_word(&w, arena_printf(w.arena, "-L%s", kit));
    build_words(&w, libraries);
    build_word(&w, "-o");
    build_word(&w, "program");
    st = build_tool(b, &w);
    return st ? st : build_copy(build_in_folder(b, "program"), path, true);
}
