#!/usr/bin/env python3
"""Looks in a built program for loops of matrix products whose sums are in memory: they take twice the time or more, and no
test of answers sees it. Usage: tests/registers.py target/release/cloze (x86-64; needs objdump)"""

import re
import subprocess
import sys

PRODUCTS = ("vfmadd231ps", "vdpbf16ps", "vpdpbusd")
# Four steps of the highest tiles, which are the ones that a compiler spills.
FEWEST_PRODUCTS = 64
LONGEST_LOOP = 420
# Sums that a loop may keep on the stack.
SPILLED = 8


def main(program: str) -> int:
    listing = subprocess.run(
        ["objdump", "--disassemble", "--no-show-raw-insn", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    code = [(int(found[1], 16), found[2]) for line in listing if (found := re.match(r"\s*([0-9a-f]+):\s+(\S.*)", line))]
    place = {address: index for index, (address, _) in enumerate(code)}
    tiles, bad = 0, 0
    for index, (address, text) in enumerate(code):
        jump = re.match(r"j\w+\s+([0-9a-f]+)", text)
        start = place.get(int(jump[1], 16)) if jump else None
        if start is None or not 0 < index - start <= LONGEST_LOOP:
            continue
        loop = [text for _, text in code[start : index + 1] if "%zmm" in text]
        products = sum(text.startswith(PRODUCTS) for text in loop)
        if products < FEWEST_PRODUCTS:
            continue
        tiles += 1
        spilled = sum("(%rsp" in text for text in loop)
        if spilled > SPILLED:
            bad += 1
            print(f"{address:x}: {products} products of vectors in a loop with {spilled} uses of the stack")
    if not tiles:
        print(f"{program}: no loops of products found")
    return int(bad > 0 or not tiles)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
