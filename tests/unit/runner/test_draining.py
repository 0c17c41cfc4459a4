"""The mark that outlives the daemon, and how one waits for the whole of it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from runner.draining import Draining, Pulse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_new_state_directory_takes_jobs(tmp_path: Path) -> None:
    assert not Draining(str(tmp_path)).on


def test_draining_holds_for_the_next_daemon_and_so_does_its_end(tmp_path: Path) -> None:
    Draining(str(tmp_path)).begin()
    after_restart = Draining(str(tmp_path))
    assert after_restart.on
    after_restart.cancel()
    assert not after_restart.on
    assert not Draining(str(tmp_path)).on
    assert list(tmp_path.iterdir()) == []


def test_beginning_and_cancelling_again_is_harmless(tmp_path: Path) -> None:
    draining = Draining(str(tmp_path))
    draining.cancel()
    for _ in range(2):
        draining.begin()
        assert draining.on
    for _ in range(2):
        draining.cancel()
        assert not draining.on


def test_the_mark_is_for_root_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Draining(str(tmp_path)).begin()
    finally:
        os.umask(before)
    assert (tmp_path / "draining").stat().st_mode & 0o777 == 0o600


def test_both_are_on_disk_before_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draining = Draining(str(tmp_path))
    synced: list[tuple[bool, bool]] = []

    def fsync(fd: int) -> None:
        assert os.path.samestat(os.fstat(fd), tmp_path.stat())
        synced.append((draining.on, (tmp_path / "draining").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    draining.begin()
    draining.cancel()
    assert synced == [(False, True), (True, False)]


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/nowhere", path)])
def test_whatever_has_the_name_counts(tmp_path: Path, make: Callable[[str], None]) -> None:
    make(str(tmp_path / "draining"))
    assert Draining(str(tmp_path)).on


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    draining = Draining(str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        draining.begin()
    assert not draining.on


def test_a_mark_that_cannot_be_removed_goes_on_counting(tmp_path: Path) -> None:
    (tmp_path / "draining").mkdir()
    draining = Draining(str(tmp_path))
    with pytest.raises(OSError, match="draining"):
        draining.cancel()
    assert draining.on


@pytest.mark.parametrize("was_on", [False, True])
def test_what_does_not_get_to_the_disk_changes_nothing_for_the_next_start_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, was_on: bool
) -> None:
    draining = Draining(str(tmp_path))
    if was_on:
        draining.begin()

    def fsync(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    for act in (draining.begin, draining.cancel):
        with pytest.raises(OSError, match="Input/output error"):
            act()
        assert draining.on is was_on
        assert Draining(str(tmp_path)).on is was_on


def test_what_cannot_be_put_back_either_is_said_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(OSError, match="Input/output error"):
        Draining(str(tmp_path)).begin()
    assert "the next start finds: draining" in caplog.text


# Pulse


def test_who_waits_looks_after_each_beat_and_goes_on_when_it_holds() -> None:
    async def scenario() -> list[int]:
        pulse, left, seen = Pulse(), [3], []

        def condition() -> bool:
            seen.append(left[0])
            return not left[0]

        waiting = [asyncio.ensure_future(pulse.until(condition, None)) for _ in range(2)]
        while left[0]:
            await asyncio.sleep(0)
            left[0] -= 1
            pulse.beat()
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        return seen

    assert asyncio.run(scenario()) == [3, 3, 2, 2, 1, 1, 0, 0]


def test_what_holds_already_is_not_waited_for() -> None:
    asyncio.run(asyncio.wait_for(Pulse().until(lambda: True, None), 5))


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_the_time_ends_a_wait_and_is_no_error(seconds: float) -> None:
    asyncio.run(asyncio.wait_for(Pulse().until(lambda: False, seconds), 5))


def test_a_beat_that_nobody_waits_for_is_not_kept() -> None:
    async def scenario() -> int:
        pulse, looks = Pulse(), 0

        def condition() -> bool:
            nonlocal looks
            looks += 1
            return False

        pulse.beat()
        await pulse.until(condition, 0.05)
        return looks

    assert asyncio.run(scenario()) == 1
