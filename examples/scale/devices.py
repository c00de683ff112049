"""Federated rounds, simulated: every device has a speed and links of its own, the server's link is a queue.

All events of a kind are computed at once: a round of 100,000 devices takes a fraction of a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assumptions import Devices
from rounds import Task
from spread import Spread

Floats = NDArray[np.float64]
Generator = np.random.Generator


@dataclass(frozen=True)
class Population:
    """Devices, each drawn once and for all, [devices]."""

    slowness: Floats  # seconds for one second of the measured machine
    download: Floats  # bytes/s
    upload: Floats  # bytes/s

    def __len__(self) -> int:
        return len(self.slowness)

    @classmethod
    def draw(cls, devices: Devices, count: int, rng: Generator) -> Population:
        def some(spread: Spread) -> Floats:
            return spread.median * np.exp(spread.sigma * rng.standard_normal(count))

        return cls(some(devices.slowness), some(devices.download), some(devices.upload))

    def of(self, chosen: NDArray[np.int64]) -> Population:
        return Population(self.slowness[chosen], self.download[chosen], self.upload[chosen])


@dataclass(frozen=True)
class Policy:
    """Whom the server asks, and how long it waits."""

    selected: int
    wanted: int  # the round ends with so many answers
    deadline: float = math.inf  # or then, with those that are there
    dropout: float = 0.0  # share of the devices that never answer
    leaving: float = 0.0  # devices that go away, a second


@dataclass(frozen=True)
class Server:
    bandwidth: float = math.inf  # bytes/s, each way
    addition: float = 0.0  # seconds for one number of one answer
    fan: int = 0  # devices of an aggregator, each with a link like the server's; 0: the server talks to all devices


@dataclass(frozen=True)
class Outcome:
    """One round."""

    seconds: float  # infinite where the answers wanted never come
    accepted: NDArray[np.int64]  # devices whose answers count, by their place in the cohort
    sent: float  # bytes that the server sent
    received: float  # bytes that devices sent, of answers that count
    wasted: float  # seconds of computation of devices whose answer does not count


def fifo(arrivals: Floats, service: float) -> Floats:
    """When each of `arrivals` leaves a queue with one server, first come first served, along the last axis. Lindley's
    S_k = max(S_(k-1), a_k) + c unrolls to S_k = (k + 1) c + max over j <= k of (a_j - j c)."""
    order = np.argsort(arrivals, axis=-1, kind="stable")
    before = service * np.arange(arrivals.shape[-1])
    latest = np.maximum.accumulate(np.take_along_axis(arrivals, order, -1) - before, axis=-1)
    leaves = np.empty_like(arrivals)
    np.put_along_axis(leaves, order, latest + before + service, -1)
    return leaves


def through(link: float, ready: Floats, own: Floats) -> Floats:
    """When transfers are done that are ready at `ready` and take `own` by themselves, over a shared link that each
    occupies for `link` seconds: a slow device does not block the link while it is slow."""
    if link == 0:
        return ready + own
    return fifo(ready + np.maximum(own - link, 0.0), link)


def answers(cohort: Population, task: Task, policy: Policy, server: Server, start: Floats, rng: Generator) -> Floats:
    """When the answer of each device has come in and is added, [..., devices], infinite where it never does. `start` is
    when whoever sends to the devices has the parameters, [..., 1]."""
    link = task.bytes / server.bandwidth
    shape = (*start.shape[:-1], -1)
    down = (task.bytes / cohort.download).reshape(shape)
    work = (task.seconds * cohort.slowness).reshape(shape)
    up = (task.bytes / cohort.upload).reshape(shape)
    begun = start + link * np.arange(down.shape[-1])
    ready = begun + np.maximum(down, link) + work
    lost = rng.random(ready.shape) < policy.dropout
    gone = np.where(lost, 0.0, math.inf)
    if policy.leaving > 0:
        gone = np.minimum(gone, rng.exponential(1 / policy.leaving, ready.shape))
    done = through(link, np.where(ready < gone, ready, math.inf), up)
    done = np.where(done <= gone, done, math.inf)
    return fifo(done, server.addition * task.numbers) if server.addition > 0 else done


def play(cohort: Population, task: Task, policy: Policy, server: Server, rng: Generator) -> Outcome:
    """One round of the devices of `cohort`, in the order in which the server asks them."""
    work = task.seconds * cohort.slowness
    if server.fan:
        done, seconds = in_tree(cohort, task, policy, server, rng)
    else:
        done = answers(cohort, task, policy, server, np.zeros(1), rng)
        enough = np.partition(done, policy.wanted - 1)[policy.wanted - 1] if policy.wanted <= len(done) else math.inf
        seconds = min(float(enough), policy.deadline)
    accepted = np.flatnonzero(np.isfinite(done) & (done <= seconds))
    counts = np.zeros(len(cohort), dtype=bool)
    counts[accepted] = True
    wasted = float(work[~counts].sum())
    return Outcome(seconds, accepted, len(cohort) * task.bytes, len(accepted) * task.bytes, wasted)


def in_tree(cohort: Population, task: Task, policy: Policy, server: Server, rng: Generator) -> tuple[Floats, float]:
    """As `answers` through aggregators, and when the server has the sums of all. Every aggregator waits for its part of
    the answers wanted."""
    if len(cohort) % server.fan:
        raise ValueError(f"{len(cohort)} devices: not a multiple of a fan of {server.fan}")
    if policy.deadline != math.inf:
        raise ValueError(f"a deadline of {policy.deadline:g} s in a tree: not simulated")
    aggregators, link = len(cohort) // server.fan, task.bytes / server.bandwidth
    start: Floats = (link * np.arange(1, aggregators + 1, dtype=np.float64)).reshape(-1, 1)
    done = answers(cohort, task, policy, server, start, rng)
    place = math.ceil(policy.wanted * server.fan / policy.selected) - 1
    ready = np.partition(done, place, axis=-1)[:, place]
    sums = fifo(fifo(ready, link), server.addition * task.numbers)
    within = np.where(np.isfinite(done) & (done <= ready[:, None]), 0.0, math.inf)
    return within.reshape(-1), float(sums.max())


def simulate(
    population: Population, task: Task, policy: Policy, server: Server, rounds: int, seed: int
) -> list[Outcome]:
    """Rounds, each with a cohort drawn from the population. `accepted` then counts in the population."""
    if not 1 <= policy.selected <= len(population):
        raise ValueError(f"{policy.selected} devices selected of {len(population)}")
    if not 1 <= policy.wanted <= policy.selected:
        raise ValueError(f"{policy.wanted} answers wanted of {policy.selected} devices")
    rng, outcomes = np.random.default_rng(seed), []
    for _ in range(rounds):
        chosen = rng.permutation(len(population))[: policy.selected]
        one = play(population.of(chosen), task, policy, server, rng)
        outcomes.append(Outcome(one.seconds, chosen[one.accepted], one.sent, one.received, one.wasted))
    return outcomes


def seconds(outcomes: list[Outcome]) -> Floats:
    """Of every round."""
    return np.array([outcome.seconds for outcome in outcomes])


def participation(population: Population, task: Task, outcomes: list[Outcome], parts: int = 10) -> Floats:
    """Share of the answers that count by how long a device takes, [parts]: the fastest part of the population first."""
    time = task.bytes / population.download + task.seconds * population.slowness + task.bytes / population.upload
    part = np.empty(len(population), dtype=np.int64)
    part[np.argsort(time, kind="stable")] = np.arange(len(population)) * parts // len(population)
    counts = np.bincount(part[np.concatenate([outcome.accepted for outcome in outcomes])], minlength=parts)
    shares: Floats = counts / max(1, int(counts.sum()))
    return shares
