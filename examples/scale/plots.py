"""The plots of README.md, from measured.json, simulated.json and the formulas.

python plots.py [FOLDER]     SVG files, into plots/; the same input gives the same bytes
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullFormatter

import assumptions as assumed
import simulate
from measured import Measured
from rounds import Task, behind_link, device_time, queue, waited
from scoring import Faults, best_part, cost
from shapes import SHAPES, TRAINS
from steps import efficiency

FOLDER = Path(__file__).resolve().parent / "plots"

# Okabe and Ito's colours that also differ in grey, each with a line and a marker of its own
STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#000000", "linestyle": "-", "marker": "o"},
    {"color": "#0072B2", "linestyle": "--", "marker": "s"},
    {"color": "#D55E00", "linestyle": "-.", "marker": "^"},
    {"color": "#009E73", "linestyle": ":", "marker": "D"},
)
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "cloze",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}


def line(style: dict[str, Any]) -> dict[str, Any]:
    return {**style, "marker": "", "zorder": 2}


def points(style: dict[str, Any]) -> dict[str, Any]:
    return {**style, "linestyle": "", "markerfacecolor": "white", "zorder": 3}


def plain_numbers(axis: Any) -> None:
    """1,000 for 10³, and no labels between the powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, dict[str, Any]]], gap: float = 0.075) -> None:
    """Names lines at their right ends: (y of the end, name, style), moved apart to `gap` of the height."""
    transform = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]
    wanted = sorted((float(transform.transform((x, y))[1]), name, style) for y, name, style in ends)
    heights: list[float] = []
    for height, _, _ in wanted:
        heights.append(max(height, heights[-1] + gap) if heights else height)
    over = max(0.0, heights[-1] - 1.0)
    heights[-1] -= over
    for place in range(len(heights) - 2, -1, -1):
        heights[place] = min(heights[place], heights[place + 1] - gap)
    for height, (_, name, style) in zip(heights, wanted):
        axes.text(1.02, height, name, transform=axes.transAxes, color=style["color"], va="center", ha="left")


def size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            value = count / scale
            return f"{value:.0f} {unit}" if value >= 99.5 else f"{value:.2g} {unit}"
    return f"{count:.0f} B"


