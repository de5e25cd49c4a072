/* Tuning files: block sizes of matrix products that a person or `vmoec tune` chose, one product per
 * line.
 *
 *   # comment
 *   cpu AMD EPYC                                  header lines, each at most once, before the
 * products isa avx512 threads 2 compiler 5f0c... matmul m=3152 n=768 k=192 -> rows=96 cols=256
 * # 1.04x matmul count=48 m=197 n=64 k=197 -> rows=40 cols=64
 *
 * A file made for another CPU or instruction set is ignored with a warning; without these lines it
 * holds everywhere. Threads and compiler say how it was made and decide nothing. Knows nothing of
 * how blocks are measured (cmd_tune.c). */
#include "driver/session/session.h"
#include "driver/session/words.h"
#include "base/spell.h"
#include "base/vec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HEADERS = 4, MAX_PRODUCTS = 4096 };
static const char *const header_name[HEADERS] = {"cpu", "isa", "threads", "compiler"};

typedef struct Reader {
    Arena *arena;
    Diags *diags;
    SessionWords w;
    const char *header[HEADERS];
    CgBlocks *list;
    int n, cap;
} Reader;

static bool expect(Reader *r, const char *word) {
    Span s = session_next_word(&r->w, '=');
    if (session_word_is(s, word)) return true;
    diag_error(r->diags, s, D_tuning_file, "expected %s, found %s", word,
               session_word_found(r->arena, s));
    return false;
}

/* "name=" and a number from 1 to most. */
static bool field(Reader *r, const char *name, int64_t most, int64_t *out) {
    if (!expect(r, arena_printf(r->arena, "%s=", name))) return false;
    Span s = session_next_word(&r->w, '=');
    int64_t x = 0;
    bool ok = s.end > s.start;
    for (int i = s.start; i < s.end && ok; i++) {
        int digit = s.src->text[i] - '0';
        ok = digit >= 0 && digit <= 9 && (x = 10 * x + digit) <= most;
    }
    *out = x;
    if (ok && x >= 1) return true;
    diag_error(r->diags, s, D_tuning_file,
               "expected a whole number from 1 to %" PRId64 " for %s, found %s", most, name,
               session_word_found(r->arena, s));
    return false;
}

static void keep(Reader *r, const CgBlocks *b, Span line) {
    for (int i = 0; i < r->n; i++) {
        if (!cg_product_equal(&r->list[i].product, &b->product)) continue;
        diag_error(r->diags, line, D_tuning_file,
                   "expected each product once, found this one a second time");
        return;
    }
    if (r->n == MAX_PRODUCTS) {
        diag_error(r->diags, line, D_tuning_file, "expected at most %d products, found more",
                   MAX_PRODUCTS);
        return;
    }
    VEC_ROOM(r->arena, r->list, r->n, r->cap);
    r->list[r->n++] = *b;
}

static void product(Reader *r, const char *kind, Span first) {
    enum { MOST = INT32_MAX };
    CgBlocks b = {.product = {.kind = kind, .count = 1}};
    CgProduct *p = &b.product;
    int at = r->w.at;
    bool counted = session_word_is(session_next_word(&r->w, '='), "count=");
    r->w.at = at;
    if (counted && !field(r, "count", MOST, &p->count)) return;
    if (!field(r, "m", MOST, &p->m) || !field(r, "n", MOST, &p->n) || !field(r, "k", MOST, &p->k))
        return;
    if (!expect(r, "->")) return;
    if (!field(r, "rows", CG_BLOCK_MAX, &b.rows) || !field(r, "cols", CG_BLOCK_MAX, &b.cols))
        return;
    Span rest = session_next_word(&r->w, '=');
    if (rest.end > rest.start)
        diag_error(r->diags, rest, D_tuning_file, "expected the end of the line, found %s",
                   session_word_found(r->arena, rest));
    else
        keep(r, &b, (Span){first.src, first.start, r->w.end});
}

