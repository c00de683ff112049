"""Answers a file of lines with Ray Data: a pool of actors, each with the model open.

python ray_batch.py LINES OUTPUT --model DIR                   on this machine, one actor per processor
python ray_batch.py LINES OUTPUT --model DIR --address auto    on a cluster; all paths on a shared file system
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.data
from ray.exceptions import RayError

from command import main, parser
from parts import Part
from task import Job, Outcome, Task, answer

RETRIES = 3
"""How often a part is begun again whose worker died: one that kills its worker each time ends the run."""
STORE = 100_000_000
"""Bytes of Ray's object store: what passes through it is numbers of parts and outcomes."""


class Worker:
    """An actor: it opens the model once, then makes parts complete."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.task = Task(job.spec)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Columns of parts in, columns of their outcomes out."""
        columns = [batch[field.name].tolist() for field in fields(Part)]
        outcomes = [asdict(answer(self.task, self.job, Part(*row))) for row in zip(*columns)]
        return {field.name: [outcome[field.name] for outcome in outcomes] for field in fields(Outcome)}


def connect(address: str | None, workers: int) -> None:
    """Ray on this machine, or the cluster at an address, whose workers get these modules."""
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE}
    modules = {"working_dir": str(Path(__file__).resolve().parent), "excludes": ["tests"]}
    there: dict[str, Any] = {"address": address, "runtime_env": modules}
    ray.init(logging_level=logging.ERROR, log_to_driver=False, **(here if address is None else there))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def outcomes(job: Job, pending: list[Part], workers: int, worker: type[Worker] = Worker) -> Iterator[Outcome]:
    """The outcome of each part as soon as it is there. A block holds one part, so that a death costs one part."""
    parts = ray.data.from_items([asdict(part) for part in pending], override_num_blocks=len(pending))
    answered = parts.map_batches(
        worker,
        batch_size=None,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(pending)), max_tasks_in_flight_per_actor=2),
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=RETRIES,
    )
    try:
        for row in answered.iter_rows():
            yield Outcome(**row)
    except RayError as error:
        raise RuntimeError(f"ray: {str(error).strip().splitlines()[0]}") from error


if __name__ == "__main__":
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--address", help="of a Ray cluster; default: Ray is started on this machine")
    given = arguments.parse_args()

    def engine(job: Job, pending: list[Part], workers: int) -> Iterator[Outcome]:
        """Ray, up as long as there is work."""
        connect(given.address, workers)
        try:
            yield from outcomes(job, pending, workers)
        finally:
            ray.shutdown()

    sys.exit(main(given, engine))
