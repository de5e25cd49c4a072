"""What the drivers in this folder share: cases, two at a time, each in a fresh folder of its own.

A driver makes a Suite, gives it lists of cases by kind, and ends with finish(). A case is a name
and a function that gets its folder and returns None, or why it is bad. FAULTS=long runs every case,
without it a sample that SECONDS bound; either way the seed is printed. What a failed case worked on
is kept in the folder named in its line. Options of every driver:

    --seed N        which sample, and what random cases are (default 1)
    --seconds N     stop beginning cases after that long (default: 9; none in a long run)
    --case TEXT     only cases with TEXT in "kind: case", all of them: to replay one
    --jobs N        cases at once (default 2)

Environment: VMOEC (the program), FAULTS (long), FAULTS_OVER (vmoec; trainer: what is disturbed are
the programs that vmoec builds of the models), FAULTS_KEEP (default: BUILD/faults), FAULTS_TABLE (a
file to add "kind<tab>tried<tab>bad" lines to). Python's standard library only."""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

import data

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMIT = 20  # seconds: longer than any case takes on a busy machine, so it hangs

Result = collections.namedtuple("Result", "status out err")  # status: -N for signal N, "hang"


class Suite:
    def __init__(self, name, doc, kinds):
        """kinds: how many calls of cases() share the time of a sample, about."""
        p = argparse.ArgumentParser(
            description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        p.add_argument("--seed", type=int, default=1)
        p.add_argument("--seconds", type=float)
        p.add_argument("--case", default="")
        p.add_argument("--jobs", type=int, default=2)
        self.options = p.parse_args()
        self.name = name
        self.long = os.environ.get("FAULTS") == "long"
        seconds = self.options.seconds or (0 if self.long or self.options.case else 9)
        self.until = time.monotonic() + seconds if seconds else None
        self.kinds = kinds
        build = os.environ.get("BUILD", "build")
        self.vmoec = os.path.abspath(os.environ.get("VMOEC", os.path.join(ROOT, build, "vmoec")))
        self.keep = os.path.abspath(
            os.environ.get("FAULTS_KEEP", os.path.join(ROOT, build, "faults"))
        )
        self.top = tempfile.mkdtemp(prefix="vmoec-faults-")
        self.env = dict(
            os.environ,
            VMOEC_MODELS=os.path.join(ROOT, "models"),
            VMOEC_CACHE_DIR=os.path.join(self.top, "cache"),
            LC_ALL="C",
        )
        for name in ("VMOE_DATA", "OMP_NUM_THREADS"):
            self.env.pop(name, None)
        self.over = os.environ.get("FAULTS_OVER", "vmoec")
        if self.over not in ("vmoec", "trainer"):
            sys.exit("FAULTS_OVER is vmoec or trainer, not " + self.over)
        self.building = threading.Lock()
        self.failed = False
        self.kept = 0
        self.count = 0
        if not os.access(self.vmoec, os.X_OK):
            print("FAIL setup cannot run " + self.vmoec)
            sys.exit(3)
        data.folder(os.path.join(self.top, "data"))
        data.models(self.top)
        help_text = self.run(["help", "train"], self.top).out
        # A run folder is begun again with --overwrite; a program from before that needs nothing.
        self.overwrite = ["--overwrite"] if b"--overwrite" in help_text else []

    def rng(self, *names):
        return random.Random("/".join(map(str, (self.options.seed, self.name) + names)))

    def trainer(self, model):
        """The program that vmoec builds of a model, built when it is first asked for."""
        path = os.path.join(self.top, model + "-trainer")
        with self.building:
            if not os.path.exists(path):
                source = os.path.join(self.top, model + ".vmoe")
                r = self.run(["build", source, "-o", path], self.top, limit=120)
                if r.status != 0:
                    print("FAIL setup a trainer of %s: %s" % (model, said(r)), flush=True)
                    os._exit(3)
        return path

    def words(self, command, model="linear", over=None):
        """How the program under test is told to do that with a model."""
        if (over or self.over) == "trainer":
            return [self.trainer(model), command]
        return [self.vmoec, command, os.path.join(self.top, model + ".vmoe")]

    def run(self, args, cwd, **more):
        """vmoec with these arguments."""
        return self.start([self.vmoec] + list(args), cwd, **more)

    def start(self, words, cwd, before=(), env=None, limit=LIMIT, memory=None):
        """Any program; before: a command to run it under, such as strace."""

        def limits():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if memory:
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

        command = list(before) + list(words)
        p = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(self.env, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=limits,
        )
        try:
            out, err = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            out, err = p.communicate()
            return Result("hang", out, err)
        return Result(p.returncode, out, err)

    def train(
        self, cwd, out, epochs=2, more=(), model="linear", before=(), env=None, over=None, threads=1
    ):
        words = self.words("train", model, over)
        words += ["--data", os.path.join(self.top, "data"), "--out", out]
        words += ["--threads", str(threads), "--quiet", "--epochs", str(epochs)]
        return self.start(words + list(more), cwd, before=before, env=env)

    # ---- cases ----

    def attempt(self, kind, name, function):
        self.count += 1
        work = os.path.join(self.top, "case-%d" % self.count)
        os.mkdir(work)
        try:
            why = function(work)
        except Exception as e:  # a driver's own mistake is a failure, not the end of the others
            why = "the test itself: %s: %s" % (type(e).__name__, e)
        if why:
            why = " ".join(why.split())[:400]
            if self.kept < 20:
                self.kept += 1
                place = os.path.join(self.keep, "%s-%d-%d" % (self.name, os.getpid(), self.kept))
                remove(place)
                os.makedirs(self.keep, exist_ok=True)
                subprocess.run(["cp", "-a", work, place], check=False)
                why += " (kept: %s)" % place
        remove(work)
        return why

    def cases(self, kind, cases, sample=20):
        """Runs a kind's cases, in a sample that many of them at random, and prints its line."""
        cases = list(cases)
        kind = kind if self.over == "vmoec" else "of a trainer: " + kind
        total = len(cases)
        if self.options.case:
            cases = [c for c in cases if self.options.case in kind + ": " + c[0]]
            if not cases:
                return
        elif not self.long:
            cases = self.rng("sample", kind).sample(cases, min(sample, total))
        now = time.monotonic()
        until = (
            now + max(0.5, (self.until - now) / max(1, self.kinds))
            if self.until is not None
            else None
        )
        self.kinds -= 1
        late = lambda: until is not None and time.monotonic() > until
        tried, bad = 0, []
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:

            def one(case):
                return None if late() else (case[0], self.attempt(kind, *case))

            for done in pool.map(one, cases):
                if done:
                    tried += 1
                    if done[1]:
                        bad.append(done)
        if os.environ.get("FAULTS_TABLE"):
            with open(os.environ["FAULTS_TABLE"], "a") as f:
                f.write("%s\t%d\t%d\n" % (re.sub(r" \d+$", "", kind), tried, len(bad)))
        if tried == 0:
            print("skip %s no time left: %d cases" % (kind, total), flush=True)
        elif not bad:
            print("ok %s (%d of %d)" % (kind, tried, total), flush=True)
        else:
            self.failed = True
            print(
                "FAIL %s %d of %d tried are bad; --seed %d --case '%s: %s': %s"
                % (kind, len(bad), tried, self.options.seed, kind, bad[0][0], bad[0][1]),
                flush=True,
            )
            for name, why in bad[1:40] if self.long or self.options.case else bad[1:4]:
                print("     %s: %s" % (name, why), flush=True)

    def skip(self, kind, why):
        print("skip %s %s" % (kind, why), flush=True)

    def finish(self):
        remove(self.top)
        sys.exit(1 if self.failed else 0)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        subprocess.run(["chmod", "-R", "u+rwx", path], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def read(path):
    """A regular file's bytes; None: there is none. Never blocks."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None


def write(path, content):
    with open(path, "wb") as f:
        f.write(content)


def said(r, n=200):
    return "exit %s: %s" % (r.status, r.err.decode("utf-8", "replace").strip()[-n:])


def broken(r, allowed):
    """None, or why this outcome is none of those allowed; a refusal says why on stderr."""
    text = r.err.decode("utf-8", "replace")
    for mark in ("internal error", "AddressSanitizer", "runtime error"):
        if mark in text:
            return said(r)
    if r.status == "hang":
        return "hangs: " + said(r)
    if r.status not in allowed:
        return said(r)
    if r.status != 0 and not text.strip():
        return "exit %d without a message" % r.status
    return None


def leftovers(folder):
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            if name.startswith(".vmoec-") or ".tmp" in name:
                return "left behind: " + os.path.relpath(os.path.join(place, name), folder)
    return None


TIMES = (
    "time",
    "seconds",
    "images_per_second",
    "data_wait",
    "validation_seconds",
    "test_seconds",
)


def epochs(path):
    """The epoch lines of a metrics.jsonl, without times; None: it cannot be read."""
    content = read(path)
    if content is None:
        return None
    lines = []
    try:
        for line in content.splitlines():
            o = json.loads(line)
            if o.get("event") == "epoch":
                lines.append({k: v for k, v in o.items() if k not in TIMES})
    except (ValueError, AttributeError):
        return None
    return lines


class Undisturbed:
    """What an undisturbed run gives: weights by number of epochs, and its epoch lines."""

    def __init__(self, suite, model="linear", most=3):
        self.weights, self.lines, self.model = {}, {}, model
        for n in range(1, most + 1):
            out = os.path.join(suite.top, "clean-%s-%d" % (model, n))
            r = suite.train(suite.top, out, n, model=model)
            self.weights[n] = read(os.path.join(out, "weights.safetensors"))
            self.lines[n] = epochs(os.path.join(out, "metrics.jsonl"))
            if (
                r.status != 0
                or self.weights[n] is None
                or not self.lines[n]
                or len(self.lines[n]) != n
            ):
                print("FAIL setup an undisturbed run: " + said(r))
                sys.exit(1)

    def compare(self, out, n):
        if read(os.path.join(out, "weights.safetensors")) != self.weights[n]:
            return "other weights than an undisturbed run"
        return None

    def compare_lines(self, out, n):
        lines = epochs(os.path.join(out, "metrics.jsonl"))
        if lines is None:
            return "metrics.jsonl cannot be read"
        if lines != self.lines[n]:
            return "epoch lines differ: %s" % [o.get("epoch") for o in lines]
        return None


def recover(suite, clean, work, out, n, must, model="linear"):
    """After a disturbance: resumes the run in work/out, or begins it again where it had no
    checkpoint, and compares everything. must: a checkpoint had been saved, so one has to be
    there."""
    place = os.path.join(work, out)
    have = [
        c for c in ("checkpoint", "checkpoint.previous") if os.path.isdir(os.path.join(place, c))
    ]
    if must and not have:
        return "no checkpoint is left"
    if have:
        r = suite.train(work, out, n, ["--resume"], model)
        if r.status == 1 and "checkpoint" not in have and b"--resume=previous" in r.err:
            r = suite.train(work, out, n, ["--resume=previous"], model)
        if r.status != 0:
            return "resumed: " + said(r)
        if must and b"no checkpoint" in r.err:
            return "resumed from nothing: " + said(r)
    else:
        r = suite.train(work, out, n, ["--resume"], model) if os.path.isdir(place) else None
        why = r and broken(r, (0, 1, 2))
        if why:
            return "resumed without a checkpoint: " + why
        if not r or r.status != 0:
            r = suite.train(work, out, n, suite.overwrite if os.path.isdir(place) else [], model)
            if r.status != 0:
                return "begun again: " + said(r)
    return clean.compare(place, n) or clean.compare_lines(place, n) or leftovers(work)
