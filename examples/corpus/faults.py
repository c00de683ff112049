"""Kills a program in the middle of its work, and proves that no line is lost and none is there twice.

python faults.py worker 3 ray_batch.py LINES OUTPUT --model DIR    SIGKILL to a worker after 3 parts
python faults.py driver 3 ray_batch.py LINES OUTPUT --model DIR    SIGKILL to the program, which is then started again

A worker is a process below the program that has the weights of a model mapped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from verify import verify


def descendants(process: int) -> list[int]:
    """Processes below a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # It has ended.
    found = [process]
    for above in found:
        found += [child for child, parent in parents.items() if parent == above]
    return found[1:]


def has_model(process: int) -> bool:
    """Whether a process has the weights of a model mapped."""
    try:
        return ".safetensors\n" in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return False


def complete(output: Path) -> int:
    """Parts that have a record."""
    return len(list(output.glob("part-*.json")))


def kill(program: subprocess.Popen[bytes], victim: str, after: int, output: Path) -> int:
    """Waits until `after` parts are complete, lets the next ones begin, and kills. The process that was killed."""
    while complete(output) < after:
        if program.poll() is not None:
            raise RuntimeError(f"the program ended with status {program.returncode} after {complete(output)} parts")
        time.sleep(0.02)
    time.sleep(0.2)
    target = program.pid
    if victim == "worker":
        workers = [process for process in descendants(program.pid) if has_model(process)]
        if not workers:
            raise RuntimeError(f"process {program.pid} has no worker with a model open")
        target = workers[0]
    os.kill(target, signal.SIGKILL)
    return target


def main(arguments: list[str]) -> int:
    if len(arguments) < 5 or arguments[0] not in ("worker", "driver") or not arguments[1].isdigit():
        print(__doc__, file=sys.stderr)
        return 2
    victim, after, command, output = arguments[0], int(arguments[1]), arguments[2:], Path(arguments[4])
    program = subprocess.Popen([sys.executable, *command])
    try:
        killed = kill(program, victim, after, output)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"killed process {killed}, the {victim}, when {complete(output)} parts were complete", flush=True)
    status = program.wait()
    if victim == "driver":
        status = subprocess.run([sys.executable, *command], check=False).returncode
    if status:
        print(f"error: the program ended with status {status}", file=sys.stderr)
        return 1
    lines, files = verify(output)
    print(f"{lines} lines, each exactly once, in {files} files as they were written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
