#!/usr/bin/env python3
"""Compares the weights of product.vmoe after some steps of Adam with the formula in f64.

tests/train/product.py WEIGHTS STEPS
"""

import json
import math
import struct
import sys

data = open(sys.argv[1], "rb").read()
length = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8 : 8 + length])
start = {name: 8 + length + head["m.pair." + name]["data_offsets"][0] for name in "wv"}
got = {name: struct.unpack("<f", data[at : at + 4])[0] for name, at in start.items()}

x, mean, square = {"w": 3.0, "v": 0.5}, {"w": 0.0, "v": 0.0}, {"w": 0.0, "v": 0.0}
for step in range(1, int(sys.argv[2]) + 1):
    gradient = {"w": x["v"], "v": x["w"]}  # both from before the step
    for name, g in gradient.items():
        mean[name] = 0.9 * mean[name] + 0.1 * g
        square[name] = 0.999 * square[name] + 0.001 * g * g
        root = math.sqrt(square[name] / (1 - 0.999**step))
        x[name] -= 0.1 * mean[name] / (1 - 0.9**step) / (root + 1e-8)
for name in "wv":
    if abs(got[name] - x[name]) > 1e-6 * abs(x[name]):
        sys.exit(f"{name} is {got[name]} instead of {x[name]}")
