/* Commands and options: the table of options.def, its parser and its help. Knows nothing of what
 * commands do.
 */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/spell.h"
#include "base/vec.h"

static const struct {
    const char *name; /* as in the table, with underscores */
    OptKind kind;
    size_t at; /* in Options */
} opt_kinds[OPT_COUNT] = {
#define OPT(name, kind, ...) {#name, OPTION_##kind, offsetof(Options, name)},
#include "cli/options.def"
};

/* An option as some commands take it. */
typedef struct OptRow {
    OptId id;
    const char *operand;
    int64_t lo, hi;
    uint32_t on; /* a bit per command */
    const char *doc;
} OptRow;

#define ON(cmd) (UINT32_C(1) << CMD_##cmd)
#define BUILT (UINT32_C(1) << 31)
_Static_assert(CMD_COUNT < 32, "a bit per command, and BUILT");

static const OptRow opt_rows[] = {
#define OPT(name, kind, operand, lo, hi, on, doc) {OPT_##name, operand, lo, hi, on, doc},
#define ALSO(name, operand, lo, hi, on, doc) {OPT_##name, operand, lo, hi, on, doc},
#include "cli/options.def"
};

/* INT options are -1 when they are not given. */
#define OPT(name, kind, operand, lo, hi, on, doc)                                                  \
    _Static_assert(lo >= 0, "--" #name " may not be negative");
#include "cli/options.def"

enum { ROWS = sizeof opt_rows / sizeof opt_rows[0] };

typedef struct CmdRow {
    const char *name, *operands;
    int lo, hi;
    uint32_t where;
    const char *doc;
} CmdRow;

enum { MANY = INT_MAX, HERE = 0 };

static const CmdRow cmd_rows[CMD_COUNT] = {
#define CMD(name, operands, lo, hi, where, doc) {#name, operands, lo, hi, where, doc},
#include "cli/options.def"
};

/* A program that was built has its model inside and names no file. */
static CmdRow command(CmdId cmd) {
    CmdRow c = cmd_rows[cmd];
    if (!cli_built) return c;
    const char *rest = strchr(c.operands, ' ');
    c.operands = rest ? rest + 1 : "";
    if (c.lo) c.lo--;
    if (c.hi != MANY) c.hi--;
    return c;
}

static bool has_command(CmdId cmd) {
    return !cli_built || (cmd_rows[cmd].where & BUILT);
}

static bool takes(CmdId cmd, const OptRow *r) {
    return (r->on >> cmd & 1) && (!cli_built || (r->on & BUILT));
}

/* What follows two underscores tells rows apart that are typed alike. */
const char *opt_typed(Arena *a, OptId id) {
    const char *name = opt_kinds[id].name, *end = strstr(name, "__");
    int n = end ? (int)(end - name) : (int)strlen(name);
    char *typed = arena_printf(a, "%s%.*s", n > 1 ? "--" : "-", n, name);
    for (char *p = typed; *p; p++)
        if (*p == '_') *p = '-';
    return typed;
}

CmdId cmd_by_name(const char *name) {
    for (int i = 0; i < CMD_COUNT; i++)
        if (has_command((CmdId)i) && !strcmp(name, cmd_rows[i].name)) return (CmdId)i;
    return CMD_COUNT;
}

const char *cmd_suggest(const char *name) {
    const char *names[CMD_COUNT];
    int n = 0;
    for (int i = 0; i < CMD_COUNT; i++)
        if (has_command((CmdId)i)) names[n++] = cmd_rows[i].name;
    return spell_suggest(name, names, n);
}

/* ---- parsing --------------------------------------------------------------------------------- */

static VmStatus usage_error(const Args *a, const char *text) {
    drv_fail(VM_USAGE, "%s", text);
    fprintf(stderr, "       see %s help %s\n", cli_name(), cmd_rows[a->cmd].name);
    return VM_USAGE;
}

/* The command's row of the option whose typed name is the first n bytes of word, or NULL. */
static const OptRow *find_opt(const Args *a, const char *word, size_t n) {
    for (const OptRow *r = opt_rows; r < opt_rows + ROWS; r++) {
        if (!takes(a->cmd, r)) continue;
        const char *t = opt_typed(a->arena, r->id);
        if (strlen(t) == n && !memcmp(t, word, n)) return r;
    }
    return NULL;
}

static VmStatus unknown_opt(Args *a, const char *word, size_t n) {
    const char *names[ROWS];
    int count = 0;
    for (const OptRow *r = opt_rows; r < opt_rows + ROWS; r++)
        if (takes(a->cmd, r)) names[count++] = opt_typed(a->arena, r->id);
    const char *near = NULL;
    if (n > 2 && !strncmp(word, "--", 2)) { /* the dashes are no letters that agree */
        for (int i = 0; i < count; i++) names[i] += strspn(names[i], "-");
        near = spell_suggest(arena_strndup(a->arena, word + 2, n - 2), names, count);
    }
    return usage_error(
        a, arena_printf(a->arena, "%s has no option %.*s%s%s%s", cmd_rows[a->cmd].name, (int)n,
                        word, near ? "; did you mean --" : "", near ? near : "", near ? "?" : ""));
}

static VmStatus take_int(Args *a, const OptRow *r, OptInt *v, const char *word) {
    char *end;
    errno = 0;
    long long x = strtoll(word, &end, 10);
    if (end == word || *end || errno == ERANGE)
        return usage_error(a, arena_printf(a->arena, "%s takes a whole number, not '%s'",
                                           opt_typed(a->arena, r->id), word));
    if (x < r->lo || x > r->hi)
        return usage_error(a, arena_printf(a->arena, "%s %lld is out of range: %lld to %lld",
                                           opt_typed(a->arena, r->id), x, (long long)r->lo,
                                           (long long)r->hi));
    *v = x;
    return VM_OK;
}

/* Stores the value, NULL where none was written, in the option's member. */
static VmStatus take_value(Args *a, const OptRow *r, const char *word) {
    void *to = (char *)&a->o + opt_kinds[r->id].at;
    OptKind kind = opt_kinds[r->id].kind;
    const char *typed = opt_typed(a->arena, r->id);
    if (a->given[r->id] && kind != OPTION_LIST && kind != OPTION_FLAG)
        return usage_error(a, arena_printf(a->arena, "%s is given twice", typed));
    a->given[r->id] = true;
    if (word && !*word && kind != OPTION_INT && kind != OPTION_LIST)
        return usage_error(a, arena_printf(a->arena, "%s is empty", typed));
    switch (kind) {
    case OPTION_FLAG: *(OptFlag *)to = true; return VM_OK;
    case OPTION_MAYBE: *(OptMaybe *)to = (OptMaybe){true, word}; return VM_OK;
    case OPTION_STR:
    case OPTION_IN:
    case OPTION_OUT: *(OptStr *)to = word; return VM_OK;
    case OPTION_INT: return take_int(a, r, to, word);
    case OPTION_LIST: break;
    }
    OptList *l = to;
    VEC_ROOM(a->arena, l->list, l->n, l->cap);
    l->list[l->n++] = word;
    return VM_OK;
}

/* Takes the option at argv[*i] and its value; *i is left at the last word used. */
static VmStatus take_opt(Args *a, int argc, char **argv, int *i) {
    const char *word = argv[*i];
    const char *eq = strchr(word, '=');
    size_t n = eq ? (size_t)(eq - word) : strlen(word);
    const OptRow *r = find_opt(a, word, n);
    if (!r) return unknown_opt(a, word, n);
    OptKind kind = opt_kinds[r->id].kind;
    const char *typed = opt_typed(a->arena, r->id);
    if (kind == OPTION_FLAG && eq)
        return usage_error(a, arena_printf(a->arena, "%s takes no value", typed));
    if (eq) return take_value(a, r, eq + 1);
    if (kind == OPTION_FLAG || kind == OPTION_MAYBE) return take_value(a, r, NULL);
    if (*i + 1 >= argc)
        return usage_error(a, arena_printf(a->arena, "%s needs a value: %s", typed, r->operand));
    return take_value(a, r, argv[++*i]);
}

static Options nothing_given(void) {
    Options o = {0};
    for (int i = 0; i < OPT_COUNT; i++)
        if (opt_kinds[i].kind == OPTION_INT) *(OptInt *)((char *)&o + opt_kinds[i].at) = -1;
    return o;
}

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static const char *text_value(const Args *a, int i, OptKind kind) {
    return opt_kinds[i].kind == kind ? *(const OptStr *)((const char *)&a->o + opt_kinds[i].at)
                                     : NULL;
}

/* The path that an option writes to, or may: what stands behind = is one for some. */
static const char *written_to(const Args *a, int i) {
    if (opt_kinds[i].kind != OPTION_MAYBE) return text_value(a, i, OPTION_OUT);
    return ((const OptMaybe *)((const char *)&a->o + opt_kinds[i].at))->text;
}

/* What is read must not be gone once the result is written, whatever names or links lead to it. */
static VmStatus keep_apart(const Args *a) {
    for (int i = 0; i < OPT_COUNT; i++) {
        const char *out = written_to(a, i), *read = NULL;
        for (int k = 0; out && k < a->noperand && !read; k++)
            if (same_file(out, a->operand[k])) read = a->operand[k];
        for (int k = 0; out && k < OPT_COUNT && !read; k++) {
            const char *in = text_value(a, k, OPTION_IN);
            if (in && same_file(out, in)) read = in;
        }
        if (read)
            return usage_error(a, arena_printf(a->arena, "%s %s would replace '%s', which is read",
                                               opt_typed(a->arena, (OptId)i), out, read));
    }
    return VM_OK;
}

VmStatus args_parse(Arena *arena, CmdId cmd, int argc, char **argv, Args *out) {
    *out = (Args){.arena = arena,
                  .cmd = cmd,
                  .operand = ARENA_ARRAY(arena, const char *, argc + 1),
                  .o = nothing_given()};
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && !strcmp(argv[i], "--")) {
            options = false;
            continue;
        }
        if (!options || argv[i][0] != '-' || !argv[i][1]) {
            out->operand[out->noperand++] = argv[i];
            continue;
        }
        VmStatus st = take_opt(out, argc, argv, &i);
        if (st) return st;
    }
    const CmdRow row = command(cmd), *c = &row;
    if (out->noperand < c->lo)
        return usage_error(out, arena_printf(arena, "%s needs %s", c->name, c->operands));
    if (out->noperand > c->hi)
        return usage_error(out,
                           arena_printf(arena, "%s takes %s; '%s' is one word too many", c->name,
                                        c->hi       ? c->operands
                                        : cli_built ? "no word"
                                                    : "no file",
                                        out->operand[c->hi]));
    return keep_apart(out);
}

