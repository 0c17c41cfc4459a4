"""The service lane: examples/runnerd.service under a real systemd, proven by restarting it.

    scripts/vm run --systemd -- .venv/bin/python -m pytest -p no:cacheprovider tests/systemd
    scripts/vm run --systemd testing -- …                the newest systemd of Debian instead

Refuses to run elsewhere, because the tests make users, units and jobs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.systemd.unit import Unit

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = {"nft": "nftables", "ip": "iproute2", "useradd": "passwd"}


def pytest_sessionstart() -> None:
    if os.environ.get("RUNNERD_LANE") is None or not os.path.isdir("/run/systemd/system"):
        pytest.exit("these tests run in a guest with systemd: scripts/vm run --systemd", 2)
    missing = sorted({package for name, package in PROGRAMS.items() if not shutil.which(name)})
    if missing:
        pytest.exit(f"these tests need more programs: apt-get install {' '.join(missing)}", 2)


@pytest.fixture(scope="session")
def installed() -> Unit:
    """The unit, installed as README.md says, and a user who may connect."""
    subprocess.run(["groupadd", "--force", "--system", "runnerd"], check=True)
    command = ["useradd", "--uid", "4001", "--create-home", "--shell", "/bin/sh"]
    subprocess.run([*command, "--groups", "runnerd", "alice"], check=True)
    unit = Unit()
    unit.install()
    return unit


@pytest.fixture
def unit(installed: Unit) -> Iterator[Unit]:
    """The service, started; afterwards it has no jobs and no settings."""
    installed.start()
    yield installed
    installed.clear()
