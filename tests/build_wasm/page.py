"""Pages that `vmoec build` makes, in a headless Chromium: draws, drops, chooses and pastes, and
reads the answers. One line per test, as tests/want.sh has it.

    page.py grey PAGE MODULE PNG PREDICTED.jsonl     a page with a drawing pad
    page.py colour PAGE MODULE PNG PREDICTED.jsonl   one without
    page.py digits PAGE                              a page that knows digits is drawn some

PREDICTED has what `vmoec predict --json` says of PNG. With SCREENSHOTS, a folder, in the
environment, what pages look like is left there."""

import json
import os
import struct
import subprocess
import sys
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chromium import Chromium, Failure  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
FAILED = []


def check(name, right, found=""):
    """One test."""
    if right:
        print("ok " + name)
    else:
        print("FAIL %s: %s" % (name, found))
        FAILED.append(name)


def text(b, name):
    """What an element of the page says."""
    return b.run("document.getElementById(%s).textContent" % json.dumps(name))


def answer(b):
    """The class that stands in the page, and all probabilities."""
    rows = "Array.from(document.querySelectorAll('#bars li'), (e) => [e.dataset.label, e.dataset.probability])"
    found = {int(k): float(p) for k, p in b.run(rows) if p is not None}
    return text(b, "best"), found


def settle(b):
    """Until a picture has an answer or a refusal."""
    b.wait("document.getElementById('best').textContent !== '–' || !document.getElementById('failure').hidden")


def reset(b):
    """No answer and no refusal."""
    b.run("nothing(); fail(''); clear()")


def box(b, name):
    """Where an element is: left, top, width, height."""
    return b.run(
        "(() => { const r = document.getElementById(%s).getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()" % json.dumps(name)
    )


def stroke(b, points, last=True):
    """A stroke on the pad, places as shares of its sides."""
    left, top, width, height = box(b, "pad")
    for i, (x, y) in enumerate(points):
        kind = "mouseMoved" if i else "mousePressed"
        b.mouse(kind, left + x * width, top + y * height)
    if last:
        b.mouse("mouseReleased", left + x * width, top + y * height, 0)


def screenshot(b, name):
    """For people to look at."""
    if os.environ.get("SCREENSHOTS"):
        b.screenshot(os.path.join(os.environ["SCREENSHOTS"], name + ".png"))


