/* vmoec build: a model's programs, its recipe and all that is known of it, as a program of its own.
 * Internal header of this folder, in the order things run. */
#ifndef VMOEC_DRIVER_BUILD_BUILD_H
#define VMOEC_DRIVER_BUILD_BUILD_H

#include "driver/commands/commands.h"
#include "runtime/train/about.h"
#include "trainer/built.h"

enum { BUILD_SIZES = 128 };
#define BUILD_WEIGHTS "weights.safetensors"

/* ---- which programs (wanted.c) --------------------------------------------------------------- */

typedef struct BuildProgram {
    VmBuiltUse use;
    const Program *program;
} BuildProgram;

typedef struct Build {
    Session *s;
    const Args *a;
    BuildProgram program[4 * BUILD_SIZES];
    int nprogram;
    const char *machine;  /* that is not this one, in GNU's words; NULL: this one */
    const char *compiler; /* of C, for that */
    const CgTarget *target;
    const char *const *needs; /* [nneeds]: of a CPU */
    int nneeds;
    int64_t weights_bytes; /* of the file that goes inside; 0: none does */
    const char *folder;    /* where objects are made */
    const char **object;   /* [nobject]: their paths */
    int nobject, objects_room;
    VmStatus status;               /* of writing them */
    bool lib;                      /* a library is made, not a program */
    bool module;                   /* a module of WebAssembly is, or a page */
    const char *const *class_name; /* [nclass_name], by label: of a module; as its weights say */
    int64_t nclass_name;
    const char *place, *name; /* of the library: its folder, and what its names begin with */
    VmPairs about;            /* what weights of a library say of themselves */
} Build;

/* Takes --target and --cpu in (machine.c). */
VmStatus build_choose(Build *b);

/* Plans a program for every use and size: those that the recipe's data need, if they are there, and
 * those of --batch. */
VmStatus build_plan(Build *b);

/* Has training fit --mem-budget, if that was given: before build_plan (fit.c). */
VmStatus build_fit(Build *b);

/* ---- C text (constants.c) -------------------------------------------------------------------- */

/* A C file that defines vm_built. */
void build_constants(Build *b, Text *out);
/* Its parts: declarations of the kernels; a program as program_<i>, for a C file that has
 * runtime/exec/abi.h. */
void build_kernels(const Build *b, Text *t);
void build_program(Build *b, Text *t, const VmProgram *p, int i);
/* A string constant with its quotes, "NULL" for none; the initialiser of a VmRecipe (values.c). */
void build_text(Text *t, const char *text);
void build_recipe(Text *t, const VmRecipe *r);

/* ---- files and tools (link.c) ---------------------------------------------------------------- */

/* A folder of its own for objects; removed with all that is in it by build_clean. */
VmStatus build_folder(Build *b);
void build_clean(Build *b);
const char *build_in_folder(const Build *b, const char *name);
/* Puts a copy of the weights beside them, after a look whether the model can have them. */
VmStatus build_weights(Build *b, const char *path);
/* A CgObjectSink; user is the Build. */
void build_object(void *build, const char *name, const void *data, size_t size);
/* Whether the program reads PNG and JPEG files. */
bool build_has_images(const Build *b);
/* What programs and libraries are linked with: a folder beside this program, or installed. */
VmStatus build_kit(const Build *b, const char **out);
/* VM_USAGE after a message when something else than what begins so, n <= 31 bytes, stands where a
 * result goes: a typo must not cost a file. */
VmStatus build_may_replace(const char *path, const char *begins, size_t n);
#define BUILD_ELF "\177ELF"
/* Copies a file; program: who may read it may run it. */
VmStatus build_copy(const char *from, const char *to, bool program);

/* A command line. */
typedef struct BuildWords {
    Arena *arena;
    char **at;
    int n, cap;
} BuildWords;
void build_word(BuildWords *w, const char *word);
void build_words(BuildWords *w, const char *const *list); /* to its NULL */
/* A tool's name, which a variable of the environment may change: CC, cc; another machine's begins
 * with its name. */
const char *build_tool_name(const Build *b, const char *variable, const char *usual);
/* The compiler's command line as far as all have it: `how` (to its NULL), the kit's headers,
 * model.c and the objects of the kernels. */
BuildWords build_compiler(const Build *b, const char *const *how, const char *kit);
/* Runs it in the build's folder, so that names in there need no quoting. Its messages are its own.
 */
VmStatus build_tool(const Build *b, BuildWords *w);

/* Compiles the constants and links them, the objects and the runtime into `path`. */
VmStatus build_link(Build *b, const Text *constants, const char *path);

/* ---- libraries (library.c, header.c) --------------------------------------------------------- */

/* Where the library goes and what it is called, from -o and --name. */
VmStatus build_library_name(Build *b);
/* Makes libNAME.a, libNAME.so and NAME.h. */
VmStatus build_library(Build *b, const Text *constants);
/* NAME.h, of the text of trainer/library/api.h. */
void build_header(Build *b, const char *api, Text *out);
/* The functions that api.h declares, to its NULL. */
const char *const *build_exports(Arena *a, const char *api);
/* "vmlib_step" -> "name_step", "VMLIB_OK" -> "NAME_OK" */
const char *build_renamed(const Build *b, const char *word);

/* ---- modules and pages (module.c, page.c) ---------------------------------------------------- */

/* Whether -o names a page or a module and may be written, and the other options go with that. */
VmStatus build_module_check(Build *b);
/* Plans the program that scores one image. */
VmStatus build_module_plan(Build *b);
/* Keeps the weights' numbers as the module has them, and their classes. They are in the engine. */
VmStatus build_module_weights(Build *b, VmEngine *e, int program, const VmAbout *about);
/* Makes the module, or a page around it. */
VmStatus build_module(Build *b, const char *out);
/* A page around a module of n bytes, of the kit's files. VM_ENV after a message. */
VmStatus build_page(Build *b, const char *kit, const char *module, size_t n, Text *out);
#define BUILD_PAGE "<!doctype html><!-- vmoec -->"

#endif
