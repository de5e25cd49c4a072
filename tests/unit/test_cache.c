/* The cache of objects on disk: an entry is found by its key and by nothing else, and damage of any kind is a
 * miss that the next store repairs. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/cache.h"
#include "codegen/hash.h"
#include "tests/unit/util_shell.h"

static const CgTarget target = {.isa = "avx2",
                                .vector_floats = 8,
                                .vector_registers = 16,
                                .cpu = "haswell",
                                .features = "+avx2",
                                .host = ""};

static const char object[] = "not really an object, but bytes are bytes";

typedef struct Place {
    char dir[64];
    Arena *a;
    Cache *c;
} Place;

static Place place(void) {
    Place p = {.dir = "/tmp/vmoec-cache-XXXXXX", .a = arena_create()};
    cr_assert_not_null(mkdtemp(p.dir));
    const char *note;
    p.c = cache_open(p.a, &target, p.dir, &note);
    cr_assert_null(note, "%s", note);
    return p;
}

static void leave(Place *p) {
    cr_assert_eq(shell("chmod -R u+rwx %s && rm -r %s", p->dir, p->dir), 0);
    arena_destroy(p->a);
}

static void store(Place *p, const char *text) {
    CacheEntry e = {{64, 7}, object, sizeof object};
    cache_store(p->c, text, &e, "");
}

static bool hit(Place *p, const char *text) {
    CacheEntry e;
    if (!cache_find(p->c, p->a, text, &e)) return false;
    cr_assert_eq(e.size, sizeof object);
    cr_assert_eq(memcmp(e.object, object, e.size), 0);
    cr_assert(e.facts.scratch_bytes == 64 && e.facts.items == 7);
    return true;
}

/* The path of the only file below dir; "" when there is none. Counts them. */
static int only_file(const char *dir, char *path, size_t cap) {
    char command[160];
    snprintf(command, sizeof command, "find %s -type f", dir);
    FILE *f = popen(command, "r");
    cr_assert_not_null(f);
    int n = 0;
    path[0] = 0;
    for (char line[512]; fgets(line, sizeof line, f); n++)
        snprintf(path, cap, "%.*s", (int)strcspn(line, "\n"), line);
    pclose(f);
    return n;
}

Test(cache, what_was_stored_is_found) {
    Place p = place();
    cr_assert_not(hit(&p, "one"));
    store(&p, "one");
    cr_assert(hit(&p, "one"));
    cr_assert_not(hit(&p, "two"));
    store(&p, "two");
    store(&p, "two");
    cr_assert(hit(&p, "one") && hit(&p, "two"));
    char path[256];
    cr_assert_eq(only_file(p.dir, path, sizeof path), 2);
    leave(&p);
}

Test(cache, another_target_or_compiler_misses) {
    Place p = place();
    store(&p, "one");
    CgTarget other[5] = {target, target, target, target, target};
    other[0].isa = "avx512";
    other[1].features = "+avx2,+fma";
    other[2].cpu = "host";
    other[3].host = "1.2.3";
    other[4].vector_registers = 32;
    for (int i = 0; i < 5; i++) {
        const char *note;
        Place q = {.a = p.a, .c = cache_open(p.a, &other[i], p.dir, &note)};
        cr_assert_not(hit(&q, "one"), "target %d", i);
    }
    cr_assert(hit(&p, "one"));
    leave(&p);
}

/* The compiler's identity is in the file's key; an entry that lies under another key's name is not taken. */
Test(cache, the_name_of_a_file_is_not_trusted) {
    Place p = place();
    char path[256];
    store(&p, "one");
    only_file(p.dir, path, sizeof path);
    cr_assert_eq(shell("mv %s %s/kept", path, p.dir), 0);
    store(&p, "two");
    cr_assert_eq(shell("cp %s/kept $(find %s/v1 -type f)", p.dir, p.dir), 0);
    cr_assert_not(hit(&p, "two"));
    store(&p, "two");
    cr_assert(hit(&p, "two"));
    leave(&p);
}

Test(cache, a_replaced_library_misses) {
    Place p = place();
    char library[128];
    snprintf(library, sizeof library, "%s/libLLVM", p.dir);
    FILE *f = fopen(library, "w");
    cr_assert_not_null(f);
    fputs("old", f);
    fclose(f);
    CacheEntry e = {{64, 7}, object, sizeof object};
    cache_store(p.c, "one", &e, library);
    cr_assert(hit(&p, "one"));
    f = fopen(library, "w");
    fputs("newer", f);
    fclose(f);
    const char *note;
    Place later = {.a = p.a, .c = cache_open(p.a, &target, p.dir, &note)};
    cr_assert_not(hit(&later, "one"));
    unlink(library);
    Place last = {.a = p.a, .c = cache_open(p.a, &target, p.dir, &note)};
    cr_assert_not(hit(&last, "one"));
    leave(&p);
}

