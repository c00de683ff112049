"""How much longer `Model.embed` of 1,000 short texts takes than cloze_embed from C, turn by turn on one thread.

python tests/overhead.py [MODEL] [TURNS]    Needs a C compiler. Times are of the processor, so that other programs count
less; the ratio is the median of the turns'.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from ctypes import CDLL, addressof, c_char_p, c_double, c_int, c_void_p
from pathlib import Path

import cloze
from cloze._inputs import Inputs

ROOT = Path(__file__).resolve().parents[3]
TEXTS = 1000
WORDS = "the old man sat by fire and looked out of door while rain fell upon house".split()

C = """
#include <cloze.h>
#include <stdlib.h>

int embed_all(const cloze_model *model, const char *const *texts, size_t count, size_t width, double *first) {
    cloze_input *inputs = malloc(count * sizeof *inputs);
    float *vectors = malloc(count * width * sizeof *vectors);
    size_t written;
    for (size_t i = 0; i < count; i++) inputs[i] = cloze_text(texts[i]);
    int status = cloze_embed(model, inputs, count, NULL, vectors, count * width, &written, NULL);
    *first = vectors[0];
    free(vectors);
    free(inputs);
    return status;
}
"""


def main() -> None:
    folder = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "model")
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    model = cloze.Model(folder, threads=1)
    texts = [" ".join(WORDS[(index + step) % len(WORDS)] for step in range(4 + index % 5)) for index in range(TEXTS)]
    with tempfile.TemporaryDirectory() as temporary:
        source, program = Path(temporary) / "c.c", Path(temporary) / "c.so"
        source.write_text(C)
        library = cloze.library_path
        flags = ["-O2", "-shared", "-fPIC", f"-I{ROOT / 'include'}"]
        subprocess.run(
            ["cc", *flags, str(source), library, f"-Wl,-rpath,{Path(library).parent}", "-o", str(program)], check=True
        )
        embed_all = CDLL(str(program)).embed_all
    embed_all.argtypes = [c_void_p, c_void_p, c_void_p, c_void_p, c_void_p]
    embed_all.restype = c_int
    encoded = (c_char_p * TEXTS)(*[text.encode() for text in texts])
    first, pointer, width = c_double(), model._handle._as_parameter_, model.info.embedding

    def from_c() -> None:
        status = embed_all(pointer, addressof(encoded), TEXTS, width, addressof(first))
        assert status == 0, status

    def from_python() -> None:
        assert model.embed(texts).shape == (TEXTS, width)

    def timed(call: Callable[[], None]) -> float:
        begin = time.process_time()
        call()
        return time.process_time() - begin

    timed(from_c), timed(from_python)
    ratios, c_times, own = [], [], []
    for turn in range(turns):
        order = (from_c, from_python) if turn % 2 == 0 else (from_python, from_c)
        seconds = {call: timed(call) for call in order}
        c_times.append(seconds[from_c])
        own.append(seconds[from_python])
        ratios.append(seconds[from_python] / seconds[from_c])
    print(f"C {statistics.median(c_times):.3f} s, Python {statistics.median(own):.3f} s; ", end="")
    print(f"ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    begin = time.process_time()
    for _ in range(20):
        Inputs(texts)
    print(f"inputs: {(time.process_time() - begin) / 20 * 1e3:.2f} ms of it")


main()
