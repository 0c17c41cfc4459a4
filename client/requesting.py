"""What every operation of the client library has in common: a daemon, its connections, patience.

It knows no operation but `hello` and `status`: those are `client.api`'s and `client.queue_api`'s.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from client import protocol
from client.connection import ANSWER_SECONDS
from client.errors import ClientError, ProtocolError
from client.patience import Patience, is_away
from client.pool import Pool
from client.submission import build_submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from client.contexts import Target
    from client.options import Options, Text
    from client.records import Hello, JobStatus

_T = TypeVar("_T")

RECONNECT_SECONDS: Final = 60.0
ID_CHARS: Final = 36


class Request(Protocol):
    """Asks once and gives the answer."""

    def __call__(  # noqa: D102  the class says it
        self, op: str, args: protocol.Message, timeout: float | None = ANSWER_SECONDS
    ) -> protocol.Message: ...


class Requesting:
    """Asks the runnerd that is the `target`; the arguments are those of `client.api.Client`."""

    def __init__(
        self,
        target: Target | None = None,
        *,
        reconnect_seconds: float = RECONNECT_SECONDS,
        on_away: Callable[[Exception], None] | None = None,
        on_back: Callable[[], None] | None = None,
        was_reached: bool = False,
    ) -> None:
        default = os.environ.get("RUNNERD_SOCKET") or protocol.DEFAULT_SOCKET
        self.target = target or default
        self.reconnect_seconds = reconnect_seconds
        self._on_away = on_away
        self._on_back = on_back
        self._pool = Pool(self.target)
        self._pool.reached = was_reached

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; repeating is harmless, and a later call connects again."""
        self._pool.close()

    def hello(self) -> Hello:
        """The daemon's greeting: its version, and who it takes us for."""
        connection = self._pool.take()
        self._pool.give(connection)
        return cast("Hello", connection.hello)

    def own_uid(self) -> int:
        """Who we are on runnerd's host. Asks nobody once there was a connection."""
        if not self.is_elsewhere:
            return os.getuid()
        greeting = self._pool.greeting or cast("protocol.Message", self.hello())
        numbers_in(greeting, ("uid",), "uid")
        return int(greeting["uid"])

    def status(self, job: str) -> JobStatus:
        """A job by id, prefix of an id (4 characters or more) or name."""
        return cast("JobStatus", self._request("status", {"job": job}))

    @property
    def is_elsewhere(self) -> bool:
        """Whether runnerd is behind a gateway: its host, users and paths are not ours."""
        return not isinstance(self.target, str)

    def _submission(self, argv: Sequence[Text], **options: Unpack[Options]) -> protocol.Message:
        """The fields of a job; what is not said is ours, unless runnerd is elsewhere."""
        if not self.is_elsewhere:
            return build_submission(argv, **options)
        from client.elsewhere import build_submission_elsewhere

        return build_submission_elsewhere(argv, **options)

    def _request(
        self, op: str, args: protocol.Message, timeout: float | None = ANSWER_SECONDS
    ) -> protocol.Message:
        return self._pool.request(self._pool.take(), op, args, timeout)

    def _bearing(self, ask: Callable[[Request], _T], end: float = math.inf) -> _T:
        """What `ask` gives, called again for as long as runnerd is away.

        `ask` is given what to ask with. The waiting is over at `end` of time.monotonic().
        """
        patience = self._patience()

        def request(
            op: str, args: protocol.Message, timeout: float | None = ANSWER_SECONDS
        ) -> protocol.Message:
            connection = self._pool.take()
            patience.connected()
            return self._pool.request(connection, op, args, timeout)

        while True:
            try:
                return ask(request)
            except ClientError as error:
                # Nobody there at the first try is a mistake to report, not an absence to bear.
                if not is_away(error) or not self._pool.reached:
                    raise
                patience.wait(error, end)

    def _listed(self, args: protocol.Message) -> Iterator[Any]:
        """The entries of all pages of `list`, which are asked for when they are wanted."""
        return self._paged("list", {**args, "before": None}, "before", "jobs")

    def _paged(self, op: str, args: protocol.Message, cursor: str, entries: str) -> Iterator[Any]:
        """The entries of all pages. `cursor`: the field of `args` that says where one begins."""
        while True:
            answer = self._request(op, args)
            found, following = answer.get(entries), answer.get("next")
            if not isinstance(found, list):
                raise ProtocolError(f"runnerd sent a list without {entries}")
            yield from found
            if following is None:
                return
            if following == args[cursor]:
                raise ProtocolError(f"runnerd sent the same page of {entries} again")
            args = {**args, cursor: following}

    def _full_id(self, job: str) -> str:
        """The full id: while we wait, a name or prefix may come to mean another job."""
        return job if len(job) == ID_CHARS else self.status(job)["job"]

    def _patience(self) -> Patience:
        return Patience(self.reconnect_seconds, self._on_away, self._on_back)


def numbers_in(answer: protocol.Message, keys: Sequence[str], what: str) -> None:
    """Raises ProtocolError when the answer lacks one of the numbers."""
    if not all(type(answer.get(key)) is int for key in keys):
        raise ProtocolError(f"runnerd sent an answer without its {what}")


def text_in(answer: protocol.Message, key: str) -> str:
    """The text that an answer has. Raises ProtocolError when it has none."""
    value = answer.get(key)
    if isinstance(value, str):
        return value
    raise ProtocolError(f"runnerd sent an answer without {key}")