/* Every byte matters, and every length but the right one is wrong. */
Test(cache, damage_is_a_miss) {
    Place p = place();
    char path[256];
    store(&p, "one");
    cr_assert_eq(only_file(p.dir, path, sizeof path), 1);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at++) {
        int fd = open(path, O_RDWR);
        unsigned char byte;
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= (unsigned char)(1 << at % 8);
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        cr_assert_not(hit(&p, "one"), "byte %lld", (long long)at);
        byte ^= (unsigned char)(1 << at % 8);
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    cr_assert(hit(&p, "one"));
    for (off_t size = st.st_size - 1; size >= 0; size--) {
        cr_assert_eq(truncate(path, size), 0);
        cr_assert_not(hit(&p, "one"), "%lld bytes", (long long)size);
    }
    store(&p, "one");
    cr_assert(hit(&p, "one"));
    cr_assert_eq(truncate(path, st.st_size + 1), 0);
    cr_assert_not(hit(&p, "one"));
    leave(&p);
}

Test(cache, other_things_in_its_place_do_no_harm) {
    Place p = place();
    char path[256];
    store(&p, "one");
    only_file(p.dir, path, sizeof path);
    static const char *const things[] = {"rm $f && mkdir $f", "rmdir $f; ln -s /etc/passwd $f",
                                         "rm $f; mkfifo $f", "rm $f; ln -s $f.gone $f"};
    for (int i = 0; i < 4; i++) {
        shell("f=%s; %s", path, things[i]);
        cr_assert_not(hit(&p, "one"), "%s", things[i]);
        store(&p, "one");
        if (i > 0) cr_assert(hit(&p, "one"), "%s", things[i]);
    }
    leave(&p);
}

Test(cache, a_folder_that_cannot_be_used_is_no_failure) {
    Arena *a = arena_create();
    const char *note;
    Cache *c = cache_open(a, &target, "/proc/nothing/here", &note);
    cr_assert_not_null(note);
    Place p = {.a = a, .c = c};
    store(&p, "one");
    cr_assert_not(hit(&p, "one"));
    c = cache_open(a, &target, NULL, &note);
    cr_assert_null(note);
    p.c = c;
    store(&p, "one");
    cr_assert_not(hit(&p, "one"));
    arena_destroy(a);
}

/* Code from the cache runs with the user's rights. */
Test(cache, a_folder_others_may_write_to_is_not_used) {
    Place p = place();
    store(&p, "one");
    char v1[80];
    snprintf(v1, sizeof v1, "%s/v1", p.dir);
    cr_assert_eq(chmod(v1, 0777), 0);
    const char *note;
    Place q = {.a = p.a, .c = cache_open(p.a, &target, p.dir, &note)};
    cr_assert(note && strstr(note, "others"), "%s", note);
    cr_assert_not(hit(&q, "one"));
    leave(&p);
}

/* 40 objects of 512 KiB that land in one folder: its part of the cache holds two, and the oldest go. */
Test(cache, a_folder_keeps_to_its_part) {
    Place p = place();
    static char big[500 << 10];
    int stored = 0;
    char path[256], last[32] = "";
    for (int i = 0; stored < 6; i++) {
        char text[32], key[400];
        snprintf(text, sizeof text, "text %d", i);
        snprintf(key, sizeof key, "compiler %s\nisa avx2 8 16\ncpu haswell +avx2 \n%s", cg_compiler_id, text);
        if (hash_bytes(key, strlen(key)).hi >> 56 != 0x7) continue;
        CacheEntry e = {{64, 7}, big, sizeof big};
        cache_store(p.c, text, &e, "");
        snprintf(last, sizeof last, "%s", text);
        stored++;
        /* the next one must be younger than this one */
        cr_assert_eq(
            shell("touch -d '-%d minutes' %s/v1/07/$(ls -t %s/v1/07 | head -1)", 60 - stored, p.dir, p.dir),
            0, "the text's folder is not where the test thinks");
    }
    cr_assert_eq(only_file(p.dir, path, sizeof path), 2);
    CacheEntry e;
    cr_assert(cache_find(p.c, p.a, last, &e), "the newest is gone");
    leave(&p);
}

/* Readers and writers of the same few entries: a reader sees a whole entry or none. */
Test(cache, many_processes_at_once) {
    Place p = place();
    enum { PROCESSES = 8, ROUNDS = 60 };
    pid_t pid[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] != 0) continue;
        int bad = 0;
        for (int k = 0; k < ROUNDS; k++) {
            char text[16];
            snprintf(text, sizeof text, "%d", (i + k) % 3);
            store(&p, text);
            CacheEntry e;
            bad += !cache_find(p.c, p.a, text, &e) || e.size != sizeof object ||
                   memcmp(e.object, object, e.size);
        }
        _exit(bad != 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        cr_assert_eq(waitpid(pid[i], &status, 0), pid[i]);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    char path[256];
    cr_assert_eq(only_file(p.dir, path, sizeof path), 3, "temporary files are left");
    leave(&p);
}

/* The reference values of SipHash-2-4-128: key 00..0f, inputs 00, 00 01, ... */
Test(cache, the_hash_is_siphash) {
    unsigned char in[64];
    for (int i = 0; i < 64; i++) in[i] = (unsigned char)i;
    Hash none = hash_bytes(in, 0), one = hash_bytes(in, 1);
    cr_assert_eq(none.lo, UINT64_C(0xe6a825ba047f81a3));
    cr_assert_eq(none.hi, UINT64_C(0x930255c71472f66d));
    cr_assert_eq(one.lo, UINT64_C(0x44af996bd8c187da));
    cr_assert_eq(one.hi, UINT64_C(0x45fc229b11597634));
}
