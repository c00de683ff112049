"""How to train, as keyword arguments; metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from ctypes import byref, c_size_t
from typing import Any, Callable, TypedDict, Union

from . import _raw
from ._calls import Kept, Watch, call, constant, constants, options_of, path_bytes


class TrainOptions(TypedDict, total=False):
    """What is learned and how. Defaults are HuggingFace's TrainingArguments; 0 is the default too, except of `dropout`,
    `beta1`, `beta2`, `max_gradient_norm`, `short_examples` and `random_next`, where it means none."""

    objective: str
    """"classify", "multi_label", "regress", "tag", "answer", "masked_lm", "next_sentence", "pretraining",
    "causal_lm"."""
    trainable: str
    """"all"; "layers", not the embeddings; "top", as many of the last layers as `layers` says; "head"; "lora", low-rank
    pairs beside the layers' weights."""
    layers: int
    max_tokens: int
    """Longer examples are cut."""
    epochs: int
    """3."""
    order: str
    """"shuffled", "given", "by_length"."""
    batch_size: int
    """Examples in a batch: 8, or any number where `batch_tokens` is given."""
    batch_tokens: int
    """Most tokens in a batch."""
    accumulation: int
    """Batches in a step: 1."""
    schedule: str
    """"linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"."""
    schedule_cycles: int
    schedule_power: float
    schedule_end: float
    warmup: float
    """Below 1 a part of all steps, else a number of steps."""
    patience: int
    """Evaluations without a better result after which training stops."""
    threshold: float
    """What a better result is better by, at least."""
    metric: str
    """The one that decides what is best."""
    keep_checkpoints: int
    checkpoints: Union[str, os.PathLike[str]]
    """Folder for checkpoints."""
    checkpoint_every: int
    evaluate_every: int
    """Steps between evaluations on the dev set; otherwise after each epoch."""
    lora_rank: int
    """8."""
    lora_alpha: float
    """8."""
    lora_dropout: float
    lora_targets: Sequence[str]
    """Names of modules: "query", "value"; "all-linear"."""
    learning_rate: float
    """The largest: 5e-5."""
    layer_decay: float
    """Factor of the learning rate from each layer to the one below."""
    weight_decay: float
    beta1: float
    """0.9."""
    beta2: float
    """0.999."""
    epsilon: float
    """1e-8."""
    max_gradient_norm: float
    """1; 0: never scaled down."""
    dropout: float
    """Probability everywhere; otherwise as the model says."""
    label_smoothing: float
    max_steps: int
    seed: int
    """Of new parameters, order and dropout: 42."""
    memory: int
    """Most bytes of memory beside the mapped weights and the cache."""
    cache_memory: int
    cache_file: int
    head: str
    """Name of the head."""
    labels: Sequence[str]
    """Their names, in order; otherwise those that the examples have."""
    class_weights: Sequence[float]
    """One a label."""
    masked: float
    """A corpus: share of the tokens that are masked, 0.15."""
    short_examples: float
    """A corpus: share of the examples that are shorter, 0.1."""
    random_next: float
    """A corpus: share of the pairs that do not follow, 0.5."""
    dev_examples: int
    """Most examples of a dev corpus."""
    fresh_head: bool
    """A new head, also where the model has one that fits."""
    keep_last: bool
    """End with the last parameters, not with the best evaluated."""
    frozen_dropout: bool
    """Dropout in frozen layers too."""
    rank_stabilized: bool
    """LoRA's scale is alpha / sqrt(rank)."""
    no_scratch_file: bool
    """What frozen layers give is kept in memory alone."""
    whole_words: bool
    """A corpus: mask whole words."""
    same_masks: bool
    """A corpus: the same pairs and masks in every epoch."""
    unigram_bias: bool
    """A corpus: its tokens' frequencies are the words' first bias."""


_NAMED = {"objective": "OBJECTIVE", "trainable": "TRAINABLE", "order": "ORDER", "schedule": "SCHEDULE"}
_NONE = ("dropout", "beta1", "beta2", "max_gradient_norm", "short_examples", "random_next")
_FIELDS = frozenset(field[0] for field in _raw.cloze_train_options._fields_) - {"size", "switches"}


def train_options(recipe: Mapping[str, Any]) -> tuple[_raw.cloze_train_options, Kept]:
    """The option struct, and what it points to."""
    options, kept = options_of(_raw.cloze_train_options), Kept()
    switches = constants("TRAIN")
    for name, value in recipe.items():
        if name in _NAMED:
            setattr(options, name, constant(_NAMED[name], value))
        elif name in ("head", "metric"):
            setattr(options, name, kept.string(value))
        elif name == "checkpoints":
            options.checkpoints = path_bytes(value)
        elif name == "labels":
            options.labels, options.label_count = kept.strings(list(value)), len(value)
        elif name == "lora_targets":
            options.lora_targets, options.lora_target_count = kept.strings(list(value)), len(value)
        elif name == "class_weights":
            options.class_weights, options.class_weight_count = kept.floats(value), len(value)
        elif name in switches:
            options.switches |= switches[name] if value else 0
        elif name in _FIELDS:
            setattr(options, name, -1 if name in _NONE and value == 0 else value)
        else:
            raise TypeError(f"{name!r} is no option of a training")
    return options, kept


def metrics_of(function: Callable[..., Any], *arguments: Any, watch: Watch) -> dict[str, float]:
    """Metrics that a function writes, by their names."""
    room, count = _raw.CLOZE_MAX_METRICS, c_size_t()
    found = (_raw.cloze_metric * room)()
    call(function, *arguments, found, room, byref(count), watch=watch)
    return {metric.name.decode(): metric.value for metric in found[: count.value]}
