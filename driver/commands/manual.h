/* What pages, completions and grammars are made of: the rows of options.def as values, and the
 * writers of manuals.def. Internal to this folder. */
#ifndef VMOEC_DRIVER_COMMANDS_MANUAL_H
#define VMOEC_DRIVER_COMMANDS_MANUAL_H

#include "driver/commands/commands.h"

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

/* The words that an option's operand lists, "train|infer" -> " train infer"; "" when it is no such
 * list. */
const char *opt_words(Arena *a, const OptPage *o);

/* MANUAL rows: cmd is the command that was named, or CMD_COUNT. */
#define MANUAL(name, meaning) void manual_##name(Text *t, CmdId cmd);
#include "driver/commands/manuals.def"

#endif
