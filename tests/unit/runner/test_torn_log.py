"""A write-ahead log of SQLite: what is damage, and what a kill or a power cut leaves behind."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from runner.store_commits import MOST_UNSYNCED
from runner.torn_log import damage_of_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = 24 + 4096


class Log:
    """A database whose log is written to by SQLite, and copies of it that are not sound."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.db = sqlite3.connect(base / "db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("PRAGMA wal_autocheckpoint = 0")
        self.db.execute("CREATE TABLE t (a)")

    def write(self, *sizes: int) -> bytes:
        for size in sizes:
            self.db.execute("INSERT INTO t VALUES (randomblob(?))", (size,))
        return (self.base / "db-wal").read_bytes()

    def restart(self) -> None:
        self.db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def damage(self, data: bytes, booted_ns: int | None = None) -> str | None:
        path = self.base / "copy"
        path.write_bytes(data)
        return damage_of_log(str(path), booted_ns)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path)
    with closing(made.db):
        yield made


def test_a_sound_log_is_one_and_so_is_none_at_all(log: Log) -> None:
    assert log.damage(log.write(10, 9000, 200)) is None
    assert log.damage(b"") is None
    assert damage_of_log(str(log.base / "gone")) is None


def test_a_log_that_was_begun_again_after_a_checkpoint_is_sound(log: Log) -> None:
    """Frames of the earlier one lie behind its own."""
    old = log.write(9000, 9000, 9000)
    log.restart()
    assert log.damage((log.base / "db-wal").read_bytes()) is None
    new = log.write(10)
    assert len(new) == len(old)
    assert log.damage(new) is None
    # A power cut after its header was synced, and before its first frame was.
    assert log.damage(new[:32] + old[32:]) is None
    assert log.damage(new[:32]) is None


def test_a_log_that_ends_anywhere_is_as_a_power_cut_leaves_it(log: Log) -> None:
    data = log.write(10, 9000, 9000)
    for end in range(0, len(data), 509):
        assert log.damage(data[:end]) is None


def test_a_last_transaction_that_is_torn_anywhere_is_as_a_power_cut_leaves_it(log: Log) -> None:
    before = len(log.write(10, 20))
    data = log.write(20_000)
    frames = (len(data) - before) // FRAME
    assert frames > 2
    for number in range(frames):
        at = before + number * FRAME
        assert log.damage(data[:at] + os.urandom(FRAME) + data[at + FRAME :]) is None
        assert log.damage(data[:at] + bytes(FRAME) + data[at + FRAME :]) is None


@pytest.mark.parametrize("at", [0, 8, 16, 24, 31])
def test_a_garbled_header_is_damage(log: Log, at: int) -> None:
    data = log.write(10)
    garbled = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    assert log.damage(garbled) == "its header is garbled"
    assert log.damage(bytes(len(data))) == "its header is garbled"


def test_a_break_before_transactions_that_were_finished_is_damage(log: Log) -> None:
    data = log.write(*[9000] * 9)
    chance = random.Random(1)
    frames = (len(data) - 32) // FRAME
    for number in range(frames - 8):
        at = 32 + number * FRAME + chance.randrange(FRAME)
        garbled = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        why = log.damage(garbled)
        assert why is not None
        assert why.endswith("of its transactions cannot be read")


def test_after_another_boot_only_more_than_can_wait_for_their_sync_is_damage(log: Log) -> None:
    """Whatever a power cut leaves of the pages of some transactions."""
    before = len(log.write(10))
    data = log.write(*[9000] * MOST_UNSYNCED)
    torn = data[:before] + bytes(FRAME) + data[before + FRAME :]
    assert log.damage(torn) is not None
    assert log.damage(torn, time.time_ns() + 10**12) is None
    more = log.write(9000, 9000)
    torn = more[:before] + bytes(FRAME) + more[before + FRAME :]
    assert log.damage(torn, time.time_ns() + 10**12) is not None


def test_frames_that_were_given_up_are_no_damage(log: Log) -> None:
    """A transaction that was taken back wrote some, and a shorter one was put over them."""
    log.write(10)
    log.db.execute("PRAGMA cache_size = 1")
    log.db.execute("BEGIN")
    log.write(*[9000] * 20)
    log.db.execute("ROLLBACK")
    assert log.damage(log.write(10)) is None


def test_what_is_no_file_is_not_waited_for(log: Log) -> None:
    os.mkfifo(log.base / "fifo")
    assert damage_of_log(str(log.base / "fifo")) is None
