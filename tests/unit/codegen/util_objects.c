#include "tests/unit/codegen/util_objects.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/codegen/util_program.h"

static void take(void *user, const char *symbol, const void *object, size_t size) {
    Objects *o = user;
    cr_assert_lt(o->n, MAX_OBJECTS);
    char *copy = arena_alloc(o->arena, size);
    memcpy(copy, object, size);
    o->item[o->n++] = (LoadObject){.symbol = arena_strdup(o->arena, symbol),
                                   .data = copy,
                                   .size = size,
                                   .shared = strcmp(symbol, CG_KERNEL_SYMBOL) != 0};
}

Objects objects_make(Arena *a) {
    const char *error = NULL;
    const CgTarget *t = cg_target_host(a, &error);
    cr_assert_not_null(t, "%s", error);
    return objects_make_for(a, t);
}

Objects objects_make_for(Arena *a, const CgTarget *t) {
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=1", 2);
    program_run(g, PIPE_TRAIN);
    Objects o = objects_of(a, g, t);
    cr_assert_gt(o.n, 8);
    return o;
}

Objects objects_of(Arena *a, IrGraph *g, const CgTarget *t) {
    Objects o = {.arena = a};
    const char *error = NULL;
    const CgBackend *b = backend_load(a, NULL, &error);
    cr_assert_not_null(b, "%s", error);
    CgUnit *u = b->create(a, t, &error);
    cr_assert_not_null(u, "%s", error);
    Plan *p = plan_create(a, g, t, pack_table_create(a));
    double seconds[2] = {0};
    for (int i = 0; i < p->ncluster && o.n < MAX_OBJECTS - 8; i++) {
        CgFacts facts;
        error = b->compile(u, (CgJob){p, &p->cluster[i]}, &facts, take, &o, seconds);
        cr_assert_null(error, "%s", error);
        o.facts[o.n - 1] = facts;
    }
    b->destroy(u);
    return o;
}

void *objects_exact_copy(const void *data, size_t size) {
    void *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    return copy;
}
