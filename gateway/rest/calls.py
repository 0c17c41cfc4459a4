"""One request as a handler sees it, and what it answers: no HTTP library in sight of most of them.

A route says what is asked (types of path, query and body) and what is answered; the app decodes the
one and encodes the other (`gateway.rest.app`), and the OpenAPI document is made of the same table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from client.errors import RequestRefused
from gateway.rest import kinds, negotiating
from gateway.rest.queries import NoQuery

if TYPE_CHECKING:
    from aiohttp import web

    from client.protocol import Message
    from gateway.rest.services import Services
    from gateway.session import Session

# The parts of paths, by name.
PLACES: Final[Mapping[str, Any]] = {
    "job": kinds.JobRef,
    "group": kinds.GroupRef,
    "schedule": kinds.ScheduleRef,
    "queue": kinds.Name,
    "code": str,
}
_S = TypeVar("_S", bound=msgspec.Struct)


class Reply(NamedTuple):
    """An answer: a JSON value, or bytes of another type. `tag`: what its ETag is made of."""

    value: Any = None
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    media: str = negotiating.JSON
    is_tagged: bool = False
    # The same bytes again and again, which are packed once.
    is_constant: bool = False


class Call:
    """A request that was let in: whose it is (`session`), and what it asks, decoded and checked."""

    def __init__(
        self,
        request: web.Request,
        session: Session,
        services: Services,
        query: msgspec.Struct,
        body: msgspec.Struct | None,
    ) -> None:
        self.request = request
        self.session = session
        self.services = services
        self._query = query
        self._body = body

    def path(self, name: str) -> str:
        """A part of the path, decoded. Raises RequestRefused where it cannot name anything."""
        try:
            return str(msgspec.convert(self.request.match_info[name], PLACES[name]))
        except msgspec.ValidationError as error:
            raise RequestRefused("invalid-argument", field=name, detail=str(error)) from None

    def query(self, kind: type[_S]) -> _S:
        """The query, which is of the type that the route names."""
        if not isinstance(self._query, kind):
            raise TypeError(f"the route has no query of {kind.__name__}")
        return self._query

    def body(self, kind: type[_S]) -> _S:
        """The body, which is of the type that the route names."""
        if not isinstance(self._body, kind):
            raise TypeError(f"the route has no body of {kind.__name__}")
        return self._body

    async def ask(self, op: str, args: Message, *, timeout: float | None = 60.0) -> Message:  # noqa: ASYNC109
        """The session's answer."""
        return await self.session.request(op, args, timeout=timeout)

    async def make(self, op: str, args: Message) -> Message:
        """The same of what makes jobs."""
        return await self.ask(op, args)


Handler = Callable[[Call], Awaitable["Reply | web.StreamResponse"]]


class Answer(NamedTuple):
    """What a status brings: JSON of a type, or another media type; None: no body."""

    about: str
    kind: Any = None
    other: dict[str, str] = {}  # noqa: RUF012  media type: what is in it


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """An address with a method: what is asked there, who answers, and what can be refused."""

    method: str
    path: str
    name: str
    tag: str
    about: str
    handler: Handler
    answers: dict[int, Answer]
    # What is asked of runnerd: role and rate before anything of the request is read. None: what
    # the gateway answers by itself, whatever the caller's roles, and the rate alone is asked.
    op: str | None
    more: str = ""
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    body_may_be_missing: bool = False
    is_large: bool = False
    is_conditional: bool = False
    has_key: bool = False
    problems: tuple[str, ...] = ()
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    is_also_plain: bool = False
    is_only_plain: bool = False

    @property
    def paths(self) -> list[str]:
        """Under the version, plainly, or both."""
        plain = [self.path] if self.is_also_plain or self.is_only_plain else []
        return plain if self.is_only_plain else [f"/v1{self.path}", *plain]


def given(struct: msgspec.Struct, *names: str) -> Message:
    """The fields of that name that were given."""
    values = ((name, getattr(struct, name)) for name in names)
    return {name: value for name, value in values if value is not UNSET}
