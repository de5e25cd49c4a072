/* The command line's parser: spellings of options, types, ranges, and what it refuses. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/redirect.h>

#include "driver/commands/commands.h"

static VmStatus parse(CmdId cmd, Args *out, int argc, char **argv) {
    return args_parse(arena_create(), cmd, argc, argv, out);
}
#define PARSE(cmd, out, ...)                                                                       \
    parse(CMD_##cmd, out, (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)),                 \
          (char *[]){__VA_ARGS__})

Test(options, both_spellings_of_a_value) {
    Args a, b;
    cr_assert(eq(int, PARSE(train, &a, "f.vmoe", "--epochs", "3", "--log-every=7"), VM_OK));
    cr_assert(eq(int, PARSE(train, &b, "--epochs=3", "--log-every", "7", "f.vmoe"), VM_OK));
    cr_assert(eq(long, (long)opt_or(a.o.epochs, 0), 3));
    cr_assert(eq(long, (long)opt_or(b.o.epochs, 0), 3));
    cr_assert(eq(long, (long)opt_or(a.o.log_every, 0), 7));
    cr_assert(eq(long, (long)opt_or(b.o.log_every, 0), 7));
    cr_assert(eq(str, (char *)a.operand[0], "f.vmoe"));
    cr_assert(eq(str, (char *)b.operand[0], "f.vmoe"));
}

Test(options, absent_options_have_their_defaults) {
    Args a;
    cr_assert(eq(int, PARSE(train, &a, "f.vmoe"), VM_OK));
    cr_assert(eq(long, (long)opt_or(a.o.seed, 42), 42));
    cr_assert(zero(ptr, (void *)a.o.data));
    cr_assert(not(a.o.resume.given));
}

Test(options, some_may_have_a_value) {
    Args a;
    cr_assert(eq(int, PARSE(train, &a, "--resume", "f.vmoe"), VM_OK));
    cr_assert(a.o.resume.given);
    cr_assert(zero(ptr, (void *)a.o.resume.text), "the next word is the file");
    cr_assert(eq(int, PARSE(train, &a, "--resume=previous", "f.vmoe"), VM_OK));
    cr_assert(a.o.resume.given);
    cr_assert(eq(str, (char *)a.o.resume.text, "previous"));
}

Test(options, lists_keep_their_order) {
    Args a;
    cr_assert(eq(int, PARSE(check, &a, "--set", "a=1", "f.vmoe", "--set=b=2=3", "--json"), VM_OK));
    const OptList *set = &a.o.set;
    cr_assert(eq(int, set->n, 2));
    cr_assert(eq(str, (char *)set->list[0], "a=1"));
    cr_assert(eq(str, (char *)set->list[1], "b=2=3"));
    cr_assert(a.o.json);
}

Test(options, a_dash_is_an_operand_and_two_end_options) {
    Args a;
    cr_assert(eq(int, PARSE(opt, &a, "--passes", "cse", "-"), VM_OK));
    cr_assert(eq(str, (char *)a.operand[0], "-"));
    cr_assert(eq(int, PARSE(check, &a, "--", "--json"), VM_OK));
    cr_assert(eq(str, (char *)a.operand[0], "--json"));
    cr_assert(not(a.o.json));
}

Test(options, refuses, .init = cr_redirect_stderr) {
    Args a;
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs", "x"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs", "3x"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs="), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs", "99999999999999999999"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs", "-1"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--epochs", "1", "--epochs", "1"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--data="), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--quiet=1"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--inputs", "w"), VM_USAGE)); /* another command's */
    cr_assert(eq(int, PARSE(train, &a, "f", "g"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "--resume"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--resume", "--resume=previous"), VM_USAGE));
    cr_assert(eq(int, PARSE(train, &a, "f", "--resume="), VM_USAGE));
}

Test(options, every_command_has_help, .init = cr_redirect_stdout) {
    for (int i = 0; i <= CMD_COUNT; i++) cmd_help(stdout, (CmdId)i);
    cr_assert(eq(int, (int)cmd_by_name("train"), CMD_train));
    cr_assert(eq(int, (int)cmd_by_name("bild"), CMD_COUNT));
    cr_assert(eq(str, (char *)cmd_suggest("bild"), "build"));
    cr_assert(eq(str, (char *)cmd_suggest("emti"), "emit"));
}
