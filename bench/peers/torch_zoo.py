"""The zoo in PyTorch, as somebody who knows PyTorch writes it: fused attention, fused optimizer,
and mixtures without dropping, whose rows are sorted by expert and multiplied group by group."""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(y.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.up = nn.Linear(dim, hidden)
        self.down = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Mixture(nn.Module):
    """Top-k of a softmax gate, or (`renormalised`) a softmax over the top k. `grouped`: one grouped
    product per layer of the experts instead of one product per expert."""

    def __init__(self, spec, renormalised, grouped):
        super().__init__()
        e, d, h = spec.experts, spec.dim, spec.hidden
        self.spec, self.renormalised, self.grouped = spec, renormalised, grouped
        self.gate = nn.Linear(d, e, bias=renormalised)
        self.up = nn.Parameter(torch.randn(e, d, h) * d**-0.5)
        self.up_bias = nn.Parameter(torch.zeros(e, h))
        self.down = nn.Parameter(torch.randn(e, h, d) * h**-0.5)
        self.down_bias = nn.Parameter(torch.zeros(e, d))

    def choose(self, x):
        gate = self.gate(x)
        if self.renormalised:
            value, index = gate.topk(self.spec.top_k, -1)
            return value.softmax(-1), index, None
        gate = gate.softmax(-1)
        value, index = gate.topk(self.spec.top_k, -1)
        first = torch.bincount(index[:, 0], minlength=self.spec.experts) / len(x)
        return value, index, self.spec.experts * (first * gate.mean(0)).sum()

    def each(self, rows, counts):
        parts = [
            torch.addmm(
                self.down_bias[e],
                F.gelu(torch.addmm(self.up_bias[e], part, self.up[e])),
                self.down[e],
            )
            for e, part in enumerate(rows.split(counts.tolist()))
        ]
        return torch.cat(parts)

    def together(self, rows, counts, expert):
        ends = counts.cumsum(0).to(torch.int32)
        h = F.gelu(F.grouped_mm(rows, self.up, offs=ends) + self.up_bias[expert])
        return F.grouped_mm(h, self.down, offs=ends) + self.down_bias[expert]

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        weight, index, balance = self.choose(x)
        expert, order = index.flatten().sort(stable=True)
        token = order // self.spec.top_k
        counts = torch.bincount(expert, minlength=self.spec.experts)
        rows = x.index_select(0, token)
        y = self.together(rows, counts, expert) if self.grouped else self.each(rows, counts)
        y = y * weight.flatten()[order, None]
        return torch.zeros_like(x).index_add(0, token, y).view(shape), balance


class Block(nn.Module):
    def __init__(self, spec, sparse, grouped):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(spec.dim, 1e-6), nn.LayerNorm(spec.dim, 1e-6)
        self.attention = Attention(spec.dim, spec.heads)
        self.mixture = Mixture(spec, False, grouped) if sparse else None
        self.mlp = None if sparse else Mlp(spec.dim, spec.hidden)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        if self.mixture is None:
            return x + self.mlp(self.norm2(x)), None
        y, balance = self.mixture(self.norm2(x))
        return x + y, balance


class PostBlock(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.p = spec.dropout
        self.attention = Attention(spec.dim, spec.heads, spec.dropout)
        self.norm1, self.norm2 = nn.LayerNorm(spec.dim, 1e-5), nn.LayerNorm(spec.dim, 1e-5)
        self.up, self.down = nn.Linear(spec.dim, spec.hidden), nn.Linear(spec.hidden, spec.dim)

    def drop(self, x):
        return F.dropout(x, self.p, self.training)

    def forward(self, x):
        x = self.norm1(x + self.drop(self.attention(x)))
        return self.norm2(x + self.drop(self.down(self.drop(F.relu(self.up(x))))))


def patches(image, patch):
    b, c, h, w = image.shape
    x = image.view(b, c, h // patch, patch, w // patch, patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(b, (h // patch) * (w // patch), patch * patch * c)


class Vit(nn.Module):
    def __init__(self, spec, grouped):
        super().__init__()
        self.spec = spec
        self.embed = nn.Linear(spec.patch_numbers, spec.dim)
        self.token = nn.Parameter(torch.randn(spec.dim) * 0.02) if spec.class_token else None
        rows = spec.tokens + (spec.class_token and spec.position == "learned")
        table = torch.randn(rows, spec.dim) * 0.02
        if spec.position == "learned":
            self.position = nn.Parameter(table)
        else:
            self.register_buffer("position", table)
        self.blocks = nn.ModuleList(
            Block(spec, i in spec.sparse, grouped) for i in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.dim, 1e-6)
        self.head = nn.Linear(spec.dim, spec.classes)

    def forward(self, image):
        x = self.embed(patches(image, self.spec.patch))
        late = self.spec.position == "learned"
        if not late:
            x = x + self.position
        if self.token is not None:
            x = torch.cat([self.token.expand(len(x), 1, -1), x], 1)
        if late:
            x = x + self.position
        balance = 0.0
        for block in self.blocks:
            x, part = block(x)
            if part is not None:
                balance = balance + part
        x = self.norm(x[:, 0]) if self.token is not None else self.norm(x).mean(1)
        return self.head(x), balance


class PostNorm(nn.Module):
    def __init__(self, spec, grouped):
        super().__init__()
        self.spec = spec
        self.embed = nn.Linear(spec.patch_numbers, spec.dim)
        self.blocks = nn.ModuleList(PostBlock(spec) for _ in range(spec.depth))
        self.mixtures = nn.ModuleDict({str(i): Mixture(spec, True, grouped) for i in spec.sparse})
        self.head = nn.Linear(spec.dim, spec.classes)

    def forward(self, image):
        x = self.embed(patches(image, self.spec.patch))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if str(i) in self.mixtures:
                x, _ = self.mixtures[str(i)](x)
        return self.head(x.mean(1)), 0.0


def build(spec, grouped=False):
    torch.manual_seed(0)
    return PostNorm(spec, grouped) if spec.post_norm else Vit(spec, grouped)
