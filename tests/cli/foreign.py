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


def facebook(name):
    """Facebook's names of timm's layer scale."""
    return re.sub(r"ls(\d)\.gamma", r"gamma_\1", name)


def conv(tensor):
    return transpose(tensor, [3, 2, 0, 1])


def depthwise(tensor):
    shape, values = transpose(tensor, [2, 0, 1])
    return (shape[0], 1, *shape[1:]), values


def pointwise(tensor):
    shape, values = matrix(tensor)
    return (*shape, 1, 1), values


def convnext(_):
    """timm's ConvNeXt."""
    block, into = r"(\d+)\.(\d+)\.convnext_block\.", "stages.{1}.blocks.{2}."
    down = r"(\d+)\.convnext_down\.downsample\."
    return [
        (r"stem\.conv2d\.weight", "stem.0.weight", conv),
        (r"stem\.conv2d\.bias", "stem.0.bias", same),
        (r"stem_norm\.(\w+)", "stem.1.{1}", same),
        (down + r"norm\.(\w+)", "stages.{1}.downsample.0.{2}", same),
        (down + r"conv2d\.weight", "stages.{1}.downsample.1.weight", conv),
        (down + r"conv2d\.bias", "stages.{1}.downsample.1.bias", same),
        (block + r"depthwise\.weight", into + "conv_dw.weight", depthwise),
        (block + r"depthwise\.bias", into + "conv_dw.bias", same),
        (block + r"norm\.(\w+)", into + "norm.{3}", same),
        (block + r"mlp\.up\.weight", into + "mlp.fc1.weight", matrix),
        (block + r"mlp\.up\.bias", into + "mlp.fc1.bias", same),
        (block + r"mlp\.down\.weight", into + "mlp.fc2.weight", matrix),
        (block + r"mlp\.down\.bias", into + "mlp.fc2.bias", same),
        (block + r"layer_scale\.scale", into + "gamma", same),
        (r"logits\.linear\.norm\.(\w+)", "head.norm.{1}", same),
        (r"logits\.linear\.weight", "head.fc.weight", matrix),
        (r"logits\.linear\.bias", "head.fc.bias", same),
    ]


def norms(pattern, to):
    """A batch normalisation."""
    parts = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    return [(pattern + "\\." + ours, to + "." + theirs, same) for ours, theirs in parts.items()]


def resnet(_):
    """timm's and torchvision's ResNet; stages count from 1 there (plus_one)."""
    block, into = r"(\d+)\.(\d+)\.basic_block\.", "layer{1}.{2}."
    return [
        (r"stem\.conv2d\.weight", "conv1.weight", conv),
        *norms("stem_norm", "bn1"),
        (block + r"conv(\d)\.conv2d\.weight", into + "conv{3}.weight", conv),
        *norms(block + r"norm(\d)", into + "bn{3}"),
        (block + r"short\.conv2d\.weight", into + "downsample.0.weight", conv),
        *norms(block + "short_norm", into + "downsample.1"),
        (r"logits\.weight", "fc.weight", matrix),
        (r"logits\.bias", "fc.bias", same),
    ]


def mobilenet(_):
    """timm's MobileNetV2."""
    block, into = r"(\d+)\.(\d+)\.inverted_residual\.", "blocks.{1}.{2}."
    narrow = r"(0)\.(\d+)\.inverted_residual\."
    return [
        (r"stem\.conv2d\.weight", "conv_stem.weight", conv),
        *norms("stem_norm", "bn1"),
        (r"head\.conv2d\.weight", "conv_head.weight", pointwise),
        *norms("head_norm", "bn2"),
        (narrow + r"narrow\.conv2d\.weight", into + "conv_pw.weight", pointwise),
        *norms(narrow + "middle_norm", into + "bn1"),
        *norms(narrow + "narrow_norm", into + "bn2"),
        (block + r"expand\.conv2d\.weight", into + "conv_pw.weight", pointwise),
        *norms(block + "expand_norm", into + "bn1"),
        (block + r"middle\.weight", into + "conv_dw.weight", depthwise),
        *norms(block + "middle_norm", into + "bn2"),
        (block + r"narrow\.conv2d\.weight", into + "conv_pwl.weight", pointwise),
        *norms(block + "narrow_norm", into + "bn3"),
        (r"logits\.weight", "classifier.weight", matrix),
        (r"logits\.bias", "classifier.bias", same),
    ]


