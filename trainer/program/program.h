/* A program that vmoec built: its commands. Internal header of this folder. */
#ifndef VMOEC_TRAINER_PROGRAM_PROGRAM_H
#define VMOEC_TRAINER_PROGRAM_PROGRAM_H

#include "cli/cli.h"
#include "trainer/model.h"

/* Opens the model that is inside, with the command's threads; warnings go to stderr. After a
 * failure, which is said, it is closed. */
VmStatus program_open(const Args *a, VmModel *m);
/* Says err and gives its status. */
VmStatus program_fail(VmStatus s, const VmError *err);

VmStatus program_train(const Args *a);
VmStatus program_eval(const Args *a);
VmStatus program_predict(const Args *a);
VmStatus program_info(const Args *a);
VmStatus program_bench(const Args *a);

#endif
