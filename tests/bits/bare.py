#!/usr/bin/env python3
"""sha256 of a file of weights without what it says of itself (settings, version, seed): values, names
and shapes alone, so that the bits are compared and nothing else.

    tests/bits/bare.py W.safetensors

The file is hashed as it would be with {"format": "vmoec"} for its metadata."""

import hashlib
import json
import re
import struct
import sys


def bare(path):
    data = open(path, "rb").read()
    (n,) = struct.unpack("<Q", data[:8])
    head = data[8 : 8 + n].decode()
    meta = json.dumps(json.loads(head)["__metadata__"], separators=(",", ":"), ensure_ascii=False)
    at = head.index('"__metadata__":') + len('"__metadata__":')
    end = at + len(re.match(r'\{(?:"(?:[^"\\]|\\.)*"[:,]?)*\}', head[at:]).group())
    assert json.loads(head[at:end]) == json.loads(meta)
    text = (head[:at] + '{"format":"vmoec"}' + head[end:]).rstrip(" ").encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + n :]


print(hashlib.sha256(bare(sys.argv[1])).hexdigest())
