"""Runs every simulation of the page, beside its closed form, and writes simulated.json.

python simulate.py [NAME ...]     all of them: about a minute; the same seed gives the same numbers
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import assumptions as assumed
from devices import Outcome, Policy, Population, Server, participation, seconds, simulate
from measured import Measured
from rounds import (
    Task,
    answered,
    behind_link,
    best_deadline,
    best_fan,
    device_time,
    in_tree,
    queue,
    selection,
    waited,
)
from scoring import Faults, makespan
from shapes import SHAPES
from steps import efficiency, ring, slowest
from workers import expected, overhead, steps

PATH = Path(__file__).resolve().parent / "simulated.json"
SEED, DEVICES = 1, 100_000
COHORTS = (10, 30, 100, 300, 1000, 3000, 10_000)
WAITING = {"all": (1.0, 1.0), "first m of 1.3 m": (1.3, 1.0), "fastest 90 %": (1.0, 0.9)}
"""How many are asked and wanted, as multiples of m."""
WANTED = 0.9
"""Share of the answers with which a round behind the server's link ends."""
CROWDS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)

Row = dict[str, str | int | float]


@dataclass(frozen=True)
class World:
    """What all simulations share."""

    measured: Measured
    population: Population

    @classmethod
    def make(cls, measured: Measured, devices: int = DEVICES) -> World:
        return cls(measured, Population.draw(assumed.PHONES, devices, np.random.default_rng(SEED)))

    def task(self, model: str, trains: str, width: int = 4) -> Task:
        local = assumed.LOCAL_STEPS * self.measured.step(model, trains, 16)
        return Task(SHAPES[model].numbers(trains), local, width)


def figures(outcomes: list[Outcome]) -> Row:
    """Median, and a tenth of the rounds on either side, of those that end."""
    times = seconds(outcomes)
    ended = times[np.isfinite(times)]
    if len(ended) == 0:
        return {"rounds": len(times), "failed": len(times)}
    low, middle, high = (round(float(value), 4) for value in np.quantile(ended, [0.1, 0.5, 0.9]))
    return {
        "simulated": middle,
        "low": low,
        "high": high,
        "mean": round(float(ended.mean()), 4),
        "rounds": len(times),
        "failed": len(times) - len(ended),
    }


def cohorts(world: World) -> list[Row]:
    """The time of a round by its cohort: for all, for the first m of 1.3 m, for the fastest 90 %."""
    rows: list[Row] = []
    task = world.task("MiniLM-L6", "lora:8")
    time = device_time(assumed.PHONES, task)
    for m in COHORTS:
        for name, (ask, want) in WAITING.items():
            selected, wanted = math.ceil(ask * m), math.ceil(want * m)
            outcomes = simulate(world.population, task, Policy(selected, wanted), Server(), 100, SEED)
            row: Row = {"policy": name, "cohort": m, "closed": round(waited(time, wanted, selected), 4)}
            rows.append({**row, **figures(outcomes)})
    return rows


