"""Builds the programs in C, where there is a C compiler: the native launcher, the front of runctl.

Everything else is told in pyproject.toml. Without them runnerd and runctl do the same in Python,
only slower: a build that fails is a warning, never the end of an installation.
CC, CFLAGS and LDFLAGS are respected.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from contextlib import suppress
from glob import glob
from typing import Final

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# Setuptools' own too, which has it under this name alone.
from distutils.command.build_scripts import build_scripts  # isort: skip

# Where it goes, as the name of a module, and its sources.
_LAUNCHER: Final = "runner.native.runnerd-launch"
_LAUNCHER_SOURCES: Final = [*sorted(glob("runner/native/*.c")), "client/native/pack.c"]
# The script that becomes a program, and its sources.
_FRONT: Final = "runctl"
_FRONT_SOURCES: Final = sorted(glob("client/native/*.c"))
_FLAGS: Final = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-fstack-protector-strong", "-ffunction-sections",
)  # fmt: skip
_LINK_FLAGS: Final = ("-Wl,--gc-sections", "-Wl,-z,relro,-z,now", "-s", "-lm")
# Static first: a process is then a few pages of its own, and needs nothing of the host's /usr.
_WAYS: Final = (("-static",), ())
_WARNING: Final = "what it does is done by the slower one in Python"


class _BuildProgram(build_ext):
    """Extensions that are programs: their names have no suffix, and nobody imports them."""

    def run(self) -> None:
        """Without what an earlier build left in the sources, should this one fail."""
        for ext in self.extensions:
            with suppress(FileNotFoundError):
                os.unlink(self.get_ext_filename(ext.name))
        super().run()

    def get_ext_filename(self, fullname: str) -> str:
        """Its path in the package."""
        return os.path.join(*fullname.split("."))

    def build_extension(self, ext: Extension) -> None:
        """Compile and link in one go. Raises CompileError, which is a warning (`optional`)."""
        path = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _build(ext.sources, path)


class _BuildScripts(build_scripts):
    """The scripts; `runctl` becomes the native front, which runs `runctl-python` beside it."""

    def run(self) -> None:
        """Where it cannot be built the script stays what it is."""
        super().run()
        path = os.path.join(self.build_dir, _FRONT)
        version = f'-DRUNNERD_VERSION="{self.distribution.get_version()}"'
        try:
            _build([version, *_FRONT_SOURCES], f"{path}.new")
        except CompileError as error:
            self.warn(f"{_FRONT}: {error}")
        else:
            os.replace(f"{path}.new", path)


class _Wheel(bdist_wheel):
    """Programs for one kind of machine, for any Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """py3-none-PLATFORM."""
        return "py3", "none", super().get_tag()[2]


def _build(sources: list[str], path: str) -> None:
    """Compile and link in one go. Raises CompileError."""
    said = "no C compiler was found (cc, gcc or clang; or set CC)"
    for command in _commands(sources):
        failure = _failure([*command, "-o", path])
        if failure is None:
            return
        said = failure
    raise CompileError(f"{_WARNING}: {said}")


def _commands(sources: list[str]) -> list[list[str]]:
    """What to try in turn; nothing without a compiler."""
    compiler = _compiler()
    own, link = (shlex.split(os.environ.get(name, "")) for name in ("CFLAGS", "LDFLAGS"))
    return [
        [*compiler, *_FLAGS, *own, *way, *sources, *link, *_LINK_FLAGS] for way in _WAYS if compiler
    ]


def _compiler() -> list[str]:
    named = shlex.split(os.environ.get("CC", ""))
    found = [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]
    return named or next(iter(found), [])


def _failure(command: list[str]) -> str | None:
    """What the compiler said; None: it did it."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    return None if result.returncode == 0 else f"{command[0]} failed: {result.stderr.strip()}"


setup(
    ext_modules=[Extension(_LAUNCHER, sources=_LAUNCHER_SOURCES, optional=True)],
    cmdclass={
        "build_ext": _BuildProgram,
        "build_scripts": _BuildScripts,
        "bdist_wheel": _Wheel,
    },
)
