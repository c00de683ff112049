#!/usr/bin/env python3
"""What a pretrained model is worth, as Markdown for its card.

    measure.py CLOZE MODEL SHARED [--pairs N] [--threads N] [--max-tokens N]
               [--only language|blimp]

CLOZE is the program, MODEL a folder with masked-LM and next-sentence heads, SHARED the folder with data/novels and
data/blimp. Prints, of the held-out novels, masked-LM perplexity and next-sentence accuracy, and of BLiMP how often the
acceptable sentence of a pair has the higher pseudo-log-likelihood (Salazar et al. 2020). Standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

# novels with this remainder in the sorted list are held out of training
HELD_OUT = 25


def ask(arguments):
    """The objects that the program prints; its complaint ends this one."""
    done = subprocess.run(arguments, stdout=subprocess.PIPE, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit status {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def language(args, document):
    """Metrics on the held-out novels. A document is a "novel", so that a text that does not follow comes from another book,
    as it nearly always does in training; or a "chapter", so that it often comes from the same."""
    novels = sorted((args.shared / "data" / "novels").glob("*.txt"))
    if not novels:
        sys.exit(f"{args.shared}: no data/novels/*.txt")
    with tempfile.TemporaryDirectory() as folder:
        for novel in novels[::HELD_OUT]:
            text = novel.read_text(encoding="utf-8")
            if document == "novel":
                text = "\n".join(line for line in text.splitlines() if line) + "\n"
            (pathlib.Path(folder) / novel.name).write_text(text, encoding="utf-8")
        command = [args.cloze, "eval", "--model", args.model, "--task", "mlm+nsp", "--data", folder, "--json"]
        if args.max_tokens:
            command += ["--max-tokens", str(args.max_tokens)]
        return ask(command + args.threading)[0]["metrics"]


def accuracy(args, file):
    """Phenomenon, pairs, and pairs whose acceptable sentence scores higher; equal scores are wrong."""
    pairs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][: args.pairs]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as texts:
        for pair in pairs:
            texts.write(f"{pair['sentence_good']}\n{pair['sentence_bad']}\n")
        texts.flush()
        command = [args.cloze, "score", "--method", "pll", "--model", args.model, "--file", texts.name, "--json"]
        scores = [answer["score"] for answer in ask(command + args.threading)]
    if len(scores) != 2 * len(pairs):
        sys.exit(f"{file}: {len(scores)} scores, expected {2 * len(pairs)}")
    right = sum(good > bad for good, bad in zip(scores[::2], scores[1::2]))
    return pairs[0]["linguistics_term"], len(pairs), right


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def blimp(args):
    files = sorted((args.shared / "data" / "blimp").glob("*.jsonl"))
    if not files:
        sys.exit(f"{args.shared}: no data/blimp/*.jsonl")
    row("BLiMP paradigm", "phenomenon", "pairs", "accuracy")
    row("---", "---", "---:", "---:")
    terms = {}
    for file in files:
        term, pairs, right = accuracy(args, file)
        row(file.stem, term.replace("_", " "), pairs, f"{100 * right / pairs:.1f}")
        terms.setdefault(term, []).append((pairs, right))
    print()
    row("BLiMP phenomenon", "pairs", "accuracy")
    row("---", "---:", "---:")
    everything = []
    for term, counts in sorted(terms.items()):
        summed(term.replace("_", " "), counts)
        everything += counts
    summed("**overall**", everything)


def summed(name, counts):
    pairs, right = (sum(column) for column in zip(*counts))
    row(name, pairs, f"{100 * right / pairs:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloze", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=None, help="pairs of each file [default: all]")
    parser.add_argument("--threads", type=int, default=None, help="worker threads [default: one for each processor]")
    parser.add_argument("--max-tokens", type=int, default=None, help="of held-out examples [default: the model's]")
    parser.add_argument("--only", choices=["language", "blimp"], help="one of the two measurements")
    args = parser.parse_args()
    args.threading = ["--threads", str(args.threads)] if args.threads else []
    if args.only != "blimp":
        row("held-out novels", "")
        row("---", "---:")
        for name, value in language(args, "novel").items():
            row(name.replace("_", " "), f"{value:.4g}")
        row("nsp accuracy, documents are chapters", f"{language(args, 'chapter')['nsp_accuracy']:.4g}")
        print()
    if args.only != "language":
        blimp(args)


if __name__ == "__main__":
    main()
