"""Tables as Markdown, and the files that keep what they are made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

NONE = "–"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text, the others figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def document(about: str, tables: Sequence[str], notes: Sequence[str]) -> str:
    """Tables below what they are about and above notes, each of which is told once."""
    blocks = [about, *tables]
    if notes:
        blocks.append("\n".join(f"- {note}" for note in dict.fromkeys(notes)))
    return "\n\n".join(blocks) + "\n"


def write(file: Path, record: Mapping[str, object]) -> None:
    file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def names(of: Sequence[str]) -> Callable[[str], list[str]]:
    """Parses a list of some of these names."""

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        for name in chosen:
            if name not in of:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(of)}")
        return chosen

    return parse
