/* Counts what a model took images for: per class and answer, from the scores of an evaluation. The
 * answer is the class with the greatest score, of equal ones the first, as the metric accuracy has
 * it. */
#include "cli/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MATRIX_CLASSES = 24, PAIRS = 20, WIDE = 24 };

/* ---- counting -------------------------------------------------------------------------------- */

static void begin(Tally *t, const VmScores *b) {
    t->data = b->data;
    t->classes = b->classes;
    t->count = ARENA_ARRAY(t->arena, int64_t, b->classes * b->classes);
    memset(t->count, 0, (size_t)(b->classes * b->classes) * sizeof *t->count);
    t->lines = text_new(t->arena);
}

/* How many classes score more than this one, or as much and come first. */
static int64_t rank_of(const float *score, int64_t classes, int64_t label) {
    int64_t rank = 0;
    for (int64_t i = 0; i < classes; i++)
        rank += score[i] > score[label] || (score[i] == score[label] && i < label);
    return rank;
}

static int64_t answer_of(const float *score, int64_t classes) {
    int64_t best = 0;
    for (int64_t i = 1; i < classes; i++)
        if (score[i] > score[best]) best = i;
    return best;
}

static double probability_of(const float *score, int64_t classes, int64_t answer) {
    double sum = 0;
    for (int64_t i = 0; i < classes; i++) sum += exp((double)score[i] - (double)score[answer]);
    return 1 / sum;
}

static void list_image(Tally *t, int64_t i, int64_t label, int64_t answer, double probability) {
    text_addf(&t->lines, "%lld", (long long)i);
    text_addf(&t->lines, ",%s,%s,%.9g", drv_csv_field(t->arena, tally_class(t, label)),
              drv_csv_field(t->arena, tally_class(t, answer)), probability);
    const char *file = vm_dataset_file(t->data, i);
    if (file) text_addf(&t->lines, ",%s", drv_csv_field(t->arena, file));
    text_add(&t->lines, "\n");
    t->listed++;
}

void tally_take(void *tally, const VmScores *b) {
    Tally *t = tally;
    if (!t->count) begin(t, b);
    for (int64_t i = 0; i < b->n; i++) {
        const float *score = b->score + i * b->classes;
        int64_t label = vm_dataset_label(b->data, b->first + i);
        int64_t answer = answer_of(score, b->classes);
        t->count[label * t->classes + answer]++;
        t->images++;
        t->right += answer == label;
        t->top += rank_of(score, b->classes, label) < TALLY_TOP;
        if (t->list)
            list_image(t, b->first + i, label, answer, probability_of(score, b->classes, answer));
    }
}

const char *tally_class(const Tally *t, int64_t i) {
    const char *name = vm_dataset_class(t->data, i);
    if (!name) return arena_printf(t->arena, "%lld", (long long)i);
    char *shown = arena_strdup(t->arena, name);
    vm_make_printable(shown);
    return shown;
}

int64_t tally_of(const Tally *t, int64_t class) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->classes; i++) n += tally_count(t, class, i);
    return n;
}

