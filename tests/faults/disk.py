#!/usr/bin/env python3
"""The power goes: what had been written and not been synced is lost, in part or as a whole.

A run is recorded: strace says each call that changes the run's folder, with its bytes. A disk is
simulated under it that keeps what was synced and any part of the rest: before each call, what is
still to be synced may be lost or kept, by operations (a new name, a rename, a removal, in any
order) and by sectors of 512 bytes (a file may have its new length with zeros in it). Each disk that
may be found afterwards is written to a fresh folder, and the run is resumed there, or begun again
where no checkpoint had been synced. Once one had been, the checkpoint found must be that one or a
newer one. In the end: the weights and epoch lines of an undisturbed run, and nothing left over.

The layer is under the system calls and not in a library that is loaded first, because libc's own
writes (of FILE) ask no library.

FAULTS_CRASHES: how many disks for each of six ways to run (default: 20, in a long run 2500)."""

import hashlib
import json
import os
import re
import shutil
import sys

from common import Suite, Undisturbed, read, recover, said, write

EPOCHS = 3
SECTOR = 512
CALLS = (
    "openat,close,dup,fcntl,write,pwrite64,lseek,fsync,fdatasync,mkdir,mkdirat,rename,renameat,"
    "renameat2,unlink,unlinkat,rmdir,ftruncate,linkat,copy_file_range,fallocate"
)
UNKNOWN = ("linkat", "copy_file_range", "fallocate", "dup")  # of a file here: not simulated
LINE = re.compile(r"^(\w+)\((.*)\)\s+= (-?\d+)")
WORD = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|\b(AT_FDCWD)\b|([^,"]+)')


class File:
    """What is synced, and the pieces written since; a piece lies within a sector."""

    def __init__(self, content=b""):
        self.synced, self.pieces, self.size = content, [], len(content)

    def write(self, offset, content):
        at = offset
        while at < offset + len(content):
            end = min(offset + len(content), at // SECTOR * SECTOR + SECTOR)
            self.pieces.append((at, content[at - offset : end - offset]))
            at = end
        self.size = max(self.size, offset + len(content))

    def cut(self, size):
        self.pieces.append((size, None))
        self.size = size

    def sync(self):
        self.synced, self.pieces = self.content(range(len(self.pieces)), True), []

    def content(self, kept, whole_length):
        """With these pieces, and those before them in their sectors: a sector is written as it is
        in memory. whole_length: the length reached the disk before what is in it."""
        out = bytearray(self.synced)
        last = {}
        for i in kept:
            sector = self.pieces[i][0] // SECTOR
            last[sector] = max(i, last.get(sector, -1))
        for i, (at, more) in enumerate(self.pieces):
            if i > last.get(at // SECTOR, -1):
                continue
            if more is None:
                out = out[:at]
                continue
            out += bytes(max(0, at - len(out)))
            out[at : at + len(more)] = more
        if whole_length:
            out = out[: self.size] + bytes(max(0, self.size - len(out)))
        return bytes(out)


class Folder:
    """Names that are synced, those of now, and the operations since: lists of (name, node)."""

    def __init__(self):
        self.synced, self.now, self.pieces = {}, {}, []

    def change(self, *names):
        self.pieces.append(names)
        self.now = apply(self.now, names)

    def sync(self):
        self.synced, self.pieces = dict(self.now), []


def apply(names, changes):
    names = dict(names)
    for name, node in changes:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
    return names


def words(text):
    """The arguments: bytes for strings, None for AT_FDCWD, other words as they are."""
    out = []
    for m in WORD.finditer(text):
        if m[1] is not None:
            out.append(bytes.fromhex(m[1].replace("\\x", "")))
        elif m[2]:
            out.append(None)
        elif m[3].strip(" ."):
            out.append(m[3].strip())
    return out


class Disk:
    """The folder that a run works in, as its calls left it."""

    def __init__(self, place):
        self.root = Folder()
        self.open = {}  # descriptor -> [node, offset, appends]
        self.saved = -1  # step of the newest checkpoint that is synced
        self.load(self.root, place)

    def load(self, folder, place):
        for name in sorted(os.listdir(place)):
            path = os.path.join(place, name)
            node = Folder() if os.path.isdir(path) else File(read(path))
            if isinstance(node, Folder):
                self.load(node, path)
            folder.change((name.encode(), node))
        folder.sync()

    def find(self, at, path):
        """(folder, last name, node or None), or None where the path leads elsewhere."""
        if path.startswith(b"/"):
            return None
        folder = self.root if at is None else self.open.get(int(at), [None])[0]
        parts = [p for p in path.split(b"/") if p not in (b"", b".")]
        for i, part in enumerate(parts):
            if not isinstance(folder, Folder):
                return None
            if i == len(parts) - 1:
                return folder, part, folder.now.get(part)
            folder = folder.now.get(part)
        return (None, b"", folder) if isinstance(folder, Folder) else None

    def call(self, name, args, result):
        """Does what the call did; whether it changed anything."""
        act = getattr(self, "do_" + name, None)
        if name in UNKNOWN and args and self.open.get(number(args[0])):
            raise ValueError("a call that the simulated disk does not know: " + name)
        return bool(act and act(args, result))

    def do_openat(self, args, fd):
        found = self.find(args[0], args[1])
        flags = args[2].split("|")
        self.open.pop(fd, None)
        if not found:
            return False
        folder, name, node = found
        made = node is None
        if made:
            if "O_CREAT" not in flags:
                return False  # of the surroundings: data, libraries
            node = File()
            folder.change((name, node))
        elif "O_TRUNC" in flags and isinstance(node, File):
            node.cut(0)
        self.open[fd] = [node, 0, "O_APPEND" in flags]
        return made or "O_TRUNC" in flags

    def do_close(self, args, _):
        self.open.pop(int(args[0]), None)

    def do_fcntl(self, args, result):
        if args[1].startswith("F_DUPFD") and int(args[0]) in self.open:
            self.open[result] = self.open[int(args[0])]

    def do_write(self, args, n):
        f = self.open.get(int(args[0]))
        if not f or not isinstance(f[0], File):
            return False
        if f[2]:
            f[1] = f[0].size
        f[0].write(f[1], args[1][:n])
        f[1] += n
        return True

    def do_pwrite64(self, args, n):
        f = self.open.get(int(args[0]))
        if f:
            f[0].write(int(args[3]), args[1][:n])
        return f

    def do_lseek(self, args, result):
        if int(args[0]) in self.open:
            self.open[int(args[0])][1] = result

    def do_ftruncate(self, args, _):
        f = self.open.get(int(args[0]))
        if f:
            f[0].cut(int(args[1]))
        return f

    def do_fsync(self, args, _):
        f = self.open.get(int(args[0]))
        if f:
            f[0].sync()
            self.saved = max(self.saved, step_of(self.root))
        return f

    do_fdatasync = do_fsync

    def do_mkdir(self, args, _):
        return self.do_mkdirat([None] + args, _)

    def do_mkdirat(self, args, _):
        found = self.find(args[0], args[1])
        if found and found[0]:
            found[0].change((found[1], Folder()))
        return found

    def do_renameat2(self, args, _):
        a, b = self.find(args[0], args[1]), self.find(args[2], args[3])
        if not a or not b:
            return False
        back = b[2] if "RENAME_EXCHANGE" in args[4:] else None
        if a[0] is b[0]:
            a[0].change((b[1], a[2]), (a[1], back))
        else:
            raise ValueError("a rename between folders")
        return True

    do_renameat = do_renameat2

    def do_rename(self, args, _):
        return self.do_renameat2([None, args[0], None, args[1]], _)

    def do_unlinkat(self, args, _):
        found = self.find(args[0], args[1])
        if found and found[2]:
            found[0].change((found[1], None))
        return found

    def do_unlink(self, args, _):
        return self.do_unlinkat([None] + args, _)

    do_rmdir = do_unlink

    # ---- what may be found afterwards ----

    def nodes(self):
        """All that can be reached, now or by what is synced or was in between."""
        seen, todo = {}, [self.root]
        while todo:
            node = todo.pop()
            if id(node) in seen:
                continue
            seen[id(node)] = node
            if isinstance(node, Folder):
                todo += list(node.synced.values())
                todo += [n for piece in node.pieces for _, n in piece if n]
        return list(seen.values())

    def found(self, choose):
        """{path: bytes, or None for a folder}; choose(node): (kept pieces, whole length)."""
        out = {}

        def visit(node, path):
            kept, whole = choose(node)
            if isinstance(node, File):
                out[path] = node.content(kept, whole)
                return
            if path:
                out[path] = None
            names = node.synced
            for i in kept:
                names = apply(names, node.pieces[i])
            for name, child in names.items():
                visit(child, os.path.join(path, name.decode()))

        visit(self.root, "")
        return out


def number(text):
    return int(text) if isinstance(text, str) and text.isdigit() else None


def step_of(root):
    """The step of the newest checkpoint that a disk has which lost all that is not synced."""
    node = root
    for name in (b"out", b"checkpoint", b"trainer.json"):
        node = node.synced.get(name) if isinstance(node, Folder) else None
    return step_in(node.synced) if isinstance(node, File) else -1


def step_in(record):
    try:
        return json.loads(record)["step"]
    except (ValueError, KeyError, TypeError):
        return -1


def record(s, work, args, model):
    """The calls of a run, as (name, arguments, result)."""
    trace = os.path.join(s.top, "trace")
    strace = ["strace", "-qq", "-xx", "-s", "10000000", "-o", trace, "-e", "trace=" + CALLS]
    r = s.train(work, "out", EPOCHS, args, model, before=strace)
    calls = []
    for line in read(trace).decode("ascii").splitlines():
        m = LINE.match(line)
        if m and int(m[3]) >= 0:
            calls.append((m[1], words(m[2]), int(m[3])))
    return r, calls


def choices(disk, r, many):
    """Ways to keep and to lose: all, nothing, each piece alone lost or kept, and random ones."""
    nodes = [n for n in disk.nodes() if n.pieces]
    pieces = [(id(n), i) for n in nodes for i in range(len(n.pieces))]
    every = lambda n: range(len(n.pieces))
    yield lambda n: (every(n), True)
    yield lambda n: ((), False)
    for one in r.sample(pieces, min(len(pieces), many)):
        yield lambda n, one=one: ([i for i in every(n) if (id(n), i) != one], True)
        yield lambda n, one=one: ([i for i in every(n) if (id(n), i) == one], False)
    for _ in range(many if len(pieces) > 1 else 0):
        share, mixed = r.random(), r.random() < 0.3
        kept, whole = {}, {}
        for n in nodes:
            kept[id(n)] = [i for i in every(n) if r.random() < share]
            if mixed and isinstance(n, Folder):
                r.shuffle(kept[id(n)])
            whole[id(n)] = r.random() < 0.5
        yield lambda n, kept=kept, whole=whole: (kept.get(id(n), ()), whole.get(id(n), True))


def crashes(s, name, base, calls, most):
    """{what is found: the newest synced step}, at most so many, spread over the run."""
    found = {}
    for many in (1, 2, 4, 8, 16, 32, 64):
        r = s.rng("disk", name, many)
        disk = Disk(base)
        for at, (call, args, result) in enumerate(calls):
            if disk.call(call, args, result):
                for choose in choices(disk, r, many):
                    tree = disk.found(choose)
                    digest = hashlib.sha256(repr(sorted(tree.items())).encode()).digest()
                    found.setdefault((digest, disk.saved), (at, tree, disk.saved))
        if len(found) >= most:
            break
    found = list(found.values())
    return s.rng("which", name).sample(found, min(most, len(found)))


def put(work, tree):
    for path, content in sorted(tree.items()):
        place = os.path.join(work, path)
        if content is None:
            os.mkdir(place)
        else:
            write(place, content)


def main():
    s = Suite("disk", __doc__, 6)
    if (
        not shutil.which("strace")
        or s.run(["--version"], s.top, before=["strace", "-o", "/dev/null"]).status != 0
    ):
        s.skip("the power goes", "strace cannot trace here")
        s.finish()
    most = int(os.environ.get("FAULTS_CRASHES", 2500 if s.long else 20))
    empty = os.path.join(s.top, "empty")
    os.mkdir(empty)
    wanted = {model: Undisturbed(s, model, most=EPOCHS) for model in ("linear", "moe")}
    for model in wanted:
        s.train(s.top, os.path.join(s.top, "base-" + model, "out"), 1, model=model)
    ways = [
        ("%s, %s" % (model, name), model, before or os.path.join(s.top, "base-" + model), args)
        for model in wanted
        for name, before, args in (
            ("a new run", empty, []),
            ("a resumed run", None, ["--resume"]),
            ("a run that saves each step", empty, ["--save-every", "1"]),
        )
    ]
    for name, model, before, args in ways:
        clean = wanted[model]
        work = os.path.join(s.top, "recorded")
        shutil.copytree(before, work)
        r, calls = record(s, work, args, model)
        same = Disk(before)
        for call in calls:
            same.call(*call)
        end = same.found(lambda n: (range(len(n.pieces)), True))
        is_so = all(
            read(os.path.join(work, p)) == content
            for p, content in end.items()
            if content is not None
        )
        shutil.rmtree(work)
        if r.status != 0 or not is_so or "out/weights.safetensors" not in end:
            s.failed = True
            print("FAIL setup %s: the simulated disk is not the real one: %s" % (name, said(r)))
            continue

        def case(i, at, tree, saved, clean=clean, model=model):
            def run(work):
                put(work, tree)
                newest = step_in(tree.get("out/checkpoint/trainer.json"))
                if newest < saved:
                    return "the checkpoint of step %d was synced, found is %d" % (saved, newest)
                return recover(s, clean, work, "out", EPOCHS, saved >= 0, model)

            return "disk %d, before call %d" % (i, at + 1), run

        disks = crashes(s, name, before, calls, most)
        s.cases("the power goes: " + name, [case(i, *d) for i, d in enumerate(disks)], most)
    s.finish()


if __name__ == "__main__":
    sys.exit(main())
