"""What is compared: the workloads of `cloze bench` that peers.py or worker.py has too, and first answers."""

from __future__ import annotations

from dataclasses import dataclass

PRECISIONS = ("f32", "bf16", "int8")
PEERS = {"openvino": "OpenVINO", "ort": "ONNX Runtime", "ct2": "CTranslate2", "torch": "PyTorch"}
SHAPES = ((1, 16), (1, 32), (1, 128), (1, 512), (8, 128), (32, 128))


@dataclass(frozen=True)
class Item:
    """One workload."""

    name: str
    """As peers.py, or worker.py for it, reports it."""
    title: str
    arguments: tuple[object, ...]
    """Of `cloze bench`; a file of texts is added where `texts` is set."""
    texts: bool = False
    cached: str = ""
    """What trains, where later epochs of that cost less than the first."""
    quick: bool = False


@dataclass(frozen=True)
class Group:
    """Workloads that a worker runs one after the other, in the order in which peers.py does."""

    name: str
    """Of --workloads, here and of peers.py where that has it."""
    title: str
    items: tuple[Item, ...]
    peers: tuple[str, ...] = tuple(PEERS)
    together: bool = False
    """Whether all precisions meet in one contest, else each has its own."""
    precisions: tuple[str, ...] = PRECISIONS


def encode(batch: int, seq: int) -> Item:
    arguments = ("--workload", "encode", "--batch", batch, "--seq", seq)
    quick = (batch, seq) in ((1, 16), (1, 128), (8, 128))
    return Item(f"encode-b{batch}-s{seq}", f"{batch} × {seq} tokens", arguments, quick=quick)


def finetune(name: str, title: str, trainable: str, cached: bool = False) -> Item:
    arguments = ("--workload", "finetune", "--batch", 16, "--seq", 128, "--trainable", trainable)
    return Item(f"finetune-{name}-b16-s128", title, arguments, cached=trainable if cached else "", quick=cached)


GROUPS = (
    Group("encode", "hidden states", tuple(encode(*shape) for shape in SHAPES)),
    Group(
        "ragged",
        "real lengths",
        (Item("ragged-sst2", "320 sentences of SST-2, batches of 32", ("--workload", "ragged"), texts=True),),
    ),
    Group(
        "pll",
        "scores",
        (Item("pll-16-sentences", "PLL of 16 sentences of SST-2", ("--workload", "pll"), texts=True, quick=True),),
    ),
    Group(
        "finetune",
        "a training step, 16 × 128 tokens",
        (
            finetune("head", "head", "head"),
            finetune("top2", "top 2 layers", "top:2", cached=True),
            finetune("full", "everything", "all"),
            finetune("lora8", "LoRA of rank 8", "lora:8"),
        ),
        peers=("torch",),
        together=True,
        precisions=("f32", "bf16"),
    ),
    Group(
        "pretrain",
        "a step of masked words, 16 × 128 tokens",
        (
            Item(
                "pretrain-b16-s128",
                "everything",
                ("--workload", "pretrain", "--batch", 16, "--seq", 128, "--trainable", "all"),
            ),
        ),
        peers=("torch",),
        together=True,
        precisions=("f32", "bf16"),
    ),
)

FIRST = "first"
NAMES = (*(group.name for group in GROUPS), FIRST)


def wanted(group: Group, item: Item, names: list[str], quick: bool) -> bool:
    """Whether one of `names` means the item: its group, its name, or the name's beginning up to a hyphen."""
    if not names:
        return item.quick or not quick
    return group.name in names or any(f"{item.name}-".startswith(f"{name}-") for name in names)
