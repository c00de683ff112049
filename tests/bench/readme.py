#!/usr/bin/env python3
"""Tables of the README that programs printed: between <!-- printed: NAME --> and <!-- end --> stands what
`compare --show results/NAME.json` prints.

    tests/bench/readme.py            writes them
    tests/bench/readme.py --check    fails where one is not what was printed
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BLOCK = re.compile(r"(<!-- printed: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def printed(name: str) -> str:
    """What the comparison prints of a kept run."""
    command = [sys.executable, str(HERE / "compare"), "--show", str(HERE / "results" / f"{name}.json")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    old = README.read_text(encoding="utf-8")
    new = BLOCK.sub(lambda block: f"{block[1]}\n{printed(block[2])}\n\n{block[3]}", old)
    if check:
        if not BLOCK.search(old):
            sys.exit("README.md: no table that was printed")
        if new != old:
            sys.exit("README.md: a table is not what was printed; tests/bench/readme.py writes it")
    else:
        README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
