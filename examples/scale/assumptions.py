"""What is assumed, not measured: change it here, run simulate.py, plots.py and tables.py again."""

from __future__ import annotations

from dataclasses import dataclass

from spread import Spread


@dataclass(frozen=True)
class Devices:
    """How devices differ."""

    slowness: Spread  # seconds on the device for one second on the measured machine
    download: Spread  # bytes/s
    upload: Spread  # bytes/s


@dataclass(frozen=True)
class Link:
    """A network between the ranks of a data-parallel training."""

    name: str
    bandwidth: float  # bytes/s, each way
    latency: float  # s, of one message


MEGABIT = 1e6 / 8
GIGABIT = 1e9 / 8

PHONES = Devices(slowness=Spread(4.0, 0.5), download=Spread(20 * MEGABIT, 0.7), upload=Spread(5 * MEGABIT, 0.8))
"""The median device needs four times as long as the measured machine; one of 40 needs 2.7 times as long as that."""

LOCAL_STEPS = 8
"""Steps of a batch of 16 x 128 tokens that a device makes in a round: 128 examples."""

DROPOUT = 0.05
"""Share of the devices that never answer, whatever they are."""

LEAVING = 1 / 1200
"""Devices that are taken away during a round, a second: one in twenty minutes."""

ROUND_OVERHEAD = 5.0
"""Seconds of a round in which no device is at work: it is chosen, results are written."""

SERVER = 10 * GIGABIT
"""Bytes/s of the server, each way."""

CRITICAL_COHORT = 100
"""The cohort at which twice as many rounds are needed as with any number of devices."""

LINKS = (
    Link("1 Gbit/s", 1 * GIGABIT, 50e-6),
    Link("10 Gbit/s", 10 * GIGABIT, 25e-6),
    Link("100 Gbit/s", 100 * GIGABIT, 5e-6),
)

FAILURES = {"1 h": 1 / 3600, "10 h": 1 / 36000, "100 h": 1 / 360000}
"""Failures of one worker a second, by the mean time between them."""

PART_OVERHEAD = 5.0
"""Seconds that a part costs beside its texts: to open the model, to find and open its input, to commit its output."""

RESTART = 30.0
"""Seconds from the failure of a worker to the start of the next attempt."""
