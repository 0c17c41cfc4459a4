from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from runner.logs import sealing
from runner.logs.format import FRAME_BYTES, index_name, log_name
from runner.logs.reader import Chunk, Gap, LogReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runner.logs.writer import SegmentWriter

OpenWriter = Any
ReadAll = Any

TEXT = b"a line as there are many of it in such a log\n" * 200


def _names(path: Path | str) -> list[str]:
    return sorted(os.listdir(path))


def _sealed(start: int) -> list[str]:
    return [f"{index_name(start)}.zst", f"{log_name(start)}.zst"]


def _work_all(writer: SegmentWriter) -> int:
    calls = 1
    while writer.work():
        calls += 1
    return calls


def _text(parts: list[Chunk | Gap]) -> bytes:
    assert all(isinstance(part, Chunk) for part in parts)
    return b"".join(part.data for part in parts if isinstance(part, Chunk))


def test_a_finished_segment_is_replaced_by_two_plain_zstd_files(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, TEXT, 11)
        assert not writer.has_work
        assert not writer.work()
        writer.append(2, b"next", 12)
        assert writer.has_work
        index = (log_dir / index_name(0)).read_bytes()
        assert not writer.work()
        assert _names(log_dir) == sorted([*_sealed(0), index_name(len(TEXT)), log_name(len(TEXT))])
        assert zstd.decompress((log_dir / _sealed(0)[1]).read_bytes()) == TEXT
        assert zstd.decompress((log_dir / _sealed(0)[0]).read_bytes()) == index
        assert _text(read_all(log_dir)) == TEXT + b"next"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd command")
def test_the_zstd_command_reads_it(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, TEXT * 100, 11)
        writer.append(1, b"next", 11)
        _work_all(writer)
    done = subprocess.run(
        ["zstd", "-dc", log_dir / _sealed(0)[1]], capture_output=True, check=True, timeout=30
    )
    assert done.stdout == TEXT * 100


