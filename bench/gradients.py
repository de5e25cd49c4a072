"""Compares logits, losses and gradients of the convolutional models with PyTorch in double
precision.

    bench/gradients.py [--vmoec build/vmoec] [--batch N] [--seed N] [--threads N] [MODEL...]

PyTorch's models (peers/torch_conv.py) get random weights, which `vmoec import` gives vmoec; so do
the gradients come back under vmoec's names. Prints the largest difference of every tensor relative
to its largest value; fails above the tolerance. Nothing random is left on: drop path is 0, and
mixtures are evaluated (no noise, and the room of evaluation). Batch normalisation is that of
training: by the batch's own statistics."""

import argparse
import dataclasses
import pathlib
import subprocess
import sys
import tempfile

import torch
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench/peers"), str(ROOT / "tests/train")]

import torch_conv  # noqa: E402  the folders are only known now
import torch_models  # noqa: E402
from zoo import ZOO  # noqa: E402

TOLERANCE = 2e-5


@dataclasses.dataclass(frozen=True)
class Case:
    rules: str  # for `vmoec import --from`
    training: bool
    batch: int
    settings: tuple = ()


OWN = "bench/peers/rules"
CASES = {
    "mnist_cnn": Case(f"{OWN}/mnist_cnn.rules", True, 8),
    "convnext": Case("timm_convnext", True, 2, ("drop=0",)),
    "convnext_moe": Case(f"{OWN}/convnext_moe.rules", False, 2, ("drop=0",)),
    "convnext_iso": Case(f"{OWN}/convnext_iso.rules", False, 2, ("drop=0",)),
    "resnet18": Case("timm_resnet", True, 4),
}


class Vmoec:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, *words):
        done = subprocess.run(
            [self.program, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"vmoec {' '.join(words)}: {done.stderr}")

    def imported(self, name, tensors, case, words):
        """Tensors under vmoec's names and layouts, and the file they are in."""
        theirs, ours = f"{self.folder}/{name}-theirs", f"{self.folder}/{name}"
        torch_models.save_tensors(theirs, {k: v.float() for k, v in tensors.items()})
        self.run("import", *words, theirs, "--from", case.rules, "-o", ours)
        return torch_models.load_tensors(ours), ours


def random_model(spec, seed):
    """In double precision, but with weights that single precision holds."""
    torch.manual_seed(seed)
    model = torch_conv.build(dataclasses.replace(spec, drop_path=0.0))
    for name, p in model.named_parameters():
        if name.endswith("gamma"):  # starts so small that nothing behind it would count
            p.data.uniform_(0.2, 0.6)
        elif p.dim() == 1:
            p.data.add_(0.1 * torch.randn_like(p))
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.normal_(0, 0.1)
        elif name.endswith("running_var"):
            b.uniform_(0.5, 1.5)
    return model


def state_of(model):
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    return {k: v for k, v in state.items() if v.is_floating_point()}


def reference(model, spec, case, image, label):
    """{name: tensor} that vmoec has too, and gradients by PyTorch's names."""
    model = model.double().train(case.training)
    logits, balance = model(image.double())
    loss = F.cross_entropy(logits, label)
    (loss + spec.balance * balance).backward()
    grads = {k: p.grad for k, p in model.named_parameters()}
    return {"logits": logits.detach(), "cross_entropy": loss.detach()}, grads


def relative(have, want):
    scale = float(want.abs().max())
    return float((have.double() - want.double()).abs().max()) / (scale or 1.0)


def compare(name, program, batch, seed, threads):
    spec, case = ZOO[name], CASES[name]
    settings = [*spec.settings, *case.settings]
    words = [spec.file, *(word for setting in settings for word in ("--set", setting))]
    file, *options = words
    model = random_model(spec, seed)
    image = torch.randn(batch or case.batch, spec.channels, spec.size, spec.size)
    label = torch.randint(spec.classes, (len(image),))
    with tempfile.TemporaryDirectory() as folder:
        vmoec = Vmoec(program, folder)
        _, weights = vmoec.imported("weights", state_of(model), case, words)
        torch_models.save_tensors(f"{folder}/in", {"image": image, "label": label.int()})
        mode = ["--mode", "train" if case.training else "eval", "--threads", str(threads)]
        files = ["--weights", weights, "--inputs", f"{folder}/in", "--outputs", f"{folder}/out"]
        vmoec.run("run", file, *options, "--grad", *mode, *files)
        have = torch_models.load_tensors(f"{folder}/out")
        want, grads = reference(model, spec, case, image, label)
        grads, _ = vmoec.imported("grads", grads, case, words)
    want |= {f"grad.{k}": v for k, v in grads.items()}
    lacking = [k for k in want if k not in have]
    errors = {k: relative(have[k], v) for k, v in want.items() if k in have}
    for k, e in sorted(errors.items(), key=lambda x: -x[1]):
        print(f"  {e:9.2e}  {k}")
    worst = max(errors.values())
    good = worst <= TOLERANCE and not lacking
    print(
        f"{'ok' if good else 'FAIL'} {name}: largest relative difference {worst:.2e} over "
        f"{len(errors)} tensors{'; not written: ' + ', '.join(lacking) if lacking else ''}",
        flush=True,
    )
    return good


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vmoec", default=str(ROOT / "build/vmoec"))
    parser.add_argument("--batch", type=int, help="images (default: 2 to 8, by model)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("model", nargs="*", default=list(CASES))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    good = [compare(m, args.vmoec, args.batch, args.seed, args.threads) for m in args.model]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
