"""Finds and loads the library."""

from __future__ import annotations

import os
import sys
from ctypes import CDLL
from pathlib import Path

from . import _raw


def _name() -> str:
    """File name of the shared library on this system."""
    if sys.platform == "win32":
        return "cloze.dll"
    return "libcloze.dylib" if sys.platform == "darwin" else "libcloze.so"


def _load() -> tuple[str, _raw.Functions]:
    own = Path(__file__).parent / "lib" / _name()
    path = os.environ.get("CLOZE_LIBRARY") or str(own)
    try:
        library = CDLL(path)
    except OSError as error:
        raise ImportError(
            f"cloze: {path} cannot be loaded: {error}. The package carries the library as {own}; "
            f"CLOZE_LIBRARY names another"
        ) from error
    try:
        functions = _raw.Functions(library)
    except AttributeError as error:
        raise ImportError(f"cloze: {path} is older than this package: {error}") from error
    if functions.cloze_abi() != _raw.CLOZE_ABI:
        raise ImportError(
            f"cloze: {path} has the binary interface {functions.cloze_abi()}, this package needs {_raw.CLOZE_ABI}"
        )
    return path, functions


path, functions = _load()
version: str = functions.cloze_version().decode()
