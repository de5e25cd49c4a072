#!/usr/bin/env python3
"""Files are damaged: bits flipped, cut, zeroed, extended, exchanged, deleted, replaced by pipes and
devices.

Every file that the program reads is damaged in turn. It has to refuse it, with exit status 1 or 3
and a message that names the file, or give exactly what it gives with the undamaged one; never other
weights with exit status 0, a signal, or a wait without end. When the newest checkpoint is refused,
--resume=previous has to be offered and to give the weights of an undisturbed run.

Formats without a checksum (the values of plain tensor files, IDX, JPEG, the text of a .tune file
and of metrics.jsonl) cannot be told from others when a value in them changes; for those places only
crashes, waits and refusals without a name are bad.

FAULTS_FLIPS: random flips of bits in each file (default: 12 to choose from, in a long run 600)."""

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile

import data
from common import Suite, Undisturbed, broken, read, remove, said, write


def mutations(s, name, blob, every=False, other=None):
    """(name, what to do with a path, the first and last place changed or None) for a file of these
    bytes."""
    r = s.rng("mutations", name)
    size = len(blob)
    flips = int(os.environ.get("FAULTS_FLIPS", 600 if s.long else 12))
    content = []
    if every and s.long:
        content += [
            ("flip %d.%d" % (i, b), i, i, blob[:i] + bytes([blob[i] ^ 1 << b]) + blob[i + 1 :])
            for i in range(size)
            for b in (r.randrange(8), 5)
        ]
    for _ in range(flips):
        i, b = r.randrange(size), r.randrange(8)
        content.append(
            ("flip %d.%d" % (i, b), i, i, blob[:i] + bytes([blob[i] ^ 1 << b]) + blob[i + 1 :])
        )
    cuts = {
        0,
        1,
        4,
        7,
        8,
        9,
        16,
        33,
        size // 2,
        size - 1,
        size - 2,
        size - 4,
        size - 8,
        size - 512,
        size - 1024,
    }
    cuts |= {i for i in range(0, size, 512)} if size < 40000 else set()
    if size > 8:
        cuts.add(8 + struct.unpack("<Q", blob[:8])[0])
    cuts |= {r.randrange(size) for _ in range(flips // 4)}
    content += [("cut at %d" % n, n, size, blob[:n]) for n in sorted(cuts) if 0 <= n < size]
    for _ in range(max(3, flips // 6)):
        i = r.randrange(size)
        n = min(size - i, r.choice((1, 4, 16, 64, 512, 4096)))
        content.append(
            ("zeroes at %d to %d" % (i, i + n), i, i + n - 1, blob[:i] + bytes(n) + blob[i + n :])
        )
    content.append(("zeroes throughout", 0, size, bytes(size)))
    for what, more in (
        ("a zero", b"\0"),
        ("a line end", b"\n"),
        ("noise", r.randbytes(37)),
        ("a block of zeroes", bytes(512)),
        ("64 KiB of zeroes", bytes(65536)),
        ("itself", blob),
    ):
        content.append(("extended by " + what, size, size, blob + more))
    if other is not None and other != blob:
        content.append(("exchanged for another of its kind", 0, size, other))
    out = []
    for what, a, b, new in content:
        if new != blob:
            out.append((what, lambda path, new=new: write(path, new), (a, b)))

    def instead(make):
        def act(path):
            remove(path)
            make(path)

        return act

    def linked(path):
        os.rename(path, path + ".real")
        os.symlink(os.path.basename(path) + ".real", path)

    out += [
        ("deleted", remove, None),
        ("a pipe", instead(os.mkfifo), None),
        ("a folder", instead(os.mkdir), None),
        ("a link to itself", instead(lambda p: os.symlink(os.path.basename(p), p)), None),
        ("a link to nothing", instead(lambda p: os.symlink("nowhere", p)), None),
        ("a link to a device", instead(lambda p: os.symlink("/dev/zero", p)), None),
        ("a link to the file", linked, None),
    ]
    if os.geteuid() == 0:
        out.append(("a device", instead(lambda p: os.mknod(p, 0o020666, os.makedev(1, 5))), None))
    return out


def header_end(blob):
    return 8 + struct.unpack("<Q", blob[:8])[0]


@dataclasses.dataclass
class Target:
    """One kind of file."""

    kind: str
    base: str  # a folder, copied for each case
    victim: str  # the file in it
    use: object  # use(work) runs the program: (Result, what it gave or None)
    want: object  # what it gives with the undamaged file
    loose: object = lambda what, place: False  # another result is no fault
    statuses: tuple = (0, 1, 3)
    names: tuple = ()  # that a refusal may also name
    other: object = None  # the bytes of another file of this kind
    every: bool = False  # in a long run every byte is changed
    also: object = None  # also(work, Result): what else has to hold
    skip: tuple = ()


def main():
    s = Suite("damage", __doc__, 22)
    clean = Undisturbed(s, most=3)
    top = lambda *names: os.path.join(s.top, *names)
    model = top("linear.vmoe")

    def attack(t):
        blob = read(os.path.join(t.base, t.victim))

        def case(what, act, place):
            def run(work):
                here = os.path.join(work, "here")
                shutil.copytree(t.base, here, symlinks=True)
                act(os.path.join(here, t.victim))
                r, got = t.use(here)
                why = broken(r, t.statuses)
                if why:
                    return why
                if r.status == 0:
                    if got != t.want and not t.loose(what, place):
                        return "another result with exit 0: " + said(r)
                elif not any(n.encode() in r.err for n in (os.path.basename(t.victim),) + t.names):
                    return "refused without the file's name: " + said(r)
                return t.also(here, r) if t.also else None

            return what, run

        s.cases(
            "damaged: " + t.kind,
            [case(*m) for m in mutations(s, t.kind, blob, t.every, t.other) if m[0] not in t.skip],
            14,
        )

    # ---- a run folder ----------------------------------------------------------------------------

    base = top("base")
    s.train(s.top, os.path.join(base, "out"), 2)
    checkpoint = os.path.join("out", "checkpoint")
    first = top("first")
    s.train(s.top, os.path.join(first, "out"), 1)

    def resume(work):
        r = s.train(work, "out", 3, ["--resume"])
        return r, read(os.path.join(work, "out", "weights.safetensors"))

    def offers_previous(work, r):
        if r.status != 1 or not os.path.isdir(os.path.join(work, "out", "checkpoint.previous")):
            return (
                None if r.status in (0, 3) else "no checkpoint.previous to go on from: " + said(r)
            )
        if b"--resume=previous" not in r.err:
            return "does not offer --resume=previous: " + said(r)
        r = s.train(work, "out", 3, ["--resume=previous"])
        if r.status != 0:
            return "--resume=previous: " + said(r)
        return clean.compare(os.path.join(work, "out"), 3)

    names = ("checkpoint",)
    for name in ("weights.safetensors", "state.safetensors", "trainer.json"):
        attack(
            Target(
                "checkpoint, " + name,
                base,
                os.path.join(checkpoint, name),
                resume,
                clean.weights[3],
                names=names,
                other=read(os.path.join(first, checkpoint, name)),
                also=offers_previous,
                every=name == "trainer.json",
            )
        )

    def lines(work, r):
        if r.status != 0:
            return None
        text = read(os.path.join(work, "out", "metrics.jsonl")) or b""
        return (
            None
            if text.count(b'"epoch":3') == 1
            else "the epoch of the resumed run is not there once"
        )

    attack(
        Target(
            "metrics.jsonl",
            base,
            os.path.join("out", "metrics.jsonl"),
            resume,
            clean.weights[3],
            also=lines,
        )
    )

    def run_folder(name, act):
        def run(work):
            here = os.path.join(work, "out")
            shutil.copytree(os.path.join(base, "out"), here, symlinks=True)
            act(here)
            r = s.train(work, "out", 3, ["--resume"])
            why = broken(r, (0, 1, 2, 3))
            if why or r.status != 0:
                return why
            return clean.compare(here, 3)

        return name, run

    def exchange(a, b):
        def act(here):
            pa, pb = os.path.join(here, a), os.path.join(here, b)
            if not os.path.lexists(pb):
                shutil.copytree(
                    os.path.join(first, checkpoint), os.path.join(here, "checkpoint.previous")
                )
            os.rename(pa, pa + "-")
            os.rename(pb, pa)
            os.rename(pa + "-", pb)

        return act

    def instead(name, make):
        def act(here):
            remove(os.path.join(here, name))
            make(os.path.join(here, name))

        return act

    def moved(here):
        os.rename(os.path.join(here, "checkpoint"), os.path.join(here, "elsewhere"))
        os.symlink("elsewhere", os.path.join(here, "checkpoint"))

    folders = [
        ("checkpoints exchanged", exchange("checkpoint", "checkpoint.previous")),
        ("checkpoint deleted", lambda here: remove(os.path.join(here, "checkpoint"))),
        ("checkpoint linked", moved),
        (
            "an unknown file in checkpoint",
            lambda here: write(os.path.join(here, "checkpoint", "mine"), b"x"),
        ),
        ("weights.safetensors a pipe", instead("weights.safetensors", os.mkfifo)),
        ("weights.safetensors a folder", instead("weights.safetensors", os.mkdir)),
        (".lock a pipe", instead(".lock", os.mkfifo)),
        (".lock a folder", instead(".lock", os.mkdir)),
        (".lock a link", instead(".lock", lambda p: os.symlink("/dev/null", p))),
        (".lock without permissions", instead(".lock", lambda p: (write(p, b""), os.chmod(p, 0)))),
        (".lock full of noise", instead(".lock", lambda p: write(p, os.urandom(5000)))),
        (
            "a pipe as a temporary file",
            lambda here: os.mkfifo(os.path.join(here, ".vmoec-0123456789ab")),
        ),
        (
            "a full folder as a temporary one",
            lambda here: shutil.copytree(
                os.path.join(here, "checkpoint"), os.path.join(here, ".vmoec-0123456789ab")
            ),
        ),
    ]
    for name in ("weights.safetensors", "state.safetensors", "trainer.json"):
        folders.append(
            (
                name + " exchanged between the checkpoints",
                exchange("checkpoint/" + name, "checkpoint.previous/" + name),
            )
        )
    for make, what in (
        (os.mkfifo, "a pipe"),
        (os.mkdir, "an empty folder"),
        (lambda p: write(p, b"x"), "a file"),
    ):
        for name in ("checkpoint", "checkpoint.previous"):
            folders.append(("%s is %s" % (name, what), instead(name, make)))
    s.cases("damaged: a run folder", [run_folder(*f) for f in folders], 10)

    # ---- tensor files ----------------------------------------------------------------------------

    tensors = top("tensors")
    os.mkdir(tensors)
    weights = os.path.join(tensors, "w.safetensors")
    s.run(["init", model, "-o", weights], s.top)
    s.run(["init", model, "--seed", "9", "-o", top("w9")], s.top)

    def evaluate(work):
        options = ["--data", top("data"), "--weights", "w.safetensors", "--json", "--threads", "1"]
        r = s.start(s.words("eval") + options, work)
        return r, r.out

    def values(file):
        end = header_end(read(file))
        return (
            lambda what, place: what.startswith("exchanged")
            or place is not None
            and place[1] >= end
            and not what.startswith(("cut", "extended"))
        )

    attack(
        Target(
            "weights for eval",
            tensors,
            "w.safetensors",
            evaluate,
            evaluate(tensors)[1],
            values(weights),
            other=read(top("w9")),
        )
    )

    def start(work):
        r = s.train(work, "out", 1, ["--weights", "w.safetensors"])
        return r, read(os.path.join(work, "out", "weights.safetensors"))

    shutil.copytree(tensors, top("started"))
    attack(
        Target(
            "weights for train",
            tensors,
            "w.safetensors",
            start,
            start(top("started"))[1],
            # a weight under another name is one that the file lacks, which is allowed and said
            lambda what, place: values(weights)(what, place) or what.startswith("flip"),
            other=read(top("w9")),
        )
    )

    def read_by_the_compiler_alone():
        def evaluation(work):
            r = s.run(
                [
                    "run",
                    model,
                    "--weights",
                    "w.safetensors",
                    "--inputs",
                    "in.safetensors",
                    "--outputs",
                    "o",
                    "--grad",
                    "--threads",
                    "1",
                ],
                work,
            )
            return r, read(os.path.join(work, "o"))

        header = (
            b'{"image":{"dtype":"F32","shape":[4,3,8,8],"data_offsets":[0,3072]},"label":{"dtype":"I32","shape":[4],'
            b'"data_offsets":[3072,3088]}}'
        )
        header += b" " * (-len(header) % 8)
        r = s.rng("inputs")
        inputs = (
            struct.pack("<Q", len(header))
            + header
            + struct.pack("<768f4i", *[r.uniform(-1, 1) for _ in range(768)], 0, 1, 1, 0)
        )
        write(os.path.join(tensors, "in.safetensors"), inputs)
        shutil.copytree(tensors, top("evaluated"))
        result, want = evaluation(top("evaluated"))
        if result.status != 0:
            print("FAIL setup run on given tensors: " + said(result))
            s.failed = True
        else:
            attack(
                Target(
                    "inputs of run",
                    tensors,
                    "in.safetensors",
                    evaluation,
                    want,
                    values(os.path.join(tensors, "in.safetensors")),
                )
            )
            attack(
                Target(
                    "weights for run",
                    tensors,
                    "w.safetensors",
                    evaluation,
                    want,
                    values(weights),
                    other=read(top("w9")),
                )
            )

        def initial(work):
            r = s.run(["init", model, "-o", "w.safetensors"], work)
            return r, read(os.path.join(work, "w.safetensors"))

        attack(
            Target(
                "what init replaces",
                tensors,
                "w.safetensors",
                initial,
                read(weights),
                # a pipe, a device and what a link leads to are written to as they are
                lambda what, place: what.startswith(("a ", "deleted")),
            )
        )

        # ---- kernels and block sizes -------------------------------------------------------------

        kernels = top("kernels")
        os.mkdir(kernels)
        one_epoch = clean.weights[1]

        def with_cache(work):
            r = s.train(work, "out", 1, env={"VMOEC_CACHE_DIR": os.path.join(work, "cache")})
            return r, read(os.path.join(work, "out", "weights.safetensors"))

        with_cache(kernels)
        remove(os.path.join(kernels, "out"))
        objects = sorted(
            os.path.relpath(os.path.join(d, f), kernels)
            for d, _, files in os.walk(kernels)
            for f in files
        )
        # the largest, and one at random
        objects.sort(key=lambda p: (os.path.getsize(os.path.join(kernels, p)), p))
        for i, victim in enumerate(objects if s.long else objects[-1:]):
            attack(
                Target(
                    "a compiled kernel" + (" %d" % (i + 1) if s.long else ""),
                    kernels,
                    victim,
                    with_cache,
                    one_epoch,
                    other=read(os.path.join(kernels, objects[0])),
                    statuses=(0, 3),
                )
            )

        tuned = top("tuned")
        os.mkdir(tuned)
        write(
            os.path.join(tuned, "t.tune"),
            b"# block sizes\nmatmul m=4 n=2 k=192 -> rows=8 cols=16  # 1.04x\n"
            b"matmul_ta m=192 n=2 k=4 -> rows=16 cols=8\n",
        )

        def with_tuning(work):
            r = s.train(work, "out", 1, ["--tune", "t.tune"])
            return r, read(os.path.join(work, "out", "weights.safetensors"))

        attack(Target("a .tune file", tuned, "t.tune", with_tuning, one_epoch))

    if s.over == "vmoec":
        read_by_the_compiler_alone()

    # ---- data sets -------------------------------------------------------------------------------

    def trained_on(where, name="linear"):
        def use(work):
            options = ["--data", where, "--out", "result", "--quiet", "--threads", "1"]
            r = s.start(s.words("train", name) + options + ["--epochs", "1"], work)
            return r, read(os.path.join(work, "result", "weights.safetensors"))

        return use

    def set_of(name, make, use, victim, **more):
        place = top(name)
        os.mkdir(place)
        make(place)
        shutil.copytree(place, place + "-used")
        r, want = use(place + "-used")
        if r.status != 0 or want is None:
            s.failed = True
            print("FAIL setup %s: %s" % (name, said(r)))
            return
        attack(Target(name, place, victim, use, want, **more))

    images, labels = "d/train-images-idx3-ubyte", "d/train-labels-idx1-ubyte"

    def packed(place):
        data.idx(os.path.join(place, "d"))
        for name in os.listdir(os.path.join(place, "d")):
            path = os.path.join(place, "d", name)
            write(path + ".gz", gzip.compress(read(path), mtime=0))
            os.unlink(path)

    after = (
        lambda n: lambda what, place: place is not None
        and place[0] >= n
        and not what.startswith(("cut", "extended"))
    )
    plain = lambda place: data.idx(os.path.join(place, "d"))
    idx = trained_on("d", "grey")
    set_of("IDX images", plain, idx, images, loose=after(8), names=(labels,))
    set_of("IDX labels", plain, idx, labels, loose=after(8), names=(images,))
    set_of(
        "IDX images with gzip", packed, idx, images + ".gz", names=("train-images", "train-labels")
    )
    set_of(
        "PNG",
        lambda p: data.folder(os.path.join(p, "d")),
        trained_on("d"),
        "d/train/a/001.png",
        skip=("deleted",),
    )
    set_of(
        "JPEG",
        lambda p: data.folder(os.path.join(p, "d"), kind="jpg"),
        trained_on("d"),
        "d/train/a/001.jpg",
        loose=lambda what, place: True,
        skip=("deleted",),
    )

    def anonymous(info):
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        return info

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for split in ("train", "test"):
            tar.add(top("data", split), arcname=split, filter=anonymous)
    tar = stream.getvalue()
    archives = [
        ("tar", tar),
        ("tar.gz", gzip.compress(tar, mtime=0)),
        ("tar.xz", lzma.compress(tar)),
        ("tar.bz2", bz2.compress(tar)),
    ]
    if shutil.which("zstd"):
        archives.append(
            (
                "tar.zst",
                subprocess.run(
                    ["zstd", "-q", "-c", "--check"], input=tar, check=True, stdout=subprocess.PIPE
                ).stdout,
            )
        )
    else:
        s.skip("damaged: tar.zst", "there is no zstd here")
    for name, blob in archives:
        set_of(
            name,
            lambda p, name=name, blob=blob: write(os.path.join(p, "d." + name), blob),
            trained_on("d." + name),
            "d." + name,
        )
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
