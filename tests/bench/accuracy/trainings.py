"""What is trained and how it is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PRECISIONS = ("f32", "bf16", "int8")


@dataclass(frozen=True)
class Training:
    """A training of `cloze train`, and what `cloze eval` says of it."""

    task: str
    """Of --tasks."""
    title: str
    data: str
    """The folder of both files."""
    train: str
    test: str
    metric: str
    """As `cloze eval` names it."""
    arguments: tuple[object, ...]
    """Of `cloze train`."""
    precision: str = "f32"
    """What is computed in while it trains. Trainings of one title that differ in it are compared."""
    test_format: str = ""
    """Of a test file whose name does not tell."""


def course(task: str, trainable: str, epochs: int, batch: int, rate: str) -> tuple[object, ...]:
    what = ("--task", task, "--trainable", trainable)
    return (*what, "--epochs", epochs, "--batch", batch, "--lr", rate, "--warmup", "0.1")


def sst2(task: str, title: str, arguments: tuple[object, ...], precision: str = "f32") -> Training:
    return Training(
        task, f"SST-2 dev, accuracy: {title}", "sst2", "train.tsv", "dev.tsv", "accuracy", arguments, precision
    )


EVERYTHING = course("classify", "all", 2, 32, "5e-5")

TRAININGS = (
    sst2("sst2", "top 2 layers, 3 epochs", course("classify", "top:2", 3, 32, "1e-4")),
    Training(
        "stsb",
        "STS-B test, Spearman's ρ: top 2 layers, 3 epochs",
        "stsb",
        "stsb-en-train.csv",
        "stsb-en-test.csv",
        "spearman",
        course("regress", "top:2", 3, 32, "1e-4"),
    ),
    Training(
        "wnut17",
        "WNUT-17 test, F1 of entities: all layers, 1 epoch",
        "wnut17",
        "wnut17train.conll",
        "emerging.test.annotated",
        "f1",
        course("tag", "layers", 1, 16, "2e-4"),
        test_format="conll",
    ),
    sst2("training", "everything, 2 epochs", EVERYTHING),
    sst2("training", "everything, 2 epochs", EVERYTHING, "bf16"),
)

TASKS = tuple(dict.fromkeys(training.task for training in TRAININGS))


def wanted(tasks: Sequence[str]) -> list[Training]:
    """Trainings of these tasks, of all where there are none."""
    return [training for training in TRAININGS if training.task in (tasks or TASKS)]
