"""A graph for onnxruntime under construction, with random weights."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

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

    def conv(self, x, i, o, kernel, stride=1, pad=0, groups=1):
        return self.op(
            "Conv",
            x,
            self.weight(o, i // groups, kernel, kernel),
            self.weight(o),
            strides=[stride, stride],
            pads=[pad] * 4,
            group=groups,
        )

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.constant(np.array(shape, np.int64)))

    def model(self, spec, batch, result):
        """The graph from `image` [B, C, H, W] to `result` [B, classes]."""
        shape = [batch, spec.channels, spec.size, spec.size]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        out = helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, spec.classes])
        graph = helper.make_graph(self.nodes, "model", [image], [out], self.weights)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
