"""Measures what measured.json holds, and writes it there.

python measure.py base OUT --tokenizer FOLDER                     a BERT-base of random weights, to measure with
python measure.py steps --cloze PROGRAM --model NAME=FOLDER ...   training steps; NAME is BERT-base or MiniLM-L6
python measure.py score --cloze PROGRAM --model FOLDER --texts FILE
python measure.py server                                          additions; with package cryptography, masks and keys

Every measurement is written as soon as it is there, together with its command and with what other processes took of the
processors meanwhile ("others", a share of all of them, on Linux). Where that is more than 5 %, a time is not what
passed but what the processors worked for it, divided by the threads ("clock": "processor", not "wall"): a little too
long, since others take caches and memory too. steps --trainable WHAT measures that alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from measured import Measured
from shapes import BASE, SHAPES, TRAINS

BATCHES, TOKENS = (4, 16), 128
THREADS = 2
DISTURBED = 0.05


class Others:
    """What processes other than this one and its children take of the processors: a share of all."""

    def __init__(self) -> None:
        self._begin = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Seconds of all processors: busy, busy or idle; and those of this process and its children."""
        try:
            line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        except OSError:
            return None
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in line.split()[1:9]]
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks), sum(one.ru_utime + one.ru_stime for one in usage)

    def share(self) -> float | None:
        """Since the beginning."""
        end = self._read()
        if self._begin is None or end is None:
            return None
        busy, all_of_it, own = (after - before for before, after in zip(self._begin, end))
        return round(max(0.0, busy - own) / all_of_it, 3)


