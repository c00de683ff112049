"""What models learn from: examples, and text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from ctypes import byref, c_size_t, c_void_p
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Union

import numpy as np
from numpy.typing import NDArray

from . import _raw
from ._answers import CorpusInfo
from ._calls import Kept, Owner, call, constant, options_of, path_bytes, pointer, string
from ._inputs import Batch, Inputs
from ._library import functions

if TYPE_CHECKING:
    from ._model import Model

Folder = Union[str, "os.PathLike[str]"]


class Answer(NamedTuple):
    """A stretch of the second text of a pair."""

    text: str
    """As it stands there; "" where the second text does not hold the answer."""
    start: int = 0
    """Where it starts, in characters of the second text."""


class TokenLabels(NamedTuple):
    """A label id for each token id of an input."""

    ids: Union[Sequence[int], NDArray[np.int32]]
    """`IGNORED` where no label counts."""


IGNORED = _raw.CLOZE_IGNORED
"""Among `TokenLabels`: no label counts here."""

Target = Optional[Union[str, float, Sequence[str], Sequence[float], "NDArray[np.floating[Any]]", Answer, TokenLabels]]
"""What an example is to be answered with: a label; a number; labels, none among them; numbers as an array or a list; a
stretch of the second text; a label for each token; None where nothing is known."""


class Dataset(Owner):
    """Examples: what a model reads, and what it is to answer. Any number of calls may read one at the same time."""

    def __init__(self, inputs: Batch | None = None, targets: Iterable[Target] | None = None) -> None:
        """Examples of a batch of inputs and one target for each."""
        self._open(functions.cloze_dataset_new)
        if inputs is not None:
            self.add(inputs, targets)

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        return functions.cloze_dataset_free

    @classmethod
    def of_words(cls, words: Iterable[Sequence[str]], tags: Iterable[Sequence[str]] | None = None) -> Dataset:
        """Texts that are split into words, and the tag of each word."""
        data, texts = cls(), list(words)
        known = [None] * len(texts) if tags is None else list(tags)
        if len(known) != len(texts):
            raise ValueError(f"{len(known)} lists of tags for {len(texts)} lists of words")
        for own, tag in zip(texts, known):
            data.add_words(own, tag)
        return data

    @classmethod
    def read(
        cls,
        path: Folder,
        kind: str = "label",
        *,
        format: str = "auto",
        header: bool | None = None,
        text: str | None = None,
        pair: str | None = None,
        target: str | None = None,
    ) -> Dataset:
        """The examples of a UTF-8 file, each with a target of one kind: "none", "label", "labels",
        "numbers", "tags", "answer".

        `format`: "auto", as the extension says; "tsv", "csv", "jsonl", "conll", "lines". `header`:
        whether the first row of a table names its columns; None: found out. `text`, `pair`,
        `target`: columns by their names, or their places counted from "1"."""
        kept = Kept()
        present = _raw.CLOZE_HEADER_PRESENT if header else _raw.CLOZE_HEADER_ABSENT
        options = options_of(
            _raw.cloze_read_options,
            format=constant("FORMAT", format),
            header=_raw.CLOZE_HEADER_DETECT if header is None else present,
            text=kept.string(text),
            pair=kept.string(pair),
            target=kept.string(target),
        )
        return cls._make(functions.cloze_dataset_read, path_bytes(path), constant("TARGET", kind), byref(options))

    def add(self, inputs: Batch, targets: Iterable[Target] | None = None) -> None:
        """Adds copies of examples: all, or none with an error that names the first that cannot be used."""
        batch, kept = Inputs(inputs), Kept()
        structs: Any = None
        if targets is not None:
            given = [targets] if batch.single else list(targets)
            if len(given) != len(batch):
                raise ValueError(f"{len(given)} targets for {len(batch)} inputs")
            structs = (_raw.cloze_target * max(len(given), 1))()
            for index, (struct, target) in enumerate(zip(structs, given)):
                try:
                    _target(struct, target, batch.items[index], kept)
                except TypeError as error:
                    raise TypeError(f"example {index}: {error}") from None
        call(functions.cloze_dataset_add, self._handle, batch, structs, len(batch))

    def add_words(self, words: Sequence[str], tags: Sequence[str] | None = None) -> None:
        """Adds one text that is split into words, and the tag of each word."""
        if tags is not None and len(tags) != len(words):
            raise ValueError(f"{len(tags)} tags for {len(words)} words")
        kept = Kept()
        pointers = kept.strings(list(words)), None if tags is None else kept.strings(list(tags))
        call(functions.cloze_dataset_add_words, self._handle, *pointers, len(words))

    def select(self, numbers: Iterable[int]) -> Dataset:
        """Copies of the examples with these numbers, from 0, in this order: the batches and shards of a
        loop of your own. A number may come more than once."""
        found = np.fromiter(numbers, dtype=np.uintp)
        return Dataset._make(functions.cloze_dataset_select, self._handle, pointer(found, c_size_t), found.size)

    def __len__(self) -> int:
        self._handle.acquire()
        try:
            return int(functions.cloze_dataset_count(self._handle))
        finally:
            self._handle.release()


def _target(struct: _raw.cloze_target, target: Any, given: Any, kept: Kept) -> None:
    """Writes a target into its struct."""
    if target is None:
        return
    if isinstance(target, str):
        struct.kind, struct.name = _raw.CLOZE_TARGET_LABEL, kept.string(target)
    elif isinstance(target, (int, float, np.integer, np.floating)) and not isinstance(target, bool):
        struct.kind, struct.number = _raw.CLOZE_TARGET_NUMBERS, float(target)
    elif isinstance(target, Answer):
        context = given[1] if isinstance(given, tuple) and len(given) == 2 else ""
        before = context[: target.start].encode("utf-8", "surrogatepass") if isinstance(context, str) else b""
        start = len(before) if isinstance(context, str) else target.start
        struct.kind, struct.name, struct.start = _raw.CLOZE_TARGET_ANSWER, kept.string(target.text), start
    elif isinstance(target, TokenLabels):
        struct.kind, struct.ids, struct.count = _raw.CLOZE_TARGET_TOKENS, kept.integers(target.ids), len(target.ids)
    elif isinstance(target, (list, tuple, set, frozenset, np.ndarray)):
        values = sorted(target) if isinstance(target, (set, frozenset)) else list(target)
        struct.count = len(values)
        if all(isinstance(value, str) for value in values):
            struct.kind, struct.names = _raw.CLOZE_TARGET_LABELS, kept.strings(values)
        else:
            struct.kind, struct.numbers = _raw.CLOZE_TARGET_NUMBERS, kept.floats(values)
    else:
        raise TypeError(f"{target!r:.80} is no target")


class Corpus(Owner):
    """Text as token ids of one vocabulary, in a scratch file without a name: it may be larger than memory."""

    def __init__(self, model: Model, path: Folder, *, lines: str = "paragraphs", max_tokens: int = 0) -> None:
        """Reads a folder's .txt files in the order of their paths, or one file: UTF-8, a blank line between documents.

        `lines`: "paragraphs", whose sentences are found by their punctuation, or "sentences". `max_tokens`: of the
        examples to be made of it; longer sentences are cut.
        """
        number = constant("CORPUS", lines)
        options = options_of(_raw.cloze_corpus_options, lines=number, max_tokens=max_tokens)
        self._open(functions.cloze_corpus_open, model._handle, path_bytes(path), byref(options))

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        return functions.cloze_corpus_free

    @property
    def info(self) -> CorpusInfo:
        """What it holds."""
        state = options_of(_raw.cloze_corpus_state)
        call(functions.cloze_corpus_info, self._handle, byref(state))
        return CorpusInfo(state.documents, state.sentences, state.tokens, state.notices)

    @property
    def notices(self) -> list[str]:
        """What was left out or cut, with its place: "books/a.txt: no text"."""
        return [string(functions.cloze_corpus_notice, self._handle, number) for number in range(self.info.notices)]


def learn_vocabulary(
    path: Folder,
    folder: Folder,
    *,
    tokens: int = 30522,
    casing: str = "uncased",
    lines: str = "paragraphs",
    min_frequency: int = 2,
    max_tokens: int = 512,
) -> None:
    """Learns a WordPiece vocabulary from text and writes vocab.txt, tokenizer.json and the files beside them into a
    folder, which is made if need be. The same text gives the same bytes.

    `tokens`: most tokens of the vocabulary. `casing`: "uncased" or "cased". `min_frequency`: what occurs less often is
    not joined to a token. `max_tokens`: model_max_length in tokenizer_config.json.
    """
    options = options_of(
        _raw.cloze_vocabulary_options,
        tokens=tokens,
        casing=constant("CASING", casing),
        lines=constant("CORPUS", lines),
        min_frequency=min_frequency,
        max_tokens=max_tokens,
    )
    call(functions.cloze_vocabulary_learn, path_bytes(path), byref(options), path_bytes(folder))
