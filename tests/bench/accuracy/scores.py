"""The arithmetic of scores: means over seeds, differences, and the table that shows them. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import tables
from tables import NONE


@dataclass
class Run:
    """One training, and its scores."""

    seed: int
    seconds: float
    """From the start of the program to its end."""
    values: dict[str, float] = field(default_factory=dict)
    """Scores by what answers were computed in, at most 1."""


@dataclass
class Row:
    """Trainings that differ in the seed alone."""

    title: str
    precision: str
    """What they were computed in."""
    command: str
    runs: list[Run] = field(default_factory=list)

    @property
    def label(self) -> str:
        return self.title if self.precision == "f32" else f"{self.title}, trained in {self.precision}"

    def scores(self, precision: str) -> dict[int, float]:
        """Percent by seed."""
        return {run.seed: run.values[precision] * 100 for run in self.runs if precision in run.values}


def cell(scores: dict[int, float], plain: dict[int, float] | None) -> str:
    """A mean, and its difference to the same seeds of `plain`."""
    if not scores:
        return NONE
    mean = two_digits(statistics.fmean(scores.values()))
    both = [seed for seed in scores if seed in plain] if plain else []
    if not both or plain is None:
        return mean
    return f"{mean} ({signed(statistics.fmean(scores[seed] - plain[seed] for seed in both))})"


def two_digits(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def signed(value: float) -> str:
    """Zero has no sign."""
    told = two_digits(value)
    return told.lstrip("−") if told in ("0.00", "−0.00") else told if told.startswith("−") else f"+{told}"


def spread(scores: dict[int, float]) -> str:
    return two_digits(max(scores.values()) - min(scores.values())) if len(scores) > 1 else NONE


def table(rows: Sequence[Row], precisions: Sequence[str]) -> str:
    """A row for each, a column for what answers are computed in. Differences are to trainings and answers in f32."""
    head = ["answers in", *precisions, "seeds differ by", "a training takes"]
    plain = {row.title: row.scores("f32") for row in rows if row.precision == "f32"}
    lines = []
    for row in rows:
        base = plain.get(row.title)
        cells = [
            cell(row.scores(name), None if (row.precision, name) == ("f32", "f32") else base) for name in precisions
        ]
        seconds = f"{statistics.fmean(run.seconds for run in row.runs):,.0f} s" if row.runs else NONE
        lines.append([row.label, *cells, spread(row.scores("f32")), seconds])
    return tables.markdown(head, lines)


def document(rows: Sequence[Row], precisions: Sequence[str], about: str, notes: Sequence[str]) -> str:
    """The table, what it is about, and the commands of its rows."""
    commands = "\n".join(f"    {row.command}" for row in rows)
    return tables.document(about, [table(rows, precisions), commands], notes)
