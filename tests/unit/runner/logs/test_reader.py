from __future__ import annotations

import itertools
import os
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runner.logs.format import INDEX_RECORD, index_name, log_name
from runner.logs.reader import Chunk, CursorError, Gap, LogReader
from runner.logs.segment import MAX_CHUNK_BYTES, MAX_CHUNK_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runner.logs.writer import SegmentWriter

OpenWriter = Any
ReadAll = Any
# stream, data; the time of a record is its number
Append = tuple[int, bytes]

pieces = st.one_of(
    st.binary(min_size=1, max_size=1),
    st.binary(min_size=1, max_size=40),
    st.builds(lambda size, byte: bytes([byte]) * size, st.integers(1, 3000), st.integers(0, 255)),
)
appends = st.lists(st.tuples(st.sampled_from([1, 2]), pieces), max_size=40)


class Model:
    """What the log must read as: every byte with its stream and the number of its append."""

    def __init__(self, written: list[Append]) -> None:
        self.data = b""
        self.marks: list[tuple[int, int]] = []
        for append in written:
            self.append(*append)

    def append(self, stream: int, data: bytes) -> int:
        number = self.marks[-1][1] + 1 if self.marks else 0
        self.data += data
        self.marks += [(stream, number)] * len(data)
        return number

    def check(self, chunk: Chunk, cursor: int, max_bytes: int) -> None:
        """`chunk` is what stands at `cursor`, cut exactly as it was appended."""
        end = cursor + len(chunk.data)
        assert chunk.offset == cursor
        assert 0 < len(chunk.data) <= max_bytes
        assert chunk.data == self.data[cursor:end]
        cuts = itertools.groupby(self.marks[cursor:end])
        assert chunk.runs == [(mark[0], len(list(same)), mark[1]) for mark, same in cuts]


def _write(writer: SegmentWriter, written: list[Append]) -> Model:
    model = Model([])
    for stream, data in written:
        writer.append(stream, data, model.append(stream, data))
    return model


def _bytes(parts: list[Chunk | Gap]) -> bytes:
    assert all(isinstance(part, Chunk) for part in parts)
    return b"".join(part.data for part in parts if isinstance(part, Chunk))


# --- reading what was written


