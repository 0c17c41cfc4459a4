"""Pieces that several readers of a log share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from runner.logs.chunks import MAX_CHUNK_BYTES, MAX_EXTENT_BYTES
from runner.logs.cuts import Cut, Cuts
from runner.logs.reader import Chunk, Extent, LogReader

if TYPE_CHECKING:
    from pathlib import Path

    from runner.logs.chunks import Run

OpenWriter = Any


def _pack(offset: int, runs: list[Run], data: bytes) -> bytes:
    return repr((offset, runs, data)).encode()


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


def test_what_was_appended_is_found_at_once_and_by_the_next_as_it_was_cut(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with (
        open_writer(log_dir) as writer,
        LogReader(log_dir) as first,
        LogReader(log_dir) as second,
    ):
        assert first.read(0) is None
        assert second.read(0) is None
        assert first.index_name == f"{0:020}.idx"
        writer.append(1, b"one", 11)
        writer.append(2, b"two", 12)
        cut = first.appended(0, _pack)
        assert cut is not None
        assert cut.packed == _pack(0, [(1, 3, 11), (2, 3, 12)], b"onetwo")
        assert cut.length == 6
        assert second.take(0, cut) is not None
        for reader in (first, second):
            assert reader.appended(6, _pack) == cut._replace(length=0, packed=b"")
        writer.append(1, b"three", 13)
        assert first.read(6) == Chunk(6, [(1, 5, 13)], b"three")
        more = second.appended(6, _pack)
        assert more is not None
        assert more.packed == _pack(6, [(1, 5, 13)], b"three")


def test_what_is_much_or_not_sane_or_elsewhere_is_not_found_at_once(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer, LogReader(log_dir) as reader:
        # Nothing is open yet.
        assert reader.appended(0, _pack) is None
        assert reader.index_name is None
        assert reader.read(0) is None
        for number in range(170):
            writer.append(1, b"x", number)
        # There may be more than that.
        assert reader.appended(0, _pack) is None
        piece = reader.read(0)
        assert isinstance(piece, Chunk)
        assert len(piece.data) == 170
        assert reader.appended(3, _pack) is None
        writer.append(1, b"x" * 100_000, 1)
        assert reader.appended(170, _pack) is None
        assert isinstance(reader.read(170), Chunk)
        with (log_dir / f"{0:020}.idx").open("ab") as index:
            index.write(b"torn")
        assert reader.appended(100_170, _pack) is None
        assert reader.read(100_170) is None


def test_data_that_is_missing_is_not_found_at_once(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir) as writer, LogReader(log_dir) as reader:
        assert reader.read(0) is None
        writer.append(1, b"one", 11)
        os.truncate(log_dir / f"{0:020}.log", 2)
        assert reader.appended(0, _pack) is None
        assert reader.read(0) is None


def test_a_piece_in_place_may_be_longer_than_one_that_is_read(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer, LogReader(log_dir) as reader:
        for _ in range(3):
            writer.append(1, b"x" * 1_000_000, 11)
        assert _extent(reader, 0, 2**30).length == MAX_EXTENT_BYTES
        piece = reader.read(0, 2**30)
        assert isinstance(piece, Chunk)
        assert len(piece.data) == MAX_CHUNK_BYTES
