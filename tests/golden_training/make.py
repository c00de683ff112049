#!/usr/bin/env python3
"""Writes the golden training folders next to this file: small random models, the gradients of
their losses, LoRA adapters, and ten steps of AdamW, as PyTorch, transformers and PEFT give them.

Made with the versions of ../golden/make.py, whose helpers it uses, and peft 0.21.2. The
relative_key folders need transformers 4.57.1 in a folder of its own: see there.

    make.py --tf4 TF4            everything
    make.py                      everything but the relative_key folders
    make.py --only sequence      one folder (repeatable)
    make.py --check --tf4 TF4    build in a temporary folder, compare byte by byte with the
                                 committed files, look for degenerate gradients

Every number is computed in float64 from the float32 parameters in the folders and rounded
once, so it is the gradient itself, not one library's rounding of it; what float32 makes of
the same steps is printed while building. README.md describes the folders.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("golden_make", HERE.parent / "golden" / "make.py")
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.numpy import load_file
from transformers import (
    AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification, BertConfig,
    BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining, BertForQuestionAnswering,
    BertForSequenceClassification, BertForTokenClassification, get_linear_schedule_with_warmup,
)

torch.set_grad_enabled(True)
IGNORED = -100
VOCABULARY = 119
POSITIONS = 16
LENGTHS = (3, 9, 1, 6)
EXACT = 1e-12


# ---- models -----------------------------------------------------------------

def sizes(**kw):
    """Three heads of eight, an intermediate size and a vocabulary that no vector divides."""
    return dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
                intermediate_size=37, max_position_embeddings=POSITIONS, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0, initializer_range=0.25) | kw


def bert(**kw):
    return BertConfig(**sizes(**kw))


def albert(**kw):
    return AlbertConfig(**sizes(embedding_size=16, classifier_dropout_prob=0.0, **kw))


def labels(n, **kw):
    return dict(id2label={i: f"label {i}" for i in range(n)}, label2id={f"label {i}": i for i in range(n)}, **kw)


def stored(folder):
    """The model of a folder as it trains: float32 parameters, carried in float64."""
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    return golden.load(getattr(transformers, name), folder).double()


# ---- batches ----------------------------------------------------------------

def generator(*words):
    return np.random.default_rng([zlib.crc32(w.encode()) for w in words])


def sequences(rng, lengths, types):
    """Ids over all rows, the padding id among them (twice in the longest: it is attended to like any
    other, and its row of the word table gets no gradient from the embedding) and some ids repeated."""
    ids = [rng.integers(1, VOCABULARY, n) for n in lengths]
    for row in ids:
        row[0] = 2
    ids[1][[4, 7]] = 0
    ids[3][[2, 4]] = ids[1][1]
    segments = {"zeros": lambda n: [0] * n, "pairs": lambda n: [int(i >= (n + 1) // 2) for i in range(n)]}[types]
    return {"ids": [row.tolist() for row in ids], "types": [segments(n) for n in lengths]}


def some_tokens(rng, lengths, classes, share):
    """A label for each token, the others ignored; the one-token sequence has none."""
    rows = [[int(rng.integers(classes)) if rng.random() < share and n > 1 else IGNORED for _ in range(n)] for n in lengths]
    rows[1][0], rows[1][3], rows[3][5] = IGNORED, int(rng.integers(classes)), int(rng.integers(classes))
    return rows


def spans(rng, lengths):
    starts = [int(rng.integers((n + 1) // 2)) for n in lengths]
    return {"starts": starts, "ends": [min(s + int(rng.integers(1, 4)), n - 1) for s, n in zip(starts, lengths)]}


TARGETS = {
    "single_label": lambda rng, lengths, n: {"classes": [int(c) for c in rng.integers(0, n, len(lengths))]},
    "multi_label": lambda rng, lengths, n: {"values": rng.integers(0, 2, (len(lengths), n)).astype(float).tolist()},
    "regression": lambda rng, lengths, n: {"values": (rng.integers(-8, 9, (len(lengths), n)) / 4).tolist()},
    "token": lambda rng, lengths, n: {"tokens": some_tokens(rng, lengths, n, 0.6)},
    "question_answering": lambda rng, lengths, n: spans(rng, lengths),
    "masked_lm": lambda rng, lengths, n: {"tokens": some_tokens(rng, lengths, VOCABULARY, 0.25)},
    "next_sentence": lambda rng, lengths, n: {"next": [int(c) for c in rng.integers(0, 2, len(lengths))]},
}
TARGETS["pretraining"] = lambda rng, lengths, n: TARGETS["masked_lm"](rng, lengths, n) | TARGETS["next_sentence"](rng, lengths, n)


def batch_of(name, task, classes, lengths=LENGTHS, types="zeros"):
    rng = generator(name, "batch")
    return sequences(rng, lengths, types) | {"targets": TARGETS[task](rng, lengths, classes)}


def padded(rows, value):
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def feed(batch):
    """Padding is told by the mask alone: id 0 occurs inside sequences too."""
    return {"input_ids": padded(batch["ids"], 0), "token_type_ids": padded(batch["types"], 0),
            "attention_mask": padded([[1] * len(row) for row in batch["ids"]], 0)}


# ---- losses -----------------------------------------------------------------

def loss_of(model, task, batch, smoothing=0.0, class_weights=None):
    """The mean loss, HuggingFace's own wherever it has one, and the logits by name."""
    inputs, targets = feed(batch), batch["targets"]
    real = inputs["attention_mask"].bool()
    if smoothing or class_weights:
        logits = model(**inputs).logits
        if task == "token":
            logits, wanted = logits[real], torch.tensor(sum(targets["tokens"], []))
        else:
            wanted = torch.tensor(targets["classes"])
        weight = None if class_weights is None else torch.tensor(class_weights, dtype=logits.dtype)
        return F.cross_entropy(logits, wanted, weight, label_smoothing=smoothing), {"logits": logits}
    if task == "question_answering":
        return span_loss(model, inputs, real, targets)
    if task == "pretraining":
        out = model(**inputs, labels=padded(targets["tokens"], IGNORED), next_sentence_label=torch.tensor(targets["next"]))
        return out.loss, {"logits.mlm": out.prediction_logits[real], "logits.nsp": out.seq_relationship_logits}
    if task in ("token", "masked_lm"):
        out = model(**inputs, labels=padded(targets["tokens"], IGNORED))
        return out.loss, {"logits": out.logits[real]}
    dtype = next(model.parameters()).dtype
    wanted = {"single_label": lambda: torch.tensor(targets["classes"]), "next_sentence": lambda: torch.tensor(targets["next"]),
              "multi_label": lambda: torch.tensor(targets["values"], dtype=dtype),
              "regression": lambda: torch.tensor(targets["values"], dtype=dtype)}[task]()
    out = model(**inputs, labels=wanted)
    return out.loss, {"logits": out.logits}


