"""Made-up texts, a tiny model, and a grid that asks the clients in this process."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

import cloze
from cloze_federated import shards
from cloze_federated.client import make_client_app
from cloze_federated.server import serve
from cloze_federated.settings import Settings

MODEL = Path(__file__).resolve().parents[3] / "tests" / "golden" / "sequence"
LABELS = ("negative", "neutral", "positive")
WORDS = {"negative": "not old red cat", "neutral": "the and of in", "positive": "happy big friend play"}
CLIENTS = 4


def made_up(count: int, seed: int) -> list[str]:
    """Lines of a text and a label: each text has words of its label and of all."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        label = LABELS[random.integers(len(LABELS))]
        words = random.choice([*WORDS[label].split(), "river", "city", "anna", "walk"], size=6)
        lines.append(f"{' '.join(words)}\t{label}")
    return lines


@pytest.fixture(scope="session")
def train_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 labelled texts."""
    path = tmp_path_factory.mktemp("data") / "train.tsv"
    path.write_text("".join(f"{line}\n" for line in made_up(96, 1)))
    return path


@pytest.fixture(scope="session")
def config(train_file: Path) -> dict[str, Any]:
    """Run config of a small federation."""
    folder = train_file.parent / "shards"
    shards.write(train_file, folder, CLIENTS, 0.5, 7, 4)
    return {
        "model": str(MODEL),
        "shards": str(folder),
        "dev": str(train_file),
        "labels": ",".join(LABELS),
        "clients": CLIENTS,
        "rounds": 3,
        "trainable": "head",
        "learning-rate": 0.01,
        "batch-size": 8,
        "timeout": 60,
    }


@pytest.fixture(scope="session")
def model() -> cloze.Model:
    """The tiny classifier."""
    return cloze.Model(MODEL, threads=1)


class LocalGrid(Grid):
    """Clients in this process: a message is answered where it is sent. What a client raises is an error reply."""

    def __init__(self, client_app: ClientApp, clients: int) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self.client_app = client_app
        self.contexts = {100 + client: context_of(100 + client, client) for client in range(clients)}
        self.sent: list[Message] = []
        self.received: list[Message] = []

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """The last that is asked answers first."""
        asked = list(messages)
        self.sent += asked
        replies = [self.reply(message) for message in reversed(asked)]
        self.received += replies
        return replies

    def reply(self, message: Message) -> Message:
        """A client's answer."""
        message = deepcopy(message)  # clients take things out of what they get
        message.metadata.__dict__["_message_id"] = str(len(self.received))
        try:
            return self.client_app(message, self.contexts[message.metadata.dst_node_id])
        except Exception as error:
            return Message(Error(code=1, reason=str(error)), reply_to=message)

    def get_node_ids(self) -> Iterable[int]:
        """All clients."""
        return list(self.contexts)

    def set_run(self, run: Run) -> None:
        """No runs here."""

    @property
    def run(self) -> Run:
        """No runs here."""
        raise NotImplementedError

    def create_message(self, *_arguments: Any, **_named: Any) -> Message:
        """Not used."""
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not used."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not used."""
        raise NotImplementedError


def context_of(node: int, client: int) -> Context:
    """What Flower hands to a virtual client."""
    config: dict[str, bool | float | int | str] = {"partition-id": client, "num-partitions": CLIENTS}
    return Context(run_id=1, node_id=node, node_config=config, state=RecordDict(), run_config={})


def federate(config: dict[str, Any], mods: Any = (), **more: Any) -> tuple[Any, LocalGrid]:
    """A run with `more` settings ("_" for "-"): its progress, and the grid it went over."""
    config = {**config, **{key.replace("_", "-"): value for key, value in more.items()}}
    grid = LocalGrid(make_client_app(config, mods), config["clients"])
    return serve(grid, context_of(1, 0), Settings.of(config)), grid
