"""Calls into the library: handles that stay alive while they are used, cancelling, interrupts, callbacks, buffers."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from ctypes import (
    POINTER,
    Array,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_float,
    c_int32,
    c_size_t,
    c_void_p,
    cast,
    sizeof,
)
from typing import Any, Callable, Optional, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _raw
from ._errors import BufferTooSmall, checked
from ._library import functions

Progress = Callable[[int, int], Optional[bool]]
"""Told how much of a call is done, and of how much; True stops the call, which then raises `Cancelled`. What it raises
stops the call and comes out of it. Of a call from the main thread it runs on a thread of this package."""

_Self = TypeVar("_Self", bound="Owner")
_Options = TypeVar("_Options", bound=Structure)


class Handle:
    """A pointer of the library, freed once: when it was closed and the last call that uses it has returned.

    `keep` is memory that the library reads until then.
    """

    def __init__(self, pointer: c_void_p, free: Callable[[c_void_p], None], what: str, keep: Any = None) -> None:
        self._as_parameter_ = pointer
        self.keep = keep
        self._free = free
        self._what = what
        self._uses = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def closed(self) -> bool:
        return self._closed

    def acquire(self) -> None:
        with self._lock:
            if self._closed:
                raise ValueError(f"this {self._what} is closed")
            self._uses += 1

    def release(self) -> None:
        with self._lock:
            self._uses -= 1
            last = self._closed and self._uses == 0
        if last:
            self._free(self._as_parameter_)

    def close(self) -> None:
        with self._lock:
            last = not self._closed and self._uses == 0
            self._closed = True
        if last:
            self._free(self._as_parameter_)


class Owner:
    """What has a handle. `close`, the end of a `with` block, or the last reference frees it; calls that still run on it
    end first."""

    _handle: Handle

    @classmethod
    def _make(cls: type[_Self], function: Callable[..., Any], *arguments: Any) -> _Self:
        """An object of the handle that a function of the library writes; it keeps what the arguments' handles keep."""
        made = cls.__new__(cls)
        made._open(function, *arguments)
        return made

    def _open(self, function: Callable[..., Any], *arguments: Any, watch: Watch | None = None) -> None:
        pointer = c_void_p()
        call(function, *arguments, byref(pointer), watch=watch)
        keep = [argument.keep for argument in arguments if isinstance(argument, Handle) and argument.keep is not None]
        self._handle = Handle(pointer, self._free(), type(self).__name__, keep or None)

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        raise NotImplementedError

    def close(self) -> None:
        """Frees it, as soon as no call uses it. What was made from it stays."""
        handle: Optional[Handle] = getattr(self, "_handle", None)
        if handle is not None:
            handle.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._handle.closed

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it lives in the library of this process")


class Cancel(Owner):
    """A flag that stops the calls it was given to, within about 50 ms: they raise `Cancelled`.

    Any number of calls may watch one, and any thread may set it.
    """

    def __init__(self) -> None:
        self._open(functions.cloze_cancel_new)

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        return functions.cloze_cancel_free

    def set(self) -> None:
        """Stops the calls that watch the flag, and those that are given it from now on."""
        self._use(functions.cloze_cancel_set)

    def reset(self) -> None:
        """Clears the flag for the next call."""
        self._use(functions.cloze_cancel_reset)

    def _use(self, function: Callable[..., Any]) -> None:
        self._handle.acquire()
        try:
            function(self._handle)
        finally:
            self._handle.release()


class Watch:
    """What stops one long call: a flag, callbacks that return True or raise, an interrupt of the main thread.

    `kept` is what its arguments point to.
    """

    def __init__(self, cancel: Cancel | None = None) -> None:
        self.kept: Any = None
        self.from_main = threading.current_thread() is threading.main_thread()
        self.cancel = Cancel() if cancel is None and self.from_main else cancel
        self.raised: BaseException | None = None
        self._context = contextvars.copy_context()

    def into(self, options: _Options, progress: Progress | None) -> _Options:
        """Options with the flag and the callback in them."""
        if self.cancel is not None:
            options.cancel = self.cancel._handle._as_parameter_
        if progress is not None:
            told = progress
            options.progress = _raw.cloze_progress(lambda _, done, total: self.told(told, done, total))
        return options

    def told(self, callback: Callable[..., bool | None], *news: Any) -> int:
        """Calls a callback: 1 where it wants the call to stop or raises, which is kept."""
        try:
            return 1 if self._context.run(callback, *news) else 0
        except BaseException as error:
            self.raised = error
            return 1


def call(function: Callable[..., Any], *arguments: Any, watch: Watch | None = None) -> None:
    """Calls a function of the library with an error record behind the arguments, which are kept until it returns."""
    handles = [argument for argument in arguments if isinstance(argument, Handle)]

    def made() -> None:
        acquired: list[Handle] = []
        try:
            for handle in handles:
                handle.acquire()
                acquired.append(handle)
            checked(function, *arguments)
        finally:
            for handle in acquired:
                handle.release()

    if watch is None:
        made()
        return
    try:
        if watch.from_main and watch.cancel is not None:
            _beside_main(made, watch.cancel, watch)
        else:
            made()
    except Exception:
        if watch.raised is None:
            raise
    if watch.raised is not None:
        raise watch.raised


