#!/usr/bin/env python3
"""Times a training step of the CIFAR-size encoder with different routers, in turn, and prints medians next to top-k's.

usage: bench/routers.py [--batch N] [--rounds N] [--vmoec PROGRAM]
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUTERS = {
    "top_k": "top_k(gate, 1)",
    "expert_choice": "expert_choice(gate)",
    "expert_choice, each image": "expert_choice(gate, groups = B)",
    "priority_choice": "priority_choice(gate)",
    "capacity 1.05": "top_k(gate, 1) |> capacity(1.05)",
    "capacity 1.05, by priority": 'top_k(gate, 1) |> capacity(1.05, priority = "max")',
    "the same, each image": 'top_k(gate, 1) |> capacity(1.05, priority = "max", groups = B)',
}
LAYER = """layer moe_mlp(x: [B, N, D], experts, top_k, hidden, balance = 0.01, gate_bias = false) -> [B, N, D] {
  gate = softmax(linear(x, experts, bias = gate_bias))
  route = ROUTER
  aux load_balance(gate, route), weight = balance
  dispatch(x, route) |> mlp(hidden) |> combine(route)
}"""


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--vmoec", default=str(ROOT / "build" / "vmoec"))
    args = args.parse_args()
    model = (ROOT / "models" / "cifar_encoder.vmoe").read_text()
    times = {name: [] for name in ROUTERS}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for i, (name, router) in enumerate(ROUTERS.items()):
            files[name] = pathlib.Path(folder) / f"router{i}.vmoe"
            files[name].write_text(model.replace('use "std/moe"', LAYER.replace("ROUTER", router)))
        for _ in range(args.rounds):
            for name, path in files.items():
                command = [args.vmoec, "bench", str(path), "--batch", str(args.batch), "--json"]
                out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                times[name].append(json.loads(out)["step_ms"])
    base = statistics.median(times["top_k"])
    print("| router | ms | of top_k's |\n| --- | --- | --- |")
    for name, found in times.items():
        step = statistics.median(found)
        print(f"| {name} | {step:.0f} | {step / base:.2f}x |")


if __name__ == "__main__":
    main()
