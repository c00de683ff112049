"""Shards: the same for a seed, none twice, none missing, unlike each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloze_federated import shards

LABELS = ["a"] * 300 + ["b"] * 200


def test_the_same_seed_gives_the_same_shards_and_another_others() -> None:
    first, again, other = (shards.dirichlet(LABELS, 10, 0.5, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(one, two) for one, two in zip(first, again))
    assert not all(np.array_equal(one, two) for one, two in zip(first, other))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 100.0])
def test_shards_are_disjoint_and_complete(alpha: float) -> None:
    found = shards.dirichlet(LABELS, 10, alpha, 3, least=2)
    assert sorted(np.concatenate(found)) == list(range(500))
    assert min(shard.size for shard in found) >= 2


def test_a_small_alpha_skews_labels_and_sizes() -> None:
    def spread(alpha: float) -> tuple[float, float]:
        found = shards.dirichlet(LABELS, 10, alpha, 3)
        share = [np.mean([LABELS[number] == "a" for number in shard]) for shard in found]
        return float(np.std(share)), float(np.std([shard.size for shard in found]))

    assert spread(0.3)[0] > 4 * spread(1000)[0]
    assert spread(0.3)[1] > 4 * spread(1000)[1]


def test_files_hold_the_lines_of_the_table(train_file: Path, tmp_path: Path) -> None:
    shown = shards.write(train_file, tmp_path, 4, 0.5, 7, 4).splitlines()
    lines = [shards.shard_file(tmp_path, client).read_text().splitlines() for client in range(4)]
    assert [int(row.split()[1]) for row in shown[1:]] == [len(own) for own in lines]
    assert sorted(line for own in lines for line in own) == sorted(train_file.read_text().splitlines())


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes("one\u2028line\t1\r\ntwo\x0blines\t0\n".encode())
    assert shards.read_lines(path) == (["one\u2028line\t1", "two\x0blines\t0"], ["1", "0"])


def test_errors_name_the_thing(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("fine\t1\nno label\n")
    with pytest.raises(ValueError, match=r"train.tsv:2: not a text, a tab and a label: 'no label'"):
        shards.read_lines(path)
    with pytest.raises(ValueError, match="2 examples are too few for 3 clients with at least 1 each"):
        shards.dirichlet(["a", "b"], 3, 0.5, 1)
    with pytest.raises(ValueError, match="alpha 0"):
        shards.dirichlet(["a", "b"], 1, 0, 1)
