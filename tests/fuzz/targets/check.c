/* Source text as `check` has it: names, settings, every model elaborated and tried for evaluation
 * and training, train blocks, advice. What stands behind a line of "====" are settings, as with
 * --set. Every diagnostic points into a file or nowhere. */
#include "tests/fuzz/target.h"

#include "driver/session/session.h"

enum { MOST_SETTINGS = 4 };

static void check_places(const Diags *d) {
    for (const Diag *x = d->first; x; x = x->next) {
        const Source *src = x->span.src;
        FUZZ_CHECK(!src || (x->span.start >= 0 && x->span.start <= x->span.end &&
                            (size_t)x->span.end <= src->len),
                   "'%s' points at bytes %d..%d", x->text, x->span.start, x->span.end);
    }
}

/* Elaborated for another batch, a model has the same weights. */
static int64_t weights_of(const IrGraph *g) {
    int64_t n = 0;
    IR_FOR (node, g)
        if (node->op == OP_param) n += ir_elems(&node->out[0].type);
    return n;
}

static void elaborate_again(Session *s, FeExperiment *e, Diags *d) {
    for (int i = 0; i < fe_nmodel(e); i++) {
        const IrGraph *one = fe_elaborate(e, s->arena, fe_model_name(e, i), 1, d);
        const IrGraph *three = one ? fe_elaborate(e, s->arena, fe_model_name(e, i), 3, d) : NULL;
        if (!one || !three || d->nerrors) return;
        const char *wrong = ir_verify(s->arena, three, true);
        FUZZ_CHECK(!wrong, "%s", wrong);
        FUZZ_CHECK(weights_of(one) == weights_of(three), "weights depend on the batch");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Session s;
    VmoecOptions o;
    VmError err;
    FuzzPart part;
    size_t at = 0;
    char *text[1 + MOST_SETTINGS];
    int n = 0;
    while (n <= MOST_SETTINGS && fuzz_part(data, size, &at, &part))
        text[n++] = fuzz_text(part.data, part.size);
    vmoec_options_init(&o);
    session_init(&s, &o);
    Diags *d = diags_create(s.arena);
    s.fe = (FeOptions){.text = text[0],
                       .set = (const char *const *)text + 1,
                       .nset = n - 1,
                       .model_dir = "models"};
    FeExperiment *e = fe_load(s.arena, "fuzz.vmoe", &s.fe, d, &err);
    if (e) {
        session_check(&s, e, 0, d);
        if (!d->nerrors) elaborate_again(&s, e, d);
    }
    check_places(d);
    session_close(&s);
    while (n > 0) free(text[--n]);
    return 0;
}
