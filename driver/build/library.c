/* vmoec build --lib: one object of the model's programs and of what they need of the runtime, in
 * which only the functions of its header are visible, as an archive and as a shared object.
 *
 * The functions are those of trainer/library/api.h under the library's own name, so that programs
 * can have several libraries. */
#include "driver/build/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

/* ---- where it goes, and its name ------------------------------------------------------------- */

/* Words of C and C++ that cannot be names, and names that C++ needs. */
static const char *const taken[] = {
    "alignas",   "alignof",  "and",      "asm",      "auto",     "bitand",   "bitor",   "bool",
    "break",     "case",     "catch",    "char",     "class",    "compl",    "concept", "const",
    "constexpr", "continue", "decltype", "default",  "delete",   "do",       "double",  "else",
    "enum",      "explicit", "export",   "extern",   "false",    "float",    "for",     "friend",
    "goto",      "if",       "inline",   "int",      "long",     "main",     "mutable", "namespace",
    "new",       "noexcept", "not",      "nullptr",  "operator", "or",       "private", "protected",
    "public",    "register", "requires", "restrict", "return",   "short",    "signed",  "sizeof",
    "static",    "std",      "struct",   "switch",   "template", "this",     "throw",   "true",
    "try",       "typedef",  "typeid",   "typename", "union",    "unsigned", "using",   "virtual",
    "void",      "volatile", "while",    "xor"};

static VmStatus check_name(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    bool good = *name && *name != '_' && !(*name >= '0' && *name <= '9') && strlen(name) <= 64 &&
                strspn(name, letters) == strlen(name);
    if (!good)
        return drv_fail(VM_USAGE,
                        "a library's name is letters, digits and _, begins with a letter and has "
                        "at most 64: '%.100s' is no such name, --name gives another",
                        name);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (!strcmp(name, taken[i]))
            return drv_fail(VM_USAGE, "'%s' means something else in C or C++: --name gives another",
                            name);
    return VM_OK;
}

VmStatus build_library_name(Build *b) {
    Arena *a = b->s->arena;
    const char *out = b->a->o.o, *slash = strrchr(out, '/');
    b->name = b->a->o.name ? b->a->o.name : b->s->model;
    if (drv_is_folder(out) || (slash && !slash[1])) {
        size_t n = strlen(out);
        while (n > 1 && out[n - 1] == '/') n--;
        b->place = arena_strndup(a, out, n);
    } else {
        b->place = !slash ? "." : slash == out ? "/" : arena_strndup(a, out, (size_t)(slash - out));
        if (!b->a->o.name) b->name = slash ? slash + 1 : out;
    }
    VmStatus st = check_name(b->name);
    VmDir d;
    VmError err = {.text = ""};
    if (st) return st;
    st = vm_dir_open(&d, b->place, true, &err);
    vm_dir_close(&d);
    if (st) return drv_fail(st, "%s", err.text);
    static const char archive[] = "!<arch>\n", header[] = "/* A model as a library:";
    st = build_may_replace(arena_printf(a, "%s/lib%s.a", b->place, b->name), archive,
                           strlen(archive));
    if (!st)
        st = build_may_replace(arena_printf(a, "%s/lib%s.so", b->place, b->name), BUILD_ELF,
                               strlen(BUILD_ELF));
    return st ? st
              : build_may_replace(arena_printf(a, "%s/%s.h", b->place, b->name), header,
                                  strlen(header));
}

/* ---- one object ------------------------------------------------------------------------------ */

/* Compiles the constants, joins them with kernels and runtime, and drops what no function needs. */
static VmStatus join(Build *b, const char *kit, const char *const *export) {
    static const char *const how[] = {"-std=c11",
                                      "-O1",
                                      "-fPIC",
                                      "-w",
                                      "-fvisibility=hidden",
                                      "-fstack-protector-strong",
                                      "-r",
                                      "-nostdlib",
                                      "-Wl,--strip-debug",
                                      "-Wl,--gc-sections",
                                      "-Wl,--force-group-allocation",
                                      NULL};
    BuildWords w = build_compiler(b, how, kit);
    for (; *export; export ++) build_word(&w, arena_printf(w.arena, "-Wl,-u,%s", *export));
    build_word(&w, arena_printf(w.arena, "%s/libvmoec-trainer.a", kit));
    build_word(&w, "-o");
    build_word(&w, "joined.o");
    return build_tool(b, &w);
}

