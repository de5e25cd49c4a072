/* The cache of objects on disk: an entry is found by its key and by nothing else, and damage of any
 * kind is a miss that the next store repairs. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "codegen/load/cache.h"
#include "base/rng.h"
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

static Cache *open_in(Arena *a, const char *dir, const char **note) {
    bool refused;
    return cache_open(a, &target, dir, note, &refused);
}

static Place place(void) {
    Place p = {.dir = "/tmp/vmoec-cache-XXXXXX", .a = arena_create()};
    cr_assert_not_null(mkdtemp(p.dir));
    const char *note;
    p.c = open_in(p.a, p.dir, &note);
    cr_assert_null(note, "%s", note);
    return p;
}

static void leave(Place *p) {
    cache_close(p->c);
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
    CgTarget other[6] = {target, target, target, target, target, target};
    other[0].isa = "avx512";
    other[1].features = "+avx2,+fma";
    other[2].cpu = "host";
    other[3].host = "1.2.3";
    other[4].vector_registers = 32;
    other[5].has = CG_SCALE;
    for (int i = 0; i < 6; i++) {
        const char *note;
        bool refused;
        Place q = {.a = p.a, .c = cache_open(p.a, &other[i], p.dir, &note, &refused)};
        cr_assert_not(hit(&q, "one"), "target %d", i);
    }
    cr_assert(hit(&p, "one"));
    leave(&p);
}

/* The compiler's identity is in the file's key; an entry that lies under another key's name is not
 * taken. */
Test(cache, the_name_of_a_file_is_not_trusted) {
    Place p = place();
    char path[256];
    store(&p, "one");
    only_file(p.dir, path, sizeof path);
    cr_assert_eq(shell("mv %s %s/kept", path, p.dir), 0);
    store(&p, "two");
    cr_assert_eq(shell("cp %s/kept $(find %s/v2 -type f)", p.dir, p.dir), 0);
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
    Place later = {.a = p.a, .c = open_in(p.a, p.dir, &note)};
    cr_assert_not(hit(&later, "one"));
    unlink(library);
    Place last = {.a = p.a, .c = open_in(p.a, p.dir, &note)};
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
    Cache *c = open_in(a, "/proc/nothing/here", &note);
    cr_assert_not_null(note);
    Place p = {.a = a, .c = c};
    store(&p, "one");
    cr_assert_not(hit(&p, "one"));
    c = open_in(a, NULL, &note);
    cr_assert_null(note);
    p.c = c;
    store(&p, "one");
    cr_assert_not(hit(&p, "one"));
    arena_destroy(a);
}

/* Code from the cache runs with the user's rights: what others could have put there is not taken.
 * After each change all is well again. */
static void refused_after(Place *p, const char *change, const char *undo, const char *why) {
    cr_assert_eq(shell("cd %s && { %s; }", p->dir, change), 0, "%s", change);
    char path[96];
    snprintf(path, sizeof path, "%s/a/b", p->dir);
    const char *note;
    bool refused;
    Place q = {.a = p->a, .c = cache_open(p->a, &target, path, &note, &refused)};
    cr_assert(refused && note && strstr(note, why), "%s: %s", change, note ? note : "taken");
    cr_assert_not(hit(&q, "one"), "%s", change);
    store(&q, "two");
    cr_assert_not(hit(&q, "two"), "%s", change);
    cr_assert_eq(shell("cd %s && { %s; }", p->dir, undo), 0, "%s", undo);
    q.c = open_in(p->a, path, &note);
    cr_assert_null(note, "%s: %s", undo, note);
    cr_assert(hit(&q, "one"), "%s", undo);
    cache_close(q.c);
}

static Place place_two_folders_down(void) {
    Place p = place();
    cache_close(p.c);
    char path[96];
    const char *note;
    snprintf(path, sizeof path, "%s/a/b", p.dir);
    p.c = open_in(p.a, path, &note);
    cr_assert_null(note, "%s", note);
    store(&p, "one");
    return p;
}

Test(cache, a_folder_others_may_write_to_is_not_used) {
    Place p = place_two_folders_down();
    refused_after(&p, "chmod 777 a/b/v2", "chmod 700 a/b/v2", "written");
    refused_after(&p, "chmod 1777 a/b/v2", "chmod 700 a/b/v2", "written");
    leave(&p);
}

Test(cache, nor_is_one_below_such_a_folder) {
    Place p = place_two_folders_down();
    refused_after(&p, "chmod 777 a/b", "chmod 700 a/b", "a/b");
    refused_after(&p, "chmod 775 a", "chmod 700 a", "/a'");
    refused_after(&p, "chmod 777 .", "chmod 700 .", "other users");
    leave(&p);
}

