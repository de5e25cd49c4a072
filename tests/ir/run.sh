#!/bin/sh
# Pass tests: text in, text out. Usage: tests/ir/run.sh [NAME...]   (NAME: simplify/views)
# Each tests/ir/*/NAME.vir starts with one of
#   ; RUN: ARGS        `vmoec opt ARGS FILE` succeeds, its output matches the CHECK lines, reads
# back to the
#                      same text, and a last pass of simplify or cse finds nothing more to do
#   ; RUN-FAIL: ARGS   it exits with 1 and the CHECK lines match its messages
# Environment: VMOEC (build/vmoec), FILECHECK. Prints "ok NAME" or "FAIL NAME why"; exits 1 if any
# failed.
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-build/vmoec}
if [ -z "$FILECHECK" ]; then
    FILECHECK=$(command -v FileCheck-19 || command -v FileCheck \
        || echo /usr/lib/llvm-19/bin/FileCheck)
fi
for tool in "$VMOEC" "$FILECHECK"; do
    [ -x "$tool" ] || { echo "FAIL setup: cannot run $tool"; exit 3; }
done
tmp=$(mktemp -d) || exit 3
trap 'rm -rf "$tmp"' EXIT

# The reason why file $1 fails; nothing when it passes.
why() {
    read -r first < "$1"
    case $first in
    "; RUN: "*) args=${first#; RUN: } expected=0 ;;
    "; RUN-FAIL: "*) args=${first#; RUN-FAIL: } expected=1 ;;
    *) echo "the first line is no RUN line"; return ;;
    esac
    grep -q '^; CHECK' "$1" || { echo "has no CHECK line"; return; }
    # shellcheck disable=SC2086  # args are several words
    "$VMOEC" opt $args "$1" > "$tmp/out" 2> "$tmp/err"
    status=$?
    [ $status -eq $expected ] || { echo "exit status $status: $(head -n 1 "$tmp/err")"; return; }
    if [ $expected -eq 1 ]; then
        [ -s "$tmp/out" ] && { echo "prints a graph all the same"; return; }
        "$FILECHECK" "$1" < "$tmp/err" > "$tmp/why" 2>&1 \
            || { echo "message:"; head -n 12 "$tmp/why"; }
        return
    fi
    "$FILECHECK" "$1" < "$tmp/out" > "$tmp/why" 2>&1 \
        || { echo "output:"; head -n 12 "$tmp/why"; return; }
    "$VMOEC" opt "$tmp/out" > "$tmp/again" 2> "$tmp/err"
    cmp -s "$tmp/out" "$tmp/again" || { echo "the output does not read back to itself"; return; }
    list=${args#--passes=}
    last=${list%% *}
    last=${last##*,}
    case $last in simplify | cse) ;; *) return ;; esac
    "$VMOEC" opt --passes="$last" "$tmp/out" > "$tmp/again" 2> "$tmp/err"
    cmp -s "$tmp/out" "$tmp/again" || echo "a second $last changes the graph"
}

failed=0
[ $# -gt 0 ] || set -- $(cd tests/ir && ls -d */*.vir | sed 's/\.vir$//')
for name; do
    reason=$(why "tests/ir/$name.vir")
    if [ -z "$reason" ]; then
        echo "ok $name"
    else
        echo "FAIL $name $reason"
        failed=1
    fi
done
exit $failed