def span_loss(model, inputs, real, targets):
    """HuggingFace lets the logits of padding into the softmax, so its loss changes with the batch's
    width; here each sequence has a softmax of its own, as when it is run alone."""
    out = model(**inputs)
    ends = [(out.start_logits, targets["starts"]), (out.end_logits, targets["ends"])]
    start, end = (F.cross_entropy(l.masked_fill(~real, float("-inf")), torch.tensor(t)) for l, t in ends)
    return (start + end) / 2, {"logits": torch.stack([out.start_logits[real], out.end_logits[real]], -1)}


def alone(batch, i):
    return {key: [batch[key][i]] for key in ("ids", "types")} | {"targets": {k: [v[i]] for k, v in batch["targets"].items()}}


def check_raggedness(model, task, batch, logits):
    """Padding must not show: each sequence run alone gives the same logits (and, where the loss is
    ours, HuggingFace gives the same loss for it)."""
    parts = {}
    for i in range(len(batch["ids"])):
        one = alone(batch, i)
        for name, part in loss_of(model, task, one)[1].items():
            parts.setdefault(name, []).append(part)
        if task == "question_answering":
            theirs = model(**feed(one), start_positions=torch.tensor(one["targets"]["starts"]), end_positions=torch.tensor(one["targets"]["ends"])).loss
            assert abs(theirs - loss_of(model, task, one)[0]) < EXACT
    for name, rows in parts.items():
        assert (torch.cat(rows) - logits[name]).abs().max() < EXACT, name


# ---- files ------------------------------------------------------------------

def exact(x):
    return float(f"{float(x):.12g}")


def float32(tensors):
    return {k: v.detach().numpy().astype(np.float32) for k, v in tensors.items()}


def save(folder, model, tensors, info):
    golden.save_expected(folder, model, float32(tensors), info)


def file_name(parameter):
    """The key of a parameter in the files: PEFT's names lose what only exists in memory."""
    return parameter.replace(".modules_to_save.default", "").replace(".default", "")


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {file_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}


def report_float32(folder, model, task, batch, options, wanted):
    """How far float32 in torch is from the values: the order of the tolerance that a test needs."""
    got = gradients(model.float(), loss_of(model, task, batch, **options)[0])
    worst = max((float((got[n] - g).abs().max() / g.norm()), n) for n, g in wanted.items() if g.norm() > EXACT)
    print(f"{folder.name}: float32 is off by {worst[0]:.1e} of the norm of {worst[1]}")


