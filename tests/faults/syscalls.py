#!/usr/bin/env python3
"""One system call fails, every one in turn: strace injects an error into the Nth call of a kind.

check, init, eval, train and train --resume have to end with exit status 0 and the right results, or
with 3 and a message; never by a signal, never with a wrong file. A run that was stopped in this way
is resumed without the fault and has to end with the weights and epoch lines of an undisturbed run;
once a checkpoint had been saved, one has to be left. Calls before main, which are the loader's, are
left alone."""

import collections
import os
import re
import shutil
import sys

from common import Suite, Undisturbed, broken, leftovers, read, recover, said, write

ERRORS = {
    "openat": "EIO EMFILE EACCES ENOMEM",
    "read": "EIO",
    "pread64": "EIO",
    "write": "EIO ENOSPC",
    "pwrite64": "EIO ENOSPC",
    "fsync": "EIO ENOSPC",
    "fdatasync": "EIO",
    "rename": "EIO ENOSPC EACCES",
    "renameat": "EIO ENOSPC EACCES",
    "renameat2": "EIO ENOSPC EACCES EINVAL",
    "mkdir": "EIO ENOSPC EACCES",
    "mkdirat": "EIO ENOSPC EACCES",
    "unlink": "EIO EACCES",
    "unlinkat": "EIO EACCES",
    "rmdir": "EIO EACCES",
    "fstat": "EIO ENOMEM",
    "newfstatat": "EIO ENOMEM EACCES",
    "statx": "EIO ENOMEM",
    "flock": "EIO ENOLCK",
    "ftruncate": "EIO ENOSPC",
    "fallocate": "EIO ENOSPC",
    "getrandom": "EIO ENOSYS",
    "getdents64": "EIO",
    "fcntl": "EMFILE EIO",
    "lseek": "EIO",
    "fchmod": "EIO",
    "fstatfs": "EIO",
    "access": "EIO EACCES",
    "mmap": "ENOMEM",
    "mprotect": "ENOMEM EACCES",
    "clone3": "EAGAIN ENOMEM",
    "clone": "EAGAIN ENOMEM",
    "vfork": "EAGAIN",
    "memfd_create": "EMFILE ENOMEM",
    "pipe2": "EMFILE",
    "socketpair": "EMFILE",
    "readlink": "EIO",
    "copy_file_range": "EIO",
    "linkat": "EIO EACCES",
}
CALL = re.compile(r"^(\d+) +(\w+)\((.*)")


def count(s, args, work, stop=None):
    """How often the busiest thread makes each call, and how often the first one had when `stop`
    matched."""
    trace = os.path.join(work, "trace")
    r = s.start(args, work, before=["strace", "-f", "-qq", "-o", trace])
    n = collections.defaultdict(collections.Counter)
    first, then = None, None
    for line in (read(trace) or b"").decode("utf-8", "replace").splitlines():
        m = CALL.match(line)
        if not m:
            continue
        first = first or m[1]
        if stop and then is None and m[1] == first and re.search(stop, line):
            then = collections.Counter(n[first])
        n[m[1]][m[2]] += 1
    os.unlink(trace)
    most = collections.Counter()
    for counter in n.values():
        most |= counter
    return r, most, then


def strace(call, error, at):
    return [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=" + call,
        "-e",
        "inject=%s:error=%s:when=%d" % (call, error, at),
    ]


def main():
    s = Suite("syscalls", __doc__, 6)
    if (
        not shutil.which("strace")
        or s.run(["--version"], s.top, before=["strace", "-o", "/dev/null"]).status != 0
    ):
        s.skip("failing system calls", "strace cannot trace here")
        s.finish()
    clean = Undisturbed(s, most=2)
    top = lambda name: os.path.join(s.top, name)
    model, images = top("linear.vmoe"), top("data")
    write(top("old"), b"not yet replaced")
    new = top("new.safetensors")
    base = top("base")
    s.run(["init", model, "-o", new], s.top)
    s.train(s.top, base, 1)
    outputs = {}
    # libc and its companions, up to the program's first write
    program = s.words("train")[0]
    _, loader, before = count(s, [program, "--version"], s.top, r" write\(1,")
    loader = before or loader

    def train_args(threads, *more):
        options = ["--data", images, "--out", "out", "--quiet", "--threads", threads]
        return s.words("train") + options + ["--epochs", "2", *more]

    def same_output(args):
        def check(work, r):
            return (
                None
                if r.status != 0 or r.out == outputs[tuple(args)]
                else "other output with exit 0"
            )

        return check

    def init_file(work, r):
        got = read(os.path.join(work, "w.safetensors"))
        if got == read(new) or (r.status != 0 and got == read(top("old"))):
            return None
        return "a wrong file with exit %s: %s" % (r.status, said(r))

    def trained(work, r):
        return clean.compare(os.path.join(work, "out"), 2) if r.status == 0 else None

    def prepare_init(work):
        shutil.copyfile(top("old"), os.path.join(work, "w.safetensors"))

    def prepare_resume(work):
        shutil.copytree(base, os.path.join(work, "out"))

    nothing = lambda work: None
    check_args = [s.vmoec, "check", model]
    init_args = [s.vmoec, "init", model, "-o", "w.safetensors"]
    eval_args = s.words("eval") + ["--data", images, "--weights", new, "--json", "--threads", "2"]
    predict_args = s.words("predict") + ["--weights", new, "--threads", "2", images + "/test"]
    commands = [
        ("check", check_args, nothing, same_output(check_args), None),
        ("init", init_args, prepare_init, init_file, None),
    ]
    if s.over == "trainer":  # these are of the compiler alone
        commands = [("predict", predict_args, nothing, same_output(predict_args), None)]
    commands += [
        ("eval", eval_args, nothing, same_output(eval_args), None),
        ("train", train_args("1"), nothing, trained, "first"),
        ("train --resume", train_args("1", "--resume"), prepare_resume, trained, "always"),
        ("train, two threads", train_args("2"), nothing, trained, "first"),
    ]
    saved = r'rename\w*\(.*"(?:[^"]*/)?checkpoint"(?:, RENAME_\w+)?\) = 0'
    for name, args, prepare, check, recovery in commands:
        work = os.path.join(s.top, "count")
        os.mkdir(work)
        prepare(work)
        r, calls, at_save = count(s, args, work, saved if recovery == "first" else None)
        shutil.rmtree(work)
        if r.status != 0:
            s.failed = True
            print("FAIL setup %s without a fault: %s" % (name, said(r)))
            continue
        outputs[tuple(args)] = r.out

        def case(
            call,
            error,
            at,
            args=args,
            prepare=prepare,
            check=check,
            recovery=recovery,
            at_save=at_save,
        ):
            def run(work):
                prepare(work)
                r = s.start(args, work, before=strace(call, error, at))
                why = broken(r, (0, 3)) or check(work, r)
                if why or not recovery:
                    return why
                must = recovery == "always" or (at_save is not None and at > at_save[call] + 1)
                why = recover(s, clean, work, "out", 2, must)
                return why and "after %s: %s" % (said(r), why)

            return "%s %s at %d" % (call, error, at), run

        cases = [
            case(call, error, at)
            for call in ERRORS
            for error in ERRORS[call].split()
            for at in range(loader[call] + 1, calls[call] + 1)
        ]
        if name.endswith("two threads"):  # what a second thread adds
            cases = [c for c in cases if c[0].split()[0] in ("clone3", "clone", "mmap", "mprotect")]
        s.cases("a system call fails: " + name, cases, 8 if recovery is None else 20)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
