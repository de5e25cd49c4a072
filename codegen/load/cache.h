/* Objects kept on disk between runs. An entry is a file named by a hash of its key; the key is the
 * compiler's identity, the target and the text of what was compiled, and it is in the file, so that
 * only an equal key hits. Entries are written whole under a temporary name and renamed, and carry a
 * checksum: whatever is damaged, cut short or not ours is a miss. Nothing here fails: a cache that
 * cannot be used never hits. */
#ifndef VMOEC_CODEGEN_LOAD_CACHE_H
#define VMOEC_CODEGEN_LOAD_CACHE_H

#include "codegen/plan/backend.h"

typedef struct Cache Cache;

/* dir NULL: no cache. *note says why there is none, NULL otherwise; *refused: because others than
 * this user and root could put code into it. */
Cache *cache_open(Arena *a, const CgTarget *t, const char *dir, const char **note, bool *refused);
void cache_close(Cache *c); /* its memory is the arena's; NULL is fine */
/* The one descriptor that it holds; -1: there is no cache. */
int cache_descriptor(const Cache *c);

typedef struct CacheEntry {
    CgFacts facts;
    const void *object;
    size_t size;
} CacheEntry;

/* The object kept for a text; its bytes are in arena a. */
bool cache_find(Cache *c, Arena *a, const char *text, CacheEntry *out);

/* Keeps an object made by the LLVM library `library` (a path, or ""). Removes the entries of the
 * same folder that were not used for longest when it grows beyond its part of CACHE_BYTES. */
void cache_store(Cache *c, const char *text, const CacheEntry *e, const char *library);

enum { CACHE_BYTES = 256 << 20, CACHE_FOLDERS = 256 };

#endif