def plot_bytes() -> Figure:
    """What a device transfers in a round, up and down."""
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    rows = [(name, trains) for name in SHAPES for trains in TRAINS]
    for place, (name, trains) in enumerate(rows):
        count = SHAPES[name].numbers(trains)
        style = STYLES[0] if name == "BERT-base" else STYLES[2]
        y = -place - (0.7 if name != "BERT-base" else 0)
        axes.plot([4 * count, 8 * count], [y, y], color="#999999", linewidth=1, zorder=1)
        axes.plot([8 * count], [y], linestyle="", color=style["color"], marker=style["marker"], zorder=3)
        axes.plot([4 * count], [y], **points(style))
        axes.text(8 * count * 1.25, y, size(8 * count), va="center", color=style["color"])
        axes.text(4 * count / 1.25, y, size(4 * count), va="center", ha="right", color=style["color"])
    axes.set_yticks(
        [-place - (0.7 if name != "BERT-base" else 0) for place, (name, _) in enumerate(rows)],
        [f"{name}, {TRAINS[trains]}" for name, trains in rows],
    )
    axes.set_xscale("log")
    axes.set_xlim(5e4, 6e9)
    axes.set_xticks([1e5, 1e6, 1e7, 1e8, 1e9], ["100 kB", "1 MB", "10 MB", "100 MB", "1 GB"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes of a device in a round, down and up together (full: f32, hollow: 16 bits)")
    axes.grid(axis="y", visible=False)
    return figure


def plot_cohorts() -> Figure:
    """The time of a round by its cohort."""
    found, world = simulate.read()["cohorts"], Measured.read()
    shape = SHAPES["MiniLM-L6"]
    task = Task(shape.numbers("lora:8"), assumed.LOCAL_STEPS * world.step("MiniLM-L6", "lora:8", 16))
    time = device_time(assumed.PHONES, task)
    figure, axes = plt.subplots(figsize=(7.0, 3.6))
    cohort = [10 ** (1 + 3 * place / 60) for place in range(61)]
    ends = []
    for style, (name, (ask, want)) in zip(STYLES, simulate.WAITING.items()):
        closed = [waited(time, want * m, ask * m) for m in cohort]
        axes.plot(cohort, closed, **line(style))
        rows = [row for row in found if row["policy"] == name]
        middle = [row["simulated"] for row in rows]
        around = [[row["simulated"] - row["low"] for row in rows], [row["high"] - row["simulated"] for row in rows]]
        axes.errorbar([row["cohort"] for row in rows], middle, around, **points(style), elinewidth=1, capsize=2)
        ends.append((closed[-1], name, style))
    axes.axhline(time.median, color="#777777", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(8, 11_500)
    axes.set_ylim(0, None)
    plain_numbers(axes.xaxis)
    axes.set_xlabel("devices a round waits for (m)")
    axes.set_ylabel("time of a round, s")
    label_ends(axes, [*ends, (time.median, "median device", {"color": "#777777"})])
    return figure


def plot_server() -> Figure:
    """The time of a round behind one link, and through a tree."""
    found, measured = simulate.read()["server"], Measured.read()
    figure, both = plt.subplots(1, 2, figsize=(8.4, 3.5))
    for axes, trains in zip(both, ("lora:8", "all")):
        task = Task(SHAPES["BERT-base"].numbers(trains), assumed.LOCAL_STEPS * measured.step("BERT-base", trains, 16))
        time = device_time(assumed.PHONES, task)
        many = [10 ** (2 + 3 * place / 60) for place in range(61)]
        wanted = simulate.WANTED
        closed = [behind_link(time, queue(task, m, assumed.SERVER), wanted * m, m) for m in many]
        axes.plot(many, closed, **line(STYLES[0]))
        alone = [queue(task, wanted * m, assumed.SERVER) for m in many]
        axes.plot(many, alone, color="#777777", linewidth=0.8)
        ends = [(closed[-1], "one server", STYLES[0]), (alone[-1], "its link alone", {"color": "#777777"})]
        for style, by in ((STYLES[0], "one server"), (STYLES[2], "tree")):
            rows = [row for row in found if (row["trains"], row["by"]) == (trains, by)]
            if by == "tree":
                axes.plot([row["devices"] for row in rows], [row["closed"] for row in rows], **line(style))
                ends.append((rows[-1]["closed"], "tree", style))
            axes.plot([row["devices"] for row in rows], [row["simulated"] for row in rows], **points(style))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(80, 125_000)
        top = max(row["simulated"] for row in found if row["trains"] == trains)
        axes.set_ylim(time.median / 3, top * 1.6)
        plain_numbers(axes.xaxis)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        plain_numbers(axes.yaxis)
        axes.set_title(f"BERT-base, {TRAINS[trains]}: {size(task.bytes)} each way", fontsize=9)
        axes.set_xlabel("devices in a round")
        label_ends(axes, ends)
    both[0].set_ylabel("time of a round, s")
    return figure


def plot_shares() -> Figure:
    """Whose answers count."""
    found = simulate.read()["losses"]
    figure, axes = plt.subplots(figsize=(7.6, 3.5))
    ends = []
    chosen = [row for row in found if "simulated" in row]
    for style, row in zip(STYLES, chosen):
        shares = [100 * row[f"tenth{part}"] for part in range(10)]
        axes.plot(range(1, 11), shares, **{**style, "markerfacecolor": "white"})
        ends.append((shares[-1], row["policy"], style))
    axes.axhline(10, color="#777777", linewidth=0.8)
    axes.set_xticks(range(1, 11), ["1\nfastest", *map(str, range(2, 10)), "10\nslowest"])
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MultipleLocator(5))
    axes.set_xlim(0.7, 10.2)
    axes.set_xlabel("tenths of the devices, by the time that they take")
    axes.set_ylabel("share of the answers that count, %")
    label_ends(axes, [*ends, (10, "all alike", {"color": "#777777"})])
    return figure


def plot_ranks() -> Figure:
    """Data-parallel efficiency by the number of ranks."""
    measured = Measured.read()
    figure, both = plt.subplots(1, 2, figsize=(7.6, 3.3), sharey=True)
    ranks = [2 ** (place / 8) for place in range(8, 65)]
    for axes, link in zip(both, assumed.LINKS):
        ends = []
        for style, (trains, words) in zip(STYLES, TRAINS.items()):
            compute, bytes_ = measured.compute("BERT-base", trains), 4 * SHAPES["BERT-base"].numbers(trains)
            shares = [100 * efficiency(compute, 16, bytes_, p, link) for p in ranks]
            axes.plot(ranks, shares, **line(style))
            marks = [2, 4, 8, 16, 32, 64, 128, 256]
            at = [100 * efficiency(compute, 16, bytes_, p, link) for p in marks]
            axes.plot(marks, at, **points(style))
            ends.append((shares[-1], words, style))
        axes.set_xscale("log", base=2)
        axes.set_xlim(1.8, 285)
        axes.set_ylim(0, 103)
        axes.set_xticks([2, 4, 8, 16, 32, 64, 128, 256])
        plain_numbers(axes.xaxis)
        axes.set_title(link.name, fontsize=9)
        axes.set_xlabel("ranks (p), 16 examples each")
        if link is assumed.LINKS[1]:
            label_ends(axes, ends)
    both[0].set_ylabel("time that computes, %")
    return figure


def plot_parts() -> Figure:
    """What a useful second costs by the size of a part."""
    found = simulate.read()["parts"]
    figure, axes = plt.subplots(figsize=(7.0, 3.5))
    ends = []
    for style, (name, rate) in zip(STYLES, assumed.FAILURES.items()):
        faults = Faults(rate, assumed.PART_OVERHEAD, assumed.RESTART)
        sizes = [10 ** (1 + 3 * place / 90) for place in range(91)]
        extra = [100 * (cost(part, faults) - 1) for part in sizes]
        axes.plot(sizes, extra, **line(style))
        rows = [row for row in found if row["between"] == name]
        axes.plot([row["part"] for row in rows], [100 * (row["simulated"] - 1) for row in rows], **points(style))
        best = best_part(faults)
        lowest = 100 * (cost(best, faults) - 1)
        axes.plot([best], [lowest], color=style["color"], marker="*", markersize=11, zorder=4)
        ends.append((min(extra[-1], 190.0), f"a failure every {name}", style))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.3, 200)
    axes.set_xlim(9, 11_000)
    plain_numbers(axes.xaxis)
    plain_numbers(axes.yaxis)
    axes.set_xlabel("size of a part, s of useful work")
    axes.set_ylabel("more time than the useful, % (star: least)")
    label_ends(axes, ends)
    return figure


PLOTS: dict[str, Callable[[], Figure]] = {
    "bytes": plot_bytes,
    "cohorts": plot_cohorts,
    "server": plot_server,
    "shares": plot_shares,
    "ranks": plot_ranks,
    "parts": plot_parts,
}


def draw(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(SETTINGS):
        for name, plot in PLOTS.items():
            figure = plot()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    draw(parser.parse_args().folder)


if __name__ == "__main__":
    main()
