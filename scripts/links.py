#!/usr/bin/env python3
"""Checks that links of Markdown pages lead somewhere: files of the repository, and headings.

    scripts/links.py

Prints findings, one per line. Addresses of the web are not looked at; nor is code. Pages that are
named without a link, in messages and comments too, must be there as well.
"""

import re
from pathlib import Path
from urllib.parse import unquote

PAGES = "docs tests editors bench models".split()
SOURCES = (
    "base bench codegen driver frontend interp ir models passes recipe runtime scripts".split()
)


def pages():
    found = sorted(Path(".").glob("*.md"))
    for folder in PAGES:
        found += sorted(Path(folder).rglob("*.md"))
    return found


def without_blocks(text):
    """The lines of a page, those of fenced blocks empty."""
    lines, inside = [], False
    for line in text.split("\n"):
        fence = re.match(r"\s*```", line)
        lines.append("" if inside or fence else line)
        inside ^= bool(fence)
    return lines


def anchors(path, known={}):
    """What `#..` may name in a page: its headings, as GitHub makes them into names."""
    if path not in known:
        names, seen = set(), {}
        for line in without_blocks(path.read_text()):
            heading = re.match(r"#+\s+(.*?)\s*#*$", line)
            if not heading:
                continue
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            times = seen[name] = seen.get(name, -1) + 1
            names.add(f"{name}-{times}" if times else name)
        known[path] = names
    return known[path]


def fault(page, target):
    """Why a link of a page leads nowhere; "" if it leads somewhere."""
    path, _, anchor = unquote(target).partition("#")
    there = (page.parent / path) if path else page
    if not there.exists():
        return f"there is no {there}"
    if anchor and there.suffix == ".md" and anchor not in anchors(there):
        return f"{there} has no heading #{anchor}"
    return ""


def links(page):
    """(line number, target) of every relative link."""
    text = "\n".join(re.sub(r"`[^`]*`", "", line) for line in without_blocks(page.read_text()))
    # the words of a link may go over a line's end
    for link in re.finditer(r"\]\(\s*([^()\s]+)\s*\)", text):
        if not re.match(r"[a-z]+:", link[1]):
            yield text.count("\n", 0, link.start()) + 1, link[1]


def mentions(lines):
    """(line number, page) wherever a page of docs/ is named."""
    for number, line in enumerate(lines, 1):
        for name in re.findall(r"(?<![\w/(.-])docs/[\w-]+\.md(?:#[\w-]+)?", line):
            yield number, name


def sources():
    """Files that may name a page, but are none: messages and comments."""
    yield Path("Makefile")
    for folder in SOURCES:
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in (".c", ".h", ".def", ".py", ".sh", ".vmoe", ".rules"):
                yield path


def main():
    found = [
        (page, number, fault(page, target)) for page in pages() for number, target in links(page)
    ]
    for path in [*pages(), *sources()]:
        text = path.read_text(errors="replace")
        lines = without_blocks(text) if path.suffix == ".md" else text.split("\n")
        found += [(path, number, fault(Path("page"), name)) for number, name in mentions(lines)]
    for path, number, why in found:
        if why:
            print(f"{path}:{number}: {why}")


main()
