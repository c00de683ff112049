"""BERT from a HuggingFace folder: fill blanks, score, judge pairs, embed, classify, tag, generate; and teach it to.

    import cloze

    model = cloze.Model("all-MiniLM-L6-v2")
    vectors = model.embed(["Hello world", "How are you"])  # [2, 384], float32

    data = cloze.Dataset(["I like it.", "I do not."], ["yes", "no"])
    trainer = cloze.Trainer(model, data, trainable="top", layers=2)
    trainer.fit(data, observer=print)
    taught = trainer.snapshot()
    taught.classify("I like it very much.")  # probabilities in the order of taught.labels

Calls release the interpreter's lock, so that threads run at the same time. Errors are subclasses of `Error`.
"""

from __future__ import annotations

from ._answers import (
    Candidate,
    Checkpoint,
    Continuation,
    CorpusInfo,
    Device,
    Entity,
    Evaluation,
    Fit,
    Info,
    NewToken,
    Score,
    Step,
    Token,
    TokenScore,
    TrainerInfo,
)
from ._calls import Cancel, Progress
from ._data import IGNORED, Answer, Corpus, Dataset, Target, TokenLabels, learn_vocabulary
from ._errors import (
    BufferTooSmall,
    Busy,
    Cancelled,
    Error,
    FileError,
    InternalError,
    InvalidArgument,
    InvalidFile,
    InvalidInput,
    Missing,
    NoDevice,
    NotFinite,
    OutOfMemory,
    Unsupported,
)
from ._inputs import Batch, Ids, Input, Text
from ._library import path as library_path
from ._library import version as library_version
from ._model import CallOptions, Model, Place, TextOptions, devices, perplexity
from ._recipe import TrainOptions
from ._trainer import Event, Observer, Trainer

__version__ = "0.4.0"

__all__ = [
    "IGNORED",
    "Answer",
    "Batch",
    "BufferTooSmall",
    "Busy",
    "CallOptions",
    "Cancel",
    "Cancelled",
    "Candidate",
    "Checkpoint",
    "Continuation",
    "Corpus",
    "CorpusInfo",
    "Dataset",
    "Device",
    "Entity",
    "Error",
    "Evaluation",
    "Event",
    "FileError",
    "Fit",
    "Ids",
    "Info",
    "Input",
    "InternalError",
    "InvalidArgument",
    "InvalidFile",
    "InvalidInput",
    "Missing",
    "Model",
    "NewToken",
    "NoDevice",
    "NotFinite",
    "Observer",
    "OutOfMemory",
    "Place",
    "Progress",
    "Score",
    "Step",
    "Target",
    "Text",
    "TextOptions",
    "Token",
    "TokenLabels",
    "TokenScore",
    "TrainOptions",
    "Trainer",
    "TrainerInfo",
    "Unsupported",
    "devices",
    "learn_vocabulary",
    "library_path",
    "library_version",
    "perplexity",
]
