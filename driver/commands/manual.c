/* vmoec manual: man pages, and the way to what else is written from the option table. */
#include "driver/commands/manual.h"

#include <string.h>

#include "base/spell.h"
#include "base/version.h"

static const struct {
    const char *name, *meaning;
    void (*write)(Text *t, CmdId cmd);
} manuals[] = {
#define MANUAL(name, meaning) {#name, meaning, manual_##name},
#include "driver/commands/manuals.def"
};

enum { MANUALS = sizeof manuals / sizeof manuals[0] };

static const struct {
    const char *name, *meaning;
} variables[] = {
#define VARIABLE(name, meaning) {#name, meaning},
#include "driver/commands/environment.def"
};

void manual_commands(Text *t, CmdId cmd) {
    (void)cmd;
    for (int i = 0; i < CMD_COUNT; i++) text_addf(t, "%s\n", cmd_page((CmdId)i).name);
}

/* ---- man pages ------------------------------------------------------------------------------- */

/* Text as roff prints it: no escapes, no requests, dashes that can be copied. */
static void add_roff(Text *t, const char *s) {
    if (*s == '.' || *s == '\'') text_add(t, "\\&");
    for (; *s; s++) {
        if (*s == '\\')
            text_add(t, "\\e");
        else if (*s == '-')
            text_add(t, "\\-");
        else
            text_addn(t, s, 1);
    }
}

/* A term in bold, its operand in italics, and what it means. */
static void add_entry(Text *t, const char *term, const char *gap, const char *operand,
                      const char *meaning) {
    text_add(t, ".TP\n\\fB");
    add_roff(t, term);
    text_addf(t, "\\fR%s\\fI", gap);
    add_roff(t, operand);
    text_add(t, "\\fR\n");
    add_roff(t, meaning);
    text_add(t, "\n");
}

static void add_title(Text *t, const char *name, const char *meaning) {
    text_add(t, ".TH ");
    for (const char *p = name; *p; p++)
        text_addf(t, "%c", *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    text_addf(t, " 1 \"\" \"vmoec %s\" \"User Commands\"\n.SH NAME\n", vm_version);
    add_roff(t, name);
    text_add(t, " \\- ");
    add_roff(t, meaning);
    text_add(t, "\n.SH SYNOPSIS\n");
}

static void add_exit_status(Text *t) {
    text_add(t, ".SH EXIT STATUS\n");
    add_entry(t, "0", "", "", "done");
    add_entry(t, "1", "", "", "the input is wrong");
    add_entry(t, "2", "", "", "the command line is wrong");
    add_entry(t, "3", "", "", "the environment failed");
}

static void add_environment(Text *t) {
    text_add(t, ".SH ENVIRONMENT\n");
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        add_entry(t, variables[i].name, "", "", variables[i].meaning);
}

static void program_page(Text *t) {
    add_title(t, "vmoec", "compile, train and run vision models with mixtures of experts");
    text_add(t, "\\fBvmoec\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR] \\fIFILE\\fR\n.SH DESCRIPTION\n"
                "vmoec compiles .vmoe descriptions of vision models with mixtures of experts into\n"
                "native trainers: a file says what the network is, what it is trained on and how.\n"
                "Every command has a page of its own, \\fBvmoec\\-\\fICOMMAND\\fR(1).\n"
                ".SH COMMANDS\n");
    for (int i = 0; i < CMD_COUNT; i++) {
        CmdPage c = cmd_page((CmdId)i);
        add_entry(t, c.name, " ", c.operands, c.doc);
    }
    add_entry(t, "help", " ", "[COMMAND]", "the commands, or the options of one");
    add_entry(t, "--version", "", "", "versions of vmoec and LLVM, and the commit");
    add_exit_status(t);
    add_environment(t);
}

static void command_page(Text *t, CmdId cmd) {
    CmdPage c = cmd_page(cmd);
    OptPage *o;
    int n = cmd_page_options(t->arena, cmd, &o);
    add_title(t, arena_printf(t->arena, "vmoec-%s", c.name), c.doc);
    text_addf(t, "\\fBvmoec %s\\fR ", c.name);
    add_roff(t, c.operands);
    text_add(t, n ? " [\\fIOPTIONS\\fR]\n.SH OPTIONS\n" : "\n");
    for (int i = 0; i < n; i++)
        add_entry(t, o[i].typed, o[i].kind == OPTION_MAYBE || !*o[i].operand ? "" : " ",
                  o[i].operand, o[i].doc);
    if (cmd == CMD_manual) text_add(t, ".SH KINDS\n");
    for (size_t i = 0; i < MANUALS && cmd == CMD_manual; i++)
        add_entry(t, manuals[i].name, "", "", manuals[i].meaning);
    add_exit_status(t);
    text_add(t, ".SH SEE ALSO\n\\fBvmoec\\fR(1)\n");
}

void manual_man(Text *t, CmdId cmd) {
    if (cmd == CMD_COUNT)
        program_page(t);
    else
        command_page(t, cmd);
}

/* ---- the command ----------------------------------------------------------------------------- */

static VmStatus unknown_kind(const char *kind) {
    const char *names[MANUALS];
    for (size_t i = 0; i < MANUALS; i++) names[i] = manuals[i].name;
    const char *near = spell_suggest(kind, names, MANUALS);
    drv_fail(VM_USAGE, "no manual '%s'%s%s%s: there are", kind, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : "");
    for (size_t i = 0; i < MANUALS; i++)
        fprintf(stderr, "  %-9s %s\n", manuals[i].name, manuals[i].meaning);
    return VM_USAGE;
}

VmStatus cmd_manual(const Args *a) {
    const char *kind = a->operand[0], *of = a->noperand > 1 ? a->operand[1] : NULL;
    CmdId cmd = of ? cmd_by_name(of) : CMD_COUNT;
    size_t i = 0;
    while (i < MANUALS && strcmp(manuals[i].name, kind) != 0) i++;
    if (i == MANUALS) return unknown_kind(kind);
    if (of && strcmp(kind, "man") != 0)
        return drv_fail(VM_USAGE, "%s takes no command; '%s' is one word too many", kind, of);
    if (of && cmd == CMD_COUNT)
        return drv_fail(VM_USAGE, "there is no command '%s' to have a page", of);
    Text t = text_new(a->arena);
    manuals[i].write(&t, cmd);
    return drv_write_output(NULL, t.data, t.len);
}
