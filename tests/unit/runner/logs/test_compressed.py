from __future__ import annotations

import contextlib
import os
import random
import struct
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.logs.compressed import CompressedFile, PlainFile
from runner.logs.format import FRAME_BYTES, TABLE_FOOTER, index_name, log_name, seek_table
from runner.logs.reader import Chunk, CursorError, Gap, LogReader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OpenWriter = Any

PLAIN = random.Random(5).randbytes(1000) * 700


def _packed(plain: bytes, size: int = FRAME_BYTES) -> bytes:
    blocks = [plain[begin : begin + size] for begin in range(0, len(plain), size)]
    frames = [zstd.compress(block, level=1) for block in blocks]
    sizes = [(len(frame), len(block)) for frame, block in zip(frames, blocks, strict=True)]
    return b"".join(frames) + seek_table(sizes)


@contextlib.contextmanager
def _opened(path: Path, content: bytes) -> Iterator[tuple[CompressedFile, list[str]]]:
    path.write_bytes(content)
    said: list[str] = []
    file = CompressedFile(os.open(path, os.O_RDONLY), said.append)
    try:
        yield file, said
    finally:
        file.close()


def test_a_seek_table_is_what_the_specification_says() -> None:
    table = seek_table([(10, 20), (30, 40)])
    assert table == struct.pack("<IIIIIIIBI", 0x184D2A5E, 25, 10, 20, 30, 40, 2, 0, 0x8F92EAB1)


def test_any_part_of_a_compressed_file_is_as_it_was(tmp_path: Path) -> None:
    chance = random.Random(2)
    (tmp_path / "plain").write_bytes(PLAIN)
    plain = PlainFile(os.open(tmp_path / "plain", os.O_RDONLY))
    with _opened(tmp_path / "file", _packed(PLAIN)) as (file, said):
        assert file.size() == plain.size() == len(PLAIN)
        for _ in range(200):
            position = chance.randrange(len(PLAIN) + 10)
            count = chance.choice((0, 1, 24, 5000, FRAME_BYTES, 2 * FRAME_BYTES))
            assert file.read_at(count, position) == plain.read_at(count, position)
        assert said == []
    plain.close()


def test_frames_of_any_size_are_read(tmp_path: Path) -> None:
    with _opened(tmp_path / "file", _packed(PLAIN[:5000], 7)) as (file, said):
        assert file.read_at(5000, 0) == PLAIN[:5000]
        assert [file.resumes_at(position) for position in (0, 6, 7, 4999)] == [7, 7, 14, 5000]
        assert said == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\0" * 5000,
        b"plain text that nobody ever compressed\n" * 50,
        seek_table([]),
        seek_table([(5, 5)]),
        _packed(b"abc")[:-1],
        _packed(b"abc") + b"\0",
        b"\0" + _packed(b"abc"),
        # A frame that is too large, one that is empty, and a number of them that cannot be.
        zstd.compress(bytes(2**30 // 1024)) + seek_table([(60, 2**30)]),
        b"x" * 9 + seek_table([(0, 5), (9, 5)]),
        b"x" * 9 + seek_table([(9, 0)]),
        b"x" * 400 + TABLE_FOOTER.pack(2**32 - 1, 0, 0x8F92EAB1),
        # With checksums in the table, which we never write.
        b"x" * 400 + TABLE_FOOTER.pack(1, 0x80, 0x8F92EAB1),
    ],
)
def test_a_table_that_is_none_makes_an_empty_file_and_is_told(
    tmp_path: Path, content: bytes
) -> None:
    with _opened(tmp_path / "file", content) as (file, said):
        assert file.size() == 0
        assert file.read_at(10, 0) == b""
        assert said == ["its table of frames is damaged"]


def _bomb(size: int) -> bytes:
    compressor = zstd.ZstdCompressor(level=19)
    return compressor.compress(bytes(size)) + compressor.flush()


