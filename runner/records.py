"""The files and messages that runnerd, launcher and monitor exchange. Formats only, lean.

All are msgpack maps with a version, but for the control record, which is fixed-size so
that one write below PIPE_BUF is whole (pipe(7)).
"""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack

VERSION: Final = 1

SPEC: Final = "spec"
EXIT: Final = "exit"
EXIT_TEMPORARY: Final = "exit.tmp"
CONTROL: Final = "control"
LOG_DIRECTORY: Final = "log"

MAX_SPEC_BYTES: Final = 8 * 1024 * 1024
# One block. A record is shorter, because its texts are bounded where they are made.
EXIT_BYTES: Final = 4096
MAX_EXIT_BYTES: Final = 65536
# Far below the smallest socket buffer, so that a SEQPACKET message always fits.
MAX_LAUNCH_MESSAGE_BYTES: Final = 8192

CONTROL_STOP: Final = 1
CONTROL_RECORD: Final = struct.Struct("<BxxxII")  # kind, uid of who asked, grace in ms


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
