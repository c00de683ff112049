"""What the programs have in common: their arguments, what is still to do, the manifest, errors."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cloze
from parts import Output, Part, Record, Source, scan
from task import KINDS, Job, Outcome, Spec, Task

Engine = Callable[[Job, list[Part], int], Iterable[Outcome]]
"""Makes parts complete with so many workers, and tells of each as soon as it can."""


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that all programs take."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("input", help="file of lines, UTF-8")
    made.add_argument("output", help="folder for the output files; one that is there is gone on with")
    made.add_argument("--model", required=True, help="HuggingFace folder of a BERT")
    made.add_argument("--task", choices=KINDS, default="embed")
    made.add_argument("--precision", choices=("f32", "bf16", "int8"), default="f32")
    made.add_argument("--memory", choices=("least", "fast"), default="least", help="how f32 weights are kept")
    made.add_argument("--max-tokens", type=int, default=0, help="cut longer lines; 0: to what the model allows")
    made.add_argument("--lines-per-part", type=int, default=5000, help="lines of an output file")
    made.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: one per processor")
    made.add_argument("--threads", type=int, default=1, help="threads of each process")
    made.add_argument("--batch-lines", type=int, default=256, help="most lines of a call")
    made.add_argument("--batch-bytes", type=int, default=1 << 16, help="most bytes of a call")
    made.add_argument("--quiet", action="store_true", help="do not tell of each part")
    return made


def main(given: argparse.Namespace, engine: Engine) -> int:
    """Runs a program; its exit status."""
    try:
        run(given, engine)
    except (OSError, ValueError, RuntimeError, MemoryError, cloze.Error) as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 1
    return 0


def run(given: argparse.Namespace, engine: Engine) -> None:
    """Makes all parts of the input complete that are not, then writes the manifest."""
    began = time.time()
    spec = Spec(
        given.task,
        os.path.abspath(given.model),
        given.precision,
        given.memory,
        given.threads,
        given.max_tokens,
        given.batch_lines,
        given.batch_bytes,
    )
    check(given)
    source = scan(os.path.abspath(given.input), given.lines_per_part)
    Task(spec).table(0, [""])  # A model that cannot do the task is found out here, and not by every worker.
    output, plan = Output(os.path.abspath(given.output)), planned(spec, source, given.lines_per_part)
    with output.held():
        output.adopt(plan)
        found = {part.number: record for part in source.parts if (record := output.complete(part)) is not None}
        pending = [part for part in source.parts if part.number not in found]
        print(f"{source.lines} lines in {len(source.parts)} parts, of which {len(found)} are complete", flush=True)
        try:
            told_of = engine(Job(spec, source.path, str(output.folder)), pending, given.workers)
            outcomes = collected(told_of, pending, given)
        except RuntimeError as error:
            left = [part for part in pending if output.complete(part) is None]
            first = f", the first is {left[0]}" if left else ""
            raise RuntimeError(f"{error}; {len(left)} parts are left{first}; the same command goes on") from error
        made = {part.number: recorded(part, outcomes[part.number]) for part in pending}
        output.finish(plan, [*found.values(), *made.values()])
    summary(pending, outcomes, time.time() - began)


def check(given: argparse.Namespace) -> None:
    """Refuses numbers that mean nothing."""
    for name in ("workers", "threads", "lines_per_part", "batch_lines", "batch_bytes"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: {getattr(given, name)}, expected 1 or more")


def planned(spec: Spec, source: Source, lines_per_part: int) -> dict[str, object]:
    """What the output files depend on, and nothing else: who goes on must ask the same."""
    return {
        **spec.plan(),
        "input_bytes": source.size,
        "input_lines": source.lines,
        "input_sha256": source.sha256,
        "lines_per_part": lines_per_part,
    }


def collected(outcomes: Iterable[Outcome], pending: list[Part], given: argparse.Namespace) -> dict[int, Outcome]:
    """The outcome of each part; the first that failed ends the run."""
    by_number, done = {part.number: part for part in pending}, {}
    for outcome in outcomes if pending else ():
        if outcome.error:
            raise RuntimeError(outcome.error)
        done[outcome.part] = outcome
        if not given.quiet:
            seconds = outcome.ended - outcome.began
            print(f"{by_number[outcome.part]}: {seconds:.2f} s by process {outcome.worker}", flush=True)
    if missing := sorted(set(by_number) - set(done)):
        raise RuntimeError(f"{len(missing)} parts were not answered, the first is {by_number[missing[0]]}")
    return done


def recorded(part: Part, outcome: Outcome) -> Record:
    """The record of a part that a worker has made complete."""
    return Record(part.number, part.first, part.lines, part.file, outcome.size, outcome.sha256)


def summary(pending: list[Part], outcomes: dict[int, Outcome], seconds: float) -> None:
    """How fast it was, from the first part's beginning to the last one's end and with all that is around it; how many
    workers were at work meanwhile, on average; what a line cost."""
    if not pending:
        return
    lines, every = sum(part.lines for part in pending), outcomes.values()
    span = max(outcome.ended for outcome in every) - min(outcome.began for outcome in every)
    within, whole = f"{span:.2f} s: {lines / span:.1f} lines/s", f"{seconds:.2f} s: {lines / seconds:.1f} lines/s"
    print(f"{lines} lines in {within}; whole run {whole}")
    busy = sum(outcome.ended - outcome.began for outcome in every) / span
    cpu = 1000 * sum(outcome.cpu for outcome in every) / lines
    print(f"{busy:.3f} workers at work on average, {cpu:.4f} processor seconds for 1000 lines", flush=True)


def told(error: BaseException) -> str:
    """The message, with the file that the system names."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{Path(error.filename)}: {error.strerror}"
    return str(error)
