#!/bin/sh
# The corpora of the fuzzing targets (tests/fuzz/targets.def), each input once.
exec "${BUILD:-build}/tests/replay"
