"""Flower's privacy mechanisms around it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from cloze_federated.learning import new_trainer
from cloze_federated.settings import Settings

from .conftest import federate


def test_secure_aggregation_gives_the_mean(config: dict[str, Any]) -> None:
    plain, _ = federate(config, rounds=2)
    masked, grid = federate(config, rounds=2, privacy="secagg", **{"secagg-max-weight": 100})
    # Stochastic rounding moves each client's weighted update by at most one of 2^22 levels of 0.2; the mean divides
    # their sum by the sum of the weights (96 of 100); twice, for two rounds of training that carry it on.
    assert np.abs(plain.parameters - masked.parameters).max() < 4 * 0.2 / 2**22 / 0.96 * 100
    assert masked.history[-1]["dev accuracy"] == plain.history[-1]["dev accuracy"]
    assert masked.history[1]["answered"] == plain.history[1]["answered"]
    for reply in grid.received:
        assert all(not record for record in reply.content.array_records.values()), "an update left unmasked"


def test_secure_aggregation_goes_on_without_a_client_that_dies_in_training(config: dict[str, Any]) -> None:
    def dying(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if context.node_config["partition-id"] == 2 and "fitins.parameters" in message.content.array_records:
            raise RuntimeError("client 2 is gone")
        return call_next(message, context)

    masked, _ = federate(config, [dying], rounds=1, privacy="secagg", **{"secagg-max-weight": 100})
    plain, _ = federate(config, [gone(2)], rounds=1)
    assert masked.history[1]["answered"] == [0, 1, 3]
    assert masked.history[1]["errors"] == ["client 2 is gone"]
    assert np.abs(plain.parameters - masked.parameters).max() < 1e-4


def test_a_shard_above_the_greatest_weight_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match=r"client \d has \d+ examples, secagg-max-weight is 5"):
        federate(config, privacy="secagg", **{"secagg-max-weight": 5})


def gone(client: int) -> Any:
    """A mod by which a client raises whenever it is asked."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if context.node_config["partition-id"] == client:
            raise RuntimeError(f"client {client} is gone")
        return call_next(message, context)

    return mod


@pytest.mark.parametrize("privacy", ["central-server", "central-client"])
def test_central_noise_has_its_deviation(config: dict[str, Any], model: Any, privacy: str) -> None:
    """With a learning rate of next to nothing (updates of 0 cannot be clipped), what the round changes is the noise."""
    own = {"privacy": privacy, "clipping-norm": 0.5, "noise-multiplier": 2.0, "learning-rate": 1e-6}
    progress, _ = federate(config, rounds=1, **own)
    settings = Settings.of(config)
    change = progress.parameters - new_trainer(model, settings, seed=settings.seed).parameters()
    deviation = 2.0 * 0.5 / settings.clients
    assert change.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * change.size))


@pytest.mark.parametrize("privacy", ["central-server", "central-client"])
def test_central_clipping_bounds_the_step(config: dict[str, Any], model: Any, privacy: str) -> None:
    own = {"privacy": privacy, "clipping-norm": 0.01, "noise-multiplier": 0.0, "local-epochs": 3}
    progress, _ = federate(config, rounds=1, **own)
    settings = Settings.of(config)
    step = progress.parameters - new_trainer(model, settings, seed=settings.seed).parameters()
    assert 0.001 < np.linalg.norm(step) <= 0.01 * 1.001


def test_noise_on_the_mean_needs_every_answer(config: dict[str, Any]) -> None:
    """The noise is calibrated to a number of clients: with fewer answers the round must not count."""
    with pytest.raises(RuntimeError, match="rounds 1 and 2 brought nothing: client 1 is gone"):
        federate(config, [gone(1)], privacy="central-server")


def test_local_noise_is_added_by_each_client(config: dict[str, Any]) -> None:
    own = {"privacy": "local", "clipping-norm": 0.5, "epsilon": 4.0, "delta": 1e-3, "learning-rate": 1e-6}
    _, grid = federate(config, rounds=1, **own)
    deviation = 2 * 0.5 * math.sqrt(2 * math.log(1.25 / 1e-3)) / 4.0
    for sent, reply in zip(reversed(grid.sent), grid.received):
        before, after = (message.content.array_records["arrays"]["parameters"].numpy() for message in (sent, reply))
        assert (after - before).std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * after.size))


def test_the_run_config_of_pyproject_has_the_defaults() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    with open(Path(__file__).parents[1] / "pyproject.toml", "rb") as file:
        stated = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    assert stated == Settings().config()
    assert list(stated) == list(Settings().config())
