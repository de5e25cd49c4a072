/* The command line program: internal header of this folder, in the order things run. Commands
 * return a VmStatus, which is also the exit code: 0 done, 1 the input is wrong, 2 the command line
 * is wrong, 3 the environment failed. Messages go to stderr, results to stdout. */
#ifndef VMOEC_DRIVER_COMMANDS_COMMANDS_H
#define VMOEC_DRIVER_COMMANDS_COMMANDS_H

#include "base/json.h"
#include "driver/session/session.h"

/* ---- command line (options.c, from options.def) --------------------------------------------- */

typedef enum CmdId {
#define CMD(name, ...) CMD_##name,
#include "driver/commands/options.def"
    CMD_COUNT
} CmdId;

/* One id per OPT row: OPT_batch. */
typedef enum OptId {
#define OPT(name, ...) OPT_##name,
#include "driver/commands/options.def"
    OPT_COUNT
} OptId;

/* What options are, by their kind. */
typedef bool OptFlag;
typedef const char *OptStr; /* NULL when not given */
typedef int64_t OptInt;     /* -1 when not given: opt_or */
typedef struct OptMaybe {
    bool given;
    const char *text; /* what stands behind =, or NULL */
} OptMaybe;
typedef struct OptList {
    const char **list;
    int n, cap;
} OptList;
#define OPT_TYPE_FLAG OptFlag
#define OPT_TYPE_STR OptStr
#define OPT_TYPE_IN OptStr
#define OPT_TYPE_OUT OptStr
#define OPT_TYPE_INT OptInt
#define OPT_TYPE_MAYBE OptMaybe
#define OPT_TYPE_LIST OptList

/* A member per option, in the order of the table. Options that a command does not take are not
 * given. */
typedef struct Options {
#define OPT(name, kind, ...) OPT_TYPE_##kind name;
#include "driver/commands/options.def"
} Options;

/* A parsed command line. Strings belong to argv, lists to the arena. */
typedef struct Args {
    Arena *arena;
    CmdId cmd;
    const char **operand;
    int noperand;
    double started;             /* drv_process_start() */
    const char *const *command; /* [ncommand]: all words of the command line */
    int ncommand;
    bool given[OPT_COUNT];
    Options o;
} Args;

/* argv[0] is the first word after the command's name. VM_USAGE with a message on stderr. */
VmStatus args_parse(Arena *a, CmdId cmd, int argc, char **argv, Args *out);

static inline int64_t opt_or(OptInt given, int64_t otherwise) {
    return given >= 0 ? given : otherwise;
}
/* The option as it is typed: "--log-every", "-o". */
const char *opt_typed(Arena *a, OptId id);
/* Whether the command has the option at all. */
bool args_take(const Args *a, OptId id);
/* VM_USAGE with a message when the option, which the command needs, was not given. */
VmStatus args_require(const Args *a, OptId id);

CmdId cmd_by_name(const char *name); /* CMD_COUNT when there is none */
const char *cmd_suggest(const char *name);
void cmd_help(FILE *f, CmdId cmd); /* CMD_COUNT: the overview */

/* Commands: VmStatus cmd_<name>, in a file of its name here or in driver/bench. */
#define CMD(name, ...) VmStatus cmd_##name(const Args *a);
#include "driver/commands/options.def"

/* ---- small things (util.c) ------------------------------------------------------------------- */

/* "vmoec: error: ..." on stderr; returns the status it was given. */
VmStatus drv_fail(VmStatus s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes a whole file: beside the target first, synced, then renamed. Complete or absent. */
VmStatus drv_write_file(const char *path, const char *data, size_t len);
/* Writes text to --o's file, or to stdout when path is NULL. */
VmStatus drv_write_output(const char *path, const char *data, size_t len);

/* A field of comma-separated values: the text, in quotes where it needs them. */
const char *drv_csv_field(Arena *a, const char *text);
bool drv_is_folder(const char *path);

/* VM_ENV with a message when stdout could not take everything, or stderr: call last. */
VmStatus drv_flush(VmStatus s);
/* Call first: a file that is opened never gets the number of a standard stream that is closed, so
 * that messages cannot end up in it. */
void drv_standard_files(void);

double drv_median(double *x, int n); /* sorts x; n >= 1 */
/* vm_seconds() when this process began to run, as far as its CPU time tells: call first in main. */
double drv_process_start(void);

/* Where objects are kept between runs: VMOEC_CACHE_DIR, XDG_CACHE_HOME/vmoec or ~/.cache/vmoec.
 * NULL: nowhere, because VMOEC_CACHE is off or there is no such place. */
const char *drv_cache_dir(Arena *a);

/* "500M" -> bytes. K M G T and KiB .. TiB count 1024, KB .. TB 1000; a number alone is bytes.
 * VM_USAGE with a message naming the option when it is no size from 1 byte to 2^60. */
VmStatus drv_parse_size(const char *text, const char *option, int64_t *bytes);

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

/* ---- JSON's memory (json.c) ------------------------------------------------------------------ */

/* Call first: from then on JSON without memory ends the process like an arena, and nobody has to
 * look whether a part of a result is missing. */
void drv_json_memory(void);
/* {"name", "type", "shape"} */
VmJson drv_view_json(const VmTensorView *v);

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
