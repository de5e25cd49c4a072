"""Compares vmoec with the peers that are installed and writes the tables of docs/performance.md and
docs/lessons.md.

    bench/compare.py [--build DIR] [--quick] [--part steps,conv_steps,inference,conv_inference,..]
                     [--model vit_s8,..]
    bench/compare.py --stored    writes the tables again from the last results, without measuring

Everything is measured in turn (vmoec, peer, peer, .., and again) and medians are taken, because
machines are shared and change their speed. A peer that is not installed is reported as missing. Raw
figures: bench/results/PART.json. """

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench/peers")]

import tables  # noqa: E402  both folders are only known now
from peer import Gemm, Missing, Peer  # noqa: E402
from zoo import TWINS, ZOO, ConvNet  # noqa: E402

THREADS = 2
PEERS = {
    "PyTorch eager": ["torch_worker.py", "{model}", "eager", "{threads}"],
    "PyTorch compiled": ["torch_worker.py", "{model}", "compiled", "{threads}"],
    "JAX": ["jax_worker.py", "{model}", "{threads}"],
}
GEMMS = {  # library: settings to try; the fastest one is used
    "openblas": [{}, {"OPENBLAS_CORETYPE": "SkylakeX"}, {"OPENBLAS_CORETYPE": "Zen"}],
    "onednn": [{}],
    "blis": [{}, {"BLIS_ARCH_TYPE": "0"}, {"BLIS_ARCH_TYPE": "6"}],  # 0: skx, 6: zen3
    "xsmm": [{}],
}


def results_of(part):
    return ROOT / f"bench/results/{part}.json"


def stored(part):
    return json.loads(results_of(part).read_text(encoding="utf-8"))


def last_results(part):
    return stored(part)["results"] if results_of(part).exists() else {}


def of_kind(conv):
    """The names in ZOO of the convolutional networks, or of the transformers."""
    return [name for name, spec in ZOO.items() if isinstance(spec, ConvNet) == conv]


