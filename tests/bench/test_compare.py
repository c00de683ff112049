"""What tests/bench/compare computes and prints: python3 -m unittest discover tests/bench"""

from __future__ import annotations

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

from figures import Contest, Turn, document, figure, table
from programs import Refused, output, reason
from sides import examples
from workloads import GROUPS, NAMES, wanted


def contest() -> Contest:
    """Two peers in three rounds; ours is slower in the second round, and so is the peer of that moment."""
    turns = [
        Turn({"f32": 10.0}, "A", 20.0),
        Turn({"f32": 10.0}, "B", 15.0),
        Turn({"f32": 40.0}, "A", 80.0),
        Turn({"f32": 50.0}, "B", 70.0),
        Turn({"f32": 11.0}, "A", 23.0),
        Turn({"f32": 9.0}, "B", 13.5),
    ]
    return Contest("encode", "1 × 16", ours=["f32", "later, f32"], turns=turns)


class Figures(unittest.TestCase):
    def test_medians_are_over_all_turns(self) -> None:
        self.assertEqual(contest().our_median("f32"), 10.5)
        self.assertEqual(contest().peers(), {"A": 23.0, "B": 15.0})
        self.assertIsNone(contest().our_median("later, f32"))

    def test_a_ratio_is_of_turns_that_followed_each_other(self) -> None:
        self.assertEqual(contest().ratio("f32", "A"), 2.0)
        self.assertEqual(contest().ratio("f32", "B"), 1.5)
        self.assertIsNone(contest().ratio("f32", "C"))
        self.assertIsNone(contest().ratio("later, f32", "A"))

    def test_the_best_peer_has_the_lowest_median(self) -> None:
        self.assertEqual(contest().best(), "B")
        self.assertIsNone(Contest("encode", "1 × 16").best())

    def test_peers_that_left_a_turn_do_not_count(self) -> None:
        alone = Contest("encode", "1 × 16", ours=["f32"], turns=[Turn({"f32": 3.0}), Turn({}, "A", 5.0)])
        self.assertEqual(alone.our_median("f32"), 3.0)
        self.assertEqual(alone.peers(), {"A": 5.0})
        self.assertIsNone(alone.ratio("f32", "A"))

    def test_figures_have_three_digits_or_more(self) -> None:
        told = [figure(value) for value in (0.634, 9.99, 9.996, 36.04, 99.96, 1224.6)]
        self.assertEqual(told, ["0.63 ms", "9.99 ms", "10.0 ms", "36.0 ms", "100 ms", "1,225 ms"])
        self.assertEqual(figure(17.0, "MiB"), "17.0 MiB")
        self.assertEqual(figure(None), "–")


class Table(unittest.TestCase):
    def test_a_row_for_each_of_ours_and_a_column_for_each_peer(self) -> None:
        other = Contest("encode", "8 × 16", ours=["f32"], turns=[Turn({"f32": 8.0}, "C", 4.0)])
        self.assertEqual(
            table([contest(), other]).splitlines(),
            [
                "| encode | cloze | A | B | C | best peer / cloze |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
                "| 1 × 16, f32 | 10.5 ms | 23.0 ms | 15.0 ms | – | 1.50 (B) |",
                "| 1 × 16, later, f32 | not available | 23.0 ms | 15.0 ms | – | – |",
                "| 8 × 16, f32 | 8.00 ms | – | – | 4.00 ms | 0.50 (C) |",
            ],
        )

    def test_sections_have_tables_and_notes_are_told_once(self) -> None:
        other = Contest("scores", "PLL", ours=["f32"])
        blocks = document([contest(), other, contest()], "About.", ["x did not run", "x did not run"]).split("\n\n")
        self.assertEqual(blocks[0], "About.")
        self.assertEqual(len(blocks[1].splitlines()), 6)
        self.assertEqual(blocks[2].splitlines()[0], "| scores | cloze | best peer / cloze |")
        self.assertEqual(blocks[3], "- x did not run\n")


class Workloads(unittest.TestCase):
    def names(self, names: list[str], quick: bool = False) -> list[str]:
        return [item.name for group in GROUPS for item in group.items if wanted(group, item, names, quick)]

    def test_names_choose_groups_and_items(self) -> None:
        self.assertEqual(self.names(["encode-b1-s16", "finetune-top2"]), ["encode-b1-s16", "finetune-top2-b16-s128"])
        self.assertEqual(self.names(["encode-b8", "pll"]), ["encode-b8-s128", "pll-16-sentences"])
        self.assertEqual(self.names(["pretrain"]), ["pretrain-b16-s128"])
        self.assertEqual(len(self.names([])), 13)
        self.assertTrue(0 < len(self.names([], quick=True)) < 13)
        self.assertEqual(len(set(NAMES)), len(NAMES))


class Sides(unittest.TestCase):
    def test_examples_have_126_words_of_one_token(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            vocabulary = ["[PAD]", "##ing", "a", "été", "house", "garden", "1990", "rain"]
            (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
            examples(folder, folder / "examples.tsv", 3)
            lines = (folder / "examples.tsv").read_text(encoding="utf-8").splitlines()
        self.assertEqual(lines[0], "text\tlabel")
        texts, labels = zip(*(line.split("\t") for line in lines[1:]), strict=True)
        self.assertEqual(labels, ("no", "yes", "no"))
        for text in texts:
            self.assertEqual(len(text.split()), 126)
            self.assertLessEqual(set(text.split()), {"house", "garden", "rain"})

    def test_a_program_that_fails_tells_why(self) -> None:
        self.assertEqual(output([sys.executable, "-c", "print(1)"]), "1\n")
        with self.assertRaisesRegex(Refused, "^no such precision$"):
            output([sys.executable, "-c", "import sys; sys.exit('no such precision\\nmore')"])
        self.assertEqual(reason("Traceback\n  x\nValueError: y\n", -1), "ValueError: y")
        self.assertEqual(reason(""), "said nothing")


if __name__ == "__main__":
    unittest.main()
