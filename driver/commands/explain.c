/* vmoec explain: what a diagnostic means, with an example; `all` prints the page of all of them. */
#include "base/spell.h"
#include "driver/commands/commands.h"

#include <string.h>

static VmStatus unknown(const char *slug) {
    const char *names[D_COUNT];
    for (int i = 0; i < D_COUNT; i++) names[i] = diag_slug((DiagId)i);
    const char *near = spell_suggest(slug, names, D_COUNT);
    return drv_fail(VM_USAGE, "there is no diagnostic '%s'%s%s%s (`vmoec explain all` prints all)",
                    slug, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

VmStatus cmd_explain(const Args *args) {
    char slug[128];
    const char *given = args->operand[0];
    size_t n = strlen(given);
    bool brackets = n > 2 && given[0] == '[' && given[n - 1] == ']'; /* as messages have it */
    snprintf(slug, sizeof slug, "%.*s", (int)(n - 2 * brackets), given + brackets);
    Text t = text_new(args->arena);
    DiagId id = diag_by_slug(slug);
    if (!strcmp(slug, "all"))
        diag_reference(&t);
    else if (id == D_COUNT)
        return unknown(slug);
    else
        diag_explain(&t, id);
    fwrite(t.data, 1, t.len, stdout);
    return VM_OK;
}
