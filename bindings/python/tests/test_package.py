"""What the package promises beside the answers: layouts, errors, ownership, threads, interrupts, callbacks."""

from __future__ import annotations

import _thread
import copy
import gc
import inspect
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from ctypes import c_void_p, sizeof
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cloze
from cloze import _raw

from .conftest import ROOT, absent


def test_layouts_are_those_of_the_compiler() -> None:
    if sizeof(c_void_p) != 8:
        pytest.skip("layouts.json is of 64 bits")
    layouts = json.loads((ROOT / "bindings/layouts.json").read_text(encoding="utf-8"))
    assert len(layouts) > 30
    for name, layout in layouts.items():
        struct = getattr(_raw, name)
        found = {field[0]: getattr(struct, field[0]).offset for field in struct._fields_}
        assert (sizeof(struct), found) == (layout["size"], layout["fields"]), name


def test_every_status_has_its_class() -> None:
    statuses = {error.status for error in cloze.Error.__subclasses__()}
    assert statuses == set(range(1, _raw.CLOZE_INTERNAL + 1))
    assert issubclass(cloze.InvalidInput, ValueError) and issubclass(cloze.FileError, OSError)


def test_every_public_thing_is_documented() -> None:
    for name in cloze.__all__:
        thing = getattr(cloze, name)
        if not inspect.isclass(thing) or thing.__module__ == "typing":
            continue
        assert thing.__doc__, name
        for method, own in vars(thing).items():
            if not method.startswith("_") and (inspect.isfunction(own) or isinstance(own, (property, classmethod))):
                assert getattr(thing, method).__doc__ or own.__doc__, f"{name}.{method}"


def test_one_input_and_a_batch(model: cloze.Model) -> None:
    one, batch = model.embed("the cat"), model.embed(["the cat", ("a", "b")])
    assert one.shape == (256,) and batch.shape == (2, 256)
    np.testing.assert_array_equal(one, batch[0])
    assert model.embed([]).shape == (0, 256)
    assert model.embed(np.array(["the cat", "a dog"])).shape == (2, 256)
    assert model.embed(text for text in ["the cat"]).shape == (1, 256)  # type: ignore[arg-type]
    tokens = model.tokenize("😀 the cat")
    assert ["😀 the cat"[token.start : token.end] for token in tokens[1:-1]] == ["😀", "the", "cat"]
    assert tokens == model.tokenize(["😀 the cat"])[0]
    ids = cloze.Ids([token.id for token in tokens])
    np.testing.assert_array_equal(model.embed(ids), model.embed("😀 the cat"))
    assert model.fill("the [MASK].", targets=["door", 705])[0][0].token == "door"
    assert model.score(["the cat"])[0].perplexity > 1 and cloze.perplexity([]) == 1
    assert isinstance(model.next_sentence(("a", "b")), float)
    states = model.hidden_states(["a", "b c"], [4, 0])
    assert [own.shape for own in states] == [(2, 3, 256), (2, 4, 256)]
    np.testing.assert_array_equal(model.hidden_states("a", [0])[0], states[0][1])


def test_out_is_written_in_place(model: cloze.Model) -> None:
    out = np.zeros((2, 256), dtype=np.float32)
    assert model.embed(["one", "two"], out=out) is out
    np.testing.assert_array_equal(out, model.embed(["one", "two"]))
    others: list[Any] = [np.zeros((2, 255), dtype=np.float32), np.zeros((2, 256)), np.asfortranarray(out)]
    for wrong in others:
        with pytest.raises(ValueError, match=r"out: .*\(2, 256\)"):
            model.embed(["one", "two"], out=wrong)


