"""What a directory takes: as the kernel counts it, of nothing but the directory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from runner import disk_usage
from runner.disk_usage import RunningSizes, UsualBytes, job_bytes, space, store_bytes, tree_bytes

if TYPE_CHECKING:
    from pathlib import Path


def counted_by_du(path: Path) -> int:
    done = subprocess.run(
        ["du", "--summarize", "--block-size=1", str(path)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return int(done.stdout.split()[0])


def test_a_directory_takes_what_du_says(tmp_path: Path) -> None:
    top = tmp_path / "job"
    (top / "log" / "deeper").mkdir(parents=True)
    (top / "spec").write_bytes(bytes(5000))
    (top / "log" / "0.log").write_bytes(os.urandom(300_000))
    (top / "log" / "deeper" / "x").write_bytes(b"x")
    os.mkfifo(top / "control")
    with open(top / "sparse", "wb") as file:
        file.truncate(2**40)
    assert tree_bytes(str(top)) == counted_by_du(top)
    assert tree_bytes(str(top)) < 2**20


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert tree_bytes(str(tmp_path / "none")) == 0
    assert store_bytes(str(tmp_path / "none")) == 0


def test_no_link_is_followed(tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (big / "file").write_bytes(bytes(2**20))
    top = tmp_path / "job"
    top.mkdir()
    empty = tree_bytes(str(top))
    (top / "directory").symlink_to(big)
    (top / "file").symlink_to(big / "file")
    assert tree_bytes(str(top)) - empty < 2**16
    link = tmp_path / "link"
    link.symlink_to(big)
    with pytest.raises(OSError, match="link"):
        tree_bytes(str(link))


def test_no_more_entries_are_looked_at_than_asked_for(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(b"x")
    own = tree_bytes(str(tmp_path), most=20) - tree_bytes(str(tmp_path), most=5)
    one = (tmp_path / "0").stat().st_blocks * 512
    assert own == 15 * one
    assert tree_bytes(str(tmp_path), most=0) == 0


def test_the_store_is_its_database_and_the_files_beside_it(tmp_path: Path) -> None:
    for name in ("db", "db-wal", "db-shm", "db-other"):
        (tmp_path / name).write_bytes(os.urandom(10_000))
    expected = sum((tmp_path / name).stat().st_blocks * 512 for name in ("db", "db-wal", "db-shm"))
    assert store_bytes(str(tmp_path / "db")) == expected


def test_the_space_is_that_of_statvfs(tmp_path: Path) -> None:
    found = space(str(tmp_path))
    assert found.size_bytes >= found.free_bytes > 0
    assert found.inodes >= found.free_inodes
    with pytest.raises(FileNotFoundError):
        space(str(tmp_path / "none"))


def count_measures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    measured: list[str] = []

    def counted(path: str) -> int:
        measured.append(os.path.basename(path))
        return tree_bytes(path)

    monkeypatch.setattr(disk_usage, "job_bytes", counted)
    return measured


def test_a_job_that_runs_is_measured_once_in_a_while_however_many_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = count_measures(monkeypatch)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    async def scenario() -> None:
        sizes = RunningSizes(str(tmp_path))
        answers = await asyncio.gather(*(sizes.of(["a"]) for _ in range(50)))
        assert answers == 50 * [{"a": tree_bytes(str(tmp_path / "a"))}]
        assert measured == ["a"]
        assert (await sizes.of(["a", "b", "none"]))["none"] == 0
        assert measured == ["a", "b", "none"]

    asyncio.run(scenario())


def test_a_size_is_measured_anew_when_it_is_old_and_forgotten_when_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = count_measures(monkeypatch)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    (tmp_path / "a").mkdir()

    async def scenario() -> None:
        sizes = RunningSizes(str(tmp_path))
        before = await sizes.of(["a"])
        (tmp_path / "a" / "log").write_bytes(os.urandom(100_000))
        assert await sizes.of(["a"]) == before
        now[0] += disk_usage._FRESH_SECONDS
        assert (await sizes.of(["a"]))["a"] >= 100_000
        assert measured == ["a", "a"]
        now[0] += disk_usage._FRESH_SECONDS
        await sizes.of(["b"])
        assert list(sizes._known) == ["b"]

    asyncio.run(scenario())


def test_who_goes_away_leaves_one_thread_at_work_and_not_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, at_once, most = threading.Event(), [0], [0]

    def slow(_path: str) -> int:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        go_on.wait(10)
        at_once[0] -= 1
        return 7

    monkeypatch.setattr(disk_usage, "job_bytes", slow)

    async def scenario() -> None:
        sizes = RunningSizes(str(tmp_path))
        for number in range(5):
            asked = asyncio.ensure_future(sizes.of([str(number)]))
            await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        go_on.set()
        assert await sizes.of(["0", "9"]) == {"0": 7, "9": 7}

    asyncio.run(scenario())
    assert most == [1]


def job_like(path: Path, *lengths: int) -> str:
    (path / "log").mkdir(parents=True)
    for place, length in zip(("spec", "exit", "log/0.log"), lengths, strict=True):
        (path / place).write_bytes(bytes(length))
    return str(path)


def test_a_directory_like_one_before_takes_what_a_look_at_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    def look(path: str, attempt: int) -> int:
        looks.append(path)
        return job_bytes(path, attempt)

    monkeypatch.setattr(disk_usage, "job_bytes", look)
    usual = UsualBytes()
    for number in range(3):
        path = job_like(tmp_path / f"a{number}", 2200 + number, 440 - number, 0)
        assert usual.of(path, (2200 + number, 440 - number, 0)) == job_bytes(path, 1)
    assert len(looks) == 1
    for number, lengths in enumerate([(9000, 440, 0), (2200, 600, 0), (2200, 440, 1)]):
        path = job_like(tmp_path / f"b{number}", *lengths)
        assert usual.of(path, lengths) == job_bytes(path, 1)
    assert len(looks) == 4
    monkeypatch.setattr(disk_usage, "_SHAPE_SECONDS", -1.0)
    usual = UsualBytes()
    for _ in range(2):
        usual.of(path, lengths)
    assert len(looks) == 6
