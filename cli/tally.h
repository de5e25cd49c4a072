/* What a model took images for, counted (tally.c), and drawn (confusion.c). */
#ifndef VMOEC_CLI_TALLY_H
#define VMOEC_CLI_TALLY_H

#include "cli/cli.h"

enum { TALLY_TOP = 5 };

/* Of a split; classes 0: nothing was counted, as the model scores none. */
typedef struct Tally {
    Arena *arena;
    const VmDataset *data;
    int64_t classes, images, right, top; /* top: the class is among the TALLY_TOP likeliest */
    int64_t *count;                      /* [classes][classes]: of a class, taken for another */
    bool list;                           /* every image goes into `lines` */
    Text lines;                          /* comma-separated */
    int64_t listed;
} Tally;

/* A SessionEval.watch. */
void tally_take(void *tally, const VmScores *b);

/* The name of a class, or its number. */
const char *tally_class(const Tally *t, int64_t i);
/* Images of a class; those that were taken for it. */
int64_t tally_of(const Tally *t, int64_t class);
int64_t tally_answers(const Tally *t, int64_t class);
static inline int64_t tally_count(const Tally *t, int64_t class, int64_t answer) {
    return t->count[class * t->classes + answer];
}

/* Tables on stdout. */
void tally_print_classes(const Tally *t);
void tally_print_confusion(const Tally *t);
/* Members of a JSON object. */
void tally_json_classes(const Tally *t, VmJson *o);
void tally_json_confusion(const Tally *t, VmJson *o);

/* The confusion matrix as an SVG (confusion.c): a row per class, a column per answer, as dark as
 * the answer's share of the class. */
void tally_draw(const Tally *t, const char *title, Text *svg);

#endif
