"""bindings/vectors.json, asked of this package. bindings/README.md tells its form."""

from __future__ import annotations

import json
import math
from ctypes import c_float
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import cloze
from cloze import _raw

from .conftest import ROOT

SWITCHES = "CLOZE_TRAIN_"


class Scenario:
    """The file, its models, and a folder for what cases write."""

    def __init__(self, vectors: Any, folder: Path) -> None:
        self.vectors, self.folder = vectors, folder
        threads = vectors["threads"]
        self.models = {name: cloze.Model(ROOT / path, threads=threads) for name, path in vectors["models"].items()}

    def examples(self, given: Any) -> list[Any]:
        examples: list[Any] = self.vectors["datasets"][given] if isinstance(given, str) else given
        return examples

    def answer(self, case: Any, model: cloze.Model | None = None) -> Any:
        if model is None:
            model = self.models[case.get("model", "base")]
        call: Callable[..., Any] = getattr(self, f"call_{case['call']}")
        return call(model, case)

    def then(self, model: cloze.Model, case: Any) -> list[Any]:
        return [self.answer(then, model) for then in case.get("then", [])]

    # Calls on a model

    def call_info(self, model: cloze.Model, case: Any) -> Any:
        fields = model.info._asdict()
        fields["problem"] = getattr(_raw, f"CLOZE_PROBLEM_{fields['problem'].upper()}")
        fields["tasks"] = sum(getattr(_raw, f"CLOZE_TASK_{task.upper()}") for task in fields["tasks"])
        fields["has_tokenizer"] = int(fields["has_tokenizer"])
        return fields

    def call_open(self, model: cloze.Model, case: Any) -> Any:
        cloze.Model(ROOT / case["folder"], threads=1)

    def call_open_memory(self, model: cloze.Model, case: Any) -> Any:
        files = {name: (ROOT / case["folder"] / name).read_bytes() for name in case["files"]}
        opened = cloze.Model.from_memory(files, threads=1)
        return self.answer(case["then"], opened)

    def call_label(self, model: cloze.Model, case: Any) -> Any:
        return model.label(case["label"])

    def call_head(self, model: cloze.Model, case: Any) -> Any:
        # `heads` is all of them, so that asking for one beyond the last is a name that is not there.
        names = model.heads
        if case["head"] < len(names):
            return names[case["head"]]
        return model.use_head("")

    def call_tokenize(self, model: cloze.Model, case: Any) -> Any:
        rows = model.tokenize(inputs(case), **options(case))
        return [
            {
                "input": number,
                "id": token.id,
                "type": token.type,
                "word": -1 if token.word is None else token.word,
                "text": -1 if token.part is None else token.part,
                "position": position,
                "start": token.start,
                "end": token.end,
            }
            for number, row in enumerate(rows)
            for position, token in enumerate(row)
        ]

    def call_token_text(self, model: cloze.Model, case: Any) -> Any:
        return model.token(case["id"])

    def call_token_id(self, model: cloze.Model, case: Any) -> Any:
        return model.token_id(case["token"])

    def call_decode(self, model: cloze.Model, case: Any) -> Any:
        return model.decode(case["ids"])

    def call_fill(self, model: cloze.Model, case: Any) -> Any:
        answers = model.fill(inputs(case), **options(case), **stopping(case))
        return [
            {"input": number, "position": word.position, "id": word.id, "probability": word.probability}
            for number, masks in enumerate(answers)
            for words in masks
            for word in words
        ]

    def call_score(self, model: cloze.Model, case: Any) -> Any:
        scores = model.score(inputs(case), **options(case))
        rows = model.score_tokens(inputs(case), **options(case))
        tokens = [
            {"input": number, "position": token.position, "id": token.id, "log_probability": token.log_probability}
            for number, row in enumerate(rows)
            for token in row
        ]
        return {
            "scores": [score._asdict() for score in scores],
            "tokens": tokens,
            "perplexity": cloze.perplexity(scores),
        }

    def call_next_sentence(self, model: cloze.Model, case: Any) -> Any:
        return {"is_next": model.next_sentence(inputs(case)).tolist()}

    def call_embed(self, model: cloze.Model, case: Any) -> Any:
        return {"embeddings": model.embed(inputs(case), **options(case), **stopping(case)).tolist()}

    def call_hidden_states(self, model: cloze.Model, case: Any) -> Any:
        states = model.hidden_states(inputs(case), case["layers"])
        rows = [row[:8].tolist() for own in states for layer in own for row in layer]
        return {"count": sum(own.size for own in states), "states": rows}

    def call_classify(self, model: cloze.Model, case: Any) -> Any:
        return {"values": model.classify(inputs(case)).tolist()}

    def call_tag(self, model: cloze.Model, case: Any) -> Any:
        labels = model.labels
        rows = model.tag(inputs(case), **options(case))
        return [
            {"input": number, **entity._asdict(), "label": labels.index(entity.label)}
            for number, row in enumerate(rows)
            for entity in row
        ]

    def call_tag_tokens(self, model: cloze.Model, case: Any) -> Any:
        return {"probabilities": np.concatenate(model.tag_tokens(inputs(case))).tolist()}

    def call_generate(self, model: cloze.Model, case: Any) -> Any:
        given = options(case)
        if "max_tokens" in given:
            given["max_new_tokens"] = given.pop("max_tokens")
        answers = model.generate(inputs(case), **given)
        return [
            {"input": number, "continuation": index, "id": int(id), "log_probability": float(value)}
            for number, continuations in enumerate(answers)
            for index, continuation in enumerate(continuations)
            for id, value in zip(continuation.ids, continuation.log_probabilities)
        ]

    def call_evaluate(self, model: cloze.Model, case: Any) -> Any:
        objective = name(case["objective"], "OBJECTIVE") if case["objective"] else None
        return model.evaluate(dataset(self.examples(case["examples"])), objective)

    def call_whiten(self, model: cloze.Model, case: Any) -> Any:
        whitened = model.whiten(inputs(case), case["width"])
        return self.answer(case["then"], whitened)

    def call_use_head(self, model: cloze.Model, case: Any) -> Any:
        model.use_head(case["head"])

    def call_adapt(self, model: cloze.Model, case: Any) -> Any:
        model.adapt(ROOT / case["folder"])

    def call_save(self, model: cloze.Model, case: Any) -> Any:
        model.save(ROOT / case["folder"], dtype=name(case["dtype"], "DTYPE"))

    def call_dataset(self, model: cloze.Model, case: Any) -> Any:
        dataset(self.examples(case["examples"]))

    def call_dataset_read(self, model: cloze.Model, case: Any) -> Any:
        path = self.folder / case["file"]
        if "content" in case:
            path.write_text(case["content"], encoding="utf-8")
        given = options(case)
        if "header" in given:
            given["header"] = {"detect": None, "present": True, "absent": False}[given["header"]]
        return {"count": len(cloze.Dataset.read(path, name(case["kind"], "TARGET"), **given))}

    def call_create(self, model: cloze.Model, case: Any) -> Any:
        cloze.Model.create(case["config"], ROOT / case["tokenizer"])

    def call_vocabulary(self, model: cloze.Model, case: Any) -> Any:
        cloze.learn_vocabulary(case["path"], self.folder / "vocabulary")

    def call_corpus(self, model: cloze.Model, case: Any) -> Any:
        path = self.folder / "text.txt"
        if "content" in case:
            path.write_text(case["content"], encoding="utf-8")
        return cloze.Corpus(model, path).info._asdict()

    # Calls that train

    def call_train(self, model: cloze.Model, case: Any) -> Any:
        data = dataset(self.examples(case["examples"]))
        dev = dataset(self.examples(case["dev"])) if "dev" in case else None
        trainer = cloze.Trainer(model, data, **recipe(case))
        told = Told(case.get("stop_at"))
        answer = told.answer(trainer.fit(data, dev, observer=told))
        answer["labels"] = trainer.labels
        answer["metrics"] = trainer.evaluate(data)
        answers = [self.then(kept, case) for kept in self.kept(trainer, model, case)]
        for other in answers[1:]:
            near({"default": 1e-6}, "then", other, answers[0])
        answer["then"] = answers[0] if answers else []
        return answer

    def kept(self, trainer: cloze.Trainer, base: cloze.Model, case: Any) -> list[cloze.Model]:
        models = []
        for way in case.get("keep", []):
            folder = self.folder / way
            if way == "snapshot":
                models.append(trainer.snapshot())
            elif way == "adapter":
                trainer.save_adapter(folder)
                models.append(base.adapt(folder))
            else:
                trainer.save(folder)
                opened = cloze.Model(folder, threads=1)
                models.append(opened if way == "save" else opened.use_head(case["options"]["head"]))
        return models

    def call_steps(self, model: cloze.Model, case: Any) -> Any:
        examples = self.examples(case["examples"])
        data = dataset(examples)
        trainer = cloze.Trainer(model, data, **recipe(case))
        start, answers = trainer.parameters(), []
        for step in case["do"]:
            ((what, argument),) = step.items()
            if what == "accumulate":
                answers.append({"loss": trainer.accumulate(data.select(argument))})
            elif what == "apply":
                answers.append({"gradient_norm": trainer.apply(argument)})
            elif what == "exchange_gradients":
                gradients = trainer.gradients()
                trainer.set_gradients(gradients)
                answers.append(summary(gradients))
            elif what == "read_buffers":
                buffers = [(c_float * count).from_address(at) for at, count in trainer.gradient_buffers()]
                answers.append(summary(np.concatenate([np.asarray(buffer) for buffer in buffers])))
            elif what == "checkpoint_and_resume":
                trainer.checkpoint(self.folder / "checkpoint")
                trainer.resume(self.folder / "checkpoint")
                answers.append(summary(trainer.parameters()))
            elif what == "average_with_start":
                mean = (trainer.parameters() + start) / 2
                trainer.set_parameters(mean)
                answers.append(summary(mean))
            elif what == "set_parameters":
                trainer.set_parameters(np.zeros(argument, dtype=np.float32))
            else:
                trainer.save_adapter(self.folder / "adapter")
        return {"labels": trainer.labels, "do": answers, "then": self.then(trainer.snapshot(), case)}

    def call_solve(self, model: cloze.Model, case: Any) -> Any:
        data = dataset(self.examples(case["examples"]))
        trainer = cloze.Trainer(model, data, **recipe(case))
        given = {key: name(value, "SOLVE") for key, value in case["solve"].items()}
        strength = trainer.solve(data, **given)
        then = self.then(trainer.snapshot(), case)
        return {"strength": strength, "metrics": trainer.evaluate(data), "then": then}

    def call_pretrain(self, model: cloze.Model, case: Any) -> Any:
        text, words = self.folder / "text.txt", self.folder / "vocabulary"
        text.write_text("\n\n".join(case["text"]), encoding="utf-8")
        cloze.learn_vocabulary(text, words, **named(case["vocabulary"]))
        created = cloze.Model.create(case["config"], words, **named(case["create"]))
        corpus = cloze.Corpus(created, text, **named(case["corpus"]))
        trainer = cloze.Trainer(created, **recipe(case))
        told = Told(None)
        answer = told.answer(trainer.pretrain(corpus, observer=told))
        answer["vocabulary"] = (words / "vocab.txt").read_text(encoding="utf-8").splitlines()
        answer["corpus"] = corpus.info._asdict()
        taught = trainer.snapshot()
        answer["metrics"] = taught.evaluate_corpus(corpus, **recipe(case))
        answer["then"] = self.then(taught, case)
        return answer


