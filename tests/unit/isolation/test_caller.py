"""Questions asked as somebody else: the thread that asks, and no other, is that somebody."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from isolation import caller
from isolation.caller import Caller, ask_as, check_directory, may_be_entered_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_SECONDS = 20.0
ME = Caller(os.geteuid(), os.getegid(), os.getgroups())
NOBODY = Caller(65534, 65534, ())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: CAP_SETUID, CAP_SETGID")


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def status() -> dict[str, list[str]]:
    with open("/proc/thread-self/status", encoding="utf-8") as file:
        return {name: rest.split() for name, _, rest in (line.partition(":") for line in file)}


if os.geteuid() == 0:

    def test_as_oneself_the_answer_comes_from_another_thread() -> None:
        asked = ask_as(ME, threading.get_ident)
        assert asked.result(DEADLINE_SECONDS) != threading.get_ident()

else:

    def test_without_privilege_the_question_is_not_asked_at_all() -> None:
        """Asked as the daemon it would tell what the caller may not know."""
        asked: list[int] = []
        with pytest.raises(PermissionError):
            ask_as(NOBODY, lambda: asked.append(1)).result(DEADLINE_SECONDS)
        assert asked == []


@pytest.mark.parametrize("error", [FileNotFoundError(2, "x"), KeyError("x"), SystemExit(3)])
def test_what_a_question_raises_belongs_to_who_asked(error: BaseException) -> None:
    def question() -> None:
        raise error

    if os.geteuid() != 0:
        pytest.skip("needs root: another identity is taken first")
    with pytest.raises(type(error)):
        ask_as(ME, question).result(DEADLINE_SECONDS)


@needs_root
def test_the_question_runs_with_the_file_identity_of_the_caller_and_no_capability() -> None:
    found = ask_as(Caller(65534, 65533, (7, 9)), status).result(DEADLINE_SECONDS)
    assert (found["Uid"][3], found["Gid"][3], found["Groups"]) == ("65534", "65533", ["7", "9"])
    assert int(found["CapEff"][0], 16) == int(found["CapPrm"][0], 16) == 0


@needs_root
def test_no_other_thread_changes_while_a_question_is_asked() -> None:
    before = status()
    started, may_end = threading.Event(), threading.Event()

    def question() -> None:
        started.set()
        may_end.wait(DEADLINE_SECONDS)

    asked = ask_as(NOBODY, question)
    assert started.wait(DEADLINE_SECONDS)
    during = status()
    may_end.set()
    asked.result(DEADLINE_SECONDS)
    for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm"):
        assert before[name] == during[name] == status()[name]


@needs_root
def test_what_the_caller_may_not_read_is_not_read_for_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    secret.chmod(0o600)
    with pytest.raises(PermissionError):
        ask_as(NOBODY, secret.read_text).result(DEADLINE_SECONDS)
    secret.chmod(0o644)
    assert ask_as(NOBODY, secret.read_text).result(DEADLINE_SECONDS) == "secret"


def test_a_question_that_was_cancelled_in_time_disturbs_nobody() -> None:
    asked = ask_as(NOBODY, lambda: None)
    asked.cancel()
    assert asked.cancelled() or asked.done() or asked.running()


@needs_root
def test_a_cancellation_that_comes_too_late_leaves_the_answer() -> None:
    started, may_end = threading.Event(), threading.Event()

    def question() -> str:
        started.set()
        may_end.wait(DEADLINE_SECONDS)
        return "answer"

    asked = ask_as(NOBODY, question)
    assert started.wait(DEADLINE_SECONDS)
    assert not asked.cancel()
    may_end.set()
    assert asked.result(DEADLINE_SECONDS) == "answer"


# Threads that are used again


def thread_of(asked: Caller) -> int:
    return ask_as(asked, threading.get_native_id).result(DEADLINE_SECONDS)


@needs_root
def test_a_thread_is_used_again_for_the_same_caller_and_nobody_else() -> None:
    first = thread_of(Caller(4711, 1, (2, 3)))
    assert thread_of(Caller(4711, 1, (2, 3))) == first
    for other in (Caller(4711, 1, (2,)), Caller(4711, 2, (2, 3)), Caller(4712, 1, (2, 3))):
        assert thread_of(other) != first
    found = ask_as(Caller(4711, 1, (2, 3)), status).result(DEADLINE_SECONDS)
    assert (found["Uid"][3], found["Gid"][3], found["Groups"]) == ("4711", "1", ["2", "3"])
    assert int(found["CapEff"][0], 16) == 0


@needs_root
def test_a_question_that_hangs_holds_its_own_thread_alone() -> None:
    may_end = threading.Event()
    hanging = ask_as(NOBODY, lambda: may_end.wait(DEADLINE_SECONDS))
    assert ask_as(NOBODY, lambda: "answer").result(DEADLINE_SECONDS) == "answer"
    may_end.set()
    assert hanging.result(DEADLINE_SECONDS)


@needs_root
def test_a_thread_that_is_not_asked_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "IDLE_SECONDS", 0.01)
    thread = ask_as(Caller(4713, 1, ()), threading.current_thread).result(DEADLINE_SECONDS)
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert thread_of(Caller(4713, 1, ())) != thread.native_id


@needs_root
def test_few_threads_wait_for_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "MOST_IDLE", 2)
    monkeypatch.setattr(caller, "_idle", caller._Idle())
    asked = [Caller(uid, 1, ()) for uid in range(4720, 4725)]
    threads = [ask_as(one, threading.current_thread).result(DEADLINE_SECONDS) for one in asked]
    for thread in threads[2:]:
        thread.join(DEADLINE_SECONDS)
    assert [thread.is_alive() for thread in threads] == [True, True, False, False, False]


@needs_root
def test_a_question_that_fails_leaves_the_thread_for_the_next() -> None:
    asked = Caller(4714, 1, ())
    first = thread_of(asked)
    with pytest.raises(ZeroDivisionError):
        ask_as(asked, lambda: 1 // 0).result(DEADLINE_SECONDS)
    assert thread_of(asked) == first


# Directories


def test_what_may_be_entered_at_once_is_what_may_be_entered(tmp_path: Path) -> None:
    """At once: somebody has just looked there, so that the kernel knows it."""
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0)
    for name in ("", "file", "absent", "closed"):
        path = os.fsencode(tmp_path / name)
        try:
            check_directory(path)
        except OSError:
            assert not may_be_entered_at_once(path)
        else:
            assert may_be_entered_at_once(path)
    assert not may_be_entered_at_once(b"/proc/self/cwd")


def test_a_directory_that_may_be_entered_is_one(tmp_path: Path) -> None:
    (tmp_path / "caf\udce9").mkdir()
    (tmp_path / "link").symlink_to("caf\udce9")
    for name in ("caf\udce9", "link", "."):
        check_directory(os.fsencode(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "error"), [("absent", FileNotFoundError), ("file", NotADirectoryError)]
)
def test_what_is_no_directory_is_an_error(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error):
        check_directory(os.fsencode(tmp_path / name))


def test_links_of_the_kernels_own_are_not_followed() -> None:
    """They lead where path permissions do not count."""
    with pytest.raises(OSError, match="symbolic links"):
        check_directory(b"/proc/self/cwd")


@needs_root
def test_a_directory_that_may_be_found_but_not_entered_is_an_error(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o744)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    closed.chmod(0o744)
    check_directory(os.fsencode(closed))
    with pytest.raises(PermissionError):
        ask_as(NOBODY, lambda: check_directory(os.fsencode(closed))).result(DEADLINE_SECONDS)
