"""Compares what cloze trained and saved with transformers and PEFT.

    CLOZE_FOLDERS=/tmp/folders cargo test --test training folders_are_written
    python tests/golden_training/check.py /tmp/folders

Needs torch, transformers and peft; README.md tells the versions. Prints the largest difference of every case, and fails
when one is above 2e-5.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from peft import PeftModel

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
LIMIT = 2e-5


def load(folder, architecture=None, **kwargs):
    """The model of a folder in float32, and what transformers missed or did not know in it."""
    config = transformers.AutoConfig.from_pretrained(folder)
    kind = getattr(transformers, architecture or config.architectures[0])
    model, info = kind.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **kwargs
    )
    return model.eval(), info


def rows(model, case):
    """Logits of every sequence alone, without padding."""
    found = []
    for ids, types in zip(case["ids"], case["types"]):
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        if "start_logits" in out:
            found.append(torch.stack([out.start_logits[0], out.end_logits[0]], dim=1))
        else:
            found.append(out.logits[0] if out.logits.dim() == 3 else out.logits)
    return torch.cat(found)


def check_model(place, case):
    model, info = load(place / "model")
    missing = [name for name in info["missing_keys"] if "position_ids" not in name]
    assert not missing, f"{place.name}: transformers misses {missing}"
    found, expected = rows(model, case), torch.tensor(case["logits"])
    assert found.shape == expected.shape, f"{place.name}: {found.shape}, expected {expected.shape}"
    return (found - expected).abs().max().item(), sorted(info["unexpected_keys"])


def check_adapter(place, case):
    config = json.loads((place / "adapter" / "adapter_config.json").read_text())
    base, _ = load(case["base"], num_labels=case["labels"])
    model = PeftModel.from_pretrained(base, place / "adapter").eval()
    loaded = {name for name, _ in model.named_parameters() if "lora_" in name}
    assert loaded, f"{place.name}: PEFT found no pairs"
    found = torch.log_softmax(rows(model, case), dim=-1)
    expected = torch.tensor(case["log_probabilities"])
    assert found.shape == expected.shape, f"{place.name}: {found.shape}, expected {expected.shape}"
    with model.disable_adapter():
        plain = torch.log_softmax(rows(model, case), dim=-1)
    assert (plain - found).abs().max() > 1e-2, f"{place.name}: the adapter changes nothing"
    note = f"{len(loaded)} matrices, targets {config['target_modules']}, rslora {config['use_rslora']}"
    return (found - expected).abs().max().item(), note


def main():
    root = Path(sys.argv[1])
    worst = 0.0
    for place in sorted(path.parent for path in root.glob("*/case.json")):
        case = json.loads((place / "case.json").read_text())
        check = check_adapter if "base" in case else check_model
        off, note = check(place, case)
        worst = max(worst, off)
        print(f"{place.name:32} {off:.1e}  {note or ''}")
    print(f"largest difference {worst:.1e}, allowed {LIMIT:.0e}")
    sys.exit(not 0.0 < worst <= LIMIT)


main()
