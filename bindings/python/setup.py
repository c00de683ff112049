"""Puts the library into the wheel: the one that CLOZE_LIBRARY names, else one that cargo builds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
NAME = {"win32": "cloze.dll", "darwin": "libcloze.dylib"}.get(sys.platform, "libcloze.so")


def built() -> Path:
    """The library that cargo builds; CLOZE_FEATURES lists features of the crate: "cuda,linalg"."""
    root = HERE.parents[1]
    if not (root / "Cargo.toml").exists():
        raise SystemExit(
            f"cloze: {root} has no Cargo.toml to build the library from: install from the source tree, "
            f"or set CLOZE_LIBRARY to {NAME}"
        )
    command = ["cargo", "build", "--release", "--lib", "--no-default-features", "--message-format=json"]
    command += ["--features", os.environ.get("CLOZE_FEATURES", "cuda")]
    try:
        lines = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    except FileNotFoundError:
        raise SystemExit("cloze: cargo is not installed: install Rust, or set CLOZE_LIBRARY to " + NAME) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"cloze: {' '.join(command)} failed with status {error.returncode}") from None
    messages = [json.loads(line) for line in lines if line.startswith("{")]
    files = [Path(file) for message in messages for file in message.get("filenames", [])]
    return next(file for file in reversed(files) if file.name == NAME)


class Build(build_py):
    """The package with the library in it."""

    def run(self) -> None:
        super().run()
        given = os.environ.get("CLOZE_LIBRARY")
        library = Path(given) if given else built()
        if not library.is_file():
            raise SystemExit(f"cloze: CLOZE_LIBRARY={library}: there is no such file")
        # An editable install runs from the source tree.
        package = HERE / "cloze" if self.editable_mode else Path(self.build_lib) / "cloze"
        (package / "lib").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, package / "lib" / NAME)
        for terms in HERE.parents[1].glob("LICENSE*"):
            shutil.copyfile(terms, package / "lib" / terms.name)


class Wheel(bdist_wheel):
    """A wheel for any Python 3, of this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class Binary(Distribution):
    """A package that depends on the platform, though nothing of it is compiled here."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=Binary)
