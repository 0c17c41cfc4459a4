"""From what was read of jobs to lines: which bytes were asked for, cut at newlines, matched.

Pure. A line belongs to one stream of one job; how it looks is `client.cli.log_views`'s, where
the bytes come from `client.cli.log_sources`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from client import protocol
from client.logstream import LogChunk, LogGap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A line that is longer is cut, so that one without an end takes no more memory than this.
LONGEST_LINE_BYTES: Final = 1024 * 1024


class Line(NamedTuple):
    """A line without its newline: of one stream, begun and completed at these Unix times."""

    stream: int
    text: bytes
    begun_ns: int
    completed_ns: int


def select(
    items: Sequence[LogChunk | LogGap], begins: Mapping[int, int], since_ns: int = 0
) -> list[LogChunk | LogGap]:
    """Of each stream in `begins` the bytes from that absolute offset on; and all gaps.

    Without those that were written before `since_ns`, wherever they are.
    """
    selected: list[LogChunk | LogGap] = []
    for item in items:
        if isinstance(item, LogGap):
            selected.append(item)
            continue
        if item.time_ns < since_ns:
            continue
        before = begins.get(item.stream, item.offset + len(item.data)) - item.offset
        if before <= 0:
            selected.append(item)
        elif before < len(item.data):
            selected.append(item._replace(offset=item.offset + before, data=item.data[before:]))
    return selected


class Lines:
    """Cuts a job's output into lines, each stream for itself.

    What has no newline yet is kept until it comes, until it is `longest` bytes (the rest then
    counts as a line of its own), or until `finish`. `last_ns` is the time of the newest byte.
    """

    def __init__(self, longest: int = LONGEST_LINE_BYTES) -> None:
        self._longest = longest
        self.last_ns = 0
        self._parts = {stream: _Part() for stream in (protocol.STDOUT, protocol.STDERR)}

    def feed(self, chunk: LogChunk) -> Iterator[Line]:
        """The lines that these bytes complete, in their order."""
        stream, now = chunk.stream, chunk.time_ns
        self.last_ns = now
        part = self._parts.setdefault(stream, _Part())
        *complete, rest = chunk.data.split(b"\n")
        for text in complete:
            if part.text or len(text) > self._longest:
                part.add(text, now)
                yield from self._cut(stream, part)
                yield Line(stream, bytes(part.text), part.begun_ns, now)
                part.text.clear()
            else:
                yield Line(stream, text, now, now)
        if rest:
            part.add(rest, now)
            yield from self._cut(stream, part)

    def finish(self) -> Iterator[Line]:
        """Lines without an end, the one that was begun first first."""
        for stream, part in sorted(self._parts.items(), key=lambda item: item[1].begun_ns):
            if part.text:
                yield Line(stream, bytes(part.text), part.begun_ns, self.last_ns)
                part.text.clear()

    def _cut(self, stream: int, part: _Part) -> Iterator[Line]:
        while len(part.text) > self._longest:
            text = bytes(part.text[: self._longest])
            del part.text[: self._longest]
            yield Line(stream, text, part.begun_ns, self.last_ns)
            # Before this chunk it was short enough: what is left came with it.
            part.begun_ns = self.last_ns


class _Part:
    """The beginning of a line."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.begun_ns = 0

    def add(self, text: bytes, now: int) -> None:
        if not self.text:
            self.begun_ns = now
        self.text += text
