"""Training steps of a model of the zoo in PyTorch: torch_worker.py MODEL eager|compiled THREADS
[WAY] (see worker.py).

All ways to write a model are tried unless one is named, and the fastest one counts: both memory
formats of a convolutional network, both products of a mixture. torch.compile takes only the first
of these: version 2.13 has no grouped_mm in f32 for compiled code on CPUs."""

import sys

import torch
from torch.nn import functional as F

import torch_conv
import torch_zoo
import worker
from zoo import ZOO, ConvNet

FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
PRODUCTS = {"one product per expert": False, "grouped_mm": True}


def ways_of(spec, compiled):
    """{way: (memory format, grouped)}"""
    formats = FORMATS if isinstance(spec, ConvNet) else {"": torch.contiguous_format}
    products = PRODUCTS if spec.sparse or not isinstance(spec, ConvNet) else {"": False}
    if compiled:
        products = dict(list(products.items())[:1])
    return {
        ", ".join(word for word in (layout, product) if word): (formats[layout], products[product])
        for layout in formats
        for product in products
    }


def optimizer_of(spec, model):
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), 1e-5, momentum=0.9, weight_decay=spec.decay, fused=True
        )
    return torch.optim.AdamW(model.parameters(), 1e-5, weight_decay=spec.decay, fused=True)


def training_step(spec, layout, grouped, compiled):
    """(step, number of parameters): one call is a whole training step on a fixed random batch."""
    zoo = torch_conv if isinstance(spec, ConvNet) else torch_zoo
    model = zoo.build(spec, grouped).train().to(memory_format=layout)
    optimizer = optimizer_of(spec, model)
    image = torch.randn(spec.batch, spec.channels, spec.size, spec.size)
    image = image.contiguous(memory_format=layout)
    label = torch.randint(spec.classes, (spec.batch,))

    def objective(image, label):
        logits, balance = model(image)
        return F.cross_entropy(logits, label) + spec.balance * balance

    if compiled:
        objective = torch.compile(objective)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = objective(image, label)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, sum(p.numel() for p in model.parameters())


def main():
    name, mode, threads, *chosen = sys.argv[1:]
    torch.set_num_threads(int(threads))
    spec, compiled = ZOO[name], mode == "compiled"
    ways = ways_of(spec, compiled)
    made = {way: training_step(spec, *ways[way], compiled) for way in chosen or ways}
    way = worker.fastest({way: step for way, (step, _) in made.items()})
    step, params = made.pop(way)
    made.clear()
    worker.serve(step, version=f"PyTorch {torch.__version__}", params=params, way=way)


if __name__ == "__main__":
    main()