/* Only the exported functions stay visible, under their new names. */
static VmStatus rename_all(Build *b, const char *const *export) {
    Arena *a = b->s->arena;
    Text keep = text_new(a), pairs = text_new(a), map = text_new(a);
    text_add(&map, "{ global:\n");
    for (; *export; export ++) {
        text_addf(&keep, "%s\n", *export);
        text_addf(&pairs, "%s %s\n", *export, build_renamed(b, *export));
        text_addf(&map, "%s;\n", build_renamed(b, *export));
    }
    text_add(&map, "local: *; };\n");
    VmStatus st = drv_write_file(build_in_folder(b, "keep"), keep.data, keep.len);
    if (!st) st = drv_write_file(build_in_folder(b, "pairs"), pairs.data, pairs.len);
    if (!st) st = drv_write_file(build_in_folder(b, "map"), map.data, map.len);
    const char *const first[] = {build_tool_name(b, "OBJCOPY", "objcopy"),
                                 "--keep-global-symbols=keep",
                                 "--strip-unneeded",
                                 "joined.o",
                                 "local.o",
                                 NULL};
    const char *const second[] = {first[0], "--redefine-syms=pairs", "local.o",
                                  arena_printf(a, "%s.o", b->name), NULL};
    BuildWords w = {.arena = a}, v = {.arena = a};
    build_words(&w, first);
    build_words(&v, second);
    if (!st) st = build_tool(b, &w);
    return st ? st : build_tool(b, &v);
}

static VmStatus archive(Build *b) {
    BuildWords w = {.arena = b->s->arena};
    const char *const words[] = {build_tool_name(b, "AR", "ar"), "rcsD", "library.a",
                                 arena_printf(w.arena, "%s.o", b->name), NULL};
    build_words(&w, words);
    return build_tool(b, &w);
}

static VmStatus share(Build *b) {
    BuildWords w = {.arena = b->s->arena};
    const char *const words[] = {build_tool_name(b, "CC", "cc"),
                                 "-shared",
                                 arena_printf(w.arena, "%s.o", b->name),
                                 "-Wl,--version-script=map",
                                 arena_printf(w.arena, "-Wl,-soname,lib%s.so", b->name),
                                 "-Wl,-z,relro,-z,now",
                                 "-Wl,-z,noexecstack",
                                 "-Wl,-z,text",
                                 "-Wl,-z,defs",
                                 "-Wl,--as-needed",
                                 "-Wl,-s",
                                 "-fopenmp",
                                 "-ljansson",
                                 "-lxxhash",
                                 "-lm",
                                 "-o",
                                 "library.so",
                                 NULL};
    build_words(&w, words);
    return build_tool(b, &w);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static VmStatus install(Build *b, const Text *header) {
    Arena *a = b->s->arena;
    VmStatus st = build_copy(build_in_folder(b, "library.a"),
                             arena_printf(a, "%s/lib%s.a", b->place, b->name), false);
    if (!st)
        st = build_copy(build_in_folder(b, "library.so"),
                        arena_printf(a, "%s/lib%s.so", b->place, b->name), true);
    if (st) return st;
    return drv_write_file(arena_printf(a, "%s/%s.h", b->place, b->name), header->data, header->len);
}

VmStatus build_library(Build *b, const Text *constants) {
    Arena *a = b->s->arena;
    const char *kit;
    char *api;
    size_t n;
    VmError err = {.text = ""};
    VmStatus st = build_kit(b, &kit);
    if (st) return st;
    st = vm_read_file(arena_printf(a, "%s/include/trainer/library/api.h", kit), &api, &n, &err);
    if (st) return drv_fail(st, "%s", err.text);
    Text header = text_new(a);
    build_header(b, api, &header);
    const char *const *export = build_exports(a, api);
    free(api);
    st = drv_write_file(build_in_folder(b, "model.c"), constants->data, constants->len);
    if (!st) st = join(b, kit, export);
    if (!st) st = rename_all(b, export);
    if (!st) st = archive(b);
    if (!st) st = share(b);
    return st ? st : install(b, &header);
}
