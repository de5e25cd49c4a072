"""Class folders of PNG pictures of many sizes, and the pixels of some as they are.

pictures.py FOLDER        FOLDER/data/{train,test}/CLASS/I.png, FOLDER/KIND.png and FOLDER/KIND.raw
                          of the kinds below; FOLDER/kinds lists them as NAME=C.H.W
"""

import os
import struct
import sys
import zlib

COLOURS = {"blue": (20, 40, 200), "green": (30, 190, 60), "red": (210, 30, 30), "white": (240,) * 3}
# channels, height, width: what fits as it is, and what is made smaller and larger
KINDS = {
    "fits": (3, 8, 8),
    "grey": (1, 8, 8),
    "wide": (3, 21, 50),
    "high": (3, 70, 13),
    "small": (3, 3, 2),
    "dot": (1, 1, 1),
    "greywide": (1, 19, 40),
    "clear": (4, 17, 30),
}


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(channels, height, width, pixels):
    kind = {1: 0, 3: 2, 4: 6}[channels]
    row = width * channels
    rows = b"".join(b"\0" + pixels[y * row : y * row + row] for y in range(height))
    head = struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def main(folder):
    for part, images in (("train", 6), ("test", 2)):
        for name, colour in COLOURS.items():
            os.makedirs(f"{folder}/data/{part}/{name}")
            for i in range(images):
                side = 6 + i
                grain = ((c + 7 * k * (i + 1) % 15) & 255 for k in range(side * side) for c in colour)
                picture = png(3, side, side, bytes(grain))
                write(f"{folder}/data/{part}/{name}/{i}.png", picture)
    lines = []
    for name, (channels, height, width) in KINDS.items():
        pixels = bytes((k * k * 31 + 11 * k) // 7 & 255 for k in range(channels * height * width))
        write(f"{folder}/{name}.png", png(channels, height, width, pixels))
        write(f"{folder}/{name}.raw", pixels)
        lines.append(f"{name}={channels}.{height}.{width}\n")
    write(f"{folder}/kinds", "".join(lines).encode())


main(sys.argv[1])
