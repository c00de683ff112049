"""Clients that die, servers that stop: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from cloze_federated import checkpoint
from cloze_federated.settings import Settings

from .conftest import federate


def raising(client: int, server_round: str) -> Any:
    """A mod by which a client raises in one round."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if context.node_config["partition-id"] == client and message.metadata.group_id == server_round:
            raise RuntimeError("out of battery")
        return call_next(message, context)

    return mod


def test_a_round_goes_on_without_a_client_that_raises_and_it_joins_again(config: dict[str, Any]) -> None:
    progress, _ = federate(config, [raising(1, "2")])
    assert [entry["answered"] for entry in progress.history[1:]] == [[0, 1, 2, 3], [0, 2, 3], [0, 1, 2, 3]]
    assert progress.history[2]["errors"] == ["out of battery"]


def test_a_resumed_run_ends_with_the_same_bits(config: dict[str, Any], tmp_path: Path) -> None:
    whole, _ = federate(config, rounds=4)

    def stopping(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if message.metadata.group_id == "3":
            raise KeyboardInterrupt
        return call_next(message, context)

    kept = {"rounds": 4, "checkpoints": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        federate(config, [stopping], **kept)
    assert [path.name for path in checkpoint.files(tmp_path)] == ["round-00001.npz", "round-00002.npz"]
    resumed, grid = federate(config, **kept, resume=True)
    assert len(grid.sent) == 2 * config["clients"]
    assert np.array_equal(resumed.parameters, whole.parameters)
    strip = [{key: value for key, value in entry.items() if key != "seconds"} for entry in whole.history]
    assert strip == [{key: value for key, value in entry.items() if key != "seconds"} for entry in resumed.history]


def test_a_checkpoint_is_whole_or_not_there(config: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    settings = Settings.of(config).identity()
    numbers = np.arange(5, dtype=np.float32)
    first = checkpoint.Progress(1, numbers, [{"round": 1}], numbers + 1, 0)
    checkpoint.save(tmp_path, first, settings)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match=r"cannot be written: No space left on device: .*round-00002.npz"):
        checkpoint.save(tmp_path, first._replace(round=2), settings)
    assert [path.name for path in tmp_path.iterdir()] == ["round-00001.npz"]
    again = checkpoint.load(tmp_path, settings, 5)
    assert (again.round, again.history) == (1, [{"round": 1}])
    assert np.array_equal(again.parameters, numbers) and np.array_equal(again.best, numbers + 1)


def test_what_cannot_be_resumed_is_named(config: dict[str, Any], tmp_path: Path) -> None:
    kept = {"checkpoints": str(tmp_path), "rounds": 1, "decay": "none"}
    with pytest.raises(FileNotFoundError, match=f"resume: '{tmp_path}' has no checkpoint"):
        federate(config, **kept, resume=True)
    federate(config, **kept)
    other = {**kept, "rounds": 2, "resume": True}
    with pytest.raises(ValueError, match=r"round-00001.npz' is of a run with mu 0.0, this one has 0.5"):
        federate(config, **other, mu=0.5)
    path = tmp_path / "round-00001.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"round-00001.npz' is no checkpoint of a server"):
        federate(config, **other)


def test_an_actor_that_is_killed_costs_one_answer(config: dict[str, Any], tmp_path: Path) -> None:
    """In Flower's simulation engine: SIGKILL to the process in which client 1 trains, in round 2."""
    pytest.importorskip("ray")
    from simulate import simulate

    history = tmp_path / "history.json"
    own = {"history": str(history), "checkpoints": str(tmp_path / "checkpoints")}
    simulate(Settings.of({**config, **own}), actors=2, mods=[killing(1, "2")])
    rounds = json.loads(history.read_text())
    assert [entry["answered"] for entry in rounds[1:]] == [[0, 1, 2, 3], [0, 2, 3], [0, 1, 2, 3]]
    settings = Settings.of({**config, **own})
    alone, _ = federate(config, [raising(1, "2")])
    last = checkpoint.load(tmp_path / "checkpoints", settings.identity(), alone.parameters.size)
    assert np.array_equal(last.parameters, alone.parameters)


def killing(client: int, server_round: str) -> Any:
    """A mod by which a client's process dies in one round."""

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        if context.node_config["partition-id"] == client and message.metadata.group_id == server_round:
            os.kill(os.getpid(), signal.SIGKILL)
        return call_next(message, context)

    return mod
