#!/usr/bin/env python3
"""Are the weights in two safetensors files the same but for rounding?

    compare.py TOLERANCE A B [START]

Per tensor: the largest difference, relative to the largest value; with START, the weights that both
runs began with, relative to the largest change, which is what gradients differ by after one step of
gradient descent. A change that is nothing but rounding (of a bias that softmax does not see) counts
relative to the weights. Prints the largest, and fails above TOLERANCE.
"""
import array
import json
import struct
import sys


def tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (size,) = struct.unpack_from("<Q", data)
    out = {}
    for name, t in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__" or t["dtype"] != "F32":
            continue
        begin, end = t["data_offsets"]
        out[name] = array.array("f", data[8 + size + begin : 8 + size + end])
    return out


def largest(values):
    most = 0.0
    for v in values:
        if v != v:
            sys.exit("not a number")
        most = max(most, abs(v))
    return most


def main():
    tolerance, a, b = float(sys.argv[1]), tensors(sys.argv[2]), tensors(sys.argv[3])
    start = tensors(sys.argv[4]) if len(sys.argv) > 4 else None
    if not a or a.keys() != b.keys():
        sys.exit(f"other tensors: {sorted(a.keys() ^ b.keys())}")
    worst, where, moves = 0.0, "-", 0
    for name, x in a.items():
        y = b[name]
        if len(x) != len(y):
            sys.exit(f"{name}: {len(x)} values, and {len(y)}")
        apart = largest(p - q for p, q in zip(x, y))
        scale = largest(x)
        if start:
            moved = largest(p - q for p, q in zip(x, start[name]))
            moves += moved > 1e-6
            scale = moved if moved > 1e-6 else max(scale, 1.0)
        if apart > worst * max(scale, 1e-30):
            worst, where = apart / max(scale, 1e-30), name
    if start and 2 * moves < len(a):
        sys.exit(f"{moves} of {len(a)} tensors were trained")
    print(f"{worst:.2g} ({where}) of {len(a)} tensors")
    sys.exit(worst > tolerance)


main()
