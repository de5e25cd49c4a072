"""Photos that no memory limit of the tests holds: PNG files of 512 x 512 pixels in class folders,
stored without compression, so that making and reading them takes little time.

make.py FOLDER TRAIN TEST         images of each of two classes
"""

import os
import random
import struct
import sys
import zlib

SIDE = 512
COLOURS = {"meadow": (60, 160, 40), "sky": (90, 140, 230)}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def photo(colour, grain):
    """Rows of one colour with a grain that differs from photo to photo."""
    shift = random.randrange(len(grain) - 3 * SIDE)
    row = bytes((c + g) & 255 for c, g in zip(colour * SIDE, grain[shift : shift + 3 * SIDE]))
    head = struct.pack(">2I5B", SIDE, SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * SIDE, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def main(folder, train, test):
    random.seed(7)
    grain = bytes(random.randrange(20) for _ in range(3 * SIDE + 4096))
    for part, images in (("train", train), ("test", test)):
        for name, colour in COLOURS.items():
            place = f"{folder}/{part}/{name}"
            os.makedirs(place)
            for i in range(images):
                with open(f"{place}/{i}.png", "wb") as f:
                    f.write(photo(colour, grain))


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
