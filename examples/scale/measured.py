"""What was measured: measured.json, which measure.py writes, and by hand what other examples measure."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps import Compute

PATH = Path(__file__).resolve().parent / "measured.json"


class NotMeasured(LookupError):
    """An entry of measured.json that is null."""


@dataclass(frozen=True)
class Measured:
    """`document` is what the file holds: "machine"; "steps", of `cloze bench`; "figures" by their names."""

    document: dict[str, Any]
    path: Path = PATH

    @classmethod
    def read(cls, path: Path = PATH) -> Measured:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SystemExit(f"{path}: {error}") from error
        for name, kind in {"machine": str, "steps": list, "figures": dict}.items():
            if not isinstance(document.get(name) if isinstance(document, dict) else None, kind):
                raise SystemExit(f'{path}: "{name}" is not there or no {kind.__name__}')
        return cls(document, path)

    def write(self) -> None:
        """Replaces the file in one step."""
        other = self.path.with_suffix(".new")
        other.write_text(json.dumps(self.document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(other, self.path)

    def known(self, name: str) -> bool:
        return self._entry(name)["value"] is not None

    def figure(self, name: str) -> float:
        entry = self._entry(name)
        if entry["value"] is None:
            raise NotMeasured(f"{self.path.name}: {name}: not measured: {entry['what']}")
        return float(entry["value"])

    def set(self, name: str, value: float, command: str, clock: str | None = None, others: float | None = None) -> None:
        self._entry(name).update(value=value, command=command, clock=clock, others=others)

    def step(self, model: str, trains: str, batch: int) -> float:
        """Seconds of a training step of `batch` x 128 tokens."""
        for entry in self.document["steps"]:
            if (entry["model"], entry["trainable"], entry["batch"], entry["seq"]) == (model, trains, batch, 128):
                return float(entry["seconds"])
        raise NotMeasured(f"{self.path.name}: a step of {model}, {trains}, batch {batch}: not measured")

    def compute(self, model: str, trains: str) -> Compute:
        """A step's time by the number of its examples: the line through batches of 4 and 16."""
        return Compute.through((4, self.step(model, trains, 4)), (16, self.step(model, trains, 16)))

    def _entry(self, name: str) -> dict[str, Any]:
        if name not in self.document["figures"]:
            raise KeyError(f"{self.path.name}: no figure {name!r}")
        entry: dict[str, Any] = self.document["figures"][name]
        return entry
