#!/usr/bin/env python3
"""What pages show must be so: programs compile, and commands have the options they are shown with.

    tests/docs/pages.py VMOEC     in the repository root; prints ok and FAIL lines

```vmoe        a whole program: `check` says nothing of it
```vmoe part   layers, or a train block: compiled with MODEL behind it where it has no model
$ vmoec ..     in a block without a language or of `sh`, or in a table: command and options exist
| .. | `x` |   rows of docs/pytorch.md below a heading of ROWS: the right side compiles in a frame
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

VMOEC = sys.argv[1]
PAGES = ["README.md"] + sorted(str(p) for p in Path("docs").glob("*.md"))
WRITTEN = ["docs/ops.md", "docs/recipe.md", "docs/diagnostics.md"]  # by the program itself

MODEL = """
model NAME(image: f32[B, 3, SIDE, SIDE], label: class[B, CLASSES]) {
  hidden = relu(linear(reshape(image, [B, -1]), 8))
  logits = linear(hidden, CLASSES)
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}
"""


def model(name, side, classes):
    return MODEL.replace("NAME", name).replace("SIDE", str(side)).replace("CLASSES", str(classes))


def blocks(page):
    """(line number of the first line, info string, text) of every fenced block."""
    out, fence = [], None
    for number, line in enumerate(Path(page).read_text().split("\n"), 1):
        mark = re.match(r"\s*(```+)\s*(.*)$", line)
        if mark and fence is None:
            fence = (number + 1, mark[2].strip(), [])
        elif mark:
            out.append((fence[0], fence[1], "\n".join(fence[2]) + "\n"))
            fence = None
        elif fence:
            fence[2].append(line)
    assert fence is None, f"{page}: a block without an end"
    return out


def report(name, fault):
    print(f"FAIL {name}: {' '.join(fault.split())[:300]}" if fault else f"ok {name}")


def check(text, warnings=True):
    """What `check` finds in a program: nothing is ""."""
    run = subprocess.run(
        [VMOEC, "check", "-"], input=text, capture_output=True, text=True, timeout=60
    )
    said = run.stdout + run.stderr
    if run.returncode:
        return said or f"exit status {run.returncode}"
    return said if warnings and "warning" in said else ""


def whole(text):
    """A part with what it lacks to be a program."""
    if re.search(r"^model ", text, re.M):
        return text
    train = re.search(r"^train (?:\w+ of )?(\w+)", text, re.M)
    return text + model(train[1] if train else "model_of_page", 48, 3)


def check_programs(page):
    for line, info, text in blocks(page):
        if info == "vmoe":
            report(f"{page}:{line} is a program", check(text))
        elif info == "vmoe part":
            report(f"{page}:{line} is part of one", check(whole(text), warnings=False))


OPTIONS = {}


def options(command):
    """The options that `help` has for a command; None: there is no such command."""
    if command not in OPTIONS:
        run = subprocess.run([VMOEC, "help", command], capture_output=True, text=True, timeout=60)
        OPTIONS[command] = (
            set(re.findall(r"--[a-z-]+", run.stdout)) if run.returncode == 0 else None
        )
    return OPTIONS[command]


def check_command(words):
    command = words[0]
    known = options(command)
    if command in ("help", "--version") or not re.fullmatch("[a-z]+", command):
        return ""  # or a placeholder
    if known is None:
        return f"there is no command {command}"
    for word in words[1:]:
        option = re.match(r"--[a-z-]+", word)
        if option and option[0] not in known:
            return f"{command} has no option {option[0]}"
    return ""


def commands(text, info):
    """(line in the block, words) of every line that calls vmoec, joined where it goes on."""
    joined = re.sub(r"\\\n", lambda m: "\\\a", text)  # keep the count of lines
    for at, line in enumerate(joined.split("\n")):
        start = (
            r"\s*\$\s+(?:\w+=\S+\s+)*vmoec\s+(.*)" if info == "" else r"\s*(?:\$\s+)?vmoec\s+(.*)"
        )
        call = re.match(start, line.replace("\\\a", " "))
        if call:
            call = re.split(r"\s[|>#&]|\s2>|;", call[1])[0]
            yield at, call.split()


def check_commands(page):
    for line, info, text in blocks(page):
        if info not in ("", "sh"):
            continue
        for at, words in commands(text, info):
            report(f"{page}:{line + at} vmoec {' '.join(words)[:60]}", check_command(words))
    for number, line in enumerate(Path(page).read_text().split("\n"), 1):
        for words in re.findall(r"`vmoec ([^`]+)`", line) if line.startswith("|") else []:
            report(f"{page}:{number} vmoec {words[:60]}", check_command(words.split()))


# Frames that the right sides of docs/pytorch.md's tables stand in, by the heading above the table.
# HERE is replaced; several pieces of code in one cell are tried one by one.
INPUTS = "image: f32[B, 3, 32, 32], label: class[B, 10], a: f32[B, 6, 8], b: f32[B, 6, 8]"
USES = "".join(
    f'use "std/{name}"\n' for name in ("vit", "conv", "gates", "losses", "moe", "encoder")
)
ROWS = {
    "Layers": "VALUE",
    "Tensors": "VALUE",
    "Losses and metrics": "STATEMENT",
    "Settings of a run": "FIELD",
}
FRAMES = {
    "VALUE": USES + f"model m({INPUTS}) {{\n  x = a\n  y = channels_last(image)\n"
    "  param table: [10, 8] = zeros()\n  z = HERE\n  metric used = mean(x) + mean(y) + mean(b) + mean(table)\n}\n",
    "STATEMENT": USES + f"model m({INPUTS}) {{\n"
    "  logits = linear(mean(norm(a + b), axis = 1), 10)\n  x = a\n  HERE\n}\n",
    "FIELD": model("m", 32, 10) + "train m {\n  HERE\n}\n",
}


def rows(page):
    """(line, heading, right cell) of every row of a table below a heading of ROWS."""
    heading = None
    for number, line in enumerate(Path(page).read_text().split("\n"), 1):
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        cells = re.split(r"(?<!\\)\|", line)
        if line.startswith("|") and heading in ROWS and "---" not in line and len(cells) >= 4:
            yield number, heading, cells[2].replace("\\|", "|")


def check_rows(page):
    tried = 0
    for line, heading, cell in rows(page):
        kind = ROWS[heading]
        for code in re.findall(r"`([^`]+)`", cell):
            fields = code
            if kind == "FIELD" and not code.startswith("data"):
                fields += '\n  data = image_folder(dir = "photos")'
            if code.startswith(("keep", "stop")):
                fields += "\n  validation = 0.1"
            text = FRAMES[kind].replace("HERE", fields)
            report(f"{page}:{line} {code}", check(text, warnings=False))
            tried += 1
    report(f"{page}: rows that compile", "" if tried >= 60 else f"only {tried} were found")


def main():
    for page in PAGES:
        if page not in WRITTEN:
            check_programs(page)
            check_commands(page)
    if Path("docs/pytorch.md").exists():
        check_rows("docs/pytorch.md")


main()
