#!/usr/bin/env python3
"""Prints the numbers of test_batch_norm.c: batch normalisation by PyTorch, in f64. PyTorch has channels
in dimension 1, the language has them last."""

import torch

torch.manual_seed(5)
torch.set_default_dtype(torch.float64)


def show(name, x):
    print(f"{name}: " + ", ".join(f"{v:.9g}" for v in x.detach().reshape(-1).tolist()))


x = torch.randn(2, 2, 2, 3).mul(2).add(1).mul(1000).round().div(1000)
target = torch.randn(2, 2, 2, 3).mul(1000).round().div(1000)
x.requires_grad_()
norm = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.25)
with torch.no_grad():
    norm.weight.copy_(torch.tensor([1.5, -0.5, 0.75]))
    norm.bias.copy_(torch.tensor([0.25, 0.5, -1.0]))
    norm.running_mean.copy_(torch.tensor([0.5, -0.25, 1.0]))
    norm.running_var.copy_(torch.tensor([2.0, 0.5, 1.25]))


def run():
    return norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


show("x", x)
show("target", target)
norm.eval()
show("evaluation", run())
norm.train()
y = run()
(y.square() * target).sum().backward()
show("training", y)
show("d x", x.grad)
show("d scale", norm.weight.grad)
show("d bias", norm.bias.grad)
show("mean", norm.running_mean)
show("var", norm.running_var)
