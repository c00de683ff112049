"""What a run is set to: Flower's run config, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from cloze import TrainOptions

Scalar = bool | int | float | str

PRIVACY = ("none", "secagg", "central-server", "central-client", "local")
DECAY = ("none", "linear")
KEEP = ("best", "last")
PATHS = ("model", "shards", "dev", "test", "out", "history", "checkpoints")


@dataclass(frozen=True)
class Settings:
    """Names are those of the run config with "_" for "-"; values here are the defaults of pyproject.toml."""

    model: str = ""
    """BERT folder, on the server and on every client."""
    shards: str = ""
    """Folder with 00.tsv, 01.tsv ...: the shards of clients whose node config names none."""
    labels: str = "0,1"
    """Of all clients together, in order: a shard need not have each of them."""
    dev: str = ""
    """File that the server evaluates after each round; "" for none."""
    test: str = ""
    """File that the server evaluates at the end; "" for none."""
    out: str = ""
    """HuggingFace folder that the global model is written to; "" for none."""
    keep: str = "best"
    """Which round's model: "best", of the greatest accuracy on dev, as `Trainer.fit` does; "last"."""
    history: str = ""
    """JSON file that is told of each round, and of the test file at the end; "" for none."""
    checkpoints: str = ""
    """Folder that keeps the global parameters of the last two complete rounds; "" for none."""
    resume: bool = False
    """Go on from the newest of the checkpoints."""

    rounds: int = 15
    clients: int = 20
    """How many the first round waits for."""
    min_clients: int = 2
    """How many later rounds wait for."""
    fraction: float = 1.0
    """Share of the connected clients that a round asks."""
    timeout: float = 3600.0
    """Seconds that a round waits for its clients, and the first one for their number."""

    trainable: str = "top:2"
    """"head", "top:N", "lora:R", "layers", "all"."""
    learning_rate: float = 1e-4
    decay: str = "linear"
    """How the learning rate goes on over the rounds: "none", or "linear" to zero after the last."""
    batch_size: int = 16
    local_epochs: int = 1
    mu: float = 0.0
    """FedProx's pull towards the global parameters; 0 is FedAvg."""
    max_tokens: int = 0
    dropout: float = -1.0
    """Below 0: as the model says."""
    seed: int = 42
    threads: int = 1
    """Of a client's process; the server's has one a processor."""

    privacy: str = "none"
    """"secagg"; "central-server", "central-client": noise on the mean, updates clipped there or here; "local"."""
    clipping_norm: float = 1.0
    """Of a client's update (its parameters minus the global ones), Euclidean."""
    noise_multiplier: float = 1.0
    """Central: the mean gets noise of deviation noise-multiplier · clipping-norm / clients."""
    epsilon: float = 8.0
    """Local: of one round of one client."""
    delta: float = 1e-5
    secagg_shares: float = 1.0
    """Share of the clients that hold a part of each client's keys."""
    secagg_threshold: float = 0.6
    """Share of those that have to answer for the sum to be unmasked."""
    secagg_clip: float = 0.1
    """Each number of a client's weighted update is cut to ± this."""
    secagg_levels: int = 4194304
    """Steps between them."""
    secagg_max_weight: int = 2000
    """Most examples of a client."""

    def __post_init__(self) -> None:
        recipe(self)
        if not self.label_names or len(set(self.label_names)) < len(self.label_names):
            raise ValueError(f"labels '{self.labels}' are not distinct names with commas between them")
        _one_of("privacy", self.privacy, PRIVACY)
        _one_of("decay", self.decay, DECAY)
        _one_of("keep", self.keep, KEEP)
        for name in ("rounds", "clients", "min_clients", "batch_size", "local_epochs", "secagg_levels"):
            _at_least(name, getattr(self, name), 1)
        for name in ("mu", "noise_multiplier", "max_tokens", "threads", "secagg_threshold", "secagg_shares"):
            _at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "clipping_norm", "epsilon", "delta", "secagg_clip", "timeout"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{_key(name)} is {getattr(self, name)}, has to be above 0")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}, has to be above 0 and at most 1")
        if self.resume and not self.checkpoints:
            raise ValueError("resume needs checkpoints, which is empty")
        if self.clients * self.secagg_levels > 2**32 and self.privacy == "secagg":
            raise ValueError(
                f"{self.clients} clients times secagg-levels {self.secagg_levels} is more than 2^32: sums overflow"
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Those of a run config; a key that is not there has its default."""
        known = {_key(field.name): field for field in fields(cls)}
        values: dict[str, Scalar] = {}
        for key, value in config.items():
            if key not in known:
                raise ValueError(f"run config '{key}' is none of {', '.join(known)}")
            values[known[key].name] = _typed(key, value, type(known[key].default))
        return cls(**values)  # type: ignore[arg-type]

    def config(self) -> dict[str, Scalar]:
        """The run config that gives them, with absolute paths: apps run elsewhere than where they are started."""
        values = {_key(field.name): getattr(self, field.name) for field in fields(self)}
        return values | {name: os.path.abspath(values[name]) for name in PATHS if values[name]}

    def identity(self) -> dict[str, Scalar]:
        """What the numbers of a run depend on, beside model and data: a resumed run has to have the same."""
        free = {*PATHS, "keep", "resume", "timeout", "threads", "clients", "min-clients"}
        free |= set() if self.decay == "linear" else {"rounds"}
        return {key: value for key, value in self.config().items() if key not in free}

    @property
    def label_names(self) -> list[str]:
        """Names of the labels, in order."""
        return [name.strip() for name in self.labels.split(",") if name.strip()]

    def rate(self, server_round: int) -> float:
        """Learning rate of a round, from 1."""
        if self.decay == "none":
            return self.learning_rate
        return self.learning_rate * (1 - (server_round - 1) / self.rounds)

    def folder(self, name: str) -> Path:
        """A folder that has to be there: `model` or `shards`."""
        path = Path(getattr(self, name))
        if not getattr(self, name) or not path.is_dir():
            raise FileNotFoundError(f"{_key(name)} '{getattr(self, name)}' is no folder")
        return path


def recipe(settings: Settings) -> TrainOptions:
    """What trains, and how, as keyword arguments of `cloze.Trainer`: all but the rate, the seed and the epochs."""
    options = TrainOptions(
        objective="classify", labels=settings.label_names, batch_size=settings.batch_size, schedule="constant"
    )
    kind, _, count = settings.trainable.partition(":")
    counted = count.isdigit() and int(count) > 0
    if kind in ("head", "layers", "all") and not count:
        options["trainable"] = kind
    elif kind == "top" and counted:
        options["trainable"], options["layers"] = "top", int(count)
    elif kind == "lora" and counted:
        options["trainable"], options["lora_rank"] = "lora", int(count)
    else:
        raise ValueError(f"trainable '{settings.trainable}' is none of head, top:N, lora:R, layers, all")
    if settings.max_tokens:
        options["max_tokens"] = settings.max_tokens
    if settings.dropout >= 0:
        options["dropout"] = settings.dropout
    return options


def _key(name: str) -> str:
    return name.replace("_", "-")


def _typed(key: str, value: Any, kind: type) -> Scalar:
    """The value as its kind; a whole number may stand for a float."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"run config '{key}' is {value!r}, has to be of type {kind.__name__}")
    return cast("Scalar", value)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} '{value}' is none of {', '.join(known)}")


def _at_least(name: str, value: float, least: int) -> None:
    if value < least:
        raise ValueError(f"{_key(name)} is {value}, has to be at least {least}")