Test(cache, nor_is_one_below_another_users_folder) {
    if (geteuid() != 0) cr_skip_test("only root can give files away");
    Place p = place_two_folders_down();
    refused_after(&p, "chown 65534 a", "chown 0 a", "another user");
    refused_after(&p, "chown 65534 a/b/v2", "chown 0 a/b/v2", "another user");
    refused_after(&p, "mv a x; ln -s x a; chown -h 65534 a", "rm a; mv x a",
                  "link of another user");
    leave(&p);
}

/* Root's, where all may add entries, as /tmp is; what is in it is checked by itself. */
Test(cache, a_sticky_folder_will_do_when_it_is_roots) {
    if (geteuid() != 0) cr_skip_test("only root can give files away");
    Place p = place_two_folders_down();
    char path[96];
    const char *note;
    snprintf(path, sizeof path, "%s/a/b", p.dir);
    cr_assert_eq(shell("chmod 1777 %s/a", p.dir), 0);
    Place q = {.a = p.a, .c = open_in(p.a, path, &note)};
    cr_assert_null(note, "%s", note);
    cr_assert(hit(&q, "one"));
    cache_close(q.c);
    refused_after(&p, "chown 65534 a", "chown 0 a", "another user");
    refused_after(&p, "chown 65534 a/b", "chown 0 a/b", "another user");
    refused_after(&p, "chmod 2775 a", "chmod 1777 a", "/a'");
    refused_after(&p, "mv a/b x; ln -s ../x a/b; chown -h 65534 a/b", "rm a/b; mv x a/b",
                  "link of another user");
    leave(&p);
}

Test(cache, a_link_of_the_user_is_followed_and_what_it_leads_to_checked) {
    Place p = place_two_folders_down();
    char path[96];
    cr_assert_eq(shell("cd %s && mv a x && ln -s ../${PWD##*/}/./x/ a", p.dir), 0);
    const char *note;
    snprintf(path, sizeof path, "%s/a/b", p.dir);
    Place q = {.a = p.a, .c = open_in(p.a, path, &note)};
    cr_assert_null(note, "%s", note);
    cr_assert(hit(&q, "one"));
    cache_close(q.c);
    refused_after(&p, "chmod 777 x", "chmod 700 x", "/x'");
    cr_assert_eq(shell("cd %s && rm a && ln -s a a", p.dir), 0);
    q.c = open_in(p.a, path, &note);
    cr_assert_not_null(note);
    leave(&p);
}

Test(cache, nothing_is_made_in_a_refused_folder) {
    Place p = place();
    char path[96];
    cr_assert_eq(shell("mkdir -m 777 %s/a && mkdir %s/a/b", p.dir, p.dir), 0);
    cr_assert_eq(shell("chmod 777 %s/a", p.dir), 0);
    snprintf(path, sizeof path, "%s/a/b/c", p.dir);
    const char *note;
    bool refused;
    (void)cache_open(p.a, &target, path, &note, &refused);
    cr_assert(refused);
    cr_assert_eq(shell("test ! -e %s", path), 0);
    leave(&p);
}

Test(cache, a_relative_path_is_checked_up_to_the_root) {
    Place p = place_two_folders_down();
    cr_assert_eq(chdir(p.dir), 0);
    const char *note;
    Place q = {.a = p.a, .c = open_in(p.a, "a/b", &note)};
    cr_assert_null(note, "%s", note);
    cr_assert(hit(&q, "one"));
    cache_close(q.c);
    cr_assert_eq(chmod(p.dir, 0777), 0);
    bool refused;
    (void)cache_open(p.a, &target, "a/b", &note, &refused);
    cr_assert(refused);
    leave(&p);
}

/* Exchanged after the check: the folder that was opened is what is used. */
Test(cache, a_folder_exchanged_later_is_not_looked_at) {
    Place p = place_two_folders_down();
    cr_assert_eq(shell("cd %s && mv a x && cp -r x a && rm a/b/v2/*/*", p.dir), 0);
    cr_assert(hit(&p, "one"));
    store(&p, "two");
    cr_assert(hit(&p, "two"));
    char path[256], other[80];
    snprintf(other, sizeof other, "%s/a", p.dir);
    cr_assert_eq(only_file(other, path, sizeof path), 0);
    leave(&p);
}