class Told:
    """What a fit tells."""

    def __init__(self, stop_at: int | None) -> None:
        self.steps: list[Any] = []
        self.evaluations: list[Any] = []
        self.stop_at = stop_at

    def __call__(self, event: cloze.Event) -> bool:
        if isinstance(event, cloze.Step):
            own = event._asdict()
            pretraining = ("mlm_loss", "nsp_loss") if event.mlm_loss > 0 or event.nsp_loss > 0 else ()
            fields = ("step", "total", "epoch", "loss", "learning_rate", "gradient_norm", "examples", "tokens")
            self.steps.append({field: own[field] for field in fields + pretraining})
        elif isinstance(event, cloze.Evaluation):
            self.evaluations.append({"step": event.step, "best": event.best, "metrics": event.metrics})
        return event.step == self.stop_at

    def answer(self, fit: cloze.Fit) -> dict[str, Any]:
        result = {
            "stopped_early": int(fit.stopped_early),
            "steps": fit.steps,
            "epochs": fit.epochs,
            "best_step": fit.best_step or 0,
            "best_value": fit.best_value or 0.0,
        }
        return {"steps": self.steps, "evaluations": self.evaluations, "result": result}


def inputs(case: Any) -> list[Any]:
    """The inputs of a case."""
    return [one_input(given) for given in case["inputs"]]


