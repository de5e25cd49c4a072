/* What this process holds in memory, as the system counts it. */
#include "driver/session/session.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* "VmHWM:    215936 kB" */
static int64_t status_field(const char *line, const char *name) {
    size_t n = strlen(name);
    long long kib = 0;
    if (strncmp(line, name, n) || sscanf(line + n, " %lld", &kib) != 1) return 0;
    return (int64_t)kib << 10;
}

void session_memory_now(int64_t *now, int64_t *peak) {
    *now = *peak = 0;
    char text[8192]; /* no stream, whose memory may not be there: the answer would be another */
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        int64_t rss = status_field(line, "VmRSS:"), hwm = status_field(line, "VmHWM:");
        if (rss) *now = rss;
        if (hwm) *peak = hwm;
    }
}

/* Plans, code and the team of threads come after the choice. Measured on the models of models/:
 * what a process grows by from there to the last step beside tensors, at most. */
enum { GROWTH = 2 << 20, GROWTH_PER_TASK = 8 << 10, SCRATCH_PER_THREAD = 384 << 10 };

int64_t session_process_ahead(int64_t data) {
    int64_t now, peak;
    session_memory_now(&now, &peak);
    return now - data + GROWTH;
}

int64_t session_memory_growth(int tasks) {
    return (int64_t)tasks * GROWTH_PER_TASK;
}

int64_t session_scratch_ahead(int threads) {
    return (int64_t)threads * SCRATCH_PER_THREAD;
}

const char *session_bytes_text(Arena *a, int64_t bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 1024 && u < 4) x /= 1024, u++;
    return u ? arena_printf(a, "%.1f %s", x, unit[u]) : arena_printf(a, "%lld B", (long long)bytes);
}
