"""The models of models/*.vmoe written independently in PyTorch, reading weights by vmoec's names.

Dense formulas throughout: every expert runs on every token and a routing matrix picks what counts,
so nothing here can share a mistake with dispatch and combine. A model is a function
    f(w, image, label) -> {"loss", "aux", "objective", "accuracy", "logits", "routes"}
where w maps a weight's name to its tensor, aux is the weighted sum of auxiliary losses and routes
the chosen experts of every route, [T, K]. Dropout is left out: compare with dropout = 0. """

import json
import struct

import numpy
import torch
import torch.nn.functional as F

# ---- tensor files --------------------------------------------------------------------------------

DTYPES = {"F32": numpy.float32, "I32": numpy.int32}


def load_tensors(path):
    """A safetensors file as {name: torch tensor}."""
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
        data = f.read()
    header.pop("__metadata__", None)
    out = {}
    for name, h in header.items():
        start, end = h["data_offsets"]
        array = numpy.frombuffer(data[start:end], DTYPES[h["dtype"]]).reshape(h["shape"])
        out[name] = torch.from_numpy(array.copy())
    return out


def save_tensors(path, tensors):
    """Writes {name: torch tensor (f32 or i32)}."""
    header, chunks, at = {}, [], 0
    for name, t in tensors.items():
        array = t.contiguous().numpy()
        kind = {v: k for k, v in DTYPES.items()}[array.dtype.type]
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        chunks.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


# ---- layers --------------------------------------------------------------------------------------


def linear(w, path, x):
    y = x @ w[path + ".weight"]
    return y + w[path + ".bias"] if path + ".bias" in w else y


def layer_norm(w, path, x, eps):
    return F.layer_norm(x, x.shape[-1:], w[path + ".weight"], w[path + ".bias"], eps)


