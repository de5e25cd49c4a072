/* What happens in a run, said once: an event is a kind and named facts, and every open sink of
 * sinks.def hears it. Front door of this folder.
 *
 * A list of facts is built on the heap (vm_facts_*), where a failure is remembered until the
 * event is told, or laid over an array of the caller's, which needs no memory. Names and texts are
 * borrowed: they live until the event was told. */
#ifndef VMOEC_RUNTIME_LOG_EVENTS_H
#define VMOEC_RUNTIME_LOG_EVENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/file.h"
#include "base/json.h"

/* ---- facts ---- */

typedef enum VmFactType {
    VM_FACT_INT,
    VM_FACT_NUMBER, /* one that is not finite does not exist */
    VM_FACT_BOOL,
    VM_FACT_TEXT,
    VM_FACT_WORD,  /* text as a user wrote it: what looks like a number or truth value is one */
    VM_FACT_GROUP, /* of named facts */
    VM_FACT_LIST,  /* of facts without a name */
    VM_FACT_JSON   /* what is JSON already */
} VmFactType;

typedef struct VmFacts { /* {0}: none */
    struct VmFact *at;
    int n, cap; /* cap 0: `at` is the caller's */
    bool failed;
} VmFacts;

typedef struct VmFact {
    const char *name;
    VmFactType type;
    union {
        int64_t integer;
        double number;
        bool truth;
        const char *text;
        VmFacts part;
        VmJson json;
    };
} VmFact;

void vm_facts_int(VmFacts *f, const char *name, int64_t v);
void vm_facts_number(VmFacts *f, const char *name, double v);
void vm_facts_bool(VmFacts *f, const char *name, bool v);
void vm_facts_text(VmFacts *f, const char *name, const char *v);
void vm_facts_word(VmFacts *f, const char *name, const char *v);
/* These take the part over. */
void vm_facts_group(VmFacts *f, const char *name, VmFacts part);
void vm_facts_list(VmFacts *f, const char *name, VmFacts part);
void vm_facts_json(VmFacts *f, const char *name, VmJson part);
void vm_facts_free(VmFacts *f);

/* ---- events ---- */

typedef enum VmEventKind {
#define EVENT(kind, line, doc) VM_EVENT_##kind,
#include "runtime/log/events.def"
    VM_EVENT_COUNT
} VmEventKind;

typedef struct VmEvent {
    VmEventKind kind;
    const char *phase;   /* name of the model that is trained */
    int64_t step, epoch; /* epoch 0: it is of none */
    VmFacts facts;
} VmEvent;

const char *vm_event_name(VmEventKind k);
/* The fact of that name; NULL: the event has none. */
const VmFact *vm_event_fact(const VmEvent *e, const char *name);
double vm_event_number(const VmEvent *e, const char *name);    /* NAN: there is none */
int64_t vm_event_int(const VmEvent *e, const char *name);      /* 0: there is none */
const char *vm_event_text(const VmEvent *e, const char *name); /* "": there is none */

/* ---- sinks ---- */

/* What stays of the logs in the folder of a run that goes on: lines of steps up to `step` (-1:
 * nothing stays), and of those that say what an evaluation gave the ones up to `judged`. The rest
 * comes again. */
typedef struct VmLogKept {
    int64_t step, judged;
} VmLogKept;

/* What sinks write to. */
typedef struct VmLogPlace {
    FILE *progress;   /* NULL: silent */
    FILE *warnings;   /* NULL: only where nobody is (tests) */
    const VmDir *dir; /* the run's folder, borrowed */
    VmLogKept keep;
} VmLogPlace;

typedef struct VmSink {
    /* Makes *self. VM_ENV when it cannot write there, VM_INPUT when what it is to keep is damaged.
     */
    VmStatus (*open)(void **self, const VmLogPlace *place, VmError *err);
    VmStatus (*event)(void *self, const VmEvent *e, VmError *err);
    VmStatus (*close)(void *self, VmError *err); /* releases self, whatever it returns */
} VmSink;

typedef enum VmSinkId {
#define SINK(name, file, by_default, doc) VM_SINK_##name,
#include "runtime/log/sinks.def"
    VM_SINK_COUNT
} VmSinkId;

#define SINK(name, file, by_default, doc) extern const VmSink vm_sink_##name;
#include "runtime/log/sinks.def"

/* The sink's file in a run's folder; NULL: it has none. */
const char *vm_sink_file(VmSinkId sink);

/* Whether a set has the sink. */
bool vm_sink_is_chosen(unsigned set, VmSinkId sink);
/* A set of sinks, one bit for each; 0: those that listen by default. "jsonl,progress" -> the set of
 * those and of all that have no file; VM_USAGE for a name that is none of a sink with a file. */
VmStatus vm_sinks_parse(const char *names, unsigned *set, VmError *err);

/* ---- the hub ---- */

typedef struct VmLog { /* {.phase = .., .sinks = a set} at first */
    const char *phase;
    unsigned sinks, open; /* chosen; open now */
    void *self[VM_SINK_COUNT];
} VmLog;

/* Opens the chosen sinks that are not open yet; without a folder only those that need none. */
VmStatus vm_log_open(VmLog *log, const VmLogPlace *place, VmError *err);
/* The file of the first chosen sink that has one; NULL: none has. */
const char *vm_log_file(const VmLog *log);
/* Warns of chosen sinks whose file is not in the folder of a run that goes on. */
void vm_log_warn_of_lost(VmLog *log, const VmDir *dir);
/* Tells every open sink, and releases the facts. */
VmStatus vm_log_tell(VmLog *log, VmEventKind kind, int64_t epoch, int64_t step, VmFacts facts,
                     VmError *err);
void vm_log_note(VmLog *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void vm_log_warn(VmLog *log, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
VmStatus vm_log_close(VmLog *log, VmError *err);

#endif
