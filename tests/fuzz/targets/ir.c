/* IR text: it is read and verified, or refused with a place; what is printed of it reads back to
 * the same text, with the same types of the same values. */
#include "tests/fuzz/target.h"

#include "ir/ir.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    Arena *a = arena_create();
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "fuzz.vir", &error);
    FUZZ_CHECK(g || error, "neither a graph nor an error");
    if (g) {
        const char *wrong = ir_verify(a, g, true), *once = ir_to_text(a, g);
        FUZZ_CHECK(!wrong, "what was read does not verify: %s", wrong);
        IrGraph *again = ir_read(a, once, "again.vir", &error);
        FUZZ_CHECK(again, "what was printed is refused: %s", error);
        FUZZ_CHECK(!strcmp(once, ir_to_text(a, again)), "printed again it differs");
        FUZZ_CHECK(!strcmp(once, ir_to_text(a, ir_graph_clone(a, g))), "a copy differs");
        (void)ir_verify(a, g, false);
        IR_FOR (n, g) {
            IrWork work;
            (void)ir_work(n, &work);
        }
    }
    arena_destroy(a);
    free(text);
    return 0;
}
