"""Federated training with virtual clients on this machine.

python simulate.py TRAIN WORK [--alpha 0.5] [--actors 2] [KEY=VALUE ...]

TRAIN has a text, a tab and a label on each line; WORK gets shards/ and whatever the keys name. KEY=VALUE are the run
config's, see cloze_federated/settings.py: model=DIR, dev=FILE, test=FILE, clients=20, trainable=lora:8, privacy=secagg.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

from flwr.clientapp.typing import Mod
from flwr.simulation import run_simulation

from cloze_federated import shards
from cloze_federated.client import make_client_app
from cloze_federated.server import make_server_app
from cloze_federated.settings import Settings


def simulate(settings: Settings, actors: int, mods: Sequence[Mod] = ()) -> None:
    """A run of the settings. `actors`: processes that take turns to be a client.

    Flower puts an actor that died back into its pool, where it fails whatever it is given. "max_restarts" has Ray start
    it again; "max_task_retries" has calls wait for that, and the one that it died of made once more. Where it dies of
    that too, the reply is an error, and the client is asked again in the next round.
    """
    resources = {"num_cpus": 1, "num_gpus": 0, "max_restarts": -1, "max_task_retries": 1}
    config = settings.config()
    run_simulation(
        server_app=make_server_app(config),
        client_app=make_client_app(config, mods),
        num_supernodes=settings.clients,
        backend_config={"client_resources": resources, "init_args": {"num_cpus": actors}},  # type: ignore[dict-item]
    )


def parse(pairs: Sequence[str]) -> dict[str, Any]:
    """Run config from KEY=VALUE; values have the types of the defaults."""
    defaults, config = Settings().config(), {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in defaults:
            raise ValueError(f"'{pair}' is no KEY=VALUE with a key of {', '.join(defaults)}")
        config[key] = converted(key, value, type(defaults[key]))
    return config


def converted(key: str, value: str, kind: type) -> Any:
    """Text as a value."""
    if kind is bool:
        if value not in ("true", "false"):
            raise ValueError(f"{key} '{value}' is neither true nor false")
        return value == "true"
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{key} '{value}' is no {kind.__name__}") from None


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Texts, a folder to work in, how the texts are dealt, and the run config."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("config", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--least", type=int, default=8, help="examples that every client has")
    return parser


def main() -> None:
    """The command."""
    parser = arguments(__doc__)
    parser.add_argument("--actors", type=int, default=os.cpu_count() or 1)
    given = parser.parse_intermixed_args()
    config = {"shards": str((given.work / "shards").absolute()), **parse(given.config)}
    settings = Settings.of(config)
    print(shards.write(given.train, Path(settings.shards), settings.clients, given.alpha, settings.seed, given.least))
    simulate(settings, given.actors)


if __name__ == "__main__":
    main()
