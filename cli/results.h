/* What commands print of their results (results.c, classes.c, training.c). */
#ifndef VMOEC_CLI_RESULTS_H
#define VMOEC_CLI_RESULTS_H

#include <signal.h>

#include "cli/cli.h"
#include "cli/tally.h"
#include "runtime/train/classify.h"

/* ---- evaluation (results.c) ------------------------------------------------------------------ */

/* --split; VM_USAGE after a message. */
VmStatus cli_split(const Args *a, VmEvalSplit *out);
/* The result on stdout, as the options have it, and into files; VM_INPUT after a message when they
 * ask for classes of a model that has none. */
VmStatus cli_print_eval(const Args *a, const char *model, VmEvalSplit split, const VmEvalResult *r,
                        const Tally *t);

/* ---- classes of images (classes.c) ----------------------------------------------------------- */

/* Classifies the images that operands from the first one on name: files, folders, - for a list on
 * standard input; `run` has a classifier take them. Prints their classes. */
typedef VmStatus CliClassify(void *user, const VmImageStream *images);
VmStatus cli_predict(const Args *a, int first, CliClassify *run, void *user);
/* What is wrong with the command line, before anything is opened. */
VmStatus cli_predict_check(const Args *a, int first);

/* ---- training (training.c) ------------------------------------------------------------------- */

/* What options say of a run; its place is looked at already. VM_USAGE or what the place has, after
 * a message. name: the run goes to runs/<name>, if no folder is given. */
VmStatus cli_run(const Args *a, const char *name, VmRun *out);
/* From here on the first signal asks the run to end (cli_stop), and the second one ends it. */
void cli_listen(void);
extern volatile sig_atomic_t cli_stop;
/* What came out; the exit status. again: how to go on with a run that was stopped. */
VmStatus cli_print_train(const Args *a, const char *again, VmTrainResult *r, unsigned sinks);

#endif
