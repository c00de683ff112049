"""The server: rounds, means, evaluation, checkpoints."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Strategy

import cloze

from . import checkpoint, secure
from .checkpoint import Progress
from .learning import Floats, new_trainer
from .metered import Metered
from .privacy import with_noise
from .settings import Settings


class Round(NamedTuple):
    """What the clients of a round made of the global parameters."""

    parameters: Floats | None
    """New global ones; None: the round brought nothing."""
    metrics: list[dict[str, Any]]
    """Of each client that answered, in the order of their numbers."""
    asked: int


class Averaging(FedAvg):
    """FedAvg whose messages carry their round, which clients then log."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """One message for each client that is asked."""
        return [
            Message(
                message.content,
                message.metadata.dst_node_id,
                message.metadata.message_type,
                group_id=str(server_round),
            )
            for message in super().configure_train(server_round, arrays, config, grid)
        ]


def make_strategy(settings: Settings) -> Strategy:
    """The mean of the clients' parameters, weighted as they say, with noise where the settings want it."""
    asked = max(int(settings.clients * settings.fraction), settings.min_clients)
    strategy = Averaging(
        fraction_train=settings.fraction,
        fraction_evaluate=0.0,
        min_train_nodes=settings.min_clients,
        min_evaluate_nodes=0,
        min_available_nodes=settings.min_clients,
        weighted_by_key="weight",
    )
    return with_noise(strategy, settings, asked)


def plain_round(grid: Grid, strategy: Strategy, settings: Settings, server_round: int, parameters: Floats) -> Round:
    """One round in which the server sees each client's parameters."""
    arrays = ArrayRecord({"parameters": Array(parameters)})
    messages = list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
    replies = list(grid.send_and_receive(messages, timeout=settings.timeout))
    # Sums of floats depend on their order, replies come in any: resumed runs would differ in the last bits.
    replies.sort(key=lambda reply: -1 if reply.has_error() else number_of(reply))
    answered = [dict(reply.content.metric_records["metrics"]) for reply in replies if not reply.has_error()]
    mean, _ = strategy.aggregate_train(server_round, replies)
    if mean is None:
        return Round(None, answered, len(messages))
    return Round(np.asarray(mean["parameters"].numpy(), dtype=np.float32), answered, len(messages))


def number_of(reply: Message) -> int:
    """The number of the client that a reply comes from."""
    return int(reply.content.metric_records["metrics"]["client"])  # type: ignore[arg-type]


def masked_round(grid: Metered, context: Context, settings: Settings, server_round: int, parameters: Floats) -> Round:
    """One round with secure aggregation."""
    nodes = sorted(grid.get_node_ids())
    if settings.fraction < 1:
        nodes = random.sample(nodes, max(int(len(nodes) * settings.fraction), settings.min_clients))
    new, metrics = secure.secure_round(grid, context, settings, nodes, server_round, parameters)
    return Round(new, sorted(metrics, key=lambda own: int(own["client"])), len(nodes))


def wait_for(grid: Grid, clients: int, seconds: float) -> None:
    """Returns when so many clients are connected."""
    end = time.monotonic() + seconds
    while (connected := len(list(grid.get_node_ids()))) < clients:
        if time.monotonic() > end:
            raise TimeoutError(f"{connected} of {clients} clients are connected after {seconds:g} s")
        time.sleep(0.2)


def serve(grid: Grid, context: Context, settings: Settings) -> Progress:
    """All rounds, from the start or from the newest checkpoint, and what follows them."""
    model = cloze.Model(settings.folder("model"))
    trainer = new_trainer(model, settings, seed=settings.seed)
    dev = read(settings.dev)
    test = read(settings.test)
    progress = begin(trainer, settings)
    trainer.set_parameters(progress.parameters)
    if not progress.history:
        progress.history.append({"round": 0, **evaluated(trainer, dev, "dev")})
        print(described(progress.history[0]), flush=True)
    metered, strategy = Metered(grid), make_strategy(settings)
    whole = 4 * model.info.parameters
    trained = 4 * trainer.info.parameters
    print(f"what trains: {trained:,} bytes of {whole:,} ({trained / whole:.1%})", flush=True)
    wait_for(grid, settings.clients if progress.round == 0 else settings.min_clients, settings.timeout)
    while progress.round < settings.rounds:
        progress = one_round(metered, context, settings, strategy, trainer, dev, progress)
        tell(settings, progress)
        if settings.checkpoints:
            checkpoint.save(Path(settings.checkpoints), progress, settings.identity())
        two = progress.history[-2:]
        if len(two) == 2 and all("void" in entry for entry in two):
            raise RuntimeError(f"rounds {two[0]['round']} and {two[1]['round']} brought nothing: {two[1]['void']}")
    if settings.keep == "best":
        trainer.set_parameters(progress.best)
        progress.history[-1]["kept"] = progress.best_round
        print(f"kept: round {progress.best_round}", flush=True)
    if test is not None:
        progress.history[-1].update(evaluated(trainer, test, "test"))
        print("test loss {test loss:.4f}, accuracy {test accuracy:.2%}".format_map(progress.history[-1]), flush=True)
        tell(settings, progress)
    if settings.out:
        trainer.save(settings.out)
        print(f"global model: {settings.out}", flush=True)
    return progress


