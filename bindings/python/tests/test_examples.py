"""The examples print what stands beside them. CLOZE_BLESS=1 writes that anew, as after a change of the model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cloze

from .conftest import ROOT

FOLDER = ROOT / "bindings/python/examples"
NUMBER = re.compile(r"-?\d+\.\d+")


def test_the_notebook_prints_what_was_recorded() -> None:
    package = str(Path(cloze.__file__).parents[1])
    environment = {**os.environ, "CLOZE_LIBRARY": cloze.library_path, "PYTHONPATH": package, "PYTHONUTF8": "1"}
    command = [sys.executable, str(FOLDER / "notebook.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    record = FOLDER / "notebook.txt"
    if "CLOZE_BLESS" in os.environ:
        record.write_text(done.stdout, encoding="utf-8")
    expected = record.read_text(encoding="utf-8")
    # Other instruction sets differ in the last digits that are printed.
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", expected)
    found, recorded = NUMBER.findall(done.stdout), NUMBER.findall(expected)
    for own, other in zip(found, recorded):
        assert abs(float(own) - float(other)) <= 0.02, (own, other)
