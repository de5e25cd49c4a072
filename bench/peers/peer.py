"""The other side of the workers: processes that are started once and asked for figures in turn."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
GEMM_SAMPLE = "matmul m=1024 n=384 k=384"
GEMM_ERROR = 1e-3  # far above rounding, far below a wrong product


class Missing(Exception):
    """Something cannot be measured here, and why."""


class Process:
    """A program that answers each line of its input with one line."""

    def __init__(self, command, environment):
        # a file: a compiler's warnings would fill a pipe that nobody reads, and stop it for ever
        self.errors = tempfile.TemporaryFile("w+")
        try:
            self.process = subprocess.Popen(
                command,
                env=os.environ | environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
            )
        except OSError as error:
            raise Missing(str(error)) from error

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            status = self.process.wait()
            self.errors.seek(0)
            error = self.errors.read().strip().splitlines()
            raise Missing(error[-1] if error else f"it ends with {status}")
        return text.strip()

    def send(self, text):
        try:
            self.process.stdin.write(text + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # line() says why it is gone
        return self.line()

    def close(self):
        self.process.communicate()
        self.errors.close()


class Peer(Process):
    """A worker of bench/peers/*_worker.py."""

    def __init__(self, words, threads):
        super().__init__(
            [sys.executable, str(HERE / words[0]), *words[1:]], {"OMP_NUM_THREADS": str(threads)}
        )
        self.ready = json.loads(self.line())
        self.medians = []

    def ask(self, text):
        return json.loads(self.send(text))

    def round(self, seconds):
        self.medians.append(statistics.median(self.ask(f"run {seconds}")["ms"]))

    def median(self):
        return statistics.median(self.medians)


class Gemm(Process):
    """A program of bench/gemm/. Takes problems in the words of `vmoec bench --kernel`."""

    def __init__(self, program, environment, threads):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS")
        super().__init__([str(program)], environment | {name: str(threads) for name in names})
        self.version = self.line()

    @classmethod
    def fastest(cls, program, settings, threads):
        """Of the processes with each of the settings, the one that is fastest at one problem."""
        if not program.exists():
            raise Missing("not installed")
        best = None
        for environment in settings:
            try:
                gemm = cls(program, environment, threads)
                seconds = gemm.time(GEMM_SAMPLE)
            except Missing:
                continue  # a setting this machine has no code for
            if best is None or seconds < best[0]:
                if best:
                    best[1].close()
                best = (seconds, gemm)
            else:
                gemm.close()
        if best is None:
            raise Missing("it does not run here")
        return best[1]

    def time(self, kernel):
        """Milliseconds of one product; infinite when the library cannot."""
        kind, *words = kernel.split()
        key = {name: int(value) for name, value in (word.split("=") for word in words)}
        count, split = key.get("batch", 1), "-"
        if kind != "matmul":
            count, split = key["experts"], "k" if kind == "expert_matmul_dw" else "m"
        ta = key.get("ta", int(kind == "expert_matmul_dw"))
        weight = key.get("weight", int(not ta and (count == 1 or split == "m")))
        answer = self.send(
            f"{key['m']} {key['n']} {key['k']} {ta} {key.get('tb', 0)} {count} {split} {weight}"
        )
        if answer == "none":
            return float("inf")
        ms, error = map(float, answer.split())
        if error > GEMM_ERROR:
            raise SystemExit(f"{self.version} is wrong at {kernel}: {error}")
        return ms
