#!/usr/bin/env python3
"""The table of a run of tests/cuda/benchmark.py, which needs a GPU; this needs none.

tests/bench/cuda.py --show FILE     FILE is what benchmark.py wrote with --json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import tables

MISSING = "not measured"

# Columns of the table that are cloze's.
OURS = "cloze"


@dataclass(frozen=True)
class Row:
    title: str
    ms: list[float | None]
    """By column."""
    gflop: float | None
    """Of the products and attention; none where a row is not told in TFLOP/s."""


def figure(ms: float | None) -> str:
    """Three digits, or as few as were kept."""
    if ms is None:
        return MISSING
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def shares(columns: list[str], rows: list[Row], peak: float) -> str:
    """What part of the device's fastest product cloze's columns reach."""
    told = []
    for row in rows:
        times = [ms for column, ms in zip(columns, row.ms, strict=True) if column.startswith(OURS)]
        if row.gflop is not None and None not in times:
            told.append(f"{row.title} {', '.join(f'{row.gflop / ms / peak * 100:.0f} %' for ms in times if ms)}")
    return f"cloze's part of the {peak:.0f} TFLOP/s of a product of 8192³: {'; '.join(told)}"


def document(record: dict[str, object]) -> str:
    columns, peak, notes = record["columns"], record["peak_tflops"], record["notes"]
    assert isinstance(columns, list) and isinstance(record["rows"], list) and isinstance(notes, list)
    rows = [Row(**row) for row in record["rows"]]
    table = tables.markdown(["bf16", *columns], [[row.title, *map(figure, row.ms)] for row in rows])
    if isinstance(peak, (int, float)):
        notes = [shares(columns, rows, peak), *notes]
    return tables.document(str(record["about"]), [table], notes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, metavar="FILE", required=True, help="prints the table of a kept run")
    print(document(json.loads(parser.parse_args().show.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
