/* The command line of vmoec and of the programs that it builds: options from one table, messages,
 * results. What both programs print is printed here, and by nobody else. */
#ifndef VMOEC_CLI_CLI_H
#define VMOEC_CLI_CLI_H

#include "base/arena.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "base/text.h"
#include "runtime/train/train.h"

/* ---- the program (its main.c) ---------------------------------------------------------------- */

/* How messages call it: "vmoec". */
extern const char *cli_name(void);
/* A program that vmoec built: it has the commands and options that options.def marks BUILT, and no
 * file to name. */
extern const bool cli_built;
/* Weights are inside it, so that --weights is required nowhere. */
extern bool cli_has_weights(void);
/* What the overview of its help begins with. */
extern const char *cli_about(void);

/* ---- command line (options.c, from options.def) --------------------------------------------- */

typedef enum CmdId {
#define CMD(name, ...) CMD_##name,
#include "cli/options.def"
    CMD_COUNT
} CmdId;

/* One id per OPT row: OPT_batch. */
typedef enum OptId {
#define OPT(name, ...) OPT_##name,
#include "cli/options.def"
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
#include "cli/options.def"
} Options;

/* A parsed command line. Strings belong to argv, lists to the arena. */
typedef struct Args {
    Arena *arena;
    CmdId cmd;
    const char **operand;
    int noperand;
    double started;             /* drv_begin() */
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
/* Whether --help or -h is among the words behind a command. */
bool args_ask_for_help(int argc, char **argv);
/* Whether the command has the option at all. */
bool args_take(const Args *a, OptId id);
/* VM_USAGE with a message when the option, which the command needs, was not given. */
VmStatus args_require(const Args *a, OptId id);

CmdId cmd_by_name(const char *name); /* CMD_COUNT when there is none */
const char *cmd_suggest(const char *name);
void cmd_help(FILE *f, CmdId cmd); /* CMD_COUNT: the overview */

/* ---- rows as values -------------------------------------------------------------------------- */

typedef enum OptKind {
    OPTION_FLAG,
    OPTION_MAYBE,
    OPTION_STR,
    OPTION_IN,
    OPTION_OUT,
    OPTION_INT,
    OPTION_LIST
} OptKind;

/* A command's row, and one of its options. */
typedef struct CmdPage {
    const char *name, *operands, *doc;
} CmdPage;

typedef struct OptPage {
    const char *typed, *operand, *doc;
    OptKind kind;
} OptPage;

CmdPage cmd_page(CmdId cmd);
/* In the order of the table; returns how many. */
int cmd_page_options(Arena *a, CmdId cmd, OptPage **out);

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
/* What main returns: only now is the end no library's (ending.c). */
int drv_end(int status);
/* Call first in main: signals, standard streams and JSON's memory as every program of ours has
 * them. Returns vm_seconds() when this process began to run, as far as its CPU time tells. */
double drv_begin(void);

double drv_median(double *x, int n); /* sorts x; n >= 1 */

/* Where objects are kept between runs: VMOEC_CACHE_DIR, XDG_CACHE_HOME/vmoec or ~/.cache/vmoec.
 * NULL: nowhere, because VMOEC_CACHE is off or there is no such place. */
const char *drv_cache_dir(Arena *a);

/* "500M" -> bytes. K M G T and KiB .. TiB count 1024, KB .. TB 1000; a number alone is bytes.
 * VM_USAGE with a message naming the option when it is no size from 1 byte to 2^60. */
VmStatus drv_parse_size(const char *text, const char *option, int64_t *bytes);

/* ---- JSON's memory (json.c) ------------------------------------------------------------------ */

/* From then on JSON without memory ends the process like an arena, and nobody has to
 * look whether a part of a result is missing. */
void drv_json_memory(void);
/* {"name", "type", "shape"} */
VmJson drv_view_json(const VmTensorView *v);

#endif
