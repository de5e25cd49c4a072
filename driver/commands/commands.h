/* The command line program: internal header of this folder, in the order things run. Commands
 * return a VmStatus, which is also the exit code: 0 done, 1 the input is wrong, 2 the command line
 * is wrong, 3 the environment failed. Messages go to stderr, results to stdout. */
#ifndef VMOEC_DRIVER_COMMANDS_COMMANDS_H
#define VMOEC_DRIVER_COMMANDS_COMMANDS_H

#include "base/json.h"
#include "cli/cli.h"
#include "driver/session/session.h"

/* Commands: VmStatus cmd_<name>, in a file of its name here or in driver/bench. */
#define CMD(name, ...) VmStatus cmd_##name(const Args *a);
#include "cli/options.def"

/* ---- the source's repository (commit.c) ------------------------------------------------------ */

/* The commit of the git repository that a file lies in, with "-dirty" behind it if anything that is
 * tracked has changed since; NULL: it lies in none, or there is no git. */
const char *drv_source_commit(Arena *a, const char *path);

/* ---- standard input (input.c) ---------------------------------------------------------------- */

#define DRV_STDIN "<stdin>" /* what messages call it */
enum { DRV_STDIN_MAX = 16 << 20 };

/* All of a stream, fewer than `most` bytes. NULL with err filled in: VM_ENV when it cannot be read,
 * VM_INPUT for what is no text. */
const char *drv_read_stream(Arena *a, FILE *f, const char *name, size_t most, VmError *err);
/* A file, or standard input for "-", which can be read once. NULL with err filled in. */
Source *drv_source(Arena *a, const char *path, VmError *err);
/* Where o->path is "-": its text, and a name for messages. */
VmStatus drv_stdin_text(Arena *a, VmoecOptions *o, VmError *err);

/* ---- standard error as a terminal (terminal.c) ----------------------------------------------- */

/* Whether messages have colours: on a terminal that is not "dumb", unless NO_COLOR or CLICOLOR=0
 * say no; elsewhere only with CLICOLOR_FORCE. NO_COLOR counts most. */
bool drv_colour(void);
int drv_columns(void); /* 0: not a terminal, or it does not say */
/* All of d on stderr, as that takes them. */
void drv_print_diags(Diags *d);

/* ---- sessions (open.c, times.c) -------------------------------------------------------------- */

/* A session without a file (session_init) with the options that count for one. */
void drv_init(const Args *a, Session *s);
/* The folder of layer libraries: VMOEC_MODELS, or ../share/vmoec/models or ../models, seen from the
 * program's folder. VM_ENV after a message when it is not there. */
VmStatus drv_models(Arena *a, const char **dir);
/* What the options that commands share say: file, model, --set, precision, batch, blocks, cache.
 * Its messages are printed on stderr as they come. Fails without layer libraries. */
VmStatus drv_options(const Args *a, VmoecOptions *o);
/* Opens a session over them (session_open); after a failure it is closed. */
VmStatus drv_open(const Args *a, bool need_train, Session *s);
/* target NULL: this machine; else what is planned can be printed and not run. */
VmStatus drv_open_with(const Args *a, const VmoecOptions *o, const CgTarget *target,
                       bool need_train, Session *s);

/* For commands that give weights other names and shapes: the option that names the rules and, but
 * for
 * --dry-run, -o are required. No code is made, so any machine will do. */
VmStatus drv_open_rules(const Args *a, OptId rules, Session *s);

/* A program with the weights of a graph and nothing to run (init.c). */
VmProgram *drv_weights_program(Arena *a, const IrGraph *g);

/* The --time report, on stderr. */
void drv_print_times(const Session *s);

/* ---- products of a step (matmuls.c) ---------------------------------------------------------- */

/* A distinct matrix product as `bench --kernel` takes it, and how often a step needs it. */
typedef struct Matmul {
    const char *text;
    int calls;
} Matmul;

/* Those of a graph of CORE ops, in order of first use; returns how many. */
int count_matmuls(Arena *a, const IrGraph *g, Matmul **out);

#endif
