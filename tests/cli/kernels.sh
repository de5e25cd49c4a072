# verify and bench, one kernel, kernels kept on disk, tuned blocks. Part of run.sh, which reads it
# where all parts stand in
# one folder with what the parts before it made.

# ---- verify, bench -------------------------------------------------------------------------------

want 0 'finite differences .* ok' 'verify' "$VMOEC" verify $F
for r in top_k all_experts expert_choice image_expert_choice priority_choice capacity \
    batch_priority renormalised \
    follow_label keep_first sparse_capacity uniform blocks topk_softmax softmax_topk_renorm \
    sigmoid_topk two_groups expert_dropout; do
    want 0 'finite differences .* ok' "verify the router $r" \
        "$VMOEC" verify "$ROOT/tests/routers/routers.vmoe" --batch 3 --set router=$r \
        --set factor=0.6
done
want 0 '"mfu":' 'bench' "$VMOEC" bench --json --steps 3 $F
for key in step_ms latency_ms images_per_second flops peak_gflops mfu moe_overhead compile_ms \
    peak_rss kernels roof; do
    if grep -q "\"$key\":" out; then ok "bench has $key"; else fail "bench has $key" 'no'; fi
done
if grep -q '"moe_overhead":-\?[0-9]' out && grep -q '"dense_no_update_ms":[0-9]' out; then
    ok 'bench compares with plain layers'
else
    fail 'bench compares with plain layers' "$(head -c 300 out)"
fi
want 0 'uniform, fullest expert 1.00 x the mean' 'bench with equal loads' \
    "$VMOEC" bench --steps 3 --routing uniform $F
want 0 'skew=0.5, fullest expert' 'bench with skewed loads' \
    "$VMOEC" bench --steps 3 --routing skew=0.5 $F
want 0 '"expert_load_max":4[.,]' 'bench with all tokens at one expert' \
    "$VMOEC" bench --json --steps 3 --routing skew=1 --set experts=4 --set top_k=1 $F
for how in skew skew= skew=0 skew=1.5 skew=x random; do
    want 2 'routing is learned, uniform or skew=SHARE' "bench --routing '$how'" \
        "$VMOEC" bench --routing "$how" $F
done
want 0 '^kernel .*roof %' 'bench as a table' \
    "$VMOEC" bench --steps 3 --threads 1 --roofline roof.svg $F
if ! command -v xmllint > /dev/null; then
    echo 'skip the roofline is well-formed: no xmllint'
elif xmllint --noout roof.svg 2> log; then
    ok 'the roofline is well-formed'
else
    fail 'the roofline is well-formed' "$(head -c 300 log)"
fi
for part in '<svg xmlns' '<circle class="compute"' '<circle class="memory"' 'GFLOP/s f32 FMA' \
    prefers-color-scheme; do
    if grep -q -F "$part" roof.svg; then
        ok "the roofline has $part"
    else
        fail "the roofline has $part" 'no'
    fi
done
want 3 'cannot write' 'a roofline in no folder' "$VMOEC" bench --steps 3 --roofline nowhere/r.svg $F

want 0 '"kernels":\[\]' 'bench of steps only' "$VMOEC" bench --json --steps 3 --step-only $F
want 2 'leaves no kernels for --roofline' 'no kernels to draw' \
    "$VMOEC" bench --step-only --roofline r.svg $F

# ---- one kernel ----------------------------------------------------------------------------------

want 0 'roof' 'list of kernels' "$VMOEC" bench --kernel 'matmul m=40 n=72 k=24' --steps 3
while read -r text; do
    want 0 ': ok$' "bench --kernel $text" "$VMOEC" bench --steps 3 --kernel "$text"
done << KERNELS
matmul m=40 n=72 k=24
matmul m=40 n=72 k=24 tb=1 epilogue=bias_gelu
matmul m=40 n=72 k=24 ta=1 epilogue=residual
matmul m=33 n=17 k=5 batch=3 weight=0
expert_matmul m=64 n=40 k=24 top_k=2 gather=1 epilogue=bias
expert_matmul m=64 n=40 k=24 experts=4 skew=0.9 tb=1
expert_matmul_dw m=24 n=40 k=64 experts=4 skew=1
sdpa batch=2 n=17 dim=32 heads=2
sdpa_grad batch=2 n=17 dim=32 heads=2
depthwise batch=2 size=9 c=20 kernel=7 epilogue=bias_gelu
depthwise batch=1 size=10 c=16 kernel=3 stride=2 epilogue=residual
depthwise_dx batch=2 size=9 c=20 kernel=3 stride=2
depthwise_dw batch=3 size=9 c=20 kernel=7
softmax m=10 n=33
layer_norm m=10 n=48
layer_norm_grad m=10 n=48
sum m=50 n=20
topk m=64 n=8 k=2
adamw n=1000
KERNELS
want 0 '"ms_with_packing":' 'one kernel as JSON' \
    "$VMOEC" bench --json --steps 3 --kernel 'matmul m=40 n=72 k=24'
