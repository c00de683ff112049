#!/bin/sh
# Compiles kernels/*.cu to kernels/ptx/*.ptx: kernels/build.sh [FAMILY …]
# or compares with what is there: kernels/build.sh --check [FAMILY …]
#
# The compiler is NVRTC 12.0.140, whose PTX drivers from R525 on take, with ptxas of the same version to see what
# kernels need. It comes from Python's registry with pip, into target/ptx, or is named: CLOZE_NVRTC is libnvrtc.so.12
# (with its libnvrtc-builtins.so beside it), CLOZE_PTXAS is ptxas. The result does not depend on the machine.
set -eu
ulimit -s 8192 # addresses are laid out in another way where it is unlimited
kernels=$(cd "$(dirname "$0")" && pwd)
folder=${CARGO_TARGET_DIR:-$kernels/../target}/ptx
mkdir -p "$folder"
if [ -z "${CLOZE_NVRTC:-}" ]; then
    if [ ! -d "$folder/nvidia" ]; then
        python3 -m pip download -q --no-deps -d "$folder/wheels" \
            nvidia-cuda-nvrtc-cu12==12.0.140 nvidia-cuda-nvcc-cu12==12.0.140
        for wheel in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder"; done
        chmod u+x "$folder/nvidia/cuda_nvcc/bin/ptxas"
    fi
    CLOZE_NVRTC=$folder/nvidia/cuda_nvrtc/lib/libnvrtc.so.12
    CLOZE_PTXAS=$folder/nvidia/cuda_nvcc/bin/ptxas
fi
if [ ! "$folder/build" -nt "$kernels/build.rs" ] || [ ! "$folder/build" -nt "$kernels/heap.rs" ]; then
    rustc --edition 2024 -O -A dead_code -o "$folder/build" "$kernels/build.rs"
fi
if [ "${1:-}" = --check ]; then
    exec "$folder/build" "$kernels" "$CLOZE_NVRTC" "$@"
fi
exec "$folder/build" "$kernels" "$CLOZE_NVRTC" "${CLOZE_PTXAS:-ptxas}" "$@"
