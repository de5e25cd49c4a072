/* The classes of images, by their files: which images the command line names, and what is printed
 * of each. */
#include "cli/results.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { TOP = 3, DEEPEST = 60 }; /* classes that are shown of an image; folders in folders */

typedef struct Predict {
    const Args *a;
    int first, operand;         /* the first that is an image; the next one */
    const char **found;         /* [nfound]: images of the folder that is being read */
    int64_t nfound, room, told; /* room: of found; told: how many were handed on */
    char *line;                 /* of standard input */
    size_t line_room;
    int64_t images, bad, top;
    VmStatus status; /* of what is wrong with an operand */
    VmStatus worst;  /* of the images */
} Predict;

/* ---- which images ---------------------------------------------------------------------------- */

static bool is_image(const char *name) {
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t e = strlen(ends[i]);
        if (n > e && !strcasecmp(name + n - e, ends[i])) return name[0] != '.';
    }
    return false;
}

static void fail(Predict *p, VmStatus st, const char *path, const char *why) {
    char *shown = arena_strdup(p->a->arena, path);
    vm_make_printable(shown);
    drv_fail(st, "%s: %s", shown, why);
    if (!p->status) p->status = st;
}

static void add_found(Predict *p, const char *path) {
    if (p->nfound == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        const char **more = ARENA_ARRAY(p->a->arena, const char *, p->room);
        if (p->nfound) memcpy(more, p->found, (size_t)p->nfound * sizeof *more);
        p->found = more;
    }
    p->found[p->nfound++] = path;
}

static int by_name(const struct dirent **x, const struct dirent **y) {
    return strcmp((*x)->d_name, (*y)->d_name);
}

/* All images below a folder, by name; what is hidden is no image. */
static void find_images(Predict *p, const char *folder, int depth) {
    struct dirent **list;
    struct stat st;
    int n = scandir(folder, &list, NULL, by_name);
    if (n < 0) fail(p, VM_ENV, folder, strerror(errno));
    size_t length = strlen(folder);
    const char *slash = length && folder[length - 1] == '/' ? "" : "/";
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        const char *path = arena_printf(p->a->arena, "%s%s%s", folder, slash, name);
        bool hidden = name[0] == '.', there = !hidden && stat(path, &st) == 0;
        /* a link to nothing is no image; what cannot be looked at may be one */
        if (!hidden && !there && errno != ENOENT) fail(p, VM_ENV, path, strerror(errno));
        if (there && S_ISDIR(st.st_mode) && depth == DEEPEST)
            fail(p, VM_INPUT, path, "too many folders in folders");
        else if (there && S_ISDIR(st.st_mode))
            find_images(p, path, depth + 1);
        else if (there && S_ISREG(st.st_mode) && is_image(name))
            add_found(p, path);
        free(list[i]);
    }
    if (n >= 0) free(list);
}

/* A line of standard input; NULL: there are no more. */
static const char *next_line(Predict *p) {
    errno = 0;
    ssize_t n = getline(&p->line, &p->line_room, stdin);
    while (n > 0 && (p->line[n - 1] == '\n' || p->line[n - 1] == '\r')) p->line[--n] = '\0';
    if (n == 0) return next_line(p);
    if (n < 0 && (errno || ferror(stdin))) fail(p, VM_ENV, "standard input", strerror(errno));
    return n > 0 ? arena_strdup(p->a->arena, p->line) : NULL;
}

static const char *next_path(Predict *p) {
    for (;;) {
        if (p->told < p->nfound) return p->found[p->told++];
        bool listed = p->operand > p->first && !strcmp(p->a->operand[p->operand - 1], "-");
        const char *path = listed ? next_line(p) : NULL;
        if (path) return path;
        if (p->operand >= p->a->noperand) return NULL;
        path = p->a->operand[p->operand++];
        if (!strcmp(path, "-")) continue;
        if (!drv_is_folder(path)) return path;
        p->nfound = p->told = 0;
        find_images(p, path, 0);
        if (!p->nfound && !p->status)
            fail(p, VM_INPUT, path, "no .jpg, .jpeg or .png in this folder");
    }
}

static bool next(void *user, VmSingleImage *out) {
    out->path = next_path(user);
    return out->path != NULL;
}

/* ---- what is printed ------------------------------------------------------------------------- */

