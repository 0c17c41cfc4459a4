"""Reading a request: its query and its body, bounded in size, depth and time, into closed types.

What is wrong is said with the field's path as docs/PROTOCOL.md writes it. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from aiohttp import web

from client.errors import RequestRefused
from gateway.rates import HELD_BYTES
from gateway.rest.problems import HttpRefusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from multidict import MultiMapping

    from gateway.session import Session

_S = TypeVar("_S", bound=msgspec.Struct)
_JSON_TYPE: Final = re.compile(r"application/(?:json|[a-z0-9.!#$&^_-]+\+json)", re.ASCII)
_WHERE: Final = re.compile(r"(.*?) - at `(?:key in )?\$(.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_PARTS: Final = 64
# Of a stack that msgspec shares with us: no body that means anything is as deep.
_MOST_DEPTH: Final = 32
# A flow of 1,000 steps with all that a step may say.
_MOST_CONTAINERS: Final = 100_000


class Held:
    """The bytes of one body, counted for whoever sends it until it is answered."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self._session.release(self._size)

    def add(self, more: int, most: int) -> None:
        """So many have come of a body that may have `most`. Raises RequestRefused."""
        # One body alone may always come.
        self._session.hold(more, max(HELD_BYTES, most))
        self._size += more


async def read_body(request: web.Request, most: int, seconds: float, held: Held) -> bytes:
    """The body, at most so many bytes, that has to come in so many seconds.

    Raises HttpRefusal; RequestRefused when too much is in hand of all that the caller sends.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpRefusal(
            "unsupported-media-type",
            "a body is sent as it is, without Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )
    if request.content_length is not None and request.content_length > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, most, held)
    except TimeoutError:
        raise HttpRefusal(
            "request-timeout",
            f"the body did not come within {seconds:g} s",
            headers={"Connection": "close"},
        ) from None


async def _read(request: web.Request, most: int, held: Held) -> bytes:
    data = bytearray()
    try:
        async for chunk in request.content.iter_any():
            if len(data) + len(chunk) > most:
                raise _too_large(most)
            held.add(len(chunk), most)
            data += chunk
        return bytes(data)
    except web.RequestPayloadError:
        raise HttpRefusal(
            "bad-request", "the body could not be read", headers={"Connection": "close"}
        ) from None
    finally:
        # A refusal has this frame, and may be held back.
        data.clear()


def _too_large(most: int) -> HttpRefusal:
    # What is still to come is not read.
    return HttpRefusal(
        "body-too-large",
        f"the body has more than {most} bytes",
        allowed=most,
        headers={"Connection": "close"},
    )


def decoded(data: bytes, content_type: str | None, kind: type[_S], *, may_be_missing: bool) -> _S:
    """The body as its type. Raises HttpRefusal, RequestRefused."""
    if not data and may_be_missing:
        return kind()
    if content_type is None or not _JSON_TYPE.fullmatch(content_type.split(";")[0].strip().lower()):
        raise HttpRefusal(
            "unsupported-media-type",
            "the body is to be JSON: Content-Type application/json",
            headers={"Accept": "application/json"},
        )
    _check_shape(data)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefused("bad-request", detail=f"the body is not JSON: {error}") from None


_OUTSIDE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?|[^\[\]{}"]+', re.DOTALL)


def _check_shape(data: bytes) -> None:
    """That arrays and objects are neither too many nor too deep. Raises RequestRefused."""
    brackets = _OUTSIDE.sub(b"", data)
    if len(brackets) > 2 * _MOST_CONTAINERS:
        detail = f"the body has more than {_MOST_CONTAINERS} arrays and objects"
        raise RequestRefused("bad-request", detail=detail)
    depth = 0
    for byte in brackets:
        depth += 1 if byte in b"[{" else -1
        if depth > _MOST_DEPTH:
            raise RequestRefused("bad-request", detail=f"the body nests deeper than {_MOST_DEPTH}")


def query(values: MultiMapping[str], kind: type[_S]) -> _S:
    """The query as its type. Raises RequestRefused."""
    fields = msgspec.structs.fields(kind)
    lists = {field.name for field in fields if field.default_factory is list}
    if len(values) > _PARTS:
        raise RequestRefused("invalid-argument", field="query", allowed=f"at most {_PARTS} parts")
    try:
        return msgspec.convert(_gathered(values, lists), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from None


def _gathered(values: MultiMapping[str], lists: set[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name in dict.fromkeys(values):
        given = values.getall(name)
        if name in lists:
            # Labels may have commas in their values.
            found[name] = given if name == "label" else [e for v in given for e in v.split(",")]
        elif len(given) == 1:
            found[name] = given[0]
        else:
            raise RequestRefused("invalid-argument", field=name, detail="it is given twice")
    return found


def _wrong(text: str) -> RequestRefused:
    """What msgspec says, as a refusal: the field, and what would do."""
    found = _WHERE.fullmatch(text)
    said, place = (found[1], found[2].lstrip(".")) if found else (text, "")
    for form, detail in ((_UNKNOWN, "there is no such field"), (_MISSING, "it is missing")):
        if (name := form.fullmatch(said)) is not None:
            return RequestRefused(
                "invalid-argument", field=f"{place}.{name[1]}".lstrip("."), detail=detail
            )
    return RequestRefused("invalid-argument", field=place or None, detail=said)
