/* Mutation fuzzer of source text, for machines without a coverage-guided one: tokens, lines and
 * pieces of the FILEs are exchanged, repeated and left out, and each result goes through
 * targets/syntax.c. A plain program:
 *
 *     fuzz_parse [-n ITERATIONS] [-s SEED] FILE...        mutates the FILEs, prints the seed first
 *     fuzz_parse -1 FILE                                  checks one input as it is
 *
 * An input that breaks a promise, or takes a time out of proportion, is written to
 * fuzz-failure.vmoe. Deterministic: the same seed, files and count give the same inputs. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/target.h"

enum { MAX_INPUT = 1 << 16, MAX_SEEDS = 512 };

static const double max_seconds =
    5; /* per input of at most 64 KiB: sanitizers and loaded machines included */

static const char *current; /* what is being checked: a signal has no context */

static void keep_input(int number) {
    int fd = open("fuzz-failure.vmoe", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    static const char said[] = "fuzz_parse: the input is in fuzz-failure.vmoe\n";
    if (fd >= 0 && write(fd, current, strlen(current)) >= 0)
        (void)!write(STDERR_FILENO, said, sizeof said - 1);
    signal(number, SIG_DFL);
}

static void check(const char *text) {
    clock_t start = clock();
    current = text;
    (void)LLVMFuzzerTestOneInput((const uint8_t *)text, strlen(text));
    FUZZ_CHECK((double)(clock() - start) / CLOCKS_PER_SEC <= max_seconds, "took too long");
}

typedef struct Fuzz {
    uint64_t state;
    char *seed[MAX_SEEDS];
    int nseed;
    char buf[MAX_INPUT + 1];
    int len;
} Fuzz;

static uint64_t next(Fuzz *f) { /* splitmix64 */
    uint64_t z = f->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static int below(Fuzz *f, int n) {
    return n > 0 ? (int)(next(f) % (uint64_t)n) : 0;
}

static void insert(Fuzz *f, int at, const char *s, int n) {
    if (n > MAX_INPUT - f->len) n = MAX_INPUT - f->len;
    memmove(f->buf + at + n, f->buf + at, (size_t)(f->len - at));
    memcpy(f->buf + at, s, (size_t)n);
    f->len += n;
}

static void erase(Fuzz *f, int at, int n) {
    if (n > f->len - at) n = f->len - at;
    memmove(f->buf + at, f->buf + at + n, (size_t)(f->len - at - n));
    f->len -= n;
}

static const char *const tokens[] = {
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "=",
    "==",
    "|>",
    "->",
    "..",
    "...",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "!",
    "!=",
    "<",
    "<=",
    ":=",
    "+=",
    "&&",
    "||",
    "=>",
    "\n",
    "\r\n",
    "\r",
    "\t",
    "\n\n\n",
    " ",
    "#",
    "# c\n",
    "\"",
    "\"a\"",
    "'",
    "\\",
    "/*",
    "*/",
    "@",
    "?",
    ".",
    "1",
    "0",
    "1.5",
    "1e9",
    "1e999",
    ".5",
    "5.",
    "0x1",
    "1 epoch",
    "9 steps",
    "if ",
    "else ",
    "for ",
    "in ",
    "param ",
    "loss ",
    "aux ",
    "metric ",
    "layer ",
    "model ",
    "train ",
    "config ",
    "use ",
    "not ",
    "and ",
    "or ",
    "true",
    "false",
    "same_init ",
    "from ",
    "weight",
    "def ",
    "let ",
    "return ",
    "elif ",
    "x",
    "f(x)",
    "\xEF\xBB\xBF",
    "\xC3\xA9",
    "\xFF",
    "\x01",
    "\xE2\x80\x9C",
    "if c { a } else { b }",
    "f(\n",
    "  ",
    "f32[",
    "..,",
};

static int random_line(Fuzz *f, int *end) {
    int at = below(f, f->len + 1);
    while (at > 0 && f->buf[at - 1] != '\n') at--;
    *end = at;
    while (*end < f->len && f->buf[*end] != '\n') ++*end;
    if (*end < f->len) ++*end;
    return at;
}

static void repeat_token(Fuzz *f) {
    const char *t = tokens[below(f, (int)(sizeof tokens / sizeof *tokens))];
    int at = below(f, f->len + 1), n = 1 << below(f, 13);
    char *many = malloc((size_t)n * strlen(t) + 1);
    if (!many) exit(3);
    int len = 0;
    for (int i = 0; i < n && len < MAX_INPUT; i++) {
        memcpy(many + len, t, strlen(t));
        len += (int)strlen(t);
    }
    insert(f, at, many, len);
    free(many);
}

static void splice_in(Fuzz *f) {
    const char *other = f->seed[below(f, f->nseed)];
    int n = (int)strlen(other), from = below(f, n + 1);
    int len = below(f, n - from + 1);
    insert(f, below(f, f->len + 1), other + from, len);
}

static void mutate(Fuzz *f) {
    int at = below(f, f->len + 1), end;
    switch (below(f, 12)) {
    case 0:
        if (at < f->len) f->buf[at] = (char)(1 + below(f, 255));
        break;
    case 1: erase(f, at, 1 + below(f, 4)); break;
    case 2: erase(f, at, below(f, 200)); break;
    case 3:
    case 4:
    case 5:
    case 6: {
        const char *t = tokens[below(f, (int)(sizeof tokens / sizeof *tokens))];
        insert(f, at, t, (int)strlen(t));
        break;
    }
    case 7:
        at = random_line(f, &end);
        erase(f, at, end - at);
        break;
    case 8: {
        at = random_line(f, &end);
        char line[512];
        int n = end - at < (int)sizeof line ? end - at : (int)sizeof line;
        memcpy(line, f->buf + at, (size_t)n);
        insert(f, random_line(f, &end), line, n);
        break;
    }
    case 9: f->len = at; break;
    case 10: splice_in(f); break;
    default:
        if (below(f, 8) == 0)
            repeat_token(f);
        else if (at < f->len && f->buf[at] == ' ')
            f->buf[at] = '\n';
        break;
    }
    f->buf[f->len] = '\0';
}

static void add_seed(Fuzz *f, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || f->nseed == MAX_SEEDS) {
        fprintf(stderr, "fuzz_parse: cannot take %s\n", path);
        exit(3);
    }
    char *text = calloc(1, MAX_INPUT + 1);
    if (!text) exit(3);
    size_t n = fread(text, 1, MAX_INPUT, file);
    text[n] = '\0';
    fclose(file);
    f->seed[f->nseed++] = text;
}

int main(int argc, char **argv) {
    static Fuzz f;
    long iterations = 10000;
    uint64_t seed = 1;
    bool once = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-n") == 0 && i + 1 < argc)
            iterations = atol(argv[++i]);
        else if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "-1") == 0)
            once = true;
        else
            add_seed(&f, argv[i]);
    }
    signal(SIGABRT, keep_input);
    if (f.nseed == 0) {
        fputs("usage: fuzz_parse [-n ITERATIONS] [-s SEED] [-1] FILE...\n", stderr);
        return 2;
    }
    printf("fuzz_parse: seed %llu, %d files, %ld inputs\n", (unsigned long long)seed, f.nseed,
           once ? (long)f.nseed : iterations);
    fflush(stdout);
    for (int i = 0; i < f.nseed; i++) check(f.seed[i]);
    for (long i = 0; i < iterations && !once; i++) {
        f.state = seed * 0x100000001B3u + (uint64_t)i;
        const char *base = f.seed[below(&f, f.nseed)];
        f.len = (int)strlen(base);
        memcpy(f.buf, base, (size_t)f.len + 1);
        for (int k = 1 + below(&f, 6); k > 0; k--) mutate(&f);
        check(f.buf);
    }
    for (int i = 0; i < f.nseed; i++) free(f.seed[i]);
    puts("fuzz_parse: done");
    return 0;
}
