/* Rules for names of other programs: what is read, what matches, what becomes of shapes and values,
 * and what is refused. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "driver/session/rename.h"

/* ---- names ----------------------------------------------------------------------------------- */

Test(rename, stars_stand_for_any_characters) {
    static const struct {
        const char *pattern, *name;
        bool fits;
    } cases[] = {
        {"a", "a", true},           {"a", "b", false},
        {"a", "ab", false},         {"*", "", true},
        {"*", "a.b", true},         {"a*", "a", true},
        {"a.*.c", "a.b.c", true},   {"a.*.c", "a.b.d", false},
        {"a.*.c", "a.b.c.c", true}, {"*.w", "x.y.w", true},
        {"*.w", "w", false},        {"?.w", "x.w", true},
        {"??", "x", false},         {"*b*b", "abab", true},
        {"*b*b", "ab", false},      {"a*b*c", "a1b2c3c", true},
        {"***", "x", true},         {"", "", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Stars s;
        cr_assert(
            eq(int, session_pattern_match(cases[i].pattern, cases[i].name, &s), cases[i].fits),
            "%s on %s", cases[i].pattern, cases[i].name);
    }
}

/* What stands on the left when the right is this; the end of `why` where a part is forgotten. */
Test(rename, names_go_back_where_nothing_is_forgotten) {
    static const struct {
        const char *pattern, *to, *name, *back, *why;
    } cases[] = {
        {"a", "b", "b", "a", NULL},
        {"a", "b", "c", NULL, NULL},
        {"blocks.*.fc.*", "*.up.*", "3.up.weight", "blocks.3.fc.weight", NULL},
        {"l*.*.bn*.*", "{1-1}.{2}.norm{3}.{4}", "0.5.norm2.mean", "l1.5.bn2.mean", NULL},
        {"l*", "x{1+2}", "x1", NULL, NULL}, /* no number below 0 becomes it */
        {"l*", "x{1+2}", "x2", "l0", NULL},
        {"l*", "x{1-1}", "xa", NULL, NULL},
        {"l*", "x{1-1}", "x99999999999999999999", NULL, NULL}, /* no int64_t, nor counted */
        {"*.a", "{1}.b.{1}", "x.b.x", "x.a", NULL},
        {"*.a", "{1}.b.{1}", "x.b.y", NULL, NULL},
        {"*.*.a", "{2}.{1}", "x.y", "y.x.a", NULL},
        {"*.*", "w.*", "w.x", NULL, "what star 2 stands for is not on the right"},
        {"?.x", "y", "y", NULL, "what ? stands for is not on the right"},
        {"a*", "*b", "cb", "ac", NULL},
        {"*x*", "*-*", "x-y", NULL, NULL}, /* xxy has its first star empty */
    };
    Arena *a = arena_create();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *why,
            *got = session_pattern_back(a, cases[i].pattern, cases[i].to, cases[i].name, &why);
        const char *want = cases[i].back, *reason = cases[i].why;
        cr_assert(eq(str, (char *)(got ? got : "none"), (char *)(want ? want : "none")), "%s",
                  cases[i].name);
        cr_assert(eq(str, (char *)(why ? why : "none"), (char *)(reason ? reason : "none")));
    }
    arena_destroy(a);
}

/* ---- reading --------------------------------------------------------------------------------- */

static RenameRules *rules_of(Arena *a, const char *text, Diags **d) {
    RenameRules *r = ARENA_NEW(a, RenameRules);
    *d = diags_create(a);
    session_rules_read(a, source_from_text(a, "f.rules", text), "models/rules", false, r, *d);
    return r;
}

