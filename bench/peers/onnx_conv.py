"""ConvNeXt for onnxruntime, as PyTorch's exporter writes timm's, or without changes of layout."""

import numpy as np

from onnx_graph import Graph

LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def channel_norm(g, x, d):
    """Over the channels of [B, C, H, W]."""
    return g.op("Transpose", g.norm(g.op("Transpose", x, perm=LAST), d), perm=FIRST)


def scaled(g, x, *shape):
    return g.op("Mul", x, g.weight(*shape))


def block(g, x, d, hidden, pixels):
    """`pixels`: the layers of one pixel are convolutions, on [B, C, H, W] as all the rest."""
    y = g.conv(x, d, d, 7, pad=3, groups=d)
    if pixels:
        y = g.op("Gelu", g.conv(channel_norm(g, y, d), d, hidden, 1))
        return g.op("Add", x, scaled(g, g.conv(y, hidden, d, 1), d, 1, 1))
    y = g.norm(g.op("Transpose", y, perm=LAST), d)
    y = g.linear(g.op("Gelu", g.linear(y, d, hidden)), hidden, d)
    return g.op("Add", x, g.op("Transpose", scaled(g, y, d), perm=FIRST))


def build(spec, batch, pixels):
    """(model, number of parameters)"""
    if spec.kind != "convnext" or not (spec.stem_norm and spec.layer_scale):
        raise ValueError("only the hierarchical ConvNeXt is written here")
    g, before = Graph(), spec.dims[0]
    x = channel_norm(g, g.conv("image", spec.channels, before, spec.patch, spec.patch), before)
    for number, (d, depth) in enumerate(zip(spec.dims, spec.depths)):
        if number:
            x = g.conv(channel_norm(g, x, before), before, d, 2, 2)
        for _ in range(depth):
            x = block(g, x, d, spec.ratio * d, pixels)
        before = d
    axes = g.constant(np.array([2, 3], np.int64))
    logits = g.linear(
        g.norm(g.op("ReduceMean", x, axes, keepdims=0), before), before, spec.classes
    )
    return g.model(spec, batch, logits), g.params
