#!/usr/bin/env python3
"""A library that vmoec builds is disturbed in a program that uses it (tests/build_lib/disturbed.c): one allocation
fails, one system call fails, the program is killed before one of them.

A call that is refused says so by its status and a text, and changes nothing: made again, it works,
and all numbers are those of an undisturbed program. The file that is saved is complete or absent,
the one from before or the new one, and nothing is left behind."""

import os
import shutil
import struct
import sys

from common import ROOT, Suite, broken, leftovers, read, said
from kills import CHANGES
from syscalls import ERRORS, count, strace

SOURCE = os.path.join(ROOT, "tests/build_lib/disturbed.c")
LIBRARIES = ["-fopenmp", "-ljansson", "-lxxhash", "-lm"]


def user(s):
    """Builds the library and its user; the program's path."""
    top = lambda name: os.path.join(s.top, name)
    r = s.run(["build", top("linear.vmoe"), "--lib", "--name", "linear", "-o", top("lib/")], s.top, limit=120)
    cc = [os.environ.get("CC", "cc"), "-std=c11", "-O1", "-D_GNU_SOURCE", "-I" + top("lib")]
    cc += [SOURCE, top("lib/liblinear.a"), *LIBRARIES, "-o", top("program")]
    if r.status == 0:
        r = s.start(cc, s.top, limit=120)
    if r.status != 0:
        print("FAIL setup a program that uses a library: " + said(r))
        sys.exit(1)
    return top("program")


def main():
    s = Suite("library", __doc__, 4)
    program = user(s)
    inject = os.path.join(os.path.dirname(s.vmoec), "tests/faults/malloc.so")
    words = lambda threads: [program, "work", "w.safetensors", threads]

    def end(work):
        """Why what is there after an undisturbed end is wrong."""
        r = s.start([program, "load", "w.safetensors"], work)
        if r.status != 0 or r.out != b"begin\nstep 3\n":
            return "the file: " + said(r)
        return leftovers(work)

    def outcome(work, r, most):
        """A failure is answered at most by `most` refusals."""
        why = broken(r, (0,))
        if why:
            return why
        text = r.out.decode().split()
        if text[:2] != ["begin", "done,"] or int(text[2]) > most:
            return "it said " + r.out.decode()
        return end(work)

    def whole(work):
        """Whether the file is one of the two that were saved, or absent."""
        if read(os.path.join(work, "w.safetensors")) is None:
            return None
        r = s.start([program, "load", "w.safetensors"], work)
        good = r.status == 0 and r.out in (b"begin\nstep 1\n", b"begin\nstep 3\n")
        return None if good else "the file that was saved: %s %s" % (r.out, said(r))

    # ---- allocations

    def made(words):
        """Allocations of an undisturbed program."""
        counts = os.path.join(s.top, "counts")
        r = s.start(words, s.top, env={"LD_PRELOAD": inject, "VMOE_FAIL_COUNT": counts})
        if r.status != 0 or r.out not in (b"begin\ndone, 0 refused\n", b""):
            print("FAIL setup an undisturbed program: %s %s" % (r.out, said(r)))
            sys.exit(1)
        n = struct.unpack("=QQ", read(counts)[:16])[0]
        os.unlink(counts)
        return n

    # What is allocated before main is the loader's, and OpenMP's.
    sites = range(made([program, "x"]) + 1, made(words("1")) + 1)

    def allocation(at):
        def run(work):
            env = {"LD_PRELOAD": inject, "VMOE_FAIL_AT": str(at)}
            return outcome(work, s.start(words("1"), work, env=env), 1)

        return "site %d" % at, run

    s.cases("of a library: an allocation fails", map(allocation, sites), 200)

    # ---- system calls

    strace_works = shutil.which("strace") and (
        s.start([program, "x"], s.top, before=["strace", "-o", "/dev/null"]).status == 0
    )
    if not strace_works:
        s.skip("of a library: failing system calls", "strace cannot trace here")
        s.finish()

    def counted(threads):
        work = os.path.join(s.top, "count")
        os.mkdir(work)
        r, calls, before = count(s, words(threads), work, r" write\(1,")
        shutil.rmtree(work)
        if r.status != 0:
            print("FAIL setup a traced program: " + said(r))
            sys.exit(1)
        return calls, before

    def failing(call, error, at, threads):
        def run(work):
            r = s.start(words(threads), work, before=strace(call, error, at))
            return outcome(work, r, 1)

        return "%s %s at %d, %s threads" % (call, error, at, threads), run

    def killed(call, at):
        def run(work):
            before = strace(call, "EIO", at)
            before[-1] = "inject=%s:signal=KILL:when=%d" % (call, at)
            s.start(words("1"), work, before=before)
            why = whole(work)
            if why:
                return why
            r = s.start(words("1"), work)
            return "the next start: " + said(r) if r.status != 0 else end(work)

        return "before %s %d" % (call, at), run

    calls, before = counted("1")
    more, before2 = counted("2")
    # The last write is the program's own, which says what came of it.
    calls["write"] -= 1
    more["write"] -= 1
    at = lambda call: range(before[call] + 1, calls[call] + 1)
    cases = [
        failing(call, error, n, "1")
        for call in ERRORS
        for error in ERRORS[call].split()
        for n in at(call)
    ]
    # The library makes a second thread first to see whether it can be made; where OpenMP's own
    # fails nevertheless, it ends the process.
    threads = {call: 1 for call in ("clone3", "clone") if more[call] > before2[call]}
    cases += [
        failing(call, error, before2[call] + n, "2")
        for call in ("clone3", "clone", "mmap", "mprotect")
        for error in ERRORS[call].split()
        for n in range(1, threads.get(call, more[call] - before2[call]) + 1)
    ]
    s.cases("of a library: a system call fails", cases, 60)
    deaths = [killed(call, n) for call in sorted(CHANGES & set(calls)) for n in at(call)]
    s.cases("of a library: its program is killed", deaths, 30)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
