"""Those who take turns: programs of cloze, and workers that run a peer."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from programs import PATIENCE, Refused, output, reason

HERE = Path(__file__).resolve().parent

TEXT = "She opened the window and looked out at the rain, which had not stopped since the morning."


class Side(Protocol):
    """Something with a name that measures itself when asked to."""

    title: str

    def warm(self) -> None: ...

    def turn(self, seconds: float) -> float: ...


@dataclass(frozen=True)
class Setup:
    """Where things are and how they run."""

    cloze: str
    model: Path
    environment: Path
    python: Path
    peers: Path
    threads: int

    @property
    def texts(self) -> Path:
        """The sentences that peers.py reads."""
        return self.peers.parent.parent / "data" / "sst2" / "dev.tsv"

    def variables(self) -> dict[str, str]:
        threads = str(self.threads)
        return os.environ | {
            "CLOZE_BENCH": str(self.environment),
            "CLOZE_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "TRANSFORMERS_OFFLINE": "1",
        }

    def verb(self, verb: str, precision: str, *arguments: object) -> list[str]:
        """The command line of a verb of cloze."""
        common = ("--model", self.model, "--threads", self.threads, "--precision", precision)
        return [self.cloze, verb, *map(str, (*common, *arguments))]


class Bench:
    """`cloze bench`, a process a turn; it warms up by itself."""

    def __init__(self, setup: Setup, title: str, precision: str, arguments: Sequence[object]) -> None:
        self.title = title
        self.setup, self.precision, self.arguments = setup, precision, arguments

    def warm(self) -> None:
        pass

    def turn(self, seconds: float) -> float:
        command = self.setup.verb("bench", self.precision, *self.arguments, "--seconds", seconds)
        return float(json.loads(output(command).splitlines()[-1])["median_ms"])


class Epochs:
    """Steps of `cloze train` after its first epoch: 16 texts of 128 tokens each, as `cloze bench` has them.

    The program prints a line at the end of each step; a step is the time between two lines. It is ended before it
    saves.
    """

    BATCH, STEPS, EPOCHS = 16, 4, 4

    def __init__(self, setup: Setup, title: str, precision: str, trainable: str, folder: Path) -> None:
        self.title = title
        data = folder / "examples.tsv"
        examples(setup.model, data, self.BATCH * self.STEPS)
        arguments = ("--task", "classify", "--train", data, "--out", folder / "out", "--trainable", trainable)
        course = ("--batch", self.BATCH, "--epochs", self.EPOCHS + 1, "--lr", 2e-5, "--max-tokens", 128)
        self.command = setup.verb("train", precision, *arguments, *course, "--json", "--log-every", 1)

    def warm(self) -> None:
        pass

    def turn(self, seconds: float) -> float:
        del seconds
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            ends = []
            assert process.stdout is not None
            for line in process.stdout:
                ends.append(time.perf_counter())
                if json.loads(line).get("step", 0) >= self.STEPS * self.EPOCHS:
                    process.kill()
                    break
            process.wait()
            errors.seek(0)
            if len(ends) < self.STEPS * self.EPOCHS:
                raise Refused(reason(errors.read()))
        later = ends[self.STEPS :]
        return statistics.median(end - start for start, end in itertools.pairwise(later)) * 1e3


def examples(model: Path, file: Path, count: int) -> None:
    """Texts of 126 words that are a token each: with the two special ones, 128 tokens."""
    pieces = (model / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [word for word in pieces if len(word) > 2 and word.isascii() and word.isalpha() and word.islower()]
    draw = random.Random(0)
    lines = (" ".join(draw.choices(words, k=126)) + "\t" + ("no", "yes")[index % 2] for index in range(count))
    file.write_text("text\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")


Kind = Literal["time", "peak", "own"]


class First:
    """A process that answers once: how long it takes (ms), or how much memory it has at most (MiB): all that is
    resident, or what is no file's.

    `aside` leaves out what the process needed until its libraries were loaded, which it has to tell of in a line of
    JSON at the end of what it prints.
    """

    def __init__(self, title: str, command: list[str], variables: dict[str, str], kind: Kind, aside: bool) -> None:
        self.title = title
        self.command, self.variables, self.kind, self.aside = command, variables, kind, aside

    def warm(self) -> None:
        self.turn(0.0)

    def turn(self, seconds: float) -> float:
        del seconds
        own: list[int] = []
        with tempfile.TemporaryFile("w+") as errors:
            start = time.perf_counter()
            process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=errors, text=True, env=self.variables
            )
            if self.kind == "own":
                watch = threading.Thread(target=follow, args=(process.pid, own))
                watch.start()
            assert process.stdout is not None
            printed = process.stdout.read()
            process.stdout.close()
            if self.kind == "own":
                watch.join()
            _, status, used = os.wait4(process.pid, 0)
            milliseconds = (time.perf_counter() - start) * 1e3
            process.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            if process.returncode != 0:
                raise Refused(reason(errors.read(), -1))
        told = json.loads(printed.splitlines()[-1]) if self.aside else {}
        match self.kind:
            case "time":
                return float(told["milliseconds"]) if self.aside else milliseconds
            case "peak":
                return (used.ru_maxrss - int(told.get("VmRSS", 0))) / 1024
            case "own":
                return (max(own, default=0) - int(told.get("RssAnon", 0))) / 1024


def follow(pid: int, seen: list[int]) -> None:
    """Memory of a process that is no file's (KiB), every millisecond until it ends."""
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return
        values = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
        if not values:  # it has ended and waits to be waited for
            return
        seen.append(values[0])
        time.sleep(0.001)


class Worker:
    """A process of worker.py: a peer that keeps its model and waits between turns."""

    def __init__(self, setup: Setup, title: str, group: str, peer: str, precision: str) -> None:
        self.title = title
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  until close
        command = [setup.python, HERE / "worker.py", setup.peers, group, peer, precision]
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=setup.variables(),
        )

    def version(self) -> str:
        """The peer's; to be asked first."""
        return str(self._expect("version"))

    def arrive(self) -> None:
        """Waits until the next workload is ready."""
        self._expect("ready")

    def warm(self) -> None:
        self._do("warm")
        self._expect("warm")

    def turn(self, seconds: float) -> float:
        self._do("turn", seconds=seconds)
        return float(self._expect("ms"))

    def leave(self, name: str) -> None:
        """Goes on from the workload of this name."""
        self._do("leave")
        left = self._expect("left")
        if left != name:
            raise Refused(f"ran {left} in place of {name}")

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _do(self, command: str, **more: object) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": command, **more}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Refused(self._last_words()) from None

    def _expect(self, key: str) -> Any:
        assert self.process.stdout is not None
        guard = threading.Timer(PATIENCE, self.process.kill)
        guard.start()
        try:
            line = self.process.stdout.readline()
        finally:
            guard.cancel()
        if not line:
            raise Refused(self._last_words())
        answer = json.loads(line)
        if key not in answer:
            raise Refused(reason(str(answer.get("failed", f"said {answer} where {key} was due")), -1))
        return answer[key]

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        ended = signal.Signals(-code).name if code < 0 else f"code {code}"
        return f"{reason(self.errors.read(), -1)} ({ended})"
