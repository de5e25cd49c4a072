"""Curves of training runs, as an SVG, and a table of their epochs on standard output.

    bench/curves.py -o docs/cifar100.svg dense=runs/dense mixture=runs/moe ..

Reads metrics.jsonl of every run's folder and draws test accuracy (drawn through) and training
accuracy (dashed) of every epoch. Standard library only."""

import argparse
import json
import pathlib

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e")
WIDE, HIGH, LEFT, TOP, RIGHT, BOTTOM = 640, 380, 48, 20, 16, 44
STYLE = (
    "text{font:13px sans-serif;fill:#222}.grid{stroke:#ddd}.ground{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.ground{fill:#161616}}"
)


def epochs_of(folder):
    lines = pathlib.Path(folder, "metrics.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == "epoch"]


class Sheet:
    """Where an epoch and a share of 1 are on the page."""

    def __init__(self, epochs, most):
        self.epochs, self.most = epochs, most

    def x(self, epoch):
        return LEFT + (WIDE - LEFT - RIGHT) * (epoch - 1) / max(self.epochs - 1, 1)

    def y(self, share):
        return HIGH - BOTTOM - (HIGH - TOP - BOTTOM) * share / self.most


def grid(sheet):
    step = 0.1
    for i in range(int(sheet.most / step) + 1):
        y = sheet.y(i * step)
        yield f"<line class='grid' x1='{LEFT}' x2='{WIDE - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>"
        yield f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{100 * i * step:.0f} %</text>"
    for epoch in range(1, sheet.epochs + 1):
        x = sheet.x(epoch)
        yield f"<text x='{x:.1f}' y='{HIGH - BOTTOM + 20}' text-anchor='middle'>{epoch}</text>"
    yield f"<text x='{(LEFT + WIDE) / 2}' y='{HIGH - 8}' text-anchor='middle'>epoch</text>"


def curve(sheet, run, key, colour, dash):
    points = " ".join(f"{sheet.x(e['epoch']):.1f},{sheet.y(e[key]):.1f}" for e in run)
    return f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'{dash}/>"


def draw(runs):
    most = max(e[k] for run in runs.values() for e in run for k in ("test_accuracy", "train_accuracy"))
    sheet = Sheet(max(len(run) for run in runs.values()), most * 1.05)
    yield (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDE} {HIGH}' width='{WIDE}' "
        f"height='{HIGH}'><style>{STYLE}</style><rect class='ground' width='100%' height='100%'/>"
    )
    yield from grid(sheet)
    for i, (name, run) in enumerate(runs.items()):
        colour, y = COLOURS[i % len(COLOURS)], TOP + 18 + 20 * i
        yield curve(sheet, run, "test_accuracy", colour, "")
        yield curve(sheet, run, "train_accuracy", colour, " stroke-dasharray='5 4' opacity='.6'")
        yield f"<rect x='{LEFT + 12}' y='{y - 9}' width='18' height='4' fill='{colour}'/>"
        yield f"<text x='{LEFT + 38}' y='{y - 2}'>{name}</text>"
    yield "</svg>"


def table(runs):
    yield "| epoch | " + " | ".join(f"{n}: train, test" for n in runs) + " |"
    yield "| --- |" + " --- |" * len(runs)
    for i in range(max(len(run) for run in runs.values())):
        cells = [
            f"{100 * r[i]['train_accuracy']:.2f} %, {100 * r[i]['test_accuracy']:.2f} %" if i < len(r) else ""
            for r in runs.values()
        ]
        yield f"| {i + 1} | " + " | ".join(cells) + " |"
    seconds = [sum(e["seconds"] for e in r) / len(r) for r in runs.values()]
    yield "| seconds an epoch | " + " | ".join(f"{s:.0f}" for s in seconds) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("-o", required=True, metavar="SVG")
    a = parser.parse_args()
    runs = {name: epochs_of(folder) for name, folder in (r.split("=", 1) for r in a.run)}
    pathlib.Path(a.o).write_text("\n".join(draw(runs)) + "\n")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
