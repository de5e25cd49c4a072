/* What check accepts, no later stage aborts on; what the verifier passes, no pass aborts on. Models
 * of the repository with other numbers and names in them, and the graphs of tests/ir with other
 * attributes, operands, ops and types, through the passes and the plan. Every input runs in a
 * process of its own group; seeds stand in every message. VMOEC_FUZZ_N sets how many are tried,
 * VMOEC_FUZZ_SEED the first. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <ftw.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "frontend/frontend.h"
#include "ir/internal.h"
#include "tests/unit/codegen/util_program.h"

enum { MAX_FILES = 512, SECONDS = 60 /* for one input, sanitizers and loaded machines included */ };

typedef struct Files {
    char *path[MAX_FILES];
    int n;
} Files;

static Files files; /* nftw has no context */
static const char *suffix;

static int take_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)ftw;
    size_t n = strlen(path), m = strlen(suffix);
    if (type == FTW_F && n > m && !strcmp(path + n - m, suffix) && files.n < MAX_FILES)
        files.path[files.n++] = strdup(path);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_files(const char *folder, const char *with) {
    files.n = 0;
    suffix = with;
    cr_assert_eq(nftw(folder, take_file, 16, FTW_PHYS), 0);
    qsort(files.path, (size_t)files.n, sizeof *files.path, by_name);
    cr_assert(files.n > 0);
}

