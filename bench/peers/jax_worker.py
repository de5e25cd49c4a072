"""Training steps of a model of the zoo in JAX: jax_worker.py MODEL THREADS [WAY] (see worker.py).
One jitted function makes the whole step; its state is donated. Threads: XLA takes the CPUs it may
use."""

import os
import sys

import worker
from zoo import ZOO, ConvNet

if len(sys.argv) > 2:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402  after the affinity, which sizes its thread pool
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import jax_conv  # noqa: E402

RNG = np.random.default_rng(0)


def normal(*shape, std=0.02):
    return (RNG.standard_normal(shape) * std).astype(np.float32)


def linear_params(i, o, bias=True):
    return {"w": normal(i, o, std=i**-0.5)} | ({"b": normal(o)} if bias else {})


def norm_params(d):
    return {"w": np.ones(d, np.float32), "b": np.zeros(d, np.float32)}


def mixture_params(spec):
    e, d, h = spec.experts, spec.dim, spec.hidden
    return {
        "gate": linear_params(d, e, bias=spec.post_norm),
        "up": {"w": normal(e, d, h, std=d**-0.5), "b": normal(e, h)},
        "down": {"w": normal(e, h, d, std=h**-0.5), "b": normal(e, d)},
    }


def block_params(spec, sparse):
    d = spec.dim
    p = {
        "norm1": norm_params(d),
        "norm2": norm_params(d),
        "qkv": linear_params(d, 3 * d),
        "out": linear_params(d, d),
    }
    if spec.post_norm or not sparse:
        p |= {"up": linear_params(d, spec.hidden), "down": linear_params(spec.hidden, d)}
    if sparse:
        p["mixture"] = mixture_params(spec)
    return p


def model_params(spec):
    p = {
        "embed": linear_params(spec.patch_numbers, spec.dim),
        "blocks": [block_params(spec, i in spec.sparse) for i in range(spec.depth)],
        "head": linear_params(spec.dim, spec.classes),
    }
    if spec.class_token:
        p["token"] = normal(spec.dim)
    if spec.position == "learned":
        p["position"] = normal(spec.tokens + spec.class_token, spec.dim)
    if not spec.post_norm:
        p["norm"] = norm_params(spec.dim)
    return p


def linear(p, x):
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def norm(p, x, eps):
    mean = x.mean(-1, keepdims=True)
    var = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + eps) * p["w"] + p["b"]