static const char *class_of(Arena *a, const VmPredicted *x, int64_t i) {
    return i < x->nclass_name ? x->class_name[i] : arena_printf(a, "%lld", (long long)i);
}

/* The `top` likeliest classes, the likeliest first; of equal ones the first. */
static int64_t likeliest(const VmPredicted *x, int64_t top, int64_t *at) {
    int64_t n = 0;
    for (int64_t i = 0; i < x->classes; i++) {
        int64_t k = n < top ? n++ : top - 1;
        if (k == top - 1 && n == top && k < n && i >= top &&
            x->probability[i] <= x->probability[at[k]])
            continue;
        while (k > 0 && x->probability[i] > x->probability[at[k - 1]]) {
            at[k] = at[k - 1];
            k--;
        }
        at[k] = i;
    }
    return n;
}

static void print_text(Arena *a, const VmPredicted *x, const int64_t *at, int64_t n) {
    char *path = arena_strdup(a, x->path);
    vm_make_printable(path);
    printf("%s:", path);
    for (int64_t i = 0; i < n; i++) {
        char *name = arena_strdup(a, class_of(a, x, at[i]));
        vm_make_printable(name);
        printf("%s %s %.2f %%", i ? "," : "", name, 100 * x->probability[at[i]]);
    }
    printf("\n");
}

static void print_json(Arena *a, const VmPredicted *x, const int64_t *at, int64_t n) {
    VmJson o = vm_json_object(), top = vm_json_list();
    vm_json_string(&o, "image", x->path);
    if (x->why) vm_json_string(&o, "error", x->why);
    for (int64_t i = 0; i < n; i++) {
        VmJson c = vm_json_object();
        vm_json_string(&c, "class", class_of(a, x, at[i]));
        vm_json_int(&c, "label", at[i]);
        vm_json_number(&c, "probability", x->probability[at[i]]);
        vm_json_put(&top, NULL, c);
    }
    if (n) vm_json_string(&o, "class", class_of(a, x, at[0]));
    if (n) vm_json_number(&o, "probability", x->probability[at[0]]);
    vm_json_put(&o, "top", top);
    vm_json_print(stdout, &o);
}

static void print_csv(Arena *a, const VmPredicted *x, const int64_t *at, int64_t n) {
    fputs(drv_csv_field(a, x->path), stdout);
    for (int64_t i = 0; i < n; i++)
        printf(",%s,%.9g", drv_csv_field(a, class_of(a, x, at[i])), x->probability[at[i]]);
    printf("\n");
}

static void print_csv_head(int64_t n) {
    printf("image,class,probability");
    for (int64_t i = 2; i <= n; i++)
        printf(",class_%lld,probability_%lld", (long long)i, (long long)i);
    printf("\n");
}

static void got(void *user, const VmPredicted *x) {
    Predict *p = user;
    const Args *a = p->a;
    p->images++;
    p->bad += x->why != NULL;
    if (x->why) drv_fail(x->status, "%s", x->why);
    if (x->status > p->worst) p->worst = x->status;
    Arena *own = arena_create();
    int64_t *at = ARENA_ARRAY(own, int64_t, p->top + 1);
    int64_t n = x->why ? 0 : likeliest(x, p->top, at);
    if (a->o.json)
        print_json(own, x, at, n);
    else if (a->o.csv && !x->why)
        print_csv(own, x, at, n);
    else if (!x->why)
        print_text(own, x, at, n);
    arena_destroy(own);
}

VmStatus cli_predict_check(const Args *a, int first) {
    if (a->o.json && a->o.csv) return drv_fail(VM_USAGE, "--json and --csv exclude each other");
    if (a->noperand > first) return VM_OK;
    return drv_fail(VM_USAGE, "predict needs images: files, folders, or - for a list of files on "
                              "standard input");
}

VmStatus cli_predict(const Args *a, int first, CliClassify *run, void *user) {
    Predict p = {.a = a, .first = first, .operand = first, .top = opt_or(a->o.top, TOP)};
    if (a->o.csv) print_csv_head(p.top);
    VmStatus st = run(user, &(VmImageStream){next, got, &p});
    free(p.line);
    if (st) return st;
    if (p.bad)
        return drv_fail(p.worst, "%lld of %lld images could not be classified", (long long)p.bad,
                        (long long)p.images);
    if (!p.images && !p.status) return drv_fail(VM_INPUT, "no image was named");
    return p.status;
}
