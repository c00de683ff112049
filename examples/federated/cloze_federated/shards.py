"""Shards of one labelled file that differ in their labels and their sizes.

python -m cloze_federated.shards TRAIN OUT [--clients 20] [--alpha 0.5] [--seed 42] [--least 8]

TRAIN has a text, a tab and a label on each line. OUT gets 00.tsv, 01.tsv ... with the same lines.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ATTEMPTS = 1000


def read_lines(path: Path) -> tuple[list[str], list[str]]:
    """The lines of a file and their labels."""
    text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    lines = text.removesuffix("\n").split("\n") if text else []
    labels = []
    for number, line in enumerate(lines, start=1):
        sentence, tab, label = line.rpartition("\t")
        if not tab or not sentence or not label:
            raise ValueError(f"{path}:{number}: not a text, a tab and a label: {line!r:.60}")
        labels.append(label)
    if not lines:
        raise ValueError(f"{path} has no lines")
    return lines, labels


def dirichlet(labels: Sequence[str], clients: int, alpha: float, seed: int, least: int = 1) -> list[NDArray[np.intp]]:
    """Numbers of the examples of each client, ascending: disjoint, and complete together.

    For each label, what part of its examples each client gets is drawn from the symmetric Dirichlet distribution of
    `alpha` over the clients: the smaller, the more a client has of one label alone. Drawn again until every client has
    `least` examples.
    """
    if clients < 1 or alpha <= 0 or least < 0:
        raise ValueError(f"clients {clients}, alpha {alpha}, least {least}: have to be at least 1, above 0, at least 0")
    if clients * least > len(labels):
        raise ValueError(f"{len(labels)} examples are too few for {clients} clients with at least {least} each")
    random = np.random.default_rng(seed)
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    for _ in range(ATTEMPTS):
        parts: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
        for code in range(len(names)):
            own = random.permutation(np.flatnonzero(codes == code))
            bounds = np.cumsum(random.dirichlet(np.full(clients, alpha)))[:-1] * own.size
            for part, numbers in zip(parts, np.split(own, np.rint(bounds).astype(np.intp))):
                part.append(numbers)
        shards = [np.sort(np.concatenate(part)) for part in parts]
        if min(shard.size for shard in shards) >= least:
            return shards
    raise ValueError(f"no draw of {ATTEMPTS} with alpha {alpha} gave each of {clients} clients {least} examples")


def table(labels: Sequence[str], shards: Sequence[NDArray[np.intp]]) -> str:
    """A row a client: its examples, how many have each label, and the share of the most frequent."""
    names = sorted(set(labels))
    rows = [f"client  examples  {'  '.join(f'{name:>8}' for name in names)}  most frequent"]
    for client, shard in enumerate(shards):
        counts = Counter(labels[number] for number in shard)
        own = "  ".join(f"{counts[name]:8,}" for name in names)
        share = max(counts.values()) / shard.size if shard.size else 0.0
        rows.append(f"{client:6}  {shard.size:8,}  {own}  {share:13.0%}")
    return "\n".join(rows)


def shard_file(folder: Path, client: int) -> Path:
    """The file of a client's shard."""
    return folder / f"{client:02}.tsv"


def write(train: Path, folder: Path, clients: int, alpha: float, seed: int, least: int) -> str:
    """Writes the shards of a file, and returns their table."""
    lines, labels = read_lines(train)
    shards = dirichlet(labels, clients, alpha, seed, least)
    folder.mkdir(parents=True, exist_ok=True)
    for client, shard in enumerate(shards):
        text = "".join(f"{lines[number]}\n" for number in shard)
        shard_file(folder, client).write_bytes(text.encode("utf-8"))
    return table(labels, shards)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--least", type=int, default=8, help="examples that every client has")
    given = parser.parse_args()
    print(write(given.train, given.out, given.clients, given.alpha, given.seed, given.least))


if __name__ == "__main__":
    main()
