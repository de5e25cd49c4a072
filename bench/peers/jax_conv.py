"""The convolutional models of the zoo in JAX, dense: parameters and logits. `layout` is where a
convolution has its channels: "NHWC" or "NCHW"."""

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
WAYS = {"channels last": "NHWC", "channels first": "NCHW"}


def normal(*shape, std=0.02):
    return (RNG.standard_normal(shape) * std).astype(np.float32)


def conv_params(size, i, o, bias=True):
    """[KH, KW, I, O]; i is 1 for a depthwise one."""
    w = normal(size, size, i, o, std=(size * size * i) ** -0.5)
    return {"w": w} | ({"b": normal(o)} if bias else {})


def linear_params(i, o):
    return {"w": normal(i, o, std=i**-0.5), "b": normal(o)}


def norm_params(d):
    return {"w": np.ones(d, np.float32), "b": np.zeros(d, np.float32)}


def along(layout, x):
    """A vector of the channels where they are."""
    return x if layout == "NHWC" else x[:, None, None]


def conv(p, x, layout, stride=1, pad=0, groups=1):
    y = jax.lax.conv_general_dilated(
        x,
        p["w"],
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=(layout, "HWIO", layout),
        feature_group_count=groups,
    )
    return y + along(layout, p["b"]) if "b" in p else y


def linear(p, x):
    return x @ p["w"] + p["b"]


def layer_norm(p, x, eps=1e-6, axis=-1, put=lambda v: v):
    mean = x.mean(axis, keepdims=True)
    var = ((x - mean) ** 2).mean(axis, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + eps) * put(p["w"]) + put(p["b"])


def max_pool(x, layout, size, stride, pad=0):
    window = (1, size, size, 1) if layout == "NHWC" else (1, 1, size, size)
    steps = (1, stride, stride, 1) if layout == "NHWC" else (1, 1, stride, stride)
    pads = tuple((pad, pad) if n > 1 else (0, 0) for n in window)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, pads)


def pixels(layout):
    return (1, 2) if layout == "NHWC" else (2, 3)


# ---- the small network ---------------------------------------------------------------------------


