"""The convolutional models of the zoo in PyTorch. ResNet and ConvNeXt have the names that timm gives
their weights, so that `vmoec import --from timm` reads them."""

import math
import types

import torch
from torch import nn
from torch.nn import functional as F

from torch_zoo import Mixture


class Cnn(nn.Module):
    """Two convolutions of 3x3 with pooling, two linear layers."""

    def __init__(self, spec):
        super().__init__()
        self.conv1 = nn.Conv2d(spec.channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * (spec.size // 4) ** 2, 128)
        self.fc2 = nn.Linear(128, spec.classes)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.conv1(image)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1)))), 0.0


# ---- ConvNeXt ------------------------------------------------------------------------------------


def last(x):
    return x.permute(0, 2, 3, 1)


def first(x):
    return x.permute(0, 3, 1, 2)


def drop_path(x, p, training):
    if p == 0 or not training:
        return x
    keep = torch.rand(len(x), 1, 1, 1, dtype=x.dtype) >= p
    return x * keep / (1 - p)


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of [B, C, H, W]."""

    def forward(self, input):
        return first(super().forward(last(input)))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


def squared_variation(x):
    return x.var(unbiased=False) / x.mean() ** 2


class PixelMixture(Mixture):
    """V-MoE's mixture over pixels: noise in training, little room, which those take whose gate is
    surest, and two losses that keep experts equally busy."""

    CAPACITY = {True: 1.05, False: 4}  # in training, in evaluation

    def choose(self, x):
        gate, e = self.gate(x), self.spec.experts
        noisy = gate + torch.randn_like(gate) / e if self.training else gate
        value, index = noisy.softmax(-1).topk(self.spec.top_k, -1)
        importance = squared_variation(gate.softmax(-1).sum(0))
        last = noisy.topk(self.spec.top_k, -1).values[:, -1:]
        load = squared_variation(torch.special.ndtr((gate - last) * e).mean(0))
        return value, index, importance + load

    def room(self, rows):
        e, k = self.spec.experts, self.spec.top_k
        limit = math.ceil(k * rows * self.CAPACITY[self.training] / e)
        return -(-limit // 4) * 4

    def forward(self, x):
        shape, k = x.shape, self.spec.top_k
        x = x.reshape(-1, shape[-1])
        weight, index, balance = self.choose(x)
        sure = weight.detach()[:, 0].argsort(descending=True, stable=True)
        pairs = (sure[None, :] * k + torch.arange(k)[:, None]).flatten()  # first choices first
        expert, order = index.flatten()[pairs].sort(stable=True)
        order = pairs[order]
        counts = torch.bincount(expert, minlength=self.spec.experts)
        place = torch.arange(len(expert)) - (counts.cumsum(0) - counts)[expert]
        kept = place < self.room(len(x))
        expert, order = expert[kept], order[kept]
        counts = counts.clamp(max=self.room(len(x)))
        token = order // k
        rows = x.index_select(0, token)
        y = self.together(rows, counts, expert) if self.grouped else self.each(rows, counts)
        y = y * weight.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, y).view(shape), balance


class ConvNextBlock(nn.Module):
    def __init__(self, spec, dim, p, sparse, grouped):
        super().__init__()
        self.p = p
        self.conv_dw = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, 1e-6)
        hidden = spec.ratio * dim
        if sparse:
            size = types.SimpleNamespace(
                experts=spec.experts, top_k=spec.top_k, dim=dim, hidden=hidden
            )
            self.moe = PixelMixture(size, False, grouped)
        else:
            self.mlp = Mlp(dim, hidden)
        if spec.layer_scale:
            self.gamma = nn.Parameter(torch.full((dim,), 1e-6))

    def scaled(self, x):
        return first(x * self.gamma if hasattr(self, "gamma") else x)

    def forward(self, x):
        z = self.conv_dw(x)
        y = self.norm(last(z))
        if not hasattr(self, "moe"):
            return x + drop_path(self.scaled(self.mlp(y)), self.p, self.training), 0.0
        y, balance = self.moe(y)
        return x + drop_path(z + self.scaled(y), self.p, self.training), balance


class Stage(nn.Module):
    def __init__(self, spec, number, rates, grouped):
        super().__init__()
        dim, before = spec.dims[number], spec.dims[number - 1]
        self.downsample = (
            nn.Sequential(LayerNorm2d(before, 1e-6), nn.Conv2d(before, dim, 2, stride=2))
            if number
            else nn.Identity()
        )
        self.blocks = nn.ModuleList(
            ConvNextBlock(spec, dim, rates[i], (number, i) in spec.sparse, grouped)
            for i in range(spec.depths[number])
        )

    def forward(self, x):
        x, balance = self.downsample(x), 0.0
        for block in self.blocks:
            x, part = block(x)
            balance = balance + part
        return x, balance


class ConvNext(nn.Module):
    """Hierarchical, or (one stage, a stem without norm) isotropic."""

    def __init__(self, spec, grouped):
        super().__init__()
        stem = nn.Conv2d(spec.channels, spec.dims[0], spec.patch, stride=spec.patch)
        norms = [LayerNorm2d(spec.dims[0], 1e-6)] if spec.stem_norm else []
        self.stem = nn.Sequential(stem, *norms)
        rates = torch.linspace(0, spec.drop_path, sum(spec.depths)).tolist()
        stages, at = [], 0
        for number, depth in enumerate(spec.depths):
            stages.append(Stage(spec, number, rates[at : at + depth], grouped))
            at += depth
        self.stages = nn.ModuleList(stages)
        self.head = nn.Module()
        self.head.norm = nn.LayerNorm(spec.dims[-1], 1e-6)
        self.head.fc = nn.Linear(spec.dims[-1], spec.classes)

    def forward(self, image):
        x, balance = self.stem(image), 0.0
        for stage in self.stages:
            x, part = stage(x)
            balance = balance + part
        return self.head.fc(self.head.norm(x.mean((2, 3)))), balance


# ---- ResNet --------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, before, dim, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, dim, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim)
        self.downsample = None
        if stride != 1 or before != dim:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, dim, 1, stride, bias=False), nn.BatchNorm2d(dim)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.conv1 = nn.Conv2d(spec.channels, spec.dims[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(spec.dims[0])
        before = spec.dims[0]
        for number, (dim, depth) in enumerate(zip(spec.dims, spec.depths)):
            blocks = []
            for i in range(depth):
                blocks.append(BasicBlock(before, dim, 2 if number and i == 0 else 1))
                before = dim
            setattr(self, f"layer{number + 1}", nn.Sequential(*blocks))
        self.stages = len(spec.dims)
        self.fc = nn.Linear(before, spec.classes)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        for number in range(self.stages):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(x.mean((2, 3))), 0.0


def build(spec, grouped=False):
    torch.manual_seed(0)
    if spec.kind == "cnn":
        return Cnn(spec)
    return ResNet(spec) if spec.kind == "resnet" else ConvNext(spec, grouped)
