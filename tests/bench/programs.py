"""Programs that are run for what they print."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

# Longest wait for one answer (s): a model that is made, or warm-up of the largest shape on a slow machine.
PATIENCE = 900.0


class Refused(Exception):
    """A program that cannot run, and why."""


def reason(text: str, line: int = 0) -> str:
    """One line of what a program said, for a table's foot: of cloze the first, of Python the last (-1)."""
    lines = [said.strip() for said in text.splitlines() if said.strip()]
    return lines[line][:160] if lines else "said nothing"


def output(command: Sequence[str], patience: float = PATIENCE) -> str:
    """What a program prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired:
        raise Refused(f"no end after {patience:.0f} s") from None
    if done.returncode != 0:
        raise Refused(reason(done.stderr))
    return done.stdout


def complain(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
