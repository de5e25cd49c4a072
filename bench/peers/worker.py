"""What the workers share: a worker prints one JSON line when it is ready, then answers each line of
its input.

run SECONDS    steps for about that long, at least one: {"ms": [..]}
rss            {"peak_rss": bytes}"""

import json
import sys
import time

SLOW_MS = 300


def say(**what):
    print(json.dumps(what), flush=True)


def peak_rss():
    """The largest resident size of this process so far, in bytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def timed(step):
    start = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start)


def run(step, seconds):
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(timed(step))
    return times


def fastest(steps):
    """The name in {name: step} whose step is fastest, after one that warms up. Slow steps are timed
    once."""
    if len(steps) == 1:
        return next(iter(steps))
    best = {}
    for name, step in steps.items():
        step()
        best[name] = timed(step)
        for _ in range(3 if best[name] < SLOW_MS else 0):
            best[name] = min(best[name], timed(step))
    return min(best, key=best.get)


def serve(step, **ready):
    """Warms up, says what is ready and answers until the input ends."""
    start = time.perf_counter()
    step()  # compiles where there is something to compile
    while timed(step) < SLOW_MS and time.perf_counter() - start < 1:
        pass
    say(warm_seconds=time.perf_counter() - start, **ready)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "run":
            say(ms=run(step, float(rest[0])))
        elif word == "rss":
            say(peak_rss=peak_rss())
        else:
            raise ValueError(f"cannot read {line!r}")
