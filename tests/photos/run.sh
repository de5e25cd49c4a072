#!/bin/sh
# A folder of photos, PNG and JPEG of many sizes, that is larger than the memory a run may take, on
# disk and decoded: it trains within 256 MiB, kept by a cgroup where one can be made, by
# --mem-budget and by a limit on the process, with the same bits as a run that holds all images.
#
#   VMOEC=build/vmoec BUILD=build tests/photos/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-build/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
VMOEC_MODELS=${VMOEC_MODELS:-$PWD/models}
export VMOEC_MODELS
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
case $(file -b "$VMOEC" 2> /dev/null; nm "$VMOEC" 2> /dev/null | grep -m 1 __asan_init) in
*__asan_init*) echo "skip photos in a build whose checks take memory of their own"; exit 0 ;;
esac
MAKE=$(realpath "${BUILD:-build}")/tests/photos
[ -x "$MAKE" ] || { echo "FAIL setup there is no $MAKE: make tests"; exit 3; }
LIMIT=268435456
T=$(mktemp -d) || exit 3
group=
trap 'rm -rf "$T"; [ -z "$group" ] || rmdir "$group" 2> /dev/null' EXIT INT TERM
cd "$T" || exit 3

failed=0
check() { # NAME CONDITION DETAILS: the condition is for awk
    if awk "BEGIN { exit !($2) }"; then
        echo "ok $1"
    else
        echo "FAIL $1: $3"
        failed=1
    fi
}

room=$(df -Pk . | awk 'NR == 2 { print $4 }')
if [ "$room" -lt 1000000 ]; then
    echo "skip photos there is no room for them: $room KiB"
    exit 0
fi
"$MAKE" photos 260 10 || { echo 'FAIL the photos'; exit 1; }
check 'the photos are larger than the limit' \
    "$(du -sk photos | awk '{ print $1 * 1024 }') > $LIMIT" "$(du -sk photos)"
cat > photos.vmoe << 'END'
config { side = 480 }
model m(image: f32[B, 3, side, side], label: class[B, 2]) {
  x = patchify(image, 32)
  h = gelu(linear(x, 64))
  logits = linear(mean(h, axis = 1), 2)
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}
train m {
  data = image_folder(dir = "photos", batch = 4, resize = side)
  schedule = constant(peak = 1e-3)
  epochs = 1
}
END

# took: bytes that the last run says it took at its peak
took() {
    awk '/^memory / { unit["KiB"] = 1024; unit["MiB"] = 1048576; unit["GiB"] = 1073741824
                      printf "%.0f", $2 * unit[$3] }' log
}
# trains NAME OUT COMMAND..: a run inside the limit, with the weights of the one that has none
trains() {
    name=$1 out=$2
    shift 2
    "$@" train photos.vmoe --quiet --threads 2 --out "$out" $budget > log 2>&1
    status=$?
    check "$name: trains" "$status == 0" "exit status $status: $(tail -c 300 log)"
    check "$name: within the limit" "0$(took) > 0 && 0$(took) <= $LIMIT" "$(cat log)"
    if cmp -s all/weights.safetensors "$out/weights.safetensors"; then
        echo "ok $name: the weights are those of a run that holds all images"
    else
        echo "FAIL $name: other weights"
        failed=1
    fi
}

budget=
timeout 300 "$VMOEC" train photos.vmoe --quiet --threads 2 --out all > log 2>&1 ||
    { echo "FAIL all images in memory: $(tail -c 300 log)"; exit 1; }
check 'all images in memory take more than the limit' "0$(took) > $LIMIT" "$(cat log)"

budget='--mem-budget 256MiB'
trains '--mem-budget' budget timeout 300 "$VMOEC"
# What the system counts as a process's own memory may not pass the limit either: an allocation
# that would is refused.
within() { # COMMAND..
    sh -c 'ulimit -d "$1" && shift && exec timeout 300 "$@"' sh $((LIMIT / 1024)) "$@"
}
within "$VMOEC" train photos.vmoe --quiet --threads 2 --out none > log 2>&1
status=$?
check 'a limit on the process refuses a run that holds all images' "$status == 3" \
    "exit status $status: $(tail -c 300 log)"
trains 'a limit on the process' limited within "$VMOEC"

# ---- a cgroup ------------------------------------------------------------------------------------

# The system's service manager makes one for a command; where there is none, one is made below this
# process's own, if that may hand the memory controller on (cgroup v2).
budget=
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
here=/sys/fs/cgroup$own
scope="systemd-run --user --scope --quiet -p MemoryMax=$LIMIT -p MemorySwapMax=0"
if $scope true > /dev/null 2>&1; then
    # shellcheck disable=SC2086
    trains 'a cgroup of 256 MiB' group $scope timeout 300 "$VMOEC"
elif grep -qw memory "$here/cgroup.subtree_control" 2> /dev/null &&
    mkdir "$here/vmoec-test.$$" 2> /dev/null; then
    group=$here/vmoec-test.$$
    echo 0 > "$group/memory.swap.max" 2> /dev/null
    if echo $LIMIT > "$group/memory.max" &&
        sh -c "echo \$\$ > $group/cgroup.procs" 2> /dev/null; then
        trains 'a cgroup of 256 MiB' group sh -c \
            'echo $$ > "$1/cgroup.procs" && shift && exec timeout 300 "$@"' sh "$group" "$VMOEC"
        killed=$(sed -n 's/^oom_kill //p' "$group/memory.events")
        check 'a cgroup of 256 MiB: nothing in it was killed' "0$killed == 0" \
            "$(cat "$group/memory.events")"
    else
        echo 'skip a cgroup of 256 MiB: processes may not be moved into a new one'
    fi
else
    echo 'skip a cgroup of 256 MiB: none can be made (cgroup v2 with the memory controller)'
fi
exit $failed
