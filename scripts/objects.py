#!/usr/bin/env python3
"""Checks built objects: what the sources say only together. Prints findings, one per line.

    scripts/objects.py [BUILD]      BUILD: the build folder (default: build)

circles   Objects call each other. Those of different rooms may not form a circle, and within a
          room only the circles of CIRCLES stand.
prints    Below commands and programs nothing prints or ends the process, but for PRINTS.
names     What an object exports begins with a prefix of its room (PREFIXES).

A row of these tables that is not needed any more is a finding too, so that they only shrink.
"""

import collections
import os
import subprocess
import sys

FOLDERS = "base ir frontend passes interp codegen recipe runtime trainer cli driver".split()

# The most files of a circle within a room, and why it stands.
CIRCLES = {
    "base": (3, "memory runs out in arenas, and who goes on from it gives arenas back"),
    "frontend/meaning": (22, "a layer's body is elaborated by what elaborates calls"),
    "frontend/syntax": (2, "what is foreign in an expression is read by the parser of expressions"),
    "interp": (7, "rules of composed ops call the interpreter"),
    "ir": (4, "shape rules by family behind one table"),
    "passes": (3, "rewrites by family behind one table"),
    "runtime/exec": (3, "initial values and tables are made by the engine that they fill"),
}
# Circles between rooms that are still there, by their files.
BETWEEN = {}
FORBIDDEN = {
    "exit",
    "_exit",
    "quick_exit",
    "printf",
    "vprintf",
    "puts",
    "putchar",
    "perror",
    "stderr",
    "stdout",
}
MAY_PRINT = ("cli", "trainer/program", "driver/commands", "driver/bench", "driver/build")
PRINTS = {
    "base/bug": ("_exit stderr", "the report of our own mistakes"),
    "codegen/load/workers": ("_exit", "ends the process that it forked"),
    "passes/manager": ("stderr", "what --dump and --time of opt ask for"),
}
# Prefixes of what a room exports.
PREFIXES = {
    "base": "vm_ arena_ text_ map_ names_ spell_ json_ vec_",
    "ir": "ir_ shape_",
    "recipe": "vm_ recipe_",
    "frontend/syntax": "ast_ diag_ diags_ fmt_ habit_ lex_ parse_ parser_ source_ span_",
    "frontend/meaning": "fe_ fv_ builtin_ elab_ sema_ arg_ eval_ check_ path_ call_ match_ "
    "scope_ const_ tensor_",
    "passes": "pass_ grad_ recompute_ fuse_ simplify_ view_ optim_",
    "interp": "interp_ ref_",
    "codegen/build": "kb_ unit_",
    "codegen/kernels": "cg_ attn_ conv_ dw_ gemm_ topk_",
    "codegen/load": "cg_ code_ kernel_set_ cache_ work_ backend_",
    "codegen/plan": "cg_ plan_ block_ tile_ pack_",
    "codegen/target": "cg_",
    "runtime/exec": "vm_",
    "runtime/data": "vm_",
    "runtime/train": "vm_",
    "runtime/log": "vm_",
    "driver/session": "session_ vmoec_",
    "driver/lsp": "lsp_",
    "driver/build": "build_ cmd_",
    "trainer": "vm_",
    "trainer/library": "vmlib_",
    "trainer/program": "program_ cli_ main",
    "cli": "cli_ drv_ opt_ args_ cmd_ tally_",
}
# Names without one, from before there were rooms.
NAMES = {
    "frontend/meaning": "build common_group expand_rows flat_gate make_route set_routed span_loc "
    "count_named named_call take_name unique_name freeze_weights",
}


def find_objects(build):
    """{file without ending: object} of the sources of our folders."""
    found = {}
    for folder in FOLDERS:
        for at, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(at, name)
                for where in ("obj", "kit/obj"):  # the kit alone has what only programs need
                    obj = os.path.join(build, where, path[:-2] + ".o")
                    if name.endswith(".c") and os.path.exists(obj):
                        found.setdefault(path[:-2], obj)
    return found


