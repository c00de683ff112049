#!/usr/bin/env python3
"""Writes the folders `causal_lm` and `curve_causal_lm` next to this file: the gradients of a
small random BertLMHeadModel, and ten steps of AdamW. Everything is done as in make.py, with the
versions of ../golden/causal.py.

    causal.py            writes
    causal.py --check    builds in a temporary folder, compares byte by byte, looks for
                         degenerate values
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import make
import torch
import torch.nn.functional as F
from make import IGNORED, LENGTHS, golden, padded
from transformers import BertLMHeadModel


def batch_of(name, lengths, ignored):
    """Labels are the tokens themselves, as HuggingFace takes them; some are ignored."""
    batch = make.sequences(make.generator(name, "batch"), lengths, "zeros")
    tokens = [list(row) for row in batch["ids"]]
    for row, place in ignored:
        tokens[row][place] = IGNORED
    return batch | {"targets": {"tokens": tokens}}


def loss_of(model, task, batch):
    """Cross entropy of the next tokens. HuggingFace's own is rounded to float32 on the way: it is compared."""
    inputs, labels = make.feed(batch), padded(batch["targets"]["tokens"], IGNORED)
    out = model(**inputs, labels=labels)
    logits = out.logits[:, :-1].reshape(-1, out.logits.shape[-1])
    loss = F.cross_entropy(logits, labels[:, 1:].reshape(-1), ignore_index=IGNORED)
    assert abs(loss - out.loss) < 1e-5
    return loss, {"logits": out.logits[inputs["attention_mask"].bool()]}


make.loss_of = loss_of


def make_gradients(folder):
    make.save_random(folder, BertLMHeadModel, lambda: make.bert(is_decoder=True))
    model = make.stored(folder)
    batch = batch_of(folder.name, LENGTHS, [(1, 0), (1, 3), (1, 4), (3, 5)])
    loss, logits = loss_of(model, "causal_lm", batch)
    rows = [model(**make.feed({"ids": [i], "types": [t]})).logits[0] for i, t in zip(batch["ids"], batch["types"])]
    assert (torch.cat(rows) - logits["logits"]).abs().max() < make.EXACT
    found = make.gradients(model, loss)
    make.save(folder, model, {f"grad.{n}": g for n, g in found.items()} | logits,
              {"model": ".", "task": "causal_lm", "batch": batch, "loss": make.exact(loss)})
    make.report_float32(folder, model, "causal_lm", batch, {}, {n: g.clone() for n, g in found.items()})


def make_curve(folder):
    rate, task, source = 1e-2, "causal_lm", "../causal_lm"
    batches = [batch_of(f"{folder.name} {i}", lengths, []) for i, lengths in enumerate([LENGTHS, (5, 8, 2, 7)])]
    model = make.stored(folder / source)
    steps, final = make.train(model, task, batches, rate)
    info = {"model": source, "task": task, "trainable": "all", **make.HYPER, "learning_rate": rate,
            "decayed": [n for n in final if make.decays(n)], "batches": batches, "curve": steps}
    make.save(folder, model, {f"final.{n}": p for n, p in final.items()}, info)
    rough, values = make.train(make.stored(folder / source).float(), task, batches, rate)
    loss = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, rough))
    norm = max(abs(a["gradient_norm"] / b["gradient_norm"] - 1) for a, b in zip(steps, rough))
    drift = max((float((values[n] - final[n]).abs().max()), n) for n in final if not n.endswith("key.bias"))
    print(f"{folder.name}: loss {steps[0]['loss']:.3f} to {steps[-1]['loss']:.3f}; float32 is off by {loss:.1e} in losses, "
          f"{norm:.1e} of norms, {drift[0]:.1e} in {drift[1]}")


FOLDERS = {"causal_lm": make_gradients, "curve_causal_lm": make_curve}


def build(root):
    for name, write in FOLDERS.items():
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
        write(root / name)


def degenerate(folder):
    """As make.py; a tied decoder gives the padding's row a gradient."""
    return [line for line in make.degenerate(folder) if line != "row 0 of the word table"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if not args.check:
        return build(make.HERE)
    root, bad = Path(tempfile.mkdtemp()), []
    build(root)
    for name in FOLDERS:
        bad += golden.compare_bytes(root / name, make.HERE / name)
        bad += [f"{name}: {line}" for line in degenerate(root / name)]
    shutil.rmtree(root)
    print("\n".join(bad) if bad else "all files identical, no degenerate values")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
