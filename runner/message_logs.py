"""What a request may ask of a job's log: fields, units and bounds.

How a log is kept is `runner.logs.writer`'s, what becomes of output that finds no room
`runner.pump`'s; how much of it is kept in all is a limit (`output_max_bytes`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from runner.logs import format as log_format
from runner.message_kinds import Closed

MOST_SEGMENTS: Final = log_format.MOST_SEGMENTS

_Segment = Annotated[int, Meta(ge=4096, le=2**40)]
_Segments = Annotated[int, Meta(ge=2, le=MOST_SEGMENTS)]
_Compression = Annotated[Literal["none", "zstd"], Meta(description="none or zstd")]
_OnFull = Annotated[Literal["wait", "drop", "end"], Meta(description="wait, drop or end")]


class LogsRequest(Closed, frozen=True):
    """How a job's log is kept. None: as the daemon's configuration says.

    `segment_bytes` is the size of a segment, `keep_segments` how many of them stay,
    `compression` what becomes of those that are complete, `on_full` of output that finds no
    room on the disk: the job waits, the output is dropped and counted, or the job ends.
    """

    segment_bytes: _Segment | None = None
    keep_segments: _Segments | None = None
    compression: _Compression | None = None
    on_full: _OnFull | None = None
