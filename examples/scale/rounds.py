"""Federated rounds in closed form: bytes, waiting, the server's link, trees, rounds to a target."""

from __future__ import annotations

import math
from dataclasses import dataclass

from assumptions import Devices
from spread import Spread, added, level


@dataclass(frozen=True)
class Task:
    """What a device does in a round."""

    numbers: int  # that train
    seconds: float  # of local computation on the measured machine
    width: int = 4  # bytes of a number that travels

    @property
    def bytes(self) -> int:
        """Of one transfer, down or up."""
        return self.numbers * self.width


def device_time(devices: Devices, task: Task) -> Spread:
    """Download + computation + upload of one device, seconds."""
    down, up = devices.download.over(task.bytes), devices.upload.over(task.bytes)
    return added([down, devices.slowness.times(task.seconds), up])


def waited(time: Spread, wanted: float, selected: float, dropout: float = 0.0) -> float:
    """Median time until `wanted` of `selected` devices have answered, seconds. On average (1 - q) s devices answer at
    all; with fewer than `wanted` of them the round does not end."""
    alive = selected * (1 - dropout)
    return time.order(wanted, alive) if wanted <= alive else math.inf


def round_fails(wanted: int, selected: int, dropout: float) -> float:
    """Probability that fewer than `wanted` of `selected` answer: the binomial distribution."""
    if dropout == 0:
        return float(wanted > selected)

    def logarithm(answers: int) -> float:
        ways = math.lgamma(selected + 1) - math.lgamma(answers + 1) - math.lgamma(selected - answers + 1)
        return ways + answers * math.log1p(-dropout) + (selected - answers) * math.log(dropout)

    return math.fsum(math.exp(logarithm(answers)) for answers in range(min(wanted, selected + 1)))


def selection(wanted: int, dropout: float, deviations: float = 3.0) -> int:
    """Devices to select so that `wanted` answer but for `deviations` standard deviations: the mean (1 - q) s less
    z sqrt(q (1 - q) s) is `wanted`, a square equation in sqrt(s)."""
    keep, spread = 1 - dropout, deviations * math.sqrt(dropout * (1 - dropout))
    root = (spread + math.sqrt(spread**2 + 4 * keep * wanted)) / (2 * keep)
    return math.ceil(root**2 - 1e-9)


def answered(time: Spread, deadline: float, dropout: float = 0.0) -> float:
    """Share of the selected devices whose answer is there at the deadline."""
    return (1 - dropout) * time.cdf(deadline)


def best_deadline(time: Spread, overhead: float) -> float:
    """The deadline with the most answers a second when each round costs `overhead` seconds more: the largest
    F(t) / (t + overhead), by golden section over ln t."""
    low, high = math.log(time.quantile(1e-4)), math.log(time.quantile(1 - 1e-6))
    ratio = (math.sqrt(5) - 1) / 2

    def gain(logarithm: float) -> float:
        return time.cdf(math.exp(logarithm)) / (math.exp(logarithm) + overhead)

    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (left, high) if gain(left) < gain(right) else (low, right)
    return math.exp((low + high) / 2)


def queue(task: Task, devices: float, bandwidth: float) -> float:
    """Seconds that a link needs for one transfer each way of each of `devices`, both ways at the same time."""
    return devices * task.bytes / bandwidth


def by_then(time: Spread, spacing: float, probability: float) -> float:
    """When a device that starts uniformly within `spacing` seconds has answered with `probability`: where
    (I(t) - I(t - G)) / G, I the integral of the cdf, reaches it."""
    if spacing <= 0:
        return time.quantile(probability)
    low, high = 0.0, spacing + time.quantile(probability)
    for _ in range(100):
        middle = (low + high) / 2
        reached = (time.area(middle) - time.area(middle - spacing)) / spacing
        low, high = (middle, high) if reached < probability else (low, middle)
    return (low + high) / 2


def behind_link(time: Spread, spacing: float, wanted: float, selected: float) -> float:
    """Median time until `wanted` of `selected` have answered where the server's link lets them start one after another
    over `spacing` seconds. Uploads are taken to find the link free."""
    return by_then(time, spacing, level(wanted, selected))


def in_tree(time: Spread, task: Task, devices: int, fan: int, bandwidth: float, wanted: int) -> float:
    """Median time of a round through aggregators of `fan` devices each, whose links are like the server's, each of
    which waits for its part of the answers `wanted`. All of g have theirs with probability 1/2 when each has with
    2^(-1/g): a binomial tail, which tells how likely a device must be done. Then the sums come in, one after another at
    worst."""
    aggregators, share = math.ceil(devices / fan), math.ceil(wanted * fan / devices)
    target, low, high = 1 - 2 ** (-1 / aggregators), 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if round_fails(share, fan, 1 - middle) > target else (low, middle)
    return by_then(time, queue(task, fan, bandwidth), low) + 2 * queue(task, aggregators, bandwidth)


def best_fan(devices: int) -> int:
    """The fan k that makes the transfers of an aggregator and twice those of the server, k + 2 m / k, least."""
    return max(1, round(math.sqrt(2 * devices)))


def rounds_to_target(cohort: float, critical: float) -> float:
    """Rounds, as a multiple of those with any number of devices: 1 + m0 / m. An assumption."""
    return 1 + critical / cohort
