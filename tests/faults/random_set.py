#!/usr/bin/env python3
"""Settings at random: --set NAME=VALUE over the models of models/, with check and info.

Numbers small, huge, negative, zero and broken, texts, lists, settings that the file does not have:
the exit status is 0, 1 or 2, or 3 for want of memory; never a signal, and nothing takes longer than
20 s or 2 GiB.

FAULTS_RUNS: how many commands (default: 24, in a long run 4000)."""

import glob
import os
import re
import sys

from common import ROOT, Suite, broken

CONFIG = re.compile(r"^config\s*{(.*?)^}", re.S | re.M)
NAME = re.compile(r"^\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*(?:#.*)?$", re.M)
NUMBERS = (
    "0 1 2 3 4 5 7 8 9 15 16 17 31 32 33 63 64 100 128 192 224 255 256 257 1000 1024 4096 65535 65536 65537 100000 "
    "1000000 2147483647 2147483648 4294967295 4294967296 9007199254740993 9223372036854775807 9223372036854775808 "
    "99999999999999999999 -1 -2 -7 -128 -2147483648 -9223372036854775808 0.5 1.5 -0.5 0.1 0.999999 1e-3 1e-30 1e-320 "
    "1e10 1e18 1e19 1e30 1e308 1e309 -1e308 -0 0.0 -0.0 1e 1.. 0x10 nan inf -inf 1_000"
).split()
OTHERS = (
    'true false "" "a" "data" "none" "router" "top_k" none null [] [0] [1] [-1] [1,2,3] [0,1,2,3,4,5,6,7,8,9] [1e9] '
    '[[1]] [[],[]] ["a"] [true] [1,"a"] {} () ( [ " \' \\ \\n 1+1 2*3 dim B x|>y ,,, = == 1,2 if for \x01 \u00e9'
).split()


def value(r, known):
    kind = r.randrange(10)
    if kind < 5:
        return r.choice(NUMBERS)
    if kind < 6:
        return str(r.choice((1, -1)) * r.randrange(1, 1 << r.randrange(1, 66)))
    if kind < 7:
        return known
    if kind < 8:
        return "[" + ", ".join(r.choice(NUMBERS) for _ in range(r.choice((1, 2, 3, 12, 300)))) + "]"
    return r.choice(OTHERS)


def main():
    s = Suite("random_set", __doc__, 1)
    s.top_models = sorted(glob.glob(os.path.join(ROOT, "models", "*.vmoe")))
    settings = {}
    for path in s.top_models:
        with open(path) as f:
            text = f.read()
        settings[path] = [
            m.groups() for block in CONFIG.findall(text) for m in NAME.finditer(block)
        ] or [("none", "1")]

    def case(i):
        r = s.rng("set", i)
        path = r.choice(s.top_models)
        args = [r.choice(("check", "info")), path]
        for _ in range(r.choice((1, 1, 1, 2, 4))):
            name, known = r.choice(settings[path])
            if r.randrange(40) == 0:
                name = r.choice(("", "nothing", "=", "a.b", "B", name + " "))
            args += ["--set", "%s=%s" % (name, value(r, known))]

        def run(work):
            why = broken(s.run(args, work, memory=2 << 30), (0, 1, 2, 3))
            return why and "%s: %s" % (
                " ".join("'%s'" % a if a != path else os.path.basename(a) for a in args),
                why,
            )

        return "run %d" % i, run

    runs = int(os.environ.get("FAULTS_RUNS", 4000 if s.long else 24))
    s.cases("settings at random", [case(i) for i in range(runs)], runs)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
