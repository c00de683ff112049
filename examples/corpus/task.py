"""The work on one part: what is asked of the model, and the table that its answers become."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import cloze
from parts import CHUNK, Output, Part, read

KINDS = ("embed", "score", "classify")


@dataclass(frozen=True)
class Spec:
    """What is asked, and of which model."""

    kind: str
    model: str
    precision: str = "f32"
    memory: str = "least"
    """"least": f32 weights stay in the mapped file, which the processes of a machine share."""
    threads: int = 1
    max_tokens: int = 0
    """Longer lines are cut; 0: to what the model allows."""
    batch_lines: int = 256
    batch_bytes: int = 1 << 16
    """A call takes lines until it has this many of either. No answer depends on how lines are cut into calls."""

    def plan(self) -> dict[str, Any]:
        """What the answers depend on."""
        return {
            "library": cloze.library_version,
            "max_tokens": self.max_tokens,
            "model_sha256": digest(self.model),
            "precision": self.precision,
            "task": self.kind,
        }


@dataclass(frozen=True)
class Job:
    """What a worker has to know."""

    spec: Spec
    source: str
    output: str


@dataclass(frozen=True)
class Outcome:
    """What a worker tells about a part. `error` is empty, or why there is no output file. Times as of `time.time`."""

    part: int
    size: int
    sha256: str
    worker: int
    began: float
    ended: float
    cpu: float
    """Processor seconds of the worker, all its threads."""
    error: str


class Task:
    """An open model and what it is asked."""

    def __init__(self, spec: Spec) -> None:
        if spec.kind not in KINDS:
            raise ValueError(f"task: {spec.kind!r}, expected one of {', '.join(KINDS)}")
        self.spec = spec
        self.model = cloze.Model(spec.model, threads=spec.threads, precision=spec.precision, memory=spec.memory)

    def table(self, first: int, lines: list[str]) -> pa.Table:
        """A row for each line: its number, counted from `first`, and the answer to it."""
        answers = getattr(self, f"_{self.spec.kind}")(first, lines)
        return pa.table({"line": pa.array(np.arange(first, first + len(lines))), **answers})

    def _embed(self, first: int, lines: list[str]) -> dict[str, pa.Array]:
        """`embedding`, float32 [width]."""
        vectors = np.empty((len(lines), self.model.info.embedding), np.float32)

        def ask(batch: slice) -> None:
            self.model.embed(lines[batch], out=vectors[batch], max_tokens=self.spec.max_tokens, truncate=True)

        self._ask(ask, first, lines)
        return {"embedding": rows(vectors)}

    def _score(self, first: int, lines: list[str]) -> dict[str, pa.Array]:
        """`log_likelihood`, the pseudo-log-likelihood, float64, and `tokens`, over how many tokens it is the sum."""
        scores: list[cloze.Score] = []

        def ask(batch: slice) -> None:
            scores.extend(self.model.score(lines[batch], max_tokens=self.spec.max_tokens, truncate=True))

        self._ask(ask, first, lines)
        return {
            "log_likelihood": pa.array([score.log_likelihood for score in scores], pa.float64()),
            "tokens": pa.array([score.tokens for score in scores], pa.int64()),
        }

    def _classify(self, first: int, lines: list[str]) -> dict[str, pa.Array]:
        """`probabilities`, float32 [labels], and `label`, the name of the likeliest."""
        labels = self.model.labels
        values = np.empty((len(lines), len(labels)), np.float32)

        def ask(batch: slice) -> None:
            self.model.classify(lines[batch], out=values[batch], max_tokens=self.spec.max_tokens, truncate=True)

        self._ask(ask, first, lines)
        names = pa.array(labels, pa.string()).take(pa.array(values.argmax(axis=1)))
        return {"probabilities": rows(values), "label": names}

    def _ask(self, ask: Callable[[slice], None], first: int, lines: list[str]) -> None:
        """Calls `ask` with the batches of the lines, one after another."""
        for batch in batches(lines, self.spec.batch_lines, self.spec.batch_bytes):
            try:
                ask(batch)
            except cloze.InvalidInput as error:
                raise ValueError(f"lines {first + batch.start} to {first + batch.stop - 1}: {error}") from error


def batches(lines: list[str], most_lines: int, most_bytes: int) -> Iterator[slice]:
    """Cuts lines into runs of at most so many lines, and of so many bytes unless a single line has more."""
    start = taken = 0
    for index, line in enumerate(lines):
        size = len(line.encode("utf-8"))
        if index > start and (index - start == most_lines or taken + size > most_bytes):
            yield slice(start, index)
            start, taken = index, 0
        taken += size
    if lines:
        yield slice(start, len(lines))


def rows(matrix: np.ndarray[Any, Any]) -> pa.Array:
    """A matrix [N, width] as N lists of equal length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def parquet(table: pa.Table) -> bytes:
    """The table as a file. Numbers of a model do not compress: they are stored as they are."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=["line"])
    return bytes(sink.getvalue())


def answer(task: Task, job: Job, part: Part) -> Outcome:
    """Makes a part complete, or tells why that was not possible."""
    began, cpu, size, sha256, error = time.time(), time.process_time(), 0, "", ""
    try:
        table = task.table(part.first, read(job.source, part))
        record = Output(job.output).write(part, parquet(table))
        size, sha256 = record.size, record.sha256
    except (OSError, ValueError, MemoryError, cloze.Error) as raised:
        error = f"{part}: {raised}"
    ended, used = time.time(), time.process_time() - cpu
    return Outcome(part.number, size, sha256, os.getpid(), began, ended, used, error)


@functools.lru_cache(maxsize=1)
def opened(spec: Spec) -> Task:
    """The task of this process: its model is opened once."""
    return Task(spec)


def digest(folder: str) -> str:
    """SHA-256 of the names and contents of the files that a model is made of."""
    total = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.suffix in (".json", ".txt", ".safetensors")):
        total.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                total.update(chunk)
    return total.hexdigest()
