"""What one client does in one round."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import cloze

from .settings import Settings, recipe

Floats = NDArray[np.float32]


class Local(NamedTuple):
    """What a client has learned."""

    parameters: Floats
    """Flat, [parameters that train]."""
    loss: float
    """Mean over the steps."""
    steps: int


def new_trainer(model: cloze.Model, settings: Settings, **more: object) -> cloze.Trainer:
    """A trainer of the part that trains. `more` are options beside those of the settings."""
    return cloze.Trainer(model, **{**recipe(settings), **more})  # type: ignore[arg-type]


def seed_of(settings: Settings, server_round: int, client: int) -> int:
    """A seed for what one client draws in one round, above 0: a client that joins again needs no memory."""
    return int(np.random.SeedSequence((settings.seed, server_round, client)).generate_state(1)[0]) + 1


def train_locally(
    model: cloze.Model,
    data: cloze.Dataset,
    start: Floats,
    settings: Settings,
    server_round: int,
    client: int,
    **more: object,
) -> Local:
    """Trains from the global parameters `start` over the client's examples, with fresh moments."""
    seed = seed_of(settings, server_round, client)
    rate = settings.rate(server_round)
    own = {"seed": seed, "epochs": settings.local_epochs, "learning_rate": rate, **more}
    trainer = new_trainer(model, settings, **own)
    expected = trainer.info.parameters
    if start.size != expected:
        raise ValueError(
            f"the server sent {start.size:,} parameters, trainable '{settings.trainable}' of '{settings.model}' has "
            f"{expected:,}"
        )
    trainer.set_parameters(start)
    losses = _proximal(trainer, data, start, settings, seed, rate) if settings.mu else _fit(trainer, data)
    return Local(trainer.parameters(), float(np.mean(losses)), len(losses))


def _fit(trainer: cloze.Trainer, data: cloze.Dataset) -> list[float]:
    """FedAvg: the epochs of the trainer's options, in which frozen layers run once an example."""
    losses: list[float] = []

    def note(event: cloze.Event) -> None:
        if isinstance(event, cloze.Step):
            losses.append(event.loss)

    trainer.fit(data, observer=note)
    return losses


def _proximal(
    trainer: cloze.Trainer, data: cloze.Dataset, start: Floats, settings: Settings, seed: int, rate: float
) -> list[float]:
    """FedProx (Li et al. 2020): the loss has the term mu/2 · |w - start|², so the gradient has mu · (w - start)."""
    random = np.random.default_rng(seed)
    losses: list[float] = []
    for _epoch in range(settings.local_epochs):
        order = random.permutation(len(data))
        for first in range(0, order.size, settings.batch_size):
            batch = data.select(order[first : first + settings.batch_size])
            losses.append(trainer.accumulate(batch))
            pull = np.float32(settings.mu) * (trainer.parameters() - start)
            trainer.set_gradients(trainer.gradients() + pull)
            trainer.apply(rate)
    return losses
