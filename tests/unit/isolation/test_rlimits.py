"""Resource limits by name: set as asked, or refused with the name and the reason."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from isolation import rlimits

ROOT = Path(__file__).parents[3]
HEADER = Path("/usr/include/asm-generic/resource.h")


def apply_and_show(expression: str, name: str) -> str:
    """What a child has after applying, or the error's text."""
    program = (
        f"import resource\nfrom isolation import rlimits\n"
        f"try:\n    rlimits.apply({expression})\n"
        f"    print(*resource.getrlimit(rlimits.NUMBERS[{name!r}]))\n"
        f"except (OSError, ValueError) as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True, check=True
    )
    return done.stdout.strip()


def test_the_numbers_are_those_of_the_kernels_header() -> None:
    if not HEADER.exists():
        pytest.skip(f"needs {HEADER} (Debian: linux-libc-dev)")
    defined = re.findall(r"#\s*define RLIMIT_(\w+)\s+(\d+)", HEADER.read_text())
    assert {name.lower(): int(number) for name, number in defined} == rlimits.NUMBERS


@pytest.mark.parametrize("name", sorted(rlimits.NUMBERS))
def test_every_limit_can_be_set_below_what_it_is(name: str) -> None:
    present = resource.getrlimit(rlimits.NUMBERS[name])[1]
    # Enough for the interpreter to go on with.
    value = {"as": 2**40, "data": 2**40, "stack": 2**30, "nofile": 64, "rttime": 10**9}.get(name, 7)
    if present != resource.RLIM_INFINITY:
        value = min(value, present)
    assert apply_and_show(f"{{{name!r}: ({value}, {value})}}", name) == f"{value} {value}"


def test_none_is_unlimited() -> None:
    if resource.getrlimit(resource.RLIMIT_CPU)[1] != resource.RLIM_INFINITY:
        pytest.skip("needs no limit of CPU time")
    assert apply_and_show("{'cpu': (5, None)}", "cpu") == "5 -1"


def test_a_hard_limit_above_ones_own_is_refused_with_the_reason() -> None:
    program = (
        "from isolation import rlimits, syscalls\n"
        "rlimits.apply({'nofile': (16, 16)})\n"
        "syscalls.set_capabilities(0)\n"
        "try:\n    rlimits.apply({'nofile': (16, 17)})\n"
        "except PermissionError as error:\n    print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, text=True, check=True
    )
    assert "the limit nofile cannot be 16:17" in done.stdout
    assert "lacks CAP_SYS_RESOURCE (16)" in done.stdout


def test_a_soft_limit_above_the_hard_one_is_refused_with_the_reason() -> None:
    assert "the soft limit is above the hard one" in apply_and_show("{'core': (2, 1)}", "core")
    assert "cannot be unlimited:1" in apply_and_show("{'core': (None, 1)}", "core")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'nofiles' is not a resource limit"):
        rlimits.apply({"nofiles": (1, 1)})