def bench(program: str, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """What `cloze bench` prints, "others", and "cpu": processor seconds of the whole run."""
    command = [program, "bench", "--model", str(folder), *arguments]
    others, begin = Others(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    result: dict[str, Any] = json.loads(done.stdout)
    result["cpu"] = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
    result["others"] = others.share()
    return result


def timed(program: str, folder: Path, arguments: list[str]) -> tuple[dict[str, Any], float, str]:
    """What `cloze bench` prints, the seconds of one run, and the clock that tells them."""
    arguments = [*arguments, "--threads", str(THREADS)]
    result = bench(program, folder, arguments)
    if (result["others"] or 0.0) <= DISTURBED:
        return result, result["median_ms"] / 1e3, "wall"
    # a run of next to nothing tells what opening takes; two runs warm up
    opening = bench(program, folder, ["--workload", "encode", "--seq", "1", "--seconds", "0"])["cpu"]
    return result, (result["cpu"] - opening) / (result["runs"] + 2) / THREADS, "processor"


def measure_steps(measured: Measured, given: argparse.Namespace) -> None:
    for name, folder in given.model:
        for trains in given.trainable or TRAINS:
            for batch in BATCHES:
                arguments = ["--workload", "finetune", "--trainable", trains, "--batch", str(batch)]
                result, seconds, clock = timed(given.cloze, folder, arguments)
                expected = SHAPES[name].numbers(trains)
                if result["parameters"] != expected:
                    raise SystemExit(f"{folder}: {result['parameters']} numbers train, {name} has {expected}")
                entry = {
                    "model": name,
                    "trainable": trains,
                    "batch": batch,
                    "seq": TOKENS,
                    "seconds": float(f"{seconds:.4g}"),
                    "clock": clock,
                    "runs": result["runs"],
                    "parameters": result["parameters"],
                    "command": " ".join(["cloze bench --model", name, *arguments, "--threads", str(THREADS)]),
                    "others": result["others"],
                }
                keep(measured, entry)
                print(json.dumps(entry), flush=True)


def keep(measured: Measured, entry: dict[str, Any]) -> None:
    """Writes a step in the place of the one like it."""
    same = ("model", "trainable", "batch", "seq")
    steps = [one for one in measured.document["steps"] if any(one[key] != entry[key] for key in same)]
    measured.document["steps"] = [*steps, entry]
    measured.write()


def measure_score(measured: Measured, given: argparse.Namespace) -> None:
    texts: Path = given.texts
    arguments = ["--workload", "ragged", "--pooled", "--batch", "32"]
    result, seconds, clock = timed(given.cloze, given.model, [*arguments, "--file", str(texts)])
    command = " ".join(["cloze bench --model MiniLM-L6", *arguments, "--threads", str(THREADS), "--file", texts.name])
    rate = round(result["texts"] / seconds, 1)
    measured.set("texts_per_second", rate, command, clock, result["others"])
    # the program takes the first 320 lines, each up to its last TAB
    lines = texts.read_text(encoding="utf-8").splitlines()[: result["texts"]]
    sizes = [len(line.rpartition("\t")[0].encode() or line.encode()) + 1 for line in lines]
    measured.set("text_bytes", round(statistics.mean(sizes), 1), f"the first {len(sizes)} lines of {texts.name}")
    measured.write()
    print(f"{rate} texts/s by the {clock} clock, {statistics.mean(sizes):.1f} bytes")


def median_seconds(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Processor seconds of one call, after one to warm up."""
    work()
    begin = time.perf_counter()
    times: list[float] = []
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure_server(measured: Measured) -> None:
    count = 10_000_000
    answer, total, scratch = np.ones(count, np.float32), np.zeros(count, np.float32), np.empty(count, np.float32)

    def add() -> None:
        np.multiply(answer, np.float32(0.5), out=scratch)
        np.add(total, scratch, out=total)

    def keep_figure(name: str, work: Callable[[], object], each: int) -> None:
        others = Others()
        value = float(f"{median_seconds(work) / each:.4g}")
        measured.set(name, value, "python measure.py server", "processor", others.share())

    keep_figure("addition", add, count)
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        print(f"not measured: masks and key agreements: {error}", file=sys.stderr)
        measured.write()
        return
    zeros, stream, sums = bytes(4 * count), bytearray(4 * count + 16), np.zeros(count, np.uint32)

    def mask() -> None:
        Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor().update_into(zeros, stream)
        np.add(sums, np.frombuffer(stream, np.uint32, count), out=sums)

    own, other = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()

    def agree() -> None:
        HKDF(hashes.SHA256(), 32, None, b"mask").derive(own.exchange(other))

    keep_figure("mask", mask, count)
    keep_figure("agreement", agree, 1)
    measured.write()
    print({name: measured.figure(name) for name in ("addition", "mask", "agreement")})


def make_base(out: Path, tokenizer: Path) -> None:
    import cloze

    config = {
        "model_type": "bert",
        "architectures": ["BertForPreTraining"],
        "vocab_size": BASE.vocabulary,
        "max_position_embeddings": BASE.places,
        "hidden_size": BASE.hidden,
        "num_hidden_layers": BASE.layers,
        "num_attention_heads": BASE.hidden // 64,
        "intermediate_size": BASE.intermediate,
        "type_vocab_size": BASE.segments,
    }
    with cloze.Model.create(config, tokenizer, objective="pretraining") as model:
        model.save(out)


def named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    if name not in SHAPES or not folder:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FOLDER, NAME one of {', '.join(SHAPES)}")
    return name, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    base = what.add_parser("base")
    base.add_argument("out", type=Path)
    base.add_argument("--tokenizer", type=Path, required=True)
    steps = what.add_parser("steps")
    steps.add_argument("--cloze", required=True)
    steps.add_argument("--model", type=named, action="append", required=True)
    steps.add_argument("--trainable", choices=TRAINS, action="append")
    score = what.add_parser("score")
    score.add_argument("--cloze", required=True)
    score.add_argument("--model", type=Path, required=True)
    score.add_argument("--texts", type=Path, required=True)
    what.add_parser("server")
    given = parser.parse_args()
    if given.what == "base":
        make_base(given.out, given.tokenizer)
    elif given.what == "steps":
        measure_steps(Measured.read(), given)
    elif given.what == "score":
        measure_score(Measured.read(), given)
    else:
        measure_server(Measured.read())


if __name__ == "__main__":
    main()
