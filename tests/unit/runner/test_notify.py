"""What a service manager hears, on a real socket; and what it must not be able to do to us."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runner import notify
from runner.notify import Notifier, from_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The receiving end: a datagram socket, as a service manager has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        self._socket.setblocking(False)  # noqa: FBT003 - its only spelling

    def heard(self) -> list[list[str]]:
        """The messages so far, each as its lines."""
        messages = []
        try:
            while True:
                messages.append(self._socket.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    listening = Manager(path if request.param == "path" else f"@{path}")
    yield listening
    listening.close()


def test_it_hears_of_readiness_status_and_the_end(manager: Manager) -> None:
    notifier = Notifier(manager.name)
    notifier.ready("started")
    notifier.status("3 jobs")
    notifier.stopping("ending")
    assert manager.heard() == [
        ["READY=1", "STATUS=started"],
        ["STATUS=3 jobs"],
        ["STOPPING=1", "STATUS=ending", "EXTEND_TIMEOUT_USEC=60000000"],
    ]


def test_a_status_cannot_smuggle_in_another_message(manager: Manager) -> None:
    Notifier(manager.name).status("a\nMAINPID=1\r\n b")
    assert manager.heard() == [["STATUS=a MAINPID=1 b"]]


def test_it_is_fed_again_and_again_while_the_loop_turns(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_RENEWAL_SECONDS", 0.01)

    async def scenario() -> None:
        notifier = Notifier(manager.name, watchdog_seconds=0.02)
        tasks = [asyncio.ensure_future(notifier.keep_alive())]
        tasks.append(asyncio.ensure_future(notifier.keep_extending()))
        heard: list[str] = []
        async with asyncio.timeout(20):
            while min(map(heard.count, ("WATCHDOG=1", "EXTEND_TIMEOUT_USEC=60000000"))) < 3:
                heard += [line for message in manager.heard() for line in message]
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())


def test_without_a_watchdog_nobody_is_fed() -> None:
    asyncio.run(asyncio.wait_for(Notifier(None).keep_alive(), 5))


def test_without_a_manager_nothing_is_said_and_nothing_fails() -> None:
    notifier = from_environment({})
    notifier.ready("started")
    notifier.stopping("ending")


def test_a_manager_that_has_gone_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(str(tmp_path / "gone")).ready("started")
    assert "the service manager cannot be told READY=1" in caplog.text


def test_a_manager_that_does_not_read_does_not_hold_us_up(manager: Manager) -> None:
    notifier = Notifier(manager.name)
    for _ in range(5000):
        notifier.status("x" * 1000)
    assert manager.heard()


@pytest.mark.parametrize("name", ["relative", "vsock:2:1234", "unix:/run/x"])
def test_an_address_of_another_kind_is_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    from_environment({"NOTIFY_SOCKET": name}).ready("started")
    assert name in caplog.text


def test_nothing_of_it_stays_in_the_environment(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "2000000",
        "WATCHDOG_PID": str(os.getpid()), "PATH": "/usr/bin",
    }  # fmt: skip
    assert from_environment(environ).watchdog_seconds == 2.0
    assert environ == {"PATH": "/usr/bin"}


def test_no_child_inherits_it() -> None:
    program = (
        "import os, subprocess; from runner.notify import from_environment; "
        "from_environment(os.environ); subprocess.run(['env'], check=True)"
    )
    environ = {**os.environ, "NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert "NOTIFY_SOCKET" not in done.stdout
    assert "WATCHDOG" not in done.stdout


@pytest.mark.parametrize(
    ("interval", "pid", "seconds"),
    [
        ("30000000", None, 30.0),
        ("30000000", str(os.getpid()), 30.0),
        # Of another process: the one that started us.
        ("30000000", str(os.getpid() + 1), None),
        ("0", None, None),
        ("-5", None, None),
        ("many", None, None),
        ("٣", None, None),
        (None, None, None),
    ],
)
def test_a_watchdog_is_that_of_this_process_and_a_number(
    interval: str | None, pid: str | None, seconds: float | None
) -> None:
    given = {"WATCHDOG_USEC": interval, "WATCHDOG_PID": pid}
    environ = {name: value for name, value in given.items() if value is not None}
    assert from_environment(environ).watchdog_seconds == seconds
