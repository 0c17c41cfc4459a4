"""A request as a frame, or the name of the field that cannot be one. No I/O.

msgpack has integers of 64 bits and text in UTF-8: what it cannot carry would fail without
saying where.
"""

from __future__ import annotations

from typing import Final

from client import protocol
from client.errors import RequestRefused
from client.text import printable

_INTEGERS: Final = range(-(2**63), 2**63)
_SHOWN_CHARS: Final = 40


def encode_request(request_id: int, op: str, args: protocol.Message) -> bytes:
    """The frame of a request. Raises RequestRefused (`invalid-argument`)."""
    try:
        return protocol.encode_frame({"id": request_id, "op": op, "args": args})
    except protocol.FrameError as error:
        raise RequestRefused("invalid-argument", detail=str(error)) from None
    except (OverflowError, UnicodeEncodeError, TypeError, ValueError) as error:
        _refuse("", args)
        raise RequestRefused("invalid-argument", detail=str(error)) from None


def _refuse(field: str, value: object) -> None:
    """Raise RequestRefused for the first part of `value` that msgpack cannot carry."""
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse(f"{field}.{key}" if field else str(key), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse(f"{field}[{index}]", item)
    elif isinstance(value, int):
        if value not in _INTEGERS:
            raise invalid(field, "a number of more than 64 bits", "a number below 2^63")
    elif isinstance(value, str):
        if not value.isascii() and printable(value) != value:
            raise invalid(field, shown(value), "text in UTF-8")
    elif value is not None and not isinstance(value, bytes | float):
        raise invalid(field, f"a {type(value).__name__}", "text, numbers, lists and maps")


def invalid(field: str, given: str, allowed: str) -> RequestRefused:
    """The refusal that the daemon would send for that field."""
    return RequestRefused("invalid-argument", field=field, given=given, allowed=allowed)


def shown(value: str | bytes) -> str:
    """What was given, quoted and shortened."""
    text = protocol.to_text(value)
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
