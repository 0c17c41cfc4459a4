"""Opaque page tokens, and jobs that are meant: from a query to `select` of runnerd. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from msgspec import UNSET, UnsetType

from client.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from client.protocol import Message
    from gateway.rest.queries import Which

_FORM: Final = re.compile(r"([a-z]+)\.(-?[0-9]{1,19})", re.ASCII)
_LARGEST: Final = 2**63 - 1


def token(kind: str, place: int | None) -> str | None:
    """The token of the page that begins at `place`; None: there is none."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(f"{kind}.{place}".encode()).decode("ascii").rstrip("=")


def place(kind: str, text: str | UnsetType) -> int | None:
    """Where the page of a token begins; None without one. Raises RequestRefused."""
    if text is UNSET:
        return None
    try:
        padded = str(text) + "=" * (-len(str(text)) % 4)
        found = _FORM.fullmatch(base64.b64decode(padded, b"-_", validate=True).decode("ascii"))
    except (binascii.Error, ValueError):
        found = None
    if found is None or found[1] != kind or not 0 <= int(found[2]) <= _LARGEST:
        raise RequestRefused(
            "invalid-argument",
            field="page_token",
            given=text,
            allowed="next_page_token of the page before",
        )
    return int(found[2])


def link(path: str, pairs: Iterable[tuple[str, str]], next_token: str | None) -> dict[str, str]:
    """The header Link to the next page (RFC 8288), where there is one."""
    if next_token is None:
        return {}
    kept = [(name, value) for name, value in pairs if name != "page_token"]
    query = urlencode([*kept, ("page_token", next_token)])
    return {"Link": f'<{path}?{query}>; rel="next"'}


def selection(which: Which) -> Message:
    """`select`, with what was given."""
    select: Message = {
        name: value
        for name in ("queue", "name", "group")
        if (value := getattr(which, name)) is not UNSET
    }
    if not isinstance(which.user, UnsetType):
        select["user"] = user(which.user)
    if which.state:
        select["states"] = list(dict.fromkeys(which.state))
    if which.label:
        select["labels"] = dict(map(_label, which.label))
    return select


def user(text: str) -> str | int:
    """Who is meant by a name or a uid."""
    is_uid = text.isascii() and text.isdecimal() and len(text) <= len(str(2**32))
    return int(text) if is_uid else text


def _label(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


def within(
    jobs: Iterable[Mapping[str, Any]], since: int | UnsetType, until: int | UnsetType
) -> list[Mapping[str, Any]]:
    """The jobs that were submitted between the two times, both included."""
    first = 0 if isinstance(since, UnsetType) else since
    last = _LARGEST if isinstance(until, UnsetType) else until
    return [job for job in jobs if first <= job["submitted_ns"] <= last]
