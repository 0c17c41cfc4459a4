"""Who launches which job: by what it asks for, and by which launchers there are."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from runner import launcher_client, launchers, native_program
from runner.handles import Given, Handles
from runner.launch_answers import Launched, LauncherGoneError, LaunchError
from runner.launcher_client import PYTHON, Program, UnfitError
from runner.launchers import Launchers
from tests.unit.runner.test_native_jobs import spec_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"
HANDLES = Handles(3, 3, 3, 3, 3, 3)
WITH_NETWORK = HANDLES._replace(network=3)
SPECIAL = {"sandbox": {"filesystem": "readonly"}}
NATIVE = Program("native launcher", launcher_client.python_command, is_needed=False)


class FakeClient:
    """A launcher that remembers what it was asked, and says what the test wants."""

    made: list[FakeClient]

    def __init__(self, _loop: object, _keep_open: object, program: Program = PYTHON) -> None:
        program.command(3)
        self.kind = "python" if program is PYTHON else "native"
        self.pid = 1 + len(self.made)
        self.is_running, self.why_gone = True, None
        self.asked: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        self.made.append(self)

    async def launch(self, *asked: Any, sync_begin: bool) -> Launched:
        assert sync_begin
        self.asked.append(asked)
        if self.fails is not None:
            raise self.fails
        return Launched(self.pid, -1)

    async def enter(self, _doors: object) -> int:
        return self.pid


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[FakeClient]:
    """Both, in the order in which they were made: Python's, then the native one."""
    FakeClient.made = []
    monkeypatch.setattr(launchers, "LauncherClient", FakeClient)
    return FakeClient.made


def both(program: Program | None = NATIVE) -> Launchers:
    nothing: Any = None
    return Launchers(nothing, [], program)


def launched_by(
    made: Launchers, handles: Handles, spec: dict[str, Any], given: Given | None = None
) -> str:
    done = asyncio.run(made.launch(JOB, handles, given or Given(), spec, sync_begin=True))
    [client] = [each for each in FakeClient.made if each.pid == done.pid]
    return client.kind


def test_plain_jobs_are_the_native_launchers_and_all_others_pythons(
    clients: list[FakeClient],
) -> None:
    made = both()
    assert made.why_no_native is None
    assert launched_by(made, HANDLES, spec_of()) == "native"
    assert launched_by(made, HANDLES, spec_of(network="host")) == "native"
    assert launched_by(made, WITH_NETWORK, spec_of(network="private")) == "native"
    assert launched_by(made, WITH_NETWORK, spec_of(**SPECIAL)) == "python"
    hosts = Given(files={b"/etc/hosts": b""})
    assert launched_by(made, WITH_NETWORK, spec_of(network="private"), hosts) == "python"
    assert made.takes(spec_of())
    assert not made.takes(spec_of(**SPECIAL))
    assert asyncio.run(made.enter(clients[0])) == clients[0].pid  # type: ignore[arg-type]


def test_it_takes_a_network_of_its_own_where_none_was_made_for_the_job(
    clients: list[FakeClient],
) -> None:
    made = both()
    for handles, network in ((HANDLES, "none"), (WITH_NETWORK, "none"), (HANDLES, "host")):
        launched_by(made, handles, spec_of(network=network))
    told = [asked[-1]["own_network"] for asked in clients[1].asked]
    assert told == [True, False, False]


def test_while_it_is_away_no_job_waits_for_it_but_those_that_it_was_to_give_a_network(
    clients: list[FakeClient],
) -> None:
    made = both()
    clients[1].is_running = False
    assert not made.takes(spec_of())
    assert launched_by(made, WITH_NETWORK, spec_of()) == "python"
    assert launched_by(made, HANDLES, spec_of(network="host")) == "python"
    # Its network was left to a launcher that has gone meanwhile.
    assert launched_by(made, HANDLES, spec_of()) == "native"


def test_no_job_without_a_network_is_ever_given_to_python(clients: list[FakeClient]) -> None:
    """It would have the host's."""
    made = both()
    with pytest.raises(LaunchError, match="no network"):
        launched_by(made, HANDLES, spec_of(**SPECIAL))
    with pytest.raises(LaunchError, match="no network"):
        launched_by(both(None), HANDLES, spec_of(**SPECIAL))
    with pytest.raises(LauncherGoneError, match="native_launcher"):
        launched_by(both(None), HANDLES, spec_of())
    assert not any(client.asked for client in clients)


