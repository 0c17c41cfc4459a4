from __future__ import annotations

import errno
import os
import stat
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.logs import writer as writer_module
from runner.logs.format import INDEX_RECORD, MOST_SEGMENTS, index_name, log_name
from runner.logs.writer import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OpenWriter = Any


def _names(path: Path | str) -> list[str]:
    return sorted(os.listdir(path))


def _starts(path: Path | str) -> list[int]:
    return [int(name[:20]) for name in _names(path) if name.endswith(".log")]


def _disk_bytes(path: Path | str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(path))


def test_a_new_log_has_begun_with_an_empty_private_segment(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer:
        assert _names(log_dir) == [index_name(0), log_name(0)]
        assert writer.total_bytes == 0
        for path in log_dir.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert path.stat().st_size == 0


def test_its_files_are_closed_on_exec(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir) as writer:
        assert not os.get_inheritable(writer._log_fd)
        assert not os.get_inheritable(writer._index_fd)


def test_an_append_is_its_bytes_and_one_record(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"one\0", 11)
        writer.append(2, memoryview(bytearray(b"two")), 12)
        assert writer.total_bytes == 7
        assert (log_dir / log_name(0)).read_bytes() == b"one\0two"
        index = (log_dir / index_name(0)).read_bytes()
        assert list(INDEX_RECORD.iter_unpack(index)) == [(11, 0, 4, 1), (12, 4, 3, 2)]


def test_an_empty_append_leaves_no_record(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"", 11)
        assert _disk_bytes(log_dir) == 0


@pytest.mark.parametrize("stream", [-1, 0, 3])
def test_another_stream_is_refused(log_dir: Path, open_writer: OpenWriter, stream: int) -> None:
    with open_writer(log_dir) as writer, pytest.raises(ValueError, match="stream"):
        writer.append(stream, b"x", 11)
    assert _disk_bytes(log_dir) == 0


@pytest.mark.parametrize(("segment", "keep"), [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_sizes_below_one_are_refused(
    log_dir: Path, open_writer: OpenWriter, segment: int, keep: int
) -> None:
    with pytest.raises(ValueError, match="at least 1"), open_writer(log_dir, segment, keep):
        pass
    assert _names(log_dir) == []


@pytest.mark.parametrize("name", [log_name(0), index_name(0), log_name(4096)])
def test_a_log_that_was_begun_is_not_begun_again(
    log_dir: Path, open_writer: OpenWriter, name: str
) -> None:
    (log_dir / name).write_bytes(b"mine")
    with pytest.raises(FileExistsError), open_writer(log_dir):
        pass
    assert _names(log_dir) == [name]
    assert (log_dir / name).read_bytes() == b"mine"


# Listing the directory takes the one descriptor and gives it back; then the index takes it.
@pytest.mark.parametrize("count", [0, 1])
def test_a_log_that_cannot_be_begun_leaves_nothing(
    log_dir: Path, descriptors_left: Callable[[int], Any], count: int
) -> None:
    dir_fd = os.open(log_dir, os.O_RDONLY)
    with descriptors_left(count), pytest.raises(OSError, match="open files"):
        SegmentWriter(dir_fd, segment_bytes=1, keep_bytes=1)
    os.close(dir_fd)
    assert _names(log_dir) == []


def test_a_segment_is_one_append_too_long_at_most_and_no_append_is_split(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=100) as writer:
        for size in (75, 500, 76, 1):
            writer.append(1, b"x" * size, 11)
    # 75 + 24 is below 100: the next one still goes there, whole; 76 + 24 is not.
    assert _starts(log_dir) == [0, 575, 651]
    sizes = [(log_dir / log_name(start)).stat().st_size for start in _starts(log_dir)]
    assert sizes == [575, 76, 1]


@settings(deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 900),
    st.lists(st.integers(1, 200), min_size=1, max_size=60),
)
def test_retention_keeps_what_was_asked_and_at_most_a_segment_more(
    open_writer: OpenWriter, segment_bytes: int, keep_bytes: int, sizes: list[int]
) -> None:
    with (
        tempfile.TemporaryDirectory() as path,
        open_writer(path, segment_bytes, keep_bytes) as writer,
    ):
        written = 0
        for size in sizes:
            writer.append(1, b"x" * size, 11)
            written += size + INDEX_RECORD.size
            kept = _disk_bytes(path)
            assert kept >= min(keep_bytes, written)
            # One segment, and one append more when the segment had just been finished.
            assert kept < keep_bytes + segment_bytes + 2 * (200 + INDEX_RECORD.size)
        starts = _starts(path)
        assert [int(name[:20]) for name in _names(path) if name.endswith(".idx")] == starts
        ends = [start + os.stat(f"{path}/{log_name(start)}").st_size for start in starts]
        assert ends == [*starts[1:], writer.total_bytes] == [*starts[1:], sum(sizes)]


@settings(deadline=None)
@given(st.integers(2, 6), st.lists(st.integers(1, 200), min_size=1, max_size=60))
def test_there_are_never_more_segments_than_were_asked_for(
    open_writer: OpenWriter, keep_segments: int, sizes: list[int]
) -> None:
    with (
        tempfile.TemporaryDirectory() as path,
        open_writer(path, 100, keep_segments=keep_segments) as writer,
    ):
        most = 0
        for size in sizes:
            writer.append(1, b"x" * size, 11)
            most = max(most, len(_starts(path)))
        assert most <= keep_segments
        begun = 1
        held = 0
        for size in sizes:
            if held >= 100:
                begun, held = begun + 1, 0
            held += size + INDEX_RECORD.size
        assert len(_starts(path)) == min(begun, keep_segments)


def test_fewer_segments_may_be_kept_from_the_next_append_on(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1, keep_segments=9) as writer:
        for _ in range(12):
            writer.append(1, b"x", 11)
        assert _starts(log_dir) == list(range(3, 12))
        writer.retain(segment_bytes=1000, keep_bytes=2**40, keep_segments=3)
        writer.append(1, b"x", 11)
        assert _starts(log_dir) == [9, 10, 11]


@pytest.mark.parametrize("keep_segments", [1, 0, -1])
def test_fewer_than_two_segments_are_refused(
    log_dir: Path, open_writer: OpenWriter, keep_segments: int
) -> None:
    with (
        pytest.raises(ValueError, match="at least 2"),
        open_writer(log_dir, keep_segments=keep_segments),
    ):
        pass
    assert _names(log_dir) == []


def test_what_is_dropped_takes_up_offsets_and_nothing_else(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer:
        writer.append(1, b"one", 11)
        before = _disk_bytes(log_dir)
        writer.skip(5)
        writer.skip(0)
        writer.skip(2)
        assert (writer.total_bytes, writer.dropped_bytes) == (10, 7)
        assert (_starts(log_dir), _disk_bytes(log_dir)) == ([0], before)
        writer.append(2, b"two", 12)
        assert (writer.total_bytes, writer.dropped_bytes) == (13, 7)
        assert _starts(log_dir) == [0, 10]
        index = (log_dir / index_name(10)).read_bytes()
        assert list(INDEX_RECORD.iter_unpack(index)) == [(12, 10, 3, 2)]
        writer.append(2, b"more", 13)
        assert _starts(log_dir) == [0, 10]
        with pytest.raises(ValueError, match="at least 0"):
            writer.skip(-1)


def test_what_is_dropped_first_and_last_is_counted_too(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir) as writer:
        writer.skip(4)
        writer.append(1, b"one", 11)
        writer.skip(6)
    assert (writer.total_bytes, writer.dropped_bytes) == (13, 10)
    assert _starts(log_dir) == [0, 4]


def test_dropping_for_long_on_a_full_disk_pushes_nothing_out(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a segment can often be begun, and its data finds no room."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_writer(log_dir, segment_bytes=1, keep_segments=3) as writer:
        for piece in (b"one", b"two"):
            writer.append(1, piece, 11)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            for _ in range(50):
                with pytest.raises(OSError, match="No space"):
                    writer.append(1, b"lost", 12)
                writer.skip(4)
                assert 0 in _starts(log_dir)
        assert writer.total_bytes == 206
        writer.append(1, b"back", 13)
        assert _starts(log_dir) == [0, 3, 206]
        assert writer.dropped_bytes == 200


def test_the_index_counts_as_disk_space(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, segment_bytes=2500, keep_bytes=10_000) as writer:
        for _ in range(5000):
            writer.append(1, b"x", 11)
        assert 10_000 <= _disk_bytes(log_dir) <= 12_525


def test_a_segment_whose_data_was_removed_by_somebody_is_removed_all_the_same(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1, keep_bytes=60) as writer:
        writer.append(1, b"one", 11)
        writer.append(1, b"two", 11)
        (log_dir / log_name(0)).unlink()
        for _ in range(9):
            writer.append(1, b"more", 11)
        assert index_name(0) not in _names(log_dir)


def test_a_segment_that_cannot_be_removed_fails_the_append_which_can_be_tried_again(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    with open_writer(log_dir, segment_bytes=1, keep_bytes=60) as writer:
        for piece in (b"one", b"two", b"three"):
            writer.append(1, piece, 11)
        (log_dir / index_name(0)).unlink()
        (log_dir / index_name(0)).mkdir()
        for _ in range(3):
            with pytest.raises(OSError, match=index_name(0)):
                writer.append(1, b"four", 11)
            # The data went first: readers look for it alone, and never find it half removed.
            assert _starts(log_dir) == [3, 6]
            assert writer.total_bytes == 11
        (log_dir / index_name(0)).rmdir()
        writer.append(1, b"four", 11)
        assert writer.total_bytes == 15


@pytest.mark.parametrize("count", [0, 1])
def test_a_segment_that_cannot_be_begun_fails_the_append_which_can_be_tried_again(
    log_dir: Path,
    open_writer: OpenWriter,
    descriptors_left: Callable[[int], Any],
    count: int,
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        before = _names(log_dir)
        for _ in range(3):
            with descriptors_left(count), pytest.raises(OSError, match="open files"):
                writer.append(1, b"two", 12)
            assert _names(log_dir) == before
            assert writer.total_bytes == 3
        writer.append(1, b"two", 12)
    assert _starts(log_dir) == [0, 3]
    assert (log_dir / log_name(3)).read_bytes() == b"two"


def test_closing_twice_is_harmless_and_keeps_everything(log_dir: Path) -> None:
    dir_fd = os.open(log_dir, os.O_RDONLY)
    writer = SegmentWriter(dir_fd, segment_bytes=10, keep_bytes=10_000)
    for _ in range(20):
        writer.append(1, b"0123456789", 11)
    writer.close()
    writer.close()
    os.close(dir_fd)
    assert sum(len((log_dir / log_name(start)).read_bytes()) for start in _starts(log_dir)) == 200


def test_closing_says_when_something_could_not_be_put_on_disk_and_still_closes(
    log_dir: Path,
) -> None:
    dir_fd = os.open(log_dir, os.O_RDONLY)
    writer = SegmentWriter(dir_fd, segment_bytes=1, keep_bytes=10_000)
    writer.append(1, b"one", 11)
    writer.append(1, b"two", 11)
    (log_dir / log_name(0)).unlink()
    with pytest.raises(FileNotFoundError):
        writer.close()
    writer.close()
    os.close(dir_fd)


def test_what_can_be_put_on_disk_is_when_something_else_cannot(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dir_fd = os.open(log_dir, os.O_RDONLY)
    writer = SegmentWriter(dir_fd, segment_bytes=1, keep_bytes=10_000)
    for piece in (b"one", b"two", b"three"):
        writer.append(1, piece, 11)
    (log_dir / log_name(0)).unlink()
    synced: list[str] = []
    for call in (os.fdatasync, os.fsync):
        monkeypatch.setattr(
            os, call.__name__, lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        )
    with pytest.raises(FileNotFoundError):
        writer.close()
    os.close(dir_fd)
    names = [log_name(6), index_name(6), "", index_name(0), log_name(3), index_name(3)]
    assert synced == [str(log_dir / name) for name in names]


@pytest.mark.parametrize("count", [0, 4])
def test_what_is_empty_needs_no_sync(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    dir_fd = os.open(log_dir, os.O_RDONLY)
    writer = SegmentWriter(dir_fd, segment_bytes=1, keep_bytes=10_000)
    writer.skip(count)
    if count:
        # The first segment stays empty for good; only the second holds anything.
        writer.append(1, b"x", 11)
    synced: list[str] = []
    for call in (os.fdatasync, os.fsync):
        monkeypatch.setattr(
            os, call.__name__, lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        )
    writer.close()
    os.close(dir_fd)
    held = [log_name(4), index_name(4), ""] if count else []
    assert synced == [str(log_dir / name) for name in held]


class Early:
    """What was started on its way to the disk, and how long each start took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0) -> None:
        self.started: list[str] = []
        self._seconds = seconds
        self._now = 0.0
        monkeypatch.setattr(writer_module, "_EARLY_BYTES", 10)
        monkeypatch.setattr(writer_module, "start_writing", self._start)
        monkeypatch.setattr(writer_module.time, "monotonic", lambda: self._now)

    def _start(self, *fds: int) -> None:
        self._now += self._seconds
        self.started += [os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in fds]


def test_a_large_segment_is_on_its_way_to_the_disk_from_its_end_on(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = Early(monkeypatch)
    with open_writer(log_dir, segment_bytes=1) as writer:
        for size in (10, 9, 11, 1):
            writer.append(1, b"x" * size, 11)
        assert early.started == [log_name(0), index_name(0), log_name(19), index_name(19)]


def test_nothing_is_on_its_way_early_once_the_disk_made_the_job_wait(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = Early(monkeypatch, seconds=0.06)
    with open_writer(log_dir, segment_bytes=1) as writer:
        for _ in range(5):
            writer.append(1, b"x" * 10, 11)
        assert early.started == [log_name(0), index_name(0)]


def test_nothing_is_on_its_way_early_once_segments_are_removed(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is removed soon would be written for nothing."""
    early = Early(monkeypatch)
    with open_writer(log_dir, segment_bytes=1, keep_segments=2) as writer:
        for _ in range(9):
            writer.append(1, b"x" * 10, 11)
        assert early.started == [log_name(0), index_name(0)]


def test_nothing_that_will_be_compressed_is_on_its_way_early(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = Early(monkeypatch)
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        for _ in range(3):
            writer.append(1, b"x" * 10, 11)
        assert early.started == []


def test_a_log_of_many_segments_is_put_on_disk_in_one_go(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setitem(SegmentWriter.__init__.__globals__, "sync_file_system", calls.append)
    monkeypatch.setattr(os, "fdatasync", calls.append)
    with open_writer(log_dir, segment_bytes=1) as writer:
        for _ in range(100):
            writer.append(1, b"x", 11)
        assert calls == []
    assert calls == [writer._dir_fd]


def test_segments_become_larger_rather_than_too_many_where_all_is_to_be_kept(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SegmentWriter.__init__.__globals__, "MOST_SEGMENTS", 64)
    monkeypatch.setitem(SegmentWriter.__init__.__globals__, "_SEGMENTS_OF_A_SIZE", 8)
    with open_writer(log_dir, segment_bytes=1) as writer:
        for _ in range(4000):
            writer.append(1, b"x", 11)
        assert _starts(log_dir)[:3] == [0, 1, 2]
        assert len(_starts(log_dir)) == 57
        # Only gaps, which need a new one each, push out the oldest.
        for _ in range(100):
            writer.skip(1)
            writer.append(1, b"x", 11)
            assert len(_starts(log_dir)) <= 64
        assert 0 not in _starts(log_dir)
        assert len(_starts(log_dir)) == 64


def test_the_bound_holds_for_the_smallest_segments_and_the_smallest_reads() -> None:
    """25 times as many as by their output: an index record is 24 bytes."""
    finished, held, segment = 0, 0, 4096
    while held < 25 * 2048 * segment:
        held += segment << finished // writer_module._SEGMENTS_OF_A_SIZE
        finished += 1
    assert finished < MOST_SEGMENTS * 7 / 8


def test_a_segment_has_the_sign_that_another_may_follow_before_that_is_there(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        mode = (log_dir / log_name(0)).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
        modes = []
        create = writer._create

        def seen(start: int) -> tuple[int, int]:
            modes.append(stat.S_IMODE((log_dir / log_name(0)).stat().st_mode))
            return create(start)

        monkeypatch.setattr(writer, "_create", seen)
        writer.append(1, b"two", 11)
        assert modes == [0o400]


def test_what_a_failed_beginning_left_is_taken_up_by_the_next_try(
    log_dir: Path,
    open_writer: OpenWriter,
    monkeypatch: pytest.MonkeyPatch,
    descriptors_left: Callable[[int], Any],
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_writer(log_dir, segment_bytes=1) as writer:
        writer.append(1, b"one", 11)
        with monkeypatch.context() as patch, descriptors_left(1):
            patch.setattr(os, "unlink", failing)
            with pytest.raises(OSError, match="open files"):
                writer.append(1, b"two", 11)
        assert _names(log_dir) == [index_name(0), log_name(0), index_name(3)]
        writer.append(1, b"two", 11)
        assert _starts(log_dir) == [0, 3]
        # But nothing that holds anything.
        (log_dir / index_name(6)).write_bytes(b"x")
        with pytest.raises(FileExistsError):
            writer.append(1, b"three", 11)
        (log_dir / index_name(6)).unlink()
        writer.append(1, b"three", 11)


# With RLIMIT_FSIZE the kernel writes up to the limit, then says EFBIG: a full disk without a
# disk. After each failure the log must read as before; with room, the same call must succeed.
_FULL_DISK = """
import os, random, resource, signal, sys, tempfile
from runner.logs.reader import LogReader
from runner.logs.writer import SegmentWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

def room(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

def read_all(path):
    data, runs = b"", []
    with LogReader(path) as reader:
        while chunk := reader.read(len(data)):
            data += chunk.data
            runs += chunk.runs
        assert reader.damage is None, reader.damage
    return data, runs

def one_log(chance, path, segment_bytes):
    dir_fd = os.open(path, os.O_RDONLY)
    writer = SegmentWriter(dir_fd, segment_bytes=segment_bytes, keep_bytes=2**40)
    data, runs, failures, limit = b"", [], 0, 1
    for number in range(25):
        piece = chance.randbytes(chance.choice((1, 1, 2, 30, 300)))
        run = (chance.choice((1, 2)), len(piece), number)
        while True:
            room(limit)
            try:
                writer.append(run[0], piece, run[2])
                break
            except OSError:
                failures += 1
                assert writer.total_bytes == len(data)
                assert read_all(path) == (data, runs)
                assert sum(e.stat().st_size for e in os.scandir(path)) == len(data) + 24 * len(runs)
                limit += chance.randrange(1, 60)
        data += piece
        runs.append(run)
    room(hard)
    writer.close()
    os.close(dir_fd)
    assert read_all(path) == (data, runs)
    return failures

failures = 0
for seed in range(int(sys.argv[1])):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as path:
        failures += one_log(chance, path, chance.choice((1, 200, 10**6)))
print(failures)
"""


def test_on_a_full_disk_no_byte_is_lost_or_repeated(spawn: Callable[..., Any]) -> None:
    with spawn(_FULL_DISK, "40") as process:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert int(output) > 400


def test_nothing_heavy_is_imported(spawn: Callable[..., Any]) -> None:
    script = (
        "import sys, runner.logs.writer\n"
        "print(*{'asyncio', 'logging', 'dataclasses', 'msgpack', 'msgspec', 'inspect',"
        " 'backports.zstd', 'compression.zstd'}"
        " & sys.modules.keys())"
    )
    with spawn(script) as process:
        output, _ = process.communicate(timeout=60)
    assert output == b"\n"
