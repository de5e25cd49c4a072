# What suites that run commands share; read by them. A suite sets failed=0 and exits with $failed.

ok() { echo "ok $1"; }
fail() {
    echo "FAIL $1: $2"
    failed=1
}

# want STATUS PATTERN NAME COMMAND...: the status, and a line of the output that matches. Output
# stays in out (stdout) and log (stderr). A crash is never right.
want() {
    status=$1 pattern=$2 name=$3
    shift 3
    timeout 300 "$@" > out 2> log < /dev/null
    got=$?
    if [ "$got" -ne "$status" ]; then
        fail "$name" "exit status $got instead of $status: $(head -c 300 log)"
    elif [ -n "$pattern" ] && ! cat out log | grep -q -e "$pattern"; then
        fail "$name" "no line matches '$pattern': $(cat out log | head -c 300)"
    elif grep -q -e 'internal error' -e 'AddressSanitizer' -e 'runtime error' log; then
        fail "$name" "$(head -c 300 log)"
    else
        ok "$name"
    fi
}

same() { if cmp -s "$2" "$3"; then ok "$1"; else fail "$1" "$2 and $3 differ"; fi; }
