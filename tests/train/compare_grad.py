"""Compares one evaluation of vmoec, forward and backward, with PyTorch in double precision.

    tests/train/compare_grad.py [--vmoec build/vmoec] [--batch 8] [--seed 1] [MODEL...]

Real images, vmoec's initial weights with a little noise added (so that zeros and ones hide
nothing). Prints the largest error of every tensor relative to its largest value, and whether every
token was routed alike; fails above the tolerance. Needs PyTorch. """

import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch

import torch_models

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
TOLERANCE = 1e-4


def vmoec(program, *words):
    subprocess.run([program, *words], check=True, cwd=ROOT)


def run_vmoec(program, name, model, pixels, labels, seed, tmp):
    """Weights, and what vmoec makes of them."""
    file, settings = f"models/{name}.vmoe", [x for s in model["set"] for x in ("--set", s)]
    w_path, in_path, out_path = (f"{tmp}/{x}.safetensors" for x in ("w", "in", "out"))
    vmoec(program, "init", file, "--seed", str(seed), "-o", w_path, *settings)
    generator = torch.Generator().manual_seed(seed)
    weights = torch_models.load_tensors(w_path)
    weights = {k: v + 0.02 * torch.randn(v.shape, generator=generator) for k, v in weights.items()}
    torch_models.save_tensors(w_path, weights)
    image = torch_models.prepare(pixels, model["side"], model["mean"], model["std"])
    torch_models.save_tensors(in_path, {"image": image, "label": labels.int()})
    vmoec(
        program,
        "run",
        file,
        "--grad",
        "--routes",
        "--mode",
        "train",
        "--weights",
        w_path,
        "--inputs",
        in_path,
        "--outputs",
        out_path,
        *settings,
    )
    return image, weights, torch_models.load_tensors(out_path)


def relative(have, want, floor):
    scale = max(float(want.abs().max()), floor)
    return float((have.double() - want).abs().max()) / scale


def compare(name, program, pixels, labels, seed):
    model = torch_models.MODELS[name]
    with tempfile.TemporaryDirectory() as tmp:
        image, weights, have = run_vmoec(program, name, model, pixels, labels, seed, tmp)
    w = {k: v.double().requires_grad_() for k, v in weights.items()}
    want = model["f"](w, image.double(), labels)
    want["objective"].backward()

    routes_equal = True
    for i, route in enumerate(want["routes"]):
        same = (have[f"route.{i}.experts"].long() == route).all(-1)
        routes_equal = routes_equal and bool(same.all())
        print(f"  route {i}: {int(same.sum())} of {len(same)} tokens alike")

    errors = {"cross_entropy": relative(have["cross_entropy"], want["loss"].detach(), 1e-3)}
    if "logits" in have:
        errors["logits"] = relative(have["logits"], want["logits"].detach(), 1e-3)
    # A gradient that is mathematically zero is rounding noise in both: measured against the largest
    # of all.
    floor = 1e-3 * max(float(v.grad.abs().max()) for v in w.values())
    for k, v in w.items():
        errors[f"grad.{k}"] = relative(have[f"grad.{k}"], v.grad, floor)
    for k, e in sorted(errors.items(), key=lambda x: -x[1]):
        print(f"  {e:9.2e}  {k}")
    worst = max(errors.values())
    ok = routes_equal and worst <= TOLERANCE
    print(
        f"{'ok' if ok else 'FAIL'} {name}: largest relative error {worst:.2e} over {len(errors)} tensors"
    )
    return ok


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vmoec", default=str(ROOT / "build/vmoec"))
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("model", nargs="*", default=list(torch_models.MODELS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([HERE / "subset.sh", args.data, tmp, str(args.batch), "1"], check=True)
        pixels = torch_models.read_idx(f"{tmp}/train-images-idx3-ubyte")
        labels = torch_models.read_idx(f"{tmp}/train-labels-idx1-ubyte").long()
    good = [compare(name, args.vmoec, pixels, labels, args.seed) for name in args.model]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
