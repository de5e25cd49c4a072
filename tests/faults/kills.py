#!/usr/bin/env python3
"""A run is killed: before every system call that changes files, and at random times, several times
in a row.

Afterwards it is resumed, or begun again where nothing had been saved yet, and has to end with the
weights of an undisturbed run, every epoch once in metrics.jsonl and no temporary files. Once a
checkpoint had been saved, one has to be readable whenever the run is killed; what --overwrite moves
aside has to stay whole.

FAULTS_RUNS: how many runs are killed at random times (default: 20, in a long run 1000)."""

import collections
import os
import re
import shutil
import sys

from common import Suite, Undisturbed, leftovers, read, recover, said

CHANGES = {
    "openat",
    "open",
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "rmdir",
    "flock",
    "fcntl",
    "ftruncate",
    "fallocate",
    "fchmod",
    "close",
    "linkat",
    "copy_file_range",
    "exit_group",
}
CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
SAVED = re.compile(r'rename\w*\(.*"(?:[^"]*/)?checkpoint"(?:, RENAME_\w+)?\) = 0')
EPOCHS = 3


NO_EXCHANGE = [
    "-e",
    "inject=renameat2:error=EINVAL",
]  # what a file system says that knows plain renames only


def files_changed(s, work, args, faults):
    """The run's calls of CHANGES as (call, how many of it before, a checkpoint had been saved
    before), from the first that names the run's folder."""
    trace = os.path.join(work, "trace")
    r = s.train(work, "out", EPOCHS, args, before=["strace", "-f", "-qq", "-o", trace] + faults)
    if r.status != 0:
        return r, []
    n, calls = collections.Counter(), []
    first, begun, saved = None, False, False
    for line in read(trace).decode("utf-8", "replace").splitlines():
        m = CALL.match(line)
        if not m:
            continue
        first = first or m[1]
        if m[1] != first or m[2] not in CHANGES:
            continue
        begun = begun or '"out' in m[3]
        if begun:
            calls.append((m[2], n[m[2]], saved))
        n[m[2]] += 1
        saved = saved or SAVED.search(line) is not None
    return r, calls


def main():
    s = Suite("kills", __doc__, 6)
    clean = Undisturbed(s, most=EPOCHS)
    moe = Undisturbed(s, "moe", most=EPOCHS)
    base = os.path.join(s.top, "base")
    s.train(s.top, base, 1)
    other = os.path.join(s.top, "other")
    s.train(s.top, other, 1, ["--seed", "5"])
    whole = read(os.path.join(other, "weights.safetensors"))

    def at_calls(name, before, args, must, faults=(), only=CHANGES):
        work = os.path.join(s.top, "count")
        os.mkdir(work)
        if before:
            shutil.copytree(before, os.path.join(work, "out"))
        r, calls = files_changed(s, work, args, list(faults))
        calls = [c for c in calls if c[0] in only]
        shutil.rmtree(work)
        if r.status != 0 or not calls:
            s.failed = True
            print("FAIL setup %s without a kill: %s" % (name, said(r)))
            return

        def case(call, at, saved):
            def run(work):
                if before:
                    shutil.copytree(before, os.path.join(work, "out"))
                strace = [
                    "strace",
                    "-f",
                    "-qq",
                    "--seccomp-bpf",
                    "-o",
                    "/dev/null",
                    "-e",
                    "trace=" + call + (",renameat2" if faults else ""),
                    "-e",
                    "inject=%s:signal=KILL:when=%d" % (call, at + 1),
                ] + list(faults)
                r = s.train(work, "out", EPOCHS, args, before=strace)
                if r.status not in (-9, 137, 0):
                    return "killed: " + said(r)
                if before == other:
                    return moved_aside(work)
                return recover(s, clean, work, "out", EPOCHS, must or saved)

            return "before %s %d" % (call, at + 1), run

        def moved_aside(work):
            places = [os.path.join(work, d) for d in ("out", "out.old")]
            runs = [read(os.path.join(d, "weights.safetensors")) for d in places]
            if whole not in runs:
                return "the run that was moved aside has lost its weights"
            if runs[0] == whole:  # not yet moved
                r = s.train(work, "out", EPOCHS, s.overwrite)
                if r.status != 0:
                    return "overwritten again: " + said(r)
                return clean.compare(places[0], EPOCHS) or leftovers(work)
            return recover(s, clean, work, "out", EPOCHS, False)

        s.cases("killed before a system call: " + name, [case(*c) for c in calls], 20)

    if (
        shutil.which("strace")
        and s.run(["--version"], s.top, before=["strace", "-o", "/dev/null"]).status == 0
    ):
        at_calls("train", None, [], False)
        at_calls("train --resume", base, ["--resume"], True)
        renames = {"renameat", "unlinkat", "fsync"}
        at_calls("train where names cannot be exchanged", None, [], False, NO_EXCHANGE, renames)
        at_calls(
            "train --resume where names cannot be exchanged",
            base,
            ["--resume"],
            True,
            NO_EXCHANGE,
            renames,
        )
        if s.overwrite:
            at_calls("train --overwrite", other, s.overwrite, False)
        else:
            s.skip(
                "killed before a system call: train --overwrite", "this program does not have it"
            )
    else:
        s.skip("killed before a system call", "strace cannot trace here")

    def at_times(i):
        def run(work):
            r = s.rng("time", i)
            model, want = r.choice((("linear", clean), ("moe", moe)))
            must = False
            for attempt in range(r.choice((1, 1, 2, 4))):
                newest, before = (
                    os.path.isdir(os.path.join(work, "out", d))
                    for d in ("checkpoint", "checkpoint.previous")
                )
                must = must or newest or before
                args = (
                    ["--resume"]
                    if newest
                    else (
                        ["--resume=previous"]
                        if before
                        else s.overwrite if os.path.isdir(os.path.join(work, "out")) else []
                    )
                )
                killer = [
                    "timeout",
                    "-s",
                    r.choice(("KILL", "KILL", "KILL", "TERM", "INT")),
                    "%.4f" % r.uniform(0.005, 0.15),
                ]
                result = s.train(work, "out", EPOCHS, args, model, before=killer)
                if result.status in (1, 2, 3):
                    return "attempt %d with %s: %s" % (attempt + 1, args, said(result))
                if (
                    must
                    and not os.path.isdir(os.path.join(work, "out", "checkpoint"))
                    and not os.path.isdir(os.path.join(work, "out", "checkpoint.previous"))
                ):
                    return "attempt %d: no checkpoint is left" % (attempt + 1)
            for aside in [d for d in os.listdir(work) if d.startswith("out.old")]:
                shutil.rmtree(os.path.join(work, aside))
            return recover(s, want, work, "out", EPOCHS, must, model)

        return "run %d" % i, run

    runs = int(os.environ.get("FAULTS_RUNS", 1000 if s.long else 20))
    s.cases("killed at a random time", [at_times(i) for i in range(runs)], runs)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
