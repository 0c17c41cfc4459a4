"""Fuzz target: the reader of a job's log, on a directory that somebody else filled.

Whatever the files hold, reading ends, raises nothing but CursorError, goes forward, and shows
no byte at an offset that the files do not hold there. An input is a list of files followed by
a list of cursors:

    u8 files, then for each: u8 kind, u32 first offset, u16 length, content; then u32 cursors
"""

from __future__ import annotations

import itertools
import os
import struct
import tempfile
from typing import TYPE_CHECKING, Final

from runner.logs.format import INDEX_RECORD, index_name, log_name
from runner.logs.locating import Wanted, search
from runner.logs.reader import MAX_CHUNK_BYTES, Chunk, CursorError, LogReader
from tests.fuzz import compressed

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE: Final = struct.Struct("<BIH")
_CURSOR: Final = struct.Struct("<I")
_MOST_FILES: Final = 8
_MOST_CURSORS: Final = 6
# More pieces than bytes and records that an input can hold.
_MOST_READS: Final = 20_000
_KINDS: Final = ("log", "index", "log.zst", "index.zst")

Files = dict[tuple[str, int], bytes]


class _Place:
    """One directory for all inputs: making one is dearer than reading it."""

    def __init__(self) -> None:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._kept = tempfile.TemporaryDirectory(prefix="runnerd-fuzz-", dir=memory)
        self.path = self._kept.name

    def fill(self, files: Files) -> None:
        """Have these files there and nothing else."""
        for name in os.listdir(self.path):
            os.unlink(os.path.join(self.path, name))
        for (kind, start), content in files.items():
            with open(os.path.join(self.path, _name(kind, start)), "wb", 0) as file:
                file.write(content)


_place: _Place | None = None


def one_input(data: bytes) -> None:
    """Fill the directory and read it from every cursor."""
    global _place  # noqa: PLW0603 - made when the first input comes, removed at the end
    _place = _place or _Place()
    files, cursors = _parse(data)
    _place.fill(files)
    held = _held(files)
    with LogReader(_place.path) as reader:
        end = reader.end()
        assert end >= 0
        for cursor in cursors:
            _walk(reader, cursor, held)
        _search(reader, cursors)


def _parse(data: bytes) -> tuple[Files, list[int]]:
    """The files and the cursors, of which there is at least 0, as far as the input goes."""
    files: Files = {}
    at = 1
    for _ in range(data[0] % (_MOST_FILES + 1) if data else 0):
        if at + _FILE.size > len(data):
            break
        kind, start, length = _FILE.unpack_from(data, at)
        at += _FILE.size
        files[_KINDS[kind % len(_KINDS)], start] = data[at : at + length]
        at += length
    rest = data[at:]
    whole = rest[: min(len(rest), _CURSOR.size * _MOST_CURSORS) // _CURSOR.size * _CURSOR.size]
    return files, [0, *(cursor for (cursor,) in _CURSOR.iter_unpack(whole))]


def _name(kind: str, start: int) -> str:
    plain = log_name(start) if kind.startswith("log") else index_name(start)
    return f"{plain}.zst" if kind.endswith(".zst") else plain


def _held(files: Files) -> dict[int, list[bytes]]:
    """What a reader may show of each segment: the raw file's bytes, or the compressed one's."""
    held: dict[int, list[bytes]] = {}
    for (kind, start), content in files.items():
        if kind == "log":
            held.setdefault(start, []).append(content)
        elif kind == "log.zst":
            held.setdefault(start, []).append(compressed.content(content))
    return held


def _walk(reader: LogReader, cursor: int, held: dict[int, list[bytes]]) -> None:
    """From a cursor to the end: every piece is believed only when it is held."""
    for most in itertools.islice(itertools.cycle((MAX_CHUNK_BYTES, 7, 1000)), _MOST_READS):
        try:
            part = reader.read(cursor, most)
        except CursorError as error:
            assert cursor > error.end >= 0
            return
        if part is None:
            return
        if isinstance(part, Chunk):
            _check_chunk(part, cursor, most, held)
            cursor += len(part.data)
        else:
            assert part.gap_bytes > 0
            assert part.offset == cursor + part.gap_bytes
            cursor = part.offset
    raise AssertionError(f"no end after {_MOST_READS} reads")


def _search(reader: LogReader, cursors: list[int]) -> None:
    """Lines and times, for which the cursors serve as numbers."""
    assert reader.find_time(cursors[-1]) >= 0
    wanted = Wanted(
        cursors[-1] % 50, cursors[0], max(cursors), (1,) if len(cursors) % 2 else (1, 2)
    )
    for choice in (wanted, wanted._replace(until_ns=None), wanted._replace(lines=None)):
        (found,) = (piece for piece in search(reader, choice) if piece is not None)
        assert 0 <= found.cursor <= found.end <= reader.end()
        assert min(found.stdout, found.stderr) >= found.cursor
        assert max(found.stdout, found.stderr) <= found.end


def _check_chunk(chunk: Chunk, cursor: int, most: int, held: dict[int, list[bytes]]) -> None:
    assert chunk.offset == cursor
    assert 0 < len(chunk.data) <= most
    assert sum(length for _, length, _ in chunk.runs) == len(chunk.data)
    assert all(stream in (1, 2) and length > 0 for stream, length, _ in chunk.runs)
    pieces = (
        content[cursor - start : cursor - start + len(chunk.data)]
        for start, contents in held.items()
        if start <= cursor
        for content in contents
    )
    assert any(piece == chunk.data for piece in pieces), "shows bytes that no file holds there"


def seeds() -> list[bytes]:
    """Logs as the writer leaves them: one segment, several, torn, with a gap, compressed."""
    one = _segment(0, [(1, b"hello\n"), (2, b"error\n"), (1, b"x" * 300)])
    two = _segment(312, [(1, bytes(range(256))), (2, b"y")])
    late = _segment(1000, [(1, b"after a gap\n")])
    torn = [(kind, start, content[:-5]) for kind, start, content in one]
    small = _segment(0, [(1 + number % 2, b"%d\n" % number) for number in range(40)])
    sets = [one, [*one, *two], [*one, *two, *late], torn, small, [*torn, *late], []]
    sealed = [(f"{kind}.zst", start, _sealed(content)) for kind, start, content in one]
    sets += [sealed, [*sealed, *two], [*sealed, *one], [*sealed, *late], [sealed[0], one[1]]]
    return [_packed(files, [0, 3, 312, 1000]) for files in sets]


def _sealed(content: bytes) -> bytes:
    """In two frames, so that one of them may be damaged."""
    half = len(content) // 2
    return compressed.file_of(content[:half], content[half:])


def _segment(start: int, pieces: list[tuple[int, bytes]]) -> list[tuple[str, int, bytes]]:
    records = []
    at = start
    for number, (stream, data) in enumerate(pieces):
        records.append(INDEX_RECORD.pack(number, at, len(data), stream))
        at += len(data)
    raw = b"".join(data for _, data in pieces)
    return [("log", start, raw), ("index", start, b"".join(records))]


def _packed(files: list[tuple[str, int, bytes]], cursors: list[int]) -> bytes:
    return b"".join(_pack_all(files, cursors))


def _pack_all(files: list[tuple[str, int, bytes]], cursors: list[int]) -> Iterator[bytes]:
    yield bytes([len(files)])
    for kind, start, content in files:
        yield _FILE.pack(_KINDS.index(kind), start, len(content)) + content
    for cursor in cursors:
        yield _CURSOR.pack(cursor)
