#!/usr/bin/env python3
"""Writes the golden folders next to this file: small random models and what
HuggingFace says they answer.

Made with (other versions may differ in the last digits, or in the files they write):

    python 3.11   torch 2.15.0   transformers 5.23.0   tokenizers 0.23.3
    huggingface_hub 2.4.0   safetensors 0.8.0   sentence-transformers 6.2.0   numpy 2.4.6

transformers 5 dropped `position_embedding_type`, so the `relative_key*` folders need
transformers 4.57.1 (with tokenizers 0.22.1 and huggingface_hub 0.36.2), installed in a
folder of its own:

    pip install --no-deps --target TF4 transformers==4.57.1 tokenizers==0.22.1 \
        huggingface_hub==0.36.2 requests urllib3 certifi charset-normalizer

    make.py --tf4 TF4            everything
    make.py                      everything but the relative_key folders
    make.py --only pretraining   one folder (repeatable)
    make.py --check --tf4 TF4    build in a temporary folder, compare byte by byte with
                                 the committed files, look for degenerate values, and
                                 compare with the answers of transformers 4.57.1

README.md describes the folders and the layout of the expected files. One file, long as it
is, so that it can be copied next to any pair of transformers versions and run.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.filterwarnings("ignore")

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import (
    AlbertConfig, AlbertForMaskedLM, AlbertForSequenceClassification, AlbertModel,
    BertConfig, BertForMaskedLM, BertForPreTraining, BertForSequenceClassification,
    BertForTokenClassification, BertModel, BertTokenizerFast, pipeline,
)
from transformers.activations import ACT2CLS

HERE = Path(__file__).resolve().parent
TF4 = transformers.__version__.startswith("4.")
MAX_POSITION = 40

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.set_grad_enabled(False)
torch.use_deterministic_algorithms(True)


# ---- vocabulary and texts ---------------------------------------------------

SPECIAL = "[PAD] [UNK] [CLS] [SEP] [MASK]".split()
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
PUNCTUATION = list(".,!?'-:()")
WORDS = """the and of to in is was on with not he she it they this man woman child cat dog
bird house tree river city anna john maria paris london berlin see walk sleep run eat play
work happy big small old red friend table 中""".split()
PIECES = "##ing ##ed ##er ##ly ##ness ##able ##berg ##ton".split()
VOCAB = SPECIAL + LETTERS + PUNCTUATION + WORDS + PIECES + ["##" + c for c in LETTERS]
assert len(VOCAB) == len(set(VOCAB)) == 120, len(VOCAB)

# Whole words, words in pieces, capitals, accents (composed and decomposed), unknown
# characters, Chinese, punctuation without spaces.
TEXTS = [
    "the cat sees the bird",
    "Anna walks to the RIVER with John.",
    "he was not happy, she was!",
    "Maria Eisenberg played in Berlin and Café-London",
    "the old man's friend (John Norton) is eating at 3 tables?",
    "un\u0303happy 中文 cafe\u0301 € working",
    # Longer than its token: HF's token classification takes it for a piece of the word before.
    "the old mari\u0301a sees Paris",
]
PAIRS = [
    ("the cat sees the bird", "the bird sleeps in the tree."),
    ("Anna was in Paris.", "she walked to the river"),
    ("is it a dog?", "not the red table"),
    ("he runs", "(they work)"),
]


# ---- weights ----------------------------------------------------------------

# Sharp attention and a strong residual keep the positions of a sequence apart; the plain
# initialisation makes them all alike after two layers, and then one token wins everywhere.
SCALES = [("query", 0.35), ("key", 0.35), ("attention.output.dense", 0.1), ("attention.dense", 0.06),
          ("output.dense", 0.1), ("ffn_output", 0.05), ("position_embeddings", 0.15), ("token_type", 0.15),
          ("embeddings", 0.35), ("distance_embedding", 0.5), ("decoder", 0.35), ("classifier", 0.5)]


def randomise(model, variant, scales=()):
    """Every parameter drawn from its own stream, keyed by folder and tensor name: biases
    and LayerNorms too, since zeros and ones would hide a tensor that is never used."""
    for name, parameter in model.named_parameters():
        rng = np.random.default_rng([zlib.crc32(variant.encode()), zlib.crc32(name.encode())])
        if "norm" in name.lower() and name.endswith("weight"):
            value = rng.uniform(0.6, 1.4, parameter.shape)
        elif name.endswith("bias"):
            value = rng.normal(0, 0.2, parameter.shape)
        else:
            s = next((s for part, s in [*scales, *SCALES] if part in name), 0.25)
            value = rng.normal(0, s, parameter.shape)
        parameter.copy_(torch.from_numpy(value.astype(np.float32)))
    return model.eval()


def load(cls, folder):
    """The model as a user gets it: read back from the folder, in float32."""
    model, info = cls.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"], (folder, info)
    assert not info["mismatched_keys"], (folder, info)
    return model.eval()


# ---- files ------------------------------------------------------------------

def write_json(path, value):
    text = json.dumps(value, indent=1, ensure_ascii=False)
    # Lists of numbers on one line: people read this file too.
    flat = lambda m: "[" + " ".join(m[1].split()) + "]"
    path.write_text(re.sub(r'\[\n([^\[\]{}"]+)\n *\]', flat, text) + "\n", encoding="utf-8")


def number(x):
    """Nine digits give a float32 back exactly."""
    return float(f"{float(x):.9g}")


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_model(model, folder, tokenizer=True, **kw):
    model.save_pretrained(folder, **kw)
    edit_json(folder / "config.json", lambda c: c.pop("_name_or_path", None))
    if tokenizer:
        save_tokenizer(folder)


def save_tokenizer(folder):
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": None,
        "tokenize_chinese_chars": True, "model_max_length": MAX_POSITION,
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
        "sep_token": "[SEP]", "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_expected(folder, model, tensors, info):
    tensors = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    for name, value in tensors.items():
        assert value.dtype in (np.float32, np.int64) and np.isfinite(value).all(), name
    save_file(tensors, folder / "expected.safetensors")
    head = {"model_class": type(model).__name__, "layers": model.config.num_hidden_layers,
            "made_with": {"torch": torch.__version__.split("+")[0],
                          "transformers": transformers.__version__}}
    write_json(folder / "expected.json", head | info)


# ---- expected values --------------------------------------------------------

def sequences(variant, vocabulary):
    """Five id sequences, one token up to the most positions; two of them in two segments.
    Ids are drawn over all rows, special tokens and padding included."""
    rng = np.random.default_rng([zlib.crc32(variant.encode()), 1])
    result = []
    for length, first_of_b in [(1, 1), (2, 2), (7, 3), (16, 16), (MAX_POSITION, 23)]:
        ids = rng.integers(0, vocabulary, length)
        ids[0] = 2
        result.append((ids, (np.arange(length) >= first_of_b).astype(np.int64)))
    return result


def feed(ids, types):
    return {"input_ids": torch.tensor(np.asarray(ids))[None],
            "token_type_ids": torch.tensor(np.asarray(types))[None]}


def encode(model, seqs):
    """Tensors of every sequence run alone: hidden states, pooled vector, head logits."""
    base = model.base_model
    inner = getattr(model.config, "inner_group_num", 1)
    layers = model.config.num_hidden_layers
    tensors = {}
    for i, (ids, types) in enumerate(seqs):
        tensors[f"ids.{i}"], tensors[f"types.{i}"] = ids, types
        out = base(**feed(ids, types), output_hidden_states=True)
        states = [h[0].numpy() for h in out.hidden_states]
        if len(states) == layers * inner + 1 and inner > 1:
            # transformers 5 lists the inner layers of an ALBERT group, 4 lists groups.
            for k, h in enumerate(states):
                tensors[f"inner.{i}.{k}"] = h
            states = states[::inner]
        assert len(states) == layers + 1
        assert np.array_equal(states[-1], out.last_hidden_state[0].numpy())
        for layer, h in enumerate(states):
            tensors[f"hidden.{i}.{layer}"] = h
        if getattr(out, "pooler_output", None) is not None:
            tensors[f"pooled.{i}"] = out.pooler_output[0].numpy()
        if model is base:
            continue
        out = model(**feed(ids, types))
        if "prediction_logits" in out:
            tensors[f"mlm.{i}"] = out.prediction_logits[0].numpy()
            tensors[f"nsp.{i}"] = out.seq_relationship_logits[0].numpy()
        else:
            name = "mlm" if type(model).__name__.endswith("MaskedLM") else "logits"
            tensors[f"{name}.{i}"] = out.logits[0].numpy()
    return tensors


def tokens_of(tokenizer, text, pair=None):
    enc = tokenizer(text, pair)
    return {"ids": enc["input_ids"], "types": enc["token_type_ids"]}


FILL_MASK = [
    # text, top_k, targets
    ("the cat [MASK] the bird.", 5, None),
    ("Anna walks to [MASK]", 5, None),
    ("[MASK] [MASK] is not happy, [MASK]!", 5, None),
    ("he said: [MASK]ing the child's dog", 3, None),
    ("the [MASK] sleeps", 5, ["dog", "cat", "house", "dog"]),
    ("the [MASK] sleeps", 2, ["dog", "cat", "house", "tree"]),
    ("the [MASK] runs to the [MASK].", 5, ["bird", "sleeping", "Café"]),
    ("the [MASK] sleeps", 5, "river"),
]


def fill_mask(model, tokenizer, cases=FILL_MASK):
    pipe = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    result = []
    for text, top_k, targets in cases:
        out = pipe(text, top_k=top_k, **({} if targets is None else {"targets": targets}))
        if isinstance(out[0], dict):
            out = [out]
        result.append({
            "text": text, "top_k": top_k, "targets": targets, "ids": tokenizer(text)["input_ids"],
            "masks": [[{"score": number(a["score"]), "token": a["token"],
                        "token_str": a["token_str"], "sequence": a["sequence"]} for a in mask]
                      for mask in out]})
    return result


def next_sentence(model, tokenizer):
    result = []
    for a, b in PAIRS:
        toks = tokens_of(tokenizer, a, b)
        logits = model(**feed(toks["ids"], toks["types"])).seq_relationship_logits[0]
        result.append({"text": a, "pair": b, **toks, "is_next": number(logits.softmax(-1)[0])})
    return result


def pseudo_log_likelihood(model, tokenizer, texts):
    """Mask, run, read: one forward pass for each token scored."""
    rows = []
    corpus = {m: {"sum": 0.0, "tokens": 0} for m in ("pll", "pll-word-l2r")}
    for text in texts:
        enc = tokenizer(text, return_special_tokens_mask=True)
        ids, words = enc["input_ids"], enc.word_ids()
        scored = [i for i, s in enumerate(enc["special_tokens_mask"]) if not s]
        row = {"text": text, "ids": ids, "word_ids": words,
               "tokens": tokenizer.convert_ids_to_tokens(ids)}
        for metric in corpus:
            values = []
            for i in scored:
                hidden = [j for j in scored if j == i or
                          (metric == "pll-word-l2r" and words[j] == words[i] and j > i)]
                masked = list(ids)
                for j in hidden:
                    masked[j] = tokenizer.mask_token_id
                logits = model(**feed(masked, [0] * len(ids))).logits[0, i]
                values.append(logits.double().log_softmax(-1)[ids[i]].item())
            row[metric] = {"per_token": [number(v) for v in values], "sum": number(sum(values))}
            corpus[metric]["sum"] += sum(values)
            corpus[metric]["tokens"] += len(values)
        rows.append(row)
    for c in corpus.values():
        c["pseudo_perplexity"] = number(math.exp(-c["sum"] / c["tokens"]))
        c["sum"] = number(c["sum"])
    return {"sentences": rows, "corpus": corpus}


def text_classification(model, tokenizer):
    pipe = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    result = []
    for text, pair in [(t, None) for t in TEXTS] + PAIRS:
        out = pipe(text if pair is None else {"text": text, "text_pair": pair}, top_k=None)
        result.append({"text": text, "pair": pair, **tokens_of(tokenizer, text, pair),
                       "result": [{"label": r["label"], "score": number(r["score"])} for r in out]})
    return result


STRATEGIES = ["none", "simple", "first", "average", "max"]
LONG_TEXT = ("Anna Eisenberg walked with John to the river in Paris, and Maria was not happy! "
             "the old man's friend (Norton) played with the red bird on the table in Berlin; "
             "he sleeps in London.")


def entities(out):
    return [{k: number(v) if k == "score" else v for k, v in e.items()} for e in out]


def token_classification(model, tokenizer):
    pipe = pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
    cases = []

    def case(text, strategies=STRATEGIES, **kw):
        row = {"text": text, "options": kw, "result": {}}
        if isinstance(text, str) and not kw:
            enc = tokenizer(text, return_offsets_mapping=True)
            row |= {"ids": enc["input_ids"], "offsets": [list(o) for o in enc["offset_mapping"]]}
        for s in strategies:
            out = pipe(text, aggregation_strategy=s, **kw)
            row["result"][s] = entities(out[0] if isinstance(text, list) else out)
        cases.append(row)

    for text in TEXTS:
        case(text)
    case(TEXTS[3], ignore_labels=[])
    case(TEXTS[1], ignore_labels=["O", "LOC", "I-PER"])
    case(LONG_TEXT, STRATEGIES[1:], stride=8)
    case(TEXTS[3].split(" "), is_split_into_words=True)
    return cases


# ---- the folders ------------------------------------------------------------

def bert(**kw):
    sizes = dict(vocab_size=120, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                 intermediate_size=48, max_position_embeddings=MAX_POSITION, initializer_range=0.25)
    return BertConfig(**(sizes | kw))


# Folders whose point is not the encoder are narrower still.
NARROW = dict(hidden_size=24, intermediate_size=40)


def albert(**kw):
    sizes = dict(vocab_size=120, embedding_size=16, hidden_size=32, num_hidden_layers=3,
                 num_attention_heads=4, intermediate_size=48, initializer_range=0.25,
                 max_position_embeddings=MAX_POSITION)
    return AlbertConfig(**(sizes | kw))


def encoder(cls, config, folder, dtype=None, tokenizer=True, adjust=None, **kw):
    """Random model -> folder -> read back -> expected values of the id sequences."""
    variant = folder.name
    model = randomise(cls(config), variant)
    if adjust:
        adjust(model)
    save_model(model.to(dtype) if dtype else model, folder, tokenizer, **kw)
    model = load(cls, folder)
    seqs = sequences(variant, config.vocab_size)
    return model, encode(model, seqs), {"sequences": len(seqs)}


def balance_labels(model):
    """Shifts the classifier's bias so that no label wins everywhere."""
    ids = BertTokenizerFast(vocab={t: i for i, t in enumerate(VOCAB)})(TEXTS)["input_ids"]
    logits = [model(**feed(i, [0] * len(i))).logits.reshape(-1, model.config.num_labels) for i in ids]
    mean = torch.cat(logits).mean(0)
    model.classifier.bias.sub_((mean * 100).round() / 100)
    if isinstance(model, BertForTokenClassification):
        model.classifier.bias[0] += 1  # "O" is the common label


