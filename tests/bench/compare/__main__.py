"""Runs cloze and the libraries that users would pick instead of it by turns, and prints a table.

    python3 tests/bench/compare --environment DIR                       everything, about an hour and a half
    python3 tests/bench/compare --environment DIR --quick               to see that it works
    python3 tests/bench/compare --environment DIR --workloads encode-b8,pll --precisions f32 --peers ort,openvino

DIR is what ../shared/bench/setup.sh made: venv/bin/python, and models/base, a BERT-base of random weights that all
sides run. peers.py beside setup.sh tells what the peers do. Both sides have the same threads, nothing runs at the same
time: in a round cloze has a turn before each peer's. A figure is the median over turns of a turn's median; a ratio is
the median over pairs of turns that followed each other. Close other programs; the table tells where it found any.

Workloads: encode, ragged, pll, finetune, pretrain, first, or one of them (encode-b8-s128, finetune-top2). What a build
of cloze refuses is "not available" in the table; peers that did not run are named below it, with the reason. Needs
nothing but Python 3.10 on Linux.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import machine
from figures import Contest, Turn, document, figure
from programs import Refused, complain, output
from sides import HERE, TEXT, Bench, Epochs, First, Kind, Setup, Side, Worker
from tables import names, write
from workloads import FIRST, GROUPS, NAMES, PEERS, PRECISIONS, Group, Item, wanted

ROOT = HERE.parents[2]
NARROW = "int8 of a folder in 8 bits"

# After a turn threads of the peers spin for some 200 ms.
SETTLE = 0.3

# A workload whose rounds are longer (s) has only so many.
LONG, FEWEST = 60.0, 3


class Comparison:
    """All contests of one run."""

    def __init__(self, setup: Setup, options: argparse.Namespace) -> None:
        self.setup, self.options = setup, options
        self.contests: list[Contest] = []
        self.notes: list[str] = []
        self.versions: dict[str, str] = {}
        self.others = machine.load()
        self.refused = {precision: self._refusal(precision) for precision in options.precisions}

    def run(self) -> None:
        for group in GROUPS:
            items = [wanted(group, item, self.options.workloads, self.options.quick) for item in group.items]
            precisions = [name for name in group.precisions if name in self.options.precisions]
            for together in [precisions] if group.together else [[name] for name in precisions]:
                if any(items) and together:
                    self._group(group, items, together)
        if not self.options.workloads or FIRST in self.options.workloads:
            self._first()

    def about(self) -> str:
        """What the table says above its rows."""
        rounds = f"medians of {self.options.rounds} rounds of turns"
        if self.options.rounds > FEWEST:
            rounds += f", {FEWEST} where a round is longer than {LONG:.0f} s"
        config = json.loads((self.setup.model / "config.json").read_text(encoding="utf-8"))
        model = f"BERT of {config['num_hidden_layers']} layers of {config['hidden_size']}"
        facts = [machine.threads(self.setup.threads), model, machine.today(), rounds]
        versions = [output([self.setup.cloze, "--version"]).strip(), *self.versions.values()]
        return machine.about(facts, versions, self.others)

    def document(self) -> str:
        return document(self.contests, self.about(), self.notes)

    def save(self) -> None:
        """Writes what there is so far to --json."""
        if self.options.json is None:
            return
        record = {
            "program": "compare",
            "about": self.about(),
            "processor": machine.processor(),
            "threads": self.setup.threads,
            "versions": self.versions,
            "load_of_others": self.others,
            "rounds": self.options.rounds,
            "contests": [dataclasses.asdict(contest) for contest in self.contests],
            "notes": self.notes,
        }
        write(self.options.json, record)

    def _refusal(self, precision: str) -> str:
        """Why this build of cloze does not have a precision; empty where it has."""
        work = ("--workload", "encode", "--seq", 8, "--seconds", 0)
        try:
            output(self.setup.verb("bench", precision, *work))
        except Refused as refused:
            self._note(f"cloze {precision}: not available ({refused})")
            return str(refused)
        return ""

    def _note(self, note: str) -> None:
        self.notes.append(note)
        complain(f"  {note}")

    def _group(self, group: Group, items: Sequence[bool], precisions: Sequence[str]) -> None:
        have = [name for name in precisions if not self.refused[name]]
        workers: list[Worker] = []
        if have:
            for peer in group.peers:
                workers += self._workers(group, peer, precisions)
        try:
            for item, include in zip(group.items, items, strict=True):
                workers = [worker for worker in workers if self._goes(worker, worker.arrive)]
                if include:
                    self._item(group, item, precisions, workers)
                workers = [worker for worker in workers if self._goes(worker, partial(worker.leave, item.name))]
        finally:
            for worker in workers:
                worker.close()

    def _workers(self, group: Group, peer: str, precisions: Sequence[str]) -> list[Worker]:
        """A peer at each precision that it runs the group at."""
        started = []
        for precision in precisions:
            if peer not in self.options.peers:
                continue
            title = f"{PEERS[peer]} {precision}" if group.together else PEERS[peer]
            worker = Worker(self.setup, title, group.name, peer, precision)
            try:
                self.versions[peer] = f"{PEERS[peer]} {worker.version()}"
            except Refused as refused:
                self._note(f"{PEERS[peer]} {precision}: not measured ({refused})")
                worker.close()
            else:
                started.append(worker)
        return started

    def _goes(self, worker: Worker, step: Callable[[], object]) -> bool:
        """Whether a worker took a step; one that did not is ended."""
        try:
            step()
        except Refused as refused:
            self._note(f"{worker.title}: not measured further ({refused})")
            worker.close()
            return False
        return True

    def _item(self, group: Group, item: Item, precisions: Sequence[str], workers: Sequence[Side]) -> None:
        files = ("--file", self.setup.texts) if item.texts else ()
        contest = Contest(group.title, item.title)
        sides: list[Side] = []
        with tempfile.TemporaryDirectory() as folder:
            for precision in precisions:
                first = f"first epoch, {precision}" if item.cached else precision
                bench = Bench(self.setup, first, precision, (*item.arguments, *files))
                both: list[Side] = [bench]
                if item.cached:
                    later = f"later epochs, {precision}"
                    both.append(Epochs(self.setup, later, precision, item.cached, Path(folder)))
                contest.ours += [side.title for side in both]
                sides += [] if self.refused[precision] else both
            self._contest(contest, sides, workers)

    def _first(self) -> None:
        """First answers. ONNX Runtime is a library: its process is measured as it is, and from the moment on when
        Python and all libraries were loaded. Its int8 is read from a file in 8 bits, ours from the one in f32 and from a
        folder in 8 bits, which is converted before."""
        with tempfile.TemporaryDirectory() as folder:
            for precision in self.options.precisions:
                setups = {precision: self.setup}
                if precision == "int8" and not self.refused[precision]:
                    try:
                        setups[NARROW] = self._narrow(Path(folder) / "int8")
                    except Refused as refused:
                        self._note(f"{NARROW}: not available ({refused})")
                self._first_of(precision, setups)

    def _narrow(self, folder: Path) -> Setup:
        """The model once more, in 8 bits."""
        output([self.setup.cloze, "convert", "--model", str(self.setup.model), "--dtype", "int8", "--out", str(folder)])
        return dataclasses.replace(self.setup, model=folder)

    def _first_of(self, precision: str, setups: dict[str, Setup]) -> None:
        kinds: tuple[tuple[Kind, str, str], ...] = (
            ("time", "time", "ms"),
            ("peak", "resident memory", "MiB"),
            ("own", "resident memory that is no file's", "MiB"),
        )
        variables = self.setup.variables()
        script = (self.setup.python, HERE / "first_answer.py", self.setup.peers, precision, TEXT)
        theirs = list(map(str, script)) if "ort" in self.options.peers and precision != "bf16" else []
        names = (("ONNX Runtime", False), ("ONNX Runtime after imports", True)) if theirs else ()
        for kind, title, unit in kinds:
            contest = Contest("first answer of a new process", title, unit, ours=list(setups))
            cloze = [
                First(name, setup.verb("embed", precision, "--json", TEXT), variables, kind, aside=False)
                for name, setup in setups.items()
                if not self.refused[precision]
            ]
            peers = [First(name, theirs, variables, kind, aside) for name, aside in names]
            self._contest(contest, cloze, peers)

    def _contest(self, contest: Contest, ours: Sequence[Side], theirs: Sequence[Side]) -> None:
        """All turns of a contest."""
        self.contests.append(contest)
        complain(f"{contest.section}: {contest.title}, {', '.join(contest.ours)}")
        ours = [side for side in ours if self._can(contest, side, side.warm)]
        theirs = [side for side in theirs if ours and self._can(contest, side, side.warm)]
        begin, rounds = time.perf_counter(), self.options.rounds
        for number in range(rounds):
            long = number > 0 and (time.perf_counter() - begin) / number > LONG
            if not ours or (long and number >= FEWEST):
                break
            self._round(contest, ours, theirs, number)
        for title in contest.ours:
            best = contest.best()
            ratio = contest.ratio(title, best) if best is not None else None
            told = f"  cloze {title}: {figure(contest.our_median(title), contest.unit)}"
            complain(told if best is None or ratio is None else f"{told}, {ratio:.2f} to {best}")
        self.others = max(self.others, machine.load() - self.setup.threads)
        self.save()

    def _round(self, contest: Contest, ours: list[Side], theirs: list[Side], number: int) -> None:
        """Each peer once, ours before each of them; another peer begins each round. Who fails has no more turns."""
        first = number % max(1, len(theirs))
        peers: list[Side | None] = [*theirs[first:], *theirs[:first]]
        for peer in peers or [None]:
            turn = Turn()
            for side in list(ours):
                value = self._turn(contest, side, ours)
                if value is not None:
                    turn.ours[side.title] = value
            value = None if peer is None else self._turn(contest, peer, theirs)
            if peer is not None and value is not None:
                turn.peer, turn.theirs = peer.title, value
            contest.turns.append(turn)

    def _turn(self, contest: Contest, side: Side, sides: list[Side]) -> float | None:
        time.sleep(SETTLE)
        times: list[float] = []
        if self._can(contest, side, lambda: times.append(side.turn(self.options.seconds))):
            return times[0]
        sides.remove(side)
        return None

    def _can(self, contest: Contest, side: Side, step: Callable[[], object]) -> bool:
        try:
            step()
        except Refused as refused:
            self._note(f"{contest.title}, {side.title}: did not run ({refused})")
            return False
        return True


def shown(file: Path) -> str:
    """The table of what --json wrote."""
    record = json.loads(file.read_text(encoding="utf-8"))
    contests = [
        Contest(**{**contest, "turns": [Turn(**turn) for turn in contest["turns"]]}) for contest in record["contests"]
    ]
    return document(contests, record["about"], record["notes"])


def workloads(text: str) -> list[str]:
    chosen = [name for name in text.split(",") if name]
    for name in chosen:
        if name != FIRST and not any(wanted(group, item, [name], False) for group in GROUPS for item in group.items):
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(NAMES)}, nor one of their workloads")
    return chosen


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("CLOZE_BENCH", os.path.join(tempfile.gettempdir(), "cloze-bench"))
    add = parser.add_argument
    add("--environment", type=Path, default=Path(default), help="what setup.sh made [default: $CLOZE_BENCH]")
    add("--python", type=Path, help="the peers' Python [default: venv/bin/python of the environment]")
    add("--peers-script", type=Path, default=ROOT.parent / "shared" / "bench" / "peers.py", help="peers.py")
    add("--cloze", type=Path, default=ROOT / "target" / "release" / "cloze", help="the program")
    add("--threads", type=int, default=2, help="of each side [default: 2]")
    add("--workloads", type=workloads, default=[], metavar="LIST", help="by commas [default: all]")
    add("--precisions", type=names(PRECISIONS), default=list(PRECISIONS), metavar="LIST", help="f32,bf16,int8")
    add("--peers", type=names(tuple(PEERS)), default=list(PEERS), metavar="LIST", help=",".join(PEERS))
    add("--rounds", type=int, help="[default: 5, with --quick 2]")
    add("--seconds", type=float, help="of a turn, at least [default: 2, with --quick 0.5]")
    add("--quick", action="store_true", help="fewer workloads, rounds and seconds")
    add("--json", type=Path, metavar="FILE", help="writes every turn there, after each workload")
    add("--show", type=Path, metavar="FILE", help="prints the table of what --json wrote, runs nothing")
    options = parser.parse_args()
    if options.show:
        return options
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds if options.seconds is not None else (0.5 if options.quick else 2.0)
    options.python = options.python or options.environment / "venv" / "bin" / "python"
    for what, path in (("program", options.cloze), ("Python", options.python), ("peers.py", options.peers_script)):
        if not path.is_file():
            parser.error(f"no {what} at {path}")
    return options


def main() -> None:
    options = arguments()
    if options.show:
        print(shown(options.show), end="")
        return
    setup = Setup(
        cloze=str(options.cloze.resolve()),
        model=options.environment.resolve() / "models" / "base",
        environment=options.environment.resolve(),
        python=options.python.absolute(),
        peers=options.peers_script.resolve(),
        threads=options.threads,
    )
    comparison = Comparison(setup, options)
    try:
        comparison.run()
    except KeyboardInterrupt:
        comparison.notes.append("the run was interrupted")
    comparison.save()
    print(comparison.document(), end="")


if __name__ == "__main__":
    main()
