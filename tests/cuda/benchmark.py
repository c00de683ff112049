#!/usr/bin/env python3
"""Times cloze on a CUDA GPU against PyTorch in one run, and prints a table.

    benchmark.py --cloze ./cloze --texts sst2.tsv
    benchmark.py --cloze ./cloze --quick
    benchmark.py --cloze ./cloze --texts sst2.tsv --json cuda.json      for tests/bench/cuda.py, which makes the README's table

The model is a BERT-base of random weights in bf16 (H=768 L=12 A=12 F=3072, 30,522 tokens). Both sides turn token ids on
the host into mean-pooled embeddings on the host: what is timed is what a caller waits for.

  embed     B texts of 128 random tokens
  ragged    320 texts of --texts in batches of 32 and of 320; PyTorch pads each batch to its longest
  finetune  all layers of a classifier, 32 texts of 128 tokens: forward, backward, clipping, AdamW
  pretrain  masked words, 32 texts of 128 tokens, 15 % masked, the head on masked rows alone

PyTorch runs eagerly and compiled ("reduce-overhead": CUDA graphs), with scaled_dot_product_attention, bf16 weights for
answers and bf16 autocast for training. Needs torch and transformers.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as fn
from transformers import BertConfig, BertForPreTraining, BertForSequenceClassification, BertModel

WORDS = [f"[unused{i}]" for i in range(30522)]
MASKED = 19

# Columns, and the environment of each of cloze's.
OURS = {"cloze, driver alone": {"CLOZE_CUBLASLT": "own"}, "cloze, cuBLASLt where it is found": {}}
MODES = {"reduce-overhead": "torch.compile (CUDA graphs)", "eager": "PyTorch"}


def folder_of(path, seed=0):
    """A BERT-base folder with random weights and a vocabulary that any text can be spelled in."""
    torch.manual_seed(seed)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127)]
    vocabulary += letters + ["##" + letter for letter in letters]
    vocabulary += WORDS[: 30522 - len(vocabulary)]
    model = BertForPreTraining(BertConfig())
    model.save_pretrained(path)
    with open(os.path.join(path, "vocab.txt"), "w") as out:
        out.write("\n".join(vocabulary) + "\n")
    with open(os.path.join(path, "tokenizer_config.json"), "w") as out:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True}, out)


def median(work, seconds=1.0):
    """Median seconds of `work`, which waits for the device."""
    for _ in range(3):
        work()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begin < seconds and len(times) < 200):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def compiled(module, mode):
    return module if mode == "eager" else torch.compile(module, mode=mode, dynamic=False)


class Embed(torch.nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, ids, mask):
        states = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        if mask is None:
            return states.float().mean(1)
        weights = mask.unsqueeze(-1).float()
        return (states.float() * weights).sum(1) / weights.sum(1)


def torch_embed(folder, batch, seq, mode):
    bert = BertModel.from_pretrained(folder, attn_implementation="sdpa", add_pooling_layer=False)
    model = compiled(Embed(bert.cuda().to(torch.bfloat16).eval()), mode)
    host = torch.randint(1000, 30000, (batch, seq))

    @torch.inference_mode()
    def work():
        return model(host.cuda(), None).cpu()

    return median(work)


def torch_ragged(folder, lengths, batch, mode):
    bert = BertModel.from_pretrained(folder, attn_implementation="sdpa", add_pooling_layer=False)
    module = Embed(bert.cuda().to(torch.bfloat16).eval())
    model = module if mode == "eager" else torch.compile(module, dynamic=True)
    batches = []
    for start in range(0, len(lengths), batch):
        part = lengths[start:start + batch]
        longest = max(part)
        ids, mask = torch.zeros(len(part), longest, dtype=torch.long), torch.zeros(len(part), longest, dtype=torch.long)
        for row, length in enumerate(part):
            ids[row, :length] = torch.randint(1000, 30000, (length,))
            mask[row, :length] = 1
        batches.append((ids, mask))

    @torch.inference_mode()
    def work():
        for ids, mask in batches:
            model(ids.cuda(), mask.cuda()).cpu()

    return median(work)


def steps(model, loss_of, mode):
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    forward = compiled(loss_of, mode)

    def work():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return median(work)


def torch_finetune(folder, batch, seq, mode):
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa").cuda().train()
    ids = torch.randint(1000, 30000, (batch, seq)).cuda()
    labels = torch.arange(batch).remainder(2).cuda()
    return steps(model, lambda: model(input_ids=ids, labels=labels).loss, mode)


def torch_pretrain(folder, batch, seq, mode):
    model = BertForPreTraining.from_pretrained(folder, attn_implementation="sdpa").cuda().train()
    ids = torch.randint(1000, 30000, (batch, seq)).cuda()
    places = torch.stack([torch.randperm(seq)[:MASKED] + row * seq for row in range(batch)]).flatten().cuda()
    words = torch.randint(1000, 30000, (batch * MASKED,)).cuda()

    def loss():
        states = model.bert(input_ids=ids).last_hidden_state
        masked = states.reshape(-1, states.shape[-1])[places]
        return fn.cross_entropy(model.cls.predictions(masked).float(), words)

    return steps(model, loss, mode)


def cloze(binary, variables, *arguments):
    command = [binary, "bench", "--device", "cuda", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode != 0:
        print(f"cloze failed: {' '.join(command)}\n{done.stderr}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])["median_ms"] / 1e3


def peak():
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seconds = median(lambda: (torch.matmul(a, a), torch.cuda.synchronize()))
    return 2 * 8192 ** 3 / seconds / 1e12


def gflop(tokens, seq, layers=12, h=768, f=3072):
    return layers * tokens * (8 * h * h + 4 * h * f + 4 * seq * h) / 1e9


def driver():
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def about(binary):
    day = datetime.date.today()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return (
        f"{torch.cuda.get_device_name()} (driver {driver()}); BERT of 12 layers of 768, random weights; from token ids on "
        f"the host to mean-pooled embeddings on the host; {day.day} {day:%B %Y}. {version}, PyTorch {torch.__version__} "
        "with scaled_dot_product_attention."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloze", required=True)
    parser.add_argument("--texts", help="a text a line, a label after a TAB")
    parser.add_argument("--only", help="workloads, by commas")
    parser.add_argument("--quick", action="store_true", help="PyTorch only eagerly")
    parser.add_argument("--json", metavar="FILE", help="writes the figures there, after each row")
    options = parser.parse_args()
    modes = ["eager"] if options.quick else list(MODES)
    wanted = (options.only or "embed,ragged,finetune,pretrain").split(",")
    fastest = peak()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bf16 8192^3: {fastest:.0f} TFLOP/s", flush=True)
    record = {
        "program": "cuda",
        "about": about(options.cloze),
        "peak_tflops": fastest,
        "columns": [*OURS, *(MODES[mode] for mode in modes)],
        "rows": [],
        "notes": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        folder_of(folder)

        def row(title, arguments, work, flop=None):
            command = ("--model", folder, "--seconds", 1, *arguments)
            ours = [cloze(options.cloze, variables, *command) for variables in OURS.values()]
            theirs = []
            for mode in modes:
                torch._dynamo.reset()
                try:
                    theirs.append(work(mode))
                except Exception as error:  # a peer that fails is a gap in the table
                    print(f"{title} {mode}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
                    theirs.append(None)
            times = [None if seconds is None else seconds * 1e3 for seconds in ours + theirs]
            cells = ["failed" if ms is None else f"{ms:9.3f} ms" for ms in times]
            best = [min(filter(None, side), default=None) for side in (ours, theirs)]
            ratio = "" if None in best else f"  best/cloze {best[1] / best[0]:5.2f}"
            rate = "" if best[0] is None or flop is None else f"  {flop / best[0] / 1e3:6.1f} TFLOP/s"
            print(f"{title}: {'  '.join(cells)}{ratio}{rate}", flush=True)
            record["rows"].append({"title": title, "ms": times, "gflop": flop})
            if options.json:
                with open(options.json, "w", encoding="utf-8") as file:
                    json.dump(record, file, indent=1, ensure_ascii=False)
                    file.write("\n")

        print("  ".join(record["columns"]), flush=True)
        if "embed" in wanted:
            for batch in (1, 8, 32, 256):
                arguments = ("--workload", "encode", "--pooled", "--batch", batch, "--seq", 128)
                flop = gflop(batch * 128, 128)
                row(f"{batch} × 128 tokens", arguments, lambda mode: torch_embed(folder, batch, 128, mode), flop)
        if "ragged" in wanted and options.texts:
            from transformers import BertTokenizerFast
            tokenizer = BertTokenizerFast.from_pretrained(folder)
            texts = [line.rstrip("\n").rsplit("\t", 1)[0] for line in open(options.texts)][:320]
            lengths = [min(512, len(tokenizer(text)["input_ids"])) for text in texts]
            for batch in (32, 320):
                arguments = ("--workload", "ragged", "--pooled", "--batch", batch, "--file", options.texts)
                title = f"{len(texts)} texts, batches of {batch}"
                row(title, arguments, lambda mode: torch_ragged(folder, lengths, batch, mode))
        shape = ("--batch", 32, "--seq", 128, "--trainable", "all")
        if "finetune" in wanted:
            arguments = ("--workload", "finetune", *shape)
            title = "a training step of all layers, 32 × 128 tokens"
            row(title, arguments, lambda mode: torch_finetune(folder, 32, 128, mode))
        if "pretrain" in wanted:
            arguments = ("--workload", "pretrain", *shape)
            title = "a step of masked-word training, 32 × 128 tokens"
            row(title, arguments, lambda mode: torch_pretrain(folder, 32, 128, mode))


if __name__ == "__main__":
    main()