def read_tokenizer(folder):
    return BertTokenizerFast.from_pretrained(folder)


def pretraining_expected(folder, model):
    tok = read_tokenizer(folder)
    mlm = load(BertForMaskedLM, folder)
    return {"fill_mask": fill_mask(mlm, tok), "nsp": next_sentence(model, tok),
            "pll": pseudo_log_likelihood(mlm, tok, TEXTS + ["bird", ""])}


def make_pretraining(folder):
    model, tensors, info = encoder(
        BertForPreTraining, bert(num_hidden_layers=3, intermediate_size=64), folder)
    save_expected(folder, model, tensors, info | pretraining_expected(folder, model))


def make_bare(folder):
    """As old files are: no prefix, gamma/beta, and a buffer among the weights."""
    variant = folder.name
    config = bert(layer_norm_eps=1e-5, type_vocab_size=3)
    save_model(randomise(BertModel(config), variant), folder)
    weights = load_file(folder / "model.safetensors")
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in weights.items()}
    old["embeddings.position_ids"] = np.arange(MAX_POSITION, dtype=np.int64)[None]
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    model = load(BertModel, folder)
    seqs = sequences(variant, config.vocab_size)
    seqs[4][1][31:] = 2
    save_expected(folder, model, encode(model, seqs), {"sequences": len(seqs)})


