/* The record of a checkpoint (record.c), for checkpoint.c alone. */
#ifndef VMOEC_RUNTIME_TRAIN_RECORD_H
#define VMOEC_RUNTIME_TRAIN_RECORD_H

#include "runtime/train/internal.h"

#define VM_RECORD_FILE "trainer.json"

/* All that decides a run's bits, as the record keeps it. */
struct json_t;
typedef struct VmRecordRun {
    struct json_t *run;
    bool lengthens; /* nothing in it depends on its length: it may be resumed as a longer one */
} VmRecordRun;

VmStatus vm_record_identity(const VmTraining *what, int64_t total, VmRecordRun *out, VmError *err);
void vm_record_free(VmRecordRun *r);
/* Every entry that is not the same, a line each with both values ("\n  key: a there, b here"); how
 * many. */
int vm_record_differences(const VmRecordRun *was, const VmRecordRun *is, char *text, size_t cap);

/* Where the run stood and what lies beside the record. */
typedef struct VmRecord {
    VmRunState at; /* without total and train_images */
    VmFileSum weights, state;
    bool has_state;
    const VmRouting *routing; /* whose sums are written; NULL: there is none */
    struct json_t *routes;    /* as they were read, to be released; NULL: there were none */
} VmRecord;

VmStatus vm_record_write(const VmDir *d, const VmRecordRun *run, const VmRecord *r, VmError *err);
/* VM_INPUT when the record is damaged: no valid JSON, another checksum than it says, entries
 * missing, or two of them that contradict each other. The caller frees run and r->routes. */
VmStatus vm_record_read(const VmDir *d, VmRecord *r, VmRecordRun *run, VmError *err);

#endif
