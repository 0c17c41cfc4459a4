"""The files and messages that runnerd, launcher and monitor exchange. Formats; lean.

All are msgpack maps with a version, but for the control record, which is fixed-size so
that one write below PIPE_BUF is whole (pipe(7)).
"""

from __future__ import annotations

import os
import struct
from typing import Any, Final

import msgpack

VERSION: Final = 1

SPEC: Final = "spec"
EXIT: Final = "exit"
EXIT_TEMPORARY: Final = "exit.tmp"
CONTROL: Final = "control"
# What applies to a job now, where an update changed it; until then the spec says it.
LIMITS: Final = "limits"
LIMITS_TEMPORARY: Final = "limits.tmp"
# There while an update is under way: what it changes to (`runner.updating`).
INTENT: Final = "update"
# There once somebody asked for the end of a job that ran: it gets no other attempt.
STOP: Final = "stop"
LOG_DIRECTORY: Final = "log"

MAX_SPEC_BYTES: Final = 8 * 1024 * 1024
# One block. A record is shorter, because its texts are bounded where they are made.
EXIT_BYTES: Final = 4096
MAX_EXIT_BYTES: Final = 65536
MAX_LIMITS_BYTES: Final = 1024 * 1024
# System calls that a record counts; 64 pairs of numbers leave room for its texts.
MAX_DENIED: Final = 64
# Far below the smallest socket buffer, so that a SEQPACKET message always fits.
MAX_LAUNCH_MESSAGE_BYTES: Final = 8192

# What a launch request asks for.
LAUNCH_MONITOR: Final = "monitor"
LAUNCH_EXEC: Final = "exec"

# An older monitor reads over a kind that it does not know.
CONTROL_STOP: Final = 1
CONTROL_PAUSE: Final = 2
CONTROL_RESUME: Final = 3
CONTROL_UPDATE: Final = 4  # look at LIMITS
CONTROL_RECORD: Final = struct.Struct("<BxxxII")  # kind, uid of who asked, grace in ms (a stop)


class RecordError(ValueError):
    """The bytes are not such a record."""


def pack(fields: dict[str, Any]) -> bytes:
    """A record with the current version. Text that is not UTF-8 becomes readable, not exact."""
    packed: bytes = msgpack.packb(
        {"version": VERSION, **fields}, use_bin_type=True, unicode_errors="backslashreplace"
    )
    return packed


def unpack(data: bytes) -> dict[str, Any]:
    """The fields of a record. Raises RecordError for a torn, garbled or newer one."""
    try:
        fields = msgpack.unpackb(data, raw=False, strict_map_key=False, unicode_errors="strict")
    except (msgpack.UnpackException, ValueError, RecursionError, TypeError) as error:
        raise RecordError(f"not a record: {type(error).__name__}: {error}") from None
    version = fields.get("version") if isinstance(fields, dict) else None
    # Monitors outlive an upgrade: what they began to write, the next runnerd must read.
    if type(version) is not int or not 1 <= version <= VERSION:
        raise RecordError(f"not a record of version {VERSION} or older")
    return dict(fields)


def read(dir_fd: int, name: str, max_bytes: int) -> dict[str, Any]:
    """The fields of the record in a file below `dir_fd`. Raises OSError, RecordError."""
    # O_NONBLOCK: opening a FIFO that lies in its place would wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=dir_fd)
    with open(fd, "rb") as file:
        return unpack(file.read(max_bytes))