def one_input(given: Any) -> Any:
    if "ids" in given:
        return cloze.Ids(given["ids"], given.get("types"))
    if "utf8" in given:
        return bytes.fromhex(given["utf8"])
    text = given["text"] * given.get("times", 1)
    return (text, given["pair"]) if "pair" in given else text


def dataset(examples: list[Any]) -> cloze.Dataset:
    """Examples of a case."""
    data = cloze.Dataset()
    for given in examples:
        if "words" in given:
            data.add_words(given["words"], given.get("tags"))
        else:
            data.add([one_input(given)], [target(given)])
    return data


def target(given: Any) -> Any:
    if "answer" in given:
        # Python counts characters.
        start = len(given["pair"].encode()[: given["start"]].decode())
        return cloze.Answer(given["answer"], start)
    if "token_labels" in given:
        return cloze.TokenLabels(given["token_labels"])
    return next((given[kind] for kind in ("label", "labels", "number", "numbers") if kind in given), None)


def name(value: Any, *groups: str) -> Any:
    """The name that Python has for a constant of cloze.h."""
    if not isinstance(value, str) or not value.startswith("CLOZE_"):
        return value
    group = next(group for group in groups if value.startswith(f"CLOZE_{group}_"))
    return value[len(f"CLOZE_{group}_") :].lower()


