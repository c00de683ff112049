#!/bin/sh
# Runs the tests of the package with the library that CLOZE_LIBRARY names, else with that of target/release. Where Python,
# numpy or pytest is missing it says so and succeeds, or fails if CLOZE_REQUIRE lists "python".
set -eu
cd "$(dirname "$0")"
: "${PYTHON:=python3}"
case $(uname -s) in
    Darwin) name=libcloze.dylib ;;
    *) name=libcloze.so ;;
esac
# a folder stands for the library in it
: "${CLOZE_LIBRARY:=$PWD/../../target/release}"
if [ -d "$CLOZE_LIBRARY" ]; then CLOZE_LIBRARY=$CLOZE_LIBRARY/$name; fi
export CLOZE_LIBRARY PYTHONPATH="$PWD"
if ! "$PYTHON" -c 'import numpy, pytest' 2>/dev/null; then
    echo "SKIPPED (python): $PYTHON, numpy or pytest is missing" >&2
    case ",${CLOZE_REQUIRE:-}," in *,python,*) exit 1 ;; esac
    exit 0
fi
exec "$PYTHON" -m pytest -q "$@"
