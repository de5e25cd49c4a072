#!/usr/bin/env python3
"""Makes a tiny data set of PNG files, and two tiny models that train on it.

    data.py DIR [--train N] [--test N] [--classes a,b] [--size PIXELS]

DIR then holds data/train/CLASS/*.png, data/test/CLASS/*.png, linear.vmoe and moe.vmoe. With the
defaults an epoch is two steps. The same arguments give the same bytes. Python's standard library
only."""

import argparse
import os
import random
import struct
import zlib

CONFIG = """config {
  folder = "data"
  batch = 4
}

model m(image: f32[B, 3, %(size)d, %(size)d], label: class[B, %(classes)d]) {
%(body)s
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}

train m {
  data = image_folder(dir = folder, batch = batch)
  optimizer = adamw(weight_decay = 0.05)
  schedule = constant(peak = 1e-3)
  epochs = 2
}
"""
LINEAR = "  logits = linear(reshape(image, [dim(image, 0), -1]), %(classes)d)"
MOE = """  x = linear(reshape(image, [dim(image, 0), 4, -1]), 8)
  x = x + moe_mlp(norm(x), experts = 4, top_k = 2, hidden = 8)
  x = dropout(x, 0.1)
  logits = linear(mean(x, axis = 1), %(classes)d)"""


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, width, height):
    """pixels: RGB bytes, rows one after the other."""
    rows = b"".join(b"\0" + pixels[y * width * 3 : (y + 1) * width * 3] for y in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def picture(name, class_index, size):
    """RGB bytes: noise, with one colour stronger by class."""
    r = random.Random(name)
    strong = class_index % 3
    return bytes(
        180 + r.randrange(60) if c == strong else r.randrange(60)
        for _ in range(size * size)
        for c in range(3)
    )


def jpeg(grey, width, height):
    """A baseline JPEG in one channel whose 8 x 8 blocks are even: only the first coefficient is
    coded."""

    def segment(marker, data):
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    sizes = bytes(
        range(12)
    )  # the twelve lengths a difference can have, each with a code of four bits
    huffman = segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + sizes)
    huffman += segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\0")
    bits, before = "", 0
    for y in range(0, height, 8):
        for x in range(0, width, 8):
            value = (grey[y * width + x] - 128) * 8 // 16
            d, before = value - before, value
            n = abs(d).bit_length()
            bits += format(n, "04b")
            if n:
                bits += format(d if d > 0 else d + (1 << n) - 1, "0%db" % n)
            bits += "0"  # end of block
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)).replace(
        b"\xff", b"\xff\0"
    )
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\x10" * 64)
        + segment(0xC0, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
        + huffman
        + segment(0xDA, b"\1\1\0\0\x3f\0")
        + scan
        + b"\xff\xd9"
    )


def folder(root, train=4, test=2, classes=("a", "b"), size=8, kind="png"):
    for split, n in (("train", train), ("test", test)):
        for index, name in enumerate(classes):
            place = os.path.join(root, split, name)
            os.makedirs(place, exist_ok=True)
            for i in range(n):
                pixels = picture("%s/%d/%d" % (split, index, i), index, size)
                data = (
                    png(pixels, size, size) if kind == "png" else jpeg(pixels[index::3], size, size)
                )
                with open(
                    os.path.join(place, "%03d.%s" % (i, "png" if kind == "png" else "jpg")), "wb"
                ) as f:
                    f.write(data)


def idx(root, train=8, test=4, size=8):
    """The four files of MNIST, with ten classes."""
    os.makedirs(root, exist_ok=True)
    for split, n in (("train", train), ("t10k", test)):
        pixels = b"".join(picture("idx/%s/%d" % (split, i), i % 2, size)[::3] for i in range(n))
        with open(os.path.join(root, split + "-images-idx3-ubyte"), "wb") as f:
            f.write(struct.pack(">IIII", 0x803, n, size, size) + pixels)
        with open(os.path.join(root, split + "-labels-idx1-ubyte"), "wb") as f:
            f.write(struct.pack(">II", 0x801, n) + bytes(i % 10 for i in range(n)))


def models(root, classes=2, size=8):
    values = {"classes": classes, "size": size}
    for name, head, body in (
        ("linear", "", LINEAR),
        ("moe", 'use "std/vit"\nuse "std/moe"\n\n', MOE),
    ):
        with open(os.path.join(root, name + ".vmoe"), "w") as f:
            f.write(head + CONFIG % dict(values, body=body % values))
    grey = CONFIG % dict(classes=10, size=size, body=LINEAR % {"classes": 10})
    with open(os.path.join(root, "grey.vmoe"), "w") as f:
        f.write(grey.replace("[B, 3,", "[B, 1,").replace("image_folder", "idx"))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("dir")
    p.add_argument("--train", type=int, default=4, help="images of a class for training")
    p.add_argument("--test", type=int, default=2, help="images of a class for testing")
    p.add_argument("--classes", default="a,b")
    p.add_argument("--size", type=int, default=8)
    a = p.parse_args()
    classes = a.classes.split(",")
    folder(os.path.join(a.dir, "data"), a.train, a.test, classes, a.size)
    models(a.dir, len(classes), a.size)


if __name__ == "__main__":
    main()
