"""Secure aggregation in closed form: each device adds masks that cancel in the sum, shared with all others of the
cohort (Bonawitz et al. 2017), or with a logarithmic number of neighbours (SecAgg+, Bell et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

KEY, SHARE = 32, 64
"""Bytes of a public key, and of an encrypted share of a secret."""


@dataclass(frozen=True)
class Prices:
    """Seconds on the measured machine."""

    mask: float  # of one number of a mask
    agreement: float  # of one key agreement


def neighbours(devices: int, plus: bool) -> int:
    """With whom a device shares masks: all others, or 10 log2(m). That it is a multiple of the logarithm is what
    SecAgg+ proves; the factor depends on how many may collude or be lost, and is an assumption."""
    everyone = devices - 1
    return min(everyone, math.ceil(10 * math.log2(devices))) if plus and devices > 1 else everyone


def number_bytes(devices: int, bits: int = 16) -> float:
    """Bytes of a number that travels: sums of `devices` numbers of `bits` bits must not overflow."""
    return (bits + math.ceil(math.log2(devices))) / 8 if devices > 1 else bits / 8


def device_bytes(numbers: int, devices: int, plus: bool) -> float:
    """Sent by one device in a round: two keys; for each neighbour, two shares and one opened; the masked numbers."""
    return 2 * KEY + neighbours(devices, plus) * 3 * SHARE + numbers * number_bytes(devices)


def device_seconds(numbers: int, devices: int, plus: bool, prices: Prices) -> float:
    """Of one device: two key agreements with each neighbour (one for the mask, one for the shares), a mask with each,
    and one of its own."""
    near = neighbours(devices, plus)
    return 2 * near * prices.agreement + (near + 1) * numbers * prices.mask


def server_seconds(numbers: int, devices: int, lost: float, plus: bool, prices: Prices) -> float:
    """Of the server: the own mask of each device that answered, and for each that was lost all masks that it shared."""
    gone = lost * devices
    masks = (devices - gone) + gone * neighbours(devices, plus)
    return masks * numbers * prices.mask + gone * neighbours(devices, plus) * prices.agreement
