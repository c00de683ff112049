"""The tables of README.md, from measured.json, simulated.json and the formulas.

python tables.py            writes them between their markers
python tables.py --check    says where README.md differs from them
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import assumptions as assumed
import simulate
from measured import Measured
from rounds import Task, device_time, rounds_to_target, selection, waited
from scoring import Faults, best_part, cost, repeated, workers_fed
from secure import Prices, device_bytes, device_seconds, neighbours, server_seconds
from shapes import SHAPES, TRAINS
from spread import Spread
from steps import efficiency, examples_for, hidden_from, ring

README = Path(__file__).resolve().parent / "README.md"
NOT_MEASURED = "not measured"
MARK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown; the first `left` columns hold words."""
    ruler = ["---" if place < left else "---:" for place in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ruler, *rows))


def few(value: float) -> str:
    """Three significant digits, thousands parted."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "never"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))
    return f"{value:,.{digits}f}"


def size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{few(count / scale)} {unit}"
    return f"{few(count)} B"


def span(seconds: float) -> str:
    for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if math.isfinite(seconds) and seconds >= 2 * scale:
            return f"{few(seconds / scale)} {unit}"
    if seconds < 0.1 and seconds > 0:
        return f"{few(seconds * 1e3)} ms"
    return f"{few(seconds)} s" if math.isfinite(seconds) else "never"


def whole(value: float) -> str:
    return f"{math.ceil(value):,}"


def percent(share: float) -> str:
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %" if share < 0.0995 or 0.95 < share < 1 else f"{100 * share:.0f} %"


def numbers(measured: Measured) -> str:
    del measured
    rows = []
    for name, shape in SHAPES.items():
        for trains, words in TRAINS.items():
            count = shape.numbers(trains)
            both = [size(2 * width * count) for width in (4, 2)]
            rows.append([name, words, f"{count:,}", size(4 * count), *both, size(2 * 4 * count * 1000)])
    head = ["", "trains", "numbers", "one way, f32", "a round, f32", "a round, 16 bits", "server, 1,000 devices, f32"]
    return table(head, rows, 2)


def taken(entry: dict[str, Any]) -> list[str]:
    """Clock and others of a measurement, as cells."""
    return [entry["clock"] or "", "" if entry["others"] is None else percent(entry["others"])]


def steps(measured: Measured) -> str:
    rows = []
    for entry in measured.document["steps"]:
        words = [entry["model"], TRAINS[entry["trainable"]], str(entry["batch"])]
        rows.append([*words, span(entry["seconds"]), str(entry["runs"]), *taken(entry), f"`{entry['command']}`"])
    order = list(TRAINS.values())
    rows.sort(key=lambda row: (row[0], order.index(row[1]), int(row[2])))
    return table(["", "trains", "batch", "a step", "runs", "clock", "others", "command"], rows, 2)


def figures(measured: Measured) -> str:
    rows = []
    for entry in measured.document["figures"].values():
        value = NOT_MEASURED if entry["value"] is None else f"{entry['value']:.3g} {entry['unit']}"
        rows.append([entry["what"], value, *taken(entry), f"`{entry['command']}`" if entry["command"] else ""])
    return table(["", "", "clock", "others", "command"], rows)


def device(measured: Measured) -> str:
    rows = []
    for name, shape in SHAPES.items():
        for trains, words in TRAINS.items():
            task = Task(shape.numbers(trains), assumed.LOCAL_STEPS * measured.step(name, trains, 16))
            down, up = assumed.PHONES.download.over(task.bytes), assumed.PHONES.upload.over(task.bytes)
            work, time = assumed.PHONES.slowness.times(task.seconds), device_time(assumed.PHONES, task)
            parts = [span(part.median) for part in (down, work, up)]
            slow = [span(waited(time, m, m)) for m in (10, 1000)]
            rows.append([name, words, *parts, *slow, span(waited(time, 1000, 1300))])
    head = ["", "trains", "download", "computation", "upload", "slowest of 10", "slowest of 1,000", "1,000th of 1,300"]
    return table(head, rows, 2)


def maxima(measured: Measured) -> str:
    del measured
    rows = []
    for sigma in (0.25, 0.5, 0.8, 1.0):
        one = Spread(1.0, sigma)
        cells = [f"{few(one.order(m, m))} ({few(one.expected_maximum(m))})" for m in (10, 100, 1000, 10_000, 100_000)]
        rows.append([f"{sigma:g}", *cells])
    return table(["σ", *(f"{m:,}" for m in (10, 100, 1000, 10_000, 100_000))], rows)


def agreement(measured: Measured) -> str:
    """How far closed forms and simulations are apart."""
    del measured
    found = simulate.read()
    rows = []
    groups: list[tuple[str, str, list[dict[str, Any]]]] = []
    for name in simulate.WAITING:
        groups.append(
            (f"a round of 10 to 10,000 devices, {name}", "closed", [r for r in found["cohorts"] if r["policy"] == name])
        )
    for trains in ("lora:8", "all"):
        for by in ("one server", "tree"):
            chosen = [r for r in found["server"] if (r["trains"], r["by"]) == (trains, by)]
            groups.append((f"100 to 100,000 devices, BERT-base, {TRAINS[trains]}, {by}", "closed", chosen))
    middle = found["deadlines"][0]["median"]
    early = [r for r in found["deadlines"] if r["deadline"] < middle]
    late = [r for r in found["deadlines"] if r["deadline"] >= middle]
    groups.append(("answers at a deadline below the median", "closed", early))
    groups.append(("answers at a deadline from the median on", "closed", late))
    groups.append(("data-parallel efficiency, ranks alike", "plain", [r for r in found["jitter"] if r["sigma"] == 0]))
    groups.append(("the same, ranks vary by σ = 0.2", "closed", [r for r in found["jitter"] if r["sigma"] == 0.2]))
    groups.append(
        ("the same, the formula without variation", "plain", [r for r in found["jitter"] if r["sigma"] == 0.2])
    )
    groups.append(("cost of a part", "closed", found["parts"]))
    ends = [{**row, "simulated": row["makespan"]} for row in found["parts"]]
    groups.append(("time for all parts, against the bound of a last part alone", "bound", ends))
    for words, key, chosen in groups:
        ratios = sorted(row["simulated"] / row[key] for row in chosen)
        rows.append(
            [words, str(len(ratios)), f"{ratios[0]:.3f}", f"{ratios[len(ratios) // 2]:.3f}", f"{ratios[-1]:.3f}"]
        )
    return table(["simulated / closed form", "settings", "least", "middle", "most"], rows)


def deadlines(measured: Measured) -> str:
    del measured
    rows = []
    for row in simulate.read()["deadlines"]:
        cycle = row["deadline"] + assumed.ROUND_OVERHEAD
        cells = [f"{row['deadline'] / row['median']:.2f}", percent(row["closed"]), percent(row["simulated"])]
        cells += [few(60_000 * row[key] / cycle) for key in ("closed", "simulated")]
        rows.append([span(row["deadline"]) + (", the best" if row["deadline"] == row["best"] else ""), *cells])
    head = ["deadline", "in medians", "answered", "simulated", "answers a minute of 1,000 asked", "simulated"]
    return table(head, rows)


def losses(measured: Measured) -> str:
    del measured
    rows = []
    for row in simulate.read()["losses"]:
        ended = "simulated" in row
        closed = row["closed"] if isinstance(row["closed"], str) else span(row["closed"])
        around = f" ({span(row['low'])} to {span(row['high'])})" if ended and row["low"] < row["high"] else ""
        took = span(row["simulated"]) + around if ended else "never"
        tenths = [percent(row[f"tenth{part}"]) if ended else "" for part in (0, 9)]
        answers = f"{row['answers']:,.0f}" if ended else "0"
        rows.append(
            [
                row["policy"],
                f"{row['selected']:,}",
                closed,
                took,
                f"{row['failed']} of {row['rounds']}",
                answers,
                percent(row["wasted"]),
                *tenths,
            ]
        )
    head = [
        "policy",
        "asked",
        "closed form",
        "simulated (tenth to ninth tenth)",
        "never end",
        "answers",
        "work wasted",
        "share of the fastest tenth",
        "of the slowest",
    ]
    return table(head, rows)


def secure(measured: Measured) -> str:
    if not (measured.known("mask") and measured.known("agreement")):
        return f"{NOT_MEASURED}: `python measure.py server`\n"
    prices = Prices(measured.figure("mask"), measured.figure("agreement"))
    slow, count = assumed.PHONES.slowness.median, SHAPES["MiniLM-L6"].numbers("lora:8")
    rows = []
    for m in (100, 1000, 10_000, 100_000):
        for plus in (False, True):
            device_time = slow * device_seconds(count, m, plus, prices)
            rows.append(
                [
                    f"{m:,}",
                    "SecAgg+" if plus else "SecAgg",
                    f"{neighbours(m, plus):,}",
                    size(device_bytes(count, m, plus)),
                    span(device_time),
                    span(server_seconds(count, m, assumed.DROPOUT, plus, prices)),
                ]
            )
    return table(["devices", "", "neighbours", "sent by a device", "its computation", "server's computation"], rows, 2)


def target(measured: Measured) -> str:
    task = Task(SHAPES["MiniLM-L6"].numbers("lora:8"), assumed.LOCAL_STEPS * measured.step("MiniLM-L6", "lora:8", 16))
    time = device_time(assumed.PHONES, task)
    rows = []
    for m in (10, 30, 100, 300, 1000, 3000, 10_000):
        count = rounds_to_target(m, assumed.CRITICAL_COHORT)
        every, first = waited(time, m, m), waited(time, m, math.ceil(1.3 * m))
        rows.append(
            [
                f"{m:,}",
                few(count),
                span(every),
                few(count * every / time.median),
                few(count * first / time.median),
                few(count * m),
            ]
        )
    return table(
        ["devices a round", "rounds", "a round, all", "time, all", "time, first m of 1.3 m", "device-rounds"], rows
    )


def ranks(measured: Measured) -> str:
    rows = []
    for name, shape in SHAPES.items():
        for trains, words in TRAINS.items():
            compute, bytes_ = measured.compute(name, trains), 4 * shape.numbers(trains)
            cells = [
                percent(efficiency(compute, 16, bytes_, p, link)) for link in assumed.LINKS[:2] for p in (2, 8, 64)
            ]
            least = [whole(examples_for(0.9, compute, bytes_, 8, link)) for link in assumed.LINKS[:2]]
            hidden = whole(hidden_from(compute, bytes_, 8, assumed.LINKS[0]))
            rows.append(
                [
                    name,
                    words,
                    span(compute.seconds(16)),
                    span(ring(bytes_, 8, assumed.LINKS[0])),
                    *cells,
                    *least,
                    hidden,
                ]
            )
    head = ["", "trains", "step", "ring, p = 8, 1 Gbit/s"]
    head += [f"{link.name}, p = {p}" for link in assumed.LINKS[:2] for p in (2, 8, 64)]
    head += ["b for 90 %, 1 Gbit/s", "b for 90 %, 10 Gbit/s", "b hidden, 1 Gbit/s"]
    return table(head, rows, 2)


def fast(measured: Measured) -> str:
    """One H200 a rank."""
    step, bytes_ = measured.figure("h200_step"), 4 * SHAPES["BERT-base"].numbers("all")
    rows = []
    for link in assumed.LINKS:
        took = [ring(bytes_, p, link) for p in (2, 8, 64)]
        batches = [whole(9 * time / step) for time in took]
        rows.append([link.name, *(f"{span(time)}, {percent(step / (step + time))}" for time in took), *batches])
    head = [
        "",
        *(f"p = {p}: ring, efficiency" for p in (2, 8, 64)),
        *(f"batches for 90 %, p = {p}" for p in (2, 8, 64)),
    ]
    return table(head, rows)


def loopback(measured: Measured) -> str:
    """Two processes on the measured machine, predicted from what the all-reduce was measured to do there."""
    if not (measured.known("allreduce_bandwidth") and measured.known("allreduce_latency")):
        return f"{NOT_MEASURED}: all-reduce over the loopback ([../mpi](../mpi/README.md)); the table comes with it\n"
    link = assumed.Link("loopback", measured.figure("allreduce_bandwidth"), measured.figure("allreduce_latency"))
    rows = []
    for name, shape in SHAPES.items():
        for trains, words in TRAINS.items():
            compute, bytes_ = measured.compute(name, trains), 4 * shape.numbers(trains)
            rows.append([name, words, span(ring(bytes_, 2, link)), percent(efficiency(compute, 16, bytes_, 2, link))])
    return table(["", "trains", "all-reduce", "efficiency, b = 16"], rows, 2)


def parts(measured: Measured) -> str:
    del measured
    rows = []
    for name, rate in assumed.FAILURES.items():
        faults = Faults(rate, assumed.PART_OVERHEAD, assumed.RESTART)
        best, rule = best_part(faults), math.sqrt(2 * faults.overhead / faults.rate)
        cells = [f"{100 * (cost(part, faults) - 1):.1f} %" for part in (best, best / 4, best * 4)]
        rows.append([name, span(best), span(rule), *cells, span(repeated(best, faults))])
    head = [
        "between failures of a worker",
        "best part",
        "√(2 o / λ)",
        "more time: best part",
        "a quarter of it",
        "four times it",
        "repeated, a part",
    ]
    return table(head, rows)


def feeding(measured: Measured) -> str:
    if not (measured.known("texts_per_second") and measured.known("text_bytes")):
        return f"{NOT_MEASURED}: `python measure.py score`\n"
    rate, text = measured.figure("texts_per_second"), measured.figure("text_bytes")
    width = SHAPES["MiniLM-L6"].hidden
    rows = []
    for what, bytes_ in (
        ("texts in", text),
        ("a label out", 8.0),
        ("embeddings out, f16", 2.0 * width),
        ("embeddings out, f32", 4.0 * width),
    ):
        cells = [few(workers_fed(link.bandwidth, rate, bytes_)) for link in assumed.LINKS[:2]]
        rows.append([what, few(bytes_), size(rate * bytes_) + "/s", *cells])
    return table(["", "bytes a text", "a worker", "workers on 1 Gbit/s", "on 10 Gbit/s"], rows)


def selections(measured: Measured) -> str:
    del measured
    rows = []
    for m in (10, 100, 1000, 10_000):
        rows.append([f"{m:,}", *(f"{selection(m, q):,} ({selection(m, q) / m:.2f})" for q in (0.02, 0.05, 0.1, 0.2))])
    return table(["answers wanted", *(f"q = {100 * q:g} %" for q in (0.02, 0.05, 0.1, 0.2))], rows)


ALL: tuple[Callable[[Measured], str], ...] = (
    *(numbers, steps, figures, device, maxima, deadlines, selections, losses, secure, target),
    *(ranks, loopback, fast, feeding, parts, agreement),
)
TABLES = {function.__name__: function for function in ALL}


def render(text: str, measured: Measured) -> str:
    """README with the tables of now. Every table has its place, every place a table."""
    names = [match[2] for match in MARK.finditer(text)]
    if sorted(names) != sorted(TABLES):
        wrong = sorted(set(names) ^ set(TABLES)) or names
        raise SystemExit(f"{README.name}: {', '.join(wrong)}: places and tables differ")
    return MARK.sub(lambda match: match[1] + TABLES[match[2]](measured) + match[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = README.read_text(encoding="utf-8")
    new = render(old, Measured.read())
    if check:
        changes = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "README.md", "tables", lineterm=""))
        print("\n".join(changes), end="\n" if changes else "")
        sys.exit(1 if changes else 0)
    other = README.with_suffix(".new")
    other.write_text(new, encoding="utf-8")
    os.replace(other, README)


if __name__ == "__main__":
    main()
