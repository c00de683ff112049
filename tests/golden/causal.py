#!/usr/bin/env python3
"""Writes the folder `causal` next to this file: a small random BertLMHeadModel and what
HuggingFace says it answers. Models, texts and the layout of the files are those of make.py.

Made with (other versions may differ in the last digits, or in the files they write):

    python 3.11   torch 2.15.0   transformers 5.24.0   tokenizers 0.23.3
    huggingface_hub 2.4.0   safetensors 0.8.0   numpy 2.4.6

    causal.py            writes
    causal.py --check    builds in a temporary folder, compares byte by byte, and looks for
                         values that would let a wrong implementation pass
    causal.py --open DIR opens a folder that cloze saved from `causal`, and compares logits
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import (
    BertLMHeadModel, LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper,
)

import make

PAD, UNK, CLS, SEP, MASK = range(5)
NEVER = [PAD, UNK, CLS, MASK]


def log_probabilities(model, ids):
    """ln P of every token but the first."""
    logits = model(**make.feed(ids, [0] * len(ids))).logits[0].double().log_softmax(-1)
    return [logits[i, token].item() for i, token in enumerate(ids[1:])]


def chain_rule(model, tokenizer, texts):
    rows, total, count = [], 0.0, 0
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        values = log_probabilities(model, ids)
        total, count = total + sum(values), count + len(values)
        rows.append({"text": text, "ids": ids, "per_token": [make.number(v) for v in values],
                     "sum": make.number(sum(values))})
    corpus = {"sum": make.number(total), "tokens": count, "perplexity": make.number(math.exp(-total / count))}
    return {"sentences": rows, "corpus": corpus}


def greedy(model, tokenizer, text, most):
    """`generate` as a user calls it, and the logarithms that one pass over the result gives."""
    prompt = tokenizer(text)["input_ids"][:-1]
    length = make.MAX_POSITION if most is None else len(prompt) + most
    out = model.generate(torch.tensor([prompt]), do_sample=False, max_length=length, eos_token_id=SEP,
                         pad_token_id=PAD, suppress_tokens=NEVER)[0].tolist()
    new = out[len(prompt):]
    values = log_probabilities(model, out)[len(prompt) - 1:]
    return {"text": text, "max_tokens": most, "prompt": prompt, "new": new,
            "decoded": tokenizer.decode(out, skip_special_tokens=True),
            "per_token": [make.number(v) for v in values], "finished": new[-1] == SEP}


WARPS = [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 5, 1.0), (1.0, 0, 0.6), (0.7, 8, 0.7), (1.5, 3, 0.9)]


def warped(model, tokenizer, text):
    """What may come next, and how likely, in the order that `generate` has: temperature, top-k, top-p."""
    prompt = tokenizer(text)["input_ids"][:-1]
    logits = model(**make.feed(prompt, [0] * len(prompt))).logits[:, -1].clone()
    logits[:, NEVER] = -float("inf")
    cases = []
    for temperature, top_k, top_p in WARPS:
        steps = LogitsProcessorList()
        if temperature != 1.0:
            steps.append(TemperatureLogitsWarper(temperature))
        if top_k:
            steps.append(TopKLogitsWarper(top_k))
        if top_p < 1.0:
            steps.append(TopPLogitsWarper(top_p))
        chances = steps(torch.tensor([prompt]), logits.clone())[0].double().softmax(-1)
        kept = sorted(((p.item(), i) for i, p in enumerate(chances) if p > 0), reverse=True)
        cases.append({"temperature": temperature, "top_k": top_k, "top_p": top_p,
                      "ids": [i for _, i in kept], "probabilities": [make.number(p) for p, _ in kept]})
    return {"text": text, "cases": cases}


GREEDY = [("the cat", None), ("Anna walks to the", 12), ("", None), ("he was not happy, she", 1),
          ("it is a big old", 5), ("in Berl", None), ("see the red table on", None), ("they (", 20),
          ("it is a big old", None), ("Anna walks to the", None)]


def build(folder):
    folder.mkdir(parents=True)
    config = make.bert(is_decoder=True, num_hidden_layers=3, hidden_size=36, num_attention_heads=3,
                       intermediate_size=50)

    def adjust(model):
        # [SEP] and what is never generated come up now and then, so that both are seen to be treated as they should.
        model.cls.predictions.bias[SEP] += 3.5
        model.cls.predictions.bias[UNK] += 1.0
        model.cls.predictions.bias[MASK] += 1.0

    model, tensors, info = make.encoder(BertLMHeadModel, config, folder, adjust=adjust)
    tok = make.read_tokenizer(folder)
    info |= {"causal": chain_rule(model, tok, make.TEXTS + ["bird", ""]),
             "greedy": [greedy(model, tok, text, most) for text, most in GREEDY],
             "warped": [warped(model, tok, text) for text in ("the cat", "he was")]}
    make.save_expected(folder, model, tensors, info)


def degenerate(folder):
    bad = make.degenerate(folder)
    info = json.loads((folder / "expected.json").read_text())
    tensors = load_file(folder / "expected.safetensors")
    endings = [case["finished"] for case in info["greedy"]]
    if not 1 < sum(endings) < len(endings) - 1:
        bad.append(f"greedy: {sum(endings)} of {len(endings)} finish")
    lengths = [len(case["prompt"]) + len(case["new"]) for case in info["greedy"]]
    if max(lengths) < make.MAX_POSITION:
        bad.append("greedy: none reaches the last position")
    words = [case["new"] for case in info["greedy"]]
    if max(len(set(new)) for new in words) < 6:
        bad.append("greedy: few different tokens")
    # A choice must not hang on the last bit.
    for i in range(info["sequences"]):
        top = np.sort(tensors[f"logits.{i}"], -1)[:, -2:]
        if (top[:, 1] - top[:, 0]).min() < 1e-4:
            print(f"  logits.{i}: two likeliest only {(top[:, 1] - top[:, 0]).min():.1e} apart")
    wins = [int(tensors[f"logits.{i}"][row].argmax()) for i in range(info["sequences"])
            for row in range(len(tensors[f"logits.{i}"]))]
    if not set(NEVER) & set(wins):
        bad.append("what is never generated is never the likeliest")
    for text in info["warped"]:
        print("  kept:", [len(case["ids"]) for case in text["cases"]])
    print("  finished:", endings, "lengths:", lengths)
    return bad


def compare_saved(folder):
    """A folder that cloze wrote, in transformers."""
    ours, theirs = make.load(BertLMHeadModel, folder), make.load(BertLMHeadModel, make.HERE / "causal")
    assert json.loads((Path(folder) / "config.json").read_text())["architectures"] == ["BertLMHeadModel"]
    for ids, types in make.sequences("causal", ours.config.vocab_size):
        a, b = ours(**make.feed(ids, types)).logits, theirs(**make.feed(ids, types)).logits
        assert torch.equal(a, b), (a - b).abs().max()
    print("equal logits")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--open", type=Path)
    args = parser.parse_args()
    if args.open:
        return compare_saved(args.open)
    folder = make.HERE / "causal"
    if not args.check:
        shutil.rmtree(folder, ignore_errors=True)
        return build(folder)
    with tempfile.TemporaryDirectory() as tmp:
        made = Path(tmp) / "causal"
        build(made)
        bad = make.compare_bytes(made, folder) + degenerate(made)
    print("\n".join(bad) if bad else "all files identical, no degenerate values")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