# ---- gradients --------------------------------------------------------------

SINGLE, MULTI = {"problem_type": "single_label_classification"}, {"problem_type": "multi_label_classification"}
REGRESSION = {"problem_type": "regression"}
SEQUENCE = BertForSequenceClassification

# name: task, classes, (class of the model, its config) or the folder whose model it shares, what else
GRADIENTS = {
    "sequence": ("single_label", 3, (SEQUENCE, lambda: bert(**labels(3, **SINGLE))), {}),
    "sequence_weighted": ("single_label", 3, "sequence", {"smoothing": 0.1, "class_weights": [0.5, 2.0, 1.25]}),
    "sequence_smoothed": ("single_label", 3, "sequence", {"smoothing": 0.1}),
    "pairs": ("single_label", 3, "sequence", {"types": "pairs", "lengths": (4, 9, 3, 6)}),
    "multilabel": ("multi_label", 4, (SEQUENCE, lambda: bert(**labels(4, **MULTI), hidden_act="gelu_new")), {}),
    "regression": ("regression", 1, (SEQUENCE, lambda: bert(**labels(1, **REGRESSION))), {}),
    "regression3": ("regression", 3, (SEQUENCE, lambda: bert(**labels(3, **REGRESSION), hidden_act="relu")), {}),
    "token": ("token", 5, (BertForTokenClassification, lambda: bert(**labels(5))), {}),
    "token_weighted": ("token", 5, "token", {"smoothing": 0.1, "class_weights": [0.25, 1.0, 2.0, 1.5, 3.0]}),
    "question_answering": ("question_answering", 2, (BertForQuestionAnswering, bert), {"types": "pairs"}),
    "masked_lm": ("masked_lm", 0, (BertForMaskedLM, bert), {}),
    "masked_lm_untied": ("masked_lm", 0, (BertForMaskedLM, lambda: bert(tie_word_embeddings=False)), {}),
    "pretraining": ("pretraining", 0, (BertForPreTraining, bert), {"types": "pairs", "lengths": (4, 9, 3, 6)}),
    "next_sentence": ("next_sentence", 2, (BertForNextSentencePrediction, bert), {"types": "pairs", "lengths": (4, 9, 3, 6)}),
    "f16": ("single_label", 3, (SEQUENCE, lambda: bert(**labels(3, **SINGLE))), {"dtype": torch.float16}),
    "albert_sequence": ("single_label", 3, (AlbertForSequenceClassification, lambda: albert(**labels(3, **SINGLE))), {}),
    "albert_masked_lm": ("masked_lm", 0, (AlbertForMaskedLM, albert), {}),
}
RELATIVE = {
    name: ("single_label", 3, (SEQUENCE, lambda name=name: bert(position_embedding_type=name, **labels(3, **SINGLE))), {})
    for name in ("relative_key", "relative_key_query")
}


def make_gradients(folder):
    task, classes, origin, extra = (GRADIENTS | RELATIVE)[folder.name]
    if isinstance(origin, str):
        source = f"../{origin}"
    else:
        source = "."
        save_random(folder, *origin, extra.get("dtype"))
    options = {k: extra[k] for k in ("smoothing", "class_weights") if k in extra}
    model = stored(folder / source)
    batch = batch_of(folder.name, task, classes, **{k: extra[k] for k in ("lengths", "types") if k in extra})
    loss, logits = loss_of(model, task, batch, **options)
    check_raggedness(model, task, batch, logits)
    found = gradients(model, loss)
    assert set(found) <= set(load_file(folder / source / "model.safetensors"))
    save(folder, model, {f"grad.{n}": g for n, g in found.items()} | logits,
         {"model": source, "task": task, "batch": batch, **options, "loss": exact(loss)})
    report_float32(folder, model, task, batch, options, {n: g.clone() for n, g in found.items()})


def save_random(folder, cls, config, dtype=None):
    with torch.no_grad():
        model = golden.randomise(cls(config()), folder.name)
    golden.save_model(model.to(dtype) if dtype else model, folder, tokenizer=False)


# ---- LoRA -------------------------------------------------------------------

ADAPTERS = {
    "lora": {},
    "lora_rslora": {"use_rslora": True},
    "lora_patterns": {"rank_pattern": {"layer.1.attention.self.query": 2}, "alpha_pattern": {"layer.0.attention.self.value": 16}},
}