def test_a_call_does_a_bounded_piece_and_a_call_an_append_keeps_pace(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    step = sealing._File.step
    monkeypatch.setattr(sealing._File, "step", lambda file: done.append(step(file)) or done[-1])
    chance = random.Random(1)
    longest = 0
    with open_writer(log_dir, segment_bytes=2**20, compression="zstd") as writer:
        for number in range(200):
            writer.append(1, bytes(chance.randrange(1, FRAME_BYTES + 1)), number)
            done.clear()
            writer.work()
            longest = max(longest, sum(done))
            plain = [name for name in _names(log_dir) if name.endswith(".log")]
            # The one being written, the one being compressed, and one that waits for it.
            assert len(plain) <= 3
    assert FRAME_BYTES <= longest < 2 * FRAME_BYTES


def test_bytes_that_do_not_shrink_stay_plain(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, random.Random(1).randbytes(5000), 11)
        writer.append(1, b"next", 11)
        _work_all(writer)
        assert _names(log_dir)[:2] == [index_name(0), log_name(0)]
        assert len(_names(log_dir)) == 4


def test_an_empty_segment_is_not_compressed(log_dir: Path, open_writer: OpenWriter) -> None:
    with open_writer(log_dir, compression="zstd") as writer:
        writer.skip(7)
        writer.append(1, TEXT, 11)
        assert not writer.has_work


def test_an_immense_segment_is_not_compressed(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MOST_FRAMES", 3)
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, bytes(3 * FRAME_BYTES + 1), 11)
        writer.append(1, bytes(3 * FRAME_BYTES), 11)
        writer.append(1, b"next", 11)
        _work_all(writer)
        assert [name for name in _names(log_dir) if name.endswith(".log.zst")] == [
            _sealed(3 * FRAME_BYTES + 1)[1]
        ]


def test_what_retention_keeps_is_counted_as_it_is_on_disk(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    chance = random.Random(4)
    with open_writer(log_dir, 20_000, 100_000, compression="zstd") as writer:
        for number in range(600):
            writer.append(1, chance.randbytes(1000) * 9, number)
            writer.work()
        held = sum(entry.stat().st_size for entry in os.scandir(log_dir))
        assert 100_000 - 2 * 30_000 < held < 100_000 + 30_000 + 9000
        # Plain, no more than five segments would be left.
        assert len([name for name in _names(log_dir) if name.endswith(".log.zst")]) > 15
        oldest = min(int(name[:20]) for name in _names(log_dir))
        assert oldest > 0
        assert {int(name[:20]) for name in _names(log_dir) if ".idx" in name} == {
            int(name[:20]) for name in _names(log_dir) if ".log" in name
        }


@pytest.mark.parametrize("calls", [0, 1, 2, 5])
def test_retention_may_remove_what_waits_or_is_being_compressed(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll, calls: int
) -> None:
    with open_writer(log_dir, segment_bytes=1, keep_segments=2, compression="zstd") as writer:
        for number in range(10):
            writer.append(1, bytes([65 + number]) * (FRAME_BYTES * 3), number)
            for _ in range(calls):
                writer.work()
        assert len({int(name[:20]) for name in _names(log_dir)}) == 2
        parts = read_all(log_dir)
        assert parts[0] == Gap(8 * 3 * FRAME_BYTES, 8 * 3 * FRAME_BYTES, "removed")
        assert _text(parts[1:]) == b"I" * (FRAME_BYTES * 3) + b"J" * (FRAME_BYTES * 3)
        _work_all(writer)
        assert not any(name.endswith(".tmp") for name in _names(log_dir))


def test_closing_compresses_nothing_and_leaves_no_temporary_file(
    log_dir: Path, open_writer: OpenWriter, read_all: ReadAll
) -> None:
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, b"x" * (FRAME_BYTES * 3), 11)
        writer.append(1, b"y", 11)
        assert writer.work()
        assert any(name.endswith(".tmp") for name in _names(log_dir))
    end = FRAME_BYTES * 3
    names = [index_name(0), log_name(0), index_name(end), log_name(end)]
    assert _names(log_dir) == sorted(names)
    assert _text(read_all(log_dir)) == b"x" * end + b"y"


def _fails(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "fdatasync", "rename", "pread", "open"])
def test_what_fails_leaves_the_segment_plain_and_the_next_one_is_tried(
    log_dir: Path,
    open_writer: OpenWriter,
    read_all: ReadAll,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, TEXT, 11)
        writer.append(1, TEXT, 12)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _fails)
            assert not writer.work()
        assert _names(log_dir)[:2] == [index_name(0), log_name(0)]
        assert len(_names(log_dir)) == 4
        writer.append(1, TEXT, 13)
        assert not writer.work()
        assert _names(log_dir)[2:4] == _sealed(len(TEXT))
        assert _text(read_all(log_dir)) == TEXT * 3


def test_where_zstd_is_missing_everything_stays_plain(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise ImportError("no module of that name")

    monkeypatch.setattr(sealing, "_compressor", missing)
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        for number in range(5):
            writer.append(1, TEXT, number)
            assert not writer.work()
            assert not writer.has_work
        assert len(_names(log_dir)) == 10


class _PowerCutError(BaseException):
    """Ends the writer wherever it is; nothing of ours may catch it."""


# Each call after which the disk may be left as it is then.
_CALLS = ("open", "write", "fdatasync", "rename", "fsync", "unlink")


@pytest.mark.parametrize("moment", range(24))
def test_a_power_cut_at_any_moment_leaves_a_segment_that_can_be_read(
    log_dir: Path,
    open_writer: OpenWriter,
    read_all: ReadAll,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    moment: int,
) -> None:
    """The directory as it is after each system call is copied, and read later."""
    left = moment

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted_call(*args: Any, **options: Any) -> Any:
            nonlocal left
            done = call(*args, **options)
            left -= 1
            if left == -1:
                shutil.copytree(log_dir, tmp_path / "copy")
            return done

        return counted_call

    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, TEXT * 40, 11)
        writer.append(1, TEXT, 12)
        fake = type("Os", (), {**{name: getattr(os, name) for name in dir(os)}})
        for call in _CALLS:
            setattr(fake, call, staticmethod(counted(getattr(os, call))))
        monkeypatch.setattr(sealing, "os", fake)
        _work_all(writer)
        monkeypatch.undo()
    copy = tmp_path / "copy" if (tmp_path / "copy").exists() else log_dir
    assert _text(read_all(copy)) == TEXT * 41
    with LogReader(copy) as reader:
        assert reader.end() == len(TEXT) * 41
        assert reader.read(len(TEXT) * 41) is None
        assert reader.damage is None


