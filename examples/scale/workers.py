"""Data-parallel steps and parts of a corpus, simulated."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from scoring import Faults, part_time

Floats = NDArray[np.float64]


def all_reduce(ready: Floats, size: float, bandwidth: Floats, latency: float) -> Floats:
    """When each rank of a ring has the sum, [ranks]: in each of 2 (p - 1) turns a rank sends 1/p of `size` bytes to the
    next over a link of its own `bandwidth`, once it has what came in the turn before and its link is free."""
    ranks = len(ready)
    has, free = ready.copy(), ready.copy()
    took = size / ranks / bandwidth
    for _ in range(2 * (ranks - 1)):
        free = np.maximum(has, free) + took
        has = np.maximum(np.roll(free + latency, 1), has)
    return has


def steps(compute: Floats, size: float, bandwidth: Floats, latency: float) -> Floats:
    """Seconds of every step, [steps]; `compute` is what each rank computes in each, [steps, ranks]."""
    now, ends = np.zeros(compute.shape[1]), []
    for own in compute:
        now = all_reduce(now + own, size, bandwidth, latency)
        ends.append(now.max())
    return np.diff(np.array([0.0, *ends]))


def attempts(parts: int, useful: float, faults: Faults, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Seconds until each part is done, restarts included, and those of work that failures threw away, [parts]. Every
    failed attempt lasted for a time of the exponential distribution cut at the part's length."""
    length = useful + faults.overhead
    if faults.rate == 0:
        return np.full(parts, length), np.zeros(parts)
    succeeds = np.exp(-faults.rate * length)
    failures = rng.geometric(succeeds, parts) - 1
    lasted = -np.log1p(-rng.random(int(failures.sum())) * (1 - succeeds)) / faults.rate
    thrown = np.bincount(np.repeat(np.arange(parts), failures), weights=lasted, minlength=parts).astype(np.float64)
    return thrown + failures * faults.restart + length, thrown


def makespan(times: Floats, workers: int) -> float:
    """When the last part is done; each goes to the worker that is free first."""
    free = [0.0] * min(workers, len(times))
    for time in times.tolist():
        heapq.heapreplace(free, free[0] + time)
    return max(free)


def overhead(work: float, useful: float, workers: int, faults: Faults, seed: int) -> tuple[float, float]:
    """Seconds of a worker for each useful second, restarts included, and the time for all the work as a multiple of
    work / workers."""
    rng = np.random.default_rng(seed)
    parts = max(1, round(work / useful))
    times, _ = attempts(parts, work / parts, faults, rng)
    return float(times.sum()) / work, makespan(times, workers) * workers / work


def expected(work: float, useful: float, faults: Faults) -> float:
    """Seconds of a worker for each useful second, as the closed form has it, for the same number of parts."""
    parts = max(1, round(work / useful))
    return part_time(work / parts, faults) * parts / work