def make_odd(folder):
    """Head size 5, nothing a multiple of a vector; 8 rows of vocabulary padding."""
    config = bert(vocab_size=128, hidden_size=20, intermediate_size=37, layer_norm_eps=1e-6)
    # High enough to come out on top, so that leaving them out is seen to happen.
    lift = lambda model: model.cls.predictions.bias[len(VOCAB):].add_(3)
    model, tensors, info = encoder(BertForMaskedLM, config, folder, adjust=lift)
    cases = [("the cat [MASK] the bird.", 20, None), ("[MASK]", 20, None)]
    info |= {"tokenizer_size": len(VOCAB), "fill_mask": fill_mask(model, read_tokenizer(folder), cases)}
    save_expected(folder, model, tensors, info)


def make_untied(folder):
    model, tensors, info = encoder(BertForMaskedLM, bert(tie_word_embeddings=False, **NARROW), folder)
    stored = load_file(folder / "model.safetensors")
    assert not np.array_equal(stored["cls.predictions.decoder.weight"],
                              stored["bert.embeddings.word_embeddings.weight"])
    assert not np.array_equal(stored["cls.predictions.decoder.bias"], stored["cls.predictions.bias"])
    save_expected(folder, model, tensors, info)


def make_relative(folder):
    config = bert(position_embedding_type=folder.name, **NARROW)
    model, tensors, info = encoder(BertForMaskedLM, config, folder)
    save_expected(folder, model, tensors, info)


