/* Paths of an image data set, a line each, behind a letter: f, d, l or o for file, folder, link or
 * other; the first line says which splits are wanted. What comes out does not depend on the order
 * in which they come. */
#include "tests/fuzz/target.h"

#include "runtime/data/image.h"

enum { MOST = 128 };

typedef struct Lines {
    const char *at[MOST];
    int n;
} Lines;

static void split(char *text, Lines *l) {
    for (char *p = strtok(text, "\n"); p && l->n < MOST; p = strtok(NULL, "\n"))
        if (*p) l->at[l->n++] = p;
}

static VmStatus read_names(VmImageNames *n, const Lines *l, bool backwards, VmError *err) {
    int wish = l->at[0][0];
    *n = (VmImageNames){.root = "fuzz", .may_have_top = (wish & 1) != 0};
    n->want[VM_TRAIN] = !(wish & 2);
    n->want[VM_TEST] = (wish & 4) != 0;
    n->want[VM_VALIDATION] = (wish & 8) != 0;
    VmStatus s = VM_OK;
    for (int i = 1; i < l->n && !s; i++) {
        const char *line = l->at[backwards ? l->n - i : i], *kinds = "fdlo";
        const char *kind = strchr(kinds, line[0]);
        int part;
        s = vm_names_add(n, line + (kind != NULL),
                         kind ? (VmEntryKind)(kind - kinds) : VM_ENTRY_FILE, &part, err);
    }
    return s ? s : vm_names_finish(n, err);
}

/* The parts that splits are read from. */
static void check_same(const VmImageNames *a, const VmImageNames *b) {
    int part[VM_SPLITS], other[VM_SPLITS], n = vm_names_parts(a, part);
    FUZZ_CHECK(n == vm_names_parts(b, other), "parts depend on the order");
    FUZZ_CHECK(a->nclass == b->nclass, "classes depend on the order");
    for (int i = 0; i < n; i++) {
        const VmImagePart *p = &a->part[part[i]], *q = &b->part[part[i]];
        FUZZ_CHECK(part[i] == other[i] && p->n == q->n, "images depend on the order");
        for (int64_t k = 0; k < p->n; k++) {
            char *x = vm_names_path(a, part[i], &p->at[k]),
                 *y = vm_names_path(b, part[i], &q->at[k]);
            FUZZ_CHECK(x && y && !strcmp(x, y), "the order depends on the order: %s, %s", x, y);
            FUZZ_CHECK(p->at[k].class->label == q->at[k].class->label, "label of %s", x);
            free(x);
            free(y);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VmImageNames one, other;
    VmError err;
    Lines l = {.n = 0};
    char *text = fuzz_text(data, size);
    split(text, &l);
    if (l.n > 0) {
        VmStatus s = read_names(&one, &l, false, &err), t = read_names(&other, &l, true, &err);
        FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
        if (!s && !t) check_same(&one, &other);
        FUZZ_CHECK(!s == !t, "whether it is refused depends on the order: %s", err.text);
        vm_names_free(&one);
        vm_names_free(&other);
    }
    free(text);
    return 0;
}