def test_the_new_names_are_on_disk_before_the_plain_files_go(
    log_dir: Path, open_writer: OpenWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fdatasync", "rename", "fsync", "unlink"):
        call = getattr(os, name)

        def told(*args: Any, _call: Any = call, _name: str = name, **options: Any) -> Any:
            shown = args[1] if _name == "rename" else args[0] if _name == "unlink" else ""
            calls.append(f"{_name} {shown[20:]}".strip())
            return _call(*args, **options)

        monkeypatch.setattr(os, name, told)
    with open_writer(log_dir, segment_bytes=1, compression="zstd") as writer:
        writer.append(1, TEXT, 11)
        writer.append(1, b"next", 12)
        calls.clear()
        _work_all(writer)
        assert calls == [
            "fdatasync", "fdatasync", "rename .idx.zst", "rename .log.zst",
            "fsync", "unlink .log", "unlink .idx",
        ]  # fmt: skip


def test_zstd_is_not_loaded_before_there_is_something_to_compress(
    spawn: Callable[..., Any],
) -> None:
    script = (
        "import os, sys, tempfile\n"
        "from runner.logs.writer import SegmentWriter\n"
        "loaded = lambda: any('zstd' in name for name in sys.modules)\n"
        "with tempfile.TemporaryDirectory() as path:\n"
        "    fd = os.open(path, os.O_RDONLY)\n"
        "    log = SegmentWriter(fd, segment_bytes=9, keep_bytes=2**30, compression='zstd')\n"
        "    log.append(1, b'x' * 500, 1); log.work(); before = loaded()\n"
        "    log.append(1, b'x', 1); log.work(); print(before, loaded()); log.close()\n"
    )
    with spawn(script) as process:
        output, _ = process.communicate(timeout=60)
    assert output == b"False True\n"


@pytest.mark.parametrize("compression", ["gzip", "", "ZSTD"])
def test_another_compression_is_refused(
    log_dir: Path, open_writer: OpenWriter, compression: str
) -> None:
    with (
        pytest.raises(ValueError, match="none and zstd"),
        open_writer(log_dir, compression=compression),
    ):
        pass
    assert _names(log_dir) == []


def test_a_reader_that_holds_a_plain_segment_reads_on_in_it(open_writer: OpenWriter) -> None:
    with (
        tempfile.TemporaryDirectory() as path,
        open_writer(path, segment_bytes=1, compression="zstd") as writer,
    ):
        writer.append(1, TEXT, 11)
        with LogReader(path) as reader:
            assert reader.read(0, 5) == Chunk(0, [(1, 5, 11)], TEXT[:5])
            writer.append(1, b"next", 12)
            _work_all(writer)
            assert not os.path.exists(f"{path}/{log_name(0)}")
            assert reader.read(5) == Chunk(5, [(1, len(TEXT) - 5, 11)], TEXT[5:])
            assert reader.read(len(TEXT)) == Chunk(len(TEXT), [(1, 4, 12)], b"next")
            # And back, where only the compressed one is.
            assert reader.read(2, 3) == Chunk(2, [(1, 3, 11)], TEXT[2:5])
