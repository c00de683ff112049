"""The arithmetic of a comparison: medians, ratios, and the table that shows them. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import tables
from tables import NONE


@dataclass
class Turn:
    """What was measured side by side: each of ours once and, right after, one peer."""

    ours: dict[str, float] = field(default_factory=dict)
    """By title."""
    peer: str = ""
    """Empty where no peer took part."""
    theirs: float = 0.0


@dataclass
class Contest:
    """One workload, and those who ran it in turns."""

    section: str
    title: str
    unit: str = "ms"
    ours: list[str] = field(default_factory=list)
    """Titles, in the order of the rows; those that did not run too."""
    turns: list[Turn] = field(default_factory=list)

    def our_median(self, title: str) -> float | None:
        return median(turn.ours[title] for turn in self.turns if title in turn.ours)

    def peers(self) -> dict[str, float]:
        """The median of each peer."""
        times: dict[str, list[float]] = {}
        for turn in self.turns:
            if turn.peer:
                times.setdefault(turn.peer, []).append(turn.theirs)
        return {peer: statistics.median(values) for peer, values in times.items()}

    def ratio(self, title: str, peer: str) -> float | None:
        """How many times ours a peer's figure is: the median over turns, each of which saw the same noise."""
        turns = (turn for turn in self.turns if turn.peer == peer and title in turn.ours)
        return median(turn.theirs / turn.ours[title] for turn in turns)

    def best(self) -> str | None:
        """The peer with the lowest median."""
        peers = self.peers()
        return min(peers, key=lambda peer: peers[peer], default=None)


def median(values: Iterable[float]) -> float | None:
    """The median; none of nothing."""
    values = list(values)
    return statistics.median(values) if values else None


def figure(value: float | None, unit: str = "ms") -> str:
    """Three digits or more, and the unit."""
    if value is None:
        return NONE
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{digits}f} {unit}"


def row(contest: Contest, title: str, peers: Sequence[str]) -> list[str]:
    """Cells: what, ours, each of `peers`, the ratio to the best of all."""
    medians, best = contest.peers(), contest.best()
    ours = contest.our_median(title)
    ratio = contest.ratio(title, best) if best is not None else None
    return [
        ", ".join(part for part in (contest.title, title) if part),
        "not available" if ours is None else figure(ours, contest.unit),
        *(figure(medians.get(peer), contest.unit) for peer in peers),
        NONE if ratio is None else f"{ratio:.2f} ({best})",
    ]


def table(contests: Sequence[Contest]) -> str:
    """The contests of one section as Markdown."""
    peers = list(dict.fromkeys(peer for contest in contests for peer in contest.peers()))
    head = [contests[0].section, "cloze", *peers, "best peer / cloze"]
    rows = [row(contest, title, peers) for contest in contests for title in contest.ours]
    return tables.markdown(head, rows)


def document(contests: Sequence[Contest], about: str, notes: Sequence[str]) -> str:
    """A table for each section, in order of appearance, below what they are about and above what was left out."""
    sections: dict[str, list[Contest]] = {}
    for contest in contests:
        sections.setdefault(contest.section, []).append(contest)
    return tables.document(about, [table(section) for section in sections.values()], notes)
