"""Rounds with secure aggregation: the server learns the sum of the clients' updates, and no single one.

SecAgg+ (Bell et al. 2020) adds whole numbers modulo 2^32, so every client rounds its numbers to levels of a fixed
range. Clients send the difference to the global parameters: a round of training moves a parameter by some learning
rates, so that a range of ±0.1 holds it, in steps of 0.2 / 2^22 = 5e-8. Weights of BERT would need ±8, in steps of 4e-6.

Flower's workflow speaks the older messages FitIns and FitRes; they end at this module.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Scalar,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.common import recorddict_compat as compat
from flwr.server.client_manager import ClientManager, SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.strategy import FedAvg as OlderFedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD, Key
from flwr.serverapp import Grid

from .learning import Floats, Local
from .settings import Settings

Learn = Callable[[Floats, int], "tuple[Local, int]"]
logger = logging.getLogger("flwr")


def answer(message: Message, client: int, settings: Settings, learn: Learn) -> Message:
    """A client's reply, before the mod masks it: its update, whose weight is its number of examples."""
    given = compat.recorddict_to_fitins(message.content, keep_input=True)
    start = parameters_to_ndarrays(given.parameters)[0].astype(np.float32)
    local, examples = learn(start, int(given.config["server-round"]))
    if examples > settings.secagg_max_weight:
        raise ValueError(
            f"client {client} has {examples:,} examples, secagg-max-weight is {settings.secagg_max_weight:,}"
        )
    update = local.parameters.astype(np.float64) - start
    cut = int(np.count_nonzero(np.abs(update) * (examples / settings.secagg_max_weight) > settings.secagg_clip))
    if cut:
        beyond = f"{cut:,} of {update.size:,} numbers of its update are beyond secagg-clip {settings.secagg_clip:g}"
        logger.warning("client %d: %s", client, beyond)
    metrics: dict[str, Scalar] = {"client": client, "loss": local.loss, "steps": local.steps}
    result = FitRes(Status(Code.OK, "ok"), ndarrays_to_parameters([update]), examples, metrics)
    return Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=message)


class Updates(OlderFedAvg):
    """Asks some of the clients, and keeps the mean update that the workflow has unmasked."""

    def __init__(self, proxies: list[GridClientProxy]) -> None:
        super().__init__()
        self.proxies = proxies
        self.mean: np.ndarray[Any, np.dtype[np.float64]] | None = None
        self.metrics: list[dict[str, Any]] = []

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """The same instructions for all of them."""
        return [(proxy, FitIns(parameters, {"server-round": server_round})) for proxy in self.proxies]

    def aggregate_fit(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, FitRes]],
        failures: list[tuple[ClientProxy, FitRes] | BaseException],
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        """Every result holds the weighted mean of all updates."""
        if results:
            self.mean = parameters_to_ndarrays(results[0][1].parameters)[0]
            self.metrics = [{**result.metrics, "examples": result.num_examples} for _, result in results]
        return None, {}


def secure_round(
    grid: Grid, context: Context, settings: Settings, nodes: list[int], server_round: int, parameters: Floats
) -> tuple[Floats | None, list[dict[str, Any]]]:
    """One round with these nodes: the new global parameters, None if too few clients answered for the sum to be
    unmasked, and each client's numbers."""
    proxies = [GridClientProxy(node, grid, context.run_id) for node in nodes]
    strategy, manager = Updates(proxies), SimpleClientManager()
    for proxy in proxies:
        manager.register(proxy)
    older = LegacyContext(context, strategy=strategy, client_manager=manager)
    older.state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({Key.CURRENT_ROUND: server_round})
    older.state.array_records[MAIN_PARAMS_RECORD] = compat.parameters_to_arrayrecord(
        ndarrays_to_parameters([parameters]), keep_input=False
    )
    workflow = SecAggPlusWorkflow(
        num_shares=settings.secagg_shares,
        reconstruction_threshold=settings.secagg_threshold,
        max_weight=float(settings.secagg_max_weight),
        clipping_range=settings.secagg_clip,
        quantization_range=settings.secagg_levels,
        timeout=settings.timeout,
    )
    workflow(grid, older)
    if strategy.mean is None:
        return None, []
    return (parameters + strategy.mean).astype(np.float32), strategy.metrics
