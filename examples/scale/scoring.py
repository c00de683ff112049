"""Scoring a corpus in parts, in closed form: what input, output and failures cost."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """How workers fail, and what a part costs beside its texts."""

    rate: float  # failures of one worker a second
    overhead: float  # seconds of a part beside its texts
    restart: float  # seconds from a failure to the next attempt


def part_time(useful: float, faults: Faults) -> float:
    """Expected seconds of a worker until a part with `useful` seconds of texts is done. With u = useful + overhead and
    attempts that fail at rate l: E = (1 - e^-lu)(E[time to a failure within u] + restart + E) + e^-lu u, which gives
    (e^lu - 1)(1/l + restart)."""
    length = useful + faults.overhead
    if faults.rate == 0:
        return length
    return math.expm1(faults.rate * length) * (1 / faults.rate + faults.restart)


def repeated(useful: float, faults: Faults) -> float:
    """Expected seconds of work that failures throw away, for a part: (e^lu - 1)/l - u, about l u² / 2."""
    length = useful + faults.overhead
    return math.expm1(faults.rate * length) / faults.rate - length if faults.rate > 0 else 0.0


def cost(useful: float, faults: Faults) -> float:
    """Seconds of a worker for each useful second."""
    return part_time(useful, faults) / useful


def best_part(faults: Faults) -> float:
    """Useful seconds of the part with the least cost. Where the derivative is 0, e^-x = 1 + a - x with x = l u and
    a = l overhead; solved by Newton's method. About sqrt(2 overhead / l) (Young 1974). restart does not matter."""
    if faults.rate <= 0 or faults.overhead <= 0:
        raise ValueError(f"rate {faults.rate:g}, overhead {faults.overhead:g}: both above 0 expected")
    ahead = faults.rate * faults.overhead
    x = ahead + math.sqrt(2 * ahead)
    for _ in range(60):
        x -= (math.exp(-x) - 1 - ahead + x) / (1 - math.exp(-x))
    return x / faults.rate - faults.overhead


def makespan(work: float, parts: int, workers: int, faults: Faults) -> tuple[float, float]:
    """Bounds of the time for `work` useful seconds on `workers`, were every part to take its expected time: no worker
    is ever idle; or all but one are while the last part is done (Graham 1966)."""
    part = part_time(work / parts, faults)
    share = parts * part / workers
    return max(share, part), share + part * (1 - 1 / workers)


def workers_fed(bandwidth: float, texts: float, size: float) -> float:
    """Workers that a link of `bandwidth` bytes/s can keep busy, each taking `texts` a second of `size` bytes."""
    return bandwidth / (texts * size)
