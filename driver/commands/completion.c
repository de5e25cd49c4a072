/* Completions for shells, from the option table. */
#include "driver/commands/manual.h"

#include <string.h>

/* What may stand for an option's value or an operand. */
typedef enum Wants { NOTHING, WORDS, FILES, FOLDERS } Wants;

const char *opt_words(Arena *a, const OptPage *o) {
    if (!strchr(o->operand, '|')) return "";
    char *words = arena_printf(a, " %s", o->operand);
    for (char *p = words; *p; p++)
        if (*p == '|') *p = ' ';
    return words;
}

static Wants value_of(const OptPage *o) {
    switch (o->kind) {
    case OPTION_IN:
    case OPTION_OUT: return FILES;
    case OPTION_STR:
        return strchr(o->operand, '|') ? WORDS : !strcmp(o->operand, "DIR") ? FOLDERS : NOTHING;
    default: return NOTHING;
    }
}

static bool has_value(const OptPage *o) {
    return o->kind != OPTION_FLAG && o->kind != OPTION_MAYBE;
}

/* The ending of the files that a command reads, ".vmoe"; "" for any file, NULL for none. */
static const char *ending_of(Arena *a, CmdId cmd) {
    const char *operands = cmd_page(cmd).operands, *dot = strchr(operands, '.');
    if (!dot) return NULL;
    size_t n = strcspn(dot, " ");
    const char *more = dot + n;
    while (*more == ' ' || *more == '.') more++;
    return *more ? "" : arena_strndup(a, dot, n);
}

static const char *commands(Arena *a) {
    Text t = text_new(a);
    for (int i = 0; i < CMD_COUNT; i++) text_addf(&t, " %s", cmd_page((CmdId)i).name);
    return t.data;
}

/* What follows a command that reads no file, where it is a word of a list; else NULL. */
static const char *operand_words(Arena *a, CmdId cmd) {
    static const char *const kinds[] = {
#define MANUAL(name, meaning) #name,
#include "driver/commands/manuals.def"
    };
    if (cmd != CMD_manual) return NULL;
    Text t = text_new(a);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) text_addf(&t, " %s", kinds[i]);
    return t.data;
}

/* A backslash before each of `special`. */
static const char *escaped(Arena *a, const char *s, const char *special) {
    Text t = text_new(a);
    for (; *s; s++) {
        if (strchr(special, *s)) text_add(&t, "\\");
        text_addn(&t, s, 1);
    }
    return t.data ? t.data : "";
}

/* In single quotes, as zsh and POSIX shells read it. */
static const char *quoted(Arena *a, const char *s) {
    Text t = text_new(a);
    for (; *s; s++) {
        if (*s == '\'')
            text_add(&t, "'\\''");
        else
            text_addn(&t, s, 1);
    }
    return arena_printf(a, "'%s'", t.data ? t.data : "");
}

/* The same for fish, which knows escapes in single quotes. */
static const char *fish_quoted(Arena *a, const char *s) {
    return arena_printf(a, "'%s'", escaped(a, s, "\\'"));
}

/* ---- bash ------------------------------------------------------------------------------------ */

static void bash_values(Text *t, CmdId cmd) {
    static const char *const reply[] = {
        [NOTHING] = "return",
        [FILES] = "mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); return",
        [FOLDERS] = "mapfile -t COMPREPLY < <(compgen -d -- \"$cur\"); return"};
    CmdPage c = cmd_page(cmd);
    OptPage *o;
    int n = cmd_page_options(t->arena, cmd, &o);
    for (int i = 0; i < n; i++) {
        if (!has_value(&o[i])) continue;
        Wants w = value_of(&o[i]);
        text_addf(t, "    %s:%s) ", c.name, o[i].typed);
        if (w == WORDS)
            text_addf(t, "mapfile -t COMPREPLY < <(compgen -W \"%s\" -- \"$cur\"); return",
                      opt_words(t->arena, &o[i]) + 1);
        else
            text_add(t, reply[w]);
        text_add(t, " ;;\n");
    }
}

