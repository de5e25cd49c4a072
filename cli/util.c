/* Small things every command needs: messages, files written whole or not at all, places, clocks. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

VmStatus drv_fail(VmStatus s, const char *fmt, ...) {
    Arena *a = arena_create();
    va_list ap;
    va_start(ap, fmt);
    char *text = arena_vprintf(a, fmt, ap);
    va_end(ap);
    /* Names come from files and may hold anything; a terminal must not obey them. */
    for (char *p = text; *p; p++)
        if (((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f) *p = '?';
    fprintf(stderr, "%s: error: %s\n", cli_name(), text);
    arena_destroy(a);
    return s;
}

VmStatus drv_write_file(const char *path, const char *data, size_t len) {
    VmFile w;
    VmError err = {.text = ""};
    VmStatus s = vm_file_begin(&w, path, &err);
    if (s) return drv_fail(s, "%s", err.text);
    fwrite(data, 1, len, w.f);
    s = vm_file_commit(&w, &err);
    return s ? drv_fail(s, "%s", err.text) : VM_OK;
}

VmStatus drv_write_output(const char *path, const char *data, size_t len) {
    if (path) return drv_write_file(path, data, len);
    fwrite(data, 1, len, stdout);
    return VM_OK; /* drv_flush sees a failure */
}

/* A stream that the user closed is his wish; one that cannot take what is written is not. */
static bool was_closed(int fd) {
    int mode = fcntl(fd, F_GETFL);
    return mode < 0 || (mode & O_ACCMODE) == O_RDONLY;
}

VmStatus drv_flush(VmStatus s) {
    errno = 0;
    bool bad = fflush(stdout) != 0 || ferror(stdout);
    if (bad && errno == EPIPE) return VM_ENV; /* whoever reads has seen enough: nothing to say */
    if (bad)
        return drv_fail(VM_ENV, "cannot write to standard output: %s",
                        errno ? strerror(errno) : "some of it is missing");
    return ferror(stderr) && !was_closed(STDERR_FILENO) ? VM_ENV : s;
}

/* A file that is opened never gets the number of a standard stream that is closed, so that messages
 * cannot end up in it. */
static void standard_files(void) {
    for (int fd = 0; fd < 3;
         fd++) /* the lowest free number is taken; the wrong way round: every use fails */
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

double drv_median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

double drv_begin(void) {
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    double started = vm_seconds() - (double)cpu.tv_sec - 1e-9 * (double)cpu.tv_nsec;
    /* A file over the size limit is a failed write, reported like a full disk; and so is a pipe
     * that nobody reads: no reason to end a run. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    standard_files();
    drv_json_memory();
    return started;
}

const char *drv_cache_dir(Arena *a) {
    const char *use = getenv("VMOEC_CACHE"), *dir = getenv("VMOEC_CACHE_DIR");
    if (use && !strcmp(use, "off")) return NULL;
    if (dir && *dir) return arena_strdup(a, dir);
    dir = getenv("XDG_CACHE_HOME");
    if (dir && *dir == '/') return arena_printf(a, "%s/vmoec", dir);
    dir = getenv("HOME");
    return dir && *dir == '/' ? arena_printf(a, "%s/.cache/vmoec", dir) : NULL;
}

VmStatus drv_parse_size(const char *text, const char *option, int64_t *bytes) {
    static const struct {
        const char *name;
        double scale;
    } unit[] = {{"", 1},         {"B", 1},        {"K", 0x1p10},   {"M", 0x1p20},  {"G", 0x1p30},
                {"T", 0x1p40},   {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},    {"TB", 1e12},
                {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end = NULL;
    bool number = (*text >= '0' && *text <= '9') || *text == '.';
    double x = number ? strtod(text, &end) : 0;
    for (size_t i = 0; number && i < sizeof unit / sizeof unit[0]; i++) {
        if (strcasecmp(end, unit[i].name)) continue;
        x *= unit[i].scale;
        if (!(x >= 1 && x <= 0x1p60)) break;
        *bytes = (int64_t)x;
        return VM_OK;
    }
    return drv_fail(VM_USAGE, "--%s is a size such as 500M or 2GiB, not '%s'", option, text);
}

bool drv_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

const char *drv_csv_field(Arena *a, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) return text;
    Text t = text_new(a);
    text_add(&t, "\"");
    for (; *text; text++) {
        if (*text == '"') text_add(&t, "\"");
        text_addn(&t, text, 1);
    }
    text_add(&t, "\"");
    return t.data;
}
