"""Compiles the drivers: `<name>_driver.c` with the modules in C that it is to test.

With the address and the undefined-behaviour sanitizer where they link. What they find ends the
driver with a status of its own, and so fails the test. Without a C compiler the tests fail: that
two implementations are one has to be proven where the second is built.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Driver = Callable[..., str]

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_NATIVE: Final = os.path.join(os.path.dirname(_HERE), "..", "..", "runner", "native")
_SHARED: Final = os.path.join(os.path.dirname(_HERE), "..", "..", "client", "native")
_FLAGS: Final = ("-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror")
_SANITIZERS: Final = (
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
)  # fmt: skip
# Looking for leaks takes ptrace(2), which is refused in some containers; nothing here lives long.
_OPTIONS: Final = """
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0:abort_on_error=1"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "print_stacktrace=1:abort_on_error=1"; }
"""
_TRIAL: Final = "int main(void) { return 0; }\n"


class _Compiler:
    """The machine's C compiler, with the sanitizers that it has."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._command = _found()
        self._options = str(directory / "options.c")
        (directory / "options.c").write_text(_OPTIONS)
        trial = directory / "trial.c"
        trial.write_text(_TRIAL)
        tried = self._compiled([str(trial), *_SANITIZERS], "trial")
        self._sanitizers = _SANITIZERS if tried.returncode == 0 else ()

    def driver(self, name: str, modules: tuple[str, ...]) -> str:
        """The path of a driver's binary."""
        sources = [_source(module) for module in modules]
        arguments = [os.path.join(_HERE, f"{name}_driver.c"), *sources, *self._sanitizers]
        result = self._compiled([*arguments, self._options, "-lm"], name)
        assert result.returncode == 0, result.stderr
        return str(self._directory / name)

    def _compiled(self, arguments: list[str], name: str) -> subprocess.CompletedProcess[str]:
        out = str(self._directory / name)
        command = [*self._command, *_FLAGS, "-I", _NATIVE, "-I", _HERE, *arguments, "-o", out]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def _source(module: str) -> str:
    """Of the launcher, or what it shares with runctl."""
    path = os.path.join(_NATIVE, f"{module}.c")
    return path if os.path.exists(path) else os.path.join(_SHARED, f"{module}.c")


def _found() -> list[str]:
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return pytest.fail("there is no C compiler; install one (Debian: apt-get install gcc)")


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """`driver(name, *modules)`: the path of `<name>_driver.c` and these modules, compiled once."""
    compiler = _Compiler(tmp_path_factory.mktemp("native"))
    made: dict[tuple[str, ...], str] = {}

    def get(name: str, *modules: str) -> str:
        key = (name, *modules)
        if key not in made:
            made[key] = compiler.driver(name, modules)
        return made[key]

    return get
