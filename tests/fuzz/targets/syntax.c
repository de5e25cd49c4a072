/* Source text: whatever comes, parsing ends with a file node and diagnostics that can be shown.
 * Text without mistakes is formatted to text that parses to the same tree with the same comments,
 * and formatting that changes nothing. */
#include "tests/fuzz/target.h"

#include <stdio.h>

#include "base/json.h"
#include "frontend/syntax/ast.h"
#include "frontend/syntax/lexer.h"

/* How many comments there are, and their bytes. */
typedef struct Comments {
    int n;
    size_t bytes;
} Comments;

static void count(Comments *c, const char *text) {
    c->n += *text != '\0';
    c->bytes += strlen(text);
}

static Comments comments_of(Arena *a, const Source *src) {
    Lexer l;
    Comments c = {0};
    lex_init(&l, a, src, diags_create(a));
    for (;;) {
        Token t = lex_next(&l);
        if (t.trailing_prev) count(&c, t.trailing_prev);
        for (int i = 0; i < t.nlead; i++) count(&c, t.lead[i]);
        if (t.kind == TOK_EOF) return c;
    }
}

static void check_format(Arena *a, const Source *src, const Ast *file) {
    Text once = text_new(a), twice = text_new(a), tree = text_new(a), tree_again = text_new(a);
    ast_format(&once, file);
    Source *formatted = source_from_text(a, "formatted.vmoe", once.data);
    Diags *d = diags_create(a);
    Ast *again = parse_file(a, formatted, d);
    FUZZ_CHECK(d->nerrors == 0, "formatted text does not parse: %s", d->first->text);
    ast_format(&twice, again);
    FUZZ_CHECK(!strcmp(once.data, twice.data), "formatting again changes the text");
    ast_dump(&tree, file);
    ast_dump(&tree_again, again);
    FUZZ_CHECK(!strcmp(tree.data, tree_again.data), "formatting changes the tree");
    Comments before = comments_of(a, src), after = comments_of(a, formatted);
    FUZZ_CHECK(before.n == after.n && before.bytes == after.bytes, "formatting loses comments");
}

static void show(Arena *a, const Diags *d) {
    int n;
    const Diag *const *all = diags_in_order(d, &n);
    for (int i = 0; i < n; i++) {
        Text t = text_new(a);
        diag_text(&t, all[i], i % 2, i % 3 * 40);
    }
    VmJson list = vm_json_list();
    diags_add_json(&list, d);
    FUZZ_CHECK(!list.failed, "diagnostics make no JSON");
    vm_json_free(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    Source *src = source_from_text(a, "fuzz.vmoe", text);
    Ast *file = parse_file(a, src, d);
    FUZZ_CHECK(file && file->kind == AST_FILE, "there is no file node");
    show(a, d);
    if (d->nerrors == 0) check_format(a, src, file);
    arena_destroy(a);
    free(text);
    return 0;
}
