"""What jobs print, and what that comes to: steps as a shell script, and the bytes. Pure.

Only cheap programs: in a guest a fork is dear. `blob` is a file of arbitrary bytes that every
job can read: NULs and invalid UTF-8 are in it, and lines of any length.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

STDOUT: Final = 1
STDERR: Final = 2
BLOB_BYTES: Final = 4 * 1024 * 1024


class Blob(NamedTuple):
    """`blocks` of `size` bytes each, from block `skip` on, a write(2) each."""

    stream: int
    size: int
    skip: int
    blocks: int


class Numbers(NamedTuple):
    """The numbers from `first` to `last`, a line each."""

    stream: int
    first: int
    last: int


class Trickle(NamedTuple):
    """`lines` lines with a word and their number, `pause_ms` between them."""

    stream: int
    word: str
    lines: int
    pause_ms: int


class Both(NamedTuple):
    """Blocks on both streams at the same time; those of stderr follow in the blob."""

    size: int
    skip: int
    blocks: int


Step = Blob | Numbers | Trickle | Both


def make_blob(seed: int) -> bytes:
    """The arbitrary bytes of a seed."""
    return hashlib.shake_128(b"torture %d" % seed).digest(BLOB_BYTES)


def script(step: Step, blob_path: str) -> str:
    """A step as lines of sh."""
    if isinstance(step, Both):
        return (
            f"{_dd(step.size, step.skip, step.blocks, blob_path)} &\n"
            f"{_dd(step.size, step.skip + step.blocks, step.blocks, blob_path)} >&2\nwait"
        )
    return _plain(step, blob_path) + (" >&2" if step.stream == STDERR else "")


def _plain(step: Blob | Numbers | Trickle, blob_path: str) -> str:
    if isinstance(step, Blob):
        return _dd(step.size, step.skip, step.blocks, blob_path)
    if isinstance(step, Numbers):
        return f"seq {step.first} {step.last}"
    pause = f"; sleep {step.pause_ms / 1000:g}" if step.pause_ms else ""
    return f"i=0; while [ $i -lt {step.lines} ]; do i=$((i+1)); echo {step.word} $i{pause}; done"


def _dd(size: int, skip: int, count: int, blob_path: str) -> str:
    return f"dd if={blob_path} bs={size} skip={skip} count={count} status=none"


def output(steps: Sequence[Step], blob: bytes) -> dict[int, bytes]:
    """All that the steps print, by stream."""
    parts: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
    for step in steps:
        for stream, data in _printed(step, blob):
            parts[stream].append(data)
    return {stream: b"".join(data) for stream, data in parts.items()}


def _printed(step: Step, blob: bytes) -> list[tuple[int, bytes]]:
    if isinstance(step, Both):
        length = step.size * step.blocks
        start = step.size * step.skip
        first, second = blob[start : start + length], blob[start + length : start + 2 * length]
        return [(STDOUT, first), (STDERR, second)]
    if isinstance(step, Blob):
        start = step.size * step.skip
        return [(step.stream, blob[start : start + step.size * step.blocks])]
    if isinstance(step, Numbers):
        lines = (b"%d\n" % number for number in range(step.first, step.last + 1))
    else:
        word = step.word.encode()
        lines = (b"%b %d\n" % (word, number) for number in range(1, step.lines + 1))
    return [(step.stream, b"".join(lines))]
