"""The first answer of ONNX Runtime: a text's mean-pooled vector, from a new process in the peers' environment.

    first_answer.py PEERS.PY PRECISION TEXT

Prints the vector, and a line of JSON: milliseconds since all was imported, and how much memory was resident then (KiB:
all of it, and what is no file's).
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import onnxruntime  # noqa: F401  loaded before the clock starts
from tokenizers import Tokenizer

from worker import load


def resident() -> dict[str, int]:
    """KiB, by the kernel's names."""
    with open("/proc/self/status", encoding="ascii") as status:
        pairs = (line.split(":") for line in status)
        return {key: int(value.split()[0]) for key, value in pairs if key in ("VmRSS", "RssAnon")}


def main() -> None:
    script, precision, text = sys.argv[1:]
    peers = load(script)
    before, start = resident(), time.perf_counter()
    tokenizer = Tokenizer.from_file(os.path.join(peers.BASE, "tokenizer.json"))
    states = peers.ort_encoder(precision)([tokenizer.encode(text).ids])[0]
    vector = np.asarray(states)[0].mean(0)
    milliseconds = (time.perf_counter() - start) * 1e3
    print(json.dumps(vector.tolist()))
    print(json.dumps({"milliseconds": milliseconds, **before}))


if __name__ == "__main__":
    main()
