"""Proves of a run that has ended: every line of the input has exactly one row, and every file is what was written.

python verify.py OUTPUT                              checksums; each line number exactly once
python verify.py OUTPUT --input LINES                also that the run was over this file
python verify.py OUTPUT --input LINES --model DIR    also that lines drawn from the file have the same answers again
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import cloze
from command import told
from parts import Output, Record, read, scan
from task import Spec, Task, digest


def verify(folder: str | Path) -> tuple[int, int]:
    """Lines and files of a run; ValueError tells what is lost, twice or damaged."""
    output = Output(folder)
    plan, records = output.manifest()
    listed = {record.file for record in records}
    if strange := sorted(path.name for path in output.folder.glob("part-*.parquet") if path.name not in listed):
        raise ValueError(f"{output.folder / strange[0]}: is not in the manifest")
    seen = np.zeros(plan["input_lines"], np.int64)
    for record in records:
        if damage := output.damage(record):
            raise ValueError(damage)
        lines = numbers(output.folder / record.file)
        if len(lines) and not 0 <= lines.min() <= lines.max() < len(seen):
            raise ValueError(f"{record.file}: has lines {lines.min()} to {lines.max()}, the input has {len(seen)}")
        seen += np.bincount(lines, minlength=len(seen))
    for what, wrong in (("no row", seen == 0), ("more than one row", seen > 1)):
        if wrong.any():
            raise ValueError(f"{output.folder}: {wrong.sum()} lines have {what}, the first is line {wrong.argmax()}")
    return len(seen), len(records)


def numbers(path: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Line numbers of the rows of a file."""
    try:
        column: np.ndarray[tuple[int], np.dtype[np.int64]] = pq.read_table(path, columns=["line"])["line"].to_numpy()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet: {error}") from None
    return column


def compare(folder: str | Path, source: str, model: str | None, count: int) -> int:
    """How many lines, drawn evenly over the parts, have the same answers again; ValueError names one that has not."""
    output = Output(folder)
    plan, records = output.manifest()
    scanned = scan(source, plan["lines_per_part"])
    if scanned.sha256 != plan["input_sha256"]:
        raise ValueError(f"{source}: has SHA-256 {scanned.sha256}, the run was over {plan['input_sha256']}")
    if model is None:
        return 0
    if (found := digest(model)) != plan["model_sha256"]:
        raise ValueError(f"{model}: has SHA-256 {found}, the run used {plan['model_sha256']}")
    task = Task(Spec(plan["task"], model, plan["precision"], max_tokens=plan["max_tokens"]))
    chosen = np.unique(np.linspace(0, scanned.lines - 1, count).astype(np.int64)).tolist()
    by_part: dict[int, list[int]] = {}
    for line in chosen:
        by_part.setdefault(line // plan["lines_per_part"], []).append(line)
    for number, lines in by_part.items():
        record: Record = records[number]
        texts = read(source, scanned.parts[number])
        table = pq.read_table(output.folder / record.file)
        for line in lines:
            if not table.slice(line - record.first, 1).equals(task.table(line, [texts[line - record.first]])):
                raise ValueError(f"{record.file}: the answer to line {line} is another one now")
    return len(chosen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("output", help="folder of a run")
    parser.add_argument("--input", help="the file it was over")
    parser.add_argument("--model", help="the model it used; needs --input")
    parser.add_argument("--sample", type=int, default=200, help="how many lines are answered again")
    given = parser.parse_args()
    if given.model is not None and given.input is None:
        parser.error("--model needs --input")
    try:
        lines, files = verify(given.output)
        print(f"{lines} lines, each exactly once, in {files} files as they were written")
        if given.input is not None:
            again = compare(given.output, given.input, given.model, given.sample)
            print(f"the run was over {given.input}; {again} lines answered again, with the same result")
    except (OSError, ValueError, cloze.Error) as error:
        print(f"error: {told(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
