"""The work on one part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cloze
from conftest import GOLDEN
from task import Spec, Task, batches

TEXTS = ["the cat sees the bird", "", "he was not happy " * 30, "the old man sleeps in London."]


def test_batches_hold_every_line_once_within_the_limits() -> None:
    lines = ["é" * (number % 7) for number in range(50)]
    cut = list(batches(lines, 5, 20))
    assert [line for batch in cut for line in lines[batch]] == lines
    assert all(len(lines[batch]) <= 5 and sum(len(line.encode()) for line in lines[batch]) <= 20 for batch in cut)
    assert list(batches(["a"] * 7, 3, 100)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(batches(["long"], 5, 2)) == [slice(0, 1)]
    assert list(batches([], 5, 2)) == []


def test_embed_gives_the_vector_of_each_line(model: str) -> None:
    table = Task(Spec("embed", model, batch_lines=2)).table(70, TEXTS)
    assert table["line"].to_pylist() == [70, 71, 72, 73]
    alone = cloze.Model(model)
    expected = np.stack([alone.embed(text) for text in TEXTS])
    found = np.array(table["embedding"].to_pylist(), np.float32)
    assert found.tobytes() == expected.tobytes()


def test_score_gives_the_sum_and_the_tokens_of_each_line() -> None:
    folder = str(GOLDEN / "pretraining")
    table = Task(Spec("score", folder, batch_lines=3)).table(0, TEXTS)
    expected = cloze.Model(folder).score(TEXTS, truncate=True)
    assert table["log_likelihood"].to_pylist() == [score.log_likelihood for score in expected]
    assert table["tokens"].to_pylist() == [score.tokens for score in expected]


def test_classify_gives_probabilities_and_the_likeliest_label() -> None:
    folder = str(GOLDEN / "sequence")
    table = Task(Spec("classify", folder, batch_lines=3)).table(0, TEXTS)
    alone = cloze.Model(folder)
    expected = alone.classify(TEXTS)
    assert np.array(table["probabilities"].to_pylist(), np.float32).tobytes() == expected.tobytes()
    assert table["label"].to_pylist() == [alone.labels[best] for best in expected.argmax(axis=1)]


def test_max_tokens_cuts(model: str) -> None:
    cut = Task(Spec("embed", model, max_tokens=4)).table(0, ["the cat sees the bird"])
    assert cut["embedding"].equals(Task(Spec("embed", model)).table(0, ["the cat"])["embedding"])


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(cloze.FileError, match="nowhere"):
        Task(Spec("embed", str(tmp_path / "nowhere")))


def test_an_unknown_task_is_named(model: str) -> None:
    with pytest.raises(ValueError, match="'translate', expected one of embed, score, classify"):
        Task(Spec("translate", model))