def png(width, height, depth, pixel):
    """A PNG file in one colour of grey, small whatever its sides."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    row = b"\0" + bytes([pixel]) * ((width * depth + 7) // 8)
    squeeze = zlib.compressobj(1)
    data = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


# ---- what every page does ------------------------------------------------------------------------


def same_answer(b, name, wanted):
    """Whether the page says what `vmoec predict` does."""
    best, found = answer(b)
    worst = max(abs(c["probability"] - found.get(c["label"], 9)) for c in wanted["top"])
    check(
        name, best == wanted["class"] and worst <= 1e-5, "%s, off by %g, %s" % (best, worst, found)
    )


def pictures(b, png_path, wanted):
    """A picture that is dropped, chosen and pasted."""
    with open(png_path, "rb") as f:
        data = f.read()
    reset(b)
    b.drop("#drop", "a.png", data, "image/png")
    settle(b)
    same_answer(b, "a dropped picture", wanted)
    check("it says how long that took", "\u00a0ms" in text(b, "how"), text(b, "how"))
    label = b.run("document.getElementById('seen').getAttribute('aria-label')")
    check("what the model sees has words", "a picture of" in label, label)
    reset(b)
    root = b.call("DOM.getDocument")["root"]["nodeId"]
    node = b.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    b.call("DOM.setFileInputFiles", nodeId=node, files=[os.path.abspath(png_path)])
    settle(b)
    same_answer(b, "a chosen picture", wanted)
    reset(b)
    b.run(
        "(() => { const t = new DataTransfer();"
        " t.items.add(new File([Uint8Array.from(%s)], 'b.png', { type: 'image/png' }));"
        " document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: t })); })()"
        % json.dumps(list(data))
    )
    settle(b)
    same_answer(b, "a pasted picture", wanted)


def bad_pictures(b):
    """What cannot be classified is said, and the page goes on."""
    cases = [
        ("a damaged picture", "bad.png", b"\x89PNG\r\n\x1a\nnot really", "bad.png cannot be read"),
        ("a text", "notes.txt", b"hello", "notes.txt cannot be read as a picture"),
        ("a picture that is too large", "big.png", png(40000, 40000, 1, 0), "big.png"),
    ]
    for name, file, data, words in cases:
        reset(b)
        b.drop("#drop", file, data, "image/png")
        settle(b)
        said = text(b, "failure")
        check(name + " is refused in words", words in said, said)
        check(name + " has no answer", answer(b) == ("–", {}), answer(b))
    reset(b)
    b.run(
        "document.dispatchEvent(new DragEvent('drop',"
        " { dataTransfer: new DataTransfer(), bubbles: true }))"
    )
    settle(b)
    check("a drop without a file", "no file" in text(b, "failure"), text(b, "failure"))


def same_bits(b, module):
    """Chromium and node."""
    with open(os.path.join(HERE, "bits.js"), encoding="utf-8") as f:
        here = b.run(f.read().replace("'use strict';", "") + "; bits(model, info)")
    node = ["node", os.path.join(HERE, "bits.js"), module]
    there = subprocess.run(node, capture_output=True, text=True, check=True).stdout.strip()
    check("the bits of node", here == there and here.count("\n") == 9, here[:200])


def names(b):
    """Whatever can be used has a name for who does not see it."""
    b.call("Accessibility.enable")
    tree = b.call("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "checkbox", "textbox", "image", "status", "list", "heading"}
    nameless = [
        n["role"]["value"]
        for n in tree
        if not n.get("ignored")
        and n["role"]["value"] in used - {"status"}
        and not n.get("name", {}).get("value")
    ]
    roles = {n["role"]["value"] for n in tree if not n.get("ignored")}
    check("everything has a name", not nameless, nameless)
    check("the answer is a status", "status" in roles, sorted(roles))


def looks(b, page, name, use):
    """Widths of a phone, a tablet and a screen, light and dark."""
    grounds = {}
    for width, dark in ((360, False), (768, True), (1280, False)):
        b.open(page, (width, 800), dark)
        use()
        wide = b.run("document.documentElement.scrollWidth")
        check("%s fits into %d pixels" % (name, width), wide <= width, wide)
        grounds[dark] = b.run("getComputedStyle(document.body).backgroundColor")
        screenshot(b, "%s-%d" % (name, width))
    check(name + " is dark where that is wanted", grounds[True] != grounds[False], grounds)


def no_machine(b, page):
    """Browsers that lack what the module needs."""
    lacks = [
        ("without SIMD", "WebAssembly.validate = () => false", "has no SIMD"),
        ("without WebAssembly", "delete globalThis.WebAssembly", "cannot run WebAssembly"),
    ]
    for name, before, words in lacks:
        b.open(page, before=before)
        state = b.run("document.body.dataset.state")
        check("a browser " + name, state == "failed" and words in text(b, "failure"), state)
        check("has nothing to use", b.run("document.getElementById('work').hidden"))


def offline(b, page):
    """Since the page was opened nothing was asked of anybody but the page."""
    only = ["file://" + os.path.abspath(page)]
    asked = [u for u in b.requests if not u.startswith(("data:", "blob:"))]
    check("it asks for nothing but itself", asked == only, asked)
    check("and nothing fails in it", not b.errors, b.errors)


# ---- pages ---------------------------------------------------------------------------------------


def pad(b):
    """Draws, looks at the answer, clears with the keyboard."""
    stroke(b, [(0.2, 0.2), (0.5, 0.4), (0.8, 0.8)])
    settle(b)
    best, found = answer(b)
    check("a drawing has an answer", best != "–" and abs(sum(found.values()) - 1) < 1e-9, found)
    some = "new Uint8Array(model.memory.buffer, model.seen(), info.width * info.height).some((v) => v > 20)"
    check("the model sees it", b.run(some))
    b.run("document.getElementById('clear').focus()")
    b.key("Enter", 13)
    check("the keyboard clears it", answer(b) == ("–", {}), answer(b))
    blank = "ink.getImageData(0, 0, pad.width, pad.height).data.every((v, i) => v === (i % 4 === 3 ? 255 : 0))"
    check("the pad is empty then", b.run(blank))
    left, top, width, height = box(b, "pad")
    for kind, x in (("touchStart", 0.3), ("touchMove", 0.6), ("touchEnd", None)):
        points = [] if x is None else [{"x": left + x * width, "y": top + height / 2}]
        b.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    settle(b)
    check("a finger draws, too", answer(b)[0] != "–")


def negative(b, png_path):
    """A picture that is dark on light, and the same with its values turned round."""
    with open(png_path, "rb") as f:
        data = f.read()
    reset(b)
    b.drop("#drop", "a.png", data, "image/png")
    settle(b)
    seen = "Array.from(new Uint8Array(model.memory.buffer, model.seen(), info.width * info.height))"
    plain = b.run(seen)
    b.run("document.getElementById('negative').click()")
    turned = b.run(seen)
    b.run("document.getElementById('negative').click()")
    right = len(plain) > 0 and all(abs(x + y - 255) <= 3 for x, y in zip(plain, turned))
    check("dark on light is turned round", right, (plain[:9], turned[:9]))
    check("and back", b.run(seen) == plain)


def grey(b, page, module, png_path, predicted):
    """A page with a drawing pad."""
    with open(predicted, encoding="utf-8") as f:
        wanted = json.loads(f.readline())
    b.open(page)
    check("the page is ready", b.run("document.body.dataset.state") == "ready", text(b, "failure"))
    check("it has a pad", not b.run("document.getElementById('drawing').hidden"))
    pad(b)
    pictures(b, png_path, wanted)
    negative(b, png_path)
    offline(b, page)
    bad_pictures(b)
    same_bits(b, module)
    names(b)
    no_machine(b, page)
    looks(b, page, "grey", lambda: stroke(b, [(0.2, 0.2), (0.5, 0.4), (0.8, 0.8)]))


def colour(b, page, module, png_path, predicted):
    """A page for pictures alone."""
    with open(predicted, encoding="utf-8") as f:
        wanted = json.loads(f.readline())
    b.open(page)
    check("the page is ready", b.run("document.body.dataset.state") == "ready", text(b, "failure"))
    check("it has no pad", b.run("document.getElementById('drawing').hidden"))
    pictures(b, png_path, wanted)
    offline(b, page)
    bad_pictures(b)
    same_bits(b, module)

    def use():
        with open(png_path, "rb") as f:
            b.drop("#drop", "a.png", f.read(), "image/png")
        settle(b)

    looks(b, page, "colour", use)


DIGITS = {
    "0": [[(0.5, 0.2), (0.35, 0.3), (0.3, 0.5), (0.35, 0.7), (0.5, 0.8), (0.65, 0.7), (0.7, 0.5),
           (0.65, 0.3), (0.5, 0.2)]],
    "1": [[(0.52, 0.2), (0.5, 0.5), (0.48, 0.8)]],
    "2": [[(0.3, 0.35), (0.4, 0.22), (0.58, 0.22), (0.66, 0.36), (0.55, 0.55), (0.3, 0.78),
           (0.72, 0.78)]],
    "3": [[(0.35, 0.25), (0.5, 0.2), (0.62, 0.3), (0.6, 0.42), (0.45, 0.5), (0.62, 0.6),
           (0.62, 0.75), (0.5, 0.82), (0.33, 0.76)]],
    "4": [[(0.35, 0.2), (0.3, 0.5), (0.68, 0.5)], [(0.65, 0.2), (0.62, 0.85)]],
    "5": [[(0.65, 0.22), (0.38, 0.22), (0.36, 0.48), (0.55, 0.45), (0.66, 0.6), (0.58, 0.78),
           (0.33, 0.78)]],
    "7": [[(0.3, 0.22), (0.7, 0.22), (0.48, 0.82)]],
}  # fmt: skip


def digits(b, page):
    """Digits, drawn small in a corner and large: they are centred."""
    b.open(page)
    for place, (x0, y0, size) in {"large": (0, 0, 1), "small, in a corner": (0.5, 0.5, 0.5)}.items():
        right = []
        for digit, strokes in DIGITS.items():
            reset(b)
            for points in strokes:
                stroke(b, [(x0 + size * x, y0 + size * y) for x, y in points])
            settle(b)
            if answer(b)[0] == digit:
                right.append(digit)
        enough = len(right) >= len(DIGITS) - 1
        check("digits drawn %s: %d of %d" % (place, len(right), len(DIGITS)), enough, right)
    looks(b, page, "digits", lambda: stroke(b, DIGITS["3"][0]))


def main():
    what = {"grey": grey, "colour": colour, "digits": digits}[sys.argv[1]]
    b = Chromium()
    try:
        what(b, *sys.argv[2:])
    except Failure as e:
        check(sys.argv[1] + " page", False, e)
    finally:
        b.close()
    sys.exit(1 if FAILED else 0)


main()