Test(rename, a_file_as_a_person_writes_it) {
    Arena *a = arena_create();
    Diags *d;
    RenameRules *r = rules_of(a,
                              "# names of mine\r\n"
                              "\n"
                              "a.*.w -> *.weight transpose(1, 0)   reshape # here\n"
                              "\tskip  *.count\r\n"
                              "b->c -> d{1} # an arrow needs blanks around it\n"
                              "x*  ->  y{1+1} reshape( 2 ,-1)squeeze",
                              &d);
    cr_assert(eq(int, d->nerrors, 1));
    int line, col;
    span_place(d->first->span, &line, &col);
    cr_assert(eq(int, line, 5), "a right side counts stars that are there");
    cr_assert(eq(int, r->rule.n, 3));
    cr_assert(eq(str, (char *)r->rule.at[0].pattern, "a.*.w"));
    cr_assert(eq(str, (char *)r->rule.at[0].to, "*.weight"));
    cr_assert(eq(int, r->rule.at[0].step.n, 2));
    cr_assert(eq(int, (int)r->rule.at[0].step.at[0].kind, (int)STEP_transpose));
    cr_assert(eq(int, r->rule.at[0].step.at[0].n, 2));
    cr_assert(eq(int, (int)r->rule.at[0].step.at[1].kind, (int)STEP_reshape));
    cr_assert(zero(ptr, (void *)r->rule.at[1].to));
    cr_assert(eq(str, (char *)r->rule.at[1].pattern, "*.count"));
    cr_assert(eq(int, r->rule.at[2].step.n, 2));
    cr_assert(eq(long, (long)r->rule.at[2].step.at[0].arg[1], -1));
    arena_destroy(a);
}

