"""What readme.py, size.py and cuda.py print: python3 -m unittest discover tests/bench"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import unittest
from pathlib import Path
from typing import ClassVar
from unittest import mock

import cuda
import readme
import size
import tables

DYNAMIC = """
Dynamic section at offset 0xac0 contains 30 entries:
  Tag        Type                         Name/Value
 0x0000000000000001 (NEEDED)             Shared library: [libm.so.6]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000000e (SONAME)             Library soname: [libcloze.so.1]
"""


class Size(unittest.TestCase):
    def test_a_library_needs_what_it_is_linked_to(self) -> None:
        self.assertEqual(size.needed(DYNAMIC), ["libm.so.6", "libc.so.6"])

    def test_the_table(self) -> None:
        record = {"about": "Linux.", "stripped_bytes": 3 << 19, "needs": ["libm.so.6", "libc.so.6"]}
        lines = size.document(record).splitlines()
        self.assertEqual(lines[-2:], ["| size, stripped | 1.5 MiB |", "| needs | libm.so.6, libc.so.6 |"])


class Cuda(unittest.TestCase):
    record: ClassVar[dict[str, object]] = {
        "about": "A GPU.",
        "peak_tflops": 100.4,
        "columns": ["cloze, alone", "cloze, helped", "PyTorch"],
        "rows": [
            {"title": "small", "ms": [0.634, 2.0, 8.6], "gflop": 10.0},
            {"title": "large", "ms": [123.6, None, 24.13], "gflop": 10.0},
            {"title": "ragged", "ms": [1.0, 1.0, None], "gflop": None},
        ],
        "notes": ["told"],
    }

    def test_figures_have_three_digits_or_as_few_as_were_kept(self) -> None:
        lines = cuda.document(self.record).splitlines()
        self.assertEqual(
            lines[2:7],
            [
                "| bf16 | cloze, alone | cloze, helped | PyTorch |",
                "| --- | ---: | ---: | ---: |",
                "| small | 0.634 ms | 2 ms | 8.6 ms |",
                "| large | 124 ms | not measured | 24.1 ms |",
                "| ragged | 1 ms | 1 ms | not measured |",
            ],
        )

    def test_shares_are_of_rows_that_cloze_ran(self) -> None:
        notes = cuda.document(self.record).splitlines()[8:]
        self.assertEqual(notes, ["- cloze's part of the 100 TFLOP/s of a product of 8192³: small 16 %, 5 %", "- told"])
        without = {**self.record, "peak_tflops": None, "notes": []}
        self.assertTrue(cuda.document(without).endswith("not measured |\n"))


class Readme(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.results = Path(folder.name) / "results"
        self.results.mkdir()
        self.readme = Path(folder.name) / "README.md"
        for name, value in (("RESULTS", self.results), ("README", self.readme)):
            patch = mock.patch.object(readme, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def run_with(self, *arguments: str) -> None:
        with mock.patch.object(sys, "argv", ["readme.py", *arguments]):
            readme.main()

    def keep(self, name: str, of: str) -> None:
        shutil.copy(readme.HERE / "results" / f"{of}.json", self.results / f"{name}.json")

    def blocks(self, *names: str) -> None:
        blocks = (f"<!-- printed: {name} -->\nby hand\n<!-- end -->\n" for name in names)
        self.readme.write_text("Before.\n" + "".join(blocks) + "After.\n", encoding="utf-8")

    def test_a_block_comes_from_the_program_that_its_file_names(self) -> None:
        for name, program in (("a", "size"), ("b", "cuda"), ("c", "accuracy"), ("d", "pll")):
            self.keep(name, program)
        self.blocks("a", "b", "c", "d")
        with self.assertRaisesRegex(SystemExit, "not what was printed"):
            self.run_with("--check")
        self.run_with()
        text = self.readme.read_text(encoding="utf-8")
        for row in ("| size, stripped |", "| bf16 |", "| answers in |", "| scores | cloze |"):
            self.assertEqual(text.count(f"\n{row}"), 1)
        self.assertTrue(text.startswith("Before.\n<!--") and text.endswith("-->\nAfter.\n"))
        self.assertNotIn("by hand", text)
        self.run_with("--check")
        self.run_with()
        self.assertEqual(self.readme.read_text(encoding="utf-8"), text)

    def test_what_is_missing_is_told(self) -> None:
        self.readme.write_text("Nothing.\n", encoding="utf-8")
        with self.assertRaisesRegex(SystemExit, "no table that was printed"):
            self.run_with("--check")
        self.blocks("a")
        with self.assertRaisesRegex(SystemExit, r"no .*a\.json"):
            self.run_with()

    def test_a_program_that_is_none_is_refused(self) -> None:
        tables.write(self.results / "a.json", {"program": "rm"})
        self.blocks("a")
        with self.assertRaisesRegex(SystemExit, "program rm, expected one of compare, "):
            self.run_with()

    def test_a_comparison_names_no_program_or_itself(self) -> None:
        for record in ({}, {"program": "compare"}):
            kept = self.results / "a.json"
            kept.write_text(json.dumps(record), encoding="utf-8")
            self.assertEqual(readme.program(kept), readme.HERE / "compare")


if __name__ == "__main__":
    unittest.main()
