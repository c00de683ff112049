#!/usr/bin/env python3
"""Writes expected.json: the losses of fifty steps of pretraining, as PyTorch and transformers give them.

    CLOZE_GOLDEN=/tmp/golden cargo test --test pretraining losses_of_pytorch
    make.py /tmp/golden

The first command writes, for each corpus, the model that training begins with and the batches that it takes; the tests
may fail meanwhile. Needs torch and transformers; README.md tells the versions.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from transformers import BertForPreTraining, get_linear_schedule_with_warmup

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
HERE = Path(__file__).resolve().parent
RATE, WARMUP, DECAY, CLIP = 1e-3, 5, 0.01, 1.0
IGNORED = -100


def padded(lists, filler):
    longest = max(map(len, lists))
    return torch.tensor([list(one) + [filler] * (longest - len(one)) for one in lists])


def load(folder):
    model, info = BertForPreTraining.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    return model.train()


def groups(model):
    """Decay of weights, not of biases and norms, as transformers' Trainer has it."""
    norms = {f"{name}.{inner}" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)
             for inner, _ in module.named_parameters()}
    named = list(model.named_parameters())
    plain = {name for name, _ in named if name in norms or name.endswith("bias")}
    return [{"params": [p for name, p in named if name not in plain], "weight_decay": DECAY},
            {"params": [p for name, p in named if name in plain], "weight_decay": 0.0}]


def curve(place):
    model = load(place / "initial")
    batches = [json.loads(line) for line in (place / "batches.jsonl").read_text().splitlines()]
    optimizer = torch.optim.AdamW(groups(model), lr=RATE, betas=(0.9, 0.999), eps=1e-8)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, len(batches))
    found = {"fingerprint": (place / "fingerprint").read_text(), "loss": [], "mlm_loss": [], "nsp_loss": []}
    for batch in batches:
        ids, words = padded(batch["ids"], 0), padded(batch["words"], IGNORED)
        mask = padded([[1] * len(one) for one in batch["ids"]], 0)
        next_ = torch.tensor(batch["next"])
        out = model(input_ids=ids, token_type_ids=padded(batch["types"], 0), attention_mask=mask, labels=words,
                    next_sentence_label=next_)
        mlm = F.cross_entropy(out.prediction_logits.flatten(0, 1), words.flatten(), ignore_index=IGNORED)
        nsp = F.cross_entropy(out.seq_relationship_logits, next_)
        loss = mlm + nsp
        assert torch.allclose(loss, out.loss, rtol=1e-6), "transformers has another loss"
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        for key, value in [("loss", loss), ("mlm_loss", mlm), ("nsp_loss", nsp)]:
            found[key].append(round(value.item(), 6))
    return found


def main():
    torch.manual_seed(0)
    places = sorted(path.parent for path in Path(sys.argv[1]).glob("*/batches.jsonl"))
    assert places, f"{sys.argv[1]}: no batches"
    expected = {}
    for place in places:
        expected[place.name] = found = curve(place)
        print(f"{place.name}: loss {found['loss'][0]} to {found['loss'][-1]} in {len(found['loss'])} steps")
    lines = [f"  {json.dumps(name)}: {{\n" + ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in found.items())
             + "\n  }" for name, found in expected.items()]
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