Test(rename, mistakes_say_where_and_what_was_expected) {
    static const char *const cases[][2] = {
        {"a", "1:2 expected -> or => behind 'a', found the end of the line"},
        {"a b", "1:3 expected -> or => behind 'a', found 'b'"},
        {"a ->", "1:5 expected a name, found the end of the line"},
        {"\na -> b transposed(1,0)",
         "2:8 expected one of transpose, drop, patches, split, reshape, squeeze, repeat, found "
         "'transposed'; did you mean transpose?"},
        {"a -> b transpose", "1:8 expected 1 to 6 numbers for transpose, found 0"},
        {"a -> b squeeze(1)", "1:8 expected 0 to 0 numbers for squeeze, found 1"},
        {"a -> b transpose(1,,0)",
         "1:20 expected a whole number from 0 to 2147483647, or -1, found ','"},
        {"a -> b reshape(-2)",
         "1:16 expected a whole number from 0 to 2147483647, or -1, found '-'"},
        {"a -> b transpose(1,0",
         "1:21 expected a comma or a closing parenthesis, found the end of the line"},
        {"a -> b reshape(1,2,3,4,5,6,7)", "1:27 expected no more numbers, found ','"},
        {"a.* -> b.*.*",
         "1:8 expected at most 1 of the stars of 'a.*' on the right, found one more"},
        {"a -> b{x}", "1:6 expected {1}, {1+1} or {1-1} behind 'b', found '{x}'"},
        {"a.* -> b{0}", "1:8 expected {1}, {1+1} or {1-1} behind 'b', found '{0}'"},
        {"***************** -> a", "1:1 expected at most 16 stars, found more"},
        {"a => b squeeze", "1:8 expected the end of the line, found 'squeeze'"},
        {"skip", "1:5 expected names to skip, found the end of the line"},
        {"skip a b", "1:8 expected the end of the line, found 'b'"},
        {"use", "1:4 expected the name of a file of rules beside this one, found the end of the "
                "line"},
        {"use ../x", "1:5 expected the name of a file of rules beside this one, found '../x'"},
        {"use nothing", "1:5 cannot open 'models/rules/nothing.rules': No such file or directory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena *a = arena_create();
        Diags *d;
        rules_of(a, cases[i][0], &d);
        cr_assert(eq(int, d->nerrors, 1), "%s", cases[i][0]);
        cr_assert(eq(int, d->first->id, D_rules_file));
        int line, col;
        span_place(d->first->span, &line, &col);
        char text[700];
        snprintf(text, sizeof text, "%d:%d %s", line, col, d->first->text);
        cr_assert(eq(str, text, (char *)cases[i][1]));
        arena_destroy(a);
    }
}

Test(rename, a_file_takes_in_the_rules_of_another) {
    Arena *a = arena_create();
    Diags *d;
    RenameRules *vit = rules_of(a, "use timm_vit", &d);
    cr_assert(eq(int, d->nerrors, 0));
    RenameRules *both = rules_of(a, "a -> b\nuse timm_vit\nc -> d", &d);
    cr_assert(gt(int, vit->rule.n, 10));
    cr_assert(eq(int, both->rule.n, vit->rule.n + 2));
    cr_assert(eq(str, (char *)both->rule.at[0].to, "b"));
    cr_assert(eq(str, (char *)both->rule.at[both->rule.n - 1].to, "d"));
    arena_destroy(a);
}

/* ---- using ----------------------------------------------------------------------------------- */

/* A tensor whose values count from 0, in f32 (or i32 of zeros). */
#define TENSOR(NAME, ...)                                                                          \
    (VmTensorView) {                                                                               \
        .name = NAME, .rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {  \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

typedef struct Case {
    Arena *arena;
    RenameTask *task; /* in the arena: what renaming makes points to it */
    Rename *rename;
    Diags *diags;
} Case;

/* Values of every tensor. */
static const float *counted(void) {
    static float count[4096];
    for (int i = 0; i < 4096; i++) count[i] = (float)i;
    return count;
}

/* A list that ends without a name, with values. */
static int with_values(Arena *a, const VmTensorView *from, const VmTensorView **out) {
    int n = 0;
    while (from[n].name) n++;
    VmTensorView *list = ARENA_ARRAY(a, VmTensorView, n);
    for (int i = 0; i < n; i++) {
        list[i] = from[i];
        list[i].data = counted();
    }
    *out = list;
    return n;
}

static Case new_case(const char *rules, const VmTensorView *have, const VmTensorView *want) {
    Case c = {.arena = arena_create()};
    RenameRules *r = rules_of(c.arena, rules, &c.diags);
    cr_assert(eq(int, c.diags->nerrors, 0), "%s", c.diags->first ? c.diags->first->text : "");
    c.task = ARENA_NEW(c.arena, RenameTask);
    *c.task = (RenameTask){.rules = r, .path = "in", .model = "m", .channels = 3};
    c.task->ntensor = with_values(c.arena, have, &c.task->tensor);
    c.task->nweight = with_values(c.arena, want, &c.task->weight);
    return c;
}

/* Rules as text, the file's tensors and the model's weights, each list ending without a name. */
static Case rename_case(const char *rules, const VmTensorView *have, const VmTensorView *want) {
    Case c = new_case(rules, have, want);
    c.rename = session_rename(c.arena, c.task, c.diags);
    return c;
}

static void done(Case *c) {
    arena_destroy(c->arena);
}

/* The weight of that name as it is made; a rank of -1: it is not. */
static VmTensorView made(const Case *c, const char *name) {
    for (int i = 0; i < c->rename->n; i++)
        if (c->rename->of[i].fate == RENAME_LOADED && !strcmp(c->rename->of[i].name, name))
            return session_rename_value(c->arena, c->rename, i);
    return (VmTensorView){.rank = -1};
}

#define LIST(...) ((VmTensorView[]){__VA_ARGS__, {.name = NULL}})

Test(rename, every_tensor_has_its_fate) {
    Case c =
        rename_case("blocks.*.fc.weight -> {1+1}.up.weight transpose(1,0)\n"
                    "skip *.count\n"
                    "*.bias -> *.b\n",
                    LIST(TENSOR("blocks.0.fc.weight", 2, 3), TENSOR("x.bias", 4),
                         TENSOR("bn.count", 1), TENSOR("extra", 5), TENSOR("y.bias", 4)),
                    LIST(TENSOR("m.1.up.weight", 3, 2), TENSOR("m.x.b", 4), TENSOR("m.gate", 2)));
    cr_assert(eq(int, c.diags->nerrors + c.diags->nwarnings, 0));
    cr_assert(eq(int, c.rename->loaded, 2));
    cr_assert(eq(int, c.rename->missing, 1));
    cr_assert(eq(int, c.rename->skipped, 1));
    cr_assert(eq(int, c.rename->unused, 2), "one without a rule, one without a weight");
    cr_assert(zero(ptr, (void *)c.rename->maker[2]));
    const float *w = made(&c, "m.1.up.weight").data;
    const float want[] = {0, 3, 1, 4, 2, 5};
    cr_assert(eq(int, memcmp(w, want, sizeof want), 0));
    done(&c);
}

/* The first of rules that match counts, so a special one stands before a general one. */
Test(rename, the_first_rule_counts) {
    Case c = rename_case("a.w -> x\n*.w -> y.*\nb.w -> z", LIST(TENSOR("a.w", 1), TENSOR("b.w", 1)),
                         LIST(TENSOR("m.x", 1), TENSOR("m.y.b", 1), TENSOR("m.z", 1)));
    cr_assert(eq(int, c.rename->loaded, 2));
    cr_assert(eq(int, c.diags->nwarnings, 1));
    cr_assert(eq(str, (char *)c.diags->first->text,
                 "'b.w' matches tensors that rules before it have taken, and no other"));
    done(&c);
}

/* A rule counts where the model has its weight, so one file serves models that differ. */
Test(rename, a_rule_without_a_weight_leaves_the_tensor_to_the_next) {
    Case c = rename_case(
        "b*.w -> b*.mlp\nb*.w -> b*.experts repeat\nskip b3.w\n",
        LIST(TENSOR("b1.w", 2), TENSOR("b2.w", 2), TENSOR("b3.w", 2), TENSOR("b4.w", 2)),
        LIST(TENSOR("m.b1.mlp", 2), TENSOR("m.b2.experts", 3, 2)));
    cr_assert(eq(int, c.diags->nerrors + c.diags->nwarnings, 0));
    cr_assert(eq(int, c.rename->loaded, 2));
    cr_assert(eq(int, (int)c.rename->of[2].fate, (int)RENAME_SKIPPED));
    cr_assert(eq(int, (int)c.rename->of[3].fate, (int)RENAME_UNUSED));
    cr_assert(eq(str, (char *)c.rename->of[3].name, "m.b4.mlp"));
    done(&c);
}

/* Behind => a tensor goes on under another name, which the rules below see and nobody else. */
Test(rename, a_name_may_change_on_the_way) {
    Case c = rename_case("*.running_mean => *.mean\n"
                         "features.1.* => stages.0.*\n"
                         "stages.*.bn.* -> {1+1}.norm.{2}\n"
                         "features.* -> never.*\n",
                         LIST(TENSOR("features.1.bn.running_mean", 2), TENSOR("features.2.x", 2)),
                         LIST(TENSOR("m.1.norm.mean", 2), TENSOR("m.never.2.x", 2)));
    cr_assert(eq(int, c.diags->nerrors + c.diags->nwarnings, 0));
    cr_assert(eq(int, c.rename->loaded, 2));
    cr_assert(eq(str, (char *)c.rename->maker[0]->tensor->name, "features.1.bn.running_mean"));
    done(&c);
}

/* PyTorch's layouts and ours: w is what stands at [0,..,1,..] of each. */
Test(rename, layouts_of_convolutions) {
    Case c = rename_case(
        "conv -> conv transpose(2,3,1,0)\n"
        "group -> group split(0,2) transpose(0,3,4,2,1)\n"
        "depth -> depth transpose(2,3,0,1) reshape\n"
        "point -> point transpose(2,3,1,0) reshape\n"
        "scale -> scale squeeze\n"
        "token -> token drop(0,2)\n"
        "patch -> patch patches\n"
        "expert -> expert repeat\n",
        LIST(TENSOR("conv", 6, 5, 3, 4), TENSOR("group", 8, 3, 2, 2), TENSOR("depth", 5, 1, 2, 3),
             TENSOR("point", 7, 5, 1, 1), TENSOR("scale", 5, 1, 1), TENSOR("token", 1, 4, 1),
             TENSOR("patch", 5, 3, 2, 2), TENSOR("expert", 2, 3)),
        LIST(TENSOR("m.conv", 3, 4, 5, 6), TENSOR("m.group", 2, 2, 2, 3, 4),
             TENSOR("m.depth", 2, 3, 5), TENSOR("m.point", 5, 7), TENSOR("m.scale", 5),
             TENSOR("m.token", 4), TENSOR("m.patch", 12, 5), TENSOR("m.expert", 4, 2, 3)));
    cr_assert(eq(int, c.diags->nerrors, 0), "%s", c.diags->first ? c.diags->first->text : "");
    cr_assert(eq(int, c.rename->loaded, 8));
    const float *w = made(&c, "m.conv").data;
    for (int kh = 0; kh < 3; kh++)
        for (int kw = 0; kw < 4; kw++)
            for (int i = 0; i < 5; i++)
                for (int o = 0; o < 6; o++)
                    cr_assert(eq(flt, *w++, (float)(((o * 5 + i) * 3 + kh) * 4 + kw)));
    w = made(&c, "m.group").data;
    for (int g = 0; g < 2; g++)
        for (int kh = 0; kh < 2; kh++)
            for (int kw = 0; kw < 2; kw++)
                for (int i = 0; i < 3; i++)
                    for (int o = 0; o < 4; o++)
                        cr_assert(
                            eq(flt, *w++, (float)((((g * 4 + o) * 3 + i) * 2 + kh) * 2 + kw)));
    w = made(&c, "m.depth").data;
    for (int kh = 0; kh < 2; kh++)
        for (int kw = 0; kw < 3; kw++)
            for (int k = 0; k < 5; k++) cr_assert(eq(flt, *w++, (float)((k * 2 + kh) * 3 + kw)));
    w = made(&c, "m.point").data;
    for (int i = 0; i < 5; i++)
        for (int o = 0; o < 7; o++) cr_assert(eq(flt, *w++, (float)(o * 5 + i)));
    w = made(&c, "m.patch").data;
    for (int y = 0; y < 2; y++)
        for (int x = 0; x < 2; x++)
            for (int k = 0; k < 3; k++)
                for (int o = 0; o < 5; o++)
                    cr_assert(eq(flt, *w++, (float)(((o * 3 + k) * 2 + y) * 2 + x)));
    w = made(&c, "m.expert").data;
    for (int i = 0; i < 24; i++) cr_assert(eq(flt, w[i], (float)(i % 6)));
    done(&c);
}

/* Each has one tensor "t" [2,6] and one weight "m.w" [6,2]. */
Test(rename, what_does_not_fit_is_refused) {
    static const char *const cases[][2] = {
        {"t -> w", "'t' f32[2,6] but 'm.w' is f32[6,2]"},
        {"t -> w reshape(3,4)", "'t' f32[2,6] becomes f32[3,4] but 'm.w' is f32[6,2]"},
        {"t -> w transpose(2,1,0)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: it has 3 "
                                    "numbers for 2 dimensions"},
        {"t -> w transpose(0,0)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: it does not "
                                  "have each of 0 to 1 once"},
        {"t -> w reshape(-1,5)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: it has room "
                                 "for 10 values, not for 12"},
        {"t -> w reshape(-1,-1)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: more than "
                                  "one dimension is -1"},
        {"t -> w split(1,4)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: 4 does not "
                              "divide 6"},
        {"t -> w split(2,1)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: there is no "
                              "dimension 2"},
        {"t -> w repeat", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: it makes 3 "
                          "dimensions, the weight has 2"},
        {"t -> w drop(0)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: dimension 0 is 2, "
                           "not 1"},
        {"t -> w drop(2)", "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: its numbers are not "
                           "dimensions from 0 to 1, each once"},
        {"t -> w patches",
         "'t' f32[2,6] cannot become 'm.w' f32[6,2] by this: it is no [O, C, P, P]"},
        {"* -> w{1+1}", "the name of 't' has no number where 'w{1+1}' counts"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Case c = rename_case(cases[i][0], LIST(TENSOR("t", 2, 6)), LIST(TENSOR("m.w", 6, 2)));
        cr_assert(eq(int, c.diags->nerrors, 1), "%s", cases[i][0]);
        cr_assert(eq(int, c.diags->first->id, D_rules_fit));
        cr_assert(eq(str, (char *)c.diags->first->text, (char *)cases[i][1]));
        cr_assert(ne(ptr, (void *)c.diags->first->span.src, NULL), "the rule is shown");
        cr_assert(eq(int, c.rename->loaded, 0));
        done(&c);
    }
}

Test(rename, a_weight_is_made_once) {
    Case c =
        rename_case("a -> w\nb -> w", LIST(TENSOR("a", 2), TENSOR("b", 2)), LIST(TENSOR("m.w", 2)));
    cr_assert(eq(int, c.diags->nerrors, 1));
    cr_assert(
        eq(str, (char *)c.diags->first->text, "'b' becomes 'm.w', which 'a' has become already"));
    cr_assert(eq(str, (char *)c.diags->first->notes->text, "by this rule"));
    done(&c);
    c = rename_case("* -> w", LIST(TENSOR("a", 2), TENSOR("b", 2), TENSOR("c", 2)),
                    LIST(TENSOR("m.w", 2)));
    cr_assert(eq(int, c.diags->nerrors, 1));
    cr_assert(eq(str, (char *)c.diags->first->notes->text,
                 "by this rule, whose right side does not tell them apart"));
    cr_assert(eq(str, (char *)c.diags->first->notes->next->text,
                 "1 more tensor of this rule does not fit"));
    done(&c);
}

Test(rename, a_rule_that_matches_nothing_is_told) {
    Case c =
        rename_case("a -> w\nfoo.* -> x.*\nskip bar", LIST(TENSOR("a", 2)), LIST(TENSOR("m.w", 2)));
    cr_assert(eq(int, c.diags->nerrors, 0));
    cr_assert(eq(int, c.diags->nwarnings, 1), "a line that skips may find nothing");
    cr_assert(eq(str, (char *)c.diags->first->text, "'foo.*' matches no tensor of in"));
    done(&c);
}

/* A type is a part of the shape: i32 does not become a weight. */
Test(rename, integers_are_no_weights) {
    VmTensorView have = TENSOR("a", 2);
    have.dtype = 1;
    Case c = rename_case("a -> w", LIST(have), LIST(TENSOR("m.w", 2)));
    cr_assert(eq(int, c.diags->nerrors, 1));
    cr_assert(eq(str, (char *)c.diags->first->text, "'a' i32[2] but 'm.w' is f32[2]"));
    done(&c);
}

Test(rename, what_does_not_fit_may_be_skipped) {
    Case c = new_case("head -> w transpose(1,0)\nx -> y drop(0)\nz -> y",
                      LIST(TENSOR("head", 9, 6), TENSOR("x", 2, 3), TENSOR("z", 3)),
                      LIST(TENSOR("m.w", 6, 2), TENSOR("m.y", 3)));
    c.task->skip_mismatch = true;
    c.rename = session_rename(c.arena, c.task, c.diags);
    cr_assert(eq(int, c.diags->nerrors + c.diags->nwarnings, 0));
    cr_assert(eq(int, c.rename->loaded, 1));
    cr_assert(eq(int, c.rename->missing, 1));
    cr_assert(eq(int, c.rename->unfit, 2), "a step and a shape");
    cr_assert(ne(ptr,
                 strstr((char *)session_rename_text(c.arena, c.rename),
                        "  head f32[9,6] does not fit m.w f32[6,2]\n"),
                 NULL));
    done(&c);
}

/* A run's weights have the model's name in front; what other rules leave goes by it. */
Test(rename, names_may_be_the_models_own) {
    Case c =
        new_case("m.old.* -> new.*\n", LIST(TENSOR("m.old.w", 2), TENSOR("m.b", 3), TENSOR("b", 3)),
                 LIST(TENSOR("m.new.w", 2), TENSOR("m.b", 3)));
    session_rules_same(c.arena, "m", (RenameRules *)c.task->rules);
    c.rename = session_rename(c.arena, c.task, c.diags);
    cr_assert(eq(int, c.diags->nerrors + c.diags->nwarnings, 0));
    cr_assert(eq(int, c.rename->loaded, 2));
    cr_assert(eq(int, c.rename->unused, 1));
    done(&c);
    c = new_case("x -> y", LIST(TENSOR("m.b", 3)), LIST(TENSOR("m.b", 4)));
    session_rules_same(c.arena, "m", (RenameRules *)c.task->rules);
    c.rename = session_rename(c.arena, c.task, c.diags);
    cr_assert(
        eq(str, (char *)c.diags->first->text, "'m.b' is f32[3] in in but f32[4] in the model"));
    done(&c);
}

/* ---- backwards ------------------------------------------------------------------------------- */

static RenameBack *back_of(Case *c, const char *rules, const VmTensorView *weight) {
    *c = new_case(rules, LIST({.name = NULL}), weight);
    return session_rename_back(c->arena, c->task, NULL, 0, c->diags);
}

/* All kinds of names and steps that forget nothing: what comes of the weights by the rules is the
 * weights, bit for bit. */
Test(rename, back_and_forth_is_what_it_was) {
    Case c;
    RenameBack *b = back_of(&c,
                            "skip *.count\n"
                            "*.running_mean => *.mean\n"
                            "features.1.* => stages.0.*\n"
                            "*bn*.weight => *bn*.scale\n"
                            "stages.*.bn*.* -> {1+1}.norm{2}.{3}\n"
                            "conv -> conv transpose(2,3,1,0)\n"
                            "group -> group split(0,2) transpose(0,3,4,2,1)\n"
                            "depth -> depth transpose(2,3,0,1) drop(3)\n"
                            "point.*.w -> point{1-1} transpose(2,3,1,0) drop(0,1)\n"
                            "token -> token drop(0,2)\n"
                            "patch -> patch patches\n"
                            "lossy.* -> patch reshape\n",
                            LIST(TENSOR("m.1.norm1.mean", 2), TENSOR("m.1.norm2.scale", 2),
                                 TENSOR("m.conv", 3, 4, 5, 6), TENSOR("m.group", 2, 2, 2, 3, 4),
                                 TENSOR("m.depth", 2, 3, 5), TENSOR("m.point1", 5, 7),
                                 TENSOR("m.token", 4), TENSOR("m.patch", 12, 5)));
    cr_assert(eq(int, c.diags->nerrors, 0), "%s", c.diags->first ? c.diags->first->text : "");
    cr_assert(eq(int, b->named, 8));
    static const char *const names[] = {
        "features.1.bn1.running_mean f32[2]",
        "features.1.bn2.weight f32[2]",
        "conv f32[6,5,3,4]",
        "group f32[8,3,2,2]",
        "depth f32[5,1,2,3]",
        "point.2.w f32[7,5,1,1]",
        "token f32[1,4,1]",
        "patch f32[5,3,2,2]",
    };
    VmTensorView tensor[8];
    for (int i = 0; i < 8; i++) {
        const char *text = arena_printf(c.arena, "%s %s", b->of[i].name,
                                        session_view_text(c.arena, &b->of[i].tensor));
        cr_assert(eq(str, (char *)text, (char *)names[i]));
        tensor[i] = session_rename_back_value(c.arena, b, i);
    }
    RenameTask again = *c.task;
    again.tensor = tensor;
    again.ntensor = 8;
    c.rename = session_rename(c.arena, &again, c.diags);
    cr_assert(eq(int, c.rename->loaded, 8));
    for (int i = 0; i < 8; i++) {
        VmTensorView v = made(&c, c.task->weight[i].name);
        size_t bytes = 4;
        for (int k = 0; k < v.rank; k++) bytes *= (size_t)v.dim[k];
        cr_assert(eq(int, memcmp(v.data, counted(), bytes), 0), "%s", v.name);
    }
    done(&c);
}

/* Each has one weight "m.w" [12,2] that cannot be given back. */
Test(rename, what_forgets_something_is_no_way_back) {
    static const char *const cases[][2] = {
        {"t -> w reshape",
         "1:8 'm.w' f32[12,2] cannot be read backwards from this: it does not say "
         "which dimensions there were, as drop(0), patches and split(0,2) do"},
        {"t -> w transpose(1,0) squeeze", "1:23 'm.w' f32[12,2] cannot be read backwards from "
                                          "this: it does not say which dimensions "
                                          "it drops, as drop(0) does"},
        {"t -> w repeat",
         "1:8 'm.w' f32[12,2] cannot be read backwards from this: copies that have "
         "learned are not one tensor any more"},
        {"* -> w", "1:1 'm.w' f32[12,2] cannot be read backwards from this: what star 1 stands for "
                   "is not on the right"},
        {"?t -> w", "1:1 'm.w' f32[12,2] cannot be read backwards from this: what ? stands "
                    "for is not on the right"},
        {"t => u\nt -> w", "2:1 'm.w' f32[12,2] cannot be read backwards from this: no name leads "
                           "to it through the rules above"},
        {"skip t\nt -> w", "2:1 'm.w' f32[12,2] cannot be read backwards from this: no name leads "
                           "to it through the rules above"},
        {"t -> w transpose(0,1,2)",
         "1:8 'm.w' f32[12,2] cannot be read backwards from this: it has "
         "3 numbers for 2 dimensions"},
        {"t -> w split(0,5)", "1:8 'm.w' f32[12,2] cannot be read backwards from this: dimension 0 "
                              "is not 5 parts"},
        {"t -> x", "0:0 no rule makes 'm.w' f32[12,2] of a tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Case c;
        RenameBack *b = back_of(&c, cases[i][0], LIST(TENSOR("m.w", 12, 2)));
        cr_assert(eq(int, b->named, 0));
        cr_assert(eq(int, c.diags->nerrors, 1), "%s", cases[i][0]);
        int line = 0, col = 0;
        if (c.diags->first->span.src) span_place(c.diags->first->span, &line, &col);
        const char *text = arena_printf(c.arena, "%d:%d %s", line, col, c.diags->first->text);
        cr_assert(eq(str, (char *)text, (char *)cases[i][1]));
        done(&c);
    }
}

Test(rename, patches_need_images_and_squares) {
    Case c = new_case("t -> w patches", LIST({.name = NULL}), LIST(TENSOR("m.w", 9, 2)));
    RenameBack *b = session_rename_back(c.arena, c.task, NULL, 0, c.diags);
    cr_assert(eq(int, b->named, 0));
    cr_assert(ne(ptr,
                 strstr((char *)c.diags->first->text, "9 rows are no square patches of 3 channels"),
                 NULL));
    c.task->channels = 0;
    c.diags = diags_create(c.arena);
    b = session_rename_back(c.arena, c.task, NULL, 0, c.diags);
    cr_assert(ne(ptr, strstr((char *)c.diags->first->text, "the model has no images"), NULL));
    c.task->channels = 1;
    c.diags = diags_create(c.arena);
    b = session_rename_back(c.arena, c.task, NULL, 0, c.diags);
    cr_assert(eq(int, b->named, 1));
    cr_assert(eq(str, (char *)session_view_text(c.arena, &b->of[0].tensor), "f32[2,1,3,3]"));
    done(&c);
}

Test(rename, weights_may_be_left_out_on_the_way_back) {
    static const char *const skip[] = {"moe.*"};
    Case c = new_case("t -> w", LIST({.name = NULL}),
                      LIST(TENSOR("m.w", 2), TENSOR("m.moe.a", 2), TENSOR("m.moe.b", 2)));
    RenameBack *b = session_rename_back(c.arena, c.task, NULL, 0, c.diags);
    cr_assert(eq(int, c.diags->nerrors, 1), "one place, the others are counted");
    cr_assert(eq(str, (char *)c.diags->first->notes->text, "1 more weight is like this"));
    c.diags = diags_create(c.arena);
    b = session_rename_back(c.arena, c.task, skip, 1, c.diags);
    cr_assert(eq(int, c.diags->nerrors, 0));
    cr_assert(eq(int, b->named, 1));
    cr_assert(eq(int, b->left_out, 2));
    done(&c);
}

/* Rules that make ever longer names have an end. */
Test(rename, a_search_for_names_ends) {
    Text t = text_new(arena_create());
    for (int i = 0; i < 200; i++) text_add(&t, "x* => *\ny* => *\n");
    text_add(&t, "skip *\nt -> w\n");
    Case c;
    RenameBack *b = back_of(&c, t.data, LIST(TENSOR("m.w", 2)));
    cr_assert(eq(int, b->named, 0));
    cr_assert(eq(int, c.diags->nerrors, 1));
    done(&c);
    arena_destroy(t.arena);
}