int64_t tally_answers(const Tally *t, int64_t class) {
    int64_t n = 0;
    for (int64_t i = 0; i < t->classes; i++) n += tally_count(t, i, class);
    return n;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* "83.33", or "-" where there is nothing to count. */
static const char *share(Arena *a, int64_t part, int64_t of) {
    return of ? arena_printf(a, "%.2f", 100 * (double)part / (double)of) : "-";
}

static int name_width(const Tally *t) {
    int wide = 5;
    for (int64_t i = 0; i < t->classes; i++) {
        int n = (int)strlen(tally_class(t, i));
        if (n > wide) wide = n < WIDE ? n : WIDE;
    }
    return wide;
}

void tally_print_classes(const Tally *t) {
    int wide = name_width(t);
    printf("%-*s %8s %8s %10s %12s\n", wide, "class", "images", "right", "recall %", "precision %");
    for (int64_t i = 0; i < t->classes; i++) {
        int64_t n = tally_of(t, i), right = tally_count(t, i, i);
        printf("%-*.*s %8lld %8lld %10s %12s\n", wide, wide, tally_class(t, i), (long long)n,
               (long long)right, share(t->arena, right, n),
               share(t->arena, right, tally_answers(t, i)));
    }
}

static void print_matrix(const Tally *t) {
    int wide = name_width(t), digits = 3;
    for (int64_t i = 0; i < t->classes * t->classes; i++)
        for (int64_t n = t->count[i], d = 1; n; n /= 10, d++)
            if (d > digits) digits = (int)d;
    printf("%-*s  taken for\n%-*s", wide + 3, "class", wide + 3, "");
    for (int64_t k = 0; k < t->classes; k++) printf(" %*lld", digits, (long long)k);
    printf("\n");
    for (int64_t i = 0; i < t->classes; i++) {
        printf("%2lld %-*.*s", (long long)i, wide, wide, tally_class(t, i));
        for (int64_t k = 0; k < t->classes; k++) {
            int64_t n = tally_count(t, i, k);
            printf(" %*s", digits, n ? arena_printf(t->arena, "%lld", (long long)n) : ".");
        }
        printf("\n");
    }
}

typedef struct Pair {
    int64_t class, answer, n;
} Pair;

static int by_count(const void *x, const void *y) {
    const Pair *a = x, *b = y;
    if (a->n != b->n) return a->n > b->n ? -1 : 1;
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    return a->answer < b->answer ? -1 : a->answer > b->answer;
}

/* Of many classes, the mistakes that are made most often. */
static void print_pairs(const Tally *t) {
    Pair *list = ARENA_ARRAY(t->arena, Pair, t->classes * t->classes);
    int64_t n = 0;
    for (int64_t i = 0; i < t->classes * t->classes; i++) {
        Pair p = {i / t->classes, i % t->classes, t->count[i]};
        if (p.n && p.class != p.answer) list[n++] = p;
    }
    qsort(list, (size_t)n, sizeof *list, by_count);
    int wide = name_width(t);
    printf("%-*s   %-*s %8s %8s\n", wide, "class", wide, "taken for", "images", "of");
    for (int64_t i = 0; i < n && i < PAIRS; i++)
        printf("%-*.*s   %-*.*s %8lld %8lld\n", wide, wide, tally_class(t, list[i].class), wide,
               wide, tally_class(t, list[i].answer), (long long)list[i].n,
               (long long)tally_of(t, list[i].class));
    if (n > PAIRS) printf("and %lld other pairs\n", (long long)(n - PAIRS));
}

void tally_print_confusion(const Tally *t) {
    if (t->classes <= MATRIX_CLASSES)
        print_matrix(t);
    else
        print_pairs(t);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

void tally_json_classes(const Tally *t, VmJson *o) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < t->classes; i++) {
        VmJson c = vm_json_object();
        int64_t n = tally_of(t, i), right = tally_count(t, i, i), answers = tally_answers(t, i);
        vm_json_string(&c, "class", tally_class(t, i));
        vm_json_int(&c, "images", n);
        vm_json_int(&c, "right", right);
        vm_json_number(&c, "recall", n ? (double)right / (double)n : NAN);
        vm_json_number(&c, "precision", answers ? (double)right / (double)answers : NAN);
        vm_json_put(&list, NULL, c);
    }
    vm_json_put(o, "per_class", list);
}

void tally_json_confusion(const Tally *t, VmJson *o) {
    VmJson rows = vm_json_list();
    for (int64_t i = 0; i < t->classes; i++) {
        VmJson row = vm_json_list();
        for (int64_t k = 0; k < t->classes; k++) vm_json_int(&row, NULL, tally_count(t, i, k));
        vm_json_put(&rows, NULL, row);
    }
    vm_json_put(o, "confusion", rows);
}
