"""Filter programs as files: whose they are, and that nobody can change what others read."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from runner import filter_programs
from runner.filter_programs import ProgramFiles, program_of
from runner.stored import unsaid

if TYPE_CHECKING:
    from collections.abc import Iterator


def spec(uid: int = 1000, **sandbox: Any) -> dict[str, Any]:
    return {"uid": uid, "sandbox": {**unsaid()["sandbox"], "seccomp": b"default", **sandbox}}


@pytest.fixture
def files() -> Iterator[ProgramFiles]:
    before = set(os.listdir("/proc/self/fd"))
    made = ProgramFiles()
    yield made
    made.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def content(fd: int) -> bytes:
    return os.pread(fd, 65536, 0)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError as error:
        assert error.errno == errno.EBADF
        return False
    return True


def test_a_job_without_a_filter_gets_no_file(files: ProgramFiles) -> None:
    with ExitStack() as opened:
        assert files.file_of(spec(seccomp=b"none"), opened) is None


def test_jobs_of_one_profile_share_a_file_that_outlives_each_launch(files: ProgramFiles) -> None:
    with ExitStack() as opened:
        first = files.file_of(spec(), opened)
    assert first is not None
    with ExitStack() as opened:
        assert files.file_of(spec(uid=1001), opened) == first
    assert content(first) == program_of(spec())
    files.close()
    assert not is_open(first)


@pytest.mark.parametrize(
    "other",
    [spec(uid=0), spec(capabilities=["SYS_CHROOT"]), spec(seccomp=b"strict"), spec(userns=True),
     spec(report_denied=True)],
)  # fmt: skip
def test_what_allows_something_else_is_another_file(
    files: ProgramFiles, other: dict[str, Any]
) -> None:
    with ExitStack() as opened:
        fds = [files.file_of(each, opened) for each in (spec(), other)]
        assert fds[0] != fds[1]
        assert [content(fd or -1) for fd in fds] == [program_of(spec()), program_of(other)]
        assert program_of(spec()) != program_of(other)


@pytest.mark.parametrize("own", [None, b"\x06\0\0\0\0\0\xff\x7f"])
def test_nobody_can_change_a_file(files: ProgramFiles, own: bytes | None) -> None:
    with ExitStack() as opened:
        fd = files.file_of(spec(seccomp_program=own), opened)
        assert fd is not None
        before = content(fd)
        for change in (lambda: os.pwrite(fd, b"\0", 0), lambda: os.ftruncate(fd, 0)):
            with pytest.raises(PermissionError):
                change()
        assert content(fd) == before


def test_a_users_own_program_is_kept_for_its_launch_alone(files: ProgramFiles) -> None:
    with ExitStack() as opened:
        fds = [files.file_of(spec(seccomp_program=b"8 bytes."), opened) for _ in range(2)]
        assert fds[0] != fds[1]
        assert content(fds[0] or -1) == b"8 bytes."
    assert not any(is_open(fd or -1) for fd in fds)


def test_only_so_many_are_kept(files: ProgramFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_programs, "_MOST_KEPT", 1)
    with ExitStack() as opened:
        kept, beyond = files.file_of(spec(), opened), files.file_of(spec(uid=0), opened)
        assert content(beyond or -1) == program_of(spec(uid=0))
    assert is_open(kept or -1)
    assert not is_open(beyond or -1)


def test_one_that_is_kept_is_at_hand_for_the_same_kind_of_job_alone(files: ProgramFiles) -> None:
    assert files.kept(spec()) is None
    with ExitStack() as opened:
        first = files.file_of(spec(), opened)
        own = spec(seccomp_program=b"12345678")
        files.file_of(own, opened)
    assert files.kept(spec()) == first
    for other in (
        own, spec(uid=0), spec(capabilities=["SYS_ADMIN"]), spec(seccomp=b"strict"),
        spec(report_denied=True), spec(userns=True), spec(seccomp=b"none"),
    ):  # fmt: skip
        assert files.kept(other) is None
    files.close()
    assert files.kept(spec()) is None