def test_mistakes_are_named(model: cloze.Model, moods: cloze.Dataset) -> None:
    with pytest.raises(TypeError, match=r"input 1: .*not 7"):
        model.embed(["a", 7])
    with pytest.raises(ValueError, match=r"pooling: 'first', expected one of auto, cls, mean, max"):
        model.embed("a", pooling="first")
    with pytest.raises(TypeError, match="'epoch' is no option of a training"):
        cloze.Trainer(model, moods, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword"):
        model.embed("a", colour=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="1 targets for 2 inputs"):
        cloze.Dataset(["a", "b"], ["x"])
    with pytest.raises(TypeError, match=r"example 1: .* is no target"):
        cloze.Dataset(["a", "b"], ["x", object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="2 segments for 3 token ids"):
        model.embed(cloze.Ids([2, 5, 3], [0, 0]))
    with pytest.raises(cloze.InvalidInput, match="input 0: text: not UTF-8 at byte 1"):
        model.embed("a\ud800")
    with pytest.raises(cloze.FileError) as caught:
        cloze.Model("no/such/folder")
    assert caught.value.status == _raw.CLOZE_IO and caught.value.message.startswith("no/such/folder: ")


def test_text_may_hold_anything(model: cloze.Model) -> None:
    texts = ["", "\0", "a\0b", "\n", "\u200b", "é" * 50, "😀" * 20]
    assert np.isfinite(model.embed(texts)).all()
    np.testing.assert_array_equal(model.embed([text.encode() for text in texts]), model.embed(texts))


def test_closing() -> None:
    with cloze.Model(ROOT / "model") as model:
        assert "256 wide" in repr(model)
    assert model.closed and "closed" in repr(model)
    model.close()
    with pytest.raises(ValueError, match="this Model is closed"):
        model.embed("a")
    with pytest.raises(ValueError, match="this Model is closed"):
        cloze.Trainer(model)
    never = cloze.Model.__new__(cloze.Model)
    never.close()


def test_what_was_made_from_it_stays(moods: cloze.Dataset) -> None:
    files = {path.name: path.read_bytes() for path in (ROOT / "model").iterdir()}
    model = cloze.Model.from_memory(files, threads=1)
    trainer = cloze.Trainer(model, moods, trainable="head", max_steps=1)
    expected = model.embed("the cat")
    model.close()
    del model, files
    gc.collect()
    trainer.fit(moods)
    taught = trainer.snapshot()
    trainer.close()
    del trainer
    gc.collect()
    rubbish = [bytes(4 << 20) for _ in range(4)]
    np.testing.assert_array_equal(taught.embed("the cat"), expected)
    assert len(rubbish) == 4


def test_nothing_is_pickled(model: cloze.Model, moods: cloze.Dataset) -> None:
    for thing in (model, moods, cloze.Cancel()):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.copy(thing)


class Special(Exception):
    """Only these tests raise it."""


def test_callbacks(model: cloze.Model, moods: cloze.Dataset) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    model.embed(["a"] * 5, progress=progress)
    assert seen[-1] == (5, 5)

    def fails(*_: Any) -> bool:
        raise Special("of the callback")

    with pytest.raises(Special, match="of the callback"):
        model.embed("a", progress=fails)
    with pytest.raises(cloze.Cancelled):
        model.embed("a", progress=lambda done, total: True)
    trainer = cloze.Trainer(model, moods, trainable="head", epochs=1, batch_size=4)
    with pytest.raises(Special):
        trainer.fit(moods, observer=fails)
    assert trainer.info.steps == 1

    def asks(event: cloze.Event) -> None:
        # Models may be asked from a callback, the trainer may not.
        assert model.embed("a").shape == (256,)
        with pytest.raises(cloze.Busy):
            trainer.parameters()

    assert trainer.fit(moods, observer=asks).steps == 3


def test_cancel_from_another_thread(model: cloze.Model) -> None:
    cancel, running = cloze.Cancel(), threading.Event()

    def wait(done: int, total: int) -> None:
        running.set()

    def stop() -> None:
        running.wait()
        cancel.set()

    timer = threading.Thread(target=stop)
    timer.start()
    with pytest.raises(cloze.Cancelled):
        model.score(["the old man sat by the fire. " * 4] * 500, cancel=cancel, progress=wait)
    timer.join()
    cancel.reset()
    assert model.embed("a", cancel=cancel).shape == (256,)


def test_an_interrupt_ends_a_call(model: cloze.Model, moods: cloze.Dataset) -> None:
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait()
        _thread.interrupt_main() if os.name == "nt" else os.kill(os.getpid(), signal.SIGINT)

    def progress(done: int, total: int) -> None:
        begun.set()

    thread = threading.Thread(target=interrupt)
    thread.start()
    texts = ["the old man sat by the fire. " * 4] * 2000
    with pytest.raises(KeyboardInterrupt):
        model.score(texts, progress=progress)
    thread.join()
    assert model.embed("a").shape == (256,)

    trainer = cloze.Trainer(model, moods, trainable="top", layers=1, epochs=100_000, batch_size=4)
    begun.clear()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(moods, observer=lambda event: begun.set())
    thread.join()
    steps = trainer.info.steps
    assert 0 < steps < 300_000
    # It stands at a whole step, and goes on.
    assert trainer.accumulate(moods) > 0 and trainer.apply(1e-4) > 0


def test_threads_ask_one_model(model: cloze.Model) -> None:
    texts = [f"the {word} of the house" for word in ("door", "end", "man", "old cat", "fire")]
    expected = [model.embed(text) for text in texts]
    wrong: list[str] = []

    def ask(offset: int) -> None:
        for turn in range(30):
            index = (offset + turn) % len(texts)
            if not np.array_equal(model.embed(texts[index]), expected[index]):
                wrong.append(texts[index])

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_waits_for_running_calls() -> None:
    model = cloze.Model(ROOT / "model", threads=1)
    begun, answers = threading.Event(), []

    def told(done: int, total: int) -> None:
        begun.set()

    def ask() -> None:
        answers.append(model.embed(["the old man sat by the fire"] * 500, progress=told))

    thread = threading.Thread(target=ask)
    thread.start()
    begun.wait()
    model.close()
    thread.join()
    assert answers[0].shape == (500, 256)


def test_parameters_are_flat_and_named(model: cloze.Model, moods: cloze.Dataset) -> None:
    trainer = cloze.Trainer(model, moods, trainable="top", layers=1)
    numbers = trainer.parameters()
    assert numbers.shape == (trainer.info.parameters,) and numbers.dtype == np.float32
    tensors = trainer.split(numbers)
    assert tensors["classifier.weight"].shape == (3, 256)
    assert all(np.shares_memory(tensor, numbers) for tensor in tensors.values())
    tensors["classifier.weight"][:] = 0.5
    trainer.set_parameters(numbers)
    np.testing.assert_array_equal(trainer.parameters(out=np.empty_like(numbers)), numbers)
    numbers.flags.writeable = False
    trainer.set_parameters(numbers)
    with pytest.raises(cloze.InvalidArgument, match="3"):
        trainer.set_parameters([0.0, 1.0, 2.0])


def test_a_corpus_and_its_notices(model: cloze.Model, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One sentence. Another one.\n\nA second document.\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n", encoding="utf-8")
    corpus = cloze.Corpus(model, tmp_path)
    assert corpus.info.documents == 2 and any("b.txt" in notice for notice in corpus.notices)


def test_checkpoints_are_taken_up(model: cloze.Model, moods: cloze.Dataset, tmp_path: Path) -> None:
    recipe: Any = {"trainable": "head", "epochs": 2, "batch_size": 6, "checkpoints": tmp_path / "run"}
    whole, written = cloze.Trainer(model, moods, **recipe), list[str]()

    def observer(event: cloze.Event) -> None:
        if isinstance(event, cloze.Checkpoint):
            written.append(event.folder)

    fit = whole.fit(moods, observer=observer)
    assert fit.steps == 4 and len(written) == 2
    other = cloze.Trainer(model, moods, **recipe)
    other.resume(written[0])
    assert other.info.steps == 2
    other.fit(moods)
    np.testing.assert_array_equal(other.parameters(), whole.parameters())


def test_words_are_taken_as_they_come(model: cloze.Model) -> None:
    data = cloze.Dataset.of_words([["Anna", "saw", "Rome"], ["rain"]], [["B-PER", "O", "B-LOC"], ["O"]])
    assert len(data) == 2
    for words, tags, message in [
        ([["a", "b"]], [["O"]], "1 tags for 2 words"),
        ([["a"]], [["O"], ["O"]], "2 lists of tags for 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            cloze.Dataset.of_words(words, tags)


def test_devices(model: cloze.Model) -> None:
    found = cloze.devices()
    assert found[0].id == "cpu" and found[0].usable and found[0].name
    assert all(device.note for device in found if not device.usable)
    own = model.device
    assert (own.id, own.precision, own.usable) == ("cpu", "f32", True)
    for device in ("nowhere", "cuda:99"):
        with pytest.raises(cloze.Error, match=device):
            cloze.Model(ROOT / "model", device=device)
    with pytest.raises(ValueError, match="precision: 'f8', expected one of auto, f32, bf16, f16, int8"):
        cloze.Model(ROOT / "model", precision="f8")


def resident() -> int:
    """Bytes of memory that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_nothing_leaks(model: cloze.Model, moods: cloze.Dataset) -> None:
    def round_of_calls() -> None:
        for _ in range(20):
            model.embed(["the cat", "a dog"], progress=lambda done, total: None)
            model.tokenize("the old man sat by the fire")
            model.fill("the [MASK]")
            with pytest.raises(cloze.InvalidInput):
                model.fill("no mask")
        with cloze.Model(ROOT / "model", threads=1) as opened:
            trainer = cloze.Trainer(opened, moods, trainable="head", max_steps=1)
            trainer.fit(moods, observer=lambda event: None)
            trainer.snapshot().classify("the cat")
        gc.collect()

    for _ in range(3):
        round_of_calls()
    before = resident()
    for _ in range(10):
        round_of_calls()
    # A model that stayed would be 20 MB, a trainer's parameters 1 MB.
    assert resident() - before < 4 << 20


def test_a_child_process_may_fork(model: cloze.Model) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    program = (
        "import os, sys, cloze\n"
        "folder = sys.argv[1]\n"
        "cloze.Model(folder, threads=1).embed('a')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    cloze.Model(folder, threads=1).embed('a')\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, str(ROOT / "model")]
    environment = {
        **os.environ,
        "CLOZE_LIBRARY": cloze.library_path,
        "PYTHONPATH": str(Path(cloze.__file__).parents[1]),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "7", done.stderr


def test_a_library_that_is_not_one_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "libcloze.so"
    wrong.write_bytes(b"no library")
    environment = {**os.environ, "CLOZE_LIBRARY": str(wrong), "PYTHONPATH": str(Path(cloze.__file__).parents[1])}
    command = [sys.executable, "-c", "import cloze"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "ImportError: cloze: " + str(wrong) in done.stderr


def test_types_are_checked() -> None:
    """mypy finds nothing in the package."""
    try:
        import mypy.api
    except ImportError:
        absent("mypy", "mypy is not installed")
    folder = ROOT / "bindings/python"
    before = Path.cwd()
    os.chdir(folder)
    try:
        out, err, status = mypy.api.run(["--no-incremental"])
    finally:
        os.chdir(before)
    assert status == 0, out + err


def test_time_is_told_by_events(model: cloze.Model, moods: cloze.Dataset) -> None:
    events: list[cloze.Event] = []
    begin = time.monotonic()
    trainer = cloze.Trainer(model, moods, trainable="head", epochs=2, batch_size=12)
    fit = trainer.fit(moods, moods, observer=events.append)
    elapsed = time.monotonic() - begin
    steps = [event for event in events if isinstance(event, cloze.Step)]
    evaluations = [event for event in events if isinstance(event, cloze.Evaluation)]
    assert [step.step for step in steps] == [1, 2] and len(evaluations) == 2
    assert all(0 <= event.seconds <= elapsed for event in steps + evaluations)
    assert fit.best_value == max(event.metrics["accuracy"] for event in evaluations)
    assert trainer.info.objective == "classify" and trainer.labels == ["angry", "glad", "sad"]
