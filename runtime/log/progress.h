/* What the progress display keeps; its clock is moved by tests. */
#ifndef VMOEC_RUNTIME_LOG_PROGRESS_H
#define VMOEC_RUNTIME_LOG_PROGRESS_H

#include "runtime/log/events.h"

typedef struct VmProgress {
    FILE *f, *warn; /* as in VmLogPlace */
    bool terminal, line_open;
    double last, start; /* when a line was shown; when the run started */
    int64_t first_step;
    int columns; /* of the terminal, as tests have it; 0: it is asked */
} VmProgress;

#endif
