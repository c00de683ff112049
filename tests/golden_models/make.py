#!/usr/bin/env python3
"""Writes minilm/: embeddings of all-MiniLM-L6-v2 as sentence-transformers computes them.

    make.py SHARED      SHARED is the folder that tests/oracle finds; the model is models/minilm in it

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, sentence-transformers 6.2.0, safetensors
0.8.0, on a CPU in float32. Other versions, and other processors, may differ in the last digits.

expected.json: `texts`; `tokens`, how many tokens each has after truncation; `made_with`; `pair`, two texts and their
cosine. expected.safetensors: `embeddings` [texts, 384] float32, every text run alone, so that there is no padding.
"""

import json
import sys
from pathlib import Path

import sentence_transformers
import torch
import transformers
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

TEXTS = [
    "Hello world",
    "How are you",
    "",
    " ",
    "a",
    "!",
    "The ferry leaves the island at noon, unless the wind turns.",
    "the ferry leaves the island at noon unless the wind turns",
    "FERRIES ARE LATE AGAIN",
    "Crème brûlée, jalapeño and smørrebrød in a café in Malmö.",
    "cre\u0300me bru\u0302le\u0301e",
    "今天的风很大，船不开。",
    "東京 and 北京 lie far apart; ひらがな and 한국어 too.",
    "Ветер переменился к полудню.",
    "pH 7.4, 37 °C, 5 % CO2 - see eq. (3) in [12].",
    "https://example.org/a?b=c&d=%20 user@example.org",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 101,
    "tabs\tand\nnew\r\nlines\u00a0and\u200b nothing\u0000 else",
    "🙂 shrugs 🤷🏽‍♀️ and leaves 🚢",
    "[CLS] a text with [MASK] and [SEP] in it",
    "One two three four five six seven eight nine ten. " * 3,
    "The tide table says when the harbour is deep enough, but nobody reads it. " * 30,
    "word " * 253 + "last",
    "word " * 254 + "cut",
]
PAIR = ("Hello world", "How are you")


def main(shared):
    torch.set_num_threads(1)
    model = SentenceTransformer(str(shared / "models/minilm"), device="cpu")
    model = model.to(torch.float32)
    embed = lambda text: torch.from_numpy(model.encode([text], batch_size=1, show_progress_bar=False)[0])
    embeddings = torch.stack([embed(text) for text in TEXTS]).contiguous()
    assert embeddings.dtype == torch.float32 and embeddings.isfinite().all()
    one, two = (embeddings[TEXTS.index(text)].double() for text in PAIR)
    info = {
        "made_with": {
            "sentence_transformers": sentence_transformers.__version__,
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
        },
        "pair": [*PAIR, round(float(one @ two / one.norm() / two.norm()), 6)],
        "texts": TEXTS,
        "tokens": [int(model.tokenize([text])["input_ids"].shape[1]) for text in TEXTS],
    }
    folder = Path(__file__).parent / "minilm"
    folder.mkdir(exist_ok=True)
    save_file({"embeddings": embeddings}, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps(info, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
