"""Training steps of a model of the zoo in PyTorch: torch_worker.py MODEL eager|compiled THREADS
[WAY] (see worker.py).

Both ways to write a mixture are tried unless one is named, and the faster one counts. torch.compile
takes only the first: version 2.13 has no grouped_mm in f32 for compiled code on CPUs."""

import sys

import torch

import torch_zoo
import worker
from zoo import ZOO

WAYS = {"one product per expert": False, "grouped_mm": True}


def main():
    name, mode, threads, *chosen = sys.argv[1:]
    torch.set_num_threads(int(threads))
    spec, compiled = ZOO[name], mode == "compiled"
    ways = chosen or (list(WAYS)[:1] if compiled else WAYS)
    made = {way: torch_zoo.training_step(spec, WAYS[way], compiled) for way in ways}
    way = worker.fastest({way: step for way, (step, _) in made.items()})
    step, params = made.pop(way)
    made.clear()
    worker.serve(step, version=f"PyTorch {torch.__version__}", params=params, way=way)


if __name__ == "__main__":
    main()
