"""What models read: texts, pairs, token ids, as the array of structs that the library takes."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, cast, sizeof
from typing import Any, NamedTuple, Optional, Protocol, Union

import numpy as np
from numpy.typing import NDArray

from . import _raw


class Ids(NamedTuple):
    """A sequence of token ids as the model sees it, special tokens included."""

    ids: Union[Sequence[int], NDArray[np.int32]]
    types: Optional[Union[Sequence[int], NDArray[np.int32]]] = None
    """Segments, as many as ids; None: all 0."""


Text = Union[str, bytes]
"""Text; bytes are UTF-8."""
Input = Union[Text, tuple[Text, Text], Ids]
"""A text, a pair of texts, or token ids."""


class Column(Protocol):
    """An array or a column of a table: anything that makes a list of itself."""

    def tolist(self) -> Any:
        """Its elements."""


Batch = Union[list[Any], Column]
"""Any number of inputs: a list, an array, a column of a table. (A list of `Input` would refuse a list of str.)"""

_RECORD = np.dtype([(field[0], np.uintp) for field in _raw.cloze_input._fields_])
if _RECORD.itemsize != sizeof(_raw.cloze_input):
    raise ImportError(f"cloze: cloze_input has {sizeof(_raw.cloze_input)} bytes, expected {_RECORD.itemsize}")


class Inputs:
    """Inputs in memory that the library reads: all texts one after another, and a record for each input."""

    def __init__(self, inputs: Input | Batch) -> None:
        self.single = is_single(inputs)
        given: Any = inputs
        self.items: list[Any] = [given] if self.single else list(given)
        self.records = np.zeros(len(self.items), dtype=_RECORD)
        self._kept: list[Any] = []
        if all(type(item) is str for item in self.items):
            self._texts("text", [encoded(item) for item in self.items], None)
        else:
            self._mixed()
        self._as_parameter_ = cast(self.records.ctypes.data, POINTER(_raw.cloze_input))

    def __len__(self) -> int:
        return len(self.items)

    def _texts(self, field: str, texts: list[bytes], where: list[int] | None) -> None:
        """Texts into a field of the records, all of them or those with these numbers."""
        # One byte more, so that an empty text has an address too.
        blob = np.frombuffer(b"".join(texts) + b"\0", dtype=np.uint8)
        self._kept.append(blob)
        sizes = np.fromiter(map(len, texts), dtype=np.uintp, count=len(texts))
        starts = np.cumsum(sizes, dtype=np.uintp) - sizes + np.uintp(blob.ctypes.data)
        chosen: Any = slice(None) if where is None else where
        self.records[field][chosen] = starts
        self.records[f"{field}_size"][chosen] = sizes

    def _mixed(self) -> None:
        texts: list[bytes] = []
        text_at: list[int] = []
        pairs: list[bytes] = []
        pair_at: list[int] = []
        for index, item in enumerate(self.items):
            if isinstance(item, (str, bytes)):
                texts.append(encoded(item))
                text_at.append(index)
            elif isinstance(item, Ids):
                self._ids(index, item)
            elif isinstance(item, tuple) and len(item) == 2:
                texts.append(encoded(item[0]))
                text_at.append(index)
                pairs.append(encoded(item[1]))
                pair_at.append(index)
            else:
                raise TypeError(f"input {index}: a text, a pair of texts or Ids is needed, not {item!r:.80}")
        self._texts("text", texts, text_at)
        self._texts("pair", pairs, pair_at)

    def _ids(self, index: int, given: Ids) -> None:
        ids = np.ascontiguousarray(given.ids, dtype=np.int32).reshape(-1)
        # An array without elements may have any address, but ids that are there must not be NULL.
        self._kept.append(ids)
        self.records["ids"][index] = ids.ctypes.data
        self.records["id_count"][index] = len(ids)
        if given.types is not None:
            types = np.ascontiguousarray(given.types, dtype=np.int32).reshape(-1)
            if len(types) != len(ids):
                raise ValueError(f"input {index}: {len(types)} segments for {len(ids)} token ids")
            self._kept.append(types)
            self.records["types"][index] = types.ctypes.data

    def by_input(self, inputs: NDArray[Any]) -> list[slice]:
        """Where the elements of each input stand, among elements that tell the index of theirs, in order."""
        ends = np.searchsorted(inputs, np.arange(len(self) + 1))
        return [slice(int(start), int(end)) for start, end in zip(ends[:-1], ends[1:])]


def encoded(text: object) -> bytes:
    """A text as UTF-8. Halves of surrogate pairs are left for the library to refuse, which names the byte."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(text, bytes):
        return text
    raise TypeError(f"a text is needed, not {text!r:.80}")


def is_single(inputs: object) -> bool:
    """Whether this is one input, and no batch."""
    return isinstance(inputs, (str, bytes, tuple))
