#!/usr/bin/env python3
"""Times cloze on a CUDA GPU against PyTorch in one run, and prints a table.

    benchmark.py --cloze ./cloze --texts sst2.tsv
    benchmark.py --cloze ./cloze --quick

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


def cloze(binary, *arguments):
    command = [binary, "bench", "--device", "cuda", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloze", required=True)
    parser.add_argument("--texts", help="a text a line, a label after a TAB")
    parser.add_argument("--only", help="workloads, by commas")
    parser.add_argument("--quick", action="store_true", help="PyTorch only eagerly")
    options = parser.parse_args()
    modes = ["eager"] if options.quick else ["eager", "reduce-overhead"]
    wanted = (options.only or "embed,ragged,finetune,pretrain").split(",")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bf16 8192^3: {peak():.0f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        folder_of(folder)
        rows = []

        def row(name, ours, work, flop=None):
            theirs = {}
            for mode in modes:
                torch._dynamo.reset()
                try:
                    theirs[mode] = work(mode)
                except Exception as error:  # a peer that fails is a line of the table
                    print(f"{name} {mode}: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            text = "  ".join(f"{mode} {seconds * 1e3:9.3f} ms" for mode, seconds in theirs.items())
            own = "failed" if ours is None else f"{ours * 1e3:9.3f} ms"
            ratio = "" if ours is None or not theirs else f"  best/cloze {min(theirs.values()) / ours:5.2f}"
            rate = "" if ours is None or flop is None else f"  {flop / ours / 1e3:6.1f} TFLOP/s"
            print(f"{name:22s} cloze {own}  {text}{ratio}{rate}", flush=True)
            rows.append((name, ours, theirs))

        model = ("--model", folder, "--seconds", 1)
        if "embed" in wanted:
            for batch in (1, 8, 32, 256):
                ours = cloze(options.cloze, *model, "--workload", "encode", "--pooled", "--batch", batch, "--seq", 128)
                row(f"embed b{batch} s128", ours, lambda mode: torch_embed(folder, batch, 128, mode), gflop(batch * 128, 128))
        if "ragged" in wanted and options.texts:
            from transformers import BertTokenizerFast
            tokenizer = BertTokenizerFast.from_pretrained(folder)
            texts = [line.rstrip("\n").rsplit("\t", 1)[0] for line in open(options.texts)][:320]
            lengths = [min(512, len(tokenizer(text)["input_ids"])) for text in texts]
            for batch in (32, 320):
                ours = cloze(options.cloze, *model, "--workload", "ragged", "--pooled", "--batch", batch, "--file", options.texts)
                row(f"ragged b{batch}", ours, lambda mode: torch_ragged(folder, lengths, batch, mode))
        if "finetune" in wanted:
            ours = cloze(options.cloze, *model, "--workload", "finetune", "--batch", 32, "--seq", 128, "--trainable", "all")
            row("finetune b32 s128", ours, lambda mode: torch_finetune(folder, 32, 128, mode))
        if "pretrain" in wanted:
            ours = cloze(options.cloze, *model, "--workload", "pretrain", "--batch", 32, "--seq", 128, "--trainable", "all")
            row("pretrain b32 s128", ours, lambda mode: torch_pretrain(folder, 32, 128, mode))


if __name__ == "__main__":
    main()
