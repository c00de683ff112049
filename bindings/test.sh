#!/bin/sh
# The tests of every language: test.sh [LANGUAGE...]. Each has its own command, `make -C bindings/LANGUAGE test LIBRARY=...`.
#
# BUILT is the folder with the shared library. A language whose tool is not here is left out loudly; CLOZE_REQUIRE=go makes
# that a failure.
set -eu
built=$(cd "${BUILT:?the folder with the shared library}" && pwd)
cd "$(dirname "$0")"

if [ $# -eq 0 ]; then set -- cpp python go csharp; fi
failed=
for language in "$@"; do
    [ -e "$language/Makefile" ] || continue
    case $language in
        cpp) tool=c++ ;;
        python) tool=python3 ;;
        csharp) tool=mcs ;;
        *) tool=$language ;;
    esac
    printf '\n== %s\n' "$language"
    status=0
    sh present.sh "$tool" || status=$?
    if [ "$status" -eq 0 ]; then make -C "$language" test LIBRARY="$built" || status=1; fi
    if [ "$status" -eq 1 ]; then failed="$failed $language"; fi
done
if [ -n "$failed" ]; then
    echo "FAILED:$failed" >&2
    exit 1
fi