for key in kernel ms gflops gbs roof bound error kernels peak_gflops; do
    if grep -q "\"$key\":" out; then
        ok "bench --kernel has $key"
    else
        fail "bench --kernel has $key" 'no'
    fi
done
if grep -q '"verified":true' out; then ok 'it was verified'; else fail 'it was verified' 'no'; fi
want 0 '"verified":false' 'one kernel, only timed' \
    "$VMOEC" bench --json --no-verify --steps 3 --kernel 'sum m=9 n=9'
want 0 'sdpa_grad' 'what --kernel knows' "$VMOEC" bench --kernel help
want 2 'did you mean matmul' 'a misspelled kernel' "$VMOEC" bench --kernel 'matmull m=3'
want 2 'kernel:1:14: error: expected a whole number' 'a kernel with a wrong number' \
    "$VMOEC" bench --kernel 'matmul m=3 n=x k=2'
want 2 'did you mean n?' 'a misspelled key' "$VMOEC" bench --kernel 'matmul m=3 nn=4'
want 2 'epilogue, found .geul.; did you mean gelu' 'a misspelled choice' \
    "$VMOEC" bench --kernel 'matmul m=3 n=4 k=2 epilogue=geul'
want 2 'expert_matmul does' "another kernel's key" "$VMOEC" bench --kernel 'softmax m=3 experts=2'
want 2 'matmul needs n, k' 'a missing key' "$VMOEC" bench --kernel 'matmul m=3'
want 2 'm is given twice' 'a key given twice' "$VMOEC" bench --kernel 'matmul m=3 n=4 k=2 m=4'
want 2 'heads=3 does not divide dim=10' 'heads that do not divide' \
    "$VMOEC" bench --kernel 'sdpa batch=2 n=4 dim=10 heads=3'
want 2 'is more than n=3' 'more than there are' "$VMOEC" bench --kernel 'topk m=3 n=3 k=4'
want 2 'the most that can be timed' 'a kernel too large' \
    "$VMOEC" bench --kernel 'matmul m=1048576 n=1048576 k=2'
want 2 'found nothing' 'a blank kernel' "$VMOEC" bench --kernel ' '
want 2 'takes the place of a file' 'a kernel and a file' "$VMOEC" bench --kernel 'sum m=9 n=9' $F
want 2 'does not go with --kernel' 'a kernel with a batch' \
    "$VMOEC" bench --kernel 'sum m=9 n=9' --batch 3
want 2 'goes with --kernel' 'no-verify of a file' "$VMOEC" bench --no-verify $F
if [ -w /dev/full ]; then
    "$VMOEC" info $F > /dev/full 2> log
    got=$?
    if [ $got -eq 3 ]; then ok 'a full disk'; else fail 'a full disk' "exit status $got"; fi
fi
clean 'no temporary files'
absent 'no crash file' vmoec-crash.vir

# ---- kernels kept on disk ------------------------------------------------------------------------

kept() { find "$T/kernels" -type f | wc -l; }
cached() { # PATTERN NAME OPTION...: how many kernels the cache had, as --time says
    pattern=$1 name=$2
    shift 2
    want 0 "$pattern" "$name" env VMOEC_CACHE_DIR="$T/kernels" \
        "$VMOEC" bench tiny.vmoe --steps 3 --time "$@"
}
crowd=
for i in 1 2 3 4 5 6 7 8; do # a cold cache and eight that fill it
    VMOEC_CACHE_DIR=$T/kernels "$VMOEC" bench tiny.vmoe --steps 3 --json > "crowd.$i" 2>&1 &
    crowd="$crowd $!"
done
together=0
for pid in $crowd; do wait "$pid" || together=1; done
if [ $together -eq 0 ]; then
    ok 'eight cold starts at once'
else
    fail 'eight cold starts at once' "$(cat crowd.* | grep -v '^{' | head -3)"
fi
if [ -n "$(find kernels -name '.vmoec-*')" ]; then
    fail 'no temporary kernels' "$(find kernels -name '.vmoec-*' | head -1)"
else
    ok 'no temporary kernels'