GROUPS = ("OFFSETS", "SCORE", "POOLING", "AGGREGATION", "FORMAT", "HEADER", "CASING", "CORPUS", "OBJECTIVE")


def named(given: Any) -> dict[str, Any]:
    return {key: name(value, *GROUPS) for key, value in given.items()}


def options(case: Any) -> dict[str, Any]:
    """Options of a call as Python has them."""
    given = dict(case.get("options", {}))
    text = given.pop("text", "")
    given = named(given)
    if text == "CLOZE_TEXT_PLAIN":
        given["plain"] = True
    elif text == "CLOZE_TEXT_TRUNCATE":
        given["truncate"] = True
    elif text:
        given["text"] = text
    return given


def stopping(case: Any) -> dict[str, Any]:
    """A flag that is set, or a callback that stops."""
    if case.get("cancel") == "before":
        flag = cloze.Cancel()
        flag.set()
        return {"cancel": flag}
    return {"progress": lambda done, total: True} if case.get("cancel") == "progress" else {}


def recipe(case: Any) -> dict[str, Any]:
    """Options of a training as Python has them."""
    given = dict(case.get("options", {}))
    switches = {switch[len(SWITCHES) :].lower(): True for switch in given.pop("switches", [])}
    groups = ("OBJECTIVE", "TRAINABLE", "ORDER", "SCHEDULE")
    return {**{key: name(value, *groups) for key, value in given.items()}, **switches}


def summary(values: Any) -> dict[str, Any]:
    numbers = values.astype(np.float64)
    return {"count": values.size, "sum": float(numbers.sum()), "norm": float(np.sqrt((numbers**2).sum()))}


def near(tolerances: Any, field: str, found: Any, expected: Any) -> None:
    """Fails where two values differ by more than the tolerance of their field."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), field
        for key, value in expected.items():
            near(tolerances, key, found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected), field
        for own, other in zip(found, expected):
            near(tolerances, field, own, other)
    elif isinstance(expected, float):
        allowed = tolerances.get(field, tolerances["default"]) * max(1.0, abs(expected))
        assert abs(found - expected) <= allowed, f"{field}: {found}, expected {expected}"
    elif expected is None:
        assert found is None or math.isnan(found), field
    else:
        assert found == expected, field


def cases() -> list[Any]:
    file = json.loads((ROOT / "bindings/vectors.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in file["cases"]]


@pytest.mark.parametrize("case", cases())
def test_case(case: Any, vectors: Any, tmp_path: Path) -> None:
    scenario = Scenario(vectors, tmp_path)
    try:
        answer = scenario.answer(case)
    except cloze.Error as error:
        if isinstance(error, cloze.Unsupported) and "linalg" in error.message:
            pytest.skip(error.message)
        assert "error" in case, error
        expected = case["error"]
        assert type(error).status == getattr(_raw, expected["status"])
        assert expected["message"] in error.message
        return
    assert "error" not in case, answer
    own = case.get("tolerance", {})
    tolerances = own if "default" in own else {**vectors["tolerance"], **own}
    near(tolerances, "", answer, case["expected"])


def test_constants_are_those_of_the_header(vectors: Any) -> None:
    for constant, value in vectors["constants"].items():
        assert getattr(_raw, constant) == value