@settings(deadline=None)
@given(appends, st.integers(1, 4000), st.integers(1, 5000), st.data())
def test_what_was_appended_is_read_back_from_any_cursor(
    open_writer: OpenWriter,
    read_all: ReadAll,
    written: list[Append],
    segment_bytes: int,
    max_bytes: int,
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as path, open_writer(path, segment_bytes) as writer:
        model = _write(writer, written)
        cursor = data.draw(st.integers(0, len(model.data)))
        for chunk in read_all(path, cursor, max_bytes):
            model.check(chunk, cursor, max_bytes)
            cursor += len(chunk.data)
        assert cursor == len(model.data)
        with LogReader(path) as reader:
            assert reader.end() == len(model.data)
            assert reader.damage is None


class LogMachine(RuleBasedStateMachine):
    """A writer with retention, a reader that stays and new ones, against a Model."""

    open_writer: OpenWriter

    @initialize(segment_bytes=st.integers(1, 500), keep_bytes=st.integers(1, 3000))
    def begin(self, segment_bytes: int, keep_bytes: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.context = self.open_writer(self.directory.name, segment_bytes, keep_bytes)
        self.writer = self.context.__enter__()
        self.reader = LogReader(self.directory.name)
        self.cursor = 0
        self.model = Model([])

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()
            self.context.__exit__(None, None, None)
            self.directory.cleanup()

    def oldest(self) -> int:
        names = os.listdir(self.directory.name)
        return min(int(name[:20]) for name in names if name.endswith(".log"))

    @rule(stream=st.sampled_from([1, 2]), data=pieces)
    def append(self, stream: int, data: bytes) -> None:
        self.writer.append(stream, data, self.model.append(stream, data))

    @rule(written=appends)
    def append_many(self, written: list[Append]) -> None:
        for stream, data in written:
            self.append(stream, data)

    @rule(max_bytes=st.integers(1, 4000))
    def read_on(self, max_bytes: int) -> None:
        """The reader that stays may still hold a removed segment: true bytes or a true gap."""
        part = self.reader.read(self.cursor, max_bytes)
        if part is None:
            assert self.cursor == len(self.model.data)
        elif isinstance(part, Gap):
            assert part == Gap(self.oldest() - self.cursor, self.oldest())
            assert part.gap_bytes > 0
            self.cursor = part.offset
        else:
            self.model.check(part, self.cursor, max_bytes)
            self.cursor += len(part.data)

    @rule(data=st.data(), max_bytes=st.integers(1, 4000))
    def read_anywhere(self, data: st.DataObject, max_bytes: int) -> None:
        cursor = data.draw(st.integers(0, len(self.model.data)))
        with LogReader(self.directory.name) as reader:
            part = reader.read(cursor, max_bytes)
        if cursor < self.oldest():
            assert part == Gap(self.oldest() - cursor, self.oldest())
        elif cursor == len(self.model.data):
            assert part is None
        else:
            assert isinstance(part, Chunk)
            self.model.check(part, cursor, max_bytes)

    @rule(data=st.data())
    def jump(self, data: st.DataObject) -> None:
        self.cursor = data.draw(st.integers(0, len(self.model.data)))

    @rule()
    def open_again(self) -> None:
        self.reader.close()
        self.reader = LogReader(self.directory.name)

    @rule(beyond=st.integers(1, 2**70))
    def read_beyond(self, beyond: int) -> None:
        with pytest.raises(CursorError) as caught:
            self.reader.read(len(self.model.data) + beyond)
        assert caught.value.end == len(self.model.data)

    @precondition(lambda self: hasattr(self, "reader"))
    @invariant()
    def the_end_is_known_and_nothing_is_damaged(self) -> None:
        assert self.reader.end() == len(self.model.data) == self.writer.total_bytes
        assert self.reader.damage is None


def test_any_course_of_appends_retention_and_reads_is_true(open_writer: OpenWriter) -> None:
    LogMachine.open_writer = staticmethod(open_writer)
    checks = settings(
        deadline=None,
        max_examples=60,
        stateful_step_count=40,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(LogMachine, settings=checks)


def test_a_log_that_has_not_begun_is_empty(log_dir: Path) -> None:
    with LogReader(log_dir) as reader:
        assert reader.read(0) is None
        assert reader.end() == 0
        with pytest.raises(CursorError):
            reader.read(1)


def test_what_is_not_a_segment_is_ignored(log_dir: Path, read_all: ReadAll) -> None:
    for name in ("x.log", "0.log", "README", log_name(0) + ".tmp", index_name(7)):
        (log_dir / name).write_bytes(b"mine")
    assert read_all(log_dir) == []


def test_a_chunk_is_bounded_in_bytes(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"x" * (3 * MAX_CHUNK_BYTES + 5), 11)
    sizes = [len(part.data) for part in read_all(log_dir)]
    assert sizes == [MAX_CHUNK_BYTES] * 3 + [5]


def test_a_chunk_is_bounded_in_runs(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir) as writer:
        for number in range(2 * MAX_CHUNK_RUNS + 5):
            writer.append(1, b"x", number)
    assert [len(part.runs) for part in read_all(log_dir)] == [MAX_CHUNK_RUNS, MAX_CHUNK_RUNS, 5]


def test_reading_a_long_index_in_order_costs_no_search_and_at_random_a_short_one(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(log_dir) as writer:
        for number in range(20_000):
            writer.append(1, b"x", number)
        writer.append(1, b"x" * 1000, 20_000)
    fetched: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        fetched.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    with LogReader(log_dir) as reader:
        for cursor in range(100):
            reader.read(cursor, 1)
        assert len(fetched) == 200
        fetched.clear()
        for cursor in range(20_000, 20_100):
            reader.read(cursor, 1)
        # The first of them is a search; then the same record is read on.
        assert len(fetched) < 220
        fetched.clear()
        assert reader.read(13_577, 1) == Chunk(13_577, [(1, 1, 13_577)], b"x")
        assert len(fetched) < 20
        assert sum(fetched) < 8192


@pytest.mark.parametrize(("cursor", "max_bytes"), [(-1, 1), (0, 0), (0, -1)])
def test_a_cursor_or_a_size_that_cannot_be_is_refused(
    log_dir: Path, cursor: int, max_bytes: int
) -> None:
    with LogReader(log_dir) as reader, pytest.raises(ValueError, match="at least"):
        reader.read(cursor, max_bytes)


def test_a_closed_reader_reads_nothing(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"one", 11)
    reader = LogReader(log_dir)
    assert reader.read(0) is not None
    reader.close()
    reader.close()
    with pytest.raises(ValueError, match="closed"):
        reader.read(0)
    with pytest.raises(ValueError, match="closed"):
        reader.end()


def test_a_missing_directory_cannot_be_opened(log_dir: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogReader(log_dir / "absent")


# --- torn, garbled, missing


def _small_log(path: Path, open_writer: OpenWriter) -> list[int]:
    """Five appends in one segment; the offsets where each ends."""
    with open_writer(path) as writer:
        for size in (3, 1, 7, 2, 5):
            writer.append(1, bytes(range(65, 65 + size)), 11)
    return [3, 4, 11, 13, 18]


def test_an_index_torn_at_any_byte_shows_its_whole_records(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    ends = _small_log(log_dir, open_writer)
    data = (log_dir / log_name(0)).read_bytes()
    for size in range(5 * INDEX_RECORD.size, -1, -1):
        os.truncate(log_dir / index_name(0), size)
        visible = [0, *ends][size // INDEX_RECORD.size]
        assert _bytes(read_all(log_dir)) == data[:visible]
        with LogReader(log_dir) as reader:
            assert reader.end() == visible


def test_data_torn_at_any_byte_shows_the_records_that_have_theirs(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    ends = _small_log(log_dir, open_writer)
    data = (log_dir / log_name(0)).read_bytes()
    for size in range(len(data), -1, -1):
        os.truncate(log_dir / log_name(0), size)
        visible = max(end for end in [0, *ends] if end <= size)
        assert _bytes(read_all(log_dir)) == data[:visible]
        with LogReader(log_dir) as reader:
            assert reader.end() == visible
            for cursor in range(visible):
                assert reader.read(cursor) is not None
            assert reader.read(visible) is None
            assert (reader.damage is None) == (visible == len(data))


@pytest.mark.parametrize("zeros", [24, 240, 4096])
def test_zeros_after_a_power_cut_end_the_visible_part(
    log_dir: Path,
    open_writer: OpenWriter,
    read_all: ReadAll,
    caplog: pytest.LogCaptureFixture,
    zeros: int,
) -> None:
    _small_log(log_dir, open_writer)
    with (log_dir / index_name(0)).open("ab") as index:
        index.write(bytes(zeros))
    assert len(_bytes(read_all(log_dir))) == 18
    with LogReader(log_dir) as reader:
        assert reader.end() == 18
        assert reader.read(17) == Chunk(17, [(1, 1, 11)], b"E")
        assert reader.read(18) is None
        assert reader.damage is not None
        assert reader.damage.startswith(f"{index_name(0)}: record ")
        with pytest.raises(CursorError):
            reader.read(19)
    assert all(str(log_dir) in line for line in caplog.messages)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=300),
    st.integers(0, 7200),
    st.binary(min_size=1, max_size=60),
    st.data(),
)
def test_a_garbled_index_never_gives_wrong_bytes_or_an_error(
    open_writer: OpenWriter, sizes: list[int], at: int, garbage: bytes, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as path:
        content = bytes(number % 251 for number in range(sum(sizes)))
        with open_writer(path) as writer:
            for end, size in zip(itertools.accumulate(sizes), sizes, strict=True):
                writer.append(1, content[end - size : end], 11)
        with open(f"{path}/{index_name(0)}", "r+b") as index:
            index.seek(at)
            index.write(garbage)
        cursor = data.draw(st.integers(0, len(content)))
        with LogReader(path) as reader:
            assert 0 <= reader.end() <= len(content)
            for part in _parts(reader, 0):
                assert content.startswith(part.data, part.offset)
            for part in _parts(reader, cursor):
                assert content.startswith(part.data, part.offset)


def _parts(reader: LogReader, cursor: int) -> Iterator[Chunk]:
    """Chunks to the visible end; a cursor beyond it is an answer too."""
    try:
        while (part := reader.read(cursor)) is not None:
            assert isinstance(part, Chunk)
            yield part
            assert sum(length for _, length, _ in part.runs) == len(part.data)
            cursor += len(part.data)
    except CursorError as error:
        assert error.end < cursor


def test_what_a_torn_segment_lacks_is_a_gap_to_the_next_one(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=60) as writer:
        for piece in (b"one", b"two-", b"three"):
            writer.append(1, piece, 11)
        writer.append(2, b"next", 12)
    os.truncate(log_dir / index_name(0), 30)
    assert read_all(log_dir) == [
        Chunk(0, [(1, 3, 11)], b"one"),
        Gap(9, 12),
        Chunk(12, [(2, 4, 12)], b"next"),
    ]
    assert read_all(log_dir, 5)[0] == Gap(7, 12)


def test_a_segment_without_its_index_is_a_gap_or_the_end(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"one", b"two-", b"three"):
            writer.append(1, piece, 11)
    (log_dir / index_name(3)).unlink()
    assert read_all(log_dir)[1:] == [Gap(4, 7), Chunk(7, [(1, 5, 11)], b"three")]
    (log_dir / index_name(7)).unlink()
    assert read_all(log_dir)[1:] == [Gap(4, 7)]
    with LogReader(log_dir) as reader:
        assert reader.end() == 7


def test_an_index_whose_data_was_removed_is_no_segment(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        writer.append(1, b"two", 11)
    (log_dir / log_name(0)).unlink()
    assert read_all(log_dir) == [Gap(3, 3), Chunk(3, [(1, 3, 11)], b"two")]


def test_a_symbolic_link_is_not_followed(
    log_dir: Path, tmp_path: Path, open_writer: OpenWriter
) -> None:
    _small_log(log_dir, open_writer)
    (log_dir / log_name(0)).rename(tmp_path / "elsewhere")
    (log_dir / log_name(0)).symlink_to(tmp_path / "elsewhere")
    with LogReader(log_dir) as reader, pytest.raises(OSError, match="symbolic links"):
        reader.read(0)


# --- while the writer is at work


def test_a_removed_segment_that_is_being_read_is_read_to_its_end(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=30, keep_bytes=30) as writer:
        writer.append(1, b"0123456789", 1)
        with LogReader(log_dir) as reader:
            assert reader.read(0, 4) == Chunk(0, [(1, 4, 1)], b"0123")
            for number in range(2, 6):
                writer.append(1, b"0123456789", number)
            assert not (log_dir / log_name(0)).exists()
            assert reader.read(4) == Chunk(4, [(1, 6, 1)], b"456789")
            assert reader.read(10) == Gap(20, 30)
            assert reader.read(30) == Chunk(30, [(1, 10, 4)], b"0123456789")


def test_a_removed_log_ends_where_it_was_read_to(log_dir: Path, open_writer: OpenWriter) -> None:
    ends = _small_log(log_dir, open_writer)
    with LogReader(log_dir) as reader:
        assert reader.read(0) is not None
        for path in list(log_dir.iterdir()):
            path.unlink()
        log_dir.rmdir()
        assert reader.read(ends[-1]) is None
        assert reader.end() == ends[-1]


class StaleListing(LogReader):
    """A listing that races with the writer: it saw a new segment but not the one before it."""

    missed: tuple[int, ...] = ()

    def _starts(self) -> list[int]:
        starts = [start for start in super()._starts() if start not in self.missed]
        self.missed = ()
        return starts


# A segment is missed only while it is being begun, so that a reader may have come to its
# beginning and no further.
@pytest.mark.parametrize(
    ("cursor", "missed"),
    [
        (cursor, missed)
        for missed in [(0,), (3,), (0, 3), (6,), (3, 6), (0, 3, 6)]
        for cursor in range(missed[0] + 1)
    ],
)
def test_a_listing_that_missed_a_segment_makes_no_gap(
    log_dir: Path, open_writer: OpenWriter, cursor: int, missed: tuple[int, ...]
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"abc", b"def", b"ghi"):
            writer.append(1, piece, 11)
    with StaleListing(log_dir) as reader:
        if cursor:
            reader.read(cursor - 1, 1)
        reader.missed = missed
        expected = Chunk(cursor, [(1, 1, 11)], b"abcdefghi"[cursor : cursor + 1])
        at_the_end = missed[-1] == 6 and cursor == missed[0] > 0
        assert reader.read(cursor, 1) == (None if at_the_end else expected)
        assert reader.read(cursor, 1) == expected


_BUSY_WRITER = """
import os, random, sys
from runner.logs.writer import SegmentWriter

path, segment_bytes, keep_bytes, total, seed = sys.argv[1], *map(int, sys.argv[2:])
chance = random.Random(seed)
pattern = bytes(number % 251 for number in range(251 * 20))
dir_fd = os.open(path, os.O_RDONLY)
writer = SegmentWriter(dir_fd, segment_bytes=segment_bytes, keep_bytes=keep_bytes)
print("begun", flush=True)
while (offset := writer.total_bytes) < total:
    size = min(chance.choice((1, 7, 100, 4000)), total - offset)
    writer.append(1 + size % 2, pattern[offset % 251 :][:size], offset)
writer.close()
"""


class PatternReader(threading.Thread):
    """Reads to `total`, checking every byte and run; the pattern tells byte from offset."""

    def __init__(self, path: Path, total: int, max_bytes: int) -> None:
        super().__init__()
        self.path, self.total, self.max_bytes = path, total, max_bytes
        self.gap_bytes = 0
        self.failure: BaseException | None = None
        self.stopped = False

    def run(self) -> None:
        try:
            with LogReader(self.path) as reader:
                self._follow(reader)
                assert reader.damage is None
        except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
            self.failure = error

    def _follow(self, reader: LogReader) -> None:
        cursor = 0
        while cursor < self.total and not self.stopped:
            part = reader.read(cursor, self.max_bytes)
            if isinstance(part, Gap):
                assert part.offset == cursor + part.gap_bytes > cursor
                self.gap_bytes += part.gap_bytes
                cursor = part.offset
            elif part is not None:
                self._check(part, cursor)
                cursor += len(part.data)

    def _check(self, chunk: Chunk, cursor: int) -> None:
        assert chunk.offset == cursor
        assert chunk.data == _pattern(cursor, len(chunk.data))
        for number, (stream, length, time_ns) in enumerate(chunk.runs):
            assert stream in (1, 2)
            # A record's time is its offset: only a chunk's ends may cut one.
            assert time_ns == cursor or (number == 0 and time_ns < cursor)
            cursor += length
        assert cursor == chunk.offset + len(chunk.data)


def _pattern(offset: int, size: int) -> bytes:
    first = offset % 251
    return (bytes(range(251)) * (size // 251 + 2))[first : first + size]


@pytest.mark.parametrize(
    ("segment_bytes", "keep_bytes", "total", "gaps"),
    [(1, 2**40, 300_000, False), (5000, 2**40, 3_000_000, False), (5000, 20_000, 6_000_000, True)],
)
def test_readers_see_true_bytes_while_another_process_writes_and_removes(
    log_dir: Path,
    spawn: Callable[..., Any],
    segment_bytes: int,
    keep_bytes: int,
    total: int,
    gaps: bool,  # noqa: FBT001 - a column of the table
) -> None:
    args = [str(number) for number in (segment_bytes, keep_bytes, total, 1)]
    readers = [PatternReader(log_dir, total, max_bytes) for max_bytes in (3000, 2**20)]
    with spawn(_BUSY_WRITER, str(log_dir), *args) as process:
        assert process.stdout.readline() == b"begun\n"
        for reader in readers:
            reader.start()
        assert process.wait(timeout=60) == 0
        for reader in readers:
            reader.join(timeout=60)
            reader.stopped = True
            reader.join()
    assert [reader.failure for reader in readers] == [None, None]
    if not gaps:
        assert [reader.gap_bytes for reader in readers] == [0, 0]