def test_without_it_python_does_all_and_says_why(
    clients: list[FakeClient], caplog: pytest.LogCaptureFixture
) -> None:
    made = both(None)
    assert made.why_no_native == "native_launcher is false in the configuration"
    assert caplog.text == ""
    assert not made.takes(spec_of())
    assert launched_by(made, WITH_NETWORK, spec_of()) == "python"

    def unfit(_fd: int) -> list[str]:
        raise UnfitError("it is of version 7")

    made = both(NATIVE._replace(command=unfit))
    assert made.why_no_native == "it is of version 7"
    assert caplog.text.count("it is of version 7") == 1
    assert launched_by(made, WITH_NETWORK, spec_of()) == "python"
    assert made.pids == [2]


def test_one_that_was_given_up_is_as_one_that_never_was(clients: list[FakeClient]) -> None:
    made = both()
    assert made.pids == [1, 2]
    clients[1].is_running, clients[1].why_gone = False, "it crashed"  # type: ignore[assignment]
    assert made.why_no_native == "it crashed"
    assert made.pids == [1]
    assert not made.takes(spec_of())
    assert launched_by(made, WITH_NETWORK, spec_of()) == "python"


def test_a_host_that_is_short_of_what_a_network_takes_is_not_the_jobs_fault(
    clients: list[FakeClient],
) -> None:
    made = both()
    clients[1].fails = LaunchError("cannot make a network namespace", errno.ENOMEM)
    with pytest.raises(OSError, match="cannot make a network") as caught:
        launched_by(made, HANDLES, spec_of())
    assert caught.value.errno == errno.ENOMEM
    for error in (
        LaunchError("cannot make a network namespace", errno.ENOSPC), LaunchError("clone3", 0),
    ):  # fmt: skip
        clients[1].fails = error
        with pytest.raises(LaunchError, match=str(error)):
            launched_by(made, HANDLES, spec_of())


def test_a_request_that_it_does_not_know_is_a_defect_and_called_so(
    clients: list[FakeClient],
) -> None:
    made = both()
    clients[1].fails = LaunchError("no request that it knows", errno.EBADMSG)
    with pytest.raises(LaunchError, match=r"knows \(a defect of runnerd.*native_launcher = false"):
        launched_by(made, HANDLES, spec_of())


# Real processes


def run(scenario: Callable[[], Any]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(whole())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_both_end_and_nothing_of_them_stays(tmp_path: Path) -> None:
    async def scenario() -> None:
        before = set(os.listdir("/proc/self/fd"))
        made = Launchers(asyncio.get_running_loop(), [], NATIVE)
        pids = made.pids
        assert len(set(pids)) == 2
        fd = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(LaunchError, match="clone3"):
            await made.launch(
                JOB, Handles(fd, fd, fd, fd, fd, fd), Given(), spec_of(), sync_begin=True
            )
        os.close(fd)
        made.close()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert set(os.listdir("/proc/self/fd")) == before

    run(scenario)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo 1000", "is of version '1000', this runnerd needs"),
        ("echo", "is of version '', this runnerd needs"),
        (f"head -c 100 /dev/zero | tr '\\0' x; echo {native_program.VERSION}", "is of version 'x"),
        ("exit 3", "--version ended with status 3"),
        ("kill -9 $$", "--version ended with status -9"),
        ("exec sleep 60", "does not say its version"),
    ],
)
def test_a_program_that_is_not_the_right_one_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    monkeypatch.setattr(native_program, "_ANSWER_SECONDS", 0.3)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    path = script(tmp_path / "runnerd-launch", f"PATH=/usr/bin:/bin; {text}")
    with pytest.raises(UnfitError, match="(?s)" + why.replace("(", "\\(")) as caught:
        native_program.check(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_program_that_is_not_there_or_cannot_be_executed_says_what_to_do(tmp_path: Path) -> None:
    path = str(tmp_path / "runnerd-launch")
    with pytest.raises(UnfitError, match=r"no C compiler was there .*; install one"):
        native_program.check(path)
    (tmp_path / "runnerd-launch").write_bytes(b"\x7fELF garbage")
    with pytest.raises(UnfitError, match="cannot be executed: Permission denied"):
        native_program.check(path)
    (tmp_path / "runnerd-launch").chmod(0o755)
    with pytest.raises(UnfitError, match="cannot be executed: Exec format error"):
        native_program.check(path)
    os.unlink(path)
    os.symlink("/nowhere", path)
    with pytest.raises(UnfitError, match="cannot be executed: No such file"):
        native_program.check(path)


def test_what_the_host_is_short_of_is_not_the_programs_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_args: object, **_options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(native_program.subprocess, "run", short)
    with pytest.raises(BlockingIOError):
        native_program.check(script(tmp_path / "runnerd-launch", "exit"))


VERSION_AND = f'[ "$1" = --version ] && exec echo {native_program.VERSION}\n'


def test_the_right_one_is_started_with_its_end_of_the_socket(tmp_path: Path) -> None:
    path = script(tmp_path / "runnerd-launch", VERSION_AND)
    native = native_program.program(path)
    assert native.command(7) == [path, "7"]
    assert not native.is_needed


def test_one_that_crashes_again_and_again_is_given_up_and_whoever_waits_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.02)
    path = script(tmp_path / "runnerd-launch", VERSION_AND + "exit 5")

    async def scenario() -> None:
        before = set(os.listdir("/proc/self/fd"))
        made = Launchers(asyncio.get_running_loop(), [], native_program.program(path))
        waiting = [
            asyncio.ensure_future(
                made.launch(JOB, HANDLES._replace(), Given(), spec_of(), sync_begin=True)
            )
            for _ in range(3)
        ]
        await until(lambda: made.why_no_native is not None)
        assert made.why_no_native == "it ended with status 5, 3 times in a row"
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LauncherGoneError] * 3
        assert len(made.pids) == 1
        made.close()
        assert set(os.listdir("/proc/self/fd")) == before

    run(scenario)
    assert caplog.text.count("is given up until runnerd starts again") == 1