def make_activations(folder):
    """One model; the expected values with each `hidden_act` put in its config."""
    # Wide pre-activations, so that relu6 and gelu_10 reach their limits.
    config = bert()
    model = randomise(BertForMaskedLM(config), folder.name,
                      scales=[("intermediate.dense", 0.8), ("transform.dense", 0.8)])
    save_model(model, folder)
    ids, types = sequences(folder.name, 120)[3]
    ids, types = ids[:9], types[:9]
    tensors, done, skipped = {"ids.0": ids, "types.0": types}, [], {}
    for act in sorted(ACT2CLS):
        config = BertConfig.from_pretrained(folder, hidden_act=act)
        swapped = BertForMaskedLM(config)
        if len(list(swapped.parameters())) != len(list(model.parameters())):
            skipped[act] = "has parameters of its own"
            continue
        swapped.load_state_dict(model.state_dict())
        swapped.set_attn_implementation("eager")
        out = swapped.eval()(**feed(ids, types), output_hidden_states=True)
        tensors[f"last_hidden.{act}"] = out.hidden_states[-1][0].numpy()
        tensors[f"mlm.{act}"] = out.logits[0].numpy()
        done.append(act)
    save_expected(folder, model, tensors, {"sequences": 1, "activations": done, "skipped": skipped})


