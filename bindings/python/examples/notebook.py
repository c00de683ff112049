"""A notebook as a script: every `# %%` is a cell in editors that know them.

python notebook.py [MODEL]    MODEL is a HuggingFace folder; the model of the source tree without it.
"""

# %% A model
import sys
from pathlib import Path

import numpy as np

import cloze

SOURCE = Path(__file__).resolve().parents[3]
model = cloze.Model(sys.argv[1] if len(sys.argv) > 1 else SOURCE / "model")
print(model)

# %% Words for a blank
for candidate in model.fill("She opened the [MASK] and looked out.", top_k=3)[0]:
    print(f"{candidate.probability:.3f}  {candidate.token}")

# %% Which sentence is likelier, and by which word
pair = ["The old women were in the garden.", "The old women was in the garden."]
for sentence, score, tokens in zip(pair, model.score(pair), model.score_tokens(pair)):
    verb = tokens[3]
    print(f"{score.log_likelihood:7.2f}  {model.token(verb.id)} {verb.log_probability:6.2f}  {sentence}")

# %% Search: vectors are a numpy array
notes = [
    "The ship sailed for India at dawn.",
    "Mr. Brown was appointed vicar of the parish.",
    "The captain was drowned in the storm.",
    "She married the curate in the spring.",
    "The fleet lay in the harbour.",
]
vectors = model.embed([*notes, "Their vessel was lost in the storm."])  # [6, width], float32
vectors -= vectors.mean(axis=0)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
print("nearest:", notes[int(np.argmax(vectors[:-1] @ vectors[-1]))])

# %% Teach it to sort notes
lessons = {
    "sea": [
        "The sailors sang.",
        "The boat was lost in a gale.",
        "The captain came on deck.",
        "The waves rose.",
        "The tide came in.",
    ],
    "church": ["The bishop preached.", "They were married.", "The choir sang.", "He was a curate.", "She prayed."],
}
texts = [text for own in lessons.values() for text in own]
labels = [label for label, own in lessons.items() for _ in own]
data = cloze.Dataset(texts, labels)


def bar(event: cloze.Event) -> None:
    """One line that is written over; a Ctrl-C ends the fit after a whole step."""
    if isinstance(event, cloze.Step) and sys.stderr.isatty():
        done = 30 * event.step // event.total
        print(f"\r[{'#' * done:30}] loss {event.loss:.3f}", end="", file=sys.stderr, flush=True)


trainer = cloze.Trainer(model, data, trainable="top", layers=2, epochs=10, batch_size=5, learning_rate=5e-4)
fit = trainer.fit(data, observer=bar)
taught = trainer.snapshot()
print(f"{fit.steps} steps, accuracy {trainer.evaluate(data)['accuracy']:.2f} on the lessons")
for note, row in zip(notes, taught.classify(notes)):
    best = int(row.argmax())
    print(f"{taught.labels[best]:7} {row[best]:.2f}  {note}")

# %% The same by hand: two machines that exchange nothing but parameters
halves = [cloze.Dataset(texts[part::2], labels[part::2]) for part in (0, 1)]
machines = [cloze.Trainer(model, trainable="head", labels=sorted(lessons), dropout=0) for _ in halves]
for _round in range(10):
    losses = []
    for machine, half in zip(machines, halves):
        losses.append(machine.accumulate(half))
        machine.apply(2e-3)
    mean = np.mean([machine.parameters() for machine in machines], axis=0)
    for machine in machines:
        machine.set_parameters(mean)
shapes = {name: tensor.shape for name, tensor in machines[0].split(mean).items()}
print(f"loss {np.mean(losses):.2f} after 10 rounds; they exchange {shapes}")
