"""The page: its tables, what they are made of, and the numbers of parameters that the library counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import simulate
import tables
from measured import Measured, NotMeasured
from shapes import Shape

ROOT = Path(__file__).resolve().parents[3]


def test_tables_of_the_page_are_those_of_now() -> None:
    text = tables.README.read_text(encoding="utf-8")
    assert tables.render(text, Measured.read()) == text, "python tables.py writes them anew"


def test_a_table_without_a_place_is_named() -> None:
    with pytest.raises(SystemExit, match="agreement"):
        tables.render("<!-- table: numbers -->\n<!-- end -->\n", Measured.read())


def test_simulated_json_is_of_these_measurements() -> None:
    """One scenario again. Within 1 %: generators of another numpy may round otherwise."""
    world = simulate.World.make(Measured.read())
    again, kept = simulate.deadlines(world), simulate.read()["deadlines"]
    assert len(again) == len(kept)
    for new, old in zip(again, kept):
        for key in ("deadline", "best", "closed", "simulated"):
            assert float(new[key]) == pytest.approx(old[key], rel=0.01), "python simulate.py writes it anew"


def test_what_is_not_measured_is_named() -> None:
    measured = Measured.read()
    measured.document["figures"]["addition"]["value"] = None
    with pytest.raises(NotMeasured, match=r"measured.json: addition: not measured: to add one number"):
        measured.figure("addition")
    with pytest.raises(NotMeasured, match="a step of BERT-base, top:9, batch 16"):
        measured.step("BERT-base", "top:9", 16)


@pytest.mark.parametrize("content", ["{", "[]", '{"machine": "", "steps": []}'])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match=r"measured\.json"):
        Measured.read(path)


def test_every_figure_has_its_command() -> None:
    document = Measured.read().document
    for name, entry in document["figures"].items():
        assert (entry["value"] is None) == (entry["command"] is None), name
    assert all(entry["command"].startswith("cloze bench") for entry in document["steps"])


@pytest.mark.parametrize("trains", ["head", "top:1", "top:2", "lora:4", "lora:8", "layers", "all"])
def test_numbers_are_those_that_the_library_trains(trains: str) -> None:
    cloze = pytest.importorskip("cloze", reason="SKIPPED: the Python package cloze is not there")
    folder = ROOT / "tests" / "golden" / "sequence"
    kind, _, value = trains.partition(":")
    options = {"top": {"layers": int(value or 0)}, "lora": {"lora_rank": int(value or 0)}}.get(kind, {})
    labels = len(json.loads((folder / "config.json").read_text())["id2label"])
    with cloze.Model(folder) as model, cloze.Trainer(model, trainable=kind, **options) as trainer:
        assert Shape.of_folder(folder).numbers(trains, labels) == trainer.info.parameters
        assert trainer.parameters().size == trainer.info.parameters


def test_lora_trains_a_pooler_that_is_not_there() -> None:
    cloze = pytest.importorskip("cloze", reason="SKIPPED: the Python package cloze is not there")
    folder = ROOT / "tests" / "golden" / "token"
    options = {"trainable": "lora", "lora_rank": 4, "labels": ["no", "yes"]}
    with cloze.Model(folder) as model, cloze.Trainer(model, **options) as trainer:
        assert Shape.of_folder(folder).numbers("lora:4", new_pooler=True) == trainer.info.parameters


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 3}')
    with pytest.raises(ValueError, match=r"config.json: no max_position_embeddings, hidden_size"):
        Shape.of_folder(tmp_path)


def test_plots_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="SKIPPED: matplotlib is not there")
    import plots

    for name in ("one", "two"):
        plots.draw(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in plots.FOLDER.glob("*.svg"))
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    text = (tmp_path / "one" / files[0]).read_text(encoding="utf-8")
    assert "<dc:date>" not in text


def test_shares_add_up() -> None:
    for row in simulate.read()["losses"]:
        total = sum(row[f"tenth{part}"] for part in range(10))
        assert total == pytest.approx(1, abs=1e-3) or row.get("failed") == row["rounds"]
        assert np.isfinite(row["wasted"])
