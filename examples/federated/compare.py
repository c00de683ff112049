"""Federated training beside training on all data at once, with the same part that trains.

python compare.py MODEL DATA WORK [--trainable top:2] [--rates 1e-4 2e-4 4e-4] [--federated-rates ...] [--rounds 15]

DATA has train.tsv, dev.tsv and test.tsv. Both sides try the same learning rates, if no others are given, and keep what
has the best dev accuracy: all at once after each of 5 epochs, federated after each of 15 rounds. What is in WORK is not
done again; a federated run that was stopped goes on. At the end the table is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cloze
from cloze_federated import checkpoint
from cloze_federated.learning import new_trainer
from cloze_federated.settings import Settings

EPOCHS = 5


def at_once(settings: Settings, train: Path, rate: float, path: Path) -> dict[str, Any]:
    """Training on all data: the result, from `path` if it is there."""
    if path.is_file():
        return dict(json.loads(path.read_text()))
    data, dev, test = (cloze.Dataset.read(file, header=False) for file in (train, settings.dev, settings.test))
    model = cloze.Model(settings.model)
    how = {"learning_rate": rate, "epochs": EPOCHS, "schedule": "linear", "warmup": 0.06, "seed": settings.seed}
    trainer = new_trainer(model, settings, **how)
    began = time.monotonic()
    fit = trainer.fit(data, dev)
    found = {
        "rate": rate,
        "dev": trainer.evaluate(dev)["accuracy"],
        "test": trainer.evaluate(test)["accuracy"],
        "best step": fit.best_step,
        "steps": fit.steps,
        "seconds": round(time.monotonic() - began, 1),
    }
    checkpoint.replace(path, lambda file: file.write(json.dumps(found).encode()))
    return found


def federated(given: argparse.Namespace, rate: float, work: Path) -> list[dict[str, Any]]:
    """The history of a federated run."""
    work.mkdir(parents=True, exist_ok=True)
    history = work / "history.json"
    if history.is_file() and "test accuracy" in (found := json.loads(history.read_text()))[-1]:
        return list(found)
    kept = work / "checkpoints"
    config = {
        "model": given.model,
        "dev": given.data / "dev.tsv",
        "test": given.data / "test.tsv",
        "history": history,
        "checkpoints": kept,
        "resume": "true" if checkpoint.files(kept) else "false",
        "clients": given.clients,
        "rounds": given.rounds,
        "trainable": given.trainable,
        "learning-rate": rate,
        "mu": given.mu,
        "local-epochs": given.local_epochs,
    }
    here = Path(__file__).resolve().parent
    command = [sys.executable, str(here / "simulate.py"), str(given.data / "train.tsv"), str(work)]
    command += [f"--alpha={given.alpha}", *(f"{key}={value}" for key, value in config.items())]
    subprocess.run(command, check=True)
    return list(json.loads(history.read_text()))


def table(central: list[dict[str, Any]], runs: dict[float, list[dict[str, Any]]]) -> str:
    """What the two sides came to, and the federated curve."""
    rows = ["| | learning rate | dev | test |", "|---|---|---:|---:|"]
    rows += [f"| all at once | {own['rate']:g} | {own['dev']:.2%} | {own['test']:.2%} |" for own in central]
    for rate, history in runs.items():
        rows.append(f"| federated | {rate:g} | {dev_of(history):.2%} | {history[-1]['test accuracy']:.2%} |")
    best = max(central, key=lambda own: float(own["dev"]))
    rate, history = max(runs.items(), key=lambda item: dev_of(item[1]))
    gap = 100 * (best["test"] - history[-1]["test accuracy"])
    rows += ["", f"Best by dev: all at once {best['rate']:g}, federated {rate:g}; {gap:.2f} points less on test."]
    rows += ["", "| round | dev accuracy | dev loss | training loss | seconds |", "|---:|---:|---:|---:|---:|"]
    for entry in history:
        loss = f"{entry['loss']:.4f}" if "loss" in entry else ""
        seconds = entry.get("seconds", "")
        rows.append(
            f"| {entry['round']} | {entry['dev accuracy']:.2%} | {entry['dev loss']:.4f} | {loss} | {seconds} |"
        )
    return "\n".join(rows)


def dev_of(history: list[dict[str, Any]]) -> float:
    """Dev accuracy of the round that was kept."""
    return float(history[history[-1].get("kept", -1)]["dev accuracy"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--trainable", default="top:2")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 2e-4, 4e-4])
    parser.add_argument("--federated-rates", type=float, nargs="+")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--local-epochs", type=int, default=1)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--mu", type=float, default=0.0)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    files = {"dev": str(given.data / "dev.tsv"), "test": str(given.data / "test.tsv")}
    settings = Settings.of({"model": str(given.model), "trainable": given.trainable, **files})
    name = given.trainable.replace(":", "")
    train = given.data / "train.tsv"
    central = [at_once(settings, train, rate, given.work / f"{name}-{rate:g}.json") for rate in given.rates]
    for own in central:
        print(own, flush=True)
    runs = {
        rate: federated(given, rate, given.work / f"{name}-{rate:g}-mu{given.mu:g}-alpha{given.alpha:g}")
        for rate in given.federated_rates or given.rates
    }
    print(table(central, runs))


if __name__ == "__main__":
    main()