static void bash_options(Text *t, CmdId cmd) {
    OptPage *o;
    int n = cmd_page_options(t->arena, cmd, &o);
    text_addf(t, "        %s) words=\"", cmd_page(cmd).name);
    for (int i = 0; i < n; i++) text_addf(t, "%s ", o[i].typed);
    text_add(t, "--help\" ;;\n");
}

static void bash_operand(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    const char *ending = ending_of(a, cmd), *words = operand_words(a, cmd);
    text_addf(t, "    %s) ", cmd_page(cmd).name);
    if (words)
        text_addf(t, "words=\"%s\"", words + 1);
    else if (ending && *ending)
        text_addf(t, "pattern='*%s'", ending);
    else if (ending)
        text_add(t, "pattern='*'");
    text_add(t, " ;;\n");
}

void manual_bash(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    (void)cmd;
    text_add(t, "# Completion of vmoec for bash; written by `vmoec manual bash`.\n"
                "_vmoec() {\n"
                "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                "    local cmd=${COMP_WORDS[1]} words= pattern=\n"
                "    COMPREPLY=()\n");
    text_addf(t,
              "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
              "        mapfile -t COMPREPLY < <(compgen -W \"%s help --help --version\" -- "
              "\"$cur\")\n"
              "        return\n"
              "    fi\n"
              "    case $cmd:$prev in\n",
              commands(a) + 1);
    for (int i = 0; i < CMD_COUNT; i++) bash_values(t, (CmdId)i);
    text_add(t, "    esac\n    if [[ $cur == -* ]]; then\n        case $cmd in\n");
    for (int i = 0; i < CMD_COUNT; i++) bash_options(t, (CmdId)i);
    text_add(t, "        esac\n"
                "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
                "        return\n"
                "    fi\n"
                "    case $cmd in\n");
    for (int i = 0; i < CMD_COUNT; i++) bash_operand(t, (CmdId)i);
    text_addf(t,
              "    help) words=\"%s\" ;;\n"
              "    esac\n"
              "    if [ -n \"$pattern\" ]; then\n"
              "        mapfile -t COMPREPLY < <(compgen -f -X \"!$pattern\" -- \"$cur\"\n"
              "            compgen -d -- \"$cur\")\n"
              "    else\n"
              "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
              "    fi\n"
              "}\n"
              "complete -o filenames -F _vmoec vmoec\n",
              commands(a) + 1);
}

/* ---- zsh ------------------------------------------------------------------------------------- */

static const char *zsh_value(Arena *a, const OptPage *o) {
    switch (value_of(o)) {
    case WORDS: return arena_printf(a, "(%s)", opt_words(a, o) + 1);
    case FILES: return "_files";
    case FOLDERS: return "_files -/";
    default: return " ";
    }
}

static void zsh_option(Text *t, const OptPage *o) {
    Arena *a = t->arena;
    bool value = has_value(o), maybe = o->kind == OPTION_MAYBE;
    const char *spec = arena_printf(a, "%s%s%s[%s]", o->kind == OPTION_LIST ? "*" : "", o->typed,
                                    maybe                  ? "=-"
                                    : value && o->typed[2] ? "="
                                                           : "",
                                    escaped(a, o->doc, "[]\\:"));
    if (maybe) spec = arena_printf(a, "%s:: : ", spec);
    if (value) spec = arena_printf(a, "%s:value:%s", spec, zsh_value(a, o));
    text_addf(t, " \\\n        %s", quoted(a, spec));
}

