"""Inference of a dense twin in onnxruntime: onnx_worker.py MODEL BATCH THREADS (see worker.py). The
graph is made here in two ways, and the faster one counts: a transformer from plain ops and with
onnxruntime's own attention op, a ConvNeXt with products on [B, H, W, C] and with convolutions of
one pixel."""

import sys

import numpy as np
import onnx
import onnxruntime

import onnx_conv
import worker
import zoo
from onnx_graph import RNG, Graph

def attention(g, spec, x, batch, tokens, fused):
    d, heads = spec.dim, spec.heads
    q, k, v = g.op("Split", g.linear(x, d, 3 * d), axis=2, num_outputs=3, outputs=3)
    if fused:
        y = g.op("MultiHeadAttention", q, k, v, domain="com.microsoft", num_heads=heads)
        return g.linear(y, d, d)
    q, k, v = (g.reshape(t, batch, tokens, heads, d // heads) for t in (q, k, v))
    q, v = (g.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 3, 1]))
    scale = g.constant(np.array((d // heads) ** -0.5, np.float32))
    prob = g.op("Softmax", g.op("Mul", scores, scale), axis=-1)
    y = g.op("Transpose", g.op("MatMul", prob, v), perm=[0, 2, 1, 3])
    return g.linear(g.reshape(y, batch, tokens, d), d, d)


def embed(g, spec, batch):
    """Patches by a convolution, class token, positions."""
    p, d, n = spec.patch, spec.dim, spec.tokens
    x = g.op("Conv", "image", g.weight(d, spec.channels, p, p), g.weight(d), strides=[p, p])
    x = g.op("Transpose", g.reshape(x, batch, d, n), perm=[0, 2, 1])
    if spec.position == "sincos":
        x = g.op("Add", x, g.constant(RNG.standard_normal((n, d)).astype(np.float32)))
    token = g.op("Expand", g.weight(1, 1, d), g.constant(np.array([batch, 1, d], np.int64)))
    x = g.op("Concat", token, x, axis=1)
    return x if spec.position == "sincos" else g.op("Add", x, g.weight(n + 1, d))


def build(spec, batch, fused):
    g, d, tokens = Graph(), spec.dim, spec.tokens + 1
    x = embed(g, spec, batch)
    for _ in range(spec.depth):
        x = g.op("Add", x, attention(g, spec, g.norm(x, d), batch, tokens, fused))
        h = g.op("Gelu", g.linear(g.norm(x, d), d, spec.hidden))
        x = g.op("Add", x, g.linear(h, spec.hidden, d))
    token = g.op("Gather", x, g.constant(np.array(0, np.int64)), axis=1)
    logits = g.linear(g.norm(token, d), d, spec.classes)
    return g.model(spec, batch, logits), g.params


def ways_of(spec):
    """{way: (builder, what it takes for that way)}"""
    if isinstance(spec, zoo.ConvNet):
        return {
            "products": (onnx_conv.build, False),
            "convolutions of one pixel": (onnx_conv.build, True),
        }
    return {"plain ops": (build, False), "MultiHeadAttention": (build, True)}


def session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main():
    name, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    spec = zoo.dense(name)
    image = RNG.standard_normal((batch, spec.channels, spec.size, spec.size)).astype(np.float32)
    steps, params = {}, 0
    for way, (make, kind) in ways_of(spec).items():
        model, params = make(spec, batch, kind)
        onnx.checker.check_model(model)
        steps[way] = lambda s=session(model, threads): s.run(None, {"image": image})
    way = worker.fastest(steps)
    worker.serve(
        steps[way], version=f"onnxruntime {onnxruntime.__version__}", params=params, way=way
    )


if __name__ == "__main__":
    main()
