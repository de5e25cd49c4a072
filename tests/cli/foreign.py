#!/usr/bin/env python3
"""Writes weights of vmoec as another program would: foreign.py PROGRAM W OUT.

Names and layouts are put down here once more, the other way round and in Python, so that reading
them back tests the rules of models/rules/. Needs neither PyTorch nor NumPy."""

import array
import itertools
import json
import re
import struct
import sys

CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q"}


def read(path):
    """{name: (shape, values)} of a file of f32."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    out = {}
    for name, about in header.items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            out[name] = (about["shape"], list(array.array("f", data[begin:end])))
    return out


def encode(kind, values):
    if kind == "BF16":  # of values that it holds exactly
        return b"".join(struct.pack("<f", x)[2:] for x in values)
    return struct.pack(f"<{len(values)}{CODES[kind]}", *values)


def write(path, tensors):
    """tensors: {name: (type, shape, values)}"""
    header, chunks, at = {}, [], 0
    for name, (kind, shape, values) in tensors.items():
        chunks.append(encode(kind, values))
        end = at + len(chunks[-1])
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def transpose(tensor, order):
    shape, values = tensor
    stride = [1] * len(shape)
    for i in reversed(range(len(shape) - 1)):
        stride[i] = stride[i + 1] * shape[i + 1]
    new = [shape[i] for i in order]
    places = itertools.product(*(range(n) for n in new))
    return new, [values[sum(k * stride[i] for k, i in zip(at, order))] for at in places]


def matrix(tensor):
    return transpose(tensor, [1, 0])


def same(tensor):
    return tensor


def reshaped(*shape):
    return lambda tensor: (shape, tensor[1])


# ---- programs ------------------------------------------------------------------------------------
# What our name becomes there, and how; the first pattern that fits counts. {1} is the first group.


def vit(tensor_of):
    """timm's vision transformers."""
    side = round((tensor_of["patch_embed.linear.weight"][0][0] / 3) ** 0.5)
    width = tensor_of["class_token.token"][0][0]

    def patches(tensor):  # [row, column, channel] of a patch
        return transpose(((side, side, 3, width), tensor[1]), [3, 2, 0, 1])

    return [
        (r"class_token\.token", "cls_token", reshaped(1, 1, width)),
        (r"position\.table", "pos_embed", lambda t: ((1, *t[0]), t[1])),
        (r"patch_embed\.linear\.weight", "patch_embed.proj.weight", patches),
        (r"patch_embed\.linear\.bias", "patch_embed.proj.bias", same),
        (r"(\d+)\.attention\.norm\.(\w+)", "blocks.{1}.norm1.{2}", same),
        (r"(\d+)\.mlp\.norm\.(\w+)", "blocks.{1}.norm2.{2}", same),
        (r"(\d+)\.attention\.qkv\.weight", "blocks.{1}.attn.qkv.weight", matrix),
        (r"(\d+)\.attention\.qkv\.bias", "blocks.{1}.attn.qkv.bias", same),
        (r"(\d+)\.attention\.out\.weight", "blocks.{1}.attn.proj.weight", matrix),
        (r"(\d+)\.attention\.out\.bias", "blocks.{1}.attn.proj.bias", same),
        (r"(\d+)\.mlp\.up\.weight", "blocks.{1}.mlp.fc1.weight", matrix),
        (r"(\d+)\.mlp\.up\.bias", "blocks.{1}.mlp.fc1.bias", same),
        (r"(\d+)\.mlp\.down\.weight", "blocks.{1}.mlp.fc2.weight", matrix),
        (r"(\d+)\.mlp\.down\.bias", "blocks.{1}.mlp.fc2.bias", same),
        (r"(\d+)\.layer_scale\.scale", "blocks.{1}.ls1.gamma", same),
        (r"(\d+)\.layer_scale_2\.scale", "blocks.{1}.ls2.gamma", same),
        (r"token\.(\w+)", "norm.{1}", same),
        (r"logits\.weight", "head.weight", matrix),
        (r"logits\.bias", "head.bias", same),
    ]


def tiny(_):
    """The model of these tests, under names that imports.sh has rules for."""
    return [
        (r"patch_embed\.linear\.(\w+)", "stem.proj.{1}", same),
        (r"position\.table", "pos", same),
        (r"attention\.(qkv|out)\.weight", "blk1.{1}.w", matrix),
        (r"attention\.(qkv|out)\.bias", "blk1.{1}.b", same),
        (r"attention\.norm\.(\w+)", "blk1.ln.{1}", same),
        (r"moe\.norm\.(\w+)", "blk2.ln.{1}", same),
        (r"moe\.gate\.weight", "blk2.router", matrix),
        (r"moe\.mlp\.(\w+)\.weight", "blk2.experts.{1}.w", lambda t: transpose(t, [0, 2, 1])),
        (r"moe\.mlp\.(\w+)\.bias", "blk2.experts.{1}.b", same),
        (r"logits\.norm\.(\w+)", "ln.{1}", same),
        (r"logits\.weight", "head.w", matrix),
        (r"logits\.bias", "head.b", same),
    ]


PROGRAMS = {"vit": vit, "tiny": tiny}


def kind_of(name, values):
    """Types that hold the values exactly: all are read."""
    if all(x in (0, 1) for x in values):
        return "F16" if "norm" in name or "ln" in name else "BF16"
    return "F64" if "pos" in name else "F32"


def main():
    program, source, out = sys.argv[1:]
    ours = {name.split(".", 1)[1]: tensor for name, tensor in read(source).items()}
    rules, tensors = PROGRAMS[program](ours), {}
    for name, tensor in ours.items():
        pattern, to, layout = next(rule for rule in rules if re.fullmatch(rule[0], name))
        groups = re.fullmatch(pattern, name).groups()
        to = to.format(None, *groups)
        shape, values = layout(tensor)
        tensors[to] = (kind_of(to, values), shape, values)
    write(out, tensors | {"steps": ("I64", (), [7])})


if __name__ == "__main__":
    main()