/* Every entry is checked by itself, and so is the folder it is in. */
Test(cache, an_entry_others_had_a_hand_in_is_a_miss) {
    static const struct {
        const char *change, *undo;
    } list[] = {
        {"chmod g+w $f", "chmod g-w $f"},
        {"chmod o+w $f", "chmod o-w $f"},
        {"ln $f $d/second", "rm $d/second"},
        {"chmod g+w ${f%/*}", "chmod g-w ${f%/*}"},
        {"mv ${f%/*} $d/kept; ln -s $d/kept ${f%/*}", "rm ${f%/*}; mv $d/kept ${f%/*}"},
        {"mv $f $d/kept; ln -s $d/kept $f", "rm $f; mv $d/kept $f"},
        {"chown 65534 $f", "chown 0 $f"},
        {"chown 65534 ${f%/*}", "chown 0 ${f%/*}"},
    };
    int n = geteuid() == 0 ? 8 : 6;
    Place p = place();
    char path[256];
    store(&p, "one");
    only_file(p.dir, path, sizeof path);
    for (int i = 0; i < n; i++) {
        cr_assert_eq(shell("f=%s d=%s; %s", path, p.dir, list[i].change), 0, "%s", list[i].change);
        cr_assert_not(hit(&p, "one"), "%s", list[i].change);
        cr_assert_eq(shell("f=%s d=%s; %s", path, p.dir, list[i].undo), 0, "%s", list[i].undo);
        cr_assert(hit(&p, "one"), "%s", list[i].undo);
    }
    leave(&p);
}

/* Whatever happens to a file: a miss, or the very object. */
Test(cache, random_damage_is_never_taken) {
    static const uint32_t key[2] = {2026, 12};
    Place p = place();
    char path[256];
    store(&p, "one");
    only_file(p.dir, path, sizeof path);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    unsigned char good[1024], bad[1024 + 64];
    size_t size = (size_t)st.st_size;
    int fd = open(path, O_RDWR);
    cr_assert(size <= sizeof good && pread(fd, good, size, 0) == (ssize_t)size);
    uint32_t draw = 0;
    int misses = 0;
    for (int round = 0; round < 2000; round++) {
        size_t n = size;
        memset(bad, 0, sizeof bad);
        memcpy(bad, good, size);
        int flips = (int)(vm_rng_bits(key, draw++) % 4);
        for (int i = 0; i < flips; i++) {
            uint32_t where = vm_rng_bits(key, draw++), what = vm_rng_bits(key, draw++);
            bad[where % size] =
                what % 4 ? bad[where % size] ^ (unsigned char)(1 << what / 4 % 8) : 0xff;
        }
        if (round % 7 == 0) n = vm_rng_bits(key, draw++) % (size + 64);
        cr_assert_eq(ftruncate(fd, 0), 0);
        cr_assert_eq(pwrite(fd, bad, n, 0), (ssize_t)n);
        bool same = n == size && !memcmp(bad, good, size);
        cr_assert_eq(hit(&p, "one"), same, "round %d", round);
        misses += !same;
    }
    cr_assert_gt(misses, 1000);
    close(fd);
    leave(&p);
}

Test(cache, what_killed_processes_left_goes_and_nothing_else_does) {
    Place p = place();
    store(&p, "one");
    char path[256];
    only_file(p.dir, path, sizeof path);
    *strrchr(path, '/') = 0;
    cr_assert_eq(shell("cd %s && date > notes.txt && date > ../notes && date > ../" VM_TEMP_PREFIX
                       "abcdefghijkl && mkdir ../" VM_TEMP_PREFIX "folder",
                       path),
                 0);
    char held[32];
    int fd = open(p.dir, O_RDONLY | O_DIRECTORY);
    int dir = openat(fd, "v2", O_RDONLY | O_DIRECTORY);
    int being_written = vm_temp_file(dir, 0600, held);
    cr_assert_geq(being_written, 0);
    const char *note;
    Place next = {.a = p.a, .c = open_in(p.a, p.dir, &note)};
    store(&next, "one");
    cr_assert(hit(&next, "one"));
    cr_assert_eq(shell("cd %s && test -e notes.txt -a -e ../notes -a -d ../" VM_TEMP_PREFIX
                       "folder -a -e ../%s -a ! -e ../" VM_TEMP_PREFIX "abcdefghijkl",
                       path, held),
                 0);
    cache_close(next.c);
    leave(&p);
}

/* 40 objects of 512 KiB that land in one folder: its part of the cache holds two, and the oldest
 * go. */
Test(cache, a_folder_keeps_to_its_part) {
    Place p = place();
    static char big[500 << 10];
    int stored = 0;
    char path[256], last[32] = "";
    for (int i = 0; stored < 6; i++) {
        char text[32], key[400];
        snprintf(text, sizeof text, "text %d", i);
        snprintf(key, sizeof key, "compiler %s\nisa avx2 8 16 0\ncpu haswell +avx2 \n%s",
                 cg_compiler_id, text);
        if (vm_hash((VmHash){0}, key, strlen(key)).hi >> 56 != 0x7) continue;
        CacheEntry e = {{64, 7}, big, sizeof big};
        cache_store(p.c, text, &e, "");
        snprintf(last, sizeof last, "%s", text);
        stored++;
        /* the next one must be younger than this one */
        cr_assert_eq(shell("touch -d '-%d minutes' %s/v2/07/$(ls -t %s/v2/07 | head -1)",
                           60 - stored, p.dir, p.dir),
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
