"""How many numbers train, and how many bytes they are, of a BERT classifier.

V words, P places, S segments, L layers, H hidden, F intermediate, C labels, r the rank of a LoRA.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT with absolute positions."""

    name: str
    vocabulary: int
    places: int
    hidden: int
    layers: int
    intermediate: int
    segments: int = 2

    @property
    def embeddings(self) -> int:
        """(V + P + S) H of the tables, 2 H of their norm."""
        return (self.vocabulary + self.places + self.segments) * self.hidden + 2 * self.hidden

    @property
    def layer(self) -> int:
        """4 (H² + H) of attention, 2 H F + F + H of the feed-forward part, 4 H of two norms."""
        h, f = self.hidden, self.intermediate
        return 4 * h * h + 2 * h * f + 9 * h + f

    @property
    def pooler(self) -> int:
        return self.hidden * self.hidden + self.hidden

    def classifier(self, labels: int) -> int:
        return labels * (self.hidden + 1)

    def pairs(self, rank: int) -> int:
        """A [r, H] and B [H, r] beside query and value of every layer."""
        return 4 * self.hidden * rank * self.layers

    def numbers(self, trains: str, labels: int = 2, new_pooler: bool = False) -> int:
        """Numbers that train with `trains`: "head", "lora:R", "top:N", "layers" or "all", as `cloze train` has them.
        `new_pooler`: the folder has none, so that with LoRA a new one trains too."""
        kind, _, value = trains.partition(":")
        head = self.pooler + self.classifier(labels)
        if kind in ("lora", "top") and not (value.isdecimal() and int(value) > 0):
            raise ValueError(f"{trains!r}: expected {kind}: and a number from 1 on")
        if kind == "head":
            return head
        if kind == "lora":
            return self.pairs(int(value)) + (head if new_pooler else self.classifier(labels))
        if kind == "top":
            if int(value) > self.layers:
                raise ValueError(f"{trains!r}: {self.name} has {self.layers} layers")
            return int(value) * self.layer + head
        if kind == "layers":
            return self.layers * self.layer + head
        if kind == "all":
            return self.embeddings + self.layers * self.layer + head
        raise ValueError(f"{trains!r}: expected head, lora:R, top:N, layers or all")

    @classmethod
    def of_folder(cls, folder: Path) -> Shape:
        """The sizes that a model folder's config.json tells."""
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        names = ("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "intermediate_size")
        missing = [name for name in names if name not in config]
        if missing:
            raise ValueError(f"{path}: no {', '.join(missing)}")
        vocabulary, places, hidden, layers, intermediate = (int(config[name]) for name in names)
        segments = int(config.get("type_vocab_size", 2))
        return cls(folder.name, vocabulary, places, hidden, layers, intermediate, segments)


BASE = Shape("BERT-base", 30522, 512, 768, 12, 3072)
MINILM = Shape("MiniLM-L6", 30522, 512, 384, 6, 1536)
SHAPES = {shape.name: shape for shape in (BASE, MINILM)}

TRAINS = {"head": "head", "lora:8": "LoRA, r = 8", "top:2": "top 2 layers", "all": "everything"}
"""What is compared on the page, by the names of the command line."""
