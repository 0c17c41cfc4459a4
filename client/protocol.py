"""Frames, operation names, error codes and bounds of the runnerd protocol. No I/O.

The one module that both sides import. docs/PROTOCOL.md is its description; the schema of
requests is the daemon's (`runner.messages`), so that a client needs msgpack alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sized
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

import msgpack

_C = TypeVar("_C", bound=Sized)

PROTOCOL_VERSION: Final = 1
DEFAULT_SOCKET: Final = "/run/runnerd/runnerd.sock"

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
MAX_ARRAY_ITEMS: Final = 8192
MAX_MAP_ITEMS: Final = 4096
MAX_DEPTH: Final = 32
# A request needs its root, args, argv, env, limits, up to 16 io entries, some hundred mounts.
MAX_REQUEST_CONTAINERS: Final = 512
MAX_ANSWER_CONTAINERS: Final = 200_000
# On average. Without it 512 arrays of 8192 short texts, which fit in a frame, would be 200 MB.
ITEMS_PER_CONTAINER: Final = 32
MAX_GREETING_BYTES: Final = 4096
MAX_REQUEST_ID: Final = 2**32 - 1
MAX_IN_FLIGHT: Final = 64

# MAX_ARG_STRLEN of the kernel is 32 pages with the final NUL (execve(2), "Limits on size").
MAX_ARGUMENT_BYTES: Final = 131_071
MAX_ARGUMENTS: Final = 4096
MAX_ARGV_ENV_BYTES: Final = 1024 * 1024
MAX_NAME_CHARS: Final = 64
NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MIN_JOB_PREFIX_CHARS: Final = 4

STDOUT: Final = 1
STDERR: Final = 2

HEADER: Final = struct.Struct(">I")

# A decoded msgpack value. Any, because it is validated by whoever knows the operation.
Message = dict[str, Any]


class FrameError(ValueError):
    """The bytes are not a frame of this protocol. The text says why."""


def encode_frame(message: Message) -> bytes:
    """One frame, length included. Text with surrogates (see `from_os`) must be bytes by now.

    Raises FrameError when the frame would be longer than MAX_FRAME_BYTES.
    """
    body: bytes = msgpack.packb(message, use_bin_type=True)
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {len(body)} bytes; at most {MAX_FRAME_BYTES}")
    return HEADER.pack(len(body)) + body


def frame_length(header: bytes | bytearray, most: int = MAX_FRAME_BYTES) -> int:
    """The length that a 4-byte header announces, checked before anything is allocated.

    Raises FrameError when it is zero or above `most`.
    """
    (length,) = HEADER.unpack(header)
    if not 0 < length <= most:
        raise bad_length(length, most)
    return int(length)


def bad_length(length: int, most: int) -> FrameError:
    """What to raise for a length that is announced and is not allowed."""
    return FrameError(f"frame of {length} bytes; 1 to {most} are allowed")


class _Count:
    """Stops the unpacker at one array, map or item too many: each costs far more than its bytes.

    An array is counted when it is complete, so the last one may be one too many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_items = most * ITEMS_PER_CONTAINER
        self._containers = 0
        self._items = 0

    def __call__(self, container: _C) -> _C:
        self._containers += 1
        self._items += len(container)
        if self._containers > self._most:
            raise FrameError(f"more than {self._most} arrays and maps")
        if self._items > self._most_items:
            raise FrameError(f"more than {self._most_items} items")
        return container


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise FrameError(f"extension type {code}; none is used")


# All but the first bytes of maps and arrays: msgpack's fixmap, fixarray, array 16, 32, map 16, 32.
_NO_CONTAINER: Final = bytes({*range(256)} - {*range(0x80, 0xA0), *range(0xDC, 0xE0)})
_SHORT_BYTES: Final = 4096
# What is common to all bodies: nothing that is made of a few bytes may be large.
_unpack: Final = partial(
    msgpack.unpackb,
    raw=False,
    strict_map_key=False,
    max_str_len=MAX_FRAME_BYTES,
    max_bin_len=MAX_FRAME_BYTES,
    max_array_len=MAX_ARRAY_ITEMS,
    max_map_len=MAX_MAP_ITEMS,
    max_ext_len=0,
    ext_hook=_refuse_extension,
)


def decode_body(
    body: bytes | bytearray | memoryview, max_containers: int = MAX_ANSWER_CONTAINERS
) -> Message:
    """The map that a frame's body holds. Raises FrameError for anything else."""
    size = len(body)
    try:
        # Containers and items take a byte each at least: a short body cannot hold too many.
        message = _unpack(body) if size <= max_containers else _counted(body, max_containers)
    except FrameError:
        raise
    # RecursionError and UnicodeDecodeError leave the unpacker as they are; a bound that is
    # passed is a ValueError; an unhashable key (a map or an array) a TypeError.
    except (msgpack.UnpackException, ValueError, RecursionError, TypeError) as error:
        raise FrameError(f"not msgpack: {type(error).__name__}: {error}") from None
    if not isinstance(message, dict):
        raise FrameError(f"a frame holds a map, not {type(message).__name__}")
    if (size > _SHORT_BYTES or may_be_deep(body)) and _is_too_deep(message):
        raise FrameError(f"nested deeper than {MAX_DEPTH}")
    return message


def _counted(body: bytes | bytearray | memoryview, max_containers: int) -> object:
    count = _Count(max_containers)
    return _unpack(body, object_hook=count, list_hook=count)


def may_be_deep(body: bytes | bytearray | memoryview) -> bool:
    """Each level begins with a byte that text of ASCII has none of: most bodies have few."""
    if isinstance(body, memoryview):
        return True
    return len(body.translate(None, _NO_CONTAINER)) > MAX_DEPTH


def _is_too_deep(message: Message) -> bool:
    """Walked level by level, so that it cannot recurse too far itself."""
    level: list[Any] = [message]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def environment_bytes(env: Mapping[bytes, bytes]) -> int | None:
    """What NAME=VALUE of all variables take together, where execve(2) could take each of them.

    None: perhaps it could not, look at each. Fast, because all together are looked at in one piece.
    """
    names, values = b"".join(env), b"".join(env.values())
    size = len(names) + len(values) + len(env)
    is_text = b"" not in env and b"=" not in names and b"\0" not in names and b"\0" not in values
    return size if is_text and size <= MAX_ARGUMENT_BYTES else None


def to_wire(text: str | bytes) -> str | bytes:
    """Text of the operating system as it travels: str when it is UTF-8, else bytes.

    A str may carry undecodable bytes as surrogates (PEP 383), as `sys.argv` does.
    """
    if isinstance(text, bytes):
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def to_bytes(text: str | bytes) -> bytes:
    """The bytes that the kernel sees for text that came over the wire."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def to_text(value: str | bytes) -> str:
    """Text for a Python program: what is not UTF-8 becomes surrogates (PEP 383)."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
