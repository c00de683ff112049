"""Models: open, ask, keep."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from ctypes import byref, c_float, c_int32, c_uint32, c_void_p
from typing import TYPE_CHECKING, Any, Callable, TypedDict, TypeVar, Union, cast, overload

import numpy as np
from numpy.typing import NDArray

from . import _raw
from ._answers import Candidate, Continuation, Device, Entity, Info, NewToken, Score, Token, TokenScore, records
from ._calls import (
    Cancel,
    Kept,
    Owner,
    Progress,
    Watch,
    call,
    constant,
    constants,
    counted,
    filled,
    name_of,
    options_of,
    path_bytes,
    pointer,
    string,
)
from ._data import Corpus, Dataset
from ._errors import Missing
from ._inputs import Batch, Input, Inputs, encoded
from ._library import functions
from ._recipe import TrainOptions, metrics_of, train_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

Floats = NDArray[np.float32]
Folder = Union[str, "os.PathLike[str]"]
_T = TypeVar("_T")


class TextOptions(TypedDict, total=False):
    """How text becomes tokens."""

    plain: bool
    """Take "[MASK]" and its like inside the text as plain text: for text that others wrote."""
    truncate: bool | None
    """Cut what is too long (True), or refuse it (False). By default `embed` and `classify` cut, the others refuse."""
    max_tokens: int
    """Longest text in tokens; 0: what the model allows."""


class CallOptions(TextOptions, total=False):
    """Of calls that may take long."""

    progress: Progress | None
    """Told how far the call is."""
    cancel: Cancel | None
    """A flag that stops the call. An interrupt (Ctrl-C) stops it too, and sets the flag."""


def _text(*, plain: bool = False, truncate: bool | None = None, max_tokens: int = 0) -> dict[str, int]:
    """Fields of an option struct."""
    cut = 0 if truncate is None else _raw.CLOZE_TEXT_TRUNCATE if truncate else _raw.CLOZE_TEXT_REFUSE
    return {"text": cut | (_raw.CLOZE_TEXT_PLAIN if plain else 0), "max_tokens": max_tokens}


def _watched(options: Any, progress: Progress | None = None, cancel: Cancel | None = None, **text: Any) -> Watch:
    """Puts the options of a call into its struct."""
    for name, value in _text(**text).items():
        setattr(options, name, value)
    watch = Watch(cancel)
    watch.into(options, progress)
    return watch


def _each(batch: Inputs, answers: Sequence[_T]) -> Any:
    """The answer to one input, or those to all."""
    return answers[0] if batch.single else answers


class Place(TypedDict, total=False):
    """What a model runs on, and with it all that is made from it."""

    threads: int
    """Worker threads; 0: one per processor."""
    device: str
    """"cpu", the default; "cuda", "cuda:1": `NoDevice` where it cannot be used; "auto": a GPU that can be used and has
    room for the model, else the CPU."""
    precision: str
    """Type it computes in: "auto", bf16 on a GPU and f32 on the CPU; "f32", "bf16"; on GPUs "f16"; on CPUs "int8"."""
    memory: str
    """How the CPU keeps weights: "fast", once more as products read them; "least", in the file that processes share."""


def _place(kind: Any, *, threads: int = 0, device: str | None = None, **fields: Any) -> Any:
    """An option struct with a place in it."""
    for name in ("precision", "memory"):
        if name in fields:
            fields[name] = constant(name.upper(), fields[name])
    options = options_of(kind, threads=threads, **fields)
    options.device = Kept().string(device)
    return options


class Model(Owner):
    """An open model. It never changes; any number of threads may ask it at the same time.

    Calls take one input, and give one answer; or a batch (a list, an array, a column of a table), and give one answer
    for each. An input is a text, a pair of texts as a tuple, or `Ids`.
    """

    def __init__(self, folder: Folder, **place: Unpack[Place]) -> None:
        """Opens a HuggingFace folder of a BERT or ALBERT; see `Place`."""
        options = _place(_raw.cloze_open_options, **place)
        self._open(functions.cloze_model_open, path_bytes(folder), byref(options))

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        return functions.cloze_model_close

    @classmethod
    def from_memory(cls, files: Mapping[str, Any], **place: Unpack[Place]) -> Model:
        """Opens a model whose files are in memory, as bytes, memoryviews or other buffers: "config.json",
        "model.safetensors", "tokenizer.json" ... by their paths within the folder. They are used in place, and kept as
        long as the model, its trainers and models made from it are open: they must not change."""
        options = _place(_raw.cloze_open_options, **place)
        kept = [np.frombuffer(data, dtype=np.uint8) for data in files.values()]
        array = (_raw.cloze_file * max(len(files), 1))()
        for entry, name, data in zip(array, files, kept):
            entry.name = name.encode()
            entry.data = data.ctypes.data
            entry.size = data.size
        model = cls._make(functions.cloze_model_open_memory, array, len(files), byref(options))
        model._handle.keep = kept
        return model

    @classmethod
    def create(
        cls,
        config: Mapping[str, Any],
        tokenizer: Folder,
        *,
        objective: str = "pretraining",
        seed: int = 42,
        **place: Unpack[Place],
    ) -> Model:
        """A model of random weights, as HuggingFace makes them. `config` is what config.json holds,
        `tokenizer` a folder with a vocabulary; heads are those of the `objective`, "masked_lm" or
        "pretraining"."""
        text = json.dumps(dict(config)).encode()
        number = constant("OBJECTIVE", objective)
        options = _place(_raw.cloze_create_options, objective=number, seed=seed, **place)
        return cls._make(functions.cloze_model_create, text, len(text), path_bytes(tokenizer), byref(options))

    # What it is

    @property
    def info(self) -> Info:
        """Its shape."""
        info = self._shape()
        tasks = frozenset(name for name, bit in constants("TASK").items() if info.tasks & bit)
        fields = {name: getattr(info, name) for name in Info._fields}
        fields.update(problem=name_of("PROBLEM", info.problem), tasks=tasks, has_tokenizer=info.has_tokenizer == 1)
        return Info(**fields)

    def _shape(self) -> _raw.cloze_info:
        info = options_of(_raw.cloze_info)
        call(functions.cloze_model_info, self._handle, byref(info))
        return info

    @property
    def device(self) -> Device:
        """What it runs on."""
        device = options_of(_raw.cloze_device)
        call(functions.cloze_model_device, self._handle, byref(device))
        return _device(device)

    @property
    def report(self) -> dict[str, Any]:
        """Architecture, sizes, tasks, and which tensors are used, unused, ignored and missing."""
        return cast("dict[str, Any]", json.loads(string(functions.cloze_model_report, self._handle)))

    @property
    def labels(self) -> list[str]:
        """Names of the classifier's labels."""
        return [self.label(number) for number in range(self._shape().labels)]

    def label(self, number: int) -> str:
        """Name of a label."""
        return string(functions.cloze_model_label, self._handle, number)

    @property
    def heads(self) -> list[str]:
        """Names of the named heads."""
        names: list[str] = []
        try:
            while True:
                names.append(string(functions.cloze_model_head, self._handle, len(names)))
        except Missing:
            return names

    def __repr__(self) -> str:
        if self.closed:
            return "<cloze.Model, closed>"
        info, tasks = self.info, ", ".join(sorted(self.info.tasks))
        return f"<cloze.Model: {info.layers} layers, {info.hidden} wide, {info.parameters} parameters; {tasks}>"

    # Tokens

    @overload
    def tokenize(self, inputs: Input, *, offsets: str = ..., **text: Unpack[TextOptions]) -> list[Token]: ...
    @overload
    def tokenize(self, inputs: Batch, *, offsets: str = ..., **text: Unpack[TextOptions]) -> list[list[Token]]: ...
    def tokenize(self, inputs: Any, *, offsets: str = "code_points", **text: Any) -> Any:
        """Tokens of each input, equal to HuggingFace's fast tokenizers. Places count "code_points", as Python's strings
        do, "bytes" or "utf16"."""
        batch = Inputs(inputs)
        found = self._tokens(batch, offsets=constant("OFFSETS", offsets), **_text(**text))
        rows = [
            Token(id, type, word if word >= 0 else None, part if part >= 0 else None, start, end)
            for id, type, word, part, start, end in records(found, "id", "type", "word", "text", "start", "end")
        ]
        return _each(batch, [rows[own] for own in batch.by_input(found["input"])])

    def _tokens(self, batch: Inputs, **fields: int) -> NDArray[Any]:
        options = options_of(_raw.cloze_tokenize_options, **fields)
        # A token has a byte at least, nearly always; three are special.
        sizes = (batch.records[field].sum() for field in ("text_size", "pair_size", "id_count"))
        room = int(sum(sizes)) + 3 * len(batch)
        arguments = (self._handle, batch, len(batch), byref(options))
        return counted(functions.cloze_tokenize, *arguments, kind=_raw.cloze_token, room=room)

    def token(self, id: int) -> str:
        """The token with an id, as the vocabulary spells it: "##ing"."""
        return string(functions.cloze_token_text, self._handle, id)

    def token_id(self, token: str) -> int:
        """The id of a token, spelled as in the vocabulary; `Missing` where there is none."""
        id, spelled = c_int32(), encoded(token)
        call(functions.cloze_token_id, self._handle, spelled, len(spelled), byref(id))
        return id.value

    def decode(self, ids: Sequence[int] | NDArray[Any]) -> str:
        """The text of token ids, without special tokens."""
        array = np.array(ids, dtype=np.int32)
        return string(functions.cloze_decode, self._handle, pointer(array, c_int32), array.size)

    # Questions

    @overload
    def fill(
        self,
        inputs: Input,
        *,
        top_k: int = ...,
        targets: Sequence[str | int] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[list[Candidate]]: ...
    @overload
    def fill(
        self,
        inputs: Batch,
        *,
        top_k: int = ...,
        targets: Sequence[str | int] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[list[list[Candidate]]]: ...
    def fill(self, inputs: Any, *, top_k: int = 5, targets: Sequence[str | int] | None = None, **options: Any) -> Any:
        """The likeliest words for every "[MASK]" of each input: a list for each mask, the likeliest
        first. `targets`: only these tokens or ids."""
        batch, kept = Inputs(inputs), Kept()
        fields = options_of(_raw.cloze_fill_options, top_k=top_k)
        if targets is not None:
            ids = [self.token_id(target) if isinstance(target, str) else target for target in targets]
            fields.targets, fields.target_count = kept.integers(ids), len(ids)
        watch = _watched(fields, **options)
        watch.kept = kept
        arguments = (self._handle, batch, len(batch), byref(fields))
        room = 4 * max(top_k, 1) * len(batch)
        found = counted(functions.cloze_fill, *arguments, kind=_raw.cloze_candidate, room=room, watch=watch)
        spelled = {id: self.token(id) for id in set(found["id"].tolist())}
        answers: list[list[list[Candidate]]] = []
        for own in batch.by_input(found["input"]):
            masks: dict[int, list[Candidate]] = {}
            for id, probability, position in records(found[own], "id", "probability", "position"):
                masks.setdefault(position, []).append(Candidate(spelled[id], id, probability, position))
            answers.append(list(masks.values()))
        return _each(batch, answers)

    @overload
    def score(self, inputs: Input, *, method: str | None = ..., **options: Unpack[CallOptions]) -> Score: ...
    @overload
    def score(self, inputs: Batch, *, method: str | None = ..., **options: Unpack[CallOptions]) -> list[Score]: ...
    def score(self, inputs: Any, *, method: str | None = None, **options: Any) -> Any:
        """How likely each input is. Methods: "pll", each token is masked in turn; "pll_word_l2r", with
        the later pieces of its word; "causal", the chain rule, which is the one method of causal
        models. None: "causal" for those, else "pll"."""
        batch = Inputs(inputs)
        fields, watch = self._scoring(method, options)
        scores = (_raw.cloze_text_score * max(len(batch), 1))()
        call(functions.cloze_score, self._handle, batch, len(batch), byref(fields), scores, len(batch), watch=watch)
        return _each(batch, [Score(score.log_likelihood, score.tokens) for score in scores[: len(batch)]])

    @overload
    def score_tokens(
        self, inputs: Input, *, method: str | None = ..., **options: Unpack[CallOptions]
    ) -> list[TokenScore]: ...
    @overload
    def score_tokens(
        self, inputs: Batch, *, method: str | None = ..., **options: Unpack[CallOptions]
    ) -> list[list[TokenScore]]: ...
    def score_tokens(self, inputs: Any, *, method: str | None = None, **options: Any) -> Any:
        """How likely each token of each input is; methods as of `score`."""
        batch = Inputs(inputs)
        fields, watch = self._scoring(method, options)
        arguments = (self._handle, batch, len(batch), byref(fields))
        room = int(batch.records["text_size"].sum() + batch.records["id_count"].sum()) + 64
        found = counted(functions.cloze_score_tokens, *arguments, kind=_raw.cloze_token_score, room=room, watch=watch)
        rows = [TokenScore(*row) for row in records(found, "id", "position", "log_probability")]
        return _each(batch, [rows[own] for own in batch.by_input(found["input"])])

    def _scoring(self, method: str | None, options: dict[str, Any]) -> tuple[_raw.cloze_score_options, Watch]:
        if method is None:
            method = "causal" if self._shape().tasks & _raw.CLOZE_TASK_GENERATE else "pll"
        fields = options_of(_raw.cloze_score_options, method=constant("SCORE", method))
        return fields, _watched(fields, **options)

    @overload
    def next_sentence(self, inputs: Input, **options: Unpack[CallOptions]) -> float: ...
    @overload
    def next_sentence(self, inputs: Batch, **options: Unpack[CallOptions]) -> Floats: ...
    def next_sentence(self, inputs: Any, **options: Any) -> Any:
        """Probability that the second text of each pair follows its first; [N] of a batch."""
        batch, fields = Inputs(inputs), options_of(_raw.cloze_call_options)
        watch = _watched(fields, **options)
        out = np.zeros(len(batch), dtype=np.float32)
        arguments = (self._handle, batch, len(batch), byref(fields), pointer(out, c_float), len(batch))
        call(functions.cloze_next_sentence, *arguments, watch=watch)
        return float(out[0]) if batch.single else out

    def embed(
        self,
        inputs: Input | Batch,
        *,
        pooling: str = "auto",
        normalize: bool = False,
        prompt: str | None = None,
        out: Floats | None = None,
        **options: Unpack[CallOptions],
    ) -> Floats:
        """One vector an input, equal to sentence-transformers' encode: [N, width] of a batch, [width] of
        one input.

        `pooling`: "auto", as the folder says with all steps that follow; "cls", "mean" or "max"
        alone. `normalize`: make them of unit length also where the folder does not. `prompt`: name
        of a sentence-transformers prompt. `out`: array to write to. `info.embedding` is the width
        for "auto", else `info.hidden`."""
        batch = Inputs(inputs)
        number = constant("POOLING", pooling)
        fields = options_of(_raw.cloze_embed_options, pooling=number, normalize=int(normalize))
        fields.prompt = Kept().string(prompt)
        watch = _watched(fields, **options)
        width = self._shape().embedding if number == _raw.CLOZE_POOLING_AUTO else self._shape().hidden
        arguments = (self._handle, batch, len(batch), byref(fields))
        shape = (width,) if batch.single else (len(batch), width)
        return filled(functions.cloze_embed, *arguments, shape=shape, out=out, watch=watch)

    @overload
    def hidden_states(self, inputs: Input, layers: Sequence[int], **options: Unpack[CallOptions]) -> Floats: ...
    @overload
    def hidden_states(self, inputs: Batch, layers: Sequence[int], **options: Unpack[CallOptions]) -> list[Floats]: ...
    def hidden_states(self, inputs: Any, layers: Sequence[int], **options: Any) -> Any:
        """Hidden states of layers, 0 being the embeddings and L the last: [layers, T, H] of each input."""
        batch, fields = Inputs(inputs), options_of(_raw.cloze_call_options)
        watch = _watched(fields, **options)
        lengths, wanted = self._lengths(batch, fields), np.array(layers, dtype=np.uint32)
        width = self._shape().hidden
        arguments = (self._handle, batch, len(batch), pointer(wanted, c_uint32), wanted.size, byref(fields))
        shape = (int(lengths.sum()) * wanted.size * width,)
        flat = filled(functions.cloze_hidden_states, *arguments, shape=shape, out=None, watch=watch)
        parts = np.split(flat, np.cumsum(lengths * wanted.size * width)[:-1]) if len(batch) else []
        return _each(batch, [part.reshape(wanted.size, -1, width) for part in parts])

    def _lengths(self, batch: Inputs, fields: Any) -> NDArray[np.int64]:
        """Tokens of each input."""
        lengths = batch.records["id_count"].astype(np.int64)
        if not all(batch.records["ids"]):
            found = self._tokens(batch, text=fields.text, max_tokens=fields.max_tokens)
            lengths = np.bincount(found["input"], minlength=len(batch))
        return lengths

    def classify(self, inputs: Input | Batch, *, out: Floats | None = None, **options: Unpack[CallOptions]) -> Floats:
        """One number a label, in the order of `labels`: probabilities, or the plain numbers of a
        regression. [N, labels] of a batch, [labels] of one input."""
        batch, fields = Inputs(inputs), options_of(_raw.cloze_call_options)
        watch = _watched(fields, **options)
        labels = self._shape().labels
        arguments = (self._handle, batch, len(batch), byref(fields))
        shape = (labels,) if batch.single else (len(batch), labels)
        return filled(functions.cloze_classify, *arguments, shape=shape, out=out, watch=watch)

    @overload
    def tag(
        self,
        inputs: Input,
        *,
        aggregation: str = ...,
        offsets: str = ...,
        keep_outside: bool = ...,
        **options: Unpack[CallOptions],
    ) -> list[Entity]: ...
    @overload
    def tag(
        self,
        inputs: Batch,
        *,
        aggregation: str = ...,
        offsets: str = ...,
        keep_outside: bool = ...,
        **options: Unpack[CallOptions],
    ) -> list[list[Entity]]: ...
    def tag(
        self,
        inputs: Any,
        *,
        aggregation: str = "simple",
        offsets: str = "code_points",
        keep_outside: bool = False,
        **options: Any,
    ) -> Any:
        """Stretches of each text with their labels, by HuggingFace's aggregation strategies: "simple", "none", "first",
        "average", "max". Places count "code_points", "bytes" or "utf16". `keep_outside`: those labelled "O" too."""
        batch = Inputs(inputs)
        fields = options_of(
            _raw.cloze_tag_options,
            aggregation=constant("AGGREGATION", aggregation),
            offsets=constant("OFFSETS", offsets),
            keep_outside=int(keep_outside),
        )
        watch = _watched(fields, **options)
        arguments = (self._handle, batch, len(batch), byref(fields))
        room = int(batch.records["text_size"].sum()) + len(batch)
        found = counted(functions.cloze_tag, *arguments, kind=_raw.cloze_entity, room=room, watch=watch)
        labels = self.labels
        rows = [
            Entity(labels[label], start, end, probability)
            for label, start, end, probability in records(found, "label", "start", "end", "probability")
        ]
        return _each(batch, [rows[own] for own in batch.by_input(found["input"])])

    @overload
    def tag_tokens(self, inputs: Input, **options: Unpack[CallOptions]) -> Floats: ...
    @overload
    def tag_tokens(self, inputs: Batch, **options: Unpack[CallOptions]) -> list[Floats]: ...
    def tag_tokens(self, inputs: Any, **options: Any) -> Any:
        """Probabilities of all labels for every token, special ones included: [T, labels] of each input."""
        batch, fields = Inputs(inputs), options_of(_raw.cloze_call_options)
        watch = _watched(fields, **options)
        lengths, labels = self._lengths(batch, fields), self._shape().labels
        arguments = (self._handle, batch, len(batch), byref(fields))
        shape = (int(lengths.sum()), labels)
        rows = filled(functions.cloze_tag_tokens, *arguments, shape=shape, out=None, watch=watch)
        return _each(batch, np.split(rows, np.cumsum(lengths)[:-1]) if len(batch) else [])

    @overload
    def generate(
        self,
        inputs: Input,
        *,
        max_new_tokens: int = ...,
        count: int = ...,
        temperature: float = ...,
        top_k: int = ...,
        top_p: float = ...,
        seed: int = ...,
        on_token: Callable[[NewToken], bool | None] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[Continuation]: ...
    @overload
    def generate(
        self,
        inputs: Batch,
        *,
        max_new_tokens: int = ...,
        count: int = ...,
        temperature: float = ...,
        top_k: int = ...,
        top_p: float = ...,
        seed: int = ...,
        on_token: Callable[[NewToken], bool | None] | None = ...,
        **options: Unpack[CallOptions],
    ) -> list[list[Continuation]]: ...
    def generate(
        self,
        inputs: Any,
        *,
        max_new_tokens: int = 0,
        count: int = 1,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 0.0,
        seed: int = 0,
        on_token: Callable[[NewToken], bool | None] | None = None,
        max_tokens: int = 0,
        **options: Any,
    ) -> Any:
        """How each input goes on, `count` continuations of each, of causal models.

        `max_new_tokens`: most new tokens of a continuation; 0: what the model has positions for. `temperature`: 0 takes
        the likeliest token each time, else tokens are drawn, below 1 likely ones more often; of the `top_k` likeliest;
        of the likeliest whose probabilities sum to `top_p`. One `seed` gives one text. `on_token` is called with each
        token; True makes it the last of its continuation.
        """
        batch = Inputs(inputs)
        fields = options_of(
            _raw.cloze_generate_options,
            count=count,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        watch = _watched(fields, **options)
        fields.prompt_tokens, fields.max_tokens = max_tokens, max_new_tokens
        if on_token is not None:
            fields.token = self._on_token(watch, on_token)
        arguments = (self._handle, batch, len(batch), byref(fields))
        room = max(self._shape().max_positions, 1) * max(count, 1) * len(batch)
        found = counted(functions.cloze_generate, *arguments, kind=_raw.cloze_new_token, room=room, watch=watch)
        answers: list[list[Continuation]] = []
        for own in batch.by_input(found["input"]):
            rows = found[own]
            continuations = (rows[rows["continuation"] == number] for number in range(max(count, 1)))
            answers.append(
                [
                    Continuation(self.decode(new["id"]), new["id"].copy(), new["log_probability"].copy())
                    for new in continuations
                ]
            )
        return _each(batch, answers)

    @staticmethod
    def _on_token(watch: Watch, on_token: Callable[[NewToken], bool | None]) -> Any:
        def told(_: Any, new: Any) -> int:
            token = new.contents
            return watch.told(on_token, NewToken(token.input, token.continuation, token.id, token.log_probability))

        return _raw.cloze_token_callback(told)

    # Evaluate and keep

    def evaluate(
        self,
        data: Dataset,
        objective: str | None = None,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, float]:
        """Metrics on examples: "loss", and fractions of 1. `objective`: what was learned; None: what
        its head was trained for. A metric that is not defined is NaN."""
        fields = options_of(_raw.cloze_call_options)
        watch = _watched(fields, progress, cancel)
        number = constant("OBJECTIVE", objective) if objective is not None else 0
        arguments = (self._handle, number, data._handle, byref(fields))
        return metrics_of(functions.cloze_model_evaluate, *arguments, watch=watch)

    def evaluate_corpus(
        self,
        corpus: Corpus,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        **recipe: Unpack[TrainOptions],
    ) -> dict[str, float]:
        """Metrics on text: "loss", "perplexity", "mlm_accuracy", "nsp_accuracy" ... Of the recipe only
        what makes examples of text counts, and the objective."""
        fields = options_of(_raw.cloze_call_options)
        watch = _watched(fields, progress, cancel)
        with_recipe, watch.kept = train_options(recipe)
        arguments = (self._handle, corpus._handle, byref(with_recipe), byref(fields))
        return metrics_of(functions.cloze_evaluate_corpus, *arguments, watch=watch)

    def save(self, folder: Folder, *, dtype: str | None = None) -> None:
        """Writes a HuggingFace folder, in one step. `dtype`: every weight in "f32", "f16" or "bf16", or the
        encoder's linear layers in "int8" and all else as it is."""
        if dtype is None:
            call(functions.cloze_model_save, self._handle, path_bytes(folder))
        else:
            call(functions.cloze_model_save_as, self._handle, path_bytes(folder), constant("DTYPE", dtype))

    def adapt(self, folder: Folder) -> Model:
        """A model with the LoRA adapter of a PEFT folder, and with the head in it. One base serves any
        number of them."""
        return self._make(functions.cloze_model_adapt, self._handle, path_bytes(folder))

    def use_head(self, name: str) -> Model:
        """A model whose classifier is one of the named heads."""
        return self._make(functions.cloze_model_use_head, self._handle, encoded(name))

    def whiten(
        self, inputs: Batch, width: int, *, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> Model:
        """A model whose embeddings have `width` numbers which over the inputs, thousands of them, have mean 0 and vary
        alike and independently (BERT-whitening, Su et al. 2021). Needs a library with the feature linalg."""
        batch, fields = Inputs(inputs), options_of(_raw.cloze_call_options)
        watch = _watched(fields, progress, cancel)
        whitened = Model.__new__(Model)
        arguments = (self._handle, batch, len(batch), width, byref(fields))
        whitened._open(functions.cloze_model_whiten, *arguments, watch=watch)
        return whitened


def _device(device: _raw.cloze_device) -> Device:
    """The struct in Python."""
    fields = {name: getattr(device, name) for name in Device._fields}
    for name in ("id", "name", "note"):
        fields[name] = fields[name].decode("utf-8")
    fields.update(usable=device.usable == 1, precision=name_of("PRECISION", device.precision))
    return Device(**fields)


def devices() -> list[Device]:
    """What models can run on, those that cannot be used among them. The CPU is the first."""
    found = []
    for index in range(functions.cloze_device_count()):
        device = options_of(_raw.cloze_device)
        call(functions.cloze_device_get, index, byref(device))
        found.append(_device(device))
    return found


def perplexity(scores: Sequence[Score]) -> float:
    """Pseudo-perplexity of a corpus from the scores of its texts: exp(-sum of log-likelihoods / sum of tokens)."""
    array = (_raw.cloze_text_score * max(len(scores), 1))(*[_raw.cloze_text_score(*score) for score in scores])
    return float(functions.cloze_perplexity(array, len(scores)))
