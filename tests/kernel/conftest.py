"""The kernel lane: real daemons on a real cgroup v2 kernel, and proof that nothing is left.

Run by scripts/test inside a guest (`scripts/vm run`), as root; refuses to run elsewhere,
because the tests make users, cgroups and mounts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.kernel import harness, programs, traces
from tests.kernel.harness import PROJECT, Daemon, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LANE = os.environ.get("RUNNERD_LANE")
IS_FULL_KERNEL = os.environ.get("RUNNERD_LANE_KERNEL") == "full"

PREPARED_NETWORKS = 2

# alice and bob may connect, mallory may not.
USERS = {"alice": 4001, "bob": 4002, "mallory": 4003}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--launcher",
        choices=("native", "python"),
        default="native" if any(map(shutil.which, ("cc", "gcc", "clang"))) else "python",
        help="who runs plain jobs; native is built where there is a C compiler (%(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    harness.launcher = config.getoption("--launcher")


def pytest_report_header() -> str:
    return f"launcher of plain jobs: {harness.launcher}"


def _is_guest() -> bool:
    """By the kernel's word, for the variable can be set by hand: and then /tmp is the machine's."""
    with open("/proc/cpuinfo") as file:
        return LANE is not None and (LANE != "uml" or "User Mode Linux" in file.read())


def pytest_sessionstart() -> None:
    if not _is_guest():
        pytest.exit("the kernel tests run in a guest: scripts/test, or scripts/vm run", 2)
    if missing := programs.missing():
        pytest.exit(f"the kernel tests need more programs: apt-get install {' '.join(missing)}", 2)
    # The guest's /tmp is the machine's, as it changes, unless it gets one of its own.
    if not any(path.startswith("/tmp/") for path in (PROJECT, sys.executable)):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """On the complete kernel nothing is missing, so there a skip is a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and IS_FULL_KERNEL:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped on the complete kernel: {report.longrepr}"


@pytest.fixture(scope="session")
def users() -> dict[str, int]:
    """Accounts that exist for as long as the guest does."""
    subprocess.run(["groupadd", "--force", "--system", "runnerd"], check=True)
    for name, uid in USERS.items():
        groups = [] if name == "mallory" else ["--groups", "runnerd"]
        subprocess.run(
            ["useradd", "--uid", str(uid), "--create-home", "--shell", "/bin/sh", *groups, name],
            check=True,
        )
    return USERS


@pytest.fixture(scope="session")
def shared_daemon(
    users: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Daemon]:
    """One daemon for all tests that don't end it."""
    with Daemon(tmp_path_factory.mktemp("shared")) as daemon:
        daemon.start()
        # What the first job makes the daemon load or prepare stays, and is no leak.
        for options in ((), ("--fs", "readonly"), ("--net", "private")):
            done = daemon.runctl("run", *options, "--", "true")
            assert done.returncode == 0, done.stderr
        daemon.forget_all_jobs()
        wait_until(lambda: traces.descriptors(daemon.pid).count("net") >= PREPARED_NETWORKS)
        yield daemon
        daemon.stop()


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """The shared daemon; afterwards it has no jobs and nothing that it had not before."""
    before = traces.take(shared_daemon)
    yield shared_daemon
    shared_daemon.forget_all_jobs()
    wait_until(
        lambda: traces.take(shared_daemon) == before,
        explain=lambda: traces.difference(before, shared_daemon),
    )


@pytest.fixture
def own_daemon(
    users: dict[str, int],
    tmp_path: Path,
) -> Iterator[Daemon]:
    """A daemon that the test starts, kills and starts again; afterwards nothing is left."""
    before = traces.take(None)
    with Daemon(tmp_path) as daemon:
        yield daemon
        if daemon.running:
            daemon.forget_all_jobs()
            daemon.stop()
    wait_until(lambda: traces.take(None) == before, explain=lambda: traces.difference(before, None))
