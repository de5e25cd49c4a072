/* The kernel cache. The input says how a stored entry's file is changed (fuzz_change), behind a
 * byte whose first bit says whether it gets the checksum that fits it then. An entry that is not as
 * it was stored is not found; with a checksum that fits, whatever is found lies in the file. */
#include "tests/fuzz/target.h"

#include <elf.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>

#include "base/hash.h"
#include "codegen/load/cache.h"
#include "codegen/load/loader.h"

enum { OBJECT = 300, SUM_AT = 64, MOST = 4096 };
static const char key[] = "kernel text";

typedef struct Entry {
    size_t n;
    uint8_t at[MOST];
} Entry;

static char found[PATH_MAX]; /* the last file that was met; nftw has no context */

static int meet(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)ftw;
    if (type == FTW_F) snprintf(found, sizeof found, "%s", path);
    return 0;
}

static void store(Cache *c, uint8_t object[OBJECT], Entry *e) {
    for (int i = 0; i < OBJECT; i++) object[i] = (uint8_t)(i * 7);
    CacheEntry entry = {{64, 7}, object, OBJECT};
    cache_store(c, key, &entry, "");
    found[0] = '\0';
    FUZZ_CHECK(nftw(fuzz_folder(), meet, 8, FTW_PHYS) == 0 && found[0], "nothing was stored");
    FILE *f = fopen(found, "rb");
    FUZZ_CHECK(f != NULL, "%s", found);
    e->n = fread(e->at, 1, sizeof e->at, f);
    fclose(f);
}

static void mend_checksum(Entry *e) {
    if (e->n < SUM_AT + 16) return;
    memset(e->at + SUM_AT, 0, 16);
    VmHash h = vm_hash((VmHash){0}, e->at, e->n);
    memcpy(e->at + SUM_AT, (uint64_t[]){h.lo, h.hi}, 16);
}

static void put(const Entry *e) {
    FILE *f = fopen(found, "wb");
    FUZZ_CHECK(f && fwrite(e->at, 1, e->n, f) == e->n && fclose(f) == 0, "%s", found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const CgTarget target = {.isa = "avx2", .cpu = "haswell", .features = "", .host = ""};
    Arena *a = arena_create();
    const char *note;
    bool refused, mended = size && data[0] & 1;
    Entry was, e;
    uint8_t object[OBJECT];
    Cache *c = cache_open(a, &target, fuzz_folder(), &note, &refused);
    FUZZ_CHECK(!note, "%s", note);
    store(c, object, &was);
    e = was;
    if (size) e.n = fuzz_change(e.at, e.n, MOST, data + 1, size - 1);
    if (mended) mend_checksum(&e);
    put(&e);
    CacheEntry out;
    bool hit = cache_find(c, a, key, &out), same = e.n == was.n && !memcmp(e.at, was.at, e.n);
    FUZZ_CHECK(mended || hit == same, "found %d, as it was %d", hit, same);
    if (hit) {
        FUZZ_CHECK(out.size <= e.n && !memcmp(out.object, e.at + e.n - out.size, out.size),
                   "an object of other bytes");
        FUZZ_CHECK(out.facts.items >= 0 && out.facts.scratch_bytes >= 0, "facts");
        (void)code_check(
            a, &(LoadObject){.symbol = CG_KERNEL_SYMBOL, .data = out.object, .size = out.size},
            EM_X86_64, NULL);
    }
    cache_close(c);
    arena_destroy(a);
    return 0;
}
