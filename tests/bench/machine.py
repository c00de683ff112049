"""What a measurement ran on."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

# How many programs beside ours may run on average of a minute.
QUIET = 0.5

FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "BF16",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
}


def processor() -> str:
    """The processor's name and what it has for arithmetic, as Linux tells them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()

    def value(key: str) -> str:
        found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
        return found.group(1).strip() if found else ""

    flags = set(value("flags").split())
    has = ", ".join(name for flag, name in FEATURES.items() if flag in flags)
    family = f"family {value('cpu family')} model {value('model')}, " if value("cpu family") else ""
    return f"{value('model name') or platform.machine()} ({family}{has})"


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def load() -> float:
    """How many programs ran, on average of the last minute."""
    return os.getloadavg()[0]


def today() -> str:
    day = datetime.date.today()
    return f"{day.day} {day:%B %Y}"


def summary() -> str:
    return f"{processor()}, {processors()} processors, {memory_gib():.0f} GiB, {platform.system()}"


def about(facts: Sequence[str], versions: Sequence[str], others: float) -> str:
    """What a table says above its rows; `others` is the load that is not ours."""
    noise = f" Other programs kept the machine busy: load {others:.1f}." if others > QUIET else ""
    return f"{'; '.join([summary(), *facts])}. {', '.join(versions)}.{noise}"
