/* Events and their facts: plain data that sinks read. */
#include "runtime/log/events.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- facts ---- */

static void put(VmFacts *f, VmFact v) {
    if (f->n == f->cap) {
        int cap = f->cap ? 2 * f->cap : 16;
        VmFact *at = realloc(f->at, (size_t)cap * sizeof *at);
        if (!at) {
            f->failed = true;
            return;
        }
        f->at = at;
        f->cap = cap;
    }
    f->at[f->n++] = v;
}

void vm_facts_int(VmFacts *f, const char *name, int64_t v) {
    put(f, (VmFact){.name = name, .type = VM_FACT_INT, .integer = v});
}

void vm_facts_number(VmFacts *f, const char *name, double v) {
    put(f, (VmFact){.name = name, .type = VM_FACT_NUMBER, .number = v});
}

void vm_facts_bool(VmFacts *f, const char *name, bool v) {
    put(f, (VmFact){.name = name, .type = VM_FACT_BOOL, .truth = v});
}

void vm_facts_text(VmFacts *f, const char *name, const char *v) {
    put(f, (VmFact){.name = name, .type = VM_FACT_TEXT, .text = v});
}

void vm_facts_word(VmFacts *f, const char *name, const char *v) {
    put(f, (VmFact){.name = name, .type = VM_FACT_WORD, .text = v});
}

/* Releases what the fact owns. */
static void drop(VmFact *v) {
    if (v->type == VM_FACT_GROUP || v->type == VM_FACT_LIST) vm_facts_free(&v->part);
    if (v->type == VM_FACT_JSON) vm_json_free(&v->json);
}

static void put_owned(VmFacts *f, VmFact v, bool failed) {
    int before = f->n;
    f->failed |= failed;
    put(f, v);
    if (f->n == before) drop(&v);
}

void vm_facts_group(VmFacts *f, const char *name, VmFacts part) {
    put_owned(f, (VmFact){.name = name, .type = VM_FACT_GROUP, .part = part}, part.failed);
}

void vm_facts_list(VmFacts *f, const char *name, VmFacts part) {
    put_owned(f, (VmFact){.name = name, .type = VM_FACT_LIST, .part = part}, part.failed);
}

void vm_facts_json(VmFacts *f, const char *name, VmJson part) {
    put_owned(f, (VmFact){.name = name, .type = VM_FACT_JSON, .json = part}, part.failed);
}

void vm_facts_free(VmFacts *f) {
    for (int i = 0; i < f->n; i++) drop(&f->at[i]);
    if (f->cap) free(f->at);
    *f = (VmFacts){0};
}

/* ---- events ---- */

const char *vm_event_name(VmEventKind k) {
    static const char *const names[VM_EVENT_COUNT] = {
#define EVENT(kind, line, doc) #kind,
#include "runtime/log/events.def"
    };
    return names[k];
}

const VmFact *vm_event_fact(const VmEvent *e, const char *name) {
    for (int i = 0; i < e->facts.n; i++)
        if (!strcmp(e->facts.at[i].name, name)) return &e->facts.at[i];
    return NULL;
}

double vm_event_number(const VmEvent *e, const char *name) {
    const VmFact *f = vm_event_fact(e, name);
    return f && f->type == VM_FACT_NUMBER ? f->number : (double)NAN;
}

int64_t vm_event_int(const VmEvent *e, const char *name) {
    const VmFact *f = vm_event_fact(e, name);
    return f && f->type == VM_FACT_INT ? f->integer : 0;
}

const char *vm_event_text(const VmEvent *e, const char *name) {
    const VmFact *f = vm_event_fact(e, name);
    return f && f->type == VM_FACT_TEXT ? f->text : "";
}

const char *vm_sink_file(VmSinkId sink) {
    static const char *const files[VM_SINK_COUNT] = {
#define SINK(name, file, by_default, doc) file,
#include "runtime/log/sinks.def"
    };
    return files[sink];
}
