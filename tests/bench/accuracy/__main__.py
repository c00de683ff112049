"""Trains all-MiniLM-L6-v2 with cloze's command line, scores what has learned in f32, bf16 and int8, prints a table.

    python3 tests/bench/accuracy                          everything, about twenty minutes on two processors
    python3 tests/bench/accuracy --quick                  to see that it works
    python3 tests/bench/accuracy --tasks stsb,training --seeds 42

Tasks: sst2 and stsb train the top 2 layers, wnut17 all layers, in f32; training learns SST-2 with all parameters, in
f32 and in bf16. No development set is looked at while a model learns: its last parameters are scored. Models and data
come from the folder --shared: models/minilm, data/sst2, data/stsb, data/wnut17. Scores are the same on any number of
threads, times are not. Needs nothing but Python 3.10 on Linux.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import Measurement, Setup, shown
from tables import names
from trainings import TASKS, wanted

ROOT = Path(__file__).resolve().parents[3]

# Steps of a training with --quick.
FEW = 10


def seeds(text: str) -> list[int]:
    try:
        chosen = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no list of numbers") from None
    if len(set(chosen)) < len(chosen):
        raise argparse.ArgumentTypeError(f"{text} has a seed twice")
    return chosen


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cloze", type=Path, default=ROOT / "target" / "release" / "cloze", help="the program")
    add("--shared", type=Path, default=ROOT.parent / "shared", help="models and data [default: ../shared]")
    add("--threads", type=int, default=2, help="[default: 2]")
    add("--tasks", type=names(TASKS), default=[], metavar="LIST", help=f"{','.join(TASKS)} [default: all]")
    add("--seeds", type=seeds, metavar="LIST", help="[default: 42,43,44, with --quick 42]")
    add("--quick", action="store_true", help=f"{FEW} steps of each training")
    add("--json", type=Path, metavar="FILE", help="writes every score there, after each training")
    add("--show", type=Path, metavar="FILE", help="prints the table of what --json wrote, runs nothing")
    options = parser.parse_args()
    options.seeds = options.seeds or ([42] if options.quick else [42, 43, 44])
    if not options.show and not options.cloze.is_file():
        parser.error(f"no program at {options.cloze}")
    return options


def main() -> None:
    options = arguments()
    if options.show:
        print(shown(options.show), end="")
        return
    setup = Setup(
        cloze=str(options.cloze.resolve()),
        model=options.shared.resolve() / "models" / "minilm",
        data=options.shared.resolve() / "data",
        threads=options.threads,
        steps=FEW if options.quick else 0,
    )
    measurement = Measurement(setup, wanted(options.tasks), options.seeds, options.json)
    try:
        measurement.run()
    except KeyboardInterrupt:
        measurement.notes.append("the run was interrupted")
    measurement.save()
    print(measurement.document(), end="")


if __name__ == "__main__":
    main()
