#!/bin/sh
# Runs the tests of the CUDA device on a real GPU, and again under compute-sanitizer: tests/cuda/on_device.sh PROGRAM
# [FILTER …]
#
# PROGRAM is what `cargo test --test cuda --no-run` built, here or on another machine; nothing is built. FILTER picks
# tests by their names. What was said goes to the folder $OUT, where that is set, else to a new one; at the end stands a
# table. STEPS picks from "tests memcheck racecheck synccheck initcheck"; each has $LIMIT seconds, 300 where not set.
set -u
[ $# -ge 1 ] || { echo "usage: $0 PROGRAM [FILTER …]" >&2; exit 2; }
program=$1
shift
export CARGO_MANIFEST_DIR=${CARGO_MANIFEST_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
out=${OUT:-$(mktemp -d)}
limit=${LIMIT:-300}
table=$out/table.txt
failed=0

# Every buffer an allocation of its own: the sanitizer sees what lies beyond it.
export CLOZE_TEST_CUDA=1 CLOZE_CUDA_EXACT=1

sanitizer=${COMPUTE_SANITIZER:-}
for place in compute-sanitizer /usr/local/cuda/bin/compute-sanitizer /opt/cuda/bin/compute-sanitizer; do
    [ -n "$sanitizer" ] || sanitizer=$(command -v "$place" || true)
done

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | tee "$out/device.txt"
printf '%-12s %-10s %8s  %s\n' step result seconds what > "$table"

step() {
    name=$1
    shift
    start=$(date +%s)
    timeout "$limit" "$@" > "$out/$name.txt" 2>&1
    code=$?
    seconds=$(($(date +%s) - start))
    what=$(grep -aE '^test result:|ERROR SUMMARY|RACECHECK SUMMARY' "$out/$name.txt" | tail -2 | tr '\n' ' ')
    case $code in
    0) result=passed ;;
    124) result=timeout failed=1 ;;
    *) result="code $code" failed=1 ;;
    esac
    printf '%-12s %-10s %8s  %s\n' "$name" "$result" "$seconds" "$what" >> "$table"
}

for name in ${STEPS:-tests memcheck racecheck synccheck initcheck}; do
    if [ "$name" = tests ]; then
        # as it is used, with memory that is used again, and then with every buffer by itself
        step pooled env CLOZE_CUDA_EXACT=0 "$program" "$@"
        step exact "$program" "$@"
    elif [ -z "$sanitizer" ]; then
        printf '%-12s %-10s %8s  %s\n' "$name" skipped 0 "no compute-sanitizer" >> "$table"
    else
        step "$name" "$sanitizer" --tool "$name" --error-exitcode 99 "$program" --test-threads 1 "$@"
    fi
done

cat "$table"
grep -ahE '^test .* FAILED|panicked at|========= (Invalid|Error|Potential|Race|Uninit)' "$out"/*.txt | head -40
echo "$out"
exit $failed
