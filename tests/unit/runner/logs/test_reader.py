from __future__ import annotations

import errno
import itertools
import os
import random
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

from runner.logs.chunks import MAX_CHUNK_BYTES, MAX_CHUNK_RUNS
from runner.logs.format import INDEX_RECORD, index_name, log_name
from runner.logs.reader import Chunk, CursorError, Gap, LogReader

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
    """What the log must read as: every byte with its stream and the number of its append.

    A byte that was dropped has the mark (0, 0).
    """

    def __init__(self, written: list[Append]) -> None:
        self.data = b""
        self.marks: list[tuple[int, int]] = []
        self.appends = 0
        # What readers can come to: dropped bytes are seen once something follows them.
        self.end = 0
        for append in written:
            self.append(*append)

    def append(self, stream: int, data: bytes) -> int:
        number, self.appends = self.appends, self.appends + 1
        self.data += data
        self.marks += [(stream, number)] * len(data)
        self.end = len(self.data)
        return number

    def skip(self, count: int) -> None:
        self.data += bytes(count)
        self.marks += [(0, 0)] * count

    def is_dropped(self, offset: int) -> bool:
        return self.marks[offset] == (0, 0)

    def check(self, chunk: Chunk, cursor: int, max_bytes: int) -> None:
        """`chunk` is what stands at `cursor`, cut exactly as it was appended."""
        end = cursor + len(chunk.data)
        assert chunk.offset == cursor
        assert 0 < len(chunk.data) <= max_bytes
        assert chunk.data == self.data[cursor:end]
        cuts = itertools.groupby(self.marks[cursor:end])
        assert chunk.runs == [(mark[0], len(list(same)), mark[1]) for mark, same in cuts]
        assert (0, 0) not in self.marks[cursor:end]

    def check_gap(self, gap: Gap, cursor: int, oldest: int) -> None:
        """`gap` is what was removed from `cursor` on, or what was dropped there."""
        assert gap.offset == cursor + gap.gap_bytes > cursor
        if gap.why == "removed":
            assert gap.offset == oldest
        else:
            assert gap.why == "dropped"
            assert set(self.marks[cursor : gap.offset]) == {(0, 0)}
            assert not self.is_dropped(gap.offset)


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
    """A writer that removes, compresses and drops, readers that stay and new ones, a Model."""

    open_writer: OpenWriter

    @initialize(
        segment_bytes=st.integers(1, 500),
        keep_bytes=st.integers(1, 3000),
        keep_segments=st.sampled_from([2, 3, 5, 2**62]),
        compression=st.sampled_from(["none", "zstd"]),
    )
    def begin(
        self, segment_bytes: int, keep_bytes: int, keep_segments: int, compression: str
    ) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.context = self.open_writer(
            self.directory.name,
            segment_bytes,
            keep_bytes,
            keep_segments=keep_segments,
            compression=compression,
        )
        self.writer = self.context.__enter__()
        self.keep_segments = keep_segments
        self.readers = [LogReader(self.directory.name) for _ in range(3)]
        self.cursors = [0, 0, 0]
        self.model = Model([])

    def teardown(self) -> None:
        if hasattr(self, "readers"):
            for reader in self.readers:
                reader.close()
            self.context.__exit__(None, None, None)
            self.directory.cleanup()

    def starts(self) -> set[int]:
        names = os.listdir(self.directory.name)
        return {int(name[:20]) for name in names if name.endswith((".log", ".log.zst"))}

    @rule(stream=st.sampled_from([1, 2]), data=pieces)
    def append(self, stream: int, data: bytes) -> None:
        self.writer.append(stream, data, self.model.append(stream, data))

    @rule(written=appends, works=st.booleans())
    def append_many(self, written: list[Append], works: bool) -> None:  # noqa: FBT001
        for stream, data in written:
            self.append(stream, data)
            if works:
                self.writer.work()

    @rule(count=st.integers(0, 700))
    def drop(self, count: int) -> None:
        self.writer.skip(count)
        self.model.skip(count)

    @rule()
    def work(self) -> None:
        assert self.writer.work() == self.writer.has_work

    @rule()
    def work_all(self) -> None:
        while self.writer.work():
            pass
        assert not any(name.endswith(".tmp") for name in os.listdir(self.directory.name))

    @rule(segment_bytes=st.integers(1, 500), keep_bytes=st.integers(1, 3000))
    def retain(self, segment_bytes: int, keep_bytes: int) -> None:
        self.writer.retain(
            segment_bytes=segment_bytes, keep_bytes=keep_bytes, keep_segments=self.keep_segments
        )

    @rule(which=st.integers(0, 2), max_bytes=st.integers(1, 4000), is_growing=st.booleans())
    def read_on(self, which: int, max_bytes: int, is_growing: bool) -> None:  # noqa: FBT001
        """A reader that stays may still hold a removed segment: true bytes or a true gap."""
        cursor = self.cursors[which]
        part = self.readers[which].read(cursor, max_bytes, is_growing=is_growing)
        if part is None:
            assert cursor == self.model.end
        elif isinstance(part, Gap):
            self.model.check_gap(part, cursor, min(self.starts()))
            self.cursors[which] = part.offset
        else:
            self.model.check(part, cursor, max_bytes)
            self.cursors[which] += len(part.data)

    @rule(data=st.data(), max_bytes=st.integers(1, 4000))
    def read_anywhere(self, data: st.DataObject, max_bytes: int) -> None:
        cursor, oldest = data.draw(st.integers(0, self.model.end)), min(self.starts())
        with LogReader(self.directory.name) as reader:
            part = reader.read(cursor, max_bytes)
        if cursor < oldest:
            assert part == Gap(oldest - cursor, oldest, "removed")
        elif cursor == self.model.end:
            assert part is None
        elif self.model.is_dropped(cursor):
            assert isinstance(part, Gap)
            assert part.why == "dropped"
            self.model.check_gap(part, cursor, oldest)
        else:
            assert isinstance(part, Chunk)
            self.model.check(part, cursor, max_bytes)

    @rule(which=st.integers(0, 2))
    def rest(self, which: int) -> None:
        self.readers[which].rest()

    @rule(which=st.integers(0, 2), data=st.data())
    def jump(self, which: int, data: st.DataObject) -> None:
        self.cursors[which] = data.draw(st.integers(0, self.model.end))

    @rule(which=st.integers(0, 2))
    def open_again(self, which: int) -> None:
        self.readers[which].close()
        self.readers[which] = LogReader(self.directory.name)

    @rule(which=st.integers(0, 2), beyond=st.integers(1, 2**70))
    def read_beyond(self, which: int, beyond: int) -> None:
        with pytest.raises(CursorError) as caught:
            self.readers[which].read(self.model.end + beyond)
        assert caught.value.end == self.model.end

    @rule(which=st.integers(0, 2), data=st.data())
    def find_a_time(self, which: int, data: st.DataObject) -> None:
        """The times are the numbers of the appends, so they grow."""
        number = data.draw(st.integers(0, self.model.appends + 1))
        found = self.readers[which].find_time(number)
        first = min(self.starts())
        while self.model.is_dropped(found) if found < self.model.end else False:
            found += 1
        later = (o for o in range(first, self.model.end) if self.model.marks[o][1] >= number)
        expected = next((o for o in later if not self.model.is_dropped(o)), self.model.end)
        assert found == expected

    @precondition(lambda self: hasattr(self, "readers"))
    @invariant()
    def the_end_is_known_and_nothing_is_damaged(self) -> None:
        assert self.writer.total_bytes == len(self.model.data)
        assert len(self.starts()) <= self.keep_segments
        for reader in self.readers:
            assert reader.end() == self.model.end
            assert reader.damage is None