def drop(x, key, p):
    return x if p == 0 else jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def attention(p, x, heads, key, dropout):
    b, n, d = x.shape
    q, k, v = jnp.moveaxis(linear(p["qkv"], x).reshape(b, n, 3, heads, d // heads), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (d // heads) ** -0.5
    prob = drop(jax.nn.softmax(scores, -1), key, dropout)
    return linear(p["out"], jnp.einsum("bhqk,bkhd->bqhd", prob, v).reshape(b, n, d))


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def experts_ragged(p, x, weight, index, spec):
    """Rows sorted by expert, then one ragged product per layer."""
    order = jnp.argsort(index.ravel(), stable=True)
    expert, token = index.ravel()[order], order // spec.top_k
    sizes = jnp.bincount(expert, length=spec.experts)
    h = gelu(jax.lax.ragged_dot(x[token], p["up"]["w"], sizes) + p["up"]["b"][expert])
    y = jax.lax.ragged_dot(h, p["down"]["w"], sizes) + p["down"]["b"][expert]
    return jnp.zeros_like(x).at[token].add(y * weight.ravel()[order, None])


def experts_dense(p, x, weight, index, spec):
    """Every expert on every token, most with weight 0."""
    full = (jax.nn.one_hot(index, spec.experts) * weight[..., None]).sum(1)
    h = gelu(jnp.einsum("td,edh->eth", x, p["up"]["w"]) + p["up"]["b"][:, None])
    y = jnp.einsum("eth,ehd->etd", h, p["down"]["w"]) + p["down"]["b"][:, None]
    return jnp.einsum("etd,te->td", y, full)


WAYS = {"ragged_dot": experts_ragged, "every expert on every token": experts_dense}


def mixture(p, x, spec, way):
    shape = x.shape
    x = x.reshape(-1, shape[-1])
    gate, balance = linear(p["gate"], x), 0.0
    if spec.post_norm:
        value, index = jax.lax.top_k(gate, spec.top_k)
        weight = jax.nn.softmax(value, -1)
    else:
        gate = jax.nn.softmax(gate, -1)
        weight, index = jax.lax.top_k(gate, spec.top_k)
        first = jnp.bincount(index[:, 0], length=spec.experts) / len(x)
        balance = spec.experts * (first * gate.mean(0)).sum()
    return WAYS[way](p, x, weight, index, spec).reshape(shape), balance


def block(p, x, spec, way):
    x = x + attention(p, norm(p["norm1"], x, 1e-6), spec.heads, None, 0)
    y = norm(p["norm2"], x, 1e-6)
    if "mixture" not in p:
        return x + linear(p["down"], gelu(linear(p["up"], y))), 0.0
    y, balance = mixture(p["mixture"], y, spec, way)
    return x + y, balance


def post_block(p, x, spec, way, keys):
    x = norm(
        p["norm1"],
        x + drop(attention(p, x, spec.heads, keys[0], spec.dropout), keys[1], spec.dropout),
        1e-5,
    )
    h = drop(jax.nn.relu(linear(p["up"], x)), keys[2], spec.dropout)
    x = norm(p["norm2"], x + drop(linear(p["down"], h), keys[3], spec.dropout), 1e-5)
    return mixture(p["mixture"], x, spec, way) if "mixture" in p else (x, 0.0)


def patches(image, patch):
    b, c, h, w = image.shape
    x = image.reshape(b, c, h // patch, patch, w // patch, patch).transpose(0, 2, 4, 3, 5, 1)
    return x.reshape(b, (h // patch) * (w // patch), patch * patch * c)


def objective(p, image, label, key, spec, way, table):
    x = linear(p["embed"], patches(image, spec.patch))
    if spec.position == "sincos":
        x = x + table
    if spec.class_token:
        x = jnp.concatenate([jnp.broadcast_to(p["token"], (len(x), 1, spec.dim)), x], 1)
    if spec.position == "learned":
        x = x + p["position"]
    balance = 0.0
    for i, part in enumerate(p["blocks"]):
        if spec.post_norm:
            x, more = post_block(
                part, x, spec, way, jax.random.split(jax.random.fold_in(key, i), 4)
            )
        else:
            x, more = block(part, x, spec, way)
        balance = balance + more
    if spec.post_norm:
        x = x.mean(1)
    else:
        x = norm(p["norm"], x[:, 0], 1e-6) if spec.class_token else norm(p["norm"], x, 1e-6).mean(1)
    score = jax.nn.log_softmax(linear(p["head"], x), -1)
    return -jnp.take_along_axis(score, label[:, None], 1).mean() + spec.balance * balance


def adamw(p, g, m, v, t, decay, rate=1e-5, b1=0.9, b2=0.999):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    change = (m / (1 - b1**t)) / (jnp.sqrt(v / (1 - b2**t)) + 1e-8) + decay * p
    return p - rate * change, m, v


def sgd(p, g, m, v, t, decay, rate=1e-5, momentum=0.9):
    m = momentum * m + g + decay * p
    return p - rate * m, m, v


OPTIMIZERS = {"adamw": adamw, "sgd": sgd}


def transformer_inputs(spec, way):
    """(parameters, images, objective that gives the loss and nothing else)"""
    table = normal(spec.tokens, spec.dim)
    image = normal(spec.batch, spec.channels, spec.size, spec.size, std=1)

    def loss(p, image, label, key):
        return objective(p, image, label, key, spec, way, table), {}

    return model_params(spec), image, loss


def conv_inputs(spec, way):
    layout = jax_conv.WAYS[way]

    def loss(p, image, label, key):
        return jax_conv.objective(p, image, label, key, spec, layout)

    params = jax_conv.MODELS[spec.kind][0](spec)
    return params, jax_conv.image_of(spec, layout), loss


def running(old, new, momentum=0.1):
    """Running means and variances of batch normalisation."""
    return jax.tree.map(lambda a, b: (1 - momentum) * a + momentum * b, old, new)


def training_step(spec, way):
    """(step, number of parameters)"""
    inputs = conv_inputs if isinstance(spec, ConvNet) else transformer_inputs
    params, image, loss_of = inputs(spec, way)
    params, image = jax.tree.map(jnp.asarray, params), jnp.asarray(image)
    count_params = sum(x.size for x in jax.tree.leaves(params))
    label = jnp.asarray(RNG.integers(spec.classes, size=spec.batch), jnp.int32)
    base = jax.random.key(0, impl="unsafe_rbg")
    optimizer = OPTIMIZERS[spec.optimizer]

    def update(state, t):
        params, m, v, kept = state
        (loss, seen), grad = jax.value_and_grad(loss_of, has_aux=True)(
            params, image, label, jax.random.fold_in(base, t)
        )
        flat = [
            optimizer(*part, t.astype(jnp.float32), spec.decay)
            for part in zip(*(jax.tree.leaves(x) for x in (params, grad, m, v)))
        ]
        tree = jax.tree.structure(params)
        trees = (jax.tree.unflatten(tree, part) for part in zip(*flat))
        return (*trees, running(kept, seen)), loss

    shapes = jax.eval_shape(lambda p: loss_of(p, image, label, base)[1], params)
    kept = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    jitted = jax.jit(update, donate_argnums=0)
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    state = [(params, *zeros, kept)]
    count = [0]

    def step():
        count[0] += 1
        state[0], loss = jitted(state[0], jnp.int32(count[0]))
        return float(jax.block_until_ready(loss))

    return step, count_params


def main():
    spec = ZOO[sys.argv[1]]
    if isinstance(spec, ConvNet) and spec.sparse:
        raise SystemExit("mixtures over pixels are not written in JAX")
    ways = jax_conv.WAYS if isinstance(spec, ConvNet) else WAYS
    made = {way: training_step(spec, way) for way in sys.argv[3:] or ways}
    way = worker.fastest({way: step for way, (step, _) in made.items()})
    step, params = made.pop(way)
    made.clear()
    worker.serve(step, version=f"JAX {jax.__version__}", params=params, way=way)


if __name__ == "__main__":
    main()
