"""The native payload's drop of privileges: at no moment can its user look into it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.harness import PROJECT
from tests.kernel.payloads import ALICE

if TYPE_CHECKING:
    from collections.abc import Iterator

_DUMPABLE = Path("/proc/sys/fs/suid_dumpable")
_NET_BIND_SERVICE = 1 << 10


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    native = os.path.join(PROJECT, "runner", "native")
    path = str(tmp_path_factory.mktemp("drop") / "driver")
    names = [os.path.join(os.path.dirname(__file__), "drop_driver.c")]
    names += [os.path.join(native, f"{name}.c") for name in ("credentials", "failure")]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-I", native]
    subprocess.run([os.environ.get("CC", "cc"), *flags, *names, "-o", path], check=True)
    return path


@pytest.fixture(params=["0", "1", "2"])
def suid_dumpable(request: pytest.FixtureRequest) -> Iterator[str]:
    """fs.suid_dumpable, proc_sys_fs(5): what a process is after it has changed its user."""
    before = _DUMPABLE.read_text()
    _DUMPABLE.write_text(request.param)
    yield request.param
    _DUMPABLE.write_text(before)


@pytest.mark.parametrize("kept", [0, _NET_BIND_SERVICE])
@pytest.mark.usefixtures("suid_dumpable")
def test_nobody_of_its_user_looks_into_a_payload_before_its_exec(driver: str, kept: int) -> None:
    done = subprocess.run([driver, str(ALICE), str(kept)], capture_output=True, check=True)
    looks, seen = map(int, done.stdout.split())
    assert looks > 0
    assert seen == 0
