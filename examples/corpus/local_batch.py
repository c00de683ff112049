"""Answers a file of lines in this process alone: what the engines are compared with.

python local_batch.py LINES OUTPUT --model DIR --threads 2
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from command import main, parser
from parts import Part
from task import Job, Outcome, Task, answer


def engine(job: Job, pending: list[Part], _workers: int) -> Iterator[Outcome]:
    """One part after another."""
    task = Task(job.spec)
    for part in pending:
        yield answer(task, job, part)


if __name__ == "__main__":
    sys.exit(main(parser(__doc__.splitlines()[0]).parse_args(), engine))
