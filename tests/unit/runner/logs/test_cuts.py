"""Pieces that several readers of a log share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runner.logs.cuts import Cut, Cuts
from runner.logs.reader import Chunk, Extent, LogReader

if TYPE_CHECKING:
    from pathlib import Path

OpenWriter = Any


def _cut(extent: Extent) -> Cut:
    return Cut(extent.segment, extent.length, extent.place, b"")


def _extent(reader: LogReader, cursor: int, most: int) -> Extent:
    piece = reader.read(cursor, most, least_in_place=1)
    assert isinstance(piece, Extent)
    return piece


def test_only_the_newest_are_kept_and_the_first_of_two_stays() -> None:
    cuts = Cuts()
    for cursor in range(100):
        cuts.put(cursor, Cut(0, 1, (0, 0, 0), bytes(10_000)))
    kept = [cursor for cursor in range(100) if cuts.get(cursor)]
    assert kept == list(range(100 - len(kept), 100))
    assert 20 <= len(kept) <= 26
    cuts.put(99, Cut(7, 1, (0, 0, 0), b""))
    found = cuts.get(99)
    assert found is not None
    assert found.segment == 0


def test_a_reader_goes_on_after_a_piece_that_another_one_cut(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with (
        open_writer(log_dir) as writer,
        LogReader(log_dir) as first,
        LogReader(log_dir) as second,
    ):
        for number in range(9):
            writer.append(1, b"%d" % number * 10, number)
        one = _extent(first, 0, 35)
        assert os.pread(one.fd, one.length, one.position) == b"0" * 10 + b"1" * 10 + b"2" * 10 + (
            b"3" * 5
        )
        # Nothing is open yet.
        assert second.take(0, _cut(one)) is None
        assert isinstance(second.read(0, 10), Chunk)
        other = _extent(first, 35, 20)
        taken = second.take(35, _cut(other))
        assert taken is not None
        fd, position = taken
        assert fd != other.fd
        assert os.pread(fd, other.length, position) == b"3" * 5 + b"4" * 10 + b"5" * 5
        rest = second.read(55)
        assert isinstance(rest, Chunk)
        assert rest.runs == [(1, 5, 5), (1, 10, 6), (1, 10, 7), (1, 10, 8)]


def test_a_piece_of_another_segment_is_not_taken(log_dir: Path, open_writer: OpenWriter) -> None:
    with (
        open_writer(log_dir, segment_bytes=30) as writer,
        LogReader(log_dir) as first,
        LogReader(log_dir) as second,
    ):
        writer.append(1, b"one", 1)
        writer.append(1, b"two", 1)
        one = _extent(first, 0, 3)
        assert isinstance(second.read(0, 3), Chunk)
        assert second.take(0, _cut(one)._replace(segment=3)) is None
        assert second.take(0, _cut(one)) is not None
