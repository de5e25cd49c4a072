"""Trains and asks the library `tiny` from Python, with ctypes and nothing else.

example.py libtiny.so DATA WEIGHTS     DATA: a folder of IDX files
"""

import ctypes as c
import struct
import sys

OK = 0
BATCH, SIDE, CLASSES = 16, 8, 4


class Batch(c.Structure):
    _fields_ = [(name, c.c_int64) for name in ("epoch", "index", "first", "images")] + [
        ("image", c.POINTER(c.c_float)),
        ("label", c.POINTER(c.c_int32)),
    ]


class Result(c.Structure):
    _fields_ = [
        ("images", c.c_int64),
        ("steps", c.c_int64),
        ("loss", c.c_double),
        ("objective", c.c_double),
        ("metrics", c.c_int32),
        ("metric", c.c_double * 16),
    ]


Fill = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(Batch))


class Model:
    def __init__(self, path, threads=1):
        lib = self.lib = c.CDLL(path)
        lib.tiny_memory_needed.restype = c.c_size_t
        lib.tiny_error.restype = lib.tiny_metric_name.restype = c.c_char_p
        lib.tiny_steps.restype = lib.tiny_all_steps.restype = c.c_int64
        size = lib.tiny_memory_needed(threads, 0)
        self.memory = c.create_string_buffer(size)  # the handle lies in it
        self.handle = c.c_void_p()
        made = lib.tiny_create(
            self.memory, c.c_size_t(size), threads, 0, c.byref(self.handle)
        )
        self.must(made)

    def must(self, status):
        if status != OK:
            raise RuntimeError(self.lib.tiny_error(self.handle).decode())

    def call(self, name, *args):
        self.must(getattr(self.lib, "tiny_" + name)(self.handle, *args))

    def order(self, epoch, n):
        order = (c.c_int64 * n)()
        self.call("order", c.c_int64(epoch), order, c.c_int64(n))
        return list(order)


def read(folder, which):
    """Images as bytes, and labels."""
    with open(f"{folder}/{which}-images-idx3-ubyte", "rb") as f:
        n, rows, columns = struct.unpack(">4xIII", f.read(16))
        images = [f.read(rows * columns) for _ in range(n)]
    with open(f"{folder}/{which}-labels-idx1-ubyte", "rb") as f:
        return images, f.read()[8:]


def main(path, data, weights):
    model = Model(path)
    images, labels = read(data, "train")

    def fill(_, to):
        batch = to.contents
        for i, k in enumerate(order[batch.first : batch.first + batch.images]):
            at = c.byref(batch.image.contents, 4 * i * SIDE * SIDE)
            model.lib.tiny_pixels(images[k], c.c_int64(1), at)
            batch.label[i] = labels[k]
        return 0

    model.call("init", c.c_int64(-1), c.c_int64(len(images)))
    result, epoch = Result(), 0
    while model.lib.tiny_steps(model.handle) < model.lib.tiny_all_steps(model.handle):
        order = model.order(epoch, len(images))
        model.call("epoch", Fill(fill), None, c.byref(result))
        names = [model.lib.tiny_metric_name(i).decode() for i in range(result.metrics)]
        said = dict(zip(names, result.metric), loss=result.loss)
        epoch += 1
        print(f"epoch {epoch}:", ", ".join(f"{k} {v:.4f}" for k, v in said.items()))
    model.call("save", weights.encode(), 0)

    pixels, probability = (c.c_float * (SIDE * SIDE))(), (c.c_double * CLASSES)()
    model.lib.tiny_pixels(images[0], c.c_int64(1), pixels)
    model.call("predict", pixels, c.c_int64(1), probability)
    print("image 0:", *(f"{p:.4f}" for p in probability))
    try:
        model.call("predict", pixels, c.c_int64(5), probability)
    except RuntimeError as e:
        print("five images:", e)


main(*sys.argv[1:])
