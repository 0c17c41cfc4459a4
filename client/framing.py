"""A request as a frame, or the name of the field that cannot be one. No I/O.

msgpack has integers of 64 bits and text in UTF-8: what it cannot carry would fail without
saying where. What passes a bound of frames is never sent: runnerd ends a connection for it, and
with it the requests of everybody who shares that.
"""

from __future__ import annotations

from typing import Any, Final

from client import protocol
from client.errors import RequestRefused
from client.text import printable

_INTEGERS: Final = range(-(2**63), 2**63)
_SHOWN_CHARS: Final = 40
_CONTAINERS: Final = (dict, list, tuple)
# Where a value is: its parent's place, and its name or number there.
_Place = tuple[Any, object]


def encode_request(request_id: int, op: str, args: protocol.Message) -> bytes:
    """The frame of a request. Raises RequestRefused (`invalid-argument`)."""
    try:
        frame = protocol.encode_frame({"id": request_id, "op": op, "args": args})
    except protocol.FrameError as error:
        raise RequestRefused("invalid-argument", detail=str(error)) from None
    except (OverflowError, UnicodeEncodeError, TypeError, ValueError) as error:
        _check_bounds(args)
        _refuse("", args)
        raise RequestRefused("invalid-argument", detail=str(error)) from None
    # Whatever counts takes a byte at least: what is short can only be too deep.
    if len(frame) > protocol.MAX_REQUEST_CONTAINERS or protocol.may_be_deep(frame):
        _check_bounds(args)
    return frame


def _check_bounds(args: protocol.Message) -> None:
    """What `protocol.decode_body` asks of the other side's messages. Raises RequestRefused.

    Level by level: what is nested too deep would break who goes through it recursively.
    """
    # The message itself: id, op, args.
    containers, items = 1, 3
    level: list[tuple[_Place | None, Any]] = [(None, args)]
    for _ in range(protocol.MAX_DEPTH - 1):
        containers += len(level)
        items += sum(len(each) for _, each in level)
        if containers > protocol.MAX_REQUEST_CONTAINERS:
            raise _too_much(f"more than {protocol.MAX_REQUEST_CONTAINERS} lists and maps")
        for place, each in level:
            _check_length(place, each)
        if items > protocol.MAX_REQUEST_CONTAINERS * protocol.ITEMS_PER_CONTAINER:
            raise _too_much("too many entries in all lists and maps together")
        level = [
            ((place, key), item)
            for place, each in level
            for key, item in (each.items() if isinstance(each, dict) else enumerate(each))
            if isinstance(item, _CONTAINERS)
        ]
        if not level:
            return
    raise _too_much(f"lists and maps nested deeper than {protocol.MAX_DEPTH}")


def _check_length(place: _Place | None, container: Any) -> None:  # noqa: ANN401
    is_map = isinstance(container, dict)
    most = protocol.MAX_MAP_ITEMS if is_map else protocol.MAX_ARRAY_ITEMS
    if len(container) > most:
        given = f"{'a map' if is_map else 'a list'} of {len(container)}"
        raise invalid(_field(place) or "args", given, f"at most {most} entries")


def _field(place: _Place | None) -> str:
    """How a place is written: limits.io[1].path."""
    text = ""
    while place is not None:
        place, key = place
        name = (
            f"[{key}]" if isinstance(key, int) else f".{protocol.to_text(str(key))[:_SHOWN_CHARS]}"
        )
        text = name + text
    return text.removeprefix(".")


def _too_much(what: str) -> RequestRefused:
    return RequestRefused("invalid-argument", detail=f"the request has {what}")


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
