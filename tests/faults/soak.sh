#!/bin/sh
# A long run of small steps takes no more at its end than at its beginning: resident memory,
# descriptors, threads. Checkpoints, evaluations and log lines are part of it.
#
#   VMOEC=build/vmoec tests/faults/soak.sh [STEPS]       default 100000: minutes; part of
# FAULTS=long. FAULTS_OVER=trainer: in a program that vmoec built.
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=$(realpath "${VMOEC:-build/vmoec}")
STEPS=${1:-100000}
DATA=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
[ -e "$DATA/train-images-idx3-ubyte.gz" ] || { echo "skip soak no data set in $DATA"; exit 0; }
export VMOEC_MODELS="$PWD/models"
T=$(mktemp -d) || exit 3
trap 'kill "$pid" 2> /dev/null; rm -rf "$T"' EXIT INT TERM
cat > "$T/m.vmoe" << 'END'
use "std/moe"

model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {
  x = linear(reshape(image, [B, 784]), 16)
  gate = softmax(linear(x, 4, bias = false))
  route = top_k(gate, 2)
  aux load_balance(gate, route), weight = 0.01
  y = dispatch(x, route) |> mlp(16) |> combine(route)
  loss cross_entropy(linear(y, 10), label)
  metric accuracy(linear(y, 10), label)
}

train m {
  data = fashion_mnist(batch = 50)
  schedule = constant(peak = 1e-3)
  log_every = 50
}
END
over=${FAULTS_OVER:-vmoec}
if [ "$over" = trainer ]; then
    "$VMOEC" build "$T/m.vmoe" --data "$DATA" -o "$T/m" > "$T/log" 2>&1 \
        || { echo "FAIL soak no trainer: $(tail -c 300 "$T/log")"; exit 1; }
    set -- "$T/m" train
else
    set -- "$VMOEC" train "$T/m.vmoe"
fi
"$@" --data "$DATA" --steps "$STEPS" --threads 2 --quiet --out "$T/run" > "$T/log" 2>&1 &
pid=$!
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status" 2> /dev/null; }
count() { find "/proc/$pid/$1" -mindepth 1 -maxdepth 1 2> /dev/null | wc -l; }
epochs() { cat "$T/run/metrics.jsonl" 2> /dev/null | grep -c '"event":"epoch"'; }
while [ "$(epochs)" -lt 2 ] && kill -0 $pid 2> /dev/null; do sleep 0.2; done
first=$(rss) fds=$(count fd) threads=$(count task) most=$first
while kill -0 $pid 2> /dev/null; do
    now=$(rss)
    [ -z "$now" ] || [ "$now" -le "$most" ] || most=$now
    more=$(count fd) tasks=$(count task)
    [ "$more" -le $((fds + 4)) ] || { echo "FAIL soak $more descriptors, $fds at first"; exit 1; }
    [ "$tasks" -le "$threads" ] || { echo "FAIL soak $tasks threads, $threads at first"; exit 1; }
    sleep 0.5
done
wait $pid || { echo "FAIL soak exit status $?: $(tail -c 300 "$T/log")"; exit 1; }
grew=$((most - first))
if [ $grew -le 1024 ]; then
    more="$grew KiB more at most, $fds descriptors"
    echo "ok $over: $STEPS steps, $(epochs) epochs: $first KiB after the second epoch, $more"
else
    echo "FAIL soak memory grew by $grew KiB from $first KiB"
    exit 1
fi
