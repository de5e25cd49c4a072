/* What the models of models/ cost: the lines of model_counts.txt, and the tables of docs/models.md.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "driver/session/session.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SETS = 8, LINE = 512 };

/* Counts of models/NAME.vmoe; words: NAME, then NAME=VALUE as for --set, between blanks. */
static Counts count_file(const char *words, Session *s) {
    char text[LINE], path[LINE + 16];
    const char *set[MAX_SETS];
    VmoecOptions o;
    vmoec_options_init(&o);
    snprintf(text, sizeof text, "%s", words);
    snprintf(path, sizeof path, "models/%s.vmoe", strtok(text, " "));
    for (char *w; (w = strtok(NULL, " ")) != NULL;) {
        cr_assert(o.nset < MAX_SETS);
        set[o.nset++] = w;
    }
    o.path = path;
    o.set = set;
    o.models = "models";
    o.precision = "f32";
    cr_assert(eq(int, session_open(s, &o, false), VM_OK), "%s", words);
    const IrGraph *g = session_graph(s, s->batch);
    cr_assert(g != NULL, "%s", words);
    return session_count(s->arena, g, s->batch);
}

/* ---- model_counts.txt ------------------------------------------------------------------------ */

/* Whether n is what `text` says: a number, one of G or M with some decimals, or - for anything. */
static bool agrees(const char *text, double n) {
    char *unit;
    double want = strtod(text, &unit);
    const char *point = strchr(text, '.');
    if (!strcmp(text, "-")) return true;
    if (!*unit) return want == n && unit != text;
    double scale = !strcmp(unit, " G") ? 1e9 : !strcmp(unit, " M") ? 1e6 : 0;
    if (scale == 0 || !point) return false;
    double digits = pow(10, (double)(unit - point - 1));
    return round(n / scale * digits) == round(want * digits);
}

/* Cuts a line at " | "; returns how many parts there were. */
static int cut(char *line, char **part, int most) {
    int n = 0;
    for (char *p = line; p && n < most; n++) {
        part[n] = p;
        p = strstr(p, " | ");
        if (!p) continue;
        *p = 0;
        p += 3;
    }
    return n;
}

/* Calls f for every line of the table, cut into its six parts; returns how many. */
static int every_row(void (*f)(char **part, void *user), void *user) {
    FILE *file = fopen("tests/driver/model_counts.txt", "r");
    cr_assert(ne(ptr, file, NULL));
    char line[LINE], *part[6];
    int n = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!*line || *line == '#') continue;
        cr_assert(eq(int, cut(line, part, 6), 6), "%s", line);
        f(part, user);
        n++;
    }
    fclose(file);
    return n;
}

static void check_row(char **part, void *user) {
    (void)user;
    Session s;
    Counts c = count_file(part[1], &s);
    double got[4] = {(double)c.total.params, (double)c.total.active, c.total.macs,
                     c.total.macs - c.total.attention};
    static const char *const what[4] = {"parameters", "activated", "MAC", "MAC without attention"};
    for (int i = 0; i < 4; i++)
        cr_expect(agrees(part[2 + i], got[i]), "%s: %s is %.0f, not %s", part[0], what[i], got[i],
                  part[2 + i]);
    session_close(&s);
}

Test(models, published_architectures_count_right) {
    cr_assert(ge(int, every_row(check_row, NULL), 30));
}

Test(models, an_image_meets_the_experts_its_tokens_choose) {
    const struct {
        const char *words;
        int64_t image;
    } row[] = {{"deit_ti_moe", 11046952},          /* 197 tokens: all ten experts */
               {"deit_ti_image top_k=2", 6311464}, /* one choice for all of them: two experts */
               {"mnist_moe patch=32", 662286},     /* one token: two of four */
               {"mnist_moe", 695822},              /* four tokens: eight choices */
               {"mnist_moe experts=16", 1488410 - 8 * (128 * 256 + 256 + 256 * 128 + 128)},
               {"vit_s8 sparse=[]", 22050664}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        Session s;
        Counts c = count_file(row[i].words, &s);
        cr_expect(eq(long, (long)c.image, (long)row[i].image), "%s", row[i].words);
        session_close(&s);
    }
}

Test(models, numbers_of_the_table_are_compared_to_their_last_digit) {
    cr_assert(agrees("4.599 G", 4598882304));
    cr_assert(not(agrees("4.598 G", 4598882304)));
    cr_assert(agrees("24.417 M", 24417123));
    cr_assert(not(agrees("24.417 G", 24417123)));
    cr_assert(agrees("407050", 407050));
    cr_assert(not(agrees("407050", 407051)));
    cr_assert(not(agrees("some", 0)));
}

/* ---- docs/models.md -------------------------------------------------------------------------- */

/* 71694952 -> "71 694 952" */
static const char *grouped(char buf[32], int64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n);
    char *to = buf;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0) *to++ = ' ';
        *to++ = digits[i];
    }
    *to = 0;
    return buf;
}

/* The page must have a line that begins with `head` and ends with these numbers. */
static void expect_line(const char *page, const char *head, const Counts *c) {
    char params[32], active[32], tail[128];
    int len = snprintf(tail, sizeof tail, " | %s | %s | %#.4g |", grouped(params, c->total.params),
                       grouped(active, c->total.active), c->total.macs / 1e9);
    const char *at = strstr(page, head);
    cr_expect(ne(ptr, (void *)at, NULL), "docs/models.md has no line '%s': run make docs", head);
    if (!at) return;
    const char *end = at + strcspn(at, "\n");
    cr_expect(end - at > len && !strncmp(end - len, tail, (size_t)len),
              "docs/models.md: the line '%s' does not end in '%s': run make docs", head, tail);
}

static char *read_page(void) {
    FILE *file = fopen("docs/models.md", "r");
    cr_assert(ne(ptr, file, NULL), "docs/models.md is missing: run make docs");
    char *page = calloc(1, 1 << 20);
    size_t n = fread(page, 1, (1 << 20) - 1, file);
    cr_assert(n > 0 && feof(file));
    fclose(file);
    return page;
}

static void check_documented(char **part, void *page) {
    char head[LINE];
    Session s;
    Counts c = count_file(part[1], &s);
    snprintf(head, sizeof head, "\n| %s | `%s` | ", part[0], part[1]);
    expect_line(page, head + 1, &c);
    session_close(&s);
}

Test(models, the_page_has_every_line_of_the_table) {
    char *page = read_page();
    every_row(check_documented, page);
    free(page);
}

Test(models, the_page_has_every_file) {
    char *page = read_page();
    glob_t files;
    cr_assert(eq(int, glob("models/*.vmoe", 0, NULL, &files), 0));
    for (size_t i = 0; i < files.gl_pathc; i++) {
        char name[LINE], head[2 * LINE + 32];
        Session s;
        snprintf(name, sizeof name, "%s", strrchr(files.gl_pathv[i], '/') + 1);
        *strrchr(name, '.') = 0;
        Counts c = count_file(name, &s);
        snprintf(head, sizeof head, "| [%s](../models/%s.vmoe) | ", name, name);
        expect_line(page, head, &c);
        session_close(&s);
    }
    globfree(&files);
    free(page);
}
