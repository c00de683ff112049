#!/usr/bin/env python3
"""Opens a folder that cloze pretrained with transformers, and compares what both make of some sentences.

    check.py FOLDER --cloze target/release/cloze
    check.py FOLDER --cloze target/release/cloze "The captain lit his [MASK] and looked at the sea." ...

transformers must miss no weight of the architecture that config.json names, nor of BertForMaskedLM, and split every text
into the same tokens. For every blank, log-probabilities of all tokens may differ by 2e-5, those below -8 by as much more
as they are larger: they are differences of logits of that size. So may those of next sentences, where the folder has that
head. Prints the largest differences and fails when one is too large. Needs torch and
transformers; README.md tells the versions.
"""

import argparse
import json
import math
import subprocess
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
LIMIT = 2e-5
# a probability below this is no normal number in float32, and its logarithm says little
LEAST = 1e-35
TEXTS = [
    "The old man looked at the [MASK] and said nothing.",
    "It was a [MASK] morning, and she walked [MASK] to the house.",
    "[MASK] is the capital of France, a large country in Europe.",
    "He had never seen such a thing before, not even in the [MASK] of his youth; it was quite [MASK].",
]
PAIRS = [
    ("The door opened slowly.", "A tall man came in and sat down by the fire."),
    ("She read the letter twice.", "Lobsters live in the North Atlantic."),
]


def load(kind, folder):
    model, info = getattr(transformers, kind).from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    missing = sorted(name for name in info["missing_keys"] if "position_ids" not in name)
    unexpected = sorted(info["unexpected_keys"])
    assert not missing, f"{kind} misses {missing}"
    assert not info["mismatched_keys"], f"{kind}: other shapes {info['mismatched_keys']}"
    print(f"{kind}: no weight missing, not used: {', '.join(unexpected) or 'none'}")
    return model.eval(), unexpected


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("texts", nargs="*", default=TEXTS)
    parser.add_argument("--cloze", default="target/release/cloze")
    args = parser.parse_args()

    def cloze(verb, *arguments):
        command = [args.cloze, verb, "--model", args.folder, "--json", *map(str, arguments)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return [json.loads(line) for line in out.splitlines()]

    config = transformers.AutoConfig.from_pretrained(args.folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder)
    (architecture,) = config.architectures
    own, unexpected = load(architecture, args.folder)
    # a pooler that was there before has no place in BertForMaskedLM, and is kept
    foreign = [name for name in unexpected if not name.startswith("bert.pooler.")]
    assert not foreign, f"{architecture} does not know {foreign}"
    model, unexpected = load("BertForMaskedLM", args.folder)
    foreign = [name for name in unexpected if not name.startswith(("bert.pooler.", "cls.seq_relationship."))]
    assert not foreign, f"BertForMaskedLM does not know {foreign}"

    worst, compared = 0.0, 0
    for text, line in zip(args.texts, cloze("fill", "--top-k", config.vocab_size, *args.texts)):
        encoded = tokenizer(text, return_tensors="pt")
        ids = encoded["input_ids"][0].tolist()
        (tokens,) = cloze("tokenize", text)
        assert ids == tokens["ids"], f"{text!r}: {tokens['ids']}, transformers has {ids}"
        with torch.no_grad():
            logits = model(**encoded).logits[0].double()
            if "logits" not in (out := own(**encoded)):  # BertForPreTraining calls them otherwise
                assert torch.equal(out.prediction_logits[0].double(), logits), "two architectures, two answers"
        places = [place for place, id in enumerate(ids) if id == tokenizer.mask_token_id]
        assert places and places == [mask["position"] for mask in line["masks"]], f"{text!r}: blanks at {places}"
        for place, mask in zip(places, line["masks"]):
            expected = torch.log_softmax(logits[place], -1)
            found = {one["id"]: one["probability"] for one in mask["candidates"]}
            assert len(found) == config.vocab_size, f"{len(found)} candidates of {config.vocab_size}"
            for id, probability in found.items():
                if probability > LEAST:
                    off = abs(math.log(probability) - expected[id].item())
                    worst = max(worst, off / max(1.0, -expected[id].item() / 8))
                    compared += 1
            best = mask["candidates"][0]
            print(f"  {text}  {place}: {best['token']} {best['probability']:.3f}")
    print(f"words: {compared} log-probabilities, off by at most {worst:.1e} of their size, allowed {LIMIT:.0e}")

    if architecture == "BertForPreTraining":
        off = 0.0
        for first, second in PAIRS:
            (line,) = cloze("nsp", first, second)
            with torch.no_grad():
                judged = own(**tokenizer(first, second, return_tensors="pt")).seq_relationship_logits[0].double()
            off = max(off, abs(math.log(line["is_next"]) - torch.log_softmax(judged, -1)[0].item()))
        print(f"next sentences: off by at most {off:.1e}, allowed {LIMIT:.0e}")
        worst = max(worst, off)
    sys.exit(not (compared and worst <= LIMIT))


main()
