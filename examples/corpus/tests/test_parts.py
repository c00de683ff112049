"""Parts, files in one step, going on, and the proof."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parts
from parts import Output, Part, read, scan
from task import parquet
from verify import verify

PART = Part(3, 30, 10, 300, 100)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 24])
@pytest.mark.parametrize("per_part", [1, 3, 4, 100])
@pytest.mark.parametrize("text", ["a", "a\n", "\n", "\n\n", "a\nb\nc\nd", "a\nb\nc\nd\n", "é\r\n\n\n中\n", "x\n" * 12])
def test_parts_hold_every_line_once(
    text: str, per_part: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHUNK", chunk)
    path = tmp_path / "lines.txt"
    path.write_bytes(text.encode())
    expected = text.removesuffix("\n").split("\n")
    source = scan(path, per_part)
    assert source.lines == len(expected)
    assert [line for part in source.parts for line in read(path, part)] == expected
    assert [part.number for part in source.parts] == list(range(-(-len(expected) // per_part)))
    assert all(part.first == per_part * part.number for part in source.parts)
    assert all(part.lines == per_part for part in source.parts[:-1])


def test_a_file_without_lines_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    with pytest.raises(ValueError, match=r"empty\.txt: is empty"):
        scan(path, 10)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"one\ntwo\nthr\xffee\n")
    with pytest.raises(ValueError, match=r"lines\.txt: line 2 is not UTF-8 at its byte 3"):
        read(path, scan(path, 10).parts[0])


def test_an_input_that_changes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\ntwo\n")
    part = scan(path, 10).parts[0]
    for changed in ("one\n", "one two\n", "o\nt\nh\n??"):
        path.write_text(changed)
        with pytest.raises(ValueError, match=r"lines\.txt: has changed: part 0 \(lines 0 to 1\)"):
            read(path, part)


def test_a_part_is_complete_only_as_it_was_written(tmp_path: Path) -> None:
    output, data = Output(tmp_path), bytes(range(100))
    assert output.complete(PART) is None
    record = output.write(PART, data)
    assert output.complete(PART) == record
    path, told = tmp_path / PART.file, tmp_path / PART.record
    for damaged in (data[:-1], b"", b"\xff" + data[1:], data + b"\0"):
        path.write_bytes(damaged)
        assert output.complete(PART) is None
    path.unlink()
    assert output.complete(PART) is None
    output.write(PART, data)
    for broken in (b"", b"{", b"[]", b"{}", told.read_bytes().replace(b'"first": 30', b'"first": 40')):
        told.write_bytes(broken)
        assert output.complete(PART) is None
    told.unlink()
    assert output.complete(PART) is None


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot be written: File too large: .*part-000003\.parquet"):
            Output(tmp_path).write(PART, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, seen = os.replace, []

    def watched(temporary: Path, path: Path) -> None:
        seen.append((path.name, path.exists(), temporary.read_bytes()))
        replace(temporary, path)

    monkeypatch.setattr("parts.os.replace", watched)
    Output(tmp_path).write(PART, bytes(100))
    assert [(name, there) for name, there, _ in seen] == [(PART.file, False), (PART.record, False)]
    assert seen[0][2] == bytes(100)
    assert seen[1][2] == (tmp_path / PART.record).read_bytes()


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    output, plan = Output(tmp_path / "out"), {"task": "embed", "input_lines": 10}
    with output.held():
        (output.folder / ".part-000001.parquet.12.ab.tmp").write_bytes(b"left by a process that was killed")
        output.adopt(plan)
        with pytest.raises(ValueError, match="out: another run is writing to it"), Output(output.folder).held():
            pass
    with output.held():
        assert not list(output.folder.glob(".*.tmp"))
        output.adopt(plan)
        with pytest.raises(ValueError, match="holds another run: task is 'embed' there and 'score' here"):
            output.adopt({**plan, "task": "score"})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").touch()
    with pytest.raises(ValueError, match=r"holds part-000000\.parquet but no plan\.json"):
        Output(tmp_path).adopt({})


def written(folder: Path, numbers: list[list[int]], lines: int = 6) -> None:
    """A run whose files have rows with these numbers."""
    output = Output(folder)
    records = [
        output.write(Part(part, 0, 0, 0, 0), parquet(pa.table({"line": pa.array(own, pa.int64())})))
        for part, own in enumerate(numbers)
    ]
    output.finish({"input_lines": lines}, records)


def test_verify_counts_each_line(tmp_path: Path) -> None:
    written(tmp_path, [[0, 1, 2], [3, 4, 5]])
    assert verify(tmp_path) == (6, 2)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([[0, 1, 2], [3, 5]], "1 lines have no row, the first is line 4"),
        ([[0, 1, 2], [3, 4, 5, 2]], "1 lines have more than one row, the first is line 2"),
        ([[0, 1, 2], [3, 4, 6]], r"part-000001\.parquet: has lines 3 to 6, the input has 6"),
        ([[0, 1, 2], [3, 4, 5, -1]], r"part-000001\.parquet: has lines -1 to 5, the input has 6"),
        ([], "6 lines have no row, the first is line 0"),
    ],
)
def test_verify_names_what_is_wrong(numbers: list[list[int]], message: str, tmp_path: Path) -> None:
    written(tmp_path, numbers)
    with pytest.raises(ValueError, match=message):
        verify(tmp_path)


def test_verify_names_what_was_damaged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json: is not there: the run has not ended"):
        verify(tmp_path)
    written(tmp_path, [[0, 1, 2], [3, 4, 5]])
    path = tmp_path / "part-000001.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"part-000001\.parquet: has {len(data) - 1} bytes"):
        verify(tmp_path)
    path.write_bytes(data[:-9] + bytes(9))
    with pytest.raises(ValueError, match=r"part-000001\.parquet: has SHA-256"):
        verify(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"part-000001\.parquet: is missing"):
        verify(tmp_path)
    path.write_bytes(data)
    pq.write_table(pa.table({"line": [0]}), tmp_path / "part-000002.parquet")
    with pytest.raises(ValueError, match=r"part-000002\.parquet: is not in the manifest"):
        verify(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"plan": {}}))
    with pytest.raises(ValueError, match=r"manifest\.json: is no manifest"):
        verify(tmp_path)
