"""The client: its texts stay here, what trains is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable, Mod

import cloze

from . import secure
from .learning import Floats, Local, train_locally
from .privacy import client_mod
from .settings import Settings
from .shards import shard_file


@lru_cache(maxsize=1)
def open_model(folder: Path, threads: int) -> cloze.Model:
    """The one model of this process; its weights are mapped, so that processes share them."""
    return cloze.Model(folder, threads=threads)


@lru_cache(maxsize=64)
def read_shard(path: Path) -> cloze.Dataset:
    """A client's examples. Virtual clients that take turns in one process read theirs once."""
    if not path.is_file():
        raise FileNotFoundError(f"shard '{path}' is no file")
    return cloze.Dataset.read(path, header=False)


def client_number(context: Context) -> int:
    """Which client this is: "partition-id" of its node config."""
    number = context.node_config.get("partition-id")
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"node config partition-id is {number!r}, has to be a whole number from 0")
    return number


def shard_path(context: Context, settings: Settings) -> Path:
    """ "shard" of the node config, else the client's own file in the folder of shards."""
    own = context.node_config.get("shard")
    return Path(str(own)) if own else shard_file(settings.folder("shards"), client_number(context))


def learn(context: Context, settings: Settings, start: Floats, server_round: int) -> tuple[Local, int]:
    """Trains on this client's shard; also tells how many examples it has."""
    data = read_shard(shard_path(context, settings))
    model = open_model(settings.folder("model"), settings.threads)
    client = client_number(context)
    return train_locally(model, data, start, settings, server_round, client), len(data)


def answer(message: Message, context: Context, config: Mapping[str, Any] | None) -> Message:
    """The reply to one round's message: the parameters after the local epochs, and numbers about them."""
    settings = Settings.of(config if config is not None else context.run_config)
    if settings.privacy == "secagg":
        return secure.answer(message, client_number(context), settings, lambda *task: learn(context, settings, *task))
    start = np.asarray(message.content.array_records["arrays"]["parameters"].numpy(), dtype=np.float32)
    server_round = int(message.content.config_records["config"]["server-round"])  # type: ignore[arg-type]
    local, examples = learn(context, settings, start, server_round)
    metrics: dict[str, Any] = {
        "client": client_number(context),
        "examples": examples,
        # With noise on the mean every client counts alike: the noise is calibrated to one part in so many clients.
        "weight": 1.0 if settings.privacy.startswith("central") else float(examples),
        "loss": local.loss,
        "steps": local.steps,
    }
    content = RecordDict(
        {"arrays": ArrayRecord({"parameters": Array(local.parameters)}), "metrics": MetricRecord(metrics)}
    )
    return Message(content, reply_to=message)


def make_client_app(config: Mapping[str, Any] | None = None, mods: Sequence[Mod] = ()) -> ClientApp:
    """The ClientApp; `config` instead of the run's own config, and mods around all others."""
    client_app = ClientApp()

    def private(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        settings = Settings.of(config if config is not None else context.run_config)
        mod = client_mod(settings)
        return mod(message, context, call_next) if mod else call_next(message, context)

    @client_app.train(mods=[*mods, private])
    def train(message: Message, context: Context) -> Message:
        return answer(message, context, config)

    return client_app


app = make_client_app()
