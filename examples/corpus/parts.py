"""Parts: a file of lines cut into numbered ranges, one output file for each, and a manifest that tells what is in them.

The folder of a run holds

    plan.json                      what is asked of which input; a run that goes on must ask the same
    part-000007.parquet            the answers to the lines of part 7
    part-000007.json               written after it: its size and SHA-256. A part without this record, or whose file
                                   differs from it, is not complete
    manifest.json                  written last: the plan and all records

Every file is written under a temporary name, brought to the disk, and renamed. A process that is killed at any point
leaves a complete file or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 1 << 24
NEWLINE = 10


@dataclass(frozen=True)
class Part:
    """Lines first .. first + lines - 1 of the input, counted from 0: its bytes start .. start + size - 1."""

    number: int
    first: int
    lines: int
    start: int
    size: int

    @property
    def file(self) -> str:
        return f"part-{self.number:06}.parquet"

    @property
    def record(self) -> str:
        return f"part-{self.number:06}.json"

    def __str__(self) -> str:
        return f"part {self.number} (lines {self.first} to {self.first + self.lines - 1})"


@dataclass(frozen=True)
class Source:
    """A file of lines that end with a newline (the last may do without), and its parts."""

    path: str
    lines: int
    size: int
    sha256: str
    parts: list[Part]


@dataclass(frozen=True)
class Record:
    """What the output file of a part is, once it is complete."""

    part: int
    first: int
    lines: int
    file: str
    size: int
    sha256: str


def scan(path: str | Path, lines_per_part: int) -> Source:
    """Finds the parts of a file: every one but the last has `lines_per_part` lines."""
    if lines_per_part < 1:
        raise ValueError(f"lines per part: {lines_per_part}, expected 1 or more")
    digest, starts, lines, size, last = hashlib.sha256(), [0], 0, 0, NEWLINE
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == NEWLINE)
            # Newline j of the chunk ends line `lines + j`; a part starts behind it where lines + j + 1 is a multiple.
            starts += (ends[(-lines - 1) % lines_per_part :: lines_per_part] + size + 1).tolist()
            lines, size, last = lines + len(ends), size + len(chunk), chunk[-1]
    if size == 0:
        raise ValueError(f"{path}: is empty, expected lines of text")
    if last != NEWLINE:
        lines += 1
    if starts[-1] == size:
        starts.pop()
    parts = [
        Part(number, first := number * lines_per_part, min(lines_per_part, lines - first), start, end - start)
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], size]))
    ]
    return Source(str(path), lines, size, digest.hexdigest(), parts)


def read(path: str | Path, part: Part) -> list[str]:
    """The lines of a part, without their newlines."""
    with open(path, "rb") as file:
        file.seek(part.start)
        data = file.read(part.size)
    lines = data.removesuffix(b"\n").split(b"\n")
    if len(data) != part.size or len(lines) != part.lines:
        raise ValueError(f"{path}: has changed: {part} has {len(lines)} lines in {len(data)} bytes, not {part.size}")
    try:
        return [line.decode("utf-8") for line in lines]
    except UnicodeDecodeError:
        pass
    for number, line in enumerate(lines, part.first):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: line {number} is not UTF-8 at its byte {error.start}") from None
    raise AssertionError("a line that is not UTF-8 was not found again")


class Output:
    """The folder of a run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, keeps other runs out of it, and removes what killed ones left under temporary names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.folder}: another run is writing to it") from None
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
            yield

    def adopt(self, plan: dict[str, Any]) -> None:
        """Writes the plan of a new run; of one that goes on, compares."""
        path = self.folder / "plan.json"
        if not path.exists():
            if foreign := sorted(self.folder.glob("part-*")):
                raise ValueError(f"{self.folder}: holds {foreign[0].name} but no plan.json: not the folder of a run")
            self._write("plan.json", document(plan))
            return
        held = loaded(path)
        for name in sorted({*held, *plan}):
            if held.get(name) != plan.get(name):
                told = f"{name} is {held.get(name)!r} there and {plan.get(name)!r} here"
                raise ValueError(f"{self.folder}: holds another run: {told}")

    def write(self, part: Part, data: bytes) -> Record:
        """Makes a part complete: its file, then its record."""
        record = Record(part.number, part.first, part.lines, part.file, len(data), hashlib.sha256(data).hexdigest())
        self._write(part.file, data)
        self._write(part.record, document(asdict(record)))
        return record

    def complete(self, part: Part) -> Record | None:
        """The record of a part whose file is there and is what its record says."""
        try:
            record = Record(**loaded(self.folder / part.record))
        except (OSError, ValueError, TypeError):
            return None
        if (record.part, record.first, record.lines, record.file) != (part.number, part.first, part.lines, part.file):
            return None
        return record if self.damage(record) is None else None

    def damage(self, record: Record) -> str | None:
        """What is wrong with the file of a part, or None."""
        path = self.folder / record.file
        try:
            with open(path, "rb") as file:
                size, found = os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return f"{path}: is missing"
        if size != record.size:
            return f"{path}: has {size} bytes, its record says {record.size}"
        return None if found == record.sha256 else f"{path}: has SHA-256 {found}, its record says {record.sha256}"

    def finish(self, plan: dict[str, Any], records: list[Record]) -> None:
        """Writes the manifest of a run all of whose parts are complete."""
        ordered = [asdict(record) for record in sorted(records, key=lambda record: record.part)]
        self._write("manifest.json", document({"plan": plan, "parts": ordered}))

    def manifest(self) -> tuple[dict[str, Any], list[Record]]:
        """The plan and the records of a run that has ended."""
        path = self.folder / "manifest.json"
        if not path.exists():
            raise ValueError(f"{path}: is not there: the run has not ended")
        held = loaded(path)
        try:
            return held["plan"], [Record(**record) for record in held["parts"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: is no manifest: {error}") from None

    def _write(self, name: str, data: bytes) -> None:
        """A file of the folder in one step. The temporary name is of this process alone."""
        path, temporary = self.folder / name, self.folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            entries = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(entries)
            finally:
                os.close(entries)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error


def document(value: dict[str, Any]) -> bytes:
    """As JSON, the same bytes for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def loaded(path: Path) -> dict[str, Any]:
    """What a JSON file holds, which is an object."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds no JSON object")
    return value
