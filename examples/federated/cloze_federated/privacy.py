"""Flower's privacy mechanisms, chosen by `privacy` of the run config."""

from __future__ import annotations

from flwr.client.mod import secaggplus_mod
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod
from flwr.clientapp.typing import Mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    Strategy,
)

from .settings import Settings


def client_mod(settings: Settings) -> Mod | None:
    """What stands between a client's training and its reply."""
    if settings.privacy == "secagg":
        return secaggplus_mod
    if settings.privacy == "central-client":
        return fixedclipping_mod
    if settings.privacy == "local":
        # Clipped updates of two clients differ by at most twice the norm.
        norm = settings.clipping_norm
        return LocalDpMod(norm, sensitivity=2 * norm, epsilon=settings.epsilon, delta=settings.delta)
    return None


def with_noise(strategy: FedAvg, settings: Settings, asked: int) -> Strategy:
    """The strategy, or its wrapper where the server adds noise; `asked`: clients of a round."""
    if settings.privacy == "central-server":
        return DifferentialPrivacyServerSideFixedClipping(
            strategy, settings.noise_multiplier, settings.clipping_norm, asked
        )
    if settings.privacy == "central-client":
        return DifferentialPrivacyClientSideFixedClipping(
            strategy, settings.noise_multiplier, settings.clipping_norm, asked
        )
    return strategy
