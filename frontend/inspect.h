/* What an editor asks about a loaded file: what stands at a place, what elaboration made of it,
 * where it was defined, and which names could stand there. Places are byte offsets in the main
 * file. Answers come from the text as it is, also when it has mistakes: what was not elaborated has
 * no value. */
#ifndef VMOEC_FRONTEND_INSPECT_H
#define VMOEC_FRONTEND_INSPECT_H

#include "frontend/frontend.h"

/* From now on values of the main file's expressions are remembered as models are elaborated, whose
 * arenas must live as long as they are asked for; watch false: no longer. */
void fe_watch(FeExperiment *e, bool watch);

/* The main file. */
const Source *fe_source(const FeExperiment *e);
/* Whether the experiment was made with the file of that canonical path. */
bool fe_reads(const FeExperiment *e, const char *real);

typedef struct FeThing {
    Span span;          /* the word that stands there */
    const char *title;  /* "layer mlp(x: [.., D], hidden) -> [.., D]", "x" */
    const char *doc;    /* prose about it; "": none */
    const char *value;  /* "f32[128,16,32]"; NULL: not known */
    int calls;          /* how often it was evaluated; values of the others may differ */
    int64_t parameters; /* of weights that it made, in all calls together */
    Span defined;       /* src NULL: nowhere in a file */
} FeThing;

/* False where no word with a meaning stands. */
bool fe_thing_at(const FeExperiment *e, Arena *a, int offset, FeThing *out);

typedef enum FeNameKind { FE_NAME_LOCAL, FE_NAME_CONFIG, FE_NAME_LAYER, FE_NAME_MODEL } FeNameKind;

typedef struct FeName {
    FeNameKind kind;
    const char *name, *title, *doc;
    Span defined;
} FeName;

/* Names that can stand at a place, and all layers and models; returns how many. */
int fe_names_at(const FeExperiment *e, Arena *a, int offset, FeName **out);
/* Does the place lie in a train block? */
bool fe_in_train(const FeExperiment *e, int offset);

#endif
