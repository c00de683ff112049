"""Trains and scores with the command line."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
from programs import Refused, complain, output
from scores import Row, Run, document
from tables import write
from trainings import PRECISIONS, Training

# Longest wait for a training (s).
PATIENCE = 3600.0


@dataclass(frozen=True)
class Setup:
    """Where things are and how they run."""

    cloze: str
    model: Path
    data: Path
    threads: int
    steps: int = 0
    """Most steps of a training; 0 for all of its epochs."""

    def train(self, training: Training, seed: int, out: Path) -> list[str]:
        where = ("--model", self.model, "--threads", self.threads, "--out", out, "--seed", seed)
        file = self.data / training.data / training.train
        return [self.cloze, *map(str, ("train", "--train", file, *self.course(training), *where, "--json"))]

    def evaluate(self, training: Training, model: Path, precision: str) -> list[str]:
        form = ("--format", training.test_format) if training.test_format else ()
        where = ("--model", model, "--threads", self.threads, "--precision", precision)
        file = self.data / training.data / training.test
        return [self.cloze, *map(str, ("eval", "--data", file, *form, *where, "--json"))]

    def course(self, training: Training) -> tuple[object, ...]:
        steps = ("--steps", self.steps) if self.steps else ()
        precision = ("--precision", training.precision) if training.precision != "f32" else ()
        return (*training.arguments, *steps, *precision)

    def row(self, training: Training) -> Row:
        title = f"{training.title}, {self.steps} steps at most" if self.steps else training.title
        command = ("cloze train --train", f"{training.data}/{training.train}", *self.course(training))
        return Row(title, training.precision, " ".join(map(str, command)))


class Measurement:
    """All trainings of one run."""

    def __init__(self, setup: Setup, trainings: Sequence[Training], seeds: Sequence[int], file: Path | None) -> None:
        self.setup, self.trainings, self.seeds, self.file = setup, trainings, seeds, file
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.others = machine.load()
        self.version = output([setup.cloze, "--version"]).strip()

    def run(self) -> None:
        for training in self.trainings:
            row = self.setup.row(training)
            self.rows.append(row)
            for seed in self.seeds:
                self._run(training, row, seed)
                self.others = max(self.others, machine.load() - self.setup.threads)
                self.save()

    def about(self) -> str:
        """What the table says above its rows."""
        seeds = ", ".join(map(str, self.seeds))
        means = f"means of seeds {seeds}" if len(self.seeds) > 1 else f"seed {seeds}"
        facts = [
            machine.threads(self.setup.threads),
            "all-MiniLM-L6-v2",
            machine.today(),
            f"scores × 100, {means}, in brackets the difference to training and answers in f32",
        ]
        return machine.about(facts, [self.version], self.others)

    def document(self) -> str:
        return document(self.rows, PRECISIONS, self.about(), self.notes)

    def save(self) -> None:
        """Writes what there is so far."""
        if self.file is None:
            return
        record = {
            "program": "accuracy",
            "about": self.about(),
            "processor": machine.processor(),
            "threads": self.setup.threads,
            "version": self.version,
            "load_of_others": self.others,
            "seeds": list(self.seeds),
            "precisions": list(PRECISIONS),
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "notes": self.notes,
        }
        write(self.file, record)

    def _run(self, training: Training, row: Row, seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "model"
            begin = time.perf_counter()
            try:
                output(self.setup.train(training, seed, out), PATIENCE)
            except Refused as refused:
                self._note(f"{row.label}, seed {seed}: did not train ({refused})")
                return
            run = Run(seed, time.perf_counter() - begin)
            row.runs.append(run)
            for precision in PRECISIONS:
                try:
                    run.values[precision] = score(
                        output(self.setup.evaluate(training, out, precision)), training.metric
                    )
                except Refused as refused:
                    self._note(f"{row.label}, answers in {precision}: none ({refused})")
        told = ", ".join(f"{name} {value * 100:.2f}" for name, value in run.values.items())
        complain(f"{row.label}, seed {seed}: {run.seconds:.0f} s; {told}")

    def _note(self, note: str) -> None:
        self.notes.append(note)
        complain(f"  {note}")


def score(printed: str, metric: str) -> float:
    """A metric of what `cloze eval --json` printed."""
    lines = printed.splitlines()
    metrics = json.loads(lines[-1])["metrics"] if lines else {}
    if metric not in metrics:
        raise Refused(f"no {metric} among its metrics")
    return float(metrics[metric])


def shown(file: Path) -> str:
    """The table of a kept run."""
    record = json.loads(file.read_text(encoding="utf-8"))
    rows = [Row(**{**row, "runs": [Run(**run) for run in row["runs"]]}) for row in record["rows"]]
    return document(rows, record["precisions"], record["about"], record["notes"])
