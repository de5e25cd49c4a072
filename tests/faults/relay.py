#!/usr/bin/env python3
"""One run is killed again and again and goes on by turns in `vmoec train` and in the trainer that
vmoec builds, each time with another number of threads; it ends with the weights, bit by bit, and
the epoch lines of a run that neither was killed nor changed hands.

FAULTS_RELAY: how often a run is killed (default: 4, in a long run 20). FAULTS_RUNS: how many runs
(default: 2, in a long run 10)."""

import json
import os
import signal
import subprocess
import sys
import time

from common import LIMIT, Suite, epochs, leftovers, read, said

EPOCHS = 60
HANDS = ("vmoec", "trainer")
THREADS = (1, 2, 3, 7)


def main():
    s = Suite("relay", __doc__, 1)
    kills = int(os.environ.get("FAULTS_RELAY", 20 if s.long else 4))
    runs = int(os.environ.get("FAULTS_RUNS", 10 if s.long else 2))
    def judged(place):
        return epochs(os.path.join(place, "metrics.jsonl")) or []

    want = {}
    for model in ("linear", "moe"):
        place = os.path.join(s.top, "clean-" + model)
        r = s.train(s.top, place, EPOCHS, model=model, over="vmoec")
        want[model] = [read(os.path.join(place, "weights.safetensors")), judged(place)]
        if r.status != 0 or not want[model][0] or len(want[model][1]) != EPOCHS:
            print("FAIL setup an undisturbed run: " + said(r))
            sys.exit(1)
        s.trainer(model)

    def leg(r, i, work, model):
        """How the run is told to go on, or to begin while there is no checkpoint."""
        out = os.path.join(work, "out")
        folders = [os.path.join(out, d) for d in ("checkpoint", "checkpoint.previous")]
        words = s.words("train", model, HANDS[i % 2])
        words += ["--data", os.path.join(s.top, "data"), "--out", "out", "--quiet"]
        words += ["--epochs", str(EPOCHS), "--save-every", "1", "--threads", str(r.choice(THREADS))]
        if any(map(os.path.isdir, folders)):
            return words + ["--resume"]
        return words + (s.overwrite if os.path.isdir(out) else [])

    def step(work):
        try:
            with open(os.path.join(work, "out", "checkpoint", "trainer.json")) as f:
                return json.load(f)["step"]
        except (OSError, ValueError):
            return 0

    def killed(r, words, work):
        """Kills it shortly after it has saved a few times; whether it had."""
        until = step(work) + r.choice((0, 1, 1, 2, 3))
        p = subprocess.Popen(
            words,
            cwd=work,
            env=s.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        late = time.monotonic() + LIMIT
        while step(work) < until and p.poll() is None and time.monotonic() < late:
            time.sleep(0.0005)
        time.sleep(r.uniform(0, 0.01))
        p.kill()
        return p.wait() == -signal.SIGKILL and time.monotonic() < late

    def case(i):
        def run(work):
            r = s.rng("relay", i)
            model = ("moe", "linear")[i % 2]
            out = os.path.join(work, "out")
            for n in range(kills):
                words = leg(r, i + n, work, model)
                if not killed(r, words, work):
                    return "leg %d was not killed: %s" % (n + 1, words)
            result = s.start(leg(r, i + kills, work, model), work)
            if result.status != 0:
                return "the last leg: " + said(result)
            if read(os.path.join(out, "weights.safetensors")) != want[model][0]:
                return "other weights"
            if judged(out) != want[model][1]:
                return "other epoch lines"
            return leftovers(out)

        return "run %d" % i, run

    name = "killed %d times, going on by turns in vmoec and the trainer" % kills
    s.cases(name, [case(i) for i in range(runs)], runs)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
