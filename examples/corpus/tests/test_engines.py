"""Runs: Ray and Spark write what one process writes; what was killed or damaged is made again, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray

import ray_batch
import spark_batch
from command import Engine, main, run
from conftest import GOLDEN, HERE, Local, contents, given
from parts import Output, Part, scan
from task import Job, Outcome, answer, opened, parquet
from verify import compare, verify


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    session = spark_batch.session(None, 2)
    yield session
    session.stop()


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray_batch.connect(None, 2)
    yield
    ray.shutdown()


def on_ray(worker: type[ray_batch.Worker] = ray_batch.Worker) -> Engine:
    """Ray with actors of a class."""
    return lambda job, pending, workers: ray_batch.outcomes(job, pending, workers, worker)


def on_spark(spark: Any, answered: spark_batch.Answer = spark_batch.answered) -> Engine:
    """Spark with a function for a part."""
    return lambda job, pending, _workers: spark_batch.outcomes(spark, job, pending, answered)


def program(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(HERE / name), *arguments], capture_output=True, text=True, check=False)


def test_a_run_is_proved(reference: Path, lines: Path, model: str) -> None:
    assert verify(reference) == (303, 7)
    assert compare(reference, str(lines), model, 100) == 100


def test_another_input_or_answer_is_found(reference: Path, lines: Path, model: str, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(lines.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.txt: has SHA-256"):
        compare(reference, str(other), model, 10)
    with pytest.raises(ValueError, match="sequence: has SHA-256"):
        compare(reference, str(lines), str(GOLDEN / "sequence"), 10)


def test_an_answer_that_is_another_one_now_is_found(lines: Path, model: str, tmp_path: Path) -> None:
    run(given(lines, tmp_path, model), Local())
    output, part = Output(tmp_path), scan(lines, 50).parts[2]
    plan, records = output.manifest()
    table = pq.read_table(tmp_path / part.file)
    swapped = table["embedding"].take([1, 0, *range(2, 50)])
    records[2] = output.write(part, parquet(table.set_column(1, "embedding", swapped)))
    output.finish(plan, records)
    assert verify(tmp_path) == (303, 7)
    with pytest.raises(ValueError, match=r"part-000002\.parquet: the answer to line 100 is another one now"):
        compare(tmp_path, str(lines), model, 303)


def test_an_interrupted_run_goes_on(reference: Path, lines: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        run(given(lines, tmp_path, model), Local(stop_after=3))
    assert not (tmp_path / "manifest.json").exists()
    rest = Local()
    run(given(lines, tmp_path, model, "--batch-lines", "5", "--threads", "2"), rest)
    assert rest.given == [3, 4, 5, 6]
    assert contents(tmp_path) == contents(reference)
    again = Local()
    run(given(lines, tmp_path, model), again)
    assert again.given == []


def test_damaged_parts_are_made_again(reference: Path, lines: Path, model: str, tmp_path: Path) -> None:
    run(given(lines, tmp_path, model), Local())
    truncated, flipped, lost = (tmp_path / f"part-00000{number}.parquet" for number in (1, 4, 5))
    truncated.write_bytes(truncated.read_bytes()[:-100])
    flipped.write_bytes(flipped.read_bytes()[:200] + b"\xff" + flipped.read_bytes()[201:])
    lost.unlink()
    again = Local()
    run(given(lines, tmp_path, model), again)
    assert again.given == [1, 4, 5]
    assert contents(tmp_path) == contents(reference)


def test_another_question_is_refused(reference: Path, lines: Path, model: str) -> None:
    with pytest.raises(ValueError, match="precision is 'f32' there and 'int8' here"):
        run(given(lines, reference, model, "--precision", "int8"), Local())


def test_errors_name_the_thing(lines: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, broken, file = tmp_path / "empty.txt", tmp_path / "broken.txt", tmp_path / "file"
    empty.touch()
    file.touch()
    broken.write_bytes(b"good\n" * 60 + b"b\xffd\n")
    cases = [
        (given(tmp_path / "nothing.txt", tmp_path / "out", model), "nothing.txt"),
        (given(empty, tmp_path / "out", model), "empty.txt: is empty"),
        (given(lines, file, model), "file"),
        (given(lines, tmp_path / "out", str(tmp_path / "no model")), "no model"),
        (given(lines, tmp_path / "out", model, "--task", "classify"), "classifier"),
        (given(lines, tmp_path / "out", model, "--lines-per-part", "0"), "--lines-per-part: 0"),
        (given(broken, tmp_path / "bad", model), "part 1 (lines 50 to 60): "),
        (given(broken, tmp_path / "bad", model), "broken.txt: line 60 is not UTF-8 at its byte 1"),
    ]
    for arguments, message in cases:
        assert main(arguments, Local()) == 1
        assert message in capsys.readouterr().err, message
    assert not (tmp_path / "out").exists()


def test_ray_writes_what_one_process_writes(reference: Path, lines: Path, model: str, tmp_path: Path) -> None:
    arguments = [str(lines), str(tmp_path), "--model", model, "--lines-per-part", "50", "--workers", "2"]
    done = program("ray_batch.py", arguments)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(reference)
    checked = program("verify.py", [str(tmp_path), "--input", str(lines), "--model", model])
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("303 lines, each exactly once, in 7 files")


def test_spark_writes_what_one_process_writes(
    reference: Path, lines: Path, model: str, tmp_path: Path, spark: Any
) -> None:
    run(given(lines, tmp_path, model), on_spark(spark))
    assert contents(tmp_path) == contents(reference)


def test_ray_loses_nothing_with_a_worker(
    reference: Path, lines: Path, model: str, tmp_path: Path, local_ray: None
) -> None:
    output, marker = tmp_path / "out", tmp_path / "killed"

    class Dies(ray_batch.Worker):
        """Is killed once, with half of part 2 written."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            if batch["number"].tolist() == [2] and not marker.exists():
                marker.touch()
                (output / ".part-000002.parquet.1.ab.tmp").write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    run(given(lines, output, model), on_ray(Dies))
    assert marker.exists()
    assert contents(output) == contents(reference)
    assert verify(output) == (303, 7)


