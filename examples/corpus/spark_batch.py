"""Answers a file of lines with PySpark: mapInPandas over the parts, the model opened once by each Python worker.

python spark_batch.py LINES OUTPUT --model DIR                   on this machine, one task at a time per processor
python spark_batch.py LINES OUTPUT --model DIR --master URL      on a cluster; all paths on a shared file system
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from command import main, parser
from parts import Part
from task import Job, Outcome, answer, opened

FAILURES = 4
"""How often the task of a part may fail: one that kills its worker each time ends the run."""
TYPES = {"int": "bigint", "float": "double", "str": "string"}
SCHEMA = ", ".join(f"{field.name} {TYPES[str(field.type)]}" for field in fields(Outcome))

Answer = Callable[[Job, Part], Outcome]


def answered(job: Job, part: Part) -> Outcome:
    """The outcome of a part, by the model of this process."""
    return answer(opened(job.spec), job, part)


def session(master: str | None, workers: int) -> SparkSession:
    """Spark on this machine, or a cluster, whose workers get these modules."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("cloze").master(master or f"local[{workers},{FAILURES}]")
    if master is None:
        builder = builder.config("spark.driver.host", "localhost").config("spark.driver.bindAddress", "127.0.0.1")
    settings: dict[str, bool | float | int | str | None] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.task.maxFailures": str(FAILURES),
        "spark.log.level": "OFF",
    }
    spark = builder.config(map=settings).getOrCreate()
    here = Path(__file__).resolve().parent
    for name in ("parts.py", "task.py"):
        spark.sparkContext.addPyFile(str(here / name))
    return spark


def outcomes(spark: SparkSession, job: Job, pending: list[Part], answer: Answer = answered) -> Iterator[Outcome]:
    """The outcome of each part, when all are there. A partition holds one part, so that a death costs one part."""

    def work(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            yield pd.DataFrame([asdict(answer(job, pending[number])) for number in frame["id"].tolist()])

    numbers = spark.range(0, len(pending), 1, len(pending))
    try:
        for row in numbers.mapInPandas(work, SCHEMA).collect():
            yield Outcome(**row.asDict())
    except PySparkException as error:
        raise RuntimeError(f"spark: {str(error).strip().splitlines()[0]}") from error
    except Py4JJavaError as error:
        raise RuntimeError(f"spark: {str(error.java_exception.getMessage()).splitlines()[0]}") from error


if __name__ == "__main__":
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--master", help="URL of a Spark cluster; default: this machine")
    given = arguments.parse_args()

    def engine(job: Job, pending: list[Part], workers: int) -> Iterator[Outcome]:
        """Spark, up as long as there is work."""
        spark = session(given.master, workers)
        try:
            yield from outcomes(spark, job, pending)
        finally:
            spark.stop()

    sys.exit(main(given, engine))
