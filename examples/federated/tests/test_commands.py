"""The scripts: what they take, and that they leave no process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloze_federated.settings import Settings
from loopback import Federation
from simulate import parse


def test_pairs_become_a_run_config() -> None:
    given = parse(["trainable=lora:4", "rounds=2", "learning-rate=1", "resume=true", "dev=a=b.tsv"])
    assert given == {"trainable": "lora:4", "rounds": 2, "learning-rate": 1.0, "resume": True, "dev": "a=b.tsv"}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("rounds", "'rounds' is no KEY=VALUE with a key of model, shards"),
        ("round=1", "'round=1' is no KEY=VALUE with a key of model, shards"),
        ("rounds=two", "rounds 'two' is no int"),
        ("resume=yes", "resume 'yes' is neither true nor false"),
    ],
)
def test_pairs_that_are_none_are_named(pair: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse([pair])


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by Linux's /proc")
def test_a_federation_that_is_interrupted_leaves_no_process(config: dict[str, Any], tmp_path: Path) -> None:
    federation = Federation(tmp_path, Settings.of(config), virtual=True)
    with pytest.raises(KeyboardInterrupt), federation:
        assert len(federation.marked()) >= 1
        raise KeyboardInterrupt
    assert federation.marked() == []