def make_16bit(folder):
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[folder.name]
    model, tensors, info = encoder(BertForPreTraining, bert(), folder, dtype=dtype)
    save_expected(folder, model, tensors, info)


def make_sharded(folder):
    model, tensors, info = encoder(BertForPreTraining, bert(**NARROW), folder, max_shard_size="24KB")
    assert len(list(folder.glob("model-*.safetensors"))) >= 2
    save_expected(folder, model, tensors, info)


def make_classifier(folder):
    labels, extra = {
        "sequence": (["negative", "neutral", "positive"], {"problem_type": "single_label_classification"}),
        "multilabel": (["joy", "anger", "fear", "trust"], {"problem_type": "multi_label_classification"}),
        "regression": (["stars"], {"problem_type": "regression"}),
    }[folder.name]
    config = bert(id2label=dict(enumerate(labels)), label2id={l: i for i, l in enumerate(labels)},
                  **NARROW, **extra)
    model, tensors, info = encoder(BertForSequenceClassification, config, folder, adjust=balance_labels)
    tok = read_tokenizer(folder)
    info["text_classification"] = text_classification(model, tok)
    if folder.name == "regression":
        # Many regression folders lack problem_type; HF then applies a sigmoid.
        model.config.problem_type = None
        info["text_classification_without_problem_type"] = text_classification(model, tok)
    save_expected(folder, model, tensors, info)


