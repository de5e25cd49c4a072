#!/usr/bin/env python3
"""Writes the tables of docs/models.md: what every file of models/ shows and counts, and the
published architectures of tests/driver/model_counts.txt. All counts are those of `vmoec info
--json`; `make docs` runs this.

    scripts/models.py [VMOEC]        VMOEC: the program, build/vmoec if not given
"""

import json
import pathlib
import re
import subprocess
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/models.md"
ROWS = ROOT / "tests/driver/model_counts.txt"


def info(vmoec, name, sets=()):
    options = [word for s in sets for word in ("--set", s)]
    words = [vmoec, "info", "--json", "--mode", "infer", f"models/{name}.vmoe", *options]
    return json.loads(subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def counts(found):
    grouped = [f"{found[key]:,}".replace(",", " ") for key in ("params", "params_active")]
    return [*grouped, f"{found['macs'] / 1e9:#.4g}"]


def shows(name):
    """The first sentence of the comment a model begins with."""
    lines = []
    for line in (ROOT / f"models/{name}.vmoe").read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return re.match(r"(.*?)\.(?= [A-Z`]|$)", " ".join(lines))[1]


def command(name):
    """How a reader tries it: models of 1000 classes have a smaller size, in their comment, that
    trains on CIFAR-10."""
    text = (ROOT / f"models/{name}.vmoe").read_text()
    if not re.search(r"^train ", text, re.M):
        return f"`vmoec bench models/{name}.vmoe`"
    if "classes = 1000" in text:
        return f"`vmoec bench models/{name}.vmoe`; `vmoec train` as its comment says"
    return f"`vmoec train models/{name}.vmoe`"


def item(text):
    """An item of a list in lines of 100 columns. `code` stays in one line."""
    glued = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    lines = textwrap.fill(
        glued, 100, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )
    return lines.replace("\0", " ")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def files(vmoec):
    names = sorted(path.stem for path in (ROOT / "models").glob("*.vmoe"))
    rows = [[f"[{name}](../models/{name}.vmoe)", *counts(info(vmoec, name))] for name in names]
    items = [item(f"{name}: {shows(name)}. {command(name)}") for name in names]
    return "\n".join(items) + "\n\n" + table(["file", "parameters", "activated", "GMAC"], rows)


def published(vmoec):
    rows = []
    for line in ROWS.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        title, words = line.split(" | ")[:2]
        name, *sets = words.split()
        found = info(vmoec, name, sets)
        without = f"{found['macs_without_attention'] / 1e9:#.4g}"
        rows.append([title, f"`{words}`", without, *counts(found)])
    head = ["model", "file and settings", "GMAC, no attention", "parameters", "activated", "GMAC"]
    return table(head, rows)


def write(part, text):
    begin, end = f"<!-- begin models:{part} -->", f"<!-- end models:{part} -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    page, found = re.subn(
        pattern, lambda _: f"{begin}\n{text}\n{end}", PAGE.read_text(), flags=re.S
    )
    if found != 1:
        sys.exit(f"{PAGE}: needs one place '{begin}'")
    PAGE.write_text(page)


def main():
    vmoec = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/vmoec").resolve())
    write("files", files(vmoec))
    write("published", published(vmoec))


if __name__ == "__main__":
    main()
