from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.logs.locating import Found, LastLines, Wanted, search
from runner.logs.reader import LogReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.logs.writer import SegmentWriter

OpenWriter = Any
# stream, data; the time of a record is its number
Append = tuple[int, bytes]

texts = st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\n\n", b"\0\xff"]), min_size=1, max_size=8)
appends = st.lists(st.tuples(st.sampled_from([1, 2]), texts.map(b"".join)), max_size=25)
streams = st.sampled_from([(1, 2), (1,), (2,), (2, 1), (1, 1)])


def _begins(written: list[Append], lines: int, wanted: Sequence[int]) -> dict[int, int]:
    """Where the wanted lines of each stream begin, the plain way: every line, by its end."""
    end = sum(len(data) for _, data in written)
    ends = []
    for stream in set(wanted):
        line: list[int] = []
        offset = 0
        for owner, data in written:
            for byte in data:
                if owner == stream:
                    line.append(offset)
                    if byte == ord("\n"):
                        ends.append((line[-1], line[0], stream))
                        line = []
                offset += 1
        if line:
            ends.append((line[-1], line[0], stream))
    chosen = sorted(ends)[-lines:] if lines else []
    return {
        stream: min((begin for _, begin, owner in chosen if owner == stream), default=end)
        for stream in (1, 2)
    }


def _last_lines(written: list[Append], lines: int, wanted: Sequence[int]) -> LastLines:
    end = sum(len(data) for _, data in written)
    last = LastLines(lines, wanted, end)
    for stream, data in reversed(written):
        if last.is_done:
            break
        end -= len(data)
        last.take(stream, end, data)
    return last


@settings(deadline=None, max_examples=500)
@given(appends, st.integers(0, 12), streams)
def test_the_last_lines_are_those_that_end_last(
    written: list[Append], lines: int, wanted: tuple[int, ...]
) -> None:
    last = _last_lines(written, lines, wanted)
    assert {stream: last.begin(stream) for stream in (1, 2)} == _begins(written, lines, wanted)


@pytest.mark.parametrize(
    ("written", "lines", "stdout", "stderr"),
    [
        ([(1, b"a\nb\nc\n")], 1, 4, 6),
        ([(1, b"a\nb\nc\n")], 3, 0, 6),
        ([(1, b"a\nb\nc\n")], 99, 0, 6),
        ([(1, b"a\nb\nc")], 2, 2, 5),
        ([(1, b"a\n\n\n")], 2, 2, 4),
        ([(1, b"a\n")], 0, 2, 2),
        # One line of stdout, broken in two by a line of stderr that ends before it does.
        ([(1, b"o\nab"), (2, b"err\n"), (1, b"cd\n")], 1, 2, 11),
        ([(1, b"o\nab"), (2, b"err\n"), (1, b"cd\n")], 2, 2, 4),
        # A line that nobody finished and that was overtaken since is an older one.
        ([(2, b"wait"), (1, b"a\nb\n")], 2, 4, 8),
        ([(2, b"wait"), (1, b"a\nb\n")], 3, 4, 0),
    ],
)
def test_a_line_belongs_to_one_stream_and_ends_where_it_ends(
    written: list[Append], lines: int, stdout: int, stderr: int
) -> None:
    last = _last_lines(written, lines, (1, 2))
    assert (last.begin(1), last.begin(2)) == (stdout, stderr)


# --- in a log


def _write(writer: SegmentWriter, written: list[Append]) -> int:
    for number, (stream, data) in enumerate(written):
        writer.append(stream, data, number)
        writer.work()
    while writer.work():
        pass
    return writer.total_bytes


def _locate(path: Path | str, **wanted: Any) -> Found:
    with LogReader(path) as reader:
        return next(filter(None, search(reader, Wanted(**wanted))))


def _between(written: list[Append], since: int | None, until: int | None) -> tuple[int, int]:
    """The offsets where that part begins and ends: the number of an append is its time."""
    offsets = [0, *itertools.accumulate(len(data) for _, data in written)]
    end = offsets[-1] if until is None else offsets[min(until + 1, len(written))]
    floor = 0 if since is None else offsets[min(since, len(written))]
    return min(floor, end), end


@settings(deadline=None, max_examples=200)
@given(
    appends,
    st.integers(1, 200),
    st.sampled_from(["none", "zstd"]),
    st.one_of(st.none(), st.integers(0, 12)),
    st.tuples(*[st.one_of(st.none(), st.integers(0, 26))] * 2),
    streams,
)
def test_lines_and_times_are_found_in_any_log(
    open_writer: OpenWriter,
    written: list[Append],
    segment_bytes: int,
    compression: str,
    lines: int | None,
    times: tuple[int | None, int | None],
    wanted: tuple[int, ...],
) -> None:
    floor, end = _between(written, *times)
    with (
        tempfile.TemporaryDirectory() as path,
        open_writer(path, segment_bytes, compression=compression) as writer,
    ):
        _write(writer, written)
        found = _locate(path, lines=lines, since_ns=times[0], until_ns=times[1], streams=wanted)
    assert found.end == end
    if lines is None:
        assert found[:3] == (floor, floor, floor)
        return
    # What lies outside is as if it had not been written.
    offsets = [0, *itertools.accumulate(len(data) for _, data in written)]
    inside = [part for part, begin in zip(written, offsets, strict=False) if floor <= begin < end]
    begins = _begins(inside, lines, wanted)
    assert (found.stdout - floor, found.stderr - floor) == (begins[1], begins[2])
    assert floor <= found.cursor <= min(found.stdout, found.stderr)


