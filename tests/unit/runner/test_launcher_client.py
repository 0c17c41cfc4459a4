"""The launcher process from its other end: it starts, refuses, dies and is started again.

Launches that succeed need root and a cgroup: tests/kernel. Here clone3(2) is refused, by
its capability check or because the descriptor is no cgroup, which the launcher answers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runner import launcher_client, records, statedir
from runner.entering import Doors
from runner.handles import Handles
from runner.launch_answers import LauncherGoneError, LaunchError, launch_request
from runner.launcher_client import LauncherClient

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_SECONDS = 20.0
JOB = "3f2a0000-0000-4000-8000-000000000001"
Scenario = "Callable[[LauncherClient, Handles], Awaitable[None]]"
Play = "Callable[[Scenario], None]"


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Runs a scenario with a launcher, and proves that nothing is left of it."""
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.05)

    async def whole(scenario: Scenario) -> None:
        fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        before = descriptors()
        client = LauncherClient(asyncio.get_running_loop(), [])
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await scenario(client, Handles(fd, fd, fd, fd, fd, fd))
        finally:
            client.close()
            with pytest.raises(ProcessLookupError):
                os.kill(client.pid, 0)
            assert descriptors() == before
            os.close(fd)

    return lambda scenario: asyncio.run(whole(scenario))