def make_adapter(folder):
    """Random A, B and head on the model of `sequence`, in the files that PEFT writes."""
    from peft import LoraConfig, get_peft_model
    base = golden.load(SEQUENCE, folder.parent / "sequence")
    model = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0,
                                            target_modules=["query", "value"], **ADAPTERS[folder.name]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.from_numpy(generator(folder.name, name).normal(0, 0.3, parameter.shape)))
    model.peft_config["default"].base_model_name_or_path = "../../sequence"
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink()
    # A set of Python, in an order of its own in each run.
    golden.edit_json(folder / "adapter" / "adapter_config.json", lambda c: c["target_modules"].sort())

    model = adapted(folder)
    batch = batch_of(folder.name, "single_label", 3)
    loss, logits = loss_of(model, "single_label", batch)
    info = {"model": "../sequence", "adapter": "adapter", "task": "single_label", "batch": batch, "loss": exact(loss)}
    without, other = loss_of(stored(folder.parent / "sequence"), "single_label", batch)
    assert (other["logits"] - logits["logits"]).abs().max() > 0.1
    found = gradients(model, loss)
    assert set(found) == set(load_file(folder / "adapter" / "adapter_model.safetensors"))
    save(folder, model.get_base_model(), {f"grad.{n}": g for n, g in found.items()} | logits, info)
    report_float32(folder, model, "single_label", batch, {}, {n: g.clone() for n, g in found.items()})


def adapted(folder):
    from peft import PeftModel
    base = golden.load(SEQUENCE, folder.parent / "sequence")
    return PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True).eval().double()


# ---- ten steps of AdamW -----------------------------------------------------

HYPER = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01,
         "schedule": "linear", "warmup_steps": 2, "steps": 10, "max_gradient_norm": 1.0}
CURVES = {
    # name: task, classes, where the model comes from, its adapter, what trains, the peak learning rate
    "curve_sequence": ("single_label", 3, "../sequence", None, "all", 1e-2),
    "curve_top1": ("single_label", 3, "../sequence", None, "top:1", 1e-2),
    "curve_lora": ("single_label", 3, "../sequence", "../lora/adapter", "lora", 2e-2),
    "curve_masked_lm": ("masked_lm", 0, "../masked_lm", None, "all", 1e-2),
}


def open_curve(folder):
    task, classes, source, adapter, trainable, _ = CURVES[folder.name]
    model = adapted(folder.parent / "lora") if adapter else stored(folder / source)
    if trainable == "top:1":
        for part in (model.bert.embeddings, model.bert.encoder.layer[0]):
            part.requires_grad_(False)
    return model


def decays(name):
    """transformers.Trainer: neither biases nor LayerNorms."""
    return "bias" not in name and "LayerNorm" not in name


def train(model, task, batches, rate):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in named if decays(n) == d], "weight_decay": HYPER["weight_decay"] * d} for d in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(HYPER["beta1"], HYPER["beta2"]), eps=HYPER["epsilon"], foreach=False)
    schedule = get_linear_schedule_with_warmup(optimizer, HYPER["warmup_steps"], HYPER["steps"])
    steps = []
    for step in range(HYPER["steps"]):
        loss, _ = loss_of(model, task, batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in named], HYPER["max_gradient_norm"])
        steps.append({"loss": exact(loss), "gradient_norm": exact(norm), "learning_rate": exact(optimizer.param_groups[0]["lr"])})
        optimizer.step()
        schedule.step()
    return steps, {file_name(n): p.detach() for n, p in named if p.grad is not None}


def make_curve(folder):
    task, classes, source, adapter, trainable, rate = CURVES[folder.name]
    batches = [batch_of(f"{folder.name} {i}", task, classes, lengths) for i, lengths in enumerate([LENGTHS, (5, 8, 2, 7)])]
    model = open_curve(folder)
    start = {file_name(n): p.detach().clone() for n, p in model.named_parameters()}
    steps, final = train(model, task, batches, rate)
    info = {"model": source, **({"adapter": adapter} if adapter else {}), "task": task, "trainable": trainable, **HYPER,
            "learning_rate": rate, "decayed": [n for n in final if decays(n)], "batches": batches, "curve": steps}
    save(folder, getattr(model, "get_base_model", lambda: model)(), {f"final.{n}": p for n, p in final.items()}, info)

    rough, values = train(open_curve(folder).float(), task, batches, rate)
    loss = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, rough))
    norm = max(abs(a["gradient_norm"] / b["gradient_norm"] - 1) for a, b in zip(steps, rough))
    drift = sorted(((float((values[n] - final[n]).abs().max()), n) for n in final if not n.endswith("key.bias")), reverse=True)
    idle = max((float((values[n] - final[n]).abs().max()) for n in final if n.endswith("key.bias")), default=0.0)
    moved = min((float((final[n] - start[n]).abs().max()), n) for n in final if not n.endswith("key.bias"))
    print(f"{folder.name}: loss {steps[0]['loss']:.3f} to {steps[-1]['loss']:.3f}; float32 is off by {loss:.1e} in losses, "
          f"{norm:.1e} of norms, {drift[0][0]:.1e} in {drift[0][1]}, {idle:.1e} in key biases; {moved[1]} moved least, by {moved[0]:.1e}")


