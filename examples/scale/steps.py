"""Data-parallel steps in closed form: a ring all-reduce beside the computation."""

from __future__ import annotations

from dataclasses import dataclass

from assumptions import Link
from spread import Spread


@dataclass(frozen=True)
class Compute:
    """Seconds of a step of b examples on one rank: fixed + each b."""

    fixed: float
    each: float

    def seconds(self, examples: float) -> float:
        return self.fixed + self.each * examples

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> Compute:
        """The line through two measurements (examples, seconds); through 0 and the larger, where nothing is fixed."""
        (low, fast), (high, slow) = few, many
        if not (low < high and fast < slow):
            raise ValueError(f"{low} examples in {fast:g} s and {high} in {slow:g} s: expected more, in more time")
        each = (slow - fast) / (high - low)
        fixed = fast - each * low
        return cls(fixed, each) if fixed > 0 else cls(0.0, slow / high)


def ring(size: float, ranks: float, link: Link) -> float:
    """Seconds of an all-reduce of `size` bytes: p - 1 messages of 1/p of them to sum, as many to spread the sums."""
    return 2 * (ranks - 1) * (size / ranks / link.bandwidth + link.latency)


def efficiency(compute: Compute, examples: float, size: float, ranks: float, link: Link) -> float:
    """Share of the time that computes, with `examples` a rank and step, in one batch or accumulated."""
    work = compute.seconds(examples)
    return work / (work + ring(size, ranks, link))


def speedup(compute: Compute, examples: float, size: float, ranks: int, link: Link) -> float:
    """Of a step of `examples` in all, split over the ranks, against one rank."""
    return compute.seconds(examples) / (compute.seconds(examples / ranks) + ring(size, ranks, link))


def examples_for(share: float, compute: Compute, size: float, ranks: int, link: Link) -> float:
    """Examples a rank and step from which at least `share` of the time computes: c (1 - s) = s t with
    c = fixed + each b."""
    needed = ring(size, ranks, link) * share / (1 - share)
    return max(1.0, (needed - compute.fixed) / compute.each)


def hidden_from(compute: Compute, size: float, ranks: int, link: Link, backward: float = 2 / 3) -> float:
    """Examples a rank from which the all-reduce would fit beside the backward pass, which takes `backward` of what the
    examples take."""
    return max(1.0, ring(size, ranks, link) / (backward * compute.each))


def slowest(sigma: float, ranks: int) -> float:
    """Median of the largest of `ranks` log-normal factors of median 1: how much longer a step takes where every rank
    varies by itself."""
    return Spread(1.0, sigma).order(ranks, ranks)