def test_any_course_of_appends_drops_removals_compression_and_reads_is_true(
    open_writer: OpenWriter,
) -> None:
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
        assert reader.damage.startswith(f"{index_name(0)}: a record ")
        with pytest.raises(CursorError):
            reader.read(19)


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
        Gap(9, 12, "damaged"),
        Chunk(12, [(2, 4, 12)], b"next"),
    ]
    assert read_all(log_dir, 5)[0] == Gap(7, 12, "damaged")


def test_a_segment_without_its_index_is_a_gap_or_the_end(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"one", b"two-", b"three"):
            writer.append(1, piece, 11)
    (log_dir / index_name(3)).unlink()
    assert read_all(log_dir)[1:] == [Gap(4, 7, "damaged"), Chunk(7, [(1, 5, 11)], b"three")]
    (log_dir / index_name(7)).unlink()
    assert read_all(log_dir)[1:] == [Gap(4, 7, "damaged")]
    with LogReader(log_dir) as reader:
        assert reader.end() == 7


def test_an_index_whose_data_was_removed_is_no_segment(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        writer.append(1, b"two", 11)
    (log_dir / log_name(0)).unlink()
    assert read_all(log_dir) == [Gap(3, 3, "removed"), Chunk(3, [(1, 3, 11)], b"two")]


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
            assert reader.read(10) == Gap(20, 30, "removed")
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
        assert reader.read(cursor, 1) == expected
        assert reader.read(cursor, 1) == expected


# --- the end of a log that grows


def test_the_end_of_a_log_that_grows_is_found_without_a_listing(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[object] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: listed.append(fd) or listdir(fd))
    with open_writer(log_dir, segment_bytes=1) as writer, LogReader(log_dir) as reader:
        writer.append(1, b"abc", 11)
        assert reader.read(0) is not None
        listed.clear()
        for cursor in range(3, 60, 3):
            for _ in range(3):
                assert reader.read(cursor, is_growing=True) is None
            writer.append(1, b"def", 11)
            found = reader.read(cursor, is_growing=True)
            assert isinstance(found, Chunk)
            assert found.offset == cursor
        assert listed == []
        # What was dropped is found as well, and what was removed meanwhile.
        assert reader.read(60, is_growing=True) is None
        writer.skip(5)
        assert reader.read(60, is_growing=True) is None
        writer.append(1, b"ghi", 11)
        assert reader.read(60, is_growing=True) == Gap(5, 65, "dropped")
        writer.retain(segment_bytes=1, keep_bytes=1, keep_segments=2)
        for _ in range(5):
            writer.append(1, b"jkl", 11)
        oldest = min(int(name[:20]) for name in listdir(log_dir))
        assert reader.read(65, is_growing=True) == Gap(oldest - 65, oldest, "removed")


def test_an_empty_segment_that_was_given_up_hides_nothing_from_a_log_that_grows(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_writer(log_dir, segment_bytes=1) as writer, LogReader(log_dir) as reader:
        writer.append(1, b"abc", 11)
        writer.append(1, b"def", 11)
        assert reader.read(3, is_growing=True) is not None
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(OSError, match="No space"):
                writer.append(1, b"lost", 11)
        assert reader.read(6, is_growing=True) is None
        writer.skip(4)
        writer.append(1, b"ghi", 11)
        assert reader.read(6, is_growing=True) == Gap(4, 10, "dropped")


def test_a_log_of_an_older_writer_which_gives_no_sign_is_followed_too(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    with open_writer(log_dir, segment_bytes=1, keep_segments=3) as writer:
        writer.append(1, b"abc", 11)
        with LogReader(log_dir) as reader, LogReader(log_dir) as late:
            assert reader.read(0) == late.read(0)
            assert reader.read(3, is_growing=True) is None
            writer.append(1, b"def", 11)
            assert reader.read(3, is_growing=True) == Chunk(3, [(1, 3, 11)], b"def")
            for _ in range(5):
                writer.append(1, b"ghi", 11)
            assert late.read(3, is_growing=True) == Gap(9, 12, "removed")


def test_what_follows_a_segment_without_the_sign_is_found_once_its_writer_has_ended(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"abc", 11)
        writer.append(1, b"def", 11)
        writer.append(1, b"ghi", 11)
    # A power cut took the second one's data and the sign of the first.
    for name in (log_name(3), index_name(3)):
        (log_dir / name).unlink()
    (log_dir / log_name(0)).chmod(0o600)
    with LogReader(log_dir) as reader:
        assert reader.read(0) is not None
        assert reader.read(3, is_growing=True) is None
        assert reader.read(3) is not None


def test_a_reader_that_rests_keeps_no_output_and_reads_on(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=100_000, compression="zstd") as writer:
        for number in range(2000):
            writer.append(1, b"%0100d" % number, number)
        while writer.work():
            pass
    with LogReader(log_dir) as reader:
        first, cursor = reader.read(0, 1000), 1000
        assert isinstance(first, Chunk)
        files = [reader._segment._index, reader._segment._log]
        assert all(len(file._frame) > 10_000 for file in files)
        reader.rest()
        assert [file._frame for file in files] == [b"", b""]
        while isinstance(part := reader.read(cursor, 1000), Chunk):
            assert (
                part.data == b"".join(b"%0100d" % n for n in range(2000))[cursor:][: len(part.data)]
            )
            cursor += len(part.data)
            reader.rest()
        assert cursor == 200_000
        assert reader.damage is None


# --- why there is a gap


def test_a_compressed_segment_is_read_though_torn_plain_files_came_back_beside_it(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    """Plain files are not synced, and their removal is not either: a power cut may bring both."""
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        for number in range(3):
            writer.append(1, b"%d" % number * 10_000, 11)
        while writer.work():
            pass
    assert (log_dir / f"{log_name(10_000)}.zst").exists()
    for size in (0, 24):
        for name in (log_name(10_000), index_name(10_000)):
            (log_dir / name).write_bytes(bytes(size))
        assert _bytes(read_all(log_dir)) == b"0" * 10_000 + b"1" * 10_000 + b"2" * 10_000


@pytest.mark.parametrize("suffix", ["", ".zst"])
@pytest.mark.parametrize("name", [log_name, index_name])
def test_what_is_no_file_holds_up_no_reader(
    log_dir: Path, open_writer: OpenWriter, name: Callable[[int], str], suffix: str
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
    for each in (log_name, index_name):
        (log_dir / each(0)).rename(log_dir / f"{each(0)}{suffix}")
    (log_dir / f"{name(0)}{suffix}").unlink()
    os.mkfifo(log_dir / f"{name(0)}{suffix}")
    with LogReader(log_dir) as reader, pytest.raises(OSError, match="not a regular file"):
        reader.read(0)
    with pytest.raises(OSError, match="Not a directory"):
        (log_dir / "link").symlink_to(log_dir)
        LogReader(log_dir / "link")


def test_a_segment_of_which_a_power_cut_left_nothing_was_not_dropped(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"one", b"two", b"three"):
            writer.append(1, piece, 11)
    (log_dir / log_name(3)).chmod(0o600)
    for name in (log_name(3), index_name(3)):
        os.truncate(log_dir / name, 0)
    assert read_all(log_dir)[1] == Gap(3, 6, "damaged")


def test_what_was_dropped_is_a_gap_that_says_so(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir) as writer:
        writer.skip(3)
        writer.append(1, b"one", 11)
        writer.skip(4)
        writer.append(2, b"two", 12)
        with LogReader(log_dir) as reader:
            assert reader.read(6) == Gap(4, 10, "dropped")
            # What is dropped at the end is not known before something comes after it.
            writer.skip(5)
            assert reader.read(13) is None
            assert reader.end() == 13
            with pytest.raises(CursorError):
                reader.read(14)
            writer.append(1, b"!", 13)
            assert reader.read(13) == Gap(5, 18, "dropped")
    assert read_all(log_dir) == [
        Gap(3, 3, "dropped"),
        Chunk(3, [(1, 3, 11)], b"one"),
        Gap(4, 10, "dropped"),
        Chunk(10, [(2, 3, 12)], b"two"),
        Gap(5, 18, "dropped"),
        Chunk(18, [(1, 1, 13)], b"!"),
    ]
    assert read_all(log_dir, 8)[0] == Gap(2, 10, "dropped")


def test_what_follows_a_torn_segment_was_not_dropped(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        writer.append(1, b"two", 12)
    for size in (0, 23):
        os.truncate(log_dir / index_name(0), size)
        assert read_all(log_dir)[0] == Gap(3, 3, "damaged")


def test_a_compressed_segment_goes_before_nothing_when_its_plain_files_are_there_too(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        writer.append(1, b"two", 12)
    for name in (log_name(0), index_name(0)):
        (log_dir / f"{name}.zst").write_bytes(b"garbage")
        (log_dir / f"{name}.zst.tmp").write_bytes(b"garbage")
    assert _bytes(read_all(log_dir)) == b"onetwo"


class NewestSealed(LogReader):
    """Listings during which the second segment was compressed and the third begun."""

    missed = 1

    def _starts(self) -> list[int]:
        self.missed, missed = self.missed - 1, self.missed
        return super()._starts()[:1] if missed > 0 else super()._starts()


def test_a_listing_that_missed_a_segment_refuses_no_cursor(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"abc", b"def", b"ghi"):
            writer.append(1, piece, 11)
    for cursor in range(3, 9):
        with NewestSealed(log_dir) as reader:
            assert reader.read(cursor, 1) is not None
    with NewestSealed(log_dir) as reader:
        assert reader.end() == 9


def test_a_directory_that_does_not_change_is_listed_once(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        for piece in (b"abc", b"def"):
            writer.append(1, piece, 11)
        listed: list[object] = []
        listdir = os.listdir
        monkeypatch.setattr(os, "listdir", lambda fd: listed.append(fd) or listdir(fd))
        with LogReader(log_dir) as reader:
            assert [reader.read(6) for _ in range(5)] == [None] * 5
            # It changed just now, and could change again with the same time stamp.
            assert len(listed) == 10
            os.utime(log_dir, (1, 1))
            listed.clear()
            assert [reader.read(6) for _ in range(5)] == [None] * 5
            assert len(listed) == 1
            writer.append(1, b"ghi", 11)
            assert reader.read(6) is not None
            assert reader.read(9) is None
            assert len(listed) == 3


# --- times


def test_a_time_is_found_over_segments(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, segment_bytes=60) as writer:
        for time_ns in (10, 10, 20, 30, 30, 30, 40):
            writer.append(1, b"12345", time_ns)
        with LogReader(log_dir) as reader:
            found = [reader.find_time(time_ns) for time_ns in (0, 10, 11, 20, 21, 30, 31, 40, 41)]
    assert found == [0, 0, 10, 10, 15, 15, 30, 30, 35]


def test_a_time_is_found_before_what_was_dropped_around_it(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"one", 10)
        writer.skip(4)
        writer.append(1, b"two", 20)
    with LogReader(log_dir) as reader:
        assert [reader.find_time(time_ns) for time_ns in (10, 11, 20, 21)] == [0, 3, 3, 10]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 200))
def test_any_clock_gives_a_border_of_a_record(
    open_writer: OpenWriter, times: list[int], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as path, open_writer(path, segment_bytes) as writer:
        for time_ns in times:
            writer.append(1, b"123", time_ns)
        with LogReader(path) as reader:
            for time_ns in range(32):
                assert reader.find_time(time_ns) in range(0, 3 * len(times) + 1, 3)
            assert reader.find_time(31) == 3 * len(times)


# --- while another process is at work

_BUSY_WRITER = """
import os, random, sys
from runner.logs.writer import SegmentWriter

path, compression = sys.argv[1:3]
segment_bytes, keep_bytes, keep_segments, total, seed = map(int, sys.argv[3:])
chance = random.Random(seed)
pattern = bytes(number % 251 for number in range(251 * 20))
dir_fd = os.open(path, os.O_RDONLY)
writer = SegmentWriter(
    dir_fd, segment_bytes=segment_bytes, keep_bytes=keep_bytes,
    keep_segments=keep_segments, compression=compression,
)
print("begun", flush=True)
while (offset := writer.total_bytes) < total:
    size = min(chance.choice((1, 7, 100, 4000)), total - offset)
    if chance.random() < 0.01 and offset + size < total:
        writer.skip(size)
        print(offset, size)
    else:
        writer.append(1 + size % 2, pattern[offset % 251 :][:size], offset)
        writer.work()
while chance.random() < 0.9 and writer.work():
    pass
writer.close()
"""


class PatternReader(threading.Thread):
    """Reads to `total`, checking every byte and run; the pattern tells byte from offset.

    `gaps` are those it was shown: where they begin and end, and why they are there.
    """

    def __init__(self, path: Path, total: int, max_bytes: int, seed: int) -> None:
        super().__init__()
        self.path, self.total, self.max_bytes = path, total, max_bytes
        self.chance = random.Random(seed)
        self.gaps: list[tuple[int, int, str]] = []
        self.failure: BaseException | None = None
        self.stopped = False

    def run(self) -> None:
        try:
            cursor = 0
            while cursor < self.total and not self.stopped:
                # Now and then a new reader: a client that comes back with its cursor.
                with LogReader(self.path) as reader:
                    cursor = self._follow(reader, cursor, self.chance.randrange(1, 3000))
                    assert reader.damage is None
        except BaseException as error:  # noqa: BLE001 - raised again by the test's thread
            self.failure = error

    def _follow(self, reader: LogReader, cursor: int, most: int) -> int:
        for _ in range(most):
            part = reader.read(cursor, self.max_bytes, is_growing=True)
            if isinstance(part, Gap):
                assert part.offset == cursor + part.gap_bytes > cursor
                self.gaps.append((cursor, part.offset, part.why))
                cursor = part.offset
            elif part is not None:
                self._check(part, cursor)
                cursor += len(part.data)
        return cursor

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


def _ranges(lines: list[bytes]) -> list[tuple[int, int, str]]:
    """What the writer says that it dropped, as the gaps that readers are to see."""
    found: list[tuple[int, int, str]] = []
    for line in lines:
        begin, size = map(int, line.split())
        end = begin + size
        if found and found[-1][1] == begin:
            begin = found.pop()[0]
        found.append((begin, end, "dropped"))
    return found


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize(
    ("segment_bytes", "keep_bytes", "keep_segments", "total"),
    [
        (1, 2**40, 2**40, 40_000),
        (5000, 2**40, 2**40, 400_000),
        (5000, 20_000, 2**40, 600_000),
        (5000, 2**40, 2, 400_000),
        (300_000, 1_000_000, 6, 6_000_000),
    ],
)
def test_readers_see_true_bytes_while_another_process_writes_removes_compresses_and_drops(
    log_dir: Path,
    spawn: Callable[..., Any],
    compression: str,
    segment_bytes: int,
    keep_bytes: int,
    keep_segments: int,
    total: int,
) -> None:
    numbers = (segment_bytes, keep_bytes, keep_segments, total, 1)
    readers = [PatternReader(log_dir, total, size, size) for size in (3000, 70_000, 2**20)]
    with spawn(_BUSY_WRITER, str(log_dir), compression, *map(str, numbers)) as process:
        assert process.stdout.readline() == b"begun\n"
        for reader in readers:
            reader.start()
        dropped = _ranges(process.stdout.readlines())
        assert process.wait(timeout=60) == 0
        for reader in readers:
            reader.join(timeout=60)
            reader.stopped = True
            reader.join()
    assert [reader.failure for reader in readers] == [None] * 3
    for reader in readers:
        if keep_bytes == keep_segments == 2**40:
            assert reader.gaps == dropped
        else:
            _check_gaps(reader.gaps, dropped)


def _check_gaps(gaps: list[tuple[int, int, str]], dropped: list[tuple[int, int, str]]) -> None:
    """Each byte that was dropped is in a gap, and a gap that says so has no other byte."""
    covered = 0
    for begin, end, why in gaps:
        inside = [part for part in dropped if part[0] < end and begin < part[1]]
        assert why == "removed" or (begin, end, why) in inside
        covered += sum(min(end, part[1]) - max(begin, part[0]) for part in inside)
    assert covered == sum(end - begin for begin, end, _ in dropped)
