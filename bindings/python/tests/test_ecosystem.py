"""The same answers as sentence-transformers and transformers, where they are installed, of all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cloze

from .conftest import ROOT, absent

TEXTS = [
    "Hello world",
    "A man plays the guitar.",
    "naïve café 😀",
    "How are you? " * 100,
    "",
    "It rains.",
]
FOLDER = ROOT.parent / "shared/models/minilm"


def test_embeddings_are_those_of_sentence_transformers(minilm: cloze.Model) -> None:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        absent("sentence_transformers", "sentence-transformers is not installed")
    expected = SentenceTransformer(str(FOLDER), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(minilm.embed(TEXTS), expected, atol=1e-5)


def test_tokens_and_hidden_states_are_those_of_transformers(minilm: cloze.Model) -> None:
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        absent("transformers", "transformers is not installed")
    tokenizer, reference = AutoTokenizer.from_pretrained(FOLDER), AutoModel.from_pretrained(FOLDER)
    for text in TEXTS[:3]:
        batch = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
        offsets = batch.pop("offset_mapping")[0].tolist()
        tokens = minilm.tokenize(text)
        assert [token.id for token in tokens] == batch["input_ids"][0].tolist()
        assert [(token.start, token.end) for token in tokens[1:-1]] == [tuple(pair) for pair in offsets[1:-1]]
        with torch.no_grad():
            states = reference(**batch, output_hidden_states=True).hidden_states
        layers = list(range(len(states)))
        expected = np.stack([layer[0].numpy() for layer in states])
        np.testing.assert_allclose(minilm.hidden_states(text, layers), expected, atol=2e-5)


def test_what_was_taught_opens_in_transformers(minilm: cloze.Model, moods: cloze.Dataset, tmp_path: Path) -> None:
    try:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
    except ImportError:
        absent("transformers", "transformers is not installed")
    trainer = cloze.Trainer(minilm, moods, trainable="top", layers=1, epochs=1)
    trainer.fit(moods)
    trainer.save(tmp_path / "taught")
    taught = trainer.snapshot()
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path / "taught").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "taught")
    with torch.no_grad():
        expected = reference(**tokenizer("She danced.", return_tensors="pt")).logits.softmax(-1)[0].numpy()
    assert taught.labels == [reference.config.id2label[number] for number in range(3)]
    np.testing.assert_allclose(taught.classify("She danced."), expected, atol=1e-5)


def test_neighbours_are_alike(minilm: cloze.Model) -> None:
    music, guitar, rain = minilm.embed(["Someone makes music.", "A man plays the guitar.", "It rains."])
    assert music @ guitar > music @ rain
    assert np.linalg.norm(music) == pytest.approx(1, abs=1e-5)