bool args_ask_for_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

bool args_take(const Args *a, OptId id) {
    for (const OptRow *r = opt_rows; r < opt_rows + ROWS; r++)
        if (r->id == id && takes(a->cmd, r)) return true;
    return false;
}

VmStatus args_require(const Args *a, OptId id) {
    if (a->given[id]) return VM_OK;
    const OptRow *r = opt_rows;
    while (r->id != id || !takes(a->cmd, r)) r++;
    return usage_error(a, arena_printf(a->arena, "%s needs %s %s", cmd_rows[a->cmd].name,
                                       opt_typed(a->arena, id), r->operand));
}

/* ---- rows as values -------------------------------------------------------------------------- */

CmdPage cmd_page(CmdId cmd) {
    const CmdRow row = command(cmd), *c = &row;
    return (CmdPage){c->name, c->operands, c->doc};
}

int cmd_page_options(Arena *a, CmdId cmd, OptPage **out) {
    OptPage *list = *out = ARENA_ARRAY(a, OptPage, ROWS);
    int n = 0;
    for (const OptRow *r = opt_rows; r < opt_rows + ROWS; r++)
        if (takes(cmd, r))
            list[n++] = (OptPage){opt_typed(a, r->id), r->operand, r->doc, opt_kinds[r->id].kind};
    return n;
}

