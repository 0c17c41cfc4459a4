"""Questions about users' paths: who asks, how many at once, how long, and in what words refused."""

from __future__ import annotations

import asyncio
import errno
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from isolation.caller import Caller
from isolation.errors import LimitUnavailable
from isolation.host.block_devices import Disk
from runner import paths
from runner.paths import UserPaths
from runner.refusal import Refusal
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Callable

ALICE = Account(1000, 100, (100, 27), "alice")
BOB = Account(1001, 101, (), "bob")
DEADLINE_SECONDS = 20.0


class Asked:
    """Stands for `ask_as`, which needs root: threads that answer when they are told to."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.answers: list[Future[Any]] = []
        self.at_once: Callable[[Future[Any], Callable[[], object]], None] | None = None

    def __call__(self, caller: Caller, question: Callable[[], object]) -> Future[Any]:
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()
        self.callers.append(caller)
        self.answers.append(answer)
        if self.at_once is not None:
            self.at_once(answer, question)
        return answer


def ask(answer: Future[Any], question: Callable[[], object]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # noqa: BLE001 - as `ask_as` does
        answer.set_exception(error)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(paths, "ask_as", made)
    return made


def refusal_of(work: Callable[[UserPaths], Any]) -> dict[str, Any]:
    async def scenario() -> dict[str, Any]:
        with pytest.raises(Refusal) as caught:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await work(UserPaths())
        return caught.value.to_wire()

    return asyncio.run(scenario())


def test_a_directory_is_looked_at_with_the_credentials_of_the_account(
    asked: Asked, tmp_path: os.PathLike[str]
) -> None:
    asked.at_once = ask
    asyncio.run(UserPaths().check_cwd(ALICE, os.fsencode(tmp_path)))
    assert asked.callers == [Caller(1000, 100, (100, 27))]


def test_a_directory_that_cannot_be_used_is_refused_with_the_reason(asked: Asked) -> None:
    asked.at_once = ask
    assert refusal_of(lambda made: made.check_cwd(ALICE, b"/no/such")) == {
        "code": "invalid-argument",
        "field": "cwd",
        "given": "'/no/such'",
        "allowed": "an existing directory that alice may enter",
        "detail": "No such file or directory",
    }


def test_each_io_path_becomes_its_devices(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.at_once = ask
    written: list[bool] = []

    def find(path: str, *, writes: bool) -> tuple[Disk, ...]:
        written.append(writes)
        return (Disk(f"8:{len(path)}", "sda"), Disk("8:16", "sdb"))

    monkeypatch.setattr(paths, "disks_of_path", find)
    io = [
        {"path": b"/a", "write_operations_per_second": 1},
        {"path": b"/caf\xe9", "read_bytes_per_second": 4096, "write_bytes_per_second": None},
    ]
    spec = {"uid": 1000, "gid": 100, "groups": [27], "user": "alice", "limits": {"io": io}}
    found = asyncio.run(UserPaths().find_devices(spec))
    assert found == {b"/a": ("8:2", "8:16"), b"/caf\xe9": ("8:5", "8:16")}
    assert written == [True, False]
    assert set(asked.callers) == {Caller(1000, 100, (27,))}
    assert asyncio.run(UserPaths().find_devices({**spec, "limits": {}})) == {}


def test_a_device_that_takes_no_limit_is_refused_by_the_field_that_named_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, *, writes: bool) -> tuple[Disk, ...]:
        assert not writes
        if path == "/a":
            return (Disk("8:0", "sda"),)
        raise LimitUnavailable("io.max", device=path, why=f"{path}: in memory", remedy="do this")

    asked.at_once = ask
    monkeypatch.setattr(paths, "disks_of_path", refuse)
    io = [{"path": b"/a"}, {"path": b"/caf\xe9"}]
    spec = {"uid": 1, "gid": 1, "groups": [], "user": "x", "limits": {"io": io}}
    refusal = refusal_of(lambda made: made.find_devices(spec))
    assert (refusal["code"], refusal["field"]) == ("limit-unavailable", "limits.io[1].path")
    assert "do this" in refusal["detail"]


@pytest.mark.usefixtures("asked")
def test_a_path_that_does_not_answer_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "PATH_SECONDS", 0.05)
    refusal = refusal_of(lambda made: made.check_cwd(ALICE, b"/dead"))
    assert refusal["detail"] == "it did not answer within 0.05 s"


def test_one_users_dead_paths_hold_so_many_threads_and_stand_in_nobody_elses_way(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "PATH_SECONDS", 0.1)
    most = paths._AT_ONCE

    async def scenario() -> None:
        made = UserPaths()
        dead = [made.check_cwd(ALICE, b"/dead") for _ in range(most + 5)]
        answers = await asyncio.gather(*dead, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Refusal}
        assert len(asked.answers) == most
        with pytest.raises(Refusal):
            await made.check_cwd(ALICE, b"/")
        assert len(asked.answers) == most
        asked.at_once = ask
        await made.check_cwd(BOB, b"/")
        # A thread that ends, however late, gives its place back.
        asked.answers[0].set_exception(OSError(errno.EIO, "x"))
        await made.check_cwd(ALICE, b"/")

    asyncio.run(scenario())


def test_who_stops_waiting_leaves_the_place_to_its_thread_until_that_ends(asked: Asked) -> None:
    async def scenario() -> None:
        made = UserPaths()
        waiting = asyncio.ensure_future(made.check_cwd(ALICE, b"/dead"))
        await asyncio.sleep(0)
        assert asked.answers
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        asked.answers[0].set_result(None)
        await asyncio.sleep(0)
        assert made._slots[1000]._value == paths._AT_ONCE

    asyncio.run(scenario())


def test_an_answer_after_the_end_of_the_daemon_is_nobodys_error(asked: Asked) -> None:
    async def scenario() -> None:
        waiting = asyncio.ensure_future(UserPaths().check_cwd(ALICE, b"/dead"))
        await asyncio.sleep(0)
        assert asked.answers
        waiting.cancel()
        await asyncio.wait([waiting])

    asyncio.run(scenario())
    asked.answers[0].set_result(None)


ROOT = Account(0, 0, (), "root")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which asks itself")
def test_root_asks_itself_what_need_not_be_waited_for(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.at_once = ask
    os.stat("/usr")
    asyncio.run(UserPaths().check_cwd(ROOT, b"/usr"))
    assert asked.callers == []
    # What the kernel would have to read, or does not let root enter, is asked in a thread.
    monkeypatch.setattr(paths, "may_be_entered_at_once", lambda _path: False)
    asyncio.run(UserPaths().check_cwd(ROOT, b"/usr"))
    assert asked.callers == [Caller(0, 0, ())]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which asks itself")
def test_what_root_may_not_enter_is_refused_in_the_same_words(asked: Asked) -> None:
    asked.at_once = ask
    answer = refusal_of(lambda made: made.check_cwd(ROOT, b"/no/such"))
    assert (answer["field"], answer["detail"]) == ("cwd", "No such file or directory")
    assert asked.callers == [Caller(0, 0, ())]