fi
cached ' \([0-9]*\) of \1 kernels found' 'a warm start finds all'
all=$(kept)
cached ' 0 of [1-9][0-9]* kernels found' 'no cache' --no-cache
find kernels -type f | head -5 | while read -r f; do : > "$f"; done
cached ' [1-9][0-9]* of [1-9]' 'damaged kernels are made again'
cached ' \([0-9]*\) of \1 kernels found' 'and kept again'
if [ "$(kept)" -eq "$all" ]; then
    ok 'as many kernels as before'
else
    fail 'as many kernels as before' "$all, then $(kept)"
fi
want 0 ' 0 of [1-9][0-9]* kernels found;' 'a cache that cannot be made' \
    env VMOEC_CACHE_DIR=/proc/nothing "$VMOEC" bench tiny.vmoe --steps 3 --time
mkdir others && chmod 777 others
want 0 'warning: kernels are not kept.*others' 'a cache that others could put code into' \
    env VMOEC_CACHE_DIR="$T/others/kernels" "$VMOEC" bench tiny.vmoe --steps 3
absent 'nothing is made there' others/kernels
want 0 ' 0 of [1-9][0-9]* kernels found$' 'VMOEC_CACHE=off' env VMOEC_CACHE=off \
    "$VMOEC" bench tiny.vmoe --steps 3 --time
mkdir alone
cp "$VMOEC" alone/vmoec
want 3 'vmoec-llvm.so' 'a program without its code generator' \
    env VMOEC_CACHE=off alone/vmoec bench tiny.vmoe --steps 3
want 0 kernels 'a warm start needs no code generator' \
    env VMOEC_CACHE_DIR="$T/kernels" alone/vmoec bench tiny.vmoe --steps 3 --time
cp "$T/tiny.vmoe" alone/vmoec-llvm.so
want 3 'code generator' 'a code generator that is none' \
    env VMOEC_CACHE=off alone/vmoec bench tiny.vmoe --steps 3

# ---- tuned blocks --------------------------------------------------------------------------------

want 0 'untuned' 'tune a small model' "$VMOEC" tune tiny.vmoe --seconds 8 -o found.tune
began=$(date +%s)
want 0 '' 'tune without time' "$VMOEC" tune tiny.vmoe --seconds 1 -o none.tune
took=$(($(date +%s) - began))
if [ "$took" -le 4 ]; then
    ok 'tune keeps its time'
else
    fail 'tune keeps its time' "$took s of 1"
fi
[ -e found.tune ] || echo '# no gain here' > found.tune
want 0 'found.tune' 'what tune wrote is read' \
    "$VMOEC" bench tiny.vmoe --steps 3 --time --tune found.tune
want 2 'out of range' 'tune for no time' "$VMOEC" tune tiny.vmoe --seconds 0
printf 'matmul m=4 n=16 k=16 -> rows=7 colz=64\n' > tiny.tune
want 1 'tiny.tune:1:32: error: expected cols=, found .colz=' \
    'a mistake in the file beside the model' \
    "$VMOEC" bench tiny.vmoe --steps 3
want 3 'cannot open' 'a tuning file that is not there' \
    "$VMOEC" bench tiny.vmoe --steps 3 --tune no.tune
printf 'cpu Some Other\nmatmul m=4 n=16 k=16 -> rows=7 cols=64\n' > tiny.tune
want 0 'warning: tiny.tune is ignored: it is for Some Other' 'a file for another CPU' \
    "$VMOEC" bench tiny.vmoe --steps 3
echo '# nothing is tuned' > none.tune
want 0 '' 'training without tuned blocks' \
    "$VMOEC" train tiny.vmoe --data data --out runs/plain --overwrite --tune none.tune
{
    echo 'matmul m=64 n=16 k=16 -> rows=24 cols=16'
    echo 'matmul m=64 n=48 k=16 -> rows=40 cols=16'
    echo 'expert_matmul_dw count=4 m=24 n=16 k=128 -> rows=16 cols=16'
    echo 'expert_matmul count=4 m=128 n=24 k=16 -> rows=24 cols=32'
} > tiny.tune
want 0 '' 'training with tuned blocks' \
    "$VMOEC" train tiny.vmoe --data data --out runs/tuned --overwrite
if grep -q '"event":"start".*"tuning":"tiny.tune"' runs/tuned/metrics.jsonl; then
    ok 'the log names the tuning file'
else
    fail 'the log names the tuning file' "$(head -c 300 runs/tuned/metrics.jsonl)"
fi
same 'tuned blocks change no bit of the weights' runs/plain/weights.safetensors \
    runs/tuned/weights.safetensors
rm tiny.tune
