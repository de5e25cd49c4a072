"""Results as Markdown, and the places of docs/performance.md and docs/lessons.md they go to."""

import math
import pathlib
import re
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = 100
MIB = 1024 * 1024
WORST_PRODUCTS = 12
LARGEST_KERNELS = 12


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def milliseconds(ms):
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def fill(text):
    """A paragraph; names of libraries, kernels and versions stay in one piece."""
    return textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)


def heading(found, *versions, note=""):
    m = found["machine"]
    kind = "one short round" if found["quick"] else "medians of rounds taken in turn"
    others = "".join(f"; {v}" for v in versions if v)
    machine = f"{m['date']}, commit {m['commit']}, {m['cpu']}, {m['cpus']} CPUs, 2 threads{others}."
    return fill(f"{machine} {kind[0].upper()}{kind[1:]}. {note}")


def versions(results, peers=True):
    """Distinct versions and what is missing, of {model: {"peers": {name: ..}}}."""
    seen = {}
    for result in results.values():
        for name, peer in (
            result.get("peers", {}).items()
            if peers
            else [("onnxruntime", x) for x in result.values()]
        ):
            seen[
                peer["version"] if "version" in peer else f"{name} missing ({peer['missing']})"
            ] = True
    return ", ".join(seen)


def steps(found):
    results = found["results"]
    names = list(next(iter(r["peers"] for r in results.values() if "peers" in r), {}))
    rows, memory = [], []
    for model, r in results.items():
        if "missing" in r:
            rows.append([model, r["missing"]] + [""] * (len(names) + 5))
            continue
        times = {name: r["peers"][name].get("ms") for name in names}
        best = min((t for t in times.values() if t), default=None)
        rows.append(
            [model, r["batch"], milliseconds(r["ms"]), f"{100 * r['mfu']:.1f} %"]
            + [milliseconds(t) if t else "missing" for t in times.values()]
            + [
                f"**{best / r['ms']:.2f}x**" if best else "",
                f"{r['ms'] / r['bf16_ms']:.2f}x" if r["bf16_ms"] else "-",
            ]
        )
        eager = r["peers"]["PyTorch eager"].get("peak_rss")
        memory.append(
            [
                model,
                f"{r['predicted'] / MIB:.0f}",
                f"{r['peak_rss'] / MIB:.0f}",
                f"{eager / MIB:.0f}" if eager else "missing",
            ]
            + [f"{r['peak_rss'] / eager:.2f}" if eager else ""]
        )
    head = ["step, ms", "batch", "vmoec", "mfu", *names, "best / ours", "bf16"]
    text = heading(found, versions(results)) + "\n\n" + table(head, rows)
    head = [
        "peak memory, MiB",
        "`info`: tensors",
        "vmoec process",
        "PyTorch eager",
        "vmoec / eager",
    ]
    return text + "\n\n" + table(head, memory)


def inference(found):
    rows = []
    for model, result in found["results"].items():
        for batch, r in result.items():
            if batch == "missing":
                rows.append([model, "", r, "", ""])
                continue
            peer = r.get("ms")
            ratio = f"**{peer / r['ours_ms']:.2f}x**" if peer else ""
            rows.append(
                [
                    model,
                    batch,
                    milliseconds(r["ours_ms"]),
                    milliseconds(peer) if peer else "missing",
                    ratio,
                ]
            )
    head = ["inference", "batch", "vmoec ms", "onnxruntime ms", "onnxruntime / vmoec"]
    known = {k: v for k, v in found["results"].items() if "missing" not in v}
    return heading(found, versions(known, peers=False)) + "\n\n" + table(head, rows)


def threads(found):
    rows = []
    for model, r in found["results"].items():
        if "missing" in r:
            rows.append([model, r["missing"], "", "", "", ""])
            continue
        one, two, eight = r["1"], r["2"], r["8"]
        rows.append(
            [
                model,
                milliseconds(one),
                milliseconds(two),
                milliseconds(eight),
                f"{one / two:.2f}x",
                f"{eight / two:.2f}x",
            ]
        )
    head = ["training step, ms", "1 thread", "2 threads", "8 threads", "1 / 2", "8 / 2"]
    return heading(found) + "\n\n" + table(head, rows)