# ---- checks -----------------------------------------------------------------

def shifts_a_softmax(folder, name):
    """A key's bias adds the same to all scores of a row, unless relative_key_query multiplies it with
    the distance table; what adds the same to all tokens' logits of a span does nothing either."""
    if folder.name == "question_answering" and name.endswith(("layer.1.output.LayerNorm.bias", "qa_outputs.bias")):
        return True
    return name.endswith("key.bias") and folder.name != "relative_key_query"


def degenerate(folder):
    """Complaints about values that would let a wrong implementation pass."""
    tensors = load_file(folder / "expected.safetensors")
    info = json.loads((folder / "expected.json").read_text())
    bad = []
    for name, value in tensors.items():
        size = float(np.abs(value).max())
        if name.startswith("grad.") and shifts_a_softmax(folder, name):
            bad += [f"{name} is {size:.1e}, not zero"] if size > 1e-9 else []
        elif not 1e-3 < size < 30:
            bad.append(f"{name}: largest value {size:.1e}")
    word = next((v for k, v in tensors.items() if k.startswith("grad.") and k.endswith("word_embeddings.weight")), None)
    tied = info["task"] in ("masked_lm", "pretraining") and folder.name != "masked_lm_untied"
    if word is not None and (np.abs(word[0]).max() > 0) != tied:
        bad.append("row 0 of the word table")
    if info["task"] == "question_answering":
        starts, ends = (info["batch"]["targets"][k] for k in ("starts", "ends"))
        if sum(a != b for a, b in zip(starts, ends)) < 3:
            bad.append("starts and ends could be swapped")
    losses = [s["loss"] for s in info.get("curve", [])]
    if losses and not losses[-2] < 0.8 * losses[0]:
        bad.append(f"the loss hardly moves: {losses}")
    if losses and not (any(s["gradient_norm"] > 1.2 for s in info["curve"])):
        bad.append("nothing is clipped")
    return bad


# ---- main -------------------------------------------------------------------

FOLDERS = dict.fromkeys(GRADIENTS, make_gradients) | dict.fromkeys(ADAPTERS, make_adapter) | dict.fromkeys(CURVES, make_curve)
TF4_FOLDERS = dict.fromkeys(RELATIVE, make_gradients)


def build(root, names):
    for name in names:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (FOLDERS | TF4_FOLDERS)[name](folder)


def under_tf4(site, *args):
    subprocess.run([sys.executable, __file__, *args], check=True, env=os.environ | {"PYTHONPATH": site})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*FOLDERS, *TF4_FOLDERS])
    parser.add_argument("--tf4", help="folder that holds transformers 4.57.1")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", default=HERE, type=Path, help="where the folders go")
    args = parser.parse_args()

    if golden.TF4:
        assert transformers.__version__ == "4.57.1", transformers.__version__
        build(args.out, args.only)
        return
    assert transformers.__version__ == "5.23.0", transformers.__version__

    names = args.only or [*FOLDERS, *TF4_FOLDERS]
    if not args.tf4:
        left = [n for n in names if n in TF4_FOLDERS]
        names = [n for n in names if n in FOLDERS]
        if left:
            print("left alone without --tf4:", *left, file=sys.stderr)
    root = Path(tempfile.mkdtemp()) if args.check else args.out
    if args.check and args.only:
        # The folders whose models others share.
        for source in ("sequence", "masked_lm", "lora"):
            shutil.copytree(HERE / source, root / source)
    build(root, [n for n in names if n in FOLDERS])
    old = [n for n in names if n in TF4_FOLDERS]
    if old:
        under_tf4(args.tf4, "--out", str(root), *(a for n in old for a in ("--only", n)))
    if not args.check:
        return

    bad = []
    for name in names:
        bad += golden.compare_bytes(root / name, HERE / name)
        bad += [f"{name}: {line}" for line in degenerate(root / name)]
    shutil.rmtree(root)
    print("\n".join(bad) if bad else "all files identical, no degenerate values")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
