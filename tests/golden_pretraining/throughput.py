#!/usr/bin/env python3
"""Times `cloze pretrain` against loops in PyTorch: the same model, batches of the same size, turn by turn in one run.

    throughput.py --cloze target/release/cloze --corpus FOLDER
    throughput.py --cloze target/release/cloze --corpus FOLDER --rounds 5 --seconds 30

The model is a BERT of H=256 L=4 A=4 F=1024 and 8,192 tokens; a batch has 32 pairs of 128 tokens, 15 % of them masked. Both
learn masked words and next sentences, with AdamW and clipped gradients, in float32. The loops project masked rows alone
to the vocabulary, as cloze does, and read batches that are ready in memory, where cloze draws its own:

  hf      transformers' BertForPreTraining with sdpa
  plain   the same by hand: one multiplication for query, key and value, sdpa, no attention mask

Each takes the AdamW (fused, foreach) that is faster on this machine. The corpus is a folder of text, a few megabytes, whose
documents are long: short ones make shorter pairs. Prints the tokens a second of each turn, and medians with their ratios
to cloze; the load before each turn that is not its own tells how busy the machine is. Needs torch and transformers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

V, H, L, A, F, P = 8192, 256, 4, 4, 1024, 128
BATCH, TOKENS, MASKED, CLS, SEP, MASK = 32, 128, 19, 2, 3, 4
WARM_UP = 3.0  # seconds


# ---- PyTorch, in a process of its own ---------------------------------------

def torch_turn(kind, dropout, seconds, threads):
    import torch
    import torch.nn as nn
    import torch.nn.functional as fn
    torch.set_num_threads(threads)
    torch.manual_seed(0)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = nn.Linear(H, 3 * H), nn.Linear(H, H)
            self.up, self.down = nn.Linear(H, F), nn.Linear(F, H)
            self.attended, self.done = nn.LayerNorm(H, 1e-12), nn.LayerNorm(H, 1e-12)

        def forward(self, x):
            q, k, v = (t.view(BATCH, TOKENS, A, H // A).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            mixed = fn.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).reshape(-1, H)
            x = self.attended(fn.dropout(self.out(mixed), dropout) + x)
            return self.done(fn.dropout(self.down(fn.gelu(self.up(x))), dropout) + x)

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places, self.types = nn.Embedding(V, H, padding_idx=0), nn.Embedding(P, H), nn.Embedding(2, H)
            self.norm = nn.LayerNorm(H, 1e-12)
            self.layers = nn.ModuleList(Layer() for _ in range(L))
            self.pooler, self.next = nn.Linear(H, H), nn.Linear(H, 2)
            self.transform, self.transformed = nn.Linear(H, H), nn.LayerNorm(H, 1e-12)
            self.bias = nn.Parameter(torch.zeros(V))
            for module in self.modules():
                if isinstance(module, (nn.Linear, nn.Embedding)):
                    nn.init.normal_(module.weight, 0, 0.02)

        def forward(self, ids, types, rows):
            x = self.norm(self.words(ids) + self.places.weight[:TOKENS] + self.types(types)).view(-1, H)
            x = fn.dropout(x, dropout)
            for layer in self.layers:
                x = layer(x)
            hidden = self.transformed(fn.gelu(self.transform(x[rows])))
            return fn.linear(hidden, self.words.weight, self.bias), self.next(torch.tanh(self.pooler(x[::TOKENS])))

    class Transformers(nn.Module):
        def __init__(self):
            super().__init__()
            from transformers import BertConfig, BertForPreTraining
            self.bert = BertForPreTraining(BertConfig(
                vocab_size=V, hidden_size=H, num_hidden_layers=L, num_attention_heads=A, intermediate_size=F,
                max_position_embeddings=P, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
                attn_implementation="sdpa"))

        def forward(self, ids, types, rows):
            out = self.bert.bert(ids, token_type_ids=types)
            return self.bert.cls(out.last_hidden_state.view(-1, H)[rows], out.pooler_output)

    def batch():
        ids = (5 + (V - 6) ** torch.rand(BATCH, TOKENS)).long().clamp(max=V - 1)
        middle = TOKENS // 2
        ids[:, 0], ids[:, middle], ids[:, -1] = CLS, SEP, SEP
        types = torch.zeros_like(ids)
        types[:, middle + 1:] = 1
        rows = torch.stack([torch.randperm(TOKENS - 2)[:MASKED] + 1 + TOKENS * i for i in range(BATCH)]).flatten()
        words = ids.flatten()[rows]
        ids.view(-1)[rows] = MASK
        return ids, types, rows, words, torch.randint(0, 2, (BATCH,))

    batches = [batch() for _ in range(8)]
    model = (Plain if kind == "plain" else Transformers)().train()

    def steps(optimizer, until, least):
        times, end, number = [], time.perf_counter() + until, 0
        while time.perf_counter() < end or len(times) < least:
            ids, types, rows, words, next_ = batches[number % len(batches)]
            begin = time.perf_counter()
            logits, judged = model(ids, types, rows)
            loss = fn.cross_entropy(logits, words) + fn.cross_entropy(judged, next_)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()
            times.append(time.perf_counter() - begin)
            number += 1
        return times

    tried = {}
    for name in ("fused", "foreach"):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, **{name: True})
        tried[name] = (statistics.median(steps(optimizer, WARM_UP / 2, 4)[1:]), optimizer)
    name = min(tried, key=lambda name: tried[name][0])
    times = steps(tried[name][1], seconds, 3)
    print(json.dumps({"tokens_per_second": BATCH * TOKENS / statistics.median(times), "adam": name, "steps": len(times)}))


# ---- cloze -------------------------------------------------------------------

def cloze_command(args, place, dropout, vocabulary, steps):
    begin = ["--vocab", vocabulary] if vocabulary else ["--vocab-size", V]
    given = ["pretrain", "--corpus", args.corpus, *begin, "--hidden", H, "--layers", L, "--heads", A, "--intermediate", F,
             "--positions", P, "--max-tokens", TOKENS, "--batch", BATCH, "--short", 0, "--dropout", dropout, "--lr", 1e-4,
             "--weight-decay", 0.01, "--threads", args.threads, "--steps", steps, "--json", "--log-every", 1, "--out", place]
    return [args.cloze, *map(str, given)]


def cloze_turn(args, place, dropout, vocabulary):
    child = subprocess.Popen(cloze_command(args, place, dropout, vocabulary, 100_000), stdout=subprocess.PIPE, text=True)
    arrived, begin = [], None
    try:
        for line in child.stdout:
            now = time.perf_counter()
            begin = begin or now
            if now - begin >= WARM_UP:
                arrived.append((now, json.loads(line)["tokens_per_second"]))
            if now - begin >= WARM_UP + args.seconds:
                break
    finally:
        child.kill()
        child.wait()
    if len(arrived) < 3:
        sys.exit("cloze ended early: a longer corpus, or more seconds")
    # what it says itself; and, of the time between lines, how many tokens its batches must have
    said = statistics.median(speed for _, speed in arrived)
    length = statistics.median(b - a for (a, _), (b, _) in zip(arrived, arrived[1:]))
    return {"tokens_per_second": said, "steps": len(arrived), "tokens_of_a_batch": round(said * length)}


# ---- both --------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cloze", default="target/release/cloze")
    parser.add_argument("--corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--kinds", nargs="+", default=["cloze", "hf", "plain"])
    parser.add_argument("--turn", choices=["hf", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        return torch_turn(args.turn, args.dropout[0], args.seconds, args.threads)
    if not args.corpus:
        parser.error("--corpus: which text?")

    found = {}
    with tempfile.TemporaryDirectory() as place:
        vocabulary = os.path.join(place, "first")
        subprocess.run(cloze_command(args, vocabulary, 0.0, None, 1), check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        for number in range(args.rounds):
            for dropout in args.dropout:
                for kind in args.kinds:
                    load = others()
                    if kind == "cloze":
                        turn = cloze_turn(args, os.path.join(place, "out"), dropout, vocabulary)
                    else:
                        command = [sys.executable, __file__, "--turn", kind, "--dropout", str(dropout), "--seconds",
                                   str(args.seconds), "--threads", str(args.threads)]
                        turn = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                    found.setdefault((dropout, kind), []).append(turn["tokens_per_second"])
                    print(f"round {number + 1}  dropout {dropout:<4} {kind:6} busy before {load:4.0%}  {json.dumps(turn)}",
                          flush=True)

    print(f"\n{'dropout':8} {'':6} {'tokens/s':>9} {'least':>9} {'most':>9} {'cloze is':>9}")
    for (dropout, kind), speeds in found.items():
        median = statistics.median(speeds)
        own = found.get((dropout, "cloze"))
        ratio = f"{statistics.median(own) / median:8.2f}x" if own else ""
        print(f"{dropout:<8} {kind:6} {median:9.0f} {min(speeds):9.0f} {max(speeds):9.0f} {ratio:>9}")


def others():
    """Share of the processors that is busy while nothing of this program runs."""
    def read():
        with open("/proc/stat") as file:
            numbers = [int(n) for n in file.readline().split()[1:9]]
        return sum(numbers), numbers[3] + numbers[4]
    try:
        (all_before, idle_before), _, (all_after, idle_after) = read(), time.sleep(1.0), read()
    except OSError:  # not Linux
        return float("nan")
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


main()