static void header(Reader *r, int which, Span name) {
    session_skip_blanks(&r->w);
    if (r->header[which] || r->n)
        diag_error(r->diags, name, D_tuning_file,
                   "expected %s once and before the products, found it %s", header_name[which],
                   r->header[which] ? "again" : "after one");
    else if (r->w.at == r->w.end)
        diag_error(r->diags, (Span){r->w.src, r->w.at, r->w.at}, D_tuning_file,
                   "expected a value for %s, found the end of the line", header_name[which]);
    else
        r->header[which] =
            arena_strndup(r->arena, r->w.src->text + r->w.at, (size_t)(r->w.end - r->w.at));
}

static void line(Reader *r) {
    Span word = session_next_word(&r->w, '=');
    const char *known[HEADERS + IR_PRODUCT_COUNT];
    for (int i = 0; i < HEADERS; i++) {
        known[i] = header_name[i];
        if (session_word_is(word, header_name[i])) {
            header(r, i, word);
            return;
        }
    }
    Text words = text_new(r->arena);
    for (int i = 0; i < IR_PRODUCT_COUNT; i++) {
        known[HEADERS + i] = ir_product_name[i];
        text_addf(&words, "%s%s", i ? ", " : "", ir_product_name[i]);
        if (session_word_is(word, ir_product_name[i])) {
            product(r, ir_product_name[i], word);
            return;
        }
    }
    const char *near =
        spell_suggest(session_word_text(r->arena, word), known, HEADERS + IR_PRODUCT_COUNT);
    diag_error(r->diags, word, D_tuning_file,
               "expected a product (%s) or cpu, isa, threads, compiler, found %s%s%s%s", words.data,
               session_word_found(r->arena, word), near ? "; did you mean " : "", near ? near : "",
               near ? "?" : "");
}

TuningFile *session_tuning_read(Arena *a, const Source *src, Diags *d) {
    Reader r = {.arena = a, .diags = d, .w = {.src = src}};
    while (session_next_line(&r.w)) line(&r);
    TuningFile *f = ARENA_NEW(a, TuningFile);
    *f = (TuningFile){.cpu = r.header[0], .isa = r.header[1], .blocks = {r.list, r.n}};
    return f;
}

const char *session_tuning_text(Arena *a, const CgProduct *p) {
    const char *count = p->count == 1 ? "" : arena_printf(a, " count=%" PRId64, p->count);
    return arena_printf(a, "%s%s m=%" PRId64 " n=%" PRId64 " k=%" PRId64, p->kind, count, p->m,
                        p->n, p->k);
}

/* ---- in a session ---------------------------------------------------------------------------- */

/* F.tune beside F.vmoe. */
const char *session_tuning_beside(Arena *a, const char *path) {
    size_t n = strlen(path);
    if (n > 5 && !strcmp(path + n - 5, ".vmoe")) n -= 5;
    return arena_printf(a, "%.*s.tune", (int)n, path);
}

static bool other(const char *file, const char *here) {
    return file && strcmp(file, here) != 0;
}

VmStatus session_tune(Session *s, const char *path) {
    VmError err = {.text = ""};
    const Source *src = source_load(s->arena, path, &err);
    if (!src) return session_fail(s, err.status, "%s", err.text);
    Diags *d = diags_create(s->arena);
    const TuningFile *f = session_tuning_read(s->arena, src, d);
    session_say_diags(s, d);
    if (d->nerrors) return VM_INPUT;
    VmStatus st = session_host(s);
    if (st) return st;
    if (other(f->cpu, s->target->name) || other(f->isa, s->target->isa))
        session_warn(s, "%s is ignored: it is for %s %s, this is %s %s", path,
                     f->cpu ? f->cpu : "any CPU,", f->isa ? f->isa : "", s->target->name,
                     s->target->isa);
    else
        s->tuning = (Tuning){.blocks = &f->blocks, .path = src->path};
    return VM_OK;
}