def make_token(folder):
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    config = bert(id2label=dict(enumerate(labels)), label2id={l: i for i, l in enumerate(labels)}, **NARROW)
    model, tensors, info = encoder(BertForTokenClassification, config, folder, adjust=balance_labels)
    info["token_classification"] = token_classification(model, read_tokenizer(folder))
    save_expected(folder, model, tensors, info)


def make_albert(folder):
    cls, config = {
        "albert": (AlbertForMaskedLM, albert()),
        "albert_groups": (AlbertModel, albert(num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2,
                                              hidden_act="gelu")),
        "albert_sequence": (AlbertForSequenceClassification, albert(
            hidden_size=24, num_hidden_layers=2, intermediate_size=40,
            id2label={0: "no", 1: "maybe", 2: "yes"}, label2id={"no": 0, "maybe": 1, "yes": 2})),
    }[folder.name]
    model, tensors, info = encoder(cls, config, folder, tokenizer=False)
    save_expected(folder, model, tensors, info | {"tokenizer": "none: token ids only"})


SENTENCES = TEXTS + [LONG_TEXT, "the", ""]
PROMPT = "see this: "


def sentence_expected(folder, model):
    tensors = {"embeddings": model.encode(SENTENCES, batch_size=1)}
    info = {"texts": SENTENCES, "embedding_size": int(tensors["embeddings"].shape[1]),
            "max_seq_length": model.max_seq_length,
            "ids": [model.preprocess([t])["input_ids"][0].tolist() for t in SENTENCES]}
    if model.prompts.get("query"):
        tensors["embeddings.query"] = model.encode(SENTENCES, batch_size=1, prompt_name="query")
        info["prompts"] = {"query": PROMPT}
    save_expected(folder, model[0].model, tensors, info)


def sentence_encoder(folder):
    """The folder of the plain BERT below both sentence folders."""
    save_model(randomise(BertModel(bert()), "sentence"), folder)


def dense_weights(name, rows, columns):
    rng = np.random.default_rng([zlib.crc32(name.encode()), 2])
    return (torch.from_numpy(rng.normal(0, 0.3, (rows, columns)).astype(np.float32)),
            torch.from_numpy(rng.normal(0, 0.2, rows).astype(np.float32)))