def tell(settings: Settings, progress: Progress) -> None:
    """Writes the history, if the settings name a file."""
    if settings.history:
        text = json.dumps(progress.history, indent=1)
        checkpoint.replace(Path(settings.history), lambda file: file.write(text.encode()))


def read(path: str) -> cloze.Dataset | None:
    """Examples of a file: a text, a tab and a label a line."""
    if path and not Path(path).is_file():
        raise FileNotFoundError(f"'{path}' is no file")
    return cloze.Dataset.read(path, header=False) if path else None


def begin(trainer: cloze.Trainer, settings: Settings) -> Progress:
    """The trainer's own parameters, or those of the newest checkpoint."""
    if not settings.resume:
        start = trainer.parameters()
        return Progress(0, start, [], start, 0)
    return checkpoint.load(Path(settings.checkpoints), settings.identity(), trainer.info.parameters)


def one_round(
    grid: Metered,
    context: Context,
    settings: Settings,
    strategy: Strategy,
    trainer: cloze.Trainer,
    dev: cloze.Dataset | None,
    progress: Progress,
) -> Progress:
    """The next round. One that brings nothing leaves the global parameters as they are."""
    number, began = progress.round + 1, time.monotonic()
    grid.reset()
    if settings.privacy == "secagg":
        wait_for(grid, settings.min_clients, settings.timeout)
        made = masked_round(grid, context, settings, number, progress.parameters)
    else:
        made = plain_round(grid, strategy, settings, number, progress.parameters)
    trained = time.monotonic()
    parameters = progress.parameters if made.parameters is None else made.parameters
    if not np.isfinite(parameters).all():
        raise ArithmeticError(f"round {number}: the mean of the parameters is not finite")
    trainer.set_parameters(parameters)
    weights = [int(own["examples"]) for own in made.metrics]
    entry: dict[str, Any] = {
        "round": number,
        "answered": [int(own["client"]) for own in made.metrics],
        "asked": made.asked,
        "down": spread(grid.down.values()),
        "up": spread(grid.up.values()),
        "seconds": round(trained - began, 2),
        "loss": float(np.average([own["loss"] for own in made.metrics], weights=weights)) if weights else None,
        **evaluated(trainer, dev, "dev"),
    }
    if grid.errors:
        entry["errors"] = sorted(set(grid.errors))
    if made.parameters is None:
        entry["void"] = "; ".join(entry.get("errors", ["too few clients"]))
    print(described(entry), flush=True)
    history = [*progress.history, entry]
    if dev is None or entry["dev accuracy"] > history[progress.best_round]["dev accuracy"]:
        return Progress(number, parameters, history, parameters, number)
    return progress._replace(round=number, parameters=parameters, history=history)


def evaluated(trainer: cloze.Trainer, data: cloze.Dataset | None, name: str) -> dict[str, float]:
    """Loss and accuracy of the global parameters."""
    if data is None:
        return {}
    metrics = trainer.evaluate(data)
    return {f"{name} loss": metrics["loss"], f"{name} accuracy": metrics["accuracy"]}


def spread(sizes: Any) -> list[int]:
    """Smallest and largest."""
    found = list(sizes)
    return [min(found), max(found)] if found else [0, 0]


def described(entry: Mapping[str, Any]) -> str:
    """One line for a round."""
    parts = [f"round {entry['round']}"]
    if "asked" in entry:
        parts.append(f"{len(entry['answered'])} of {entry['asked']} clients")
        for way in ("down", "up"):
            low, high = entry[way]
            parts.append(f"{low:,} bytes {way} a client" if low == high else f"{low:,} to {high:,} bytes {way}")
        parts.append(f"{entry['seconds']:.1f} s")
    if entry.get("loss") is not None:
        parts.append(f"training loss {entry['loss']:.4f}")
    if "dev accuracy" in entry:
        parts.append(f"dev loss {entry['dev loss']:.4f}, accuracy {entry['dev accuracy']:.2%}")
    if "void" in entry:
        parts.append(f"VOID: {entry['void']}")
    elif "errors" in entry:
        parts.append(f"without: {'; '.join(entry['errors'])}")
    return ", ".join(parts)


def make_server_app(config: Mapping[str, Any] | None = None) -> ServerApp:
    """The ServerApp; `config` instead of the run's own config."""
    server_app = ServerApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        serve(grid, context, Settings.of(config if config is not None else context.run_config))

    return server_app


app = make_server_app()
