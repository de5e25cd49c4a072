/* Limits that the system sets for groups of processes: CPU time and memory, in cgroups of version 1
 * and 2.
 *
 * Requires Linux (/proc, cgroup files). What cannot be read is no limit. */
#include "runtime/exec/internal.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_CAP = 1024, MOST_CPUS = 256 };

static bool first_line(const char *path, char *line, int cap) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool ok = fgets(line, cap, f) != NULL;
    fclose(f);
    return ok;
}

/* A hierarchy that may hold a limit: where it is mounted and which of its groups is shown there. */
typedef struct Mount {
    char at[PATH_CAP], shown[PATH_CAP];
} Mount;

/* True when the comma-separated list has the word. */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        if (*p == ',') p++;
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0' || p[n] == '\n')) return true;
    }
    return false;
}

static bool find_mount(const char *root, const char *controller, Mount *m) {
    char path[PATH_CAP], line[4096];
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char type[32], options[512];
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %1023s %1023s", m->shown, m->at) != 2) continue;
        if (sscanf(tail, " - %31s %*s %511s", type, options) != 2) continue;
        found = controller ? strcmp(type, "cgroup") == 0 && list_has(options, controller)
                           : strcmp(type, "cgroup2") == 0;
    }
    fclose(f);
    return found;
}

/* This process's group in the hierarchy, from lines "id:controllers:path". */
static bool find_group(const char *root, const char *controller, char *group, size_t cap) {
    char path[PATH_CAP], line[4096];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *where = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!where) continue;
        *where++ = '\0';
        controllers++;
        found = controller ? list_has(controllers, controller) : *controllers == '\0';
        if (found) snprintf(group, cap, "%.*s", (int)strcspn(where, "\n"), where);
    }
    fclose(f);
    return found;
}

/* What a group's folder says; 0: no limit. */
typedef double (*GroupLimit)(const char *dir);

/* The smallest limit of this process's group and its parents; controller NULL: version 2. */
static double smallest(const char *root, const char *controller, GroupLimit limit) {
    Mount m;
    char group[PATH_CAP], dir[3 * PATH_CAP];
    if (!find_mount(root, controller, &m) || !find_group(root, controller, group, sizeof group))
        return 0;
    /* In a container the mount shows a group of the host as its root: only what is below it has a
     * path. */
    size_t n = strcmp(m.shown, "/") == 0 ? 0 : strlen(m.shown);
    bool inside = strncmp(group, m.shown, n) == 0 && (group[n] == '/' || group[n] == '\0');
    const char *below = inside ? group + n : "";
    int base = snprintf(dir, sizeof dir, "%s%s", root, m.at);
    if (base < 0 || base >= (int)sizeof dir) return 0;
    snprintf(dir + base, sizeof dir - (size_t)base, "%s", below);
    if (strlen(dir) >= PATH_CAP) return 0;
    double least = 0;
    for (;;) {
        double x = limit(dir);
        if (x > 0 && (least <= 0 || x < least)) least = x;
        char *slash = strrchr(dir + base, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static double smaller(double a, double b) {
    if (a <= 0 || b <= 0) return a > 0 ? a : b;
    return a < b ? a : b;
}

static double number_in(const char *dir, const char *name) {
    char path[PATH_CAP + 64], line[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return first_line(path, line, sizeof line) ? strtod(line, NULL) : 0; /* "max" is 0 */
}

/* ---- CPUs ---- */

static double cpus_v2(const char *dir) {
    char path[PATH_CAP + 64], line[64];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (!first_line(path, line, sizeof line)) return 0;
    bool limited = sscanf(line, "%lf %lf", &quota, &period) == 2; /* "max ..." does not scan */
    return limited && quota > 0 && period > 0 ? quota / period : 0;
}

static double cpus_v1(const char *dir) {
    double quota = number_in(dir, "cpu.cfs_quota_us"), period = number_in(dir, "cpu.cfs_period_us");
    return quota > 0 && period > 0 ? quota / period : 0;
}

int vm_quota_cpus(const char *root) {
    double cpus = smaller(smallest(root, "cpu", cpus_v1), smallest(root, NULL, cpus_v2));
    if (cpus <= 0 || cpus >= MOST_CPUS) return 0;
    int whole = (int)cpus;
    return whole < cpus ? whole + 1 : whole;
}

/* ---- memory ---- */

static double memory_v2(const char *dir) {
    return number_in(dir, "memory.max");
}

static double memory_v1(const char *dir) {
    return number_in(dir, "memory.limit_in_bytes"); /* no limit is a number near 2^63 */
}

int64_t vm_quota_memory(const char *root) {
    double bytes = smaller(smallest(root, "memory", memory_v1), smallest(root, NULL, memory_v2));
    return bytes > 0 && bytes < 0x1p60 ? (int64_t)bytes : 0;
}

int64_t vm_memory_limit(void) {
    return vm_quota_memory("");
}
