"""The server's checkpoints: one file a round, whole or not there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from .learning import Floats

KEPT = 2


class Progress(NamedTuple):
    """How far a run has come."""

    round: int
    """Rounds that are complete."""
    parameters: Floats
    """Global, flat."""
    history: list[dict[str, Any]]
    """What each round came to."""
    best: Floats
    """The parameters of the round with the best dev accuracy; the last ones without a dev file."""
    best_round: int


def files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("round-*.npz") if re.fullmatch(r"round-\d{5}\.npz", path.name))


def save(folder: Path, progress: Progress, settings: Mapping[str, Any]) -> Path:
    """Writes a checkpoint beside its place, syncs it and renames it; removes those before the last two."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"round": progress.round, "best_round": progress.best_round, "history": progress.history}
    state = json.dumps({**told, "settings": dict(settings)})
    coded = np.frombuffer(state.encode(), dtype=np.uint8)
    path = folder / f"round-{progress.round:05}.npz"
    replace(path, lambda file: np.savez(file, parameters=progress.parameters, best=progress.best, state=coded))
    for old in files(folder)[:-KEPT]:
        old.unlink()
    return path


def replace(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """A file takes the place of an old one in one step: who reads, or a power cut, finds one of them whole."""
    name = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(name, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
    finally:
        name.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load(folder: Path, settings: Mapping[str, Any], expected: int) -> Progress:
    """The newest checkpoint of a folder, of a run with the same settings and so many parameters."""
    found = files(folder)
    if not found:
        raise FileNotFoundError(f"resume: '{folder}' has no checkpoint")
    path = found[-1]
    try:
        with np.load(path) as stored:
            parameters, best = (np.asarray(stored[name], dtype=np.float32) for name in ("parameters", "best"))
            state = json.loads(bytes(stored["state"]).decode())
    except Exception as error:
        raise ValueError(f"'{path}' is no checkpoint of a server: {error}; without it the one before counts") from error
    for key, value in settings.items():
        if state["settings"].get(key) != value:
            raise ValueError(f"'{path}' is of a run with {key} {state['settings'].get(key)!r}, this one has {value!r}")
    if parameters.size != expected:
        raise ValueError(f"'{path}' has {parameters.size:,} parameters, the model {expected:,}")
    return Progress(state["round"], parameters, state["history"], best, state["best_round"])