def test_spark_loses_nothing_with_a_worker(
    reference: Path, lines: Path, model: str, tmp_path: Path, spark: Any
) -> None:
    output, marker = tmp_path / "out", tmp_path / "killed"

    def dies(job: Job, part: Part) -> Outcome:
        """Is killed once, at part 2."""
        if part.number == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(opened(job.spec), job, part)

    run(given(lines, output, model), on_spark(spark, dies))
    assert marker.exists()
    assert contents(output) == contents(reference)


def test_a_part_that_kills_every_worker_ends_the_run(
    lines: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None, spark: Any
) -> None:
    monkeypatch.setattr(ray_batch, "RETRIES", 1)

    class Dies(ray_batch.Worker):
        """Is killed whenever it is given part 2."""

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
            if batch["number"].tolist() == [2]:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    def dies(job: Job, part: Part) -> Outcome:
        """The same."""
        if part.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(opened(job.spec), job, part)

    with pytest.raises(RuntimeError, match=r"^ray: .* parts are left, the first is part \d \(lines"):
        run(given(lines, tmp_path / "ray", model), on_ray(Dies))
    with pytest.raises(RuntimeError, match=r"^spark: .* parts are left, the first is part \d \(lines"):
        run(given(lines, tmp_path / "spark", model), on_spark(spark, dies))
    for name in ("ray", "spark"):
        assert not (tmp_path / name / "part-000002.parquet").exists()
        assert not (tmp_path / name / "manifest.json").exists()


def test_errors_of_workers_name_the_part(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], local_ray: None, spark: Any
) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"good\n" * 60 + b"b\xffd\n")
    engines = {
        "ray": on_ray(),
        "spark": on_spark(spark),
    }
    for name, engine in engines.items():
        assert main(given(broken, tmp_path / name, model), engine) == 1
        message = "part 1 (lines 50 to 60): "
        assert f"{message}{broken}: line 60 is not UTF-8 at its byte 1" in capsys.readouterr().err
