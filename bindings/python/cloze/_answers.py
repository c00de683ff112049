"""What models answer with."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray


class Info(NamedTuple):
    """The shape of a model."""

    layers: int
    """Number of transformer layers."""
    hidden: int
    """Width of the hidden states."""
    heads: int
    """Attention heads of a layer."""
    intermediate: int
    """Width of the feed-forward part."""
    vocabulary: int
    """Token ids that the model has rows for."""
    words: int
    """Ids below this are the tokenizer's."""
    token_types: int
    """Number of segments."""
    max_tokens: int
    """Longest text in tokens, special ones included."""
    max_positions: int
    """Longest sequence of token ids."""
    embedding: int
    """Numbers in an embedding."""
    labels: int
    """Labels of the classifier; 0 without one."""
    problem: str
    """What the classifier was trained for: "regression", "single_label", "multi_label" or "unknown"."""
    tasks: frozenset[str]
    """What the folder has heads for: "fill", "score", "next_sentence", "embed", "hidden_states", "classify", ..."""
    has_tokenizer: bool
    """Whether text can be read, or token ids only."""
    threads: int
    """Worker threads."""
    parameters: int
    """Numbers in the tensors that are used."""


class Device(NamedTuple):
    """A device that models can run on, or what a model runs on."""

    id: str
    """What `Model(device=...)` takes: "cpu", "cuda:0"."""
    name: str
    """As its maker calls it; of the CPU, the instruction set in use."""
    usable: bool
    note: str
    """Why it cannot be used; of a model that was opened with "auto", why it is not on CUDA; or empty."""
    precision: str
    """Of a model, its own; of a device, what "auto" is there."""
    capability: int
    """Of a GPU, 90 for compute capability 9.0; 0 for the CPU."""
    memory: int
    """Bytes; 0 where that is not known."""
    free_memory: int
    """Bytes of it."""


class Token(NamedTuple):
    """One token as the model sees it."""

    id: int
    type: int
    """Segment."""
    word: Optional[int]
    """Number of its word within its text; None for special tokens."""
    part: Optional[int]
    """0: of the text, 1: of the pair; None for special tokens, which stand in neither."""
    start: int
    """Where in its text it starts."""
    end: int
    """Where it ends: `text[start:end]`."""


class Candidate(NamedTuple):
    """A word for a blank."""

    token: str
    """As the vocabulary spells it."""
    id: int
    probability: float
    """Over the whole vocabulary."""
    position: int
    """Of the blank among the input's tokens."""


class Score(NamedTuple):
    """How likely a text is."""

    log_likelihood: float
    """Sum over the tokens, natural logarithm."""
    tokens: int
    """Number of scored tokens."""

    @property
    def perplexity(self) -> float:
        """exp(-log_likelihood / tokens); 1 for no tokens."""
        return math.exp(-self.log_likelihood / self.tokens) if self.tokens else 1.0


class TokenScore(NamedTuple):
    """How likely a token is."""

    id: int
    position: int
    """Among the input's tokens."""
    log_probability: float


class Entity(NamedTuple):
    """A stretch of text with a label."""

    label: str
    start: int
    end: int
    """Where it ends: `text[start:end]`."""
    probability: float
    """Mean over its tokens or words."""


class NewToken(NamedTuple):
    """A token that was generated."""

    input: int
    """Index of its input."""
    continuation: int
    """Number of its continuation of that input."""
    id: int
    log_probability: float
    """As the model gives it: before temperature, top_k and top_p."""


class Continuation(NamedTuple):
    """How a text goes on."""

    text: str
    ids: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]
    """One a token."""


class Step(NamedTuple):
    """An optimizer step has been made."""

    step: int
    """Steps done."""
    total: int
    """Steps there will be, unless patience ends."""
    epoch: float
    """Passes over the examples done."""
    seconds: float
    loss: float
    learning_rate: float
    gradient_norm: float
    examples: int
    tokens: int
    mlm_loss: float
    """Of masked words, where they are learned; 0 elsewhere."""
    mlm_accuracy: float
    nsp_loss: float
    """Of next sentences, where they are learned; 0 elsewhere."""
    nsp_accuracy: float


class Evaluation(NamedTuple):
    """The parameters have been evaluated on the dev set."""

    step: int
    total: int
    epoch: float
    seconds: float
    metrics: dict[str, float]
    best: bool
    """Whether this is the best evaluation so far."""


class Checkpoint(NamedTuple):
    """A checkpoint is complete."""

    step: int
    total: int
    epoch: float
    folder: str


class Fit(NamedTuple):
    """What a fit came to."""

    steps: int
    """Steps done since the trainer was new."""
    epochs: float
    stopped_early: bool
    """Whether patience ended it."""
    best_step: Optional[int]
    """Step of the best evaluation; None where there was none."""
    best_value: Optional[float]
    """Its value of the metric that decides."""


class TrainerInfo(NamedTuple):
    """What a trainer is and where it stands."""

    objective: str
    labels: int
    """Number of labels."""
    parameters: int
    """Numbers that train."""
    planned_memory: int
    """Bytes that training takes beside the mapped weights and the cache."""
    steps: int
    """Steps done."""
    epochs: float
    """Passes over the examples done."""


class CorpusInfo(NamedTuple):
    """What a corpus holds."""

    documents: int
    sentences: int
    tokens: int
    notices: int
    """Number of things that were left out or cut."""


def records(array: NDArray[Any], *fields: str) -> list[tuple[Any, ...]]:
    """Fields of records as tuples of Python numbers."""
    return list(zip(*(array[field].tolist() for field in fields)))
