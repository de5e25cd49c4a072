/* base/file.h: complete or absent, names are not followed, leftovers go and others' files stay. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

static char root[64];
static VmError err;

static void enter(void) {
    snprintf(root, sizeof root, "/tmp/vmoec-file-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    cr_assert_eq(chdir(root), 0);
}

static void leave(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = enter, .fini = leave);

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_text(const char *path, const char *want) {
    char *data;
    size_t n;
    cr_assert_eq(vm_read_file(path, &data, &n, &err), VM_OK, "%s", err.text);
    cr_assert_str_eq(data, want);
    free(data);
}

static void write_path(const char *path, const char *text) {
    VmFile w;
    cr_assert_eq(vm_file_begin(&w, path, &err), VM_OK, "%s", err.text);
    fputs(text, w.f);
    cr_assert_eq(vm_file_commit(&w, &err), VM_OK, "%s", err.text);
}

static int entries(const char *dir) {
    char command[128];
    snprintf(command, sizeof command, "ls -A %s | wc -l", dir);
    FILE *p = popen(command, "r");
    int n = -1;
    cr_assert_eq(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

Test(file, is_replaced_as_a_whole_and_keeps_its_mode) {
    put("a", "old");
    chmod("a", 0640);
    VmFile w;
    cr_assert_eq(vm_file_begin(&w, "a", &err), VM_OK);
    fputs("new", w.f);
    fflush(w.f);
    expect_text("a", "old");
    cr_assert_eq(vm_file_commit(&w, &err), VM_OK);
    expect_text("a", "new");
    struct stat st;
    stat("a", &st);
    cr_assert_eq(st.st_mode & 0777, 0640);
    cr_assert_eq(vm_file_begin(&w, "a", &err), VM_OK);
    fputs("half", w.f);
    vm_file_abandon(&w);
    expect_text("a", "new");
    cr_assert_eq(entries("."), 1);
}

Test(file, a_link_of_the_users_leads_to_its_file) {
    mkdir("there", 0777);
    put("there/a", "old");
    cr_assert_eq(symlink("there/a", "link"), 0);
    cr_assert_eq(symlink("link", "link2"), 0);
    write_path("link2", "new");
    expect_text("there/a", "new");
    char to[64];
    cr_assert_eq(readlink("link", to, sizeof to), 7, "the link stays");
    cr_assert_eq(symlink("there/fresh", "dangling"), 0);
    write_path("dangling", "made");
    expect_text("there/fresh", "made");
    cr_assert_eq(symlink("round", "round"), 0);
    VmFile w;
    cr_assert_eq(vm_file_begin(&w, "round", &err), VM_ENV);
}

Test(file, devices_and_descriptors_are_written_in_place) {
    write_path("/dev/null", "gone");
    cr_assert_eq(access("/dev/null", F_OK), 0);
    int fd = open("out", O_RDWR | O_CREAT, 0666);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    write_path(path, "through");
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    write_path(path, "through");
    close(fd);
    expect_text("out", "through");
}

Test(file, pipes_never_block, .timeout = 10) {
    cr_assert_eq(mkfifo("pipe", 0666), 0);
    char *data;
    size_t n;
    cr_assert_eq(vm_read_file("pipe", &data, &n, &err), VM_ENV);
    cr_assert_str_eq(err.text, "'pipe' is a pipe, device or socket, not a file");
    VmFile w;
    cr_assert_eq(vm_file_begin(&w, "pipe", &err), VM_ENV);
    cr_assert_eq(vm_read_file(".", &data, &n, &err), VM_ENV);
    cr_assert_str_eq(err.text, "'.' is a folder, not a file");
}

Test(file, names_are_not_followed, .timeout = 10) {
    VmDir d;
    cr_assert_eq(vm_dir_open(&d, "a/b/c", true, &err), VM_OK, "%s", err.text);
    put("precious", "thesis");
    cr_assert_eq(symlink("../../../precious", "a/b/c/link"), 0);
    cr_assert_eq(mkfifo("a/b/c/pipe", 0666), 0);
    static const char *const names[] = {"link", "pipe"};
    for (int i = 0; i < 2; i++) {
        VmFile w;
        VmDir sub;
        FILE *f;
        char *data;
        size_t n;
        cr_assert_eq(vm_read_in(&d, names[i], &data, &n, &err), VM_ENV);
        cr_assert_eq(vm_file_begin_in(&w, &d, names[i], &err), VM_ENV);
        cr_assert_eq(vm_append_in(&f, &d, names[i], true, &err), VM_ENV);
        cr_assert_eq(vm_dir_in(&sub, &d, names[i], true, &err), VM_ENV);
        cr_assert_not(vm_remove_folder(&d, names[i], names, 2));
    }
    cr_assert_eq(symlink("../../..", "a/b/c/up"), 0);
    cr_assert_not(vm_remove_folder(&d, "up", (const char *const[]){"precious"}, 1));
    expect_text("precious", "thesis");
    vm_dir_close(&d);
}

/* What somebody else put there in the meantime stays. */
/* A large write goes past the stream's buffer, and its reason with it. */
Test(file, a_large_write_that_fails_has_its_reason) {
    static const char big[1 << 20];
    VmFile w;
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 16, RLIM_INFINITY}), 0);
    cr_assert_eq(vm_file_begin(&w, "big", &err), VM_OK);
    fwrite(big, 1, sizeof big, w.f);
    cr_assert_eq(vm_file_commit(&w, &err), VM_ENV);
    cr_assert(strstr(err.text, "File too large") != NULL, "%s", err.text);
    cr_assert_eq(access("big", F_OK), -1);
}

