/* vmoec eval: loss and metrics of given weights on a whole split, last partial batch included, and
 * what was taken for what. */
#include "cli/results.h"
#include "driver/commands/commands.h"

VmStatus cmd_eval(const Args *a) {
    Session s;
    VmEvalResult r;
    VmEvalSplit split;
    Tally t = {.arena = a->arena, .list = a->o.predictions != NULL};
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = cli_split(a, &split);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    SessionEval how = {.weights = a->o.weights,
                       .data = a->o.data,
                       .threads = (int)opt_or(a->o.threads, 0),
                       .split = split,
                       .anyway = a->o.anyway,
                       .files = t.list,
                       .watch = tally_take,
                       .watcher = &t};
    st = session_eval(&s, &how, &r);
    if (!st) st = cli_print_eval(a, s.model, split, &r, &t);
    session_close(&s);
    return st;
}