class Bench:
    def __init__(self, build, quick, models, fresh, without=()):
        self.models, self.without = models, without
        self.last = {} if fresh else last_results("steps") | last_results("conv_steps")
        self.vmoec = str(ROOT / build / "vmoec")
        self.gemm_dir = ROOT / build / "bench"
        self.rounds = 1 if quick else 3
        self.seconds = 0.5 if quick else 1.5

    def run(self, *words):
        """A command of vmoec that answers in JSON; Missing when it refuses."""
        done = subprocess.run(
            [self.vmoec, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Missing(
                done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it fails"
            )
        return json.loads(done.stdout)

    def info(self, name, *more):
        spec = ZOO[name]
        if not (ROOT / spec.file).exists():
            raise Missing(f"{spec.file} is not there")
        return self.run("info", "--json", *spec.words, "--batch", str(spec.batch), *more)

    def step(self, spec, batch, seconds, *more, threads=THREADS, guess=None):
        """Median milliseconds and everything else of a run of about `seconds`; guess: milliseconds
        of a step."""
        steps = 3 if guess is None else int(min(max(1e3 * seconds / guess, 3), 500))
        words = [
            "--json",
            "--step-only",
            "--batch",
            str(batch),
            "--threads",
            str(threads),
            "--steps",
            str(steps),
        ]
        return self.run("bench", *spec.words, *words, *more)

    # ---- training steps --------------------------------------------------------------------------

    def model_steps(self, name):
        spec, info = ZOO[name], self.info(name)
        result = {
            "batch": spec.batch,
            "params": info["params"],
            "macs": info["macs"],
            "predicted": info["memory"]["peak"],
        }
        first = self.step(spec, spec.batch, self.seconds)
        peers = self.start_peers(name, info["params"], result)
        rounds = []
        for _ in range(self.rounds):
            rounds.append(self.step(spec, spec.batch, self.seconds, guess=first["step_ms"]))
            for peer in peers.values():
                peer.round(self.seconds)
        for peer_name, peer in peers.items():
            result["peers"][peer_name] |= {"ms": peer.median()}
            peer.close()
        ours = statistics.median(r["step_ms"] for r in rounds)
        result |= {
            "ms": ours,
            "mfu": statistics.median(r["mfu"] for r in rounds),
            "peak_rss": rounds[0]["peak_rss"],
        }
        result |= {
            "peak_gflops": statistics.median(r["peak_gflops"] for r in rounds),
            "bf16_ms": self.bf16(spec, ours),
        }
        self.eager_memory(name, result)
        return result

    def way(self, name, peer_name):
        """How the peer wrote its mixtures when both ways were last compared, as a list to append;
        else nothing."""
        found = self.last.get(name, {}).get("peers", {}).get(peer_name, {}).get("way")
        return [found] if found else []

    def start_peers(self, name, params, result):
        peers, result["peers"] = {}, {}
        for peer_name, words in PEERS.items():
            try:
                if peer_name in self.without:
                    raise Missing("left out")
                way = self.way(name, peer_name)
                peer = Peer(
                    [*(w.format(model=name, threads=THREADS) for w in words), *way], THREADS
                )
                if peer.ready["params"] != params:
                    peer.close()
                    raise SystemExit(
                        f"{peer_name}, {name}: {peer.ready['params']} parameters instead of {params}"
                    )
                peers[peer_name] = peer
                result["peers"][peer_name] = dict(peer.ready)
            except Missing as missing:
                result["peers"][peer_name] = {"missing": str(missing)}
        return peers

    def bf16(self, spec, guess):
        if "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"):
            return None  # it would be f32 again
        try:
            run = self.step(spec, spec.batch, self.seconds, "--precision", "bf16", guess=guess)
            return run["step_ms"]
        except Missing:
            return None

    def eager_memory(self, name, result):
        """Peak memory of eager PyTorch in a process that did nothing else, not even try another
        way."""
        eager = result["peers"]["PyTorch eager"]
        if "way" not in eager:
            return
        words = [w.format(model=name, threads=THREADS) for w in PEERS["PyTorch eager"]]
        peer = Peer([*words, eager["way"]], THREADS)
        peer.round(0.1)
        eager["peak_rss"] = peer.ask("rss")["peak_rss"]
        peer.close()

    def steps(self):
        return self.each(of_kind(conv=False), self.model_steps)

    def conv_steps(self):
        return self.each(of_kind(conv=True), self.model_steps)

    def each(self, names, measure):
        results = {}
        for name in names:
            if self.models and name not in self.models:
                continue
            try:
                results[name] = measure(name)
            except Missing as missing:
                results[name] = {"missing": str(missing)}
            print(f"  {name}: done", flush=True)
        return results

    # ---- inference -------------------------------------------------------------------------------

    def twin(self, name):
        spec, result = ZOO[TWINS[name]], {}
        dense = ["--set", "sparse=[]"] if spec.sparse else []
        params = self.info(TWINS[name], *dense)["params"]
        for batch in (1, 8):
            first = self.step(spec, batch, self.seconds, "--mode", "infer", *dense)
            one = result[str(batch)] = {}
            peer = None
            try:
                peer = Peer(["onnx_worker.py", TWINS[name], str(batch), str(THREADS)], THREADS)
                if peer.ready["params"] != params:
                    raise SystemExit(
                        f"onnxruntime, {name}: {peer.ready['params']} parameters instead of {params}"
                    )
                one |= peer.ready
            except Missing as missing:
                one["missing"] = str(missing)
            rounds = []
            for _ in range(self.rounds):
                run = self.step(
                    spec, batch, self.seconds, "--mode", "infer", *dense, guess=first["step_ms"]
                )
                rounds.append(run["step_ms"])
                if peer:
                    peer.round(self.seconds)
            one["ours_ms"] = statistics.median(rounds)
            if peer:
                one["ms"] = peer.median()
                peer.close()
        return result

    def twins(self, conv):
        names = of_kind(conv)
        return self.each([twin for twin, name in TWINS.items() if name in names], self.twin)

    def inference(self):
        return self.twins(conv=False)

    def conv_inference(self):
        return self.twins(conv=True)

    # ---- threads ---------------------------------------------------------------------------------

    def model_threads(self, name):
        spec, counts = ZOO[name], (1, 2, 8)
        self.info(name)
        guess = self.step(spec, spec.batch, self.seconds)["step_ms"]
        ms = {n: [] for n in counts}
        for _ in range(min(self.rounds, 2)):
            for n in counts:
                run = self.step(spec, spec.batch, self.seconds / 2, threads=n, guess=guess)
                ms[n].append(run["step_ms"])
        return {str(n): statistics.median(ms[n]) for n in counts}

    def threads(self):
        return self.each(of_kind(conv=False), self.model_threads)

    # ---- products --------------------------------------------------------------------------------

    def products(self):
        """{text: [models]} of the distinct products of all training steps."""
        texts = {}
        for name in of_kind(conv=False):
            if self.models and name not in self.models:
                continue
            try:
                for row in self.info(name)["matmuls"]:
                    texts.setdefault(row["kernel"], []).append(name)
            except Missing as missing:
                print(f"  {name}: {missing}")
        return texts

    def start_gemms(self, missing):
        gemms = {}
        for name, settings in GEMMS.items():
            try:
                gemms[name] = Gemm.fastest(self.gemm_dir / f"gemm-{name}", settings, THREADS)
            except Missing as why:
                missing[name] = str(why)
        return gemms

    def matmul(self):
        texts, missing = self.products(), {}
        gemms = self.start_gemms(missing)
        rows = [{"kernel": text, "models": models, "peers": {}} for text, models in texts.items()]
        for turn in range(min(self.rounds, 2)):
            for row in rows:
                ours = self.run(
                    "bench",
                    "--json",
                    "--no-verify",
                    "--threads",
                    str(THREADS),
                    "--kernel",
                    row["kernel"],
                )
                for key in ("ms", "ms_with_packing"):
                    row[key] = min(row.get(key, float("inf")), ours[key])
                row["gflop"] = ours["gflops"] * ours["ms"] * 1e-3
                for name, gemm in gemms.items():
                    row["peers"][name] = min(
                        row["peers"].get(name, float("inf")), gemm.time(row["kernel"])
                    )
            print(f"  round {turn + 1}: {len(rows)} products", flush=True)
        versions = {name: gemm.version for name, gemm in gemms.items()}
        for gemm in gemms.values():
            gemm.close()
        return {"rows": rows, "versions": versions, "missing": missing}

    # ---- kernels ---------------------------------------------------------------------------------

    def kernels(self):
        picture = "docs/roofline.svg"
        return self.run(
            "bench",
            "models/vmoe_fmnist.vmoe",
            "--json",
            "--threads",
            str(THREADS),
            "--roofline",
            picture,
        )


PER_MODEL = ("steps", "conv_steps", "inference", "conv_inference", "threads")
PARTS = (*PER_MODEL, "matmul", "kernels")


def cpu_name():
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    field = {
        k: re.search(rf"^{k}\s*: (.*)$", text, re.M) for k in ("model name", "cpu family", "model")
    }
    return ", ".join(f"{k} {m[1]}" if k != "model name" else m[1] for k, m in field.items() if m)


def machine():
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
    }