static void zsh_command(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    OptPage *o;
    int n = cmd_page_options(a, cmd, &o);
    const char *ending = ending_of(a, cmd), *words = operand_words(a, cmd);
    text_addf(t, "    %s) _arguments", cmd_page(cmd).name);
    for (int i = 0; i < n; i++) zsh_option(t, &o[i]);
    if (words)
        text_addf(t, " \\\n        '1:kind:(%s)'", words + 1);
    else if (ending && *ending)
        text_addf(t, " \\\n        '*:file:_files -g \"*%s\"'", ending);
    else if (ending)
        text_add(t, " \\\n        '*:file:_files'");
    text_add(t, " ;;\n");
}

void manual_zsh(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    (void)cmd;
    text_add(t, "#compdef vmoec\n# Completion of vmoec for zsh; written by `vmoec manual zsh`.\n"
                "_vmoec() {\n    local -a commands\n    commands=(\n");
    for (int i = 0; i < CMD_COUNT; i++) {
        CmdPage c = cmd_page((CmdId)i);
        text_addf(t, "        %s\n", quoted(a, arena_printf(a, "%s:%s", c.name, c.doc)));
    }
    text_addf(t,
              "        'help:the commands, or the options of one'\n    )\n"
              "    if (( CURRENT == 2 )); then\n"
              "        _describe command commands\n"
              "        return\n"
              "    fi\n"
              "    local cmd=$words[2]\n"
              "    shift words\n"
              "    (( CURRENT-- ))\n"
              "    case $cmd in\n"
              "    help) _arguments '1:command:(%s)' ;;\n",
              commands(a) + 1);
    for (int i = 0; i < CMD_COUNT; i++) zsh_command(t, (CmdId)i);
    text_add(t, "    esac\n}\n_vmoec \"$@\"\n");
}

/* ---- fish ------------------------------------------------------------------------------------ */

static void fish_option(Text *t, const char *cmd, const OptPage *o) {
    Arena *a = t->arena;
    const char *name = o->typed + strspn(o->typed, "-");
    text_addf(t, "complete -c vmoec -n '__fish_seen_subcommand_from %s' -%s %s", cmd,
              name[1] ? "l" : "s", name);
    Wants w = value_of(o);
    if (w == WORDS)
        text_addf(t, " -x -a %s", fish_quoted(a, opt_words(a, o) + 1));
    else if (w == FOLDERS)
        text_add(t, " -x -a '(__fish_complete_directories)'");
    else if (has_value(o))
        text_add(t, w == FILES ? " -r -F" : " -x");
    text_addf(t, " -d %s\n", fish_quoted(a, o->doc));
}

static void fish_command(Text *t, CmdId cmd) {
    Arena *a = t->arena;
    CmdPage c = cmd_page(cmd);
    OptPage *o;
    int n = cmd_page_options(a, cmd, &o);
    const char *ending = ending_of(a, cmd), *words = operand_words(a, cmd);
    text_addf(t, "complete -c vmoec -n __fish_use_subcommand -a %s -d %s\n", c.name,
              fish_quoted(a, c.doc));
    for (int i = 0; i < n; i++) fish_option(t, c.name, &o[i]);
    text_addf(t, "complete -c vmoec -n '__fish_seen_subcommand_from %s'", c.name);
    if (words)
        text_addf(t, " -a '%s'\n", words + 1);
    else if (ending && *ending)
        text_addf(t, " -k -a '(__fish_complete_suffix %s)'\n", ending);
    else
        text_add(t, ending ? " -F\n" : " -f\n");
}

void manual_fish(Text *t, CmdId cmd) {
    (void)cmd;
    text_add(t, "# Completion of vmoec for fish; written by `vmoec manual fish`.\n"
                "complete -c vmoec -f\n"
                "complete -c vmoec -n __fish_use_subcommand -l version -d 'versions'\n"
                "complete -c vmoec -n __fish_use_subcommand -a help -d 'the commands'\n");
    for (int i = 0; i < CMD_COUNT; i++) fish_command(t, (CmdId)i);
    text_addf(t, "complete -c vmoec -n '__fish_seen_subcommand_from help' -a '%s'\n",
              commands(t->arena) + 1);
}
