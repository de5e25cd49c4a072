/* The file an internal error leaves behind: it reads back and says what was still to be done. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/session/session.h"

static const char *read_back(Arena *a) {
    FILE *f = fopen("vmoec-crash.vir", "r");
    cr_assert(f != NULL);
    Text t = text_new(a);
    char buf[4096];
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) text_addn(&t, buf, n);
    fclose(f);
    return t.data;
}

Test(crash, file_carries_the_graph_and_the_remaining_passes) {
    char dir[] = "/tmp/vmoec-crash-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    cr_assert(zero(int, chdir(dir)));
    const char *text = "graph @g {\n"
                       "  %0 = input {name = \"x\"} : f32[4]\n"
                       "  %1 = relu %0 : f32[4]\n"
                       "  output \"y\" %1\n}\n";
    static const PassId rest[] = {PASS_simplify, PASS_fuse};
    Session s;
    session_init(&s, &(VmoecOptions){.crash_file = "vmoec-crash.vir"});
    const char *error = NULL;
    s.crash.graph = ir_read(s.arena, text, "g", &error);
    s.crash.list = rest;
    s.crash.n = 2;
    s.pass.training = true;
    s.pass.recompute = 7;
    (void)session_crash(&s);
    const char *got = read_back(s.arena);
    cr_assert(zero(int, strncmp(got, "; passes: simplify,fuse --training --recompute=7\n", 49)),
              "%s", got);
    IrGraph *g = ir_read(s.arena, got, "crash", &error);
    cr_assert(g != NULL, "%s", error);
    cr_assert(eq(str, (char *)ir_to_text(s.arena, g), (char *)text));
    session_close(&s);
    unlink("vmoec-crash.vir");
    cr_assert(zero(int, chdir("/")));
    cr_assert(zero(int, rmdir(dir)));
}

Test(crash, nothing_is_written_outside_of_passes) {
    char dir[] = "/tmp/vmoec-crash-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    cr_assert(zero(int, chdir(dir)));
    Session s;
    session_init(&s, &(VmoecOptions){.crash_file = "vmoec-crash.vir"});
    (void)session_crash(&s);
    session_close(&s);
    cr_assert(zero(int, chdir("/")));
    cr_assert(zero(int, rmdir(dir))); /* fails when there is a file in it */
}