def read_symbols(objects):
    """What every file defines and what it needs."""
    defined, needed = collections.defaultdict(set), collections.defaultdict(set)
    file_of = {obj: name for name, obj in objects.items()}
    text = subprocess.run(
        ["nm", "-A", *objects.values()], capture_output=True, text=True, check=True
    ).stdout
    for line in text.splitlines():
        obj, rest = line.split(":", 1)
        part = rest.split()
        if len(part) == 2:
            needed[file_of[obj]].add(part[1])
        elif part[1] in "TDBRVWC":
            defined[file_of[obj]].add(part[2])
    return defined, needed


def circles(graph):
    """Strongly connected components of more than one file (Tarjan)."""
    number, low, stack, on, found = {}, {}, [], set(), []

    def visit(v):
        number[v] = low[v] = len(number)
        stack.append(v)
        on.add(v)
        for w in sorted(graph[v]):
            if w not in number:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on:
                low[v] = min(low[v], number[w])
        if low[v] == number[v]:
            part = []
            while not part or part[-1] != v:
                part.append(stack.pop())
                on.discard(part[-1])
            if len(part) > 1:
                found.append(tuple(sorted(part)))

    for v in sorted(graph):
        if v not in number:
            visit(v)
    return sorted(found)


def check_circles(defined, needed):
    home = {s: f for f, symbols in defined.items() for s in symbols}
    graph = {f: {home[s] for s in symbols if home.get(s, f) != f} for f, symbols in needed.items()}
    for f in defined:
        graph.setdefault(f, set())
    seen = set()
    for part in circles(graph):
        rooms = sorted({os.path.dirname(f) for f in part})
        if len(rooms) > 1:
            seen.add(part)
            if part not in BETWEEN:
                yield f"{' '.join(part)}: a circle between {' and '.join(rooms)}"
            continue
        seen.add(rooms[0])
        most = CIRCLES.get(rooms[0], (1, ""))[0]
        if len(part) > most:
            yield f"{' '.join(part)}: a circle of {len(part)} files" + (
                f", at most {most} may stand" if most > 1 else ""
            )
    for row in [*CIRCLES, *BETWEEN]:
        if row not in seen:
            yield f"scripts/objects.py: the circle {row} is gone, and so may its row be"


def check_prints(needed):
    for f, symbols in sorted(needed.items()):
        if f.startswith(MAY_PRINT):
            continue
        allowed = set(PRINTS.get(f, ("",))[0].split())
        for s in sorted(symbols & FORBIDDEN - allowed):
            yield f"{f}.c: {s} below driver/commands"
        for s in sorted(allowed - symbols):
            yield f"scripts/objects.py: {f} does not use {s} any more"
    for f in sorted(set(PRINTS) - set(needed)):
        yield f"scripts/objects.py: there is no {f}"


def check_names(defined):
    used = set()
    for f, symbols in sorted(defined.items()):
        room = os.path.dirname(f)
        if room.startswith(MAY_PRINT):
            continue
        if room not in PREFIXES:
            yield f"{f}.c: {room} has no prefixes in scripts/objects.py"
            continue
        names = set(NAMES.get(room, "").split())
        used |= {(room, s) for s in symbols & names}
        for s in sorted(symbols - names):
            if not s.startswith((".", *PREFIXES[room].split())):
                yield f"{f}.c: {s} has no prefix of {room} ({PREFIXES[room]})"
    for room, names in NAMES.items():
        for s in names.split():
            if (room, s) not in used:
                yield f"scripts/objects.py: {room} does not export {s} any more"


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    objects = find_objects(build)
    if not objects:
        sys.exit(f"{build} holds no objects: build first")
    sys.setrecursionlimit(10000)
    defined, needed = read_symbols(objects)
    for finding in [*check_circles(defined, needed), *check_prints(needed), *check_names(defined)]:
        print(finding)


main()
