#!/bin/sh
# The language server, as a client in Python's standard library (client.py) meets it.
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=${BUILD:-build}
python3 tests/lsp/test.py "${VMOEC:-$BUILD/vmoec}" models