static uint64_t next(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int below(uint64_t *state, int n) {
    return n > 0 ? (int)(next(state) % (uint64_t)n) : 0;
}

static const char *read_file(Arena *a, const char *path) {
    FILE *f = fopen(path, "rb");
    Text t = text_new(a);
    char buf[4096];
    size_t n;
    cr_assert_not_null(f, "%s", path);
    while ((n = fread(buf, 1, sizeof buf, f)) > 0) text_addn(&t, buf, n);
    fclose(f);
    return t.data;
}

/* ---- running inputs -------------------------------------------------------------------------- */

typedef void (*Attempt)(uint64_t seed);

static long variable(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

/* Processes take inputs one after the other; when one dies, the next goes on behind its input. */
static void attempt_all(const char *what, long n, Attempt attempt) {
    long *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(at, MAP_FAILED);
    long first = variable("VMOEC_FUZZ_SEED", 1), end = first + variable("VMOEC_FUZZ_N", n);
    int bad = 0;
    for (*at = first; *at < end; ++*at) {
        fflush(NULL);
        pid_t child = fork();
        cr_assert(child >= 0);
        if (child == 0) {
            if (!getenv("VMOEC_FUZZ_SHOW") && !freopen("/dev/null", "w", stderr)) _exit(4);
            signal(SIGABRT, SIG_DFL); /* the test framework has its own handlers */
            signal(SIGSEGV, SIG_DFL);
            signal(SIGFPE, SIG_DFL);
            for (; *at < end; ++*at) {
                alarm(SECONDS);
                attempt((uint64_t)*at);
            }
            _exit(0);
        }
        int status = 0;
        cr_assert_eq(waitpid(child, &status, 0), child);
        bool out_of_memory = WIFEXITED(status) && WEXITSTATUS(status) == 3;
        if (*at >= end || out_of_memory) continue;
        bad++;
        cr_log_error("%s: seed %ld: %s %d", what, *at,
                     WIFSIGNALED(status) ? "signal" : "exit status",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        if (bad == 10) break;
    }
    cr_assert_eq(bad, 0, "%s: %d inputs", what, bad);
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static int64_t some_number(uint64_t *s, int64_t old) {
    static const int64_t numbers[] = {0,  1,  2,  3,  4,  5,   7,    8,
                                      12, 16, 33, 64, -1, 100, 4096, INT64_C(1) << 20};
    static const int64_t large[] = {INT64_C(1) << 31, (INT64_C(1) << 31) - 1,
                                    INT64_C(1) << 39, INT64_MAX,
                                    INT64_MIN,        INT64_C(1) << 32};
    if (below(s, 4) == 0) return old + 1 - below(s, 3);
    if (below(s, 12) == 0) return large[below(s, 6)];
    return numbers[below(s, 16)];
}

static void change_attr(uint64_t *s, Arena *a, AttrArg *arg) {
    switch (ir_attrs[arg->id].kind) {
    case ATTR_KIND_INT: arg->v.i = some_number(s, arg->v.i); break;
    case ATTR_KIND_FLOAT:
        arg->v.f = (double[]){0, 1, -1, 0.5, 1e30, 1e-30, NAN, INFINITY}[below(s, 8)];
        break;
    case ATTR_KIND_STR: break;
    case ATTR_KIND_INTS: {
        int64_t *v = ARENA_ARRAY(a, int64_t, arg->v.n + 1);
        if (arg->v.n) memcpy(v, arg->v.v, (size_t)arg->v.n * sizeof *v);
        if (arg->v.n) v[below(s, arg->v.n)] = some_number(s, v[0]);
        arg->v.v = v;
        if (below(s, 6) == 0) arg->v.n += arg->v.n > 1 && below(s, 2) ? -1 : 1;
        break;
    }
    }
}

typedef struct Mutant {
    uint64_t *s;
    IrBuilder b;
    Map values; /* old value -> new one */
    IrValue *made[1024];
    int nmade;
} Mutant;

static IrValue *operand_for(Mutant *m, const IrValue *old, bool other) {
    IrValue *v = map_get(&m->values, MAP_KEY(old));
    if (v && !other) return v;
    return m->nmade ? m->made[below(m->s, m->nmade)] : NULL;
}

static void add_made(Mutant *m, const IrNode *old, IrNode *n) {
    for (int i = 0; i < n->nout; i++) {
        if (i < old->nout) *map_at(&m->values, MAP_KEY(&old->out[i])) = &n->out[i];
        if (m->nmade < 1024) m->made[m->nmade++] = &n->out[i];
    }
}

static IrType changed_type(uint64_t *s, IrType t) {
    if (t.rank > 0 && below(s, 2)) t.dim[below(s, t.rank)] = some_number(s, t.dim[0]);
    if (below(s, 10) == 0) t.dtype = below(s, 2) ? DT_i32 : DT_f32;
    if (t.rank < IR_MAX_RANK && below(s, 20) == 0) t.dim[t.rank++] = 2;
    if (t.rank > 0 && below(s, 20) == 0) t.rank--;
    return t;
}

/* A node like `old`, or one that differs; false: it cannot be. */
static bool copy_changed(Mutant *m, const IrNode *old, bool change) {
    IrGraph *g = m->b.g;
    OpCode op = change && below(m->s, 3) == 0 ? (OpCode)below(m->s, OP_COUNT) : old->op;
    AttrArg attr[16];
    int nattr = 0, kind = below(m->s, 3);
    for (int i = 0; op == old->op && i < ir_ops[op].nattr; i++) {
        if (!old->attr[i].set) continue;
        attr[nattr] = (AttrArg){(AttrId)((int)ir_ops[op].first_attr + i), old->attr[i]};
        if (change && kind == 0) change_attr(m->s, g->arena, &attr[nattr]);
        nattr++;
    }
    if (ir_ops[op].route == ROUTE_LEAF) {
        if (op != old->op) return false;
        IrNode *n = ir_node_new(g, op, 0);
        for (int i = 0; i < ir_ops[op].nattr; i++) n->attr[i] = old->attr[i];
        n->out[0].type = change ? changed_type(m->s, old->out[0].type) : old->out[0].type;
        if (ir_infer(g->arena, n)) return false;
        ir_node_insert(g, n, NULL);
        add_made(m, old, n);
        return true;
    }
    IrValue *in[64];
    int nin = old->nin;
    if (op != old->op) nin = ir_ops[op].min_in + below(m->s, 2);
    for (int i = 0; i < nin && i < 64; i++) {
        in[i] = operand_for(m, i < old->nin ? old->in[i] : NULL,
                            i >= old->nin || (change && kind == 1));
        if (!in[i]) return false;
    }
    for (int i = 0; op != old->op && i < ir_ops[op].nattr; i++) { /* attributes that op must have */
        AttrArg arg = {(AttrId)((int)ir_ops[op].first_attr + i), {.set = true, .s = "s"}};
        change_attr(m->s, g->arena, &arg);
        attr[nattr++] = arg;
    }
    IrValue *v = nin > 64 ? NULL : ir_try(&m->b, op, in, nin, attr, nattr);
    if (v) add_made(m, old, v->node);
    return v != NULL;
}

static IrGraph *mutate_graph(Arena *a, const IrGraph *from, uint64_t *s) {
    Mutant m = {.s = s, .b = ir_builder(ir_graph_create(a, "mutant")), .values = map_new(a)};
    int often = 3 + below(s, 20);
    IR_FOR (n, from)
        if (!copy_changed(&m, n, below(s, often) == 0)) (void)copy_changed(&m, n, false);
    for (int i = 0; i < from->nout; i++) {
        IrValue *v = operand_for(&m, from->out[i].value, below(s, 10) == 0);
        if (v)
            ir_add_out(m.b.g, from->out[i].kind, from->out[i].name, v, from->out[i].weight,
                       (IrLoc){0});
    }
    ir_renumber(m.b.g);
    return ir_verify(a, m.b.g, true) ? NULL : m.b.g;
}

static int random_passes(uint64_t *s, PassId *list) {
    const PassId *pipe;
    int n = 1 + below(s, 8);
    if (below(s, 3)) {
        n = pass_pipeline((Pipeline)below(s, 3), &pipe);
        memcpy(list, pipe, (size_t)n * sizeof *list);
    } else {
        for (int i = 0; i < n; i++) list[i] = (PassId)below(s, PASS_COUNT);
    }
    return n;
}

/* An error that is no refusal means that a pass made an ill-formed graph. */
static bool run_passes(IrGraph *g, const PassId *list, int n, bool training, int recompute) {
    PassCtx c = pass_ctx(arena_create());
    c.training = training;
    c.recompute = recompute;
    const char *error = pass_run(&c, g, list, n);
    if (error && !c.refused) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    arena_destroy(c.scratch);
    return !error;
}

static void show(const IrGraph *g, const PassId *list, int n, bool training) {
    if (!getenv("VMOEC_FUZZ_SHOW")) return;
    Arena *a = arena_create();
    fputs("; passes: ", stdout);
    for (int i = 0; i < n; i++) printf("%s%s", i ? "," : "", pass_name(list[i]));
    printf("%s\n%s", training ? " --training" : "", ir_to_text(a, g));
    fflush(stdout);
    arena_destroy(a);
}

static void attempt_graph(uint64_t seed) {
    uint64_t s = seed * 0x100000001B3u;
    Arena *a = arena_create();
    const char *path = files.path[below(&s, files.n)], *error = NULL;
    const IrGraph *from = ir_read(a, read_file(a, path), path, &error);
    IrGraph *g = from ? mutate_graph(a, from, &s) : NULL;
    if (g) {
        const char *text = ir_to_text(a, g);
        if (!ir_read(a, text, "again", &error)) abort(); /* what is printed reads back */
        PassId list[32];
        int n = random_passes(&s, list);
        bool training = below(&s, 2);
        show(g, list, n, training);
        run_passes(g, list, n, training, below(&s, 5) - 1);
    }
    arena_destroy(a);
}

Test(mutate, no_pass_aborts_on_what_the_verifier_passes) {
    find_files("tests/ir", ".vir");
    attempt_all("graphs", 3000, attempt_graph);
}

/* ---- models ---------------------------------------------------------------------------------- */

/* Numbers become other numbers, now and then a word becomes another word of the text. */
static const char *mutate_text(Arena *a, const char *text, uint64_t *s) {
    static const char *const numbers[] = {
        "0",   "1",    "2",   "3",  "4",  "5",   "7",     "8",          "9",          "16",
        "100", "4096", "0.5", "-1", "10", "1e9", "65536", "2147483647", "2147483648", "1000000"};
    Text t = text_new(a);
    int often = 4 + below(s, 40), words = 200 + below(s, 400);
    const char *spare = "x";
    while (*text) {
        size_t n = strspn(text, "0123456789."), w = 0;
        while (isalpha((unsigned char)text[w]) || text[w] == '_' ||
               (w && isdigit((unsigned char)text[w])))
            w++;
        if (n && isdigit((unsigned char)*text)) {
            const char *other = numbers[below(s, 20)];
            if (below(s, often))
                text_addn(&t, text, n);
            else
                text_add(&t, other);
        } else if (w) {
            const char *word = arena_strndup(a, text, w);
            text_add(&t, below(s, words) ? word : spare);
            if (below(s, 8) == 0) spare = word;
            n = w;
        } else {
            n = 1;
            text_addn(&t, text, 1);
        }
        text += n;
    }
    return t.data;
}

static void lower(const IrGraph *model, Pipeline pipe) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_clone(a, model);
    const PassId *list;
    int n = pass_pipeline(pipe, &list);
    CgFootprint print;
    if (run_passes(g, list, n, pipe != PIPE_EVAL, RECOMPUTE_LIGHT))
        cg_footprint(a, program_target(0), g, false, &print);
    arena_destroy(a);
}

static void attempt_model(uint64_t seed) {
    uint64_t s = seed * 0x100000001B3u;
    Arena *a = arena_create();
    char path[64];
    snprintf(path, sizeof path, "/tmp/vmoec-mutate-%ld.vmoe", (long)getpid());
    const char *text = mutate_text(a, read_file(a, files.path[below(&s, files.n)]), &s);
    FILE *f = fopen(path, "w");
    if (!f) _exit(4);
    fputs(text, f);
    fclose(f);
    if (getenv("VMOEC_FUZZ_SHOW")) puts(text), fflush(stdout);
    Diags *d = diags_create(a);
    FeOptions opt = {.model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    unlink(path);
    for (int i = 0; e && i < fe_nmodel(e) && !d->nerrors; i++) {
        const IrGraph *g =
            fe_elaborate(e, a, fe_model_name(e, i), below(&s, 3) ? 0 : 1 + below(&s, 9), d);
        bool loss = false;
        for (int k = 0; g && k < g->nout; k++) loss |= g->out[k].kind == OUT_loss;
        if (g) lower(g, PIPE_EVAL);
        if (loss) lower(g, PIPE_TRAIN);
    }
    arena_destroy(a);
}

Test(mutate, no_stage_aborts_on_what_check_accepts) {
    find_files("models", ".vmoe");
    attempt_all("models", 400, attempt_model);
}
