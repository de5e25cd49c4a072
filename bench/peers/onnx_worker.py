"""Inference of a dense twin in onnxruntime: onnx_worker.py MODEL BATCH THREADS (see worker.py). The
graph is made here, once from plain ops and once with onnxruntime's own attention op; the faster one
counts."""

import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import worker
import zoo

RNG = np.random.default_rng(0)


class Graph:
    """Nodes and weights of a graph under construction; every method returns the name of its
    result."""

    def __init__(self):
        self.nodes, self.weights, self.params = [], [], 0

    def weight(self, *shape, std=0.02, value=None):
        data = (
            RNG.standard_normal(shape).astype(np.float32) * std
            if value is None
            else np.full(shape, value, np.float32)
        )
        self.params += data.size
        return self.constant(data)

    def constant(self, data):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(data), name))
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x, i, o):
        return self.op("Add", self.op("MatMul", x, self.weight(i, o, std=i**-0.5)), self.weight(o))

    def norm(self, x, d):
        return self.op(
            "LayerNormalization", x, self.weight(d, value=1), self.weight(d), axis=-1, epsilon=1e-6
        )

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.constant(np.array(shape, np.int64)))


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
    image = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, [batch, spec.channels, spec.size, spec.size]
    )
    out = helper.make_tensor_value_info(logits, TensorProto.FLOAT, [batch, spec.classes])
    graph = helper.make_graph(g.nodes, "vit", [image], [out], g.weights)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), g.params


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
    for way, fused in {"plain ops": False, "MultiHeadAttention": True}.items():
        model, params = build(spec, batch, fused)
        onnx.checker.check_model(model)
        steps[way] = lambda s=session(model, threads): s.run(None, {"image": image})
    way = worker.fastest(steps)
    worker.serve(
        steps[way], version=f"onnxruntime {onnxruntime.__version__}", params=params, way=way
    )


if __name__ == "__main__":
    main()