class _Beside:
    """A thread that makes calls for the main thread, which meanwhile hears of signals."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="cloze", daemon=True).start()

    def _work(self) -> None:
        while True:
            self.jobs.get()()


_beside: _Beside | None = None


def _forget() -> None:
    """A child process has no threads but its own."""
    global _beside
    _beside = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _beside_main(made: Callable[[], None], cancel: Cancel, watch: Watch) -> None:
    """Runs `made` on the other thread. A signal whose handler raises sets the flag, and what it raised is
    raised when the call has returned.

    An interrupt may come at any point of this function. `made` holds all that the library reads and
    writes, so nothing is freed too early even where a second interrupt leaves before the call has
    returned."""
    global _beside
    if _beside is None:
        _beside = _Beside()
    once, ended = threading.Lock(), threading.Lock()
    ended.acquire()
    outcome: list[BaseException | None] = []

    def job() -> None:
        if not once.acquire(blocking=False):
            return
        failure: BaseException | None = None
        held = watch
        try:
            made()
        except BaseException as error:
            failure = error
        outcome.append(failure)
        ended.release()
        del held

    interrupt: BaseException | None = None
    handed_over = False
    while not outcome:
        try:
            if not handed_over:
                _beside.jobs.put(job)
                handed_over = True
            # A time, because a lock without one does not hear of signals on every system.
            ended.acquire(timeout=0.1)
        except BaseException as error:
            interrupt = error
            cancel.set()
    if interrupt is not None:
        raise interrupt
    if outcome[0] is not None:
        raise outcome[0]


def options_of(kind: type[_Options], **fields: Any) -> _Options:
    """An option struct with its size, and the given fields."""
    return kind(size=sizeof(kind), **fields)


def constant(group: str, name: str | int) -> int:
    """The number of CLOZE_<group>_<NAME>; numbers are taken as they are."""
    if isinstance(name, int):
        return name
    value = getattr(_raw, f"CLOZE_{group}_{name.upper()}", None)
    if not isinstance(value, int):
        known = ", ".join(constants(group))
        raise ValueError(f"{group.lower()}: {name!r}, expected one of {known}")
    return value


def constants(group: str) -> dict[str, int]:
    """Names of a group of constants in lower case, and their numbers."""
    start = f"CLOZE_{group}_"
    return {name[len(start) :].lower(): value for name, value in vars(_raw).items() if name.startswith(start)}


def name_of(group: str, number: int) -> str:
    """The name of a constant in lower case."""
    return next((name for name, value in constants(group).items() if value == number), str(number))


def pointer(array: NDArray[Any], kind: Any) -> Array[Any]:
    """The memory of an array that is contiguous and may be written, as a parameter; it keeps the array."""
    empty = kind * 0
    buffer: Array[Any] = empty.from_buffer(array) if array.size else empty()
    return buffer


def floats(array: NDArray[np.float32]) -> Array[c_float]:
    """The memory of an array of float32."""
    return pointer(array, c_float)


def counted(
    function: Callable[..., Any], *arguments: Any, kind: Any, room: int, watch: Watch | None = None
) -> NDArray[Any]:
    """What a function writes into (buffer, capacity, count): first into `room` elements, then into as many as needed.

    `kind` is a ctypes type; structs become records.
    """
    count = c_size_t()
    while True:
        out = np.zeros(room, dtype=np.dtype(kind))
        try:
            call(function, *arguments, pointer(out, kind), room, byref(count), watch=watch)
            return out[: count.value]
        except BufferTooSmall:
            room = count.value


def string(function: Callable[..., Any], *arguments: Any) -> str:
    """What a function writes into (text, capacity, size)."""
    size, room = c_size_t(), 256
    while True:
        out = (c_char * room)()
        try:
            call(function, *arguments, out, room, byref(size))
            return out.raw[: size.value].decode("utf-8")
        except BufferTooSmall:
            room = size.value + 1


def filled(
    function: Callable[..., Any], *arguments: Any, shape: tuple[int, ...], out: Any, watch: Watch
) -> NDArray[np.float32]:
    """What a function writes into (floats, capacity, count) where the shape is known: into `out` if it is given."""
    array = room_for(shape, out)
    count = c_size_t()
    call(function, *arguments, floats(array), array.size, byref(count), watch=watch)
    return array


def room_for(shape: tuple[int, ...], out: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """A new array, or the given one if it fits."""
    if out is None:
        return np.empty(shape, dtype=np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(
            f"out: a contiguous array of float32 with shape {shape} that may be written is needed, "
            f"not {out.dtype} with shape {out.shape}"
        )
    return out


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """A path as the library takes it: UTF-8."""
    return os.fspath(path).encode("utf-8", "surrogateescape")


class Kept:
    """Arrays and strings that structs point to."""

    def __init__(self) -> None:
        self._objects: list[Any] = []

    def string(self, text: str | None) -> bytes | None:
        """A string that ends with NUL. ctypes keeps it in the struct's field."""
        if text is not None and "\0" in text:
            raise ValueError(f"{text!r}: a name cannot hold a NUL")
        return None if text is None else text.encode("utf-8", "surrogatepass")

    def strings(self, texts: list[str]) -> Any:
        """Strings that end with NUL."""
        array = (c_char_p * max(len(texts), 1))(*[self.string(text) for text in texts])
        self._objects.append(array)
        return cast(array, POINTER(c_char_p))

    def integers(self, values: Any) -> Any:
        """Numbers of 32 bits."""
        array = np.ascontiguousarray(values, dtype=np.int32)
        self._objects.append(array)
        return cast(array.ctypes.data, POINTER(c_int32))

    def floats(self, values: Any) -> Any:
        """Numbers of float32."""
        array = np.ascontiguousarray(values, dtype=np.float32)
        self._objects.append(array)
        return cast(array.ctypes.data, POINTER(c_float))