# ---- torchvision's names, from timm's ------------------------------------------------------------


def plus_one(name):
    return re.sub(r"layer(\d)", lambda m: f"layer{int(m[1]) + 1}", name)


def torch_convnext(name):
    """Stages and what lies between them count on."""
    name = name.replace("stem.", "features.0.").replace("head.norm.", "classifier.0.")
    name = name.replace("head.fc.", "classifier.2.")
    name = re.sub(r"stages.(\d).downsample", lambda m: f"features.{2 * int(m[1])}", name)
    name = re.sub(r"stages.(\d).blocks", lambda m: f"features.{2 * int(m[1]) + 1}", name)
    parts = {"conv_dw": "block.0", "norm": "block.2", "mlp.fc1": "block.3", "mlp.fc2": "block.5"}
    for old, new in (parts | {"gamma": "layer_scale"}).items():
        name = re.sub(rf"(features.\d.\d+).{old}", rf"\1.{new}", name)
    return name


def torch_mobilenet(name):
    """Blocks count on through all stages."""
    ends = {"conv_stem": "0.0", "bn1": "0.1", "conv_head": "18.0", "bn2": "18.1"}
    if name.startswith("classifier"):
        return name.replace("classifier", "classifier.1")
    part, *rest = name.split(".")
    if part != "blocks":
        return ".".join(["features", ends[part], *rest])
    stage, block, part, *rest = rest
    number = 1 + sum([1, 2, 3, 4, 3, 3, 1][: int(stage)]) + int(block)
    wide = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"}
    wide |= {"conv_pwl": "2", "bn3": "3"}
    first = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
    where = (first if stage == "0" else wide)[part]
    return ".".join([f"features.{number}.conv.{where}", *rest])


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


def unchanged(name):
    return name


PROGRAMS = {
    "tiny": (tiny, unchanged),
    "timm_vit": (vit, unchanged),
    "timm_deit3": (vit, unchanged),
    "facebook_deit3": (vit, facebook),
    "facebook_mae": (vit, unchanged),
    "timm_convnext": (convnext, unchanged),
    "torch_convnext": (convnext, torch_convnext),
    "timm_resnet": (resnet, plus_one),
    "torch_resnet": (resnet, plus_one),
    "timm_mobilenet_v2": (mobilenet, unchanged),
    "torch_mobilenet_v2": (mobilenet, torch_mobilenet),
}


def kind_of(name, values):
    """Types that hold the values exactly: all are read."""
    if all(x in (0, 1) for x in values):
        return "F16" if "norm" in name or "ln" in name else "BF16"
    return "F64" if "pos" in name else "F32"


def main():
    program, source, out = sys.argv[1:]
    ours = {name.split(".", 1)[1]: tensor for name, tensor in read(source).items()}
    rules_of, named = PROGRAMS[program]
    rules, tensors = rules_of(ours), {}
    for name, tensor in ours.items():
        pattern, to, layout = next(rule for rule in rules if re.fullmatch(rule[0], name))
        groups = re.fullmatch(pattern, name).groups()
        to = named(to.format(None, *groups))
        shape, values = layout(tensor)
        if to.endswith("layer_scale"):
            shape = (*shape, 1, 1)
        tensors[to] = (kind_of(to, values), shape, values)
    steps = "steps" if program == "tiny" else "bn1.num_batches_tracked"
    write(out, tensors | {steps: ("I64", (), [7])})


if __name__ == "__main__":
    main()
