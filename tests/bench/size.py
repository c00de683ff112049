#!/usr/bin/env python3
"""How large libcloze.so is, and which libraries it needs.

    tests/bench/size.py --library target/release/libcloze.so --json FILE
    tests/bench/size.py --show FILE     prints the table of what --json wrote

Needs strip and readelf of binutils, and Python 3.10 on Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import tempfile
from pathlib import Path

import machine
import tables
from programs import output

ROOT = Path(__file__).resolve().parents[2]


def needed(dynamic: str) -> list[str]:
    """The libraries in what `readelf -d` prints."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)


def measured(library: Path) -> dict[str, object]:
    """The record of a library."""
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / library.name
        output(["strip", "-o", str(stripped), str(library)])
        size = stripped.stat().st_size
    version = ctypes.CDLL(os.fspath(library.resolve())).cloze_version
    version.restype = ctypes.c_char_p
    return {
        "program": "size",
        "about": f"{platform.system()} {platform.machine()}; {machine.today()}. cloze {version().decode()}.",
        "stripped_bytes": size,
        "needs": needed(output(["readelf", "-W", "-d", str(library)])),
    }


def document(record: dict[str, object]) -> str:
    size, needs = record["stripped_bytes"], record["needs"]
    assert isinstance(size, int) and isinstance(needs, list)
    rows = [["size, stripped", f"{size / 2**20:.1f} MiB"], ["needs", ", ".join(needs)]]
    return tables.document(str(record["about"]), [tables.markdown(["the shared library", "cloze"], rows)], [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--library", dest="file", type=Path, default=ROOT / "target" / "release" / "libcloze.so", help="the shared library")
    add("--json", type=Path, metavar="FILE", help="writes the figures there")
    add("--show", type=Path, metavar="FILE", help="prints the table of what --json wrote, looks at no library")
    options = parser.parse_args()
    if options.show:
        record = json.loads(options.show.read_text(encoding="utf-8"))
    else:
        record = measured(options.file)
        if options.json:
            tables.write(options.json, record)
    print(document(record), end="")


if __name__ == "__main__":
    main()