def server(world: World) -> list[Row]:
    """The time of a round by its devices behind one link, or behind a tree; the server waits for 90 %."""
    rows: list[Row] = []
    addition = world.measured.figure("addition")
    for trains in ("lora:8", "all"):
        task = world.task("BERT-base", trains)
        time = device_time(assumed.PHONES, task)
        for m in CROWDS:
            wanted, rounds = math.ceil(WANTED * m), max(5, min(50, 100_000 // m))
            whole = behind_link(time, queue(task, m, assumed.SERVER), wanted, m)
            flat = simulate(world.population, task, Policy(m, wanted), Server(assumed.SERVER, addition), rounds, SEED)
            rows.append(
                {"trains": trains, "by": "one server", "devices": m, "closed": round(whole, 4), **figures(flat)}
            )
            fan = fan_of(m)
            policy, branching = Policy(m, wanted), Server(assumed.SERVER, addition, fan)
            tree = simulate(world.population, task, policy, branching, rounds, SEED)
            bound = in_tree(time, task, m, fan, assumed.SERVER, wanted)
            rows.append(
                {"trains": trains, "by": "tree", "devices": m, "fan": fan, "closed": round(bound, 4), **figures(tree)}
            )
    return rows


def fan_of(devices: int) -> int:
    """The fan nearest to the best among those that divide the devices."""
    best = best_fan(devices)
    return min((fan for fan in range(1, devices + 1) if devices % fan == 0), key=lambda fan: abs(math.log(fan / best)))


def policies(world: World) -> dict[str, Policy]:
    """Ways to get about 1,000 answers where devices are lost."""
    time = device_time(assumed.PHONES, world.task("MiniLM-L6", "top:2"))
    lost = {"dropout": assumed.DROPOUT, "leaving": assumed.LEAVING}
    many = selection(1000, lost_share(world))
    fast, slow = time.quantile(0.5), time.quantile(0.9)
    return {
        "all 1,000": Policy(1000, 1000, **lost),
        f"first 1,000 of {many:,}": Policy(many, 1000, **lost),
        "first 1,000 of 1,500": Policy(1500, 1000, **lost),
        "deadline: half are done": Policy(2200, 2200, fast, **lost),
        "deadline: 90 % are done": Policy(1300, 1300, slow, **lost),
    }


def lost_share(world: World) -> float:
    """Dropouts, and those that leave within the median time of a device."""
    time = device_time(assumed.PHONES, world.task("MiniLM-L6", "top:2"))
    return 1 - (1 - assumed.DROPOUT) * math.exp(-assumed.LEAVING * time.median)


def losses(world: World) -> list[Row]:
    """Answers, time and waste of each policy, and whose answers count."""
    rows: list[Row] = []
    task = world.task("MiniLM-L6", "top:2")
    time, share = device_time(assumed.PHONES, task), lost_share(world)
    for name, policy in policies(world).items():
        outcomes = simulate(world.population, task, policy, Server(), 50, SEED)
        counts = float(
            np.mean([len(outcome.accepted) for outcome in outcomes if math.isfinite(outcome.seconds)] or [0])
        )
        closed = waited(time, policy.wanted, policy.selected, share)
        promised = float(policy.wanted)
        if math.isfinite(policy.deadline):
            closed, promised = policy.deadline, policy.selected * answered(time, policy.deadline, share)
        work = sum(outcome.wasted for outcome in outcomes) / (
            len(outcomes) * policy.selected * task.seconds * float(world.population.slowness.mean())
        )
        tenths = participation(world.population, task, outcomes).round(4).tolist()
        row: Row = {
            "policy": name,
            "selected": policy.selected,
            "closed": round(closed, 4) if math.isfinite(closed) else "never",
            "closed_answers": round(promised, 1) if math.isfinite(closed) else 0,
            "answers": round(counts, 1),
            "wasted": round(work, 4),
        }
        rows.append({**row, **figures(outcomes), **{f"tenth{part}": share for part, share in enumerate(tenths)}})
    return rows


def jitter(world: World) -> list[Row]:
    """Data-parallel steps whose ranks vary by themselves, BERT-base, 16 examples a rank, 10 Gbit/s."""
    rows: list[Row] = []
    link = assumed.LINKS[1]
    for trains in ("top:2", "all"):
        compute, size = world.measured.compute("BERT-base", trains), SHAPES["BERT-base"].numbers(trains) * 4
        for sigma in (0.0, 0.05, 0.2):
            for ranks in (2, 4, 8, 16, 32, 64):
                draw = np.random.default_rng(SEED).standard_normal((200, ranks))
                times = compute.seconds(16) * np.exp(sigma * draw)
                took = steps(times, size, np.full(ranks, link.bandwidth), link.latency)
                work = compute.seconds(16)
                closed = work / (work * slowest(sigma, ranks) + ring(size, ranks, link))
                row: Row = {"trains": trains, "sigma": sigma, "ranks": ranks}
                plain = efficiency(compute, 16, size, ranks, link)
                rows.append(
                    {
                        **row,
                        "plain": round(plain, 4),
                        "closed": round(closed, 4),
                        "simulated": round(work / float(np.median(took)), 4),
                    }
                )
    return rows


def parts(world: World) -> list[Row]:
    """Cost of a useful second by the size of a part: 1,000 hours of work for 100 workers."""
    del world
    rows: list[Row] = []
    work, workers = 3.6e6, 100
    for name, rate in assumed.FAILURES.items():
        faults = Faults(rate, assumed.PART_OVERHEAD, assumed.RESTART)
        for useful in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
            if useful * rate > 3:
                continue
            spent, whole = overhead(work, useful, workers, faults, SEED)
            bound = makespan(work, round(work / useful), workers, faults)[1] * workers / work
            row: Row = {"between": name, "part": useful, "closed": round(expected(work, useful, faults), 4)}
            rows.append({**row, "simulated": round(spent, 4), "bound": round(bound, 4), "makespan": round(whole, 4)})
    return rows


def deadlines(world: World) -> list[Row]:
    """Answers by the deadline, and the deadline that gives the most of them a second."""
    rows: list[Row] = []
    task = world.task("MiniLM-L6", "top:2")
    time = device_time(assumed.PHONES, task)
    best = best_deadline(time, assumed.ROUND_OVERHEAD)
    for deadline in sorted([best, *(time.median * factor for factor in (0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 5.0))]):
        outcomes = simulate(world.population, task, Policy(1000, 1000, deadline), Server(), 20, SEED)
        got = float(np.mean([len(outcome.accepted) for outcome in outcomes])) / 1000
        row: Row = {"deadline": round(deadline, 4), "median": round(time.median, 4), "best": round(best, 4)}
        row["closed"] = round(answered(time, deadline), 4)
        rows.append({**row, "simulated": round(got, 4)})
    return rows


SCENARIOS: dict[str, Callable[[World], list[Row]]] = {
    "cohorts": cohorts,
    "server": server,
    "losses": losses,
    "deadlines": deadlines,
    "jitter": jitter,
    "parts": parts,
}


def read(path: Path = PATH) -> dict[str, Any]:
    """What the last run wrote."""
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}; python simulate.py writes it") from error
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(SCENARIOS)}")
    names = parser.parse_args().name or list(SCENARIOS)
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"{unknown[0]!r}: expected {', '.join(SCENARIOS)}")
    document = read() if PATH.exists() else {}
    world = World.make(Measured.read())
    for name in names:
        begin = time.perf_counter()
        document[name] = SCENARIOS[name](world)
        print(f"{name}: {len(document[name])} rows, {time.perf_counter() - begin:.1f} s", flush=True)
        other = PATH.with_suffix(".new")
        other.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(other, PATH)


if __name__ == "__main__":
    main()
