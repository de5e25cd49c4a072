"""System G1 (models/mnist_moe.vmoe) as an independent PyTorch program: what the recipe gives
elsewhere.

    VMOE_DATA=DIR bench/mnist_moe_torch.py [SEED]        DIR/mnist holds MNIST's IDX files, gzip

Prints one line per epoch: mean loss of the batches, training and test accuracy. One thread; a few
minutes. """

import gzip
import os
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

EPOCHS, BATCH, RATE = 10, 64, 5e-4


def read(name, header):
    path = pathlib.Path(os.environ["VMOE_DATA"]) / "mnist" / name
    return torch.frombuffer(bytearray(gzip.open(path).read()[header:]), dtype=torch.uint8)


def split(prefix):
    pixels = read(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    pixels = F.interpolate(
        pixels, size=(32, 32), mode="bilinear", antialias=True, align_corners=False
    )
    return (pixels.float() / 255 - 0.5) / 0.5, read(f"{prefix}-labels-idx1-ubyte.gz", 8).long()


class Experts(nn.Module):
    """Top 2 of 4 logits, softmax over the two; every expert on every token, most with weight 0."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(128, 4)
        self.expert = nn.ModuleList(
            nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128)) for _ in range(4)
        )

    def forward(self, x):
        value, index = self.gate(x).topk(2, -1)
        weight = torch.zeros(*x.shape[:-1], 4).scatter(-1, index, value.softmax(-1))
        return sum(weight[..., e : e + 1] * self.expert[e](x) for e in range(4))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(1, 128, 16, 16)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 256, 0.1, batch_first=True) for _ in range(3)
        )
        self.moe = Experts()
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.moe(x).mean(1))


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    (image, label), (test_image, test_label) = split("train"), split("t10k")
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for epoch in range(1, EPOCHS + 1):
        model.train()
        losses, right = [], 0
        for index in torch.randperm(len(image)).split(BATCH):
            logits = model(image[index])
            loss = F.cross_entropy(logits, label[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right += (logits.argmax(1) == label[index]).sum().item()
        model.eval()
        with torch.no_grad():
            test = sum(
                (model(x).argmax(1) == y).sum().item()
                for x, y in zip(test_image.split(500), test_label.split(500))
            )
        print(
            f"seed {seed} epoch {epoch} loss {sum(losses) / len(losses):.4f} "
            f"train {100 * right / len(image):.2f} test {100 * test / len(test_image):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
