#!/usr/bin/env python3
"""Trains models/mnist_routers.vmoe or models/cifar_routers.vmoe with one router after the other,
one recipe and seed for all, and prints a table: accuracy on the test set, how the load was spread,
how many tokens no expert served.

usage: bench/router_tables.py mnist|cifar10 [--epochs N] [--seeds N] [--only NAME;..] [--vmoec
PROGRAM] [--json FILE]

The data sets are found through VMOE_DATA. Results do not depend on threads or load; times per step
do, and are the least medians of seven rounds taken in turn after all training. With --json,
finished runs are kept in FILE and not repeated. """

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZE = {"mnist": [], "cifar10": ["patch=6", "dim=96", "depth=4", "heads=6"]}
MODEL = {"mnist": "mnist_routers", "cifar10": "cifar_routers"}
ROUTERS = {
    "none (plain layers)": ["router=none"],
    "softmax_topk, k = 1": ["router=softmax_topk"],
    "softmax_topk, k = 2": ["router=softmax_topk", "top_k=2"],
    "topk_softmax, k = 2": ["router=topk_softmax", "top_k=2"],
    "softmax_topk_renorm, k = 2": ["router=softmax_topk_renorm", "top_k=2"],
    "sigmoid_topk_renorm, k = 2": ["router=sigmoid_topk_renorm", "top_k=2"],
    "cosine gate, k = 1": ["router=cosine"],
    "L2 gate, k = 1": ["router=l2"],
    "V-MoE noise, k = 1": ["router=vmoe_noise"],
    "capacity 1.05, k = 1": ["router=capacity", "capacity=1.05"],
    "the same by priority, noise": ["router=vmoe_priority", "capacity=1.05"],
    "priority with fall-through": ["router=priority"],
    "dynamic, 0.4 of the gate": ["router=dynamic"],
    "expert choice, batch": ["router=expert_choice"],
    "expert choice, image": ["router=expert_choice", "each_image=true"],
    "dense mixture": ["router=dense"],
    "soft mixture": ["router=soft"],
    "uniform (no router)": ["router=uniform"],
}


def settings(args):
    """`a=b` with strings quoted, as --set wants them."""
    out = []
    for item in args:
        name, value = item.split("=")
        out += ["--set", f'{name}="{value}"' if name == "router" else item]
    return out


def train(vmoec, data, router, seed, epochs):
    """The last epoch's line of metrics.jsonl, what matters of it."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            vmoec,
            "train",
            str(ROOT / "models" / f"{MODEL[data]}.vmoe"),
            "--seed",
            str(seed),
            "--epochs",
            str(epochs),
        ]
        command += ["--out", out, "--quiet"] + settings(SIZE[data] + ROUTERS[router])
        subprocess.run(command, check=True, capture_output=True, text=True)
        lines = [json.loads(line) for line in open(pathlib.Path(out) / "metrics.jsonl")]
    last = [line for line in lines if line["event"] == "epoch"][-1]
    step = [line for line in lines if line["event"] == "step"][-1]
    routes = list(last.get("router", {}).values())
    variation = [r["variation"] for r in routes if "variation" in r]
    if not variation:  # a route that no gate decides: the metric of the last logged step
        variation = [
            v for name, v in step["metrics"].items() if name.endswith("batchwise_variation")
        ]
    return {
        "accuracy": last["test_accuracy"],
        "loss": last["train_loss"],
        "most": max((max(r["load"]) * len(r["load"]) for r in routes), default=None),
        "least": min((min(r["load"]) * len(r["load"]) for r in routes), default=None),
        "unserved": (
            statistics.mean([r["unserved"] for r in routes])
            if routes and "unserved" in routes[0]
            else 0.0
        ),
        "variation": statistics.mean(variation) if variation else None,
    }


def step_times(vmoec, data, names, rounds=7):
    """Milliseconds of a training step of every router, the least of several medians: machines have
    slow moments."""
    times = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [
                vmoec,
                "bench",
                str(ROOT / "models" / f"{MODEL[data]}.vmoe"),
                "--json",
                "--step-only",
                "--steps",
                "31",
            ]
            command += settings(SIZE[data] + ROUTERS[name])
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            times[name].append(json.loads(out)["step_ms"])
    return {name: min(found) for name, found in times.items()}


def row(name, runs, step):
    mean = {
        key: statistics.mean([r[key] for r in runs]) for key in ("accuracy", "loss", "unserved")
    }
    accuracy = f"{100 * mean['accuracy']:.2f}"
    if len(runs) > 1:
        accuracy += f" ± {100 * statistics.stdev([r['accuracy'] for r in runs]):.2f}"
    load = (
        "-"
        if runs[0]["most"] is None
        else f"{min(r['least'] for r in runs):.2f} to {max(r['most'] for r in runs):.2f}"
    )
    variation = (
        "-"
        if runs[0]["variation"] is None
        else f"{statistics.mean([r['variation'] for r in runs]):.2f}"
    )
    return f"| {name} | {accuracy} | {mean['loss']:.3f} | {load} | {100 * mean['unserved']:.1f} % | {variation} | {step:.3g} ms |"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", choices=list(MODEL))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--vmoec", default=str(ROOT / "build" / "vmoec"))
    parser.add_argument("--json")
    args = parser.parse_args()
    kept = pathlib.Path(args.json) if args.json else None
    done = json.loads(kept.read_text()) if kept and kept.exists() else {}
    names = args.only.split(";") if args.only else list(ROUTERS)
    table = {}
    for name in names:
        runs = table[name] = []
        for seed in range(args.seeds):
            key = f"{args.data} {name} {seed} {args.epochs}"
            if key not in done:
                done[key] = train(args.vmoec, args.data, name, seed, args.epochs)
                if kept:
                    kept.write_text(json.dumps(done, indent=1))
            runs.append(done[key])
    step = step_times(args.vmoec, args.data, names)
    print("| router | test accuracy | training loss | load | not served | variation | step |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        print(row(name, table[name], step[name]))


if __name__ == "__main__":
    main()
