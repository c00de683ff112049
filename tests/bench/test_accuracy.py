"""What tests/bench/accuracy runs, computes and prints: python3 -m unittest discover tests/bench"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "accuracy"))

from measure import Measurement, Setup, score, shown
from programs import Refused
from scores import Row, Run, cell, document, signed, spread, table
from trainings import PRECISIONS, TASKS, TRAININGS, wanted

# A program that notes its command line, learns nothing, and answers worse in int8 and with odd seeds. It has no bf16.
CLOZE = """#!{python}
import json, pathlib, sys
verb, *rest = sys.argv[1:]
if verb == "--version":
    sys.exit(print("cloze 9"))
value = dict(zip(rest[0::2], rest[1::2]))
with open({log!r}, "a") as log:
    log.write(json.dumps([verb, *rest]) + "\\n")
if value.get("--precision") == "bf16":
    sys.exit("no bf16 here")
if verb == "train":
    pathlib.Path(value["--out"]).write_text(value["--seed"])
    sys.exit(print('{{"best":null}}'))
good = 0.9 - 0.2 * (int(pathlib.Path(value["--model"]).read_text()) % 2) - 0.1 * (value["--precision"] == "int8")
print(json.dumps({{"metrics": {{"accuracy": good, "spearman": -good}}}}))
"""


def rows() -> list[Row]:
    """Two seeds trained in f32, and one of them in bf16; the second seed has no answers in int8."""
    plain = [Run(1, 10.0, {"f32": 0.8, "bf16": 0.79, "int8": 0.81}), Run(2, 20.0, {"f32": 0.9, "bf16": 0.91})]
    rounded = [Run(2, 5.4, {"f32": 0.88})]
    return [Row("A", "f32", "cloze train a", plain), Row("A", "bf16", "cloze train b", rounded), Row("B", "f32", "c")]


class Scores(unittest.TestCase):
    def test_differences_are_between_the_same_seeds(self) -> None:
        plain = {1: 80.0, 2: 90.0}
        self.assertEqual(cell(plain, None), "85.00")
        self.assertEqual(cell({1: 80.5, 2: 89.0}, plain), "84.75 (−0.25)")
        self.assertEqual(cell({2: 90.5}, plain), "90.50 (+0.50)")
        self.assertEqual(cell({3: 70.0}, plain), "70.00")
        self.assertEqual(cell({}, plain), "–")

    def test_a_minus_is_a_minus_and_zero_has_no_sign(self) -> None:
        told = [signed(value) for value in (0.0, 0.004, -0.004, 0.006, -1.0)]
        self.assertEqual(told, ["0.00", "0.00", "0.00", "+0.01", "−1.00"])
        self.assertEqual(cell({1: -7.454}, None), "−7.45")

    def test_seeds_differ_only_where_there_are_several(self) -> None:
        self.assertEqual(spread({1: 80.0, 2: 90.5, 3: 85.0}), "10.50")
        self.assertEqual(spread({1: 80.0}), "–")

    def test_a_row_for_each_training_and_a_column_for_each_precision(self) -> None:
        self.assertEqual(
            table(rows(), PRECISIONS).splitlines(),
            [
                "| answers in | f32 | bf16 | int8 | seeds differ by | a training takes |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
                "| A | 85.00 | 85.00 (0.00) | 81.00 (+1.00) | 10.00 | 15 s |",
                "| A, trained in bf16 | 88.00 (−2.00) | – | – | – | 5 s |",
                "| B | – | – | – | – | – |",
            ],
        )

    def test_commands_stand_between_the_table_and_the_notes(self) -> None:
        blocks = document(rows(), PRECISIONS, "About.", ["x", "x"]).split("\n\n")
        self.assertEqual(blocks[0], "About.")
        self.assertEqual(blocks[2:], ["    cloze train a\n    cloze train b\n    c", "- x\n"])

    def test_a_score_is_of_the_last_line(self) -> None:
        self.assertEqual(score('{"step":1}\n{"metrics":{"f1":0.5,"loss":1}}\n', "f1"), 0.5)
        for printed in ('{"metrics":{"loss":1}}\n', ""):
            with self.assertRaisesRegex(Refused, "no f1"):
                score(printed, "f1")


class Trainings(unittest.TestCase):
    def test_names_choose_trainings(self) -> None:
        self.assertEqual(wanted([]), list(TRAININGS))
        self.assertEqual([training.precision for training in wanted(["training"])], ["f32", "bf16"])
        self.assertEqual(TASKS, ("sst2", "stsb", "wnut17", "training"))

    def test_trainings_of_one_title_differ_in_the_precision_alone(self) -> None:
        kinds = {(training.title, training.precision) for training in TRAININGS}
        self.assertEqual(len(kinds), len(TRAININGS))
        for training in TRAININGS:
            plain = [other for other in TRAININGS if other.title == training.title and other.precision == "f32"]
            self.assertEqual([other.arguments for other in plain], [training.arguments])


class Measured(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.log = self.folder / "log"
        program = self.folder / "cloze"
        program.write_text(CLOZE.format(python=sys.executable, log=str(self.log)), encoding="utf-8")
        program.chmod(0o755)
        self.setup = Setup(str(program), Path("minilm"), Path("data"), threads=1)

    def measured(self, tasks: list[str], seeds: list[int]) -> Measurement:
        measurement = Measurement(self.setup, wanted(tasks), seeds, self.folder / "kept.json")
        with contextlib.redirect_stderr(io.StringIO()):
            measurement.run()
        return measurement

    def test_each_seed_is_trained_once_and_scored_in_each_precision(self) -> None:
        measurement = self.measured(["sst2"], [4, 5])
        calls = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        self.assertEqual([call[0] for call in calls], ["train", "eval", "eval", "eval"] * 2)
        self.assertEqual(calls[0][:3], ["train", "--train", "data/sst2/train.tsv"])
        self.assertEqual(calls[1][:3], ["eval", "--data", "data/sst2/dev.tsv"])
        self.assertNotIn("--precision", calls[0])
        out = calls[0][calls[0].index("--out") + 1]
        self.assertEqual([call[call.index("--model") + 1] for call in calls[:4]], ["minilm", out, out, out])
        self.assertFalse(Path(out).exists())
        (row,) = measurement.rows
        self.assertEqual([run.seed for run in row.runs], [4, 5])
        self.assertEqual(
            {name: round(value, 3) for name, value in row.runs[1].values.items()}, {"f32": 0.7, "int8": 0.6}
        )
        self.assertEqual(len(measurement.notes), 2)
        self.assertIn("no bf16 here", measurement.notes[0])

    def test_a_training_that_is_refused_is_told_and_the_others_go_on(self) -> None:
        measurement = self.measured(["training"], [4])
        self.assertEqual([len(row.runs) for row in measurement.rows], [1, 0])
        self.assertIn("did not train (no bf16 here)", measurement.notes[-1])
        self.assertTrue(measurement.rows[1].command.endswith("--precision bf16"))

    def test_what_is_kept_shows_the_same(self) -> None:
        measurement = self.measured(["stsb", "wnut17"], [4])
        kept = self.folder / "kept.json"
        self.assertEqual(shown(kept), measurement.document())
        self.assertEqual(json.loads(kept.read_text(encoding="utf-8"))["program"], "accuracy")
        self.assertIn("| −90.00 | – | −80.00 (+10.00) |", measurement.document())
        self.assertIn("no f1 among its metrics", measurement.document())
        self.assertIn("; 1 thread; all-MiniLM-L6-v2; ", measurement.about())
        self.assertIn(", seed 4, in brackets", measurement.about())

    def test_a_test_file_whose_name_tells_no_format_is_given_one(self) -> None:
        (training,) = wanted(["wnut17"])
        command = self.setup.evaluate(training, Path("m"), "int8")
        told = "eval --data data/wnut17/emerging.test.annotated --format conll --model m --threads 1"
        self.assertEqual(" ".join(command[1:10]), told)

    def test_few_steps_are_told_in_the_row(self) -> None:
        self.setup = Setup(self.setup.cloze, self.setup.model, self.setup.data, 1, steps=7)
        (row,) = self.measured(["stsb"], [4]).rows
        self.assertTrue(row.label.endswith(", 7 steps at most"))
        self.assertTrue(row.command.endswith("--steps 7"))


if __name__ == "__main__":
    unittest.main()
