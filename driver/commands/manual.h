/* What pages, completions and grammars are made of: the writers of manuals.def. Internal to this
 * folder. */
#ifndef VMOEC_DRIVER_COMMANDS_MANUAL_H
#define VMOEC_DRIVER_COMMANDS_MANUAL_H

#include "driver/commands/commands.h"

/* The words that an option's operand lists, "train|infer" -> " train infer"; "" when it is no such
 * list. */
const char *opt_words(Arena *a, const OptPage *o);

/* MANUAL rows: cmd is the command that was named, or CMD_COUNT. */
#define MANUAL(name, meaning) void manual_##name(Text *t, CmdId cmd);
#include "driver/commands/manuals.def"

#endif
