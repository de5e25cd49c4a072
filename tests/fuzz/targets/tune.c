/* Tuning files: every mistake is a diagnostic with a place; products that are read and written
 * again are the same. */
#include "tests/fuzz/target.h"

#include <inttypes.h>

#include "driver/session/session.h"

static const char *written(Arena *a, const CgTuning *t) {
    Text out = text_new(a);
    for (int i = 0; i < t->n; i++)
        text_addf(&out, "%s -> rows=%" PRId64 " cols=%" PRId64 "\n",
                  session_tuning_text(a, &t->list[i].product), t->list[i].rows, t->list[i].cols);
    return out.data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    TuningFile *f = session_tuning_read(a, source_from_text(a, "fuzz.tune", text), d);
    for (const Diag *x = d->first; x; x = x->next)
        FUZZ_CHECK(x->id == D_tuning_file && x->span.src && x->span.start <= x->span.end &&
                       (size_t)x->span.end <= x->span.src->len,
                   "%s", x->text);
    const char *once = written(a, &f->blocks);
    Diags *again = diags_create(a);
    f = session_tuning_read(a, source_from_text(a, "again.tune", once), again);
    FUZZ_CHECK(again->nerrors == 0, "what was written is refused: %s", again->first->text);
    FUZZ_CHECK(!strcmp(once, written(a, &f->blocks)), "written again it differs");
    arena_destroy(a);
    free(text);
    return 0;
}