Test(file, a_fresh_file_is_over_nothing) {
    VmDir d;
    VmFile w;
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    for (int there = 0; there < 2; there++) {
        const char *name = there ? "theirs" : "ours";
        cr_assert_eq(vm_file_begin_in(&w, &d, name, &err), VM_OK);
        w.fresh = true;
        fputs("mine", w.f);
        char temp[32];
        memcpy(temp, w.temp, sizeof temp);
        if (there) put(name, "precious");
        cr_assert_eq(vm_file_commit(&w, &err), there ? VM_ENV : VM_OK);
        expect_text(name, there ? "precious" : "mine");
        cr_assert_eq(vm_there(&d, temp), VM_NOTHING);
    }
    vm_dir_close(&d);
}

Test(file, leftovers_of_the_dead_go_and_what_lives_stays) {
    VmDir d, temp;
    char name[32];
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    put(VM_TEMP_PREFIX "aaaaaaaaaaaa", "left by a killed process");
    cr_assert_eq(symlink("/etc", VM_TEMP_PREFIX "bbbbbbbbbbbb"), 0);
    cr_assert_eq(vm_dir_temp(&temp, &d, name, &err), VM_OK);
    VmFile known;
    cr_assert_eq(vm_file_begin_in(&known, &temp, "known", &err), VM_OK);
    cr_assert_eq(vm_file_commit(&known, &err), VM_OK);
    vm_dir_close(&temp);
    mkdir(VM_TEMP_PREFIX "cccccccccccc", 0777);
    put(VM_TEMP_PREFIX "cccccccccccc/notes", "a user's");
    VmFile w;
    cr_assert_eq(vm_file_begin_in(&w, &d, "mine", &err), VM_OK);
    pid_t child =
        fork(); /* locks are told apart by open files, not by processes: another one clears */
    if (child == 0) {
        vm_remove_leftovers(&d, (const char *const[]){"known"}, 1);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    cr_assert_eq(access(VM_TEMP_PREFIX "aaaaaaaaaaaa", F_OK), -1);
    cr_assert_eq(access(name, F_OK), -1, "a folder with nothing but files of ours");
    cr_assert_eq(vm_there(&d, VM_TEMP_PREFIX "bbbbbbbbbbbb"), VM_LINK);
    expect_text(VM_TEMP_PREFIX "cccccccccccc/notes", "a user's");
    cr_assert_eq(vm_there(&d, w.temp), VM_REGULAR, "a file that is being written");
    cr_assert_eq(vm_file_commit(&w, &err), VM_OK);
    vm_dir_close(&d);
}

Test(file, a_folder_with_something_of_others_in_it_stays) {
    VmDir d;
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    mkdir("old", 0777);
    put("old/weights", "ours");
    put("old/notes", "theirs");
    cr_assert_not(vm_remove_folder(&d, "old", (const char *const[]){"weights"}, 1));
    expect_text("old/notes", "theirs");
    unlink("old/notes");
    cr_assert(vm_remove_folder(&d, "old", (const char *const[]){"weights"}, 1));
    cr_assert_eq(vm_there(&d, "old"), VM_NOTHING);
    vm_dir_close(&d);
}

Test(file, moves_go_over_nothing) {
    VmDir d;
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    put("a", "a");
    put("b", "b");
    cr_assert_not(vm_rename_in(&d, "a", "b"));
    expect_text("b", "b");
    cr_assert(vm_exchange_in(&d, "a", "b"));
    expect_text("a", "b");
    unlink("b");
    cr_assert(vm_rename_in(&d, "a", "b"));
    vm_dir_close(&d);
}

Test(file, a_lock_names_its_holder) {
    VmDir d;
    VmLock mine, other;
    bool held;
    char holder[256];
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    cr_assert_eq(vm_lock(&mine, &d, ".lock", "process 12 on box\n", &held, holder, &err), VM_OK);
    cr_assert_eq(vm_lock(&other, &d, ".lock", "process 13 on box\n", &held, holder, &err), VM_ENV);
    cr_assert(held);
    cr_assert_str_eq(holder, "process 12 on box");
    vm_unlock(&mine);
    cr_assert_eq(vm_lock(&other, &d, ".lock", "process 13 on box\n", &held, holder, &err), VM_OK);
    vm_unlock(&other);
    unlink(".lock");
    cr_assert_eq(symlink("precious", ".lock"), 0);
    cr_assert_eq(vm_lock(&mine, &d, ".lock", "x", &held, holder, &err), VM_ENV);
    cr_assert_eq(access("precious", F_OK), -1);
    vm_dir_close(&d);
}

/* The power went before the text of a lock was on the disk, and its length was. */
Test(file, a_lock_whose_text_was_lost_is_ours) {
    VmDir d;
    VmLock lock;
    bool held;
    char holder[256], zeros[300] = {0};
    static const size_t sizes[] = {0, 1, 50, 255};
    cr_assert_eq(vm_dir_open(&d, ".", false, &err), VM_OK);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        FILE *f = fopen(".lock", "wb");
        cr_assert(f && fwrite(zeros, 1, sizes[i], f) == sizes[i] && fclose(f) == 0);
        cr_assert_eq(vm_lock(&lock, &d, ".lock", "process 12\n", &held, holder, &err), VM_OK, "%zu",
                     sizes[i]);
        cr_assert(lock.fd >= 0);
        vm_unlock(&lock);
    }
    FILE *f = fopen(".lock", "wb"); /* but a file of zeros of somebody's own is not */
    cr_assert(f && fwrite(zeros, 1, sizeof zeros, f) == sizeof zeros && fclose(f) == 0);
    cr_assert_eq(vm_lock(&lock, &d, ".lock", "process 12\n", &held, holder, &err), VM_ENV);
    unlink(".lock");
    vm_dir_close(&d);
}

Test(file, names_may_be_as_long_as_the_system_allows) {
    char name[256], path[4096];
    memset(name, 'x', 255);
    name[255] = '\0';
    write_path(name, "long");
    expect_text(name, "long");
    size_t at = 0;
    while (at + 210 < 4000) { /* a path near the most that the system takes */
        memset(path + at, 'd', 200);
        path[at + 200] = '/';
        at += 201;
    }
    path[at - 1] = '\0';
    VmDir d;
    cr_assert_eq(vm_dir_open(&d, path, true, &err), VM_OK, "%.200s", err.text);
    VmFile w;
    cr_assert_eq(vm_file_begin_in(&w, &d, name, &err), VM_OK);
    fputs("deep", w.f);
    cr_assert_eq(vm_file_commit(&w, &err), VM_OK);
    char *data;
    size_t n;
    cr_assert_eq(vm_read_in(&d, name, &data, &n, &err), VM_OK);
    cr_assert_str_eq(data, "deep");
    free(data);
    vm_dir_close(&d);
}