def mean_ratio(rows, key):
    return math.exp(sum(math.log(best(r)[1] / r[key]) for r in rows) / len(rows))


def best(row):
    return min(row["peers"].items(), key=lambda item: item[1])


def matmul(found):
    result = found["results"]
    rows = [r for r in result["rows"] if r["peers"]]
    about = ", ".join(
        [
            *result["versions"].values(),
            *(f"{k} missing ({v})" for k, v in result["missing"].items()),
        ]
    )
    text = heading(found, about)
    if not rows:
        return text + "\n\nNo library to compare with."
    groups = {
        "dense": [r for r in rows if r["kernel"].startswith("matmul ")],
        "per expert": [r for r in rows if r["kernel"].startswith("expert_")],
        "all": rows,
    }
    summary = []
    for name, group in groups.items():
        ratios = [best(r)[1] / r["ms"] for r in group]
        wins = {lib: sum(best(r)[0] == lib for r in group) for lib in result["versions"]}
        summary.append(
            [
                name,
                len(group),
                f"**{mean_ratio(group, 'ms'):.3f}x**",
                f"{mean_ratio(group, 'ms_with_packing'):.3f}x",
            ]
            + [
                f"{min(ratios):.2f}x",
                sum(x < 0.85 for x in ratios),
                ", ".join(f"{k} {v}" for k, v in wins.items() if v),
            ]
        )
    head = [
        "products",
        "shapes",
        "geometric mean",
        "packing included",
        "lowest",
        "below 0.85x",
        "best library",
    ]
    text += "\n\n" + table(head, summary)
    worst = sorted(rows, key=lambda r: best(r)[1] / r["ms"])[:WORST_PRODUCTS]
    lines = [
        [
            f"`{r['kernel']}`",
            f"{r['gflop'] / r['ms'] * 1e3:.0f}",
            f"{r['gflop'] / best(r)[1] * 1e3:.0f} ({best(r)[0]})",
        ]
        + [f"{best(r)[1] / r['ms']:.2f}x"]
        for r in worst
    ]
    return text + "\n\n" + table(["the lowest, GFLOP/s", "vmoec", "best library", "ratio"], lines)


def kernels(found):
    r = found["results"]
    total = sum(k["ms"] for k in r["kernels"])
    rows = [
        [
            f"`{k['name']}`",
            k["calls"],
            f"{k['ms']:.3f}",
            f"{100 * k['ms'] / total:.1f}",
            f"{k['gflops']:.0f}",
        ]
        + [f"{k['gbs']:.1f}", f"{100 * k['roof']:.0f}", k["bound"]]
        for k in r["kernels"][:LARGEST_KERNELS]
    ]
    head = ["kernel", "calls", "ms", "% of step", "GFLOP/s", "GB/s", "% of roof", "bound"]
    note = f"Peaks in this run: {r['peak_gflops']:.0f} GFLOP/s, {r['peak_gbs']:.1f} GB/s."
    picture = "![roofline of a training step of vmoe_fmnist](roofline.svg)"
    return "\n\n".join([heading(found, note=note), picture, table(head, rows)])


TABLES = {  # part of bench/compare.py: page, table; the page has marks with the part's name
    "steps": ("docs/performance.md", steps),
    "conv_steps": ("docs/performance.md", steps),
    "inference": ("docs/performance.md", inference),
    "conv_inference": ("docs/performance.md", inference),
    "threads": ("docs/performance.md", threads),
    "matmul": ("docs/lessons.md", matmul),
    "kernels": ("docs/lessons.md", kernels),
}


def write(part, found):
    """Puts the table of a part between the marks of its page; returns it."""
    page, make = ROOT / TABLES[part][0], TABLES[part][1]
    text, begin, end = make(found), f"<!-- begin bench:{part} -->", f"<!-- end bench:{part} -->"
    old = page.read_text(encoding="utf-8")
    new, count = re.subn(
        f"{re.escape(begin)}.*?{re.escape(end)}",
        lambda _: f"{begin}\n{text}\n{end}",
        old,
        flags=re.S,
    )
    if count != 1:
        raise SystemExit(f"{page} has {count} places for bench:{part}")
    page.write_text(new, encoding="utf-8")
    return text