def test_one_that_never_answers_is_given_up_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(launcher_client, "_ANSWER_SECONDS", 0.1)
    deaf = NATIVE._replace(command=lambda _fd: ["/bin/sleep", "60"])

    async def scenario() -> None:
        made = Launchers(asyncio.get_running_loop(), [], deaf)
        for _ in range(3):
            pids = made.pids
            # However many hear it of one process, that is one.
            handles = Handles(0, 0, 0, 0, 0, 0)
            asked = [
                made.launch(JOB, handles, Given(), spec_of(), sync_begin=True) for _ in range(4)
            ]
            assert made.why_no_native is None
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert {type(answer) for answer in answers} == {LauncherGoneError}
            await until(lambda gone=pids: made.pids != gone)
        assert made.why_no_native is not None
        made.close()

    run(scenario)


def test_one_that_is_killed_is_started_again_however_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.02)

    async def scenario() -> None:
        made = Launchers(asyncio.get_running_loop(), [], NATIVE)
        for number in range(6):
            _, pid = made.pids
            os.kill(pid, (signal.SIGKILL, signal.SIGTERM)[number % 2])
            await until(lambda gone=pid: made.pids[1:] != [gone])
            assert made.why_no_native is None
        made.close()

    run(scenario)


def test_one_that_is_another_version_when_it_is_started_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.02)
    path = script(tmp_path / "runnerd-launch", VERSION_AND + "exec sleep 60")

    async def scenario() -> None:
        made = Launchers(asyncio.get_running_loop(), [], native_program.program(path))
        _, pid = made.pids
        script(tmp_path / "new", "echo 1000")
        os.rename(tmp_path / "new", path)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: made.why_no_native is not None)
        assert "cannot be started again" in str(made.why_no_native)
        assert "is of version '1000'" in str(made.why_no_native)
        made.close()

    run(scenario)


def test_a_host_that_has_no_room_for_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.02)
    failures = [OSError(errno.EAGAIN, "no"), OSError(errno.ENOMEM, "no")]

    def command(socket_fd: int) -> list[str]:
        if made and failures:
            raise failures.pop()
        return launcher_client.python_command(socket_fd)

    made: list[Launchers] = []

    async def scenario() -> None:
        made.append(Launchers(asyncio.get_running_loop(), [], NATIVE._replace(command=command)))
        [both_of_them] = made
        _, pid = both_of_them.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: both_of_them.pids[1:] != [pid])
        assert both_of_them.why_no_native is None
        assert not failures
        both_of_them.close()

    run(scenario)
