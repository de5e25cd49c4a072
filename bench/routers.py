#!/usr/bin/env python3
"""Times a training step of models/cifar_routers.vmoe at its real size with different routers, in
turn, and prints medians next to plain top-k's with as many experts per token.

usage: bench/routers.py [--batch N] [--rounds N] [--only NAME;..] [--vmoec PROGRAM]
"""

import argparse
import json
import statistics
import subprocess

from router_tables import ROOT, ROUTERS, settings

MODEL = str(ROOT / "models" / "cifar_routers.vmoe")
BASE = {1: "softmax_topk, k = 1", 2: "softmax_topk, k = 2"}
MORE = {
    "capacity 1.05, each image": ["router=capacity", "capacity=1.05", "each_image=true"],
    "by priority, each image": ["router=vmoe_priority", "capacity=1.05", "each_image=true"],
    "cosine gate, 64 wide": ["router=cosine", "gate_width=64"],
    "L2 gate, 64 wide": ["router=l2", "gate_width=64"],
    "jittered gate": ["router=jitter"],
    "Gumbel noise": ["router=gumbel"],
}


def work(args, router):
    command = [args.vmoec, "info", MODEL, "--batch", str(args.batch), "--json"]
    return json.loads(
        subprocess.run(
            command + settings(router), capture_output=True, text=True, check=True
        ).stdout
    )["macs"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--vmoec", default=str(ROOT / "build" / "vmoec"))
    args = parser.parse_args()
    routers = {**ROUTERS, **MORE}
    names = args.only.split(";") if args.only else list(routers)
    names += [base for base in BASE.values() if base not in names]
    times = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            command = [
                args.vmoec,
                "bench",
                MODEL,
                "--batch",
                str(args.batch),
                "--json",
                "--step-only",
                "--steps",
                "7",
            ]
            out = subprocess.run(
                command + settings(routers[name]), capture_output=True, text=True, check=True
            ).stdout
            times[name].append(json.loads(out)["step_ms"])
    macs = {name: work(args, routers[name]) for name in names}
    print(
        "| router | ms | of top-k's | multiply-accumulates, of top-k's |\n| --- | --- | --- | --- |"
    )
    for name in names:
        k = 2 if "top_k=2" in routers[name] else 1
        step = statistics.median(times[name])
        print(
            f"| {name} | {step:.0f} | {step / statistics.median(times[BASE[k]]):.2f}x | {macs[name] / macs[BASE[k]]:.2f}x |"
        )


if __name__ == "__main__":
    main()