def measure(bench, part, quick):
    """Measures a part and keeps the raw figures."""
    kept = last_results(part) if bench.models and part in PER_MODEL else {}
    found = {"machine": machine(), "quick": quick, "results": kept | getattr(bench, part)()}
    results_of(part).parent.mkdir(exist_ok=True)
    results_of(part).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument(
        "--quick", action="store_true", help="one short round: to see that it works"
    )
    parser.add_argument("--part", default=",".join(PARTS), help="what to measure")
    parser.add_argument(
        "--model", default="", help="only these models; the others keep their last figures"
    )
    parser.add_argument(
        "--without", default="", help=f"peers to leave out, of: {', '.join(PEERS)}"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="try again which way of writing a mixture suits a peer"
    )
    parser.add_argument(
        "--stored",
        action="store_true",
        help="write the tables of the last results; measure nothing",
    )
    args = parser.parse_args()
    parts = args.part.split(",")
    for part in parts:
        if part not in PARTS:
            parser.error(f"there is no part {part}; parts are {', '.join(PARTS)}")
    models = [m for m in args.model.split(",") if m]
    without = [p for p in args.without.split(",") if p]
    bench = Bench(args.build, args.quick, models, args.fresh, without)
    for part in parts:
        print(part, flush=True)
        found = stored(part) if args.stored else measure(bench, part, args.quick)
        print(tables.write(part, found), flush=True)


if __name__ == "__main__":
    main()
