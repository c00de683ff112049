"""Makes a file of as many lines as wanted: sentences of a folder of .txt files, again and again with the line's number.

python lines.py TEXTS LINES --count 1000000
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'\u201d\u2019])\s+")


def sentences(folder: Path) -> Iterator[str]:
    """Sentences of the paragraphs of all files, in the order of their names."""
    for path in sorted(folder.glob("*.txt")):
        for paragraph in path.read_text(encoding="utf-8").splitlines():
            yield from (sentence for piece in ENDS.split(paragraph) if (sentence := piece.strip()))


def numbered(folder: Path) -> Iterator[str]:
    """Sentences without end: from the second round on each has the number of its line behind it."""
    line = 0
    for round_ in itertools.count():
        for sentence in sentences(folder):
            yield f"{sentence} {line}" if round_ else sentence
            line += 1
        if line == 0:
            raise ValueError(f"{folder}: no text in .txt files")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("texts", type=Path, help="folder of .txt files, UTF-8")
    parser.add_argument("lines", type=Path, help="file to write")
    parser.add_argument("--count", type=int, default=1_000_000)
    given = parser.parse_args()
    try:
        with open(given.lines, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in itertools.islice(numbered(given.texts), given.count))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
