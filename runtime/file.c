/* Paths of data sets. */
#include "runtime/internal.h"

#include <string.h>

bool vm_path_join(char *out, size_t cap, const char *dir, const char *name) {
    size_t n = strlen(dir);
    const char *slash = n > 0 && dir[n - 1] == '/' ? "" : "/";
    int len = snprintf(out, cap, "%s%s%s", dir, slash, name);
    return len >= 0 && (size_t)len < cap;
}
