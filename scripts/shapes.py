#!/usr/bin/env python3
"""Photos to try things with: coloured shapes in PNG files of mixed sizes, made by Python's standard
library alone.

    scripts/shapes.py DIR [CLASS ..] [--train N] [--test N] [--seed N]

writes N images of every class to DIR/train/CLASS/ROOM/ and DIR/test/CLASS/ROOM/, the same pixels
for the same arguments everywhere. Classes: circle, square, triangle (the default), cross, diamond,
ring.
"""

import argparse
import random
import struct
import zlib
from pathlib import Path


def spans_of_ring(y, r):
    outer, inner = (r * r - y * y) ** 0.5, max(0.3 * r * r - y * y, 0) ** 0.5
    return [(-outer, -inner), (inner, outer)]


# What a shape of radius r covers of the line y, -r to r: pairs from left to right.
SPANS = {
    "circle": lambda y, r: [(-((r * r - y * y) ** 0.5), (r * r - y * y) ** 0.5)],
    "square": lambda y, r: [(-0.85 * r, 0.85 * r)] if abs(y) <= 0.85 * r else [],
    "triangle": lambda y, r: [(-(y + r) / 2, (y + r) / 2)],
    "cross": lambda y, r: [(-r, r)] if abs(y) <= 0.3 * r else [(-0.3 * r, 0.3 * r)],
    "diamond": lambda y, r: [(abs(y) - r, r - abs(y))],
    "ring": spans_of_ring,
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, width):
    """A PNG file of RGB rows."""
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def photo(shape, rand):
    """Rows of one image: a shape of any colour somewhere on a background that grows lighter."""
    width, height = rand.randrange(48, 97), rand.randrange(48, 97)
    back = [rand.randrange(150) for _ in range(3)]
    colour = [rand.randrange(256) for _ in range(3)]
    colour[rand.randrange(3)] = 255
    r = rand.uniform(0.25, 0.45) * min(width, height)
    cx, cy = rand.uniform(r, width - r), rand.uniform(r, height - r)
    rows = []
    for y in range(height):
        row = bytearray(bytes(c + 60 * y // height for c in back) * width)
        for left, right in SPANS[shape](y - cy, r) if abs(y - cy) <= r else []:
            first, end = max(round(cx + left), 0), min(round(cx + right), width)
            row[3 * first : 3 * end] = bytes(colour) * max(end - first, 0)
        rows.append(row)
    return rows, width


def main():
    parser = argparse.ArgumentParser(description="make photos of coloured shapes")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--train", type=int, default=200, help="training images of every class")
    parser.add_argument("--test", type=int, default=50, help="test images of every class")
    parser.add_argument("--seed", default="0")
    parser.add_argument("classes", nargs="*", metavar="CLASS", help=", ".join(SPANS))
    args = parser.parse_intermixed_args()
    classes = args.classes or ["circle", "square", "triangle"]
    for name in classes:
        if name not in SPANS:
            parser.error(f"no class '{name}': {', '.join(SPANS)}")
    for split, count in (("train", args.train), ("test", args.test)):
        for name in classes:
            for i in range(count):
                rand = random.Random(f"{args.seed}/{split}/{name}/{i}")
                folder = args.dir / split / name / ("kitchen" if i % 2 else "garden")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{i:03d}.png").write_bytes(png(*photo(name, rand)))


if __name__ == "__main__":
    main()