def test_an_empty_log_has_nothing_in_it(log_dir: Path) -> None:
    for wanted in ({}, {"lines": 5}, {"since_ns": 7}, {"until_ns": 7, "lines": 0}):
        assert _locate(log_dir, **wanted) == Found(0, 0, 0, 0)


def test_lines_are_found_over_segments_and_over_what_was_dropped(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=40, compression="zstd") as writer:
        writer.append(1, b"one\ntw", 1)
        writer.append(2, b"other\n", 2)
        writer.skip(2**60)
        writer.append(1, b"o\nthree\n", 3)
    end = 2**60 + 20
    assert _locate(log_dir, lines=1) == Found(end - 6, end - 6, end, end)
    assert _locate(log_dir, lines=2) == Found(4, 4, end, end)
    assert _locate(log_dir, lines=3) == Found(4, 4, 6, end)
    assert _locate(log_dir, lines=2, streams=(2,)) == Found(6, end, 6, end)


def test_who_asks_for_more_than_is_left_is_led_to_the_gap(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1, keep_segments=2) as writer:
        for number in range(10):
            writer.append(1, b"line\n", number)
    assert _locate(log_dir, lines=1) == Found(45, 45, 50, 50)
    # The first of them may have begun in what was removed.
    assert _locate(log_dir, lines=2) == Found(0, 40, 50, 50)
    assert _locate(log_dir, lines=3) == Found(0, 40, 50, 50)
    # What was removed may be of that time.
    assert _locate(log_dir, since_ns=5) == Found(0, 0, 0, 50)
    assert _locate(log_dir, since_ns=9) == Found(45, 45, 45, 50)
    assert _locate(log_dir, since_ns=99) == Found(50, 50, 50, 50)
    assert _locate(log_dir, until_ns=8).end == 45


def test_a_line_of_any_length_is_found_with_little_memory(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=2**20, compression="zstd") as writer:
        writer.append(1, b"before\n", 1)
        for number in range(48):
            writer.append(1, b"x" * 2**18, number)
            writer.work()
        writer.append(1, b"\n", 99)
    end = 7 + 48 * 2**18 + 1
    with LogReader(log_dir) as reader:
        sizes = []
        read = reader.read

        def counted(cursor: int, max_bytes: int) -> Any:
            piece = read(cursor, max_bytes)
            sizes.append(len(getattr(piece, "data", b"")))
            return piece

        reader.read = counted  # type: ignore[assignment, method-assign]
        steps = list(search(reader, Wanted(lines=1)))
    assert steps[-1] == Found(7, 7, end, end)
    assert max(sizes) <= 2**18
    # No more is read than there is, but for a block of each segment that is read in two.
    assert sum(sizes) < end + 13 * 2**18
    assert len(steps) > 48


def test_bytes_one_by_one_are_searched_in_small_pieces(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer:
        for number in range(60_000):
            writer.append(1 + number % 2, b"\n" if number < 2 else b"x", number)
    assert _locate(log_dir, lines=2) == Found(2, 2, 3, 60_000)
    assert _locate(log_dir, lines=1) == Found(3, 60_000, 3, 60_000)


def test_a_search_goes_on_when_the_log_is_removed_under_it(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=100) as writer:
        for number in range(100):
            writer.append(1, b"x" * 80, number)
    with LogReader(log_dir) as reader:
        steps = search(reader, Wanted(lines=5))
        assert [next(steps) for _ in range(4)] == [None] * 4
        for path in list(log_dir.iterdir()):
            path.unlink()
        found = next(filter(None, steps))
        assert found.end == 8000
        assert found.cursor <= found.stdout


def test_a_clock_that_goes_back_breaks_nothing(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, segment_bytes=90) as writer:
        for time_ns in (50, 60, 10, 20, 70, 5, 80):
            writer.append(1, b"0123456789\n", time_ns)
    borders = range(0, 78, 11)
    for time_ns in range(90):
        found = _locate(log_dir, since_ns=time_ns, until_ns=time_ns + 20)
        assert found.cursor in borders
        assert found.end in borders


def test_a_piece_of_a_search_is_a_bounded_number_of_runs(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the runs were that it has met before."""
    with open_writer(log_dir) as writer:
        for number in range(60_000):
            writer.append(1, b"x", number)
        for number in range(50):
            writer.append(1, b"long line\n" * 10_000, 60_000 + number)
    read: list[int] = []
    real = LogReader.read

    def counted(self: LogReader, *args: Any) -> Any:
        piece = real(self, *args)
        read.append(len(getattr(piece, "runs", ())))
        return piece

    monkeypatch.setattr(LogReader, "read", counted)
    with LogReader(log_dir) as reader:
        answers = []
        for found in search(reader, Wanted(lines=10**9)):
            assert sum(read) <= 12_000 + 1000
            read.clear()
            answers.append(found)
    assert answers[-1] == Found(0, 0, 5_060_000, 5_060_000)
