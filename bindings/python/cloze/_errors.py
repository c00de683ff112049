"""What calls raise: one class a status of the library, with the library's message."""

from __future__ import annotations

from ctypes import byref
from typing import Any, Callable, ClassVar

from . import _raw


class Error(Exception):
    """A call that the library refused or could not finish."""

    status: ClassVar[int] = 0
    """CLOZE_... of cloze.h."""

    @property
    def message(self) -> str:
        """What went wrong, with the name of the thing; without the name of the class."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return self.message


class InvalidArgument(Error, ValueError):
    """Options or sizes that disagree with each other or with the model."""

    status = _raw.CLOZE_INVALID_ARGUMENT


class BufferTooSmall(Error):
    """An array given as `out` has too little room."""

    status = _raw.CLOZE_BUFFER_TOO_SMALL


class InvalidInput(Error, ValueError):
    """Text, token ids or examples that cannot be used: too long, no mask, an unknown id."""

    status = _raw.CLOZE_INVALID_INPUT


class FileError(Error, OSError):
    """The system refused to open, read, map or write a file."""

    status = _raw.CLOZE_IO


class InvalidFile(Error, ValueError):
    """A file is not what its format demands."""

    status = _raw.CLOZE_INVALID_FILE


class Unsupported(Error, NotImplementedError):
    """Something that cloze does not compute; the message names it."""

    status = _raw.CLOZE_UNSUPPORTED


class Missing(Error, LookupError):
    """The model lacks what was asked of it: a tensor, a head, a tokenizer, a name."""

    status = _raw.CLOZE_MISSING


class OutOfMemory(Error, MemoryError):
    """The memory, or the limit that was given, is too small; the message names the bytes that are needed."""

    status = _raw.CLOZE_OUT_OF_MEMORY


class Cancelled(Error):
    """A `Cancel` was set, or a callback returned True."""

    status = _raw.CLOZE_CANCELLED


class Busy(Error, RuntimeError):
    """A trainer, or a dataset that is added to, is in use by another call."""

    status = _raw.CLOZE_BUSY


class NoDevice(Error, RuntimeError):
    """There is no device of the kind that was asked for."""

    status = _raw.CLOZE_NO_DEVICE


class NotFinite(Error, ArithmeticError):
    """Weights or results are not finite numbers; the message names the tensor."""

    status = _raw.CLOZE_NOT_FINITE


class InternalError(Error, RuntimeError):
    """A defect of cloze: please report the message."""

    status = _raw.CLOZE_INTERNAL


_CLASSES = {kind.status: kind for kind in Error.__subclasses__()}


def raised(record: _raw.cloze_error) -> Error:
    """The exception for an error record."""
    kind = _CLASSES.get(record.status)
    message = record.message.decode("utf-8")
    return kind(message) if kind else Error(f"status {record.status}: {message}")


def checked(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls a function whose last parameter is an error record, and raises what it reports."""
    record = _raw.cloze_error()
    if function(*arguments, byref(record)):
        raise raised(record)
