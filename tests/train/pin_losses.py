"""Prints what the first training steps must give, computed in PyTorch in double precision.

    tests/train/pin_losses.py [--vmoec build/vmoec] [--data /usr/share/datasets/fashion-mnist]
    MODEL...

For every model of torch_models.py: vmoec writes its initial weights, PyTorch trains them for a few
steps on a few hundred real images, and the losses go to tests/train/MODEL.json, which
tests/train/run.sh compares vmoec with. Only initial weights come from vmoec; order of images,
learning rates, optimizer and gradients are written here again, from the documentation. Needs
PyTorch. """

import argparse
import json
import math
import pathlib
import subprocess
import tempfile

import torch

import torch_models

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
MASK32, MASK64 = 2**32 - 1, 2**64 - 1
IMAGES, BATCH, STEPS, SEED = 320, 64, 10, 7

# The recipes of the train blocks: optimizer and schedule. Ten steps are two epochs of five.
RECIPES = {
    "mnist_dense": {"lr": 1e-3, "decay": 0.0, "warmup": 0, "cosine": False},
    "mnist_moe": {"lr": 5e-4, "decay": 0.0, "warmup": 0, "cosine": False},
    "vmoe_fmnist": {"lr": 1e-3, "decay": 0.05, "warmup": IMAGES // BATCH, "cosine": True},
}


# ---- random order: base/rng.h and vm_dataset_shuffle, written again ------------------------------


def mix64(x):
    for _ in range(2):
        x ^= x >> 32
        x = x * 0xD6E8FEB86659FD93 & MASK64
    return x ^ x >> 32


def hash_name(name):
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001B3 & MASK64
    return h


def mix32(x):
    x ^= x >> 16
    x = x * 0x7FEB352D & MASK32
    x ^= x >> 15
    x = x * 0x846CA68B & MASK32
    return x ^ x >> 16


def epoch_order(size, seed, epoch):
    k = mix64(seed + 0x9E3779B97F4A7C15 & MASK64)
    k = mix64(k ^ hash_name("data.shuffle"))
    k = mix64(k + epoch & MASK64)
    low, high = k & MASK32, k >> 32
    index = list(range(size))
    for i in range(size - 1, 0, -1):
        bits = mix32(mix32(i ^ low) + high & MASK32)
        j = bits * (i + 1) >> 32
        index[i], index[j] = index[j], index[i]
    return index


# ---- training ------------------------------------------------------------------------------------


def learning_rate(recipe, step):
    if step < recipe["warmup"]:
        return recipe["lr"] * (step + 1) / recipe["warmup"]
    if not recipe["cosine"]:
        return recipe["lr"]
    done = (step - recipe["warmup"]) / (STEPS - recipe["warmup"])
    return recipe["lr"] * 0.5 * (1 + math.cos(math.pi * done))


def initial_weights(vmoec, name, model):
    with tempfile.TemporaryDirectory() as tmp:
        path = f"{tmp}/w.safetensors"
        settings = [x for s in model["set"] for x in ("--set", s)]
        subprocess.run(
            [vmoec, "init", f"models/{name}.vmoe", "--seed", str(SEED), "-o", path, *settings],
            check=True,
            cwd=ROOT,
        )
        return torch_models.load_tensors(path)


def train(name, vmoec, pixels, labels):
    model, recipe = torch_models.MODELS[name], RECIPES[name]
    image = torch_models.prepare(pixels, model["side"], model["mean"], model["std"]).double()
    weights = {
        k: v.double().requires_grad_() for k, v in initial_weights(vmoec, name, model).items()
    }
    optimizer = torch.optim.AdamW(
        weights.values(), lr=1.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=recipe["decay"]
    )
    loss, objective = [], []
    for step in range(STEPS):
        per_epoch = IMAGES // BATCH
        order = epoch_order(IMAGES, SEED, step // per_epoch)
        index = order[step % per_epoch * BATCH :][:BATCH]
        optimizer.param_groups[0]["lr"] = learning_rate(recipe, step)
        result = model["f"](weights, image[index], labels[index])
        optimizer.zero_grad()
        result["objective"].backward()
        optimizer.step()
        loss.append(float(result["loss"].detach()))
        objective.append(float(result["objective"].detach()))
    return loss, objective


def write(name, loss, objective):
    with open(HERE / f"{name}.json", "w") as f:
        head = {
            "model": f"models/{name}.vmoe",
            "torch": torch.__version__,
            "images": IMAGES,
            "batch": BATCH,
            "steps": STEPS,
            "seed": SEED,
            "set": torch_models.MODELS[name]["set"],
        }
        lines = [f' "{k}": {json.dumps(v)},' for k, v in head.items()]
        numbers = [
            f' "{k}": [{", ".join(f"{x:.9g}" for x in v)}]'
            for k, v in (("loss", loss), ("objective", objective))
        ]
        f.write("{\n" + "\n".join(lines) + "\n" + ",\n".join(numbers) + "\n}\n")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vmoec", default=str(ROOT / "build/vmoec"))
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("model", nargs="*", default=list(RECIPES))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([HERE / "subset.sh", args.data, tmp, str(IMAGES), "10"], check=True)
        pixels = torch_models.read_idx(f"{tmp}/train-images-idx3-ubyte")
        labels = torch_models.read_idx(f"{tmp}/train-labels-idx1-ubyte").long()
    for name in args.model:
        loss, objective = train(name, args.vmoec, pixels, labels)
        write(name, loss, objective)
        print(name, *(f"{x:.6f}" for x in loss))


if __name__ == "__main__":
    main()
