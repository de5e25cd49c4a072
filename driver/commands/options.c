/* Commands and options: the table of options.def, its parser and its help. Knows nothing of what
 * commands do.
 */
#include "driver/driver.h"
#include "base/spell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef enum OptKind { OPTION_FLAG, OPTION_MAYBE, OPTION_STR, OPTION_INT, OPTION_LIST } OptKind;

typedef struct OptRow {
    CmdId cmd;
    const char *name; /* as in the table, with underscores */
    OptKind kind;
    const char *operand;
    int64_t lo, hi;
    const char *doc;
} OptRow;

typedef struct CmdRow {
    const char *name, *operands;
    int lo, hi;
    const char *doc;
} CmdRow;

static const OptRow opt_rows[OPT_COUNT] = {
#define OPT(cmd, name, kind, operand, lo, hi, doc)                                                 \
    {CMD_##cmd, #name, OPTION_##kind, operand, lo, hi, doc},
#include "driver/commands/options.def"
};

static const CmdRow cmd_rows[CMD_COUNT] = {
#define CMD(name, operands, lo, hi, doc) {#name, operands, lo, hi, doc},
#include "driver/commands/options.def"
};

enum { NAME_MAX_LEN = 32 };

/* The option as it is typed: "--log-every", "-o". */
static const char *typed_name(const OptRow *r, char buf[NAME_MAX_LEN + 3]) {
    size_t n = strlen(r->name);
    char *p = buf;
    *p++ = '-';
    if (n > 1) *p++ = '-';
    for (size_t i = 0; i < n && i < NAME_MAX_LEN; i++) *p++ = r->name[i] == '_' ? '-' : r->name[i];
    *p = 0;
    return buf;
}

CmdId cmd_by_name(const char *name) {
    for (int i = 0; i < CMD_COUNT; i++)
        if (!strcmp(name, cmd_rows[i].name)) return (CmdId)i;
    return CMD_COUNT;
}

const char *cmd_suggest(const char *name) {
    const char *names[CMD_COUNT];
    for (int i = 0; i < CMD_COUNT; i++) names[i] = cmd_rows[i].name;
    return spell_suggest(name, names, CMD_COUNT);
}

/* ---- parsing ------------------------------------------------------------------------------------
 */

static VmStatus usage_error(const Args *a, const char *text) {
    drv_fail(VM_USAGE, "%s", text);
    fprintf(stderr, "       see vmoec help %s\n", cmd_rows[a->cmd].name);
    return VM_USAGE;
}

/* The row whose typed name is the first n bytes of word; -1: none. */
static int find_opt(CmdId cmd, const char *word, size_t n) {
    char buf[NAME_MAX_LEN + 3];
    for (int i = 0; i < OPT_COUNT; i++) {
        if (opt_rows[i].cmd != cmd) continue;
        const char *t = typed_name(&opt_rows[i], buf);
        if (strlen(t) == n && !memcmp(t, word, n)) return i;
    }
    return -1;
}

static VmStatus unknown_opt(Args *a, const char *word, size_t n) {
    const char *names[OPT_COUNT];
    int count = 0;
    char buf[NAME_MAX_LEN + 3];
    for (int i = 0; i < OPT_COUNT; i++)
        if (opt_rows[i].cmd == a->cmd)
            names[count++] = arena_strdup(a->arena, typed_name(&opt_rows[i], buf));
    const char *near = spell_suggest(arena_strndup(a->arena, word, n), names, count);
    return usage_error(
        a, arena_printf(a->arena, "%s has no option %.*s%s%s%s", cmd_rows[a->cmd].name, (int)n,
                        word, near ? "; did you mean " : "", near ? near : "", near ? "?" : ""));
}

static VmStatus take_int(Args *a, const OptRow *r, OptValue *v, const char *word) {
    char buf[NAME_MAX_LEN + 3], *end;
    errno = 0;
    long long x = strtoll(word, &end, 10);
    if (end == word || *end || errno == ERANGE)
        return usage_error(a, arena_printf(a->arena, "%s takes a whole number, not '%s'",
                                           typed_name(r, buf), word));
    if (x < r->lo || x > r->hi)
        return usage_error(a,
                           arena_printf(a->arena, "%s %lld is out of range: %lld to %lld",
                                        typed_name(r, buf), x, (long long)r->lo, (long long)r->hi));
    v->i = x;
    return VM_OK;
}

static VmStatus take_value(Args *a, int id, const char *word) {
    const OptRow *r = &opt_rows[id];
    OptValue *v = &a->value[id];
    if (r->kind == OPTION_LIST) {
        const char **list = ARENA_ARRAY(a->arena, const char *, v->n + 1);
        if (v->n) memcpy(list, v->list, (size_t)v->n * sizeof *list);
        list[v->n++] = word;
        v->list = list;
        return VM_OK;
    }
    char buf[NAME_MAX_LEN + 3];
    if (v->n)
        return usage_error(a, arena_printf(a->arena, "%s is given twice", typed_name(r, buf)));
    v->n = 1;
    if (r->kind == OPTION_INT) return take_int(a, r, v, word);
    if (!*word) return usage_error(a, arena_printf(a->arena, "%s is empty", typed_name(r, buf)));
    v->s = word;
    return VM_OK;
}

/* Takes the option at argv[*i] and its value; *i is left at the last word used. */
static VmStatus take_opt(Args *a, int argc, char **argv, int *i) {
    const char *word = argv[*i];
    const char *eq = strchr(word, '=');
    size_t n = eq ? (size_t)(eq - word) : strlen(word);
    int id = find_opt(a->cmd, word, n);
    if (id < 0) return unknown_opt(a, word, n);
    char buf[NAME_MAX_LEN + 3];
    if (opt_rows[id].kind == OPTION_FLAG) {
        if (eq)
            return usage_error(
                a, arena_printf(a->arena, "%s takes no value", typed_name(&opt_rows[id], buf)));
        a->value[id].n = 1;
        return VM_OK;
    }
    if (opt_rows[id].kind == OPTION_MAYBE && !eq) {
        if (a->value[id].n)
            return usage_error(
                a, arena_printf(a->arena, "%s is given twice", typed_name(&opt_rows[id], buf)));
        a->value[id].n = 1;
        return VM_OK;
    }
    if (eq) return take_value(a, id, eq + 1);
    if (*i + 1 >= argc)
        return usage_error(a, arena_printf(a->arena, "%s needs a value: %s",
                                           typed_name(&opt_rows[id], buf), opt_rows[id].operand));
    return take_value(a, id, argv[++*i]);
}

VmStatus args_parse(Arena *arena, CmdId cmd, int argc, char **argv, Args *out) {
    *out =
        (Args){.arena = arena, .cmd = cmd, .operand = ARENA_ARRAY(arena, const char *, argc + 1)};
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
    const CmdRow *c = &cmd_rows[cmd];
    if (out->noperand < c->lo)
        return usage_error(out, arena_printf(arena, "%s needs %s", c->name, c->operands));
    if (out->noperand > c->hi)
        return usage_error(out, arena_printf(arena, "%s takes one file; '%s' is one word too many",
                                             c->name, out->operand[c->hi]));
    return VM_OK;
}

/* ---- access -------------------------------------------------------------------------------------
 */

static const OptValue *checked(const Args *a, OptId id, OptKind kind) {
    VM_CHECK(opt_rows[id].cmd == a->cmd && opt_rows[id].kind == kind,
             "option %s of %s asked for in %s", opt_rows[id].name, cmd_rows[opt_rows[id].cmd].name,
             cmd_rows[a->cmd].name);
    return &a->value[id];
}

bool args_flag(const Args *a, OptId id) {
    OptKind kind = opt_rows[id].kind == OPTION_MAYBE ? OPTION_MAYBE : OPTION_FLAG;
    return checked(a, id, kind)->n > 0;
}

const char *args_str(const Args *a, OptId id) {
    OptKind kind = opt_rows[id].kind == OPTION_MAYBE ? OPTION_MAYBE : OPTION_STR;
    return checked(a, id, kind)->s;
}

int64_t args_int(const Args *a, OptId id, int64_t dflt) {
    const OptValue *v = checked(a, id, OPTION_INT);
    return v->n ? v->i : dflt;
}

VmStatus args_require(const Args *a, OptId id) {
    if (a->value[id].n) return VM_OK;
    char buf[NAME_MAX_LEN + 3];
    return usage_error(a, arena_printf(a->arena, "%s needs %s %s", cmd_rows[a->cmd].name,
                                       typed_name(&opt_rows[id], buf), opt_rows[id].operand));
}

/* ---- help ---------------------------------------------------------------------------------------
 */

static void help_overview(FILE *f) {
    fprintf(f, "vmoec compiles .vmoe descriptions of vision mixture-of-experts models into native "
               "trainers.\n\n"
               "usage: vmoec COMMAND [OPTIONS] FILE\n\n");
    for (int i = 0; i < CMD_COUNT; i++)
        fprintf(f, "  %-7s %-7s %s\n", cmd_rows[i].name, cmd_rows[i].operands, cmd_rows[i].doc);
    fprintf(f, "\n  vmoec help COMMAND   the options of a command\n"
               "  vmoec --version      the version\n\n"
               "Exit codes: 0 done, 1 the input is wrong, 2 the command line is wrong, 3 the "
               "environment failed.\n");
}

void cmd_help(FILE *f, CmdId cmd) {
    if (cmd == CMD_COUNT) {
        help_overview(f);
        return;
    }
    const CmdRow *c = &cmd_rows[cmd];
    fprintf(f, "usage: vmoec %s %s [OPTIONS]\n%s\n\n", c->name, c->operands, c->doc);
    char buf[NAME_MAX_LEN + 3];
    for (int i = 0; i < OPT_COUNT; i++) {
        const OptRow *r = &opt_rows[i];
        if (r->cmd != cmd) continue;
        const char *gap = r->kind == OPTION_MAYBE ? "" : " ";
        int n = fprintf(f, "  %s%s%s", typed_name(r, buf), gap, r->operand);
        fprintf(f, "%*s%s\n", n < 24 ? 25 - n : 1, "", r->doc);
    }
}
