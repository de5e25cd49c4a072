#!/usr/bin/env python3
"""Trains models/mnist_manual.vmoe by hand-made and by learnt routing and prints accuracies and
which expert gets which digit.

usage: bench/manual_routing.py [--epochs N] [--seeds N] [--images N] [--vmoec PROGRAM]

By hand: --epochs epochs in which labels choose the expert, then as many in which the experts rest,
or everything but the router does. Learnt: twice as many epochs with router and experts together.
MNIST is found through VMOE_DATA. """

import argparse
import array
import gzip
import json
import os
import pathlib
import statistics
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = str(ROOT / "models" / "mnist_manual.vmoe")
EXPERTS = 5


def idx(name):
    folder = pathlib.Path(os.environ["VMOE_DATA"])
    path = next(p for p in (folder / "mnist" / f"{name}.gz", folder / f"{name}.gz") if p.exists())
    return gzip.open(path).read()


def write_inputs(path, images):
    """The first test images as the model sees them, as safetensors; returns their labels."""
    value = [(byte / 255 - 0.5) / 0.5 for byte in range(256)]
    pixels = array.array(
        "f", map(value.__getitem__, idx("t10k-images-idx3-ubyte")[16 : 16 + 784 * images])
    )
    labels = list(idx("t10k-labels-idx1-ubyte")[8 : 8 + images])
    parts = [
        ("image", "F32", [images, 1, 28, 28], pixels.tobytes()),
        ("label", "I32", [images], array.array("i", labels).tobytes()),
    ]
    header, at = {}, 0
    for name, kind, shape, data in parts:
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data for *_, data in parts))
    return labels


def read_tensor(path, ending):
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    name = next(n for n in header if n.endswith(ending))
    begin, end = header[name]["data_offsets"]
    values = array.array("i")
    values.frombytes(raw[8 + size + begin : 8 + size + end])
    return values


def command(vmoec, words):
    subprocess.run([vmoec, *words], check=True, capture_output=True, text=True)


def train(vmoec, out, phase, seed, epochs, *more):
    words = [
        "train",
        MODEL,
        "--set",
        f'phase="{phase}"',
        "--seed",
        str(seed),
        "--epochs",
        str(epochs),
        "--quiet",
    ]
    command(vmoec, [*words, "--out", str(out), *more])
    lines = [json.loads(line) for line in open(out / "metrics.jsonl")]
    return [line for line in lines if line["event"] == "epoch"][-1]["test_accuracy"]


def digits_by_expert(vmoec, weights, phase, inputs, labels, folder):
    """Counts [10][EXPERTS]: the expert of an image is the one that most of its tokens go to, the
    first of equals."""
    out = folder / "out.safetensors"
    words = [
        "run",
        MODEL,
        "--set",
        f'phase="{phase}"',
        "--weights",
        str(weights),
        "--inputs",
        str(inputs),
    ]
    command(vmoec, [*words, "--outputs", str(out), "--mode", "eval"])
    route = read_tensor(out, ".route")
    tokens = len(route) // len(labels)
    table = [[0] * EXPERTS for _ in range(10)]
    for i, label in enumerate(labels):
        mine = route[i * tokens : (i + 1) * tokens].tolist()
        table[label][max(range(EXPERTS), key=mine.count)] += 1
    return table


def print_table(title, table):
    print(f"\n{title}\n\n| digit | " + " | ".join(f"expert {e}" for e in range(EXPERTS)) + " |")
    print("| --- |" + " --- |" * EXPERTS)
    for digit, row in enumerate(table):
        print(f"| {digit} | " + " | ".join(str(n) for n in row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--vmoec", default=str(ROOT / "build" / "vmoec"))
    args = parser.parse_args()
    tables, rows = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        inputs = folder / "in.safetensors"
        labels = write_inputs(inputs, args.images)
        for seed in range(args.seeds):
            untaught = train(args.vmoec, folder / "e", "experts", seed, args.epochs)
            start = ["--weights", str(folder / "e" / "weights.safetensors")]
            manual = train(args.vmoec, folder / "r", "router", seed, args.epochs, *start)
            alone = train(
                args.vmoec,
                folder / "a",
                "router",
                seed,
                args.epochs,
                *start,
                "--set",
                "only_router=true",
            )
            learnt = train(args.vmoec, folder / "l", "learnt", seed, 2 * args.epochs)
            rows.append((learnt, manual, alone, untaught))
            if seed == 0:
                for kind, phase in (("r", "router"), ("a", "router"), ("l", "learnt")):
                    weights = folder / kind / "weights.safetensors"
                    tables[kind] = digits_by_expert(
                        args.vmoec, weights, phase, inputs, labels, folder
                    )
    print(
        "| seed | learnt | by hand, then experts rest | then only the router learns | untaught router |"
    )
    print("| --- | --- | --- | --- | --- |")
    for seed, row in enumerate(rows):
        print(f"| {seed} | " + " | ".join(f"{100 * accuracy:.2f}" for accuracy in row) + " |")
    print(
        "| mean | "
        + " | ".join(f"{100 * statistics.mean(column):.2f}" for column in zip(*rows))
        + " |"
    )
    print_table(
        "Images of a digit by the expert that most of their tokens go to, seed 0. Learnt together:",
        tables["l"],
    )
    print_table("By hand, then experts rest:", tables["r"])
    print_table("By hand, then only the router learns:", tables["a"])


if __name__ == "__main__":
    main()
