"""Trainers: fit, step by step, keep."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from ctypes import byref, c_double, c_size_t, c_void_p
from ctypes import cast as address
from typing import TYPE_CHECKING, Any, Callable, Optional, Union, cast

import numpy as np
from numpy.typing import NDArray

from . import _raw
from ._answers import Checkpoint, Evaluation, Fit, Step, TrainerInfo
from ._calls import (
    Cancel,
    Owner,
    Progress,
    Watch,
    call,
    constant,
    floats,
    name_of,
    options_of,
    path_bytes,
    room_for,
    string,
)
from ._data import Corpus, Dataset
from ._errors import BufferTooSmall
from ._library import functions
from ._model import Floats, Folder, Model
from ._recipe import TrainOptions, metrics_of, train_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

Event = Union[Step, Evaluation, Checkpoint]
"""What has just happened in a fit."""
Observer = Callable[[Event], Optional[bool]]
"""Told as a fit goes on; True stops it, which then raises `Cancelled`. What it raises stops the fit and comes
out of it."""


class Trainer(Owner):
    """A model that learns: the parameters that train, their gradients, and how far training has come. Its model never
    changes. It works for one call at a time: another raises `Busy`, also from a callback of the first. Results have the
    same bits on any number of threads."""

    def __init__(self, model: Model, labels_from: Dataset | None = None, **options: Unpack[TrainOptions]) -> None:
        """A trainer of `model`, see `TrainOptions`. Labels come from the options, else from the examples `labels_from`,
        sorted, else from the model's own head. That head is taken over if it fits; else there is a new one."""
        fields, kept = train_options(options)
        data = labels_from._handle if labels_from is not None else None
        self._open(functions.cloze_trainer_new, model._handle, byref(fields), data)
        del kept

    @classmethod
    def _free(cls) -> Callable[[c_void_p], None]:
        return functions.cloze_trainer_free

    # What it is

    @property
    def info(self) -> TrainerInfo:
        """What it is and where it stands."""
        state = options_of(_raw.cloze_trainer_state)
        call(functions.cloze_trainer_info, self._handle, byref(state))
        fields = {name: getattr(state, name) for name in TrainerInfo._fields}
        fields["objective"] = name_of("OBJECTIVE", state.objective)
        return TrainerInfo(**fields)

    @property
    def report(self) -> dict[str, Any]:
        """Its "labels"; names of tensors that began at random, "fresh"; name and shape of each that
        trains, "tensors", in the order of `parameters`; loss and learning rate of every step and
        metrics of every evaluation, "history"."""
        return cast("dict[str, Any]", json.loads(string(functions.cloze_trainer_report, self._handle)))

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        count = range(self.info.labels)
        return [string(functions.cloze_trainer_label, self._handle, number) for number in count]

    # Fit

    def fit(
        self,
        train: Dataset,
        dev: Dataset | None = None,
        *,
        observer: Observer | None = None,
        cancel: Cancel | None = None,
    ) -> Fit:
        """Trains to the end of the options' epochs or steps, from where the trainer stands: a fit that
        was stopped goes on with the next step, to the same bits as one that was not. Ctrl-C stops it
        after the last whole step."""
        return self._fit(functions.cloze_trainer_fit, train, dev, observer, cancel)

    def pretrain(
        self,
        train: Corpus,
        dev: Corpus | None = None,
        *,
        observer: Observer | None = None,
        cancel: Cancel | None = None,
    ) -> Fit:
        """As `fit`, with examples made of text: pairs of segments, and masks, both anew in every epoch.
        The objective is "masked_lm" or "pretraining"."""
        return self._fit(functions.cloze_trainer_pretrain, train, dev, observer, cancel)

    def _fit(
        self,
        function: Callable[..., Any],
        train: Owner,
        dev: Owner | None,
        observer: Observer | None,
        cancel: Cancel | None,
    ) -> Fit:
        watch = Watch(cancel)
        options = watch.into(options_of(_raw.cloze_fit_options), None)
        if observer is not None:
            told = observer
            options.observe = _raw.cloze_observe(lambda _, event: watch.told(lambda: told(_event(event.contents))))
        result = options_of(_raw.cloze_fit_result)
        other = dev._handle if dev is not None else None
        call(function, self._handle, train._handle, other, byref(options), byref(result), watch=watch)
        best = (result.best_step, result.best_value) if result.best_step else (None, None)
        return Fit(result.steps, result.epochs, result.stopped_early == 1, *best)

    def checkpoint(self, folder: Folder) -> None:
        """Writes a checkpoint of this moment as the folder, in one step: parameters, moments, steps
        done. Between the steps of a loop of your own too, but not between `accumulate` and `apply`."""
        call(functions.cloze_trainer_checkpoint, self._handle, path_bytes(folder))

    def resume(self, folder: Folder) -> None:
        """Takes over a checkpoint of a trainer with the same options, or the newest of a folder of checkpoints."""
        call(functions.cloze_trainer_resume, self._handle, path_bytes(folder))

    def evaluate(
        self, data: Dataset, *, progress: Progress | None = None, cancel: Cancel | None = None
    ) -> dict[str, float]:
        """Metrics of the parameters as they are: "loss", and fractions of 1; NaN where one is not defined."""
        watch = Watch(cancel)
        fields = watch.into(options_of(_raw.cloze_call_options), progress)
        return metrics_of(functions.cloze_trainer_evaluate, self._handle, data._handle, byref(fields), watch=watch)

    def solve(
        self,
        data: Dataset,
        method: str = "ridge",
        *,
        strength: float = 0.0,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> float:
        """Gives the head the weights that are best for the examples by "ridge" regression or by
        "discriminant" analysis, and returns the strength used: the penalty, or the shrinkage; 0:
        chosen from the examples. Needs a library with the feature linalg."""
        number, used, watch = constant("SOLVE", method), c_double(), Watch(cancel)
        fields = watch.into(options_of(_raw.cloze_solve_options, method=number, strength=strength), progress)
        arguments = (self._handle, data._handle, byref(fields), byref(used))
        call(functions.cloze_trainer_solve, *arguments, watch=watch)
        return used.value

    # Step by step

    def accumulate(self, batch: Dataset, *, cancel: Cancel | None = None) -> float:
        """One batch forward and back: adds its gradients and returns its mean loss."""
        loss, watch = c_double(), Watch(cancel)
        flag = watch.cancel._handle if watch.cancel is not None else None
        call(functions.cloze_trainer_accumulate, self._handle, batch._handle, flag, byref(loss), watch=watch)
        return loss.value

    def apply(self, learning_rate: float | None = None) -> float:
        """An optimizer step with the mean of the accumulated batches, whose gradients are cleared; returns their norm
        before it is scaled down. None: the learning rate of the options."""
        norm = c_double()
        rate = -1.0 if learning_rate is None else learning_rate
        call(functions.cloze_trainer_apply, self._handle, rate, byref(norm))
        return norm.value

    def parameters(self, out: Floats | None = None) -> Floats:
        """Copies of the parameters that train, [info.parameters], tensor after tensor in the order of `report`."""
        return self._numbers(functions.cloze_trainer_parameters, out)

    def set_parameters(self, parameters: NDArray[Any] | Sequence[float]) -> None:
        """Replaces them."""
        self._set(functions.cloze_trainer_set_parameters, parameters)

    def gradients(self, out: Floats | None = None) -> Floats:
        """Copies of what `accumulate` has added up since the last step: gradients of the sum of its losses."""
        return self._numbers(functions.cloze_trainer_gradients, out)

    def gradient_buffers(self) -> list[tuple[int, int]]:
        """Where the gradients lie, in the memory of the model's device: address and count of numbers of
        each tensor, in the order of `report`. Engines average them over machines in place; `apply` still
        divides them by the number of batches accumulated here. Valid until the next call on the trainer."""
        count, room = c_size_t(), 64
        while True:
            buffers = (_raw.cloze_buffer * room)()
            try:
                call(functions.cloze_trainer_gradient_buffers, self._handle, buffers, room, byref(count))
            except BufferTooSmall:
                room = count.value
                continue
            found = buffers[: count.value]
            return [(address(buffer.data, c_void_p).value or 0, int(buffer.count)) for buffer in found]

    def set_gradients(self, gradients: NDArray[Any] | Sequence[float]) -> None:
        """What the next `apply` takes instead, as the gradients of one batch."""
        self._set(functions.cloze_trainer_set_gradients, gradients)

    def split(self, numbers: Floats) -> dict[str, Floats]:
        """Views of the tensors in a flat array such as that of `parameters`, by their names."""
        tensors, start = {}, 0
        for tensor in self.report["tensors"]:
            size = int(np.prod(tensor["shape"]))
            tensors[tensor["name"]] = numbers[start : start + size].reshape(tensor["shape"])
            start += size
        if start != numbers.size:
            raise ValueError(f"{numbers.size} numbers, the tensors have {start}")
        return tensors

    def _numbers(self, function: Callable[..., Any], out: Floats | None) -> Floats:
        array, count = room_for((self.info.parameters,), out), c_size_t()
        call(function, self._handle, floats(array), array.size, byref(count))
        return array

    def _set(self, function: Callable[..., Any], numbers: Any) -> None:
        array = np.require(numbers, dtype=np.float32, requirements=["C", "W"]).reshape(-1)
        call(function, self._handle, floats(array), array.size)

    # Keep

    def snapshot(self) -> Model:
        """The parameters as they are, as a model of its own: to answer from while training goes on."""
        return Model._make(functions.cloze_trainer_snapshot, self._handle)

    def save(self, folder: Folder) -> None:
        """Writes a HuggingFace folder, in one step; LoRA is merged into the weights."""
        call(functions.cloze_trainer_save, self._handle, path_bytes(folder))

    def save_adapter(self, folder: Folder) -> None:
        """Writes a PEFT folder: the low-rank pairs and the head."""
        call(functions.cloze_trainer_save_adapter, self._handle, path_bytes(folder))


def _event(event: _raw.cloze_train_event) -> Event:
    """A copy of an event, which lives no longer than its callback."""
    where = (event.step, event.total, event.epoch)
    if event.kind == _raw.CLOZE_EVENT_STEP:
        return Step(*(getattr(event, name) for name in Step._fields))
    if event.kind == _raw.CLOZE_EVENT_EVALUATION:
        found = event.metrics[: event.metric_count]
        metrics = {metric.name.decode(): metric.value for metric in found}
        return Evaluation(*where, event.seconds, metrics, event.best == 1)
    return Checkpoint(*where, os.fsdecode(event.folder))
