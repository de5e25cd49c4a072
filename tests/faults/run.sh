#!/bin/sh
# Faults from outside: system calls that fail, kills, damaged files, random settings, two runs in
# one folder, little room, allocations that fail. By default a sample of about a minute; FAULTS=long
# (make test-faults) tries everything and ends with a table of figures.
#
#   VMOEC=build/vmoec tests/faults/run.sh [PART...]
#
# PART: syscalls kills disk relay damage random_set twice alloc soak, of vmoec; trainer:PART, of
# programs that vmoec built (syscalls kills disk damage twice alloc soak); library, of those.
#
# Each driver runs alone too, and replays a case by the options in its line; common.py lists them.
# FAULTS_SEED: another sample. FAULTS_RUNS, FAULTS_FLIPS: sizes of the random parts.
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=${BUILD:-build}
VMOEC=${VMOEC:-$PWD/$BUILD/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
export BUILD VMOEC
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
if ! python3 -c '' 2> /dev/null; then
    echo "skip faults there is no python3"
    exit 0
fi
if [ $# -eq 0 ]; then
    set -- syscalls kills disk relay damage random_set twice alloc library ${FAULTS:+soak}
    for part in syscalls kills disk damage twice alloc ${FAULTS:+soak}; do
        set -- "$@" "trainer:$part"
    done
fi
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT
trap 'exit 3' INT TERM
FAULTS_TABLE=$T/table
export FAULTS_TABLE
: > "$FAULTS_TABLE"
failed=0
for part in "$@"; do
    FAULTS_OVER=vmoec
    case $part in trainer:*) FAULTS_OVER=trainer part=${part#*:} ;; esac
    export FAULTS_OVER
    case $part in
    syscalls | kills | disk | relay | damage | random_set | library)
        python3 "tests/faults/$part.py" --seed "${FAULTS_SEED:-1}" ;;
    twice) tests/faults/twice.sh ;;
    soak) tests/faults/soak.sh "${FAULTS_STEPS:-100000}" ;;
    alloc)
        if [ "${FAULTS:-}" = long ]; then
            FAULT_SITES=${FAULT_SITES:-0} tests/faults/alloc.sh
        else
            tests/faults/alloc.sh
        fi
        ;;
    *) echo "FAIL $part is no part of this suite" && false ;;
    esac || failed=1
done
if [ "${FAULTS:-}" = long ]; then
    echo
    awk -F '\t' 'BEGIN { print "| kind | tried | bad |"; print "|---|---:|---:|" }
        { if (!($1 in tried)) order[++n] = $1; tried[$1] += $2; bad[$1] += $3 }
        { all += $2; wrong += $3 }
        END { for (i = 1; i <= n; i++)
                  printf "| %s | %d | %d |\n", order[i], tried[order[i]], bad[order[i]]
              printf "| **all** | **%d** | **%d** |\n", all, wrong }' "$FAULTS_TABLE"
fi
exit $failed
