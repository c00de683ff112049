"""What the tests ask: the models of the repository."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cloze

ROOT = Path(__file__).resolve().parents[3]


def absent(what: str, why: str) -> None:
    """Skips loudly; fails where CLOZE_REQUIRE lists `what`."""
    required = os.environ.get("CLOZE_REQUIRE", "")
    if what in required.split(","):
        pytest.fail(f"CLOZE_REQUIRE={required}: {why}")
    warnings.warn(f"SKIPPED ({what}): {why}", stacklevel=2)
    pytest.skip(why)


@pytest.fixture(scope="session")
def vectors() -> Any:
    """The calls and answers that all languages share."""
    return json.loads((ROOT / "bindings/vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def model() -> Iterator[cloze.Model]:
    """The model of the source tree, on one thread."""
    with cloze.Model(ROOT / "model", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def minilm() -> Iterator[cloze.Model]:
    """all-MiniLM-L6-v2, where it is beside the checkout."""
    folder = ROOT.parent / "shared/models/minilm"
    if not folder.exists():
        absent("shared", f"{folder} is not there")
    with cloze.Model(folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def moods(vectors: Any) -> cloze.Dataset:
    """Twelve sentences with one of three labels."""
    examples = vectors["datasets"]["moods"]
    return cloze.Dataset([example["text"] for example in examples], [example["label"] for example in examples])
