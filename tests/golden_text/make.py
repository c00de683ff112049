# transformers 5.23.0, tokenizers 0.23.3 (the Python packages), Python 3.11 or later
"""Writes lines.tsv: hashes of what HuggingFace's fast tokenizers make of the data sets beside the checkout.

    python make.py SHARED > lines.tsv

SHARED is the folder that tests/oracle finds. Per data set the lines are the first 1,000 that are not blank, of its
.txt, .tsv, .csv, .jsonl and .conll files in the order of their names (bytes), each line stripped of ASCII white space only.
A row is: data set, tokenizer, source, then an FNV-1a 64 for each block of 50 lines. Of each line it takes, as 4
little-endian bytes each: the number of tokens, then per token id, type, start and end (code points) and word
(2^32 - 1 for none).

Sources: `json` is tokenizer.json as it stands. `vocab` is transformers' BertTokenizerFast on vocab.txt, told the casing.
`pair` is `json` on each line with the next one, cut to 32 tokens longest first.
"""
import sys
from pathlib import Path

import tokenizers
import transformers

assert transformers.__version__ == "5.23.0", transformers.__version__
TOKENIZERS = {
    "bert-base-uncased": True,
    "bert-base-cased": False,
    "bert-base-chinese": False,
    "bert-base-multilingual-cased": False,
}
BLOCK, LINES, MAX = 50, 1000, 32


def lines(folder):
    kept = []
    files = [f for f in folder.iterdir() if f.suffix in (".txt", ".tsv", ".csv", ".jsonl", ".conll")]
    for file in sorted(files, key=lambda f: f.name.encode()):
        for line in file.read_bytes().split(b"\n"):
            line = line.strip(b" \t\r\x0b\x0c").decode()
            if line:
                kept.append(line)
                if len(kept) == LINES:
                    return kept
    return kept


def fnv(numbers, state):
    for number in numbers:
        for byte in number.to_bytes(4, "little"):
            state = ((state ^ byte) * 0x100000001B3) % 2**64
    return state


def numbers(encoding):
    yield len(encoding.ids)
    for id, type, (start, end), word in zip(encoding.ids, encoding.type_ids, encoding.offsets, encoding.word_ids):
        yield from (id, type, start, end, 2**32 - 1 if word is None else word)


def main(shared):
    for folder in sorted((shared / "data").iterdir(), key=lambda f: f.name.encode()):
        kept = lines(folder)
        for name, lower in TOKENIZERS.items():
            files = shared / "tokenizers" / name
            json = tokenizers.Tokenizer.from_file(str(files / "tokenizer.json"))
            json.no_truncation()
            json.no_padding()
            pair = tokenizers.Tokenizer.from_file(str(files / "tokenizer.json"))
            pair.no_padding()
            pair.enable_truncation(MAX, strategy="longest_first")
            vocab = transformers.BertTokenizerFast(vocab=str(files / "vocab.txt"), do_lower_case=lower)
            vocab = vocab.backend_tokenizer
            followers = kept[1:] + kept[:1]
            sources = {
                "json": lambda i: json.encode(kept[i]),
                "vocab": lambda i: vocab.encode(kept[i]),
                "pair": lambda i: pair.encode(kept[i], followers[i]),
            }
            for source, encode in sources.items():
                row = [folder.name, name, source]
                for block in range(0, len(kept), BLOCK):
                    state = 0xCBF29CE484222325
                    for i in range(block, min(block + BLOCK, len(kept))):
                        state = fnv(numbers(encode(i)), state)
                    row.append(f"{state:016x}")
                print(*row, sep="\t")


main(Path(sys.argv[1]))
