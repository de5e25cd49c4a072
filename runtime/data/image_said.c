/* What a data set without files of images asks as well: it needs nothing that reads one.
 *
 * Does not: know a format. */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

int64_t vm_machine_memory(void) {
    return (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
}

bool vm_images_fit(const VmImageSource *src, int64_t bytes) {
    if (src->cache) return src->cache == VM_data_cache_memory;
    return bytes <= (src->room ? src->room : vm_machine_memory() / 2);
}

/* Lines that do not fit are left out, whole, and counted. */
void vm_bad_lines(const VmBadImages *const *list, int n, char *text, size_t room) {
    enum { LAST_LINE = 48 };
    size_t at = strlen(text);
    int64_t shown = 0, count = 0;
    for (int p = 0; p < n; p++) {
        const VmBadImages *b = list[p];
        count += b->count;
        for (int i = 0; i < b->count && i < VM_BAD_SHOWN && shown < VM_BAD_SHOWN; i++) {
            size_t line = strlen(b->why[i].text) + 3;
            if (at + line + LAST_LINE >= room) continue;
            at += (size_t)snprintf(text + at, room - at, "\n  %s", b->why[i].text);
            shown++;
        }
    }
    if (count > shown) snprintf(text + at, room - at, "\n  and %" PRId64 " more", count - shown);
}
