"""What the tests work on: the tiny models of the source tree, a few hundred lines, and runs over them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from command import parser, run
from parts import Part
from task import Job, Outcome, Task, answer

HERE = Path(__file__).resolve().parents[1]
GOLDEN = HERE.parents[1] / "tests/golden"
WORDS = ["the cat sees the bird", "Anna walks to the RIVER with John.", "he was not happy!", "", "Café in Paris"]

# Processes that engines start find the modules by it.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def model() -> str:
    """A sentence-transformers model: embeddings of 12 numbers."""
    return str(GOLDEN / "sentence")


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """303 lines, the last without a newline."""
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text("\n".join(f"{WORDS[number % 5]} {number}" for number in range(303)), encoding="utf-8")
    return path


def given(lines: Path, output: Path, model: str, *more: str) -> argparse.Namespace:
    """Arguments of a program: parts of 50 lines, two workers."""
    fixed = ["--model", model, "--lines-per-part", "50", "--workers", "2", "--batch-lines", "16", "--quiet"]
    return parser("").parse_args([str(lines), str(output), *fixed, *more])


class Local:
    """An engine in this process, which remembers what parts it was given, and stops after some."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.given: list[int] = []

    def __call__(self, job: Job, pending: list[Part], _workers: int) -> Iterator[Outcome]:
        task = Task(job.spec)
        self.given = [part.number for part in pending]
        for done, part in enumerate(pending):
            if done == self.stop_after:
                raise RuntimeError("stopped")
            yield answer(task, job, part)


@pytest.fixture(scope="session")
def reference(lines: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run in this process: what every engine must write, bit for bit."""
    output = tmp_path_factory.mktemp("reference")
    run(given(lines, output, model), Local())
    return output


def contents(folder: Path, names: Iterable[str] = ("*.parquet", "*.json")) -> dict[str, bytes]:
    """Files of a run."""
    return {path.name: path.read_bytes() for pattern in names for path in folder.glob(pattern)}
