/* A library for LD_PRELOAD that takes rights from the process before its main begins: what the
 * filter does not allow ends it with SIGSYS, and so it does in every process and thread that it
 * starts. Used by tests/hardening/run.sh, no part of the unit tests.
 *
 *   VMOE_JAIL=trainer   only the system calls of calls.def
 *   VMOE_JAIL=code      every call, but no memory that is writable and executable at once */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

typedef struct Rule {
    uint32_t call, argument, mask, value;
} Rule;

static const Rule trainer[] = {
#define CALL(name, argument, mask, value) {SYS_##name, argument, mask, value},
#include "tests/hardening/calls.def"
#undef CALL
};

enum { BOTH = PROT_WRITE | PROT_EXEC };
static const Rule code[] = {
    {SYS_mmap, 2, BOTH, BOTH}, {SYS_mprotect, 2, BOTH, BOTH}, {SYS_pkey_mprotect, 2, BOTH, BOTH}};

enum { MOST = 1000 };
static struct sock_filter filter[MOST];
static unsigned short length;

static void put(uint16_t what, uint32_t k, uint8_t yes, uint8_t no) {
    if (length < MOST) filter[length++] = (struct sock_filter){what, yes, no, k};
}

static void load(size_t offset) {
    put(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void end_with(uint32_t action) {
    put(BPF_RET | BPF_K, action, 0, 0);
}

/* The low half of an argument is all there is of flags. */
static void put_rule(const Rule *r, uint32_t action) {
    load(offsetof(struct seccomp_data, nr));
    put(BPF_JMP | BPF_JEQ | BPF_K, r->call, 0, 4);
    load(offsetof(struct seccomp_data, args) + r->argument * sizeof(uint64_t));
    put(BPF_ALU | BPF_AND | BPF_K, r->mask, 0, 0);
    put(BPF_JMP | BPF_JEQ | BPF_K, r->value, 0, 1);
    end_with(action);
}

/* Another architecture's calls have other numbers. */
static void put_architecture(void) {
    load(offsetof(struct seccomp_data, arch));
    put(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
    end_with(SECCOMP_RET_KILL_PROCESS);
}

static void fill_trainer(void) {
    /* its flags lie in memory, where a filter cannot look: libc then asks clone */
    put_rule(&(Rule){SYS_clone3, 0, 0, 0}, SECCOMP_RET_ERRNO | ENOSYS);
    for (size_t i = 0; i < sizeof trainer / sizeof trainer[0]; i++)
        put_rule(&trainer[i], SECCOMP_RET_ALLOW);
    end_with(SECCOMP_RET_KILL_PROCESS);
}

static void fill_code(void) {
    for (size_t i = 0; i < sizeof code / sizeof code[0]; i++)
        put_rule(&code[i], SECCOMP_RET_KILL_PROCESS);
    end_with(SECCOMP_RET_ALLOW);
}

__attribute__((constructor)) static void close_the_door(void) {
    const char *kind = getenv("VMOE_JAIL");
    bool all = kind && !strcmp(kind, "code");
    put_architecture();
    if (all)
        fill_code();
    else
        fill_trainer();
    struct sock_fprog program = {length, filter};
    if ((all || (kind && !strcmp(kind, "trainer"))) && length < MOST &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
        return;
    fprintf(stderr, "jail: there is no filter '%s' here: %s\n", kind ? kind : "", strerror(errno));
    _exit(125);
}
