"""How much memory processes need that answer from one model: what they share, and what is each one's own.

python memory.py --model DIR --processes 4
python memory.py --model NEW --create DIR      first makes a BERT-base of random weights with the vocabulary of DIR

Figures are those of Linux, in MB of 10^6 bytes. Pss counts a page that n processes share as 1/n of a page in each: the
sum is what all need together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import cloze

BASE = {
    "model_type": "bert",
    "architectures": ["BertForMaskedLM"],
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
TEXTS = [f"The ship that sailed for India at dawn on day {day} was lost in the storm." for day in range(32)]

Memory = dict[str, int]
"""Bytes by the names that the kernel gives them."""


def create(folder: str, vocabulary: str) -> None:
    """A BERT-base of random weights, unless it is there."""
    if Path(folder).exists():
        return
    words = Path(vocabulary) / "vocab.txt"
    size = len(words.read_text(encoding="utf-8").splitlines())
    with cloze.Model.create({**BASE, "vocab_size": size}, vocabulary, objective="masked_lm", threads=1) as model:
        model.save(folder)


def memory(process: int | str) -> Memory:
    """Of a whole process."""
    return summed(Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8"))


def mapped(process: int, name: str) -> Memory:
    """Of those mappings of a process whose file has this name."""
    kept: list[str] = []
    inside = False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8").splitlines():
        if not line.split()[0].endswith(":"):  # The first line of a mapping: addresses, rights, ..., its file.
            inside = line.endswith(f"/{name}")
        elif inside:
            kept.append(line)
    return summed("\n".join(kept))


def summed(text: str) -> Memory:
    """Adds up lines "Pss:  12 kB"."""
    total = dict.fromkeys(("Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty"), 0)
    for fields in map(str.split, text.splitlines()):
        if len(fields) == 3 and fields[0].rstrip(":") in total:
            total[fields[0].rstrip(":")] += 1024 * int(fields[1])
    return total


def own(found: Memory) -> int:
    """Bytes that no other process has."""
    return found["Private_Clean"] + found["Private_Dirty"]


def answering(model: str, precision: str, kept: str, pipe: Connection, stop: Event) -> None:
    """A process that answers until it is stopped. It tells what it needed before it opened the model, then that it has
    answered."""
    pipe.send(memory("self"))
    with cloze.Model(model, threads=1, precision=precision, memory=kept) as opened:
        opened.embed(TEXTS)
        pipe.send("answered")
        while not stop.is_set():
            opened.embed(TEXTS)


def measure(model: str, precision: str, kept: str, processes: int, seconds: float) -> None:
    """Prints what each process needs after it has answered for so long, and all together."""
    context = multiprocessing.get_context("spawn")
    stop, workers, pipes = context.Event(), [], []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        arguments = (model, precision, kept, theirs, stop)
        workers.append(context.Process(target=answering, args=arguments, daemon=True))
        pipes.append(ours)
        workers[-1].start()
        theirs.close()
    try:
        before = [pipe.recv() for pipe in pipes]
        for pipe in pipes:
            pipe.recv()
        time.sleep(seconds)
        identities = [worker.pid or 0 for worker in workers]
        whole = [memory(identity) for identity in identities]
        weights = [mapped(identity, "model.safetensors") for identity in identities]
    except EOFError:
        raise RuntimeError(f"{model}: a process ended before it had answered") from None
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    size = (Path(model) / "model.safetensors").stat().st_size
    print(f"{processes} processes, {precision}, memory={kept}, weights {mb(size)} MB; MB of each:")
    print(" ".join(f"{name:>12}" for name in ("Rss", "Pss", "own", "own before", "weights Rss", "weights Pss")))
    for process, start, file in zip(whole, before, weights):
        row = (process["Rss"], process["Pss"], own(process), own(start), file["Rss"], file["Pss"])
        print(" ".join(f"{mb(value):>12}" for value in row))
    together = {
        "pss": sum(process["Pss"] for process in whole),
        "weights_pss": sum(file["Pss"] for file in weights),
        "own": sum(map(own, whole)),
    }
    own_weights = sum(map(own, weights))
    together["shared_without_weights"] = together["pss"] - together["weights_pss"] - together["own"] + own_weights
    print("together: " + json.dumps({name: float(mb(value)) for name, value in together.items()}))


def mb(value: int) -> str:
    return f"{value / 1e6:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True, help="HuggingFace folder of a BERT")
    parser.add_argument("--create", metavar="DIR", help="make it where it is not there, with the vocabulary of DIR")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--precision", choices=("f32", "bf16", "int8"), default="f32")
    parser.add_argument("--memory", choices=("least", "fast"), default="least")
    parser.add_argument("--seconds", type=float, default=5, help="how long they answer before they are looked at")
    given = parser.parse_args()
    try:
        if given.create is not None:
            create(given.model, given.create)
        cloze.Model(given.model, threads=1).close()
        measure(given.model, given.precision, given.memory, given.processes, given.seconds)
    except (OSError, RuntimeError, ValueError, cloze.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