def status_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def content(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def ready(client: LauncherClient, handles: Handles) -> None:
    """It has begun to serve: what it does at its start is done."""
    with pytest.raises(LaunchError):
        await client.launch(JOB, handles, sync_begin=True)


def test_a_launch_that_the_kernel_refuses_says_which_call_failed_and_why(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        with pytest.raises(LaunchError, match="clone3") as caught:
            await client.launch(JOB, handles, sync_begin=True)
        assert any(
            os.strerror(number) in str(caught.value)
            for number in (1, 9, 22)  # EPERM without root, EBADF or EINVAL for no cgroup
        )

    play(scenario)


def test_the_launcher_lives_through_launches_that_fail_and_answers_each(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        pid = client.pid
        launches = [client.launch(JOB, handles, sync_begin=True) for _ in range(50)]
        answers = await asyncio.gather(*launches, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LaunchError] * 50
        assert client.pid == pid

    play(scenario)


def test_the_middle_process_of_an_exec_is_forked_and_says_itself_what_it_cannot_do(
    play: Play,
) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003 - its only spelling
        request = os.memfd_create("request")
        os.write(request, records.pack({"command": {}, "entry": {}}))
        fd = handles.job_dir
        with ours:
            with theirs:
                doors = Doors(request, theirs.fileno(), fd, fd, fd, fd)
                assert await client.enter(doors) > 0
            os.close(request)
            answer = await asyncio.get_running_loop().sock_recv(ours, 4096)
            assert b"enter the job" in records.unpack(answer)["report"]
            # Nothing of the launcher's is held by it, and it has ended.
            assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""
        with pytest.raises(LaunchError):
            await client.launch(JOB, handles, sync_begin=True)

    play(scenario)


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: the launcher is not dumpable, so /proc/PID is closed"
)


@needs_root
def test_the_launcher_keeps_no_descriptor_of_a_launch_that_failed(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        pid = client.pid
        held = len(os.listdir(f"/proc/{pid}/fd"))
        await asyncio.gather(
            *(client.launch(JOB, handles, sync_begin=True) for _ in range(50)),
            return_exceptions=True,
        )
        assert len(os.listdir(f"/proc/{pid}/fd")) == held
        assert held < 10

    play(scenario)


def test_the_launcher_is_one_small_thread_with_a_name_and_a_session_of_its_own(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        status = status_of(client.pid)
        assert (status["Name"], status["Threads"]) == ("runnerd-launch", "1")
        assert int(status["VmRSS"].split()[0]) < 40_000
        assert os.getsid(client.pid) == client.pid
        assert {b"-I", b"-S"} <= set(content(client.pid, "cmdline").split(b"\0"))

    play(scenario)


@needs_root
def test_the_launcher_has_no_environment_and_no_terminal(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        assert content(client.pid, "environ") == b""
        assert os.readlink(f"/proc/{client.pid}/cwd") == "/"
        for fd in (0, 1):
            assert os.readlink(f"/proc/{client.pid}/fd/{fd}") == "/dev/null"

    play(scenario)


def test_a_launcher_that_dies_is_started_again(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        for _ in range(3):
            await ready(client, handles)
            pid = client.pid
            os.kill(pid, signal.SIGKILL)
            await until(lambda gone=pid: client.pid != gone)
            await ready(client, handles)

    play(scenario)
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 3
    assert "status -9" in errors[0].getMessage()


def test_launches_under_way_fail_when_the_launcher_dies_and_later_ones_do_not(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        pid = client.pid
        os.kill(pid, signal.SIGSTOP)
        waiting = [
            asyncio.ensure_future(client.launch(JOB, handles, sync_begin=True)) for _ in range(10)
        ]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LauncherGoneError] * 10
        await ready(client, handles)

    play(scenario)


def test_a_launcher_that_hangs_counts_as_gone_and_is_replaced(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        monkeypatch.setattr(launcher_client, "_ANSWER_SECONDS", 0.2)
        pid = client.pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(LauncherGoneError):
            await client.launch(JOB, handles, sync_begin=True)
        monkeypatch.undo()
        await until(lambda: client.pid != pid)
        await ready(client, handles)

    play(scenario)


def test_launches_that_wait_for_room_in_the_socket_fail_as_well(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        pid = client.pid
        os.kill(pid, signal.SIGSTOP)
        long_name = JOB + "x" * 7000
        waiting = [
            asyncio.ensure_future(client.launch(long_name, handles, sync_begin=True))
            for _ in range(80)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        done, pending = await asyncio.wait(waiting, timeout=5)
        for task in pending:
            task.cancel()
        await asyncio.wait(waiting)
        assert not pending
        # Those that were not sent may have gone to the next launcher, which answers.
        kinds = {type(task.exception()) for task in done}
        assert LauncherGoneError in kinds
        assert kinds <= {LauncherGoneError, LaunchError}
        await ready(client, handles)

    play(scenario)


def test_launches_that_wait_for_room_are_sent_when_there_is_some(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        os.kill(client.pid, signal.SIGSTOP)
        long_name = JOB + "x" * 7000
        waiting = [
            asyncio.ensure_future(client.launch(long_name, handles, sync_begin=True))
            for _ in range(80)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
        os.kill(client.pid, signal.SIGCONT)
        done, pending = await asyncio.wait(waiting, timeout=5)
        for task in pending:
            task.cancel()
        await asyncio.wait(waiting)
        assert not pending
        assert {type(task.exception()) for task in done} == {LaunchError}

    play(scenario)


def test_the_answer_to_a_launch_that_nobody_waits_for_harms_no_other(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        given_up = asyncio.ensure_future(client.launch(JOB, handles, sync_begin=True))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        await ready(client, handles)

    play(scenario)


def test_a_launcher_that_cannot_start_is_tried_again_at_a_walk(
    play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        works = launcher_client._PROGRAM
        monkeypatch.setattr(launcher_client, "_PROGRAM", "raise SystemExit(3)")
        await ready(client, handles)
        os.kill(client.pid, signal.SIGKILL)
        started = asyncio.get_running_loop().time()
        await until(lambda: len(caplog.records) >= 4)
        # The first one after the working launcher, which had not lived long, and two more.
        assert asyncio.get_running_loop().time() - started >= 3 * 0.05
        waiting = asyncio.ensure_future(client.launch(JOB, handles, sync_begin=True))
        monkeypatch.setattr(launcher_client, "_PROGRAM", works)
        answer = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert isinstance(answer, LaunchError | LauncherGoneError)
        await ready(client, handles)

    play(scenario)
    assert "status 3" in caplog.text


def test_closing_between_two_launchers_starts_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launcher_client, "_PROGRAM", "raise SystemExit(3)")
    monkeypatch.setattr(launcher_client, "_PATIENCE_SECONDS", 0.05)

    async def scenario() -> None:
        before = descriptors()
        client = LauncherClient(asyncio.get_running_loop(), [])
        async with asyncio.timeout(DEADLINE_SECONDS):
            await until(lambda: bool(caplog.records))
        pid = client.pid
        client.close()
        await asyncio.sleep(0.1)
        assert client.pid == pid
        assert descriptors() == before

    asyncio.run(scenario())


RUNNERD = """
import asyncio, sys
from runner.launcher_client import LauncherClient
async def serve():
    client = LauncherClient(asyncio.get_running_loop(), [int(fd) for fd in sys.argv[1:]])
    print(client.pid, flush=True)
    await asyncio.to_thread(sys.stdin.read)
asyncio.run(serve())
"""


def test_a_launcher_outlives_a_killed_runnerd_by_nothing_and_holds_its_locks_as_long(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "lock")
    lock = statedir.lock_file(path)
    with subprocess.Popen(
        [sys.executable, "-c", RUNNERD, str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(lock,),
        cwd=Path(__file__).parents[3],
    ) as runnerd:  # fmt: skip
        assert runnerd.stdout is not None
        pidfd = os.pidfd_open(int(runnerd.stdout.readline()))
        os.close(lock)
        runnerd.kill()
        runnerd.wait()
        # Within its patience: the launcher lets go when it reads the end of its socket.
        os.close(statedir.lock_file(path))
        os.close(pidfd)


def test_the_launcher_finds_its_modules_beside_those_of_this_process() -> None:
    import msgpack

    import runner

    for module in (msgpack, runner):
        found = next(iter(module.__path__))
        assert os.path.dirname(os.path.abspath(found)) in launcher_client._PATHS


def test_who_does_not_wait_is_told_as_soon_as_the_answer_is_read(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        answers: list[object] = []
        request = launch_request(JOB, None, None, sync_begin=False)
        assert client.begin(request, handles.present(), answers.append)
        assert answers == []
        await until(lambda: answers != [])
        assert isinstance(answers[0], LaunchError)

    play(scenario)


def test_without_a_launcher_or_room_nothing_is_asked_by_who_does_not_wait(play: Play) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        await ready(client, handles)
        pid = client.pid
        os.kill(pid, signal.SIGSTOP)
        answers: list[object] = []
        request = launch_request(JOB + "x" * 7000, None, None, sync_begin=False)
        asked = 0
        while client.begin(request, handles.present(), answers.append):
            asked += 1
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not client.is_running)
        assert not client.begin(request, handles.present(), answers.append)
        assert [type(answer) for answer in answers] == [LauncherGoneError] * asked
        await ready(client, handles)

    play(scenario)


def test_a_defect_of_who_is_told_is_logged_and_costs_nobody_else_an_answer(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(client: LauncherClient, handles: Handles) -> None:
        def told(_answer: object) -> None:
            raise ZeroDivisionError

        request = launch_request(JOB, None, None, sync_begin=False)
        assert client.begin(request, handles.present(), told)
        await ready(client, handles)

    play(scenario)
    assert "a defect in the launch of a job" in caplog.text
