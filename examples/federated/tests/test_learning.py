"""What a client and the server compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cloze
from cloze_federated.learning import new_trainer, train_locally
from cloze_federated.settings import Settings

from .conftest import MODEL, federate

# AdamW without moments and with an epsilon far above any gradient is gradient descent: rate · g / (|g| + epsilon) is
# (rate / epsilon) · g up to |g| / epsilon, which is below 1e-4 here.
EPSILON = 1e4
DESCENT: dict[str, object] = {
    "beta1": 0,
    "beta2": 0,
    "epsilon": EPSILON,
    "max_gradient_norm": 0,
    "dropout": 0,
    "order": "given",
}
RATE = 0.1


def data_of(path: Path) -> cloze.Dataset:
    return cloze.Dataset.read(path, header=False)


def test_the_mean_of_one_descent_step_each_is_the_central_step(
    model: cloze.Model, config: dict[str, Any], train_file: Path
) -> None:
    data = data_of(train_file)
    settings = Settings.of({**config, "decay": "none", "learning-rate": RATE * EPSILON, "batch-size": 96})
    start = new_trainer(model, settings, seed=1).parameters()
    parts = [range(0, 10), range(10, 50), range(50, 96)]
    local = [train_locally(model, data.select(part), start, settings, 1, 0, **DESCENT).parameters for part in parts]
    mean = np.average(local, axis=0, weights=[len(part) for part in parts])
    central = train_locally(model, data, start, settings, 1, 0, **DESCENT).parameters
    step = np.abs(central - start).max()
    assert step > 1e-3
    # Beside |g| / epsilon: each side rounds parameters of size 1 to f32.
    assert np.abs(mean - central).max() < 1e-3 * step


def test_the_global_parameters_are_the_weighted_mean_by_hand(model: cloze.Model, config: dict[str, Any]) -> None:
    settings = Settings.of({**config, "rounds": 1})
    progress, _ = federate(config, rounds=1)
    start = new_trainer(model, settings, seed=settings.seed).parameters()
    local, sizes = [], []
    for client in range(settings.clients):
        data = data_of(Path(settings.shards) / f"{client:02}.tsv")
        local.append(train_locally(model, data, start, settings, 1, client).parameters)
        sizes.append(len(data))
    assert len(set(sizes)) > 1
    by_hand = sum(np.float64(size) * own for size, own in zip(sizes, local)) / sum(sizes)
    np.testing.assert_allclose(progress.parameters, by_hand, atol=1e-6)
    assert np.abs(progress.parameters - np.mean(local, axis=0)).max() > 1e-4


def test_fedprox_pulls_towards_the_global_parameters(
    model: cloze.Model, config: dict[str, Any], train_file: Path
) -> None:
    data, moved = data_of(train_file), {}
    start = new_trainer(model, Settings.of(config), seed=1).parameters()
    for mu in (1e-6, 1.0, 100.0):
        settings = Settings.of({**config, "mu": mu, "local-epochs": 4})
        moved[mu] = float(np.linalg.norm(train_locally(model, data, start, settings, 1, 0).parameters - start))
    assert moved[1e-6] > 1.3 * moved[1.0] > 1.3 * 1.3 * moved[100.0]


def test_the_proximal_gradient_is_that_of_its_term(
    model: cloze.Model, config: dict[str, Any], train_file: Path
) -> None:
    """Two descent steps on the whole data by hand: the first starts at the global parameters, where nothing pulls."""
    data, mu = data_of(train_file), 0.5
    given = {**config, "mu": mu, "decay": "none", "learning-rate": RATE * EPSILON, "batch-size": 96}
    settings = Settings.of({**given, "local-epochs": 2})
    start = new_trainer(model, settings, seed=1).parameters()
    local = train_locally(model, data, start, settings, 1, 0, **DESCENT)
    by_hand, trainer = start.astype(np.float64), new_trainer(model, settings, **DESCENT)
    for _ in range(2):
        trainer.set_parameters(by_hand)
        trainer.accumulate(data)
        by_hand = by_hand - RATE * (trainer.gradients() + mu * (by_hand - start))
        trainer.apply(0)
    assert local.steps == 2
    assert np.abs(local.parameters - by_hand).max() < 1e-3 * np.abs(by_hand - start).max()


@pytest.mark.parametrize("trainable", ["head", "top:1", "lora:2"])
def test_only_what_trains_travels(model: cloze.Model, config: dict[str, Any], trainable: str) -> None:
    progress, grid = federate(config, rounds=1, trainable=trainable)
    trained = new_trainer(model, Settings.of({**config, "trainable": trainable})).info.parameters
    assert 0 < trained < model.info.parameters / 2
    for message in grid.sent + grid.received:
        [array] = [array for own in message.content.array_records.values() for array in own.values()]
        assert array.numpy().shape == (trained,)
        others: list[Any] = [*message.content.config_records.values(), *message.content.metric_records.values()]
        assert all(isinstance(value, (int, float)) for record in others for value in record.values())
    # 4 bytes a number, numpy's header, and less than 200 bytes of numbers about them
    for low, high in (progress.history[1]["up"], progress.history[1]["down"]):
        assert 4 * trained < low <= high < 4 * trained + 400


def test_the_global_model_learns_and_is_saved(config: dict[str, Any], train_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    progress, _ = federate(config, rounds=6, out=str(out), test=str(train_file), **{"local-epochs": 3})
    first, last = progress.history[0], progress.history[-1]
    assert last["test accuracy"] == max(entry["dev accuracy"] for entry in progress.history)
    assert last["dev accuracy"] > first["dev accuracy"] + 0.2
    texts = [line.split("\t") for line in train_file.read_text().splitlines()]
    taught = cloze.Model(out, threads=1)
    answers = taught.classify([text for text, _ in texts]).argmax(axis=1)
    right = np.mean([taught.labels[answer] == label for answer, (_, label) in zip(answers, texts)])
    assert right == pytest.approx(last["test accuracy"])


def test_errors_name_the_thing(config: dict[str, Any], model: cloze.Model, train_file: Path) -> None:
    settings = Settings.of(config)
    start = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match=rf"the server sent 3 parameters, trainable 'head' of '{MODEL}' has \d+"):
        train_locally(model, data_of(train_file), start, settings, 1, 0)
    for key, value, message in [
        ("trainable", "top", "trainable 'top' is none of head, top:N, lora:R, layers, all"),
        ("trainable", "lora:0", "trainable 'lora:0'"),
        ("learning-rate", "fast", "run config 'learning-rate' is 'fast', has to be of type float"),
        ("learnin-rate", 0.1, "run config 'learnin-rate' is none of model, shards"),
        ("privacy", "secret", "privacy 'secret' is none of none, secagg"),
        ("rounds", 0, "rounds is 0, has to be at least 1"),
        ("fraction", 1.5, "fraction is 1.5"),
        ("labels", "a,a", "labels 'a,a' are not distinct"),
        ("resume", True, "resume needs checkpoints"),
    ]:
        with pytest.raises(ValueError, match=message):
            Settings.of({**config, key: value})
    with pytest.raises(FileNotFoundError, match="model '/nowhere' is no folder"):
        federate(config, model="/nowhere")
    with pytest.raises(FileNotFoundError, match=r"'/nowhere\.tsv' is no file"):
        federate(config, dev="/nowhere.tsv")
    with pytest.raises(RuntimeError, match=r"rounds 1 and 2 brought nothing: .*shards '/nowhere' is no folder"):
        federate(config, shards="/nowhere")
