"""Quantities that differ from device to device: log-normal ones, their sums, and the slowest of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

NORMAL = NormalDist()


@dataclass(frozen=True)
class Spread:
    """A log-normal quantity: its median, and sigma, the standard deviation of its natural logarithm."""

    median: float
    sigma: float

    def over(self, amount: float) -> Spread:
        """`amount` divided by the quantity: the time that a transfer takes at a rate that differs."""
        return Spread(amount / self.median, self.sigma)

    def times(self, factor: float) -> Spread:
        return Spread(factor * self.median, self.sigma)

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    @property
    def variance(self) -> float:
        return self.mean**2 * math.expm1(self.sigma**2)

    def cdf(self, value: float) -> float:
        """Probability of at most `value`."""
        if value <= 0:
            return 0.0
        if self.sigma == 0:
            return float(value >= self.median)
        return NORMAL.cdf(math.log(value / self.median) / self.sigma)

    def quantile(self, probability: float) -> float:
        return self.median * math.exp(self.sigma * NORMAL.inv_cdf(probability))

    def area(self, value: float) -> float:
        """The integral of the cdf from 0 to `value`: value F(value) - E[X; X <= value], by parts."""
        if value <= 0:
            return 0.0
        if self.sigma == 0:
            return max(0.0, value - self.median)
        z = math.log(value / self.median) / self.sigma
        return value * NORMAL.cdf(z) - self.mean * NORMAL.cdf(z - self.sigma)

    def order(self, place: float, count: float) -> float:
        """Median of the `place`-th smallest of `count`: a quantile carries the median of a place over."""
        return self.quantile(level(place, count))

    def expected_maximum(self, count: int, points: int = 4000) -> float:
        """Mean of the largest of `count`: the integral of Q(u^(1/n)) over u, with u = 1 - exp(-x²), which spreads the
        points over the tail."""
        end, total = 6.0, 0.0
        for index in range(points):
            x = (index + 0.5) * end / points
            # u^(1/n) = exp(ln(u) / n); 1 - u^(1/n) is what the normal quantile needs in the tail
            tail = -math.expm1(math.log1p(-math.exp(-x * x)) / count)
            total += math.exp(-self.sigma * NORMAL.inv_cdf(tail)) * 2 * x * math.exp(-x * x) if tail < 1 else 0.0
        return self.median * total * end / points


def level(place: float, count: float) -> float:
    """Median of the `place`-th smallest of `count` uniform numbers. The largest is below x with probability x^n; the
    others have a beta distribution, whose median is nearly (k - 1/3) / (n + 1/3)."""
    if not 1 <= place <= count:
        raise ValueError(f"place {place:g} of {count:g}: expected 1 to {count:g}")
    return float(2 ** (-1 / count)) if place == count else (place - 1 / 3) / (count + 1 / 3)


def added(parts: Sequence[Spread]) -> Spread:
    """The log-normal with the mean and the variance of the sum of independent `parts` (Fenton 1960)."""
    mean = sum(part.mean for part in parts)
    variance = sum(part.variance for part in parts)
    sigma = math.sqrt(math.log1p(variance / mean**2))
    return Spread(mean * math.exp(-(sigma**2) / 2), sigma)