@pytest.mark.parametrize(
    "frame",
    [
        _bomb(200 * 2**20),
        zstd.compress(bytes(200 * 2**20)),
        zstd.compress(b"abcd"),
        b"\x28\xb5\x2f\xfd" + b"\xff" * 60,
        b"\0" * 60,
        zstd.compress(b"abcde")[:-1],
        zstd.compress(b"abcde") + zstd.compress(b"abcde"),
        # A skippable frame: no data at all.
        struct.pack("<II", 0x184D2A50, 52) + bytes(52),
    ],
)
def test_a_frame_that_is_not_what_the_table_says_takes_no_memory_and_is_told(
    tmp_path: Path, frame: bytes
) -> None:
    content = frame + seek_table([(len(frame), 5)])
    with _opened(tmp_path / "file", content) as (file, said):
        tracemalloc.start()
        assert file.read_at(10, 0) == b""
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()
        assert said == (["a frame of it is damaged"] if file.size() else said[:1])


# --- a damaged segment in a log


def _log(path: Path, open_writer: OpenWriter) -> bytes:
    """One compressed segment of four frames, and a plain one."""
    chance = random.Random(3)
    content = b""
    with open_writer(path, segment_bytes=900_000, compression="zstd") as writer:
        while len(content) < 950_000:
            piece = chance.randbytes(500) * 40
            writer.append(1 + len(content) % 2, piece, len(content))
            content += piece
            writer.work()
        while writer.work():
            pass
    assert [name for name in os.listdir(path) if name.endswith(".zst")]
    return content


def test_a_damaged_frame_is_a_gap_of_its_own_length_and_the_rest_is_read(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    content = _log(log_dir, open_writer)
    path = log_dir / f"{log_name(0)}.zst"
    packed = bytearray(path.read_bytes())
    # The middle of the data of the second of four frames.
    first = struct.unpack_from("<I", packed, len(packed) - 9 - 8 * 4)[0]
    packed[first + 2000] ^= 1
    path.write_bytes(packed)
    with LogReader(log_dir) as reader:
        cursor, gaps = 0, []
        while part := reader.read(cursor):
            if isinstance(part, Gap):
                gaps.append(part)
                cursor = part.offset
            else:
                assert part.data == content[cursor : cursor + len(part.data)]
                cursor += len(part.data)
        assert gaps == [Gap(FRAME_BYTES, 2 * FRAME_BYTES, "damaged")]
        assert cursor == len(content) == reader.end()
        assert reader.damage == f"{log_name(0)}.zst: a frame of it is damaged"


def test_a_compressed_index_that_is_damaged_is_a_gap_to_the_next_segment(
    log_dir: Path, open_writer: OpenWriter
) -> None:
    content = _log(log_dir, open_writer)
    (log_dir / f"{index_name(0)}.zst").write_bytes(b"garbage")
    with LogReader(log_dir) as reader:
        gap = reader.read(0)
        assert isinstance(gap, Gap)
        assert gap.why == "damaged"
        assert reader.read(gap.offset) is not None
        assert reader.end() == len(content)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["log", "idx"]), st.floats(0, 1), st.binary(min_size=1, max_size=40), st.data()
)
def test_garbage_in_a_compressed_file_gives_no_wrong_byte_and_no_error(
    tmp_path_factory: pytest.TempPathFactory,
    open_writer: OpenWriter,
    kind: str,
    at: float,
    garbage: bytes,
    data: st.DataObject,
) -> None:
    log_dir = tmp_path_factory.mktemp("log")
    content = _log(log_dir, open_writer)
    path = log_dir / f"{0:020d}.{kind}.zst"
    packed = bytearray(path.read_bytes())
    begin = int(at * len(packed))
    if data.draw(st.booleans()):
        packed[begin : begin + len(garbage)] = garbage
    else:
        del packed[begin:]
    path.write_bytes(packed)
    with LogReader(log_dir) as reader:
        assert 0 <= reader.end() <= len(content)
        for cursor in (0, data.draw(st.integers(0, len(content)))):
            _read_to_the_end(reader, content, cursor)
        for time_ns in (0, 400_000, 10**9):
            assert 0 <= reader.find_time(time_ns) <= len(content)


def _read_to_the_end(reader: LogReader, content: bytes, cursor: int) -> None:
    with contextlib.suppress(CursorError):
        while part := reader.read(cursor):
            if isinstance(part, Gap):
                assert part.offset == cursor + part.gap_bytes > cursor
                assert part.why == "damaged"
                cursor = part.offset
            else:
                assert isinstance(part, Chunk)
                assert part.data == content[cursor : cursor + len(part.data)]
                assert sum(length for _, length, _ in part.runs) == len(part.data)
                cursor += len(part.data)
        assert cursor == len(content)
