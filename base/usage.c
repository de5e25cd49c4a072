/* What this process holds in memory. */
#include "base/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "VmHWM:    215936 kB" */
static int64_t status_field(const char *line, const char *name) {
    size_t n = strlen(name);
    long long kib = 0;
    if (strncmp(line, name, n) || sscanf(line + n, " %lld", &kib) != 1) return 0;
    return (int64_t)kib << 10;
}

void vm_memory_now(int64_t *now, int64_t *peak) {
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

const char *vm_bytes_text(int64_t bytes, char out[32]) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 1024 && u < 4) x /= 1024, u++;
    snprintf(out, 32, u ? "%.1f %s" : "%.0f %s", x, unit[u]);
    return out;
}
