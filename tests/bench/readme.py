#!/usr/bin/env python3
"""Tables of the README that programs printed: between <!-- printed: NAME --> and <!-- end --> stands what the program
that results/NAME.json names prints of it with --show: compare where it names none.

    tests/bench/readme.py            writes them
    tests/bench/readme.py --check    fails where one is not what was printed
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
RESULTS = HERE / "results"
BLOCK = re.compile(r"(<!-- printed: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

PROGRAMS = {"compare": "compare", "accuracy": "accuracy", "size": "size.py", "cuda": "cuda.py"}
"""What shows a kept run, by the name in its file."""


def program(kept: Path) -> Path:
    """What shows a kept run."""
    name = json.loads(kept.read_text(encoding="utf-8")).get("program", "compare")
    if name not in PROGRAMS:
        sys.exit(f"{kept}: program {name}, expected one of {', '.join(PROGRAMS)}")
    return HERE / PROGRAMS[name]


def printed(name: str) -> str:
    """What is printed of a kept run."""
    kept = RESULTS / f"{name}.json"
    if not kept.is_file():
        sys.exit(f"no {kept}")
    command = [sys.executable, str(program(kept)), "--show", str(kept)]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.strip()


def written(text: str) -> str:
    """The text with all blocks as they are printed."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{printed(block[2])}\n\n{block[3]}", text)


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    old = README.read_text(encoding="utf-8")
    new = written(old)
    if check:
        if not BLOCK.search(old):
            sys.exit("README.md: no table that was printed")
        if new != old:
            sys.exit("README.md: a table is not what was printed; tests/bench/readme.py writes it")
    else:
        README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