def cnn_params(spec):
    return {
        "conv1": conv_params(3, spec.channels, 32),
        "conv2": conv_params(3, 32, 64),
        "fc1": linear_params(64 * (spec.size // 4) ** 2, 128),
        "fc2": linear_params(128, spec.classes),
    }


def cnn(p, x, spec, layout, key):
    x = max_pool(jax.nn.relu(conv(p["conv1"], x, layout, pad=1)), layout, 2, 2)
    x = max_pool(jax.nn.relu(conv(p["conv2"], x, layout, pad=1)), layout, 2, 2)
    return linear(p["fc2"], jax.nn.relu(linear(p["fc1"], x.reshape(len(x), -1)))), {}


# ---- ConvNeXt ------------------------------------------------------------------------------------


def convnext_block_params(spec, d):
    p = {
        "dw": conv_params(7, 1, d),
        "norm": norm_params(d),
        "up": linear_params(d, spec.ratio * d),
        "down": linear_params(spec.ratio * d, d),
    }
    return p | ({"gamma": np.full(d, 1e-6, np.float32)} if spec.layer_scale else {})


def convnext_params(spec):
    stages = []
    for number, d in enumerate(spec.dims):
        stage = {"blocks": [convnext_block_params(spec, d) for _ in range(spec.depths[number])]}
        if number:
            before = spec.dims[number - 1]
            stage |= {"norm": norm_params(before), "down": conv_params(2, before, d)}
        stages.append(stage)
    d = spec.dims[-1]
    p = {
        "stem": conv_params(spec.patch, spec.channels, spec.dims[0]),
        "stages": stages,
        "norm": norm_params(d),
        "head": linear_params(d, spec.classes),
    }
    return p | ({"stem_norm": norm_params(spec.dims[0])} if spec.stem_norm else {})


def channel_norm(p, x, layout):
    axis = -1 if layout == "NHWC" else 1
    return layer_norm(p, x, axis=axis, put=lambda v: along(layout, v))


def convnext_block(p, x, layout, key, rate):
    d = p["dw"]["w"].shape[-1]
    y = conv(p["dw"], x, layout, pad=3, groups=d)
    y = y if layout == "NHWC" else y.transpose(0, 2, 3, 1)
    y = layer_norm(p["norm"], y)
    y = linear(p["down"], jax.nn.gelu(linear(p["up"], y), approximate=False))
    if "gamma" in p:
        y = y * p["gamma"]
    y = y if layout == "NHWC" else y.transpose(0, 3, 1, 2)
    if rate > 0:
        kept = jax.random.bernoulli(key, 1 - rate, (len(x), 1, 1, 1))
        y = jnp.where(kept, y / (1 - rate), 0)
    return x + y


def convnext(p, x, spec, layout, key):
    x = conv(p["stem"], x, layout, stride=spec.patch)
    if "stem_norm" in p:
        x = channel_norm(p["stem_norm"], x, layout)
    rates = iter(np.linspace(0, spec.drop_path, sum(spec.depths)))
    for number, stage in enumerate(p["stages"]):
        if "down" in stage:
            x = conv(stage["down"], channel_norm(stage["norm"], x, layout), layout, stride=2)
        for i, block in enumerate(stage["blocks"]):
            key, mine = jax.random.split(key)
            x = convnext_block(block, x, layout, mine, next(rates))
    return linear(p["head"], layer_norm(p["norm"], x.mean(pixels(layout)))), {}


# ---- ResNet --------------------------------------------------------------------------------------


def basic_block_params(before, d, stride):
    p = {
        "conv1": conv_params(3, before, d, bias=False),
        "bn1": norm_params(d),
        "conv2": conv_params(3, d, d, bias=False),
        "bn2": norm_params(d),
    }
    if stride > 1 or before != d:
        p |= {"short": conv_params(1, before, d, bias=False), "bn3": norm_params(d)}
    return p


def resnet_strides(spec):
    """(width before, width, stride) of every block."""
    before = spec.dims[0]
    for number, (d, depth) in enumerate(zip(spec.dims, spec.depths)):
        for i in range(depth):
            yield before, d, 2 if number and i == 0 else 1
            before = d


def resnet_params(spec):
    return {
        "stem": conv_params(7, spec.channels, spec.dims[0], bias=False),
        "bn": norm_params(spec.dims[0]),
        "blocks": [basic_block_params(*sizes) for sizes in resnet_strides(spec)],
        "head": linear_params(spec.dims[-1], spec.classes),
    }


def batch_norm(p, x, layout, seen, eps=1e-5):
    """By the batch's statistics, which are kept for the running ones."""
    axes = (0, *pixels(layout))
    mean, var = x.mean(axes), x.var(axes)
    seen.append((mean, var))
    scale = jax.lax.rsqrt(var + eps) * p["w"]
    return (x - along(layout, mean)) * along(layout, scale) + along(layout, p["b"])


def resnet(p, x, spec, layout, key):
    seen = []
    x = batch_norm(p["bn"], conv(p["stem"], x, layout, stride=2, pad=3), layout, seen)
    x = max_pool(jax.nn.relu(x), layout, 3, 2, 1)
    for block, (_, _, stride) in zip(p["blocks"], resnet_strides(spec)):
        y = batch_norm(block["bn1"], conv(block["conv1"], x, layout, stride, 1), layout, seen)
        y = batch_norm(
            block["bn2"], conv(block["conv2"], jax.nn.relu(y), layout, 1, 1), layout, seen
        )
        if "short" in block:
            x = batch_norm(block["bn3"], conv(block["short"], x, layout, stride), layout, seen)
        x = jax.nn.relu(x + y)
    return linear(p["head"], x.mean(pixels(layout))), {"statistics": seen}


MODELS = {
    "cnn": (cnn_params, cnn),
    "convnext": (convnext_params, convnext),
    "resnet": (resnet_params, resnet),
}


def image_of(spec, layout):
    size = [spec.size, spec.size]
    shape = [*size, spec.channels] if layout == "NHWC" else [spec.channels, *size]
    return normal(spec.batch, *shape, std=1)


def objective(p, image, label, key, spec, layout):
    """Loss, and what is not differentiated."""
    logits, more = MODELS[spec.kind][1](p, image, spec, layout, key)
    score = jax.nn.log_softmax(logits, -1)
    return -jnp.take_along_axis(score, label[:, None], 1).mean(), more
