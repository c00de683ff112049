"""One peer, in the peers' environment: runs a group of workloads of peers.py, a turn at a time.

    worker.py PEERS.PY GROUP PEER PRECISION

Commands come on standard input, answers go to standard output, a JSON object a line each. The worker says
{"version": …}, then for each workload {"ready": true} and obeys:

    {"do": "warm"}                    two runs                                             {"warm": true}
    {"do": "turn", "seconds": S}      runs until S seconds are over, at least one          {"ms": median}
    {"do": "leave"}                   goes on to the next workload                         {"left": its name}

and {"end": true} at the end, {"failed": why} where it cannot go on. peers.py has to time with its function `median_ms`
and report with `emit`: the worker puts its own in their place.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import TextIO

PACKAGES = {"torch": "torch", "ort": "onnxruntime", "openvino": "openvino", "ct2": "ctranslate2"}
MASK = 103

# At the beginning of a turn the processor's caches are another program's: runs this short (s) are preceded by one more.
SHORT = 1.0


class Turns:
    """Takes the place of peers.py's clock."""

    def __init__(self, channel: TextIO) -> None:
        self.channel = channel

    def say(self, **answer: object) -> None:
        self.channel.write(json.dumps(answer) + "\n")
        self.channel.flush()

    def median_ms(self, work: Callable[[], object], seconds: float = 0.0) -> float:
        """Runs `work` as the commands say. What it returns goes nowhere, and divides without harm."""
        del seconds
        self.say(ready=True)
        last = 0.0
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "leave":
                return float("inf")
            if command["do"] == "warm":
                work()
                last = timed(work)
                self.say(warm=True)
                continue
            if last < SHORT:
                work()
            times, begin = [timed(work)], time.perf_counter()
            while time.perf_counter() - begin + times[0] < command["seconds"]:
                times.append(timed(work))
            last = times[-1]
            self.say(ms=statistics.median(times) * 1e3)
        sys.exit()

    def emit(self, workload: str, **result: object) -> None:
        del result
        self.say(left=workload)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores(peers: ModuleType, peer: str, precision: str) -> None:
    """Pseudo-log-likelihoods by an encoder alone: it runs on the masked copies of a sentence, PyTorch's f32 head on the
    states of the masked places."""
    import numpy as np
    import torch
    from transformers import BertForMaskedLM

    torch.set_num_threads(peers.THREADS)
    sentences = peers.tokenizer(peers.BASE)(peers.sst2("dev")[0][:16])["input_ids"]
    head = BertForMaskedLM.from_pretrained(peers.BASE).cls.eval()
    run = peers.PEERS[peer][0](precision)

    def work() -> float:
        total = 0.0
        for ids in sentences:
            words = np.array(ids[1:-1])
            copies = [ids[:place] + [MASK] + ids[place + 1 :] for place in range(1, len(ids) - 1)]
            answer = run(copies)
            states = np.asarray(answer if isinstance(answer, np.ndarray) else answer[0])
            rows = np.arange(len(words))
            with torch.inference_mode():
                logits = head(torch.from_numpy(states[rows, rows + 1]).float())
                total += logits.log_softmax(-1)[torch.from_numpy(rows), torch.from_numpy(words)].sum().item()
        return total

    peers.median_ms(work)
    peers.emit(workload=f"pll-{len(sentences)}-sentences")


def masked_words(peers: ModuleType, precision: str) -> None:
    """One optimizer step of masked words, as peers.py takes its steps of a classifier: 16 texts of 128 tokens, 15 % of
    them masked, the head on masked rows alone."""
    import torch
    from transformers import BertForMaskedLM

    batch, seq = 16, 128
    masked = seq * 15 // 100
    torch.set_num_threads(peers.THREADS)
    torch.manual_seed(0)
    model = BertForMaskedLM.from_pretrained(peers.BASE).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    ids = torch.randint(1000, 30000, (batch, seq))
    places = torch.cat([torch.randperm(seq)[:masked] + text * seq for text in range(batch)])
    words = torch.randint(1000, 30000, (len(places),))

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            states = model.bert(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            logits = model.cls(states.flatten(0, 1)[places])
            loss = torch.nn.functional.cross_entropy(logits.float(), words)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    peers.median_ms(step)
    peers.emit(workload=f"pretrain-b{batch}-s{seq}")


def main() -> None:
    script, group, peer, precision = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    turns = Turns(channel)
    try:
        version = importlib.metadata.version(PACKAGES[peer])
        peers = load(script)
        vars(peers).update(median_ms=turns.median_ms, emit=turns.emit)
        if precision not in peers.PEERS[peer][1]:
            turns.say(failed=f"peers.py has no {precision} of it")
            return
        turns.say(version=version)
        random.seed(0)
        if group == "pll" and peer != "torch":
            scores(peers, peer, precision)
        elif group == "pretrain":
            masked_words(peers, precision)
        else:
            peers.WORKLOADS[group]([peer], [precision])
        turns.say(end=True)
    except importlib.metadata.PackageNotFoundError as error:
        turns.say(failed=f"no package {error.name} there")
    except Exception as error:  # whatever a library raises
        turns.say(failed=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
