"""What messages look like on terminals: colours by NO_COLOR, CLICOLOR_FORCE, CLICOLOR and TERM, and
lines of source cut to the width. Prints a line per test, as run.sh does.

    terminal.py VMOEC FILE      FILE: a model with a mistake
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

vmoec, mistake = sys.argv[1:]
ESCAPE = re.compile("\033\\[[0-9;]*m")


def say(name, good, why=""):
    print(f"ok {name}" if good else f"FAIL {name}: {why!r}", flush=True)


def on_terminal(args, columns=80, **env):
    """Standard error of a command whose terminal has so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [vmoec, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=clean(**{"TERM": "xterm"} | env),
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is gone
            part = b""
        if not part:
            break
        text += part
    child.wait()
    os.close(ours)
    return text.decode().replace("\r\n", "\n")


def clean(**env):
    names = ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "COLUMNS")
    return {k: v for k, v in os.environ.items() if k not in names} | env


def in_file(**env):
    run = subprocess.run([vmoec, "check", mistake], stderr=subprocess.PIPE, env=clean(**env))
    return run.stderr.decode()


def colours():
    check = ["check", mistake]
    plain, terminal = in_file(), on_terminal(check)
    say("no colours in a file", "\033" not in plain and "error" in plain, plain)
    say("colours on a terminal", "\033[1;31m" in terminal, terminal)
    say("the same text", ESCAPE.sub("", terminal) == plain, terminal)
    for name, env, coloured in (
        ("NO_COLOR", {"NO_COLOR": "1"}, False),
        ("an empty NO_COLOR", {"NO_COLOR": ""}, True),
        ("NO_COLOR against CLICOLOR_FORCE", {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
        ("CLICOLOR=0", {"CLICOLOR": "0"}, False),
    ):
        text = on_terminal(check, **env)
        say(name, ("\033" in text) == coloured and "error" in text, text)
    say("CLICOLOR_FORCE", "\033[1;31m" in in_file(CLICOLOR_FORCE="1"))
    say("CLICOLOR_FORCE=0", "\033" not in in_file(CLICOLOR_FORCE="0"))


def widths():
    with open("wide-line.vmoe", "w") as f:
        names = " + ".join(f"a{i}" for i in range(100))
        f.write(f"config {{\n  b = {names}\n}}\n")
    for columns in (50, 80, 300):
        text = on_terminal(["check", "wide-line.vmoe"], columns=columns, NO_COLOR="1")
        lines = [line for line in text.split("\n") if re.match(r" *[0-9]* \|", line)]
        widest = max(map(len, lines), default=0)
        good = columns - 30 <= widest <= columns
        say(f"a line of source on {columns} columns", good, (widest, lines[:2]))


def progress():
    """--quiet hides progress and no warning; a dumb terminal gets plain lines."""
    run = ["train", "tiny.vmoe", "--data", "data", "--steps", "2", "--overwrite"]
    shown = on_terminal([*run, "--out", "runs/terminal"])
    say("progress on a terminal", "epoch" in shown and "\033[K" in shown, shown)
    dumb = on_terminal([*run, "--out", "runs/terminal"], TERM="dumb")
    say("progress on a dumb one", "epoch" in dumb and "\033" not in dumb, dumb)
    quiet = on_terminal([*run, "--quiet", "--out", "runs/terminal"])
    lines = quiet.split("\n")[:-1]
    good = lines and all(line.startswith("vmoec: warning: ") for line in lines)
    say("no progress with --quiet, but warnings", good, quiet)
    os.makedirs("open-cache", exist_ok=True)
    os.chmod("open-cache", 0o777)  # others could put code into it, which is worth a warning
    warned = on_terminal([*run, "--quiet", "--out", "runs/terminal"], VMOEC_CACHE_DIR="open-cache")
    good = "kernels are not kept" in warned and "images/s" not in warned
    say("also those of other rooms", good, warned)


colours()
widths()
progress()