def attention(w, path, x, heads):
    b, n, d = x.shape
    q, k, v = (
        t.reshape(b, n, heads, d // heads).transpose(1, 2)
        for t in linear(w, path + ".qkv", x).chunk(3, -1)
    )
    p = torch.softmax(q @ k.transpose(2, 3) * (d // heads) ** -0.5, -1)
    return linear(w, path + ".out", (p @ v).transpose(1, 2).reshape(b, n, d))


def patches(image, p):
    """[B, C, H, W] -> [B, N, p*p*C]: row, column, channel inside a patch."""
    b, c, h, w = image.shape
    x = image.reshape(b, c, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, h // p * (w // p), p * p * c)


def top_k(gate, k):
    """Values and indices of the k largest; ties: lowest index first."""
    value, index = torch.sort(gate, dim=-1, descending=True, stable=True)
    return value[..., :k], index[..., :k]


def mixture(w, path, x, index, weight, activation):
    """x [T, D] through every expert's two linear layers; [T, K] indices and weights pick and
    mix."""
    up = torch.einsum("td,edh->teh", x, w[path + ".up.weight"]) + w[path + ".up.bias"]
    down = (
        torch.einsum("teh,ehd->ted", activation(up), w[path + ".down.weight"])
        + w[path + ".down.bias"]
    )
    chosen = torch.zeros(x.shape[0], down.shape[1], dtype=x.dtype).scatter(1, index, weight)
    return torch.einsum("te,ted->td", chosen, down)


def load_balance(gate, index):
    """E * sum_e f_e P_e: share of first choices times mean gate."""
    e = gate.shape[-1]
    first = F.one_hot(index[:, 0], e).to(gate.dtype).mean(0)
    return e * (first * gate.mean(0)).sum()


def results(logits, label, aux, routes):
    loss = F.cross_entropy(logits, label)
    return {
        "loss": loss,
        "aux": aux,
        "objective": loss + aux,
        "accuracy": (logits.argmax(-1) == label).to(logits.dtype).mean(),
        "logits": logits,
        "routes": routes,
    }


# ---- models --------------------------------------------------------------------------------------


def encoder_layer(w, path, x, heads):
    """Post-norm: what torch.nn.TransformerEncoderLayer computes by default."""
    x = layer_norm(w, path + ".norm1", x + attention(w, path + ".attention", x, heads), 1e-5)
    h = linear(w, path + ".down", torch.relu(linear(w, path + ".up", x)))
    return layer_norm(w, path + ".norm2", x + h, 1e-5)


def mnist_dense(w, image, label, m="classifier", depth=3, heads=4):
    x = linear(w, f"{m}.embed", patches(image, 8))
    for i in range(depth):
        x = encoder_layer(w, f"{m}.{i}.encoder_layer", x, heads)
    return results(linear(w, f"{m}.logits", x.mean(1)), label, 0.0, [])


def mnist_moe(w, image, label, m="classifier", depth=3, heads=4, k=2):
    routes = []
    x = linear(w, f"{m}.embed", patches(image, 16))
    for i in range(depth):
        x = encoder_layer(w, f"{m}.{i}.encoder_layer", x, heads)
        if i != 2:
            continue
        t = x.reshape(-1, x.shape[-1])
        value, index = top_k(linear(w, f"{m}.{i}.moe.gate", t), k)
        routes.append(index)
        x = mixture(w, f"{m}.{i}.moe.expert", t, index, torch.softmax(value, -1), F.gelu).reshape(
            x.shape
        )
    return results(linear(w, f"{m}.logits", x.mean(1)), label, 0.0, routes)


def vmoe_fmnist(w, image, label, m="classifier", depth=4, heads=4, k=2):
    routes, aux = [], 0.0
    x = linear(w, f"{m}.patch_embed.linear", patches(image, 7)) + w[f"{m}.position.table"]
    for i in range(depth):
        h = layer_norm(w, f"{m}.{i}.attention.norm", x, 1e-6)
        x = x + attention(w, f"{m}.{i}.attention", h, heads)
        if i % 2 == 0:
            h = layer_norm(w, f"{m}.{i}.mlp.norm", x, 1e-6)
            x = x + linear(w, f"{m}.{i}.mlp.down", F.gelu(linear(w, f"{m}.{i}.mlp.up", h)))
            continue
        h = layer_norm(w, f"{m}.{i}.moe.norm", x, 1e-6).reshape(-1, x.shape[-1])
        gate = torch.softmax(h @ w[f"{m}.{i}.moe.gate.weight"], -1)
        value, index = top_k(gate, k)
        routes.append(index)
        aux = aux + 0.01 * load_balance(gate, index)
        x = x + mixture(w, f"{m}.{i}.moe.mlp", h, index, value, F.gelu).reshape(x.shape)
    h = layer_norm(w, f"{m}.logits.norm", x, 1e-6)
    return results(linear(w, f"{m}.logits", h.mean(1)), label, aux, routes)


# What a comparison needs to know besides the formulas: the file, settings that turn randomness off,
# and how images are prepared (side after resizing, mean, std).
MODELS = {
    "mnist_dense": {"f": mnist_dense, "set": ["dropout=0"], "side": 32, "mean": 0.5, "std": 0.5},
    "mnist_moe": {"f": mnist_moe, "set": ["dropout=0"], "side": 32, "mean": 0.5, "std": 0.5},
    "vmoe_fmnist": {"f": vmoe_fmnist, "set": [], "side": 28, "mean": 0.5, "std": 0.5},
}


# ---- data ----------------------------------------------------------------------------------------


def read_idx(path):
    with open(path, "rb") as f:
        data = f.read()
    rank = data[3]
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return torch.from_numpy(
        numpy.frombuffer(data[4 + 4 * rank :], numpy.uint8).reshape(shape).copy()
    )


def prepare(pixels, side, mean, std):
    """u8 [N, H, W] -> f32 [N, 1, side, side], as torchvision's Resize, ToTensor and Normalize
    do."""
    x = pixels[:, None]
    if side != x.shape[-1]:
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return (x.float() / 255 - mean) / std