/* ---- help ------------------------------------------------------------------------------------ */

static void help_overview(FILE *f) {
    const char *name = cli_name();
    fprintf(f, "%s\n\nusage: %s COMMAND [OPTIONS]%s\n\n", cli_about(), name,
            cli_built ? "" : " FILE");
    for (int i = 0; i < CMD_COUNT; i++) {
        CmdRow c = command((CmdId)i);
        if (has_command((CmdId)i)) fprintf(f, "  %-7s %-16s %s\n", c.name, c.operands, c.doc);
    }
    fprintf(f,
            "\n  %s help COMMAND   the options of a command\n"
            "  %s --version      the version\n\n"
            "Exit codes: 0 done, 1 the input is wrong, 2 the command line is wrong, 3 the "
            "environment failed.\n",
            name, name);
}

/* Of an option: what its row says, or where that is required which the program has inside. */
static void print_doc(FILE *f, const OptRow *r) {
    static const char required[] = " (required)";
    size_t n = strlen(r->doc), end = sizeof required - 1;
    bool inside =
        r->id == OPT_weights && cli_has_weights() && n > end && !strcmp(r->doc + n - end, required);
    if (inside)
        fprintf(f, "%.*s (default: those inside)\n", (int)(n - end), r->doc);
    else
        fprintf(f, "%s\n", r->doc);
}

void cmd_help(FILE *f, CmdId cmd) {
    if (cmd == CMD_COUNT) {
        help_overview(f);
        return;
    }
    const CmdRow c = command(cmd);
    fprintf(f, "usage: %s %s %s%s[OPTIONS]\n%s\n\n", cli_name(), c.name, c.operands,
            *c.operands ? " " : "", c.doc);
    Arena *a = arena_create();
    for (const OptRow *r = opt_rows; r < opt_rows + ROWS; r++) {
        if (!takes(cmd, r)) continue;
        const char *gap = opt_kinds[r->id].kind == OPTION_MAYBE ? "" : " ";
        int n = fprintf(f, "  %s%s%s", opt_typed(a, r->id), gap, r->operand);
        fprintf(f, "%*s", n < 24 ? 25 - n : 1, "");
        print_doc(f, r);
    }
    arena_destroy(a);
}