def make_sentence(folder):
    """As sentence-transformers 6 writes it, tokenizer.json and all."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    with tempfile.TemporaryDirectory() as tmp:
        base = Path(tmp) / "base"
        sentence_encoder(base)
        weight, bias = dense_weights("sentence", 12, 32)
        model = SentenceTransformer(modules=[
            Transformer(str(base), max_seq_length=20), Pooling(32, "mean"),
            Dense(32, 12, init_weight=weight, init_bias=bias), Normalize(),
        ], device="cpu", prompts={"query": PROMPT})
        model.save(str(folder), create_model_card=False)
    edit_json(folder / "config_sentence_transformers.json",
              lambda c: c["__version__"].update(pytorch=torch.__version__.split("+")[0]))
    sentence_expected(folder, SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}))


def make_sentence_old(folder):
    """The same encoder with the files of sentence-transformers 2: booleans for the pooling
    modes, two of them set, so that [CLS] and mean are concatenated in that order."""
    from sentence_transformers import SentenceTransformer
    sentence_encoder(folder)

    def put(name, value):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")

    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    put("modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
                         for i, (path, name) in enumerate(modules)])
    put("sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    put("config_sentence_transformers.json", {"__version__": {
        "sentence_transformers": "2.2.2", "transformers": "4.20.0", "pytorch": "1.11.0"}})
    put("special_tokens_map.json", dict(zip("pad_token unk_token cls_token sep_token mask_token".split(), SPECIAL)))
    put("1_Pooling/config.json", {
        "word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    put("2_Dense/config.json", {"in_features": 64, "out_features": 10, "bias": True,
                                "activation_function": "torch.nn.modules.activation.Tanh"})
    weight, bias = dense_weights("sentence_old", 10, 64)
    save_file({"linear.weight": weight.numpy(), "linear.bias": bias.numpy()},
              folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
    sentence_expected(folder, SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"attn_implementation": "eager"}))


FOLDERS = {
    "pretraining": make_pretraining, "bare": make_bare, "odd": make_odd, "untied": make_untied,
    "activations": make_activations, "f16": make_16bit, "bf16": make_16bit, "sharded": make_sharded,
    "sequence": make_classifier, "multilabel": make_classifier, "regression": make_classifier,
    "token": make_token, "albert": make_albert, "albert_groups": make_albert,
    "albert_sequence": make_albert, "sentence": make_sentence, "sentence_old": make_sentence_old,
}
TF4_FOLDERS = {"relative_key": make_relative, "relative_key_query": make_relative}


# ---- checks -----------------------------------------------------------------

def compare_bytes(made, kept):
    files = lambda root: {p.relative_to(root) for p in root.rglob("*") if p.is_file()}
    bad = files(made) ^ files(kept)
    bad |= {p for p in files(made) & files(kept) if (made / p).read_bytes() != (kept / p).read_bytes()}
    return sorted(f"{made.name}/{p}" for p in bad)


def degenerate(folder):
    """Complaints about expected values that would let a wrong implementation pass."""
    tensors = load_file(folder / "expected.safetensors")
    info = json.loads((folder / "expected.json").read_text())
    bad = []
    for i in range(info.get("sequences", 0)):
        layers = [tensors[f"hidden.{i}.{l}"] for l in range(info["layers"] + 1)] if f"hidden.{i}.0" in tensors else []
        for a in range(len(layers)):
            rms = float(np.sqrt((layers[a] ** 2).mean()))
            if not 0.3 < rms < 3:
                bad.append(f"hidden.{i}.{a} rms {rms:.2f}")
            for b in range(a):
                if layers[a].shape == layers[b].shape and np.abs(layers[a] - layers[b]).mean() < 0.1:
                    bad.append(f"layers {b} and {a} of sequence {i} are close")
            if len(layers[a]) > 2 and np.abs(layers[a] - layers[a].mean(0)).mean() < 0.2:
                bad.append(f"positions of hidden.{i}.{a} are close")
    if "mlm.4" in tensors and len(set(tensors["mlm.4"].argmax(-1).tolist())) < 5:
        bad.append("mlm.4: few different tokens win")
    found = [e["entity"] for c in info.get("token_classification", []) for e in c["result"].get("none", [])]
    if found:
        print("  labels:", {label: found.count(label) for label in sorted(set(found))})
        groups = {len(c["result"]["simple"]) for c in info["token_classification"]}
        if len(set(found)) < 4 or len(groups) < 3:
            bad.append("token_classification: few different labels")
    # Lists ordered by score must not depend on the last bit.
    for case in info.get("fill_mask", []):
        for mask in case["masks"]:
            scores = [a["score"] for a in mask]
            gap = min([a / b - 1 for a, b in zip(scores, scores[1:])], default=1)
            if gap < 1e-4:
                bad.append(f"fill_mask {case['text']!r}: scores only {gap:.1e} apart")
    for case in info.get("text_classification", []):
        scores = [r["score"] for r in case["result"]]
        if min([a - b for a, b in zip(scores, scores[1:])], default=1) < 1e-4:
            bad.append(f"text_classification {case['text']!r}: close scores")
    winners = [c["result"][0]["label"] for c in info.get("text_classification", [])]
    if winners:
        print("  winners:", {label: winners.count(label) for label in sorted(set(winners))})
    for metric, corpus in info.get("pll", {}).get("corpus", {}).items():
        print(f"  {metric}: {corpus}")
    if "activations" in info:
        same = [{"gelu", "gelu_python"}, {"silu", "swish"},
                {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh", "gelu_pytorch_tanh"}]
        acts = info["activations"]
        for a in acts:
            for b in acts:
                for t in ("last_hidden", "mlm"):
                    diff = np.abs(tensors[f"{t}.{a}"] - tensors[f"{t}.{b}"]).max()
                    if a < b and (diff < 1e-4) != any({a, b} <= s for s in same):
                        bad.append(f"{t}: {a} and {b} differ by {diff:.1e}")
    if "embeddings" in tensors:
        e = tensors["embeddings"]
        cosines = (e @ e.T)[np.triu_indices(len(e), 1)]
        print(f"  cosines {cosines.min():.3f} .. {cosines.max():.3f}")
    return bad


def cross_check(root):
    """Under transformers 4: do the folders give the same answers there?"""
    for folder in sorted(p.parent for p in root.glob("*/expected.json")):
        info = json.loads((folder / "expected.json").read_text())
        cls = getattr(transformers, info["model_class"])
        expected = load_file(folder / "expected.safetensors")
        if "hidden.0.0" not in expected:
            continue
        model = load(cls, folder)
        seqs = [(expected[f"ids.{i}"], expected[f"types.{i}"]) for i in range(info["sequences"])]
        got = encode(model, seqs)
        worst = {}
        for name, value in got.items():
            kind = name.split(".")[0]
            if value.dtype == np.float32:
                worst[kind] = max(worst.get(kind, 0.0), float(np.abs(value - expected[name]).max()))
        print(f"{folder.name}: " + " ".join(f"{k} {v:.1e}" for k, v in worst.items()))
        if folder.name == "pretraining":
            again = pretraining_expected(folder, model)
        elif "text_classification" in info:
            again = {"text_classification": text_classification(model, read_tokenizer(folder))}
        elif "token_classification" in info:
            again = {"token_classification": token_classification(model, read_tokenizer(folder))}
        else:
            continue
        for key, value in again.items():
            for line in differences(json.loads(json.dumps(value)), info[key], key):
                print("   ", line)


def differences(a, b, at):
    if isinstance(a, dict) and isinstance(b, dict):
        for k in a.keys() | b.keys():
            yield from differences(a.get(k), b.get(k), f"{at}.{k}")
    elif isinstance(a, list) and isinstance(b, list):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differences(x, y, f"{at}[{i}]")
        if len(a) != len(b):
            yield f"{at}: lengths {len(a)} and {len(b)}"
    elif isinstance(a, float) and isinstance(b, float):
        if abs(a - b) > 1e-5 * max(1, abs(b)):
            yield f"{at}: {a} and {b}"
    elif a != b:
        yield f"{at}: {a!r} and {b!r}"


# ---- main -------------------------------------------------------------------

def build(root, names):
    for name in names:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (FOLDERS | TF4_FOLDERS)[name](folder)
        print(name)


def under_tf4(site, *args):
    subprocess.run([sys.executable, __file__, *args], check=True, env=os.environ | {"PYTHONPATH": site})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*FOLDERS, *TF4_FOLDERS])
    parser.add_argument("--tf4", help="folder that holds transformers 4.57.1")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--out", default=HERE, type=Path, help="where the folders go")
    parser.add_argument("--cross-check", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()

    if TF4:
        assert transformers.__version__ == "4.57.1", transformers.__version__
        if args.cross_check:
            cross_check(args.out)
        else:
            build(args.out, args.only)
        return
    assert transformers.__version__ == "5.23.0", transformers.__version__

    names = args.only or [*FOLDERS, *TF4_FOLDERS]
    if not args.tf4:
        left = [n for n in names if n in TF4_FOLDERS]
        names = [n for n in names if n in FOLDERS]
        if left:
            print("left alone without --tf4:", *left, file=sys.stderr)
    root = Path(tempfile.mkdtemp()) if args.check else args.out
    build(root, [n for n in names if n in FOLDERS])
    old = [n for n in names if n in TF4_FOLDERS]
    if old:
        under_tf4(args.tf4, "--out", str(root), *(a for n in old for a in ("--only", n)))
    if not args.check:
        return

    bad = []
    for name in names:
        print(f"checking {name}")
        bad += compare_bytes(root / name, HERE / name)
        bad += [f"{name}: {line}" for line in degenerate(root / name)]
    if args.tf4:
        under_tf4(args.tf4, "--out", str(root), "--cross-check")
    shutil.rmtree(root)
    print("\n".join(bad) if bad else "all files identical, no degenerate values")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
