"""What happened to jobs, as an iterator, with credit, gaps, and resumption after a restart.

The number of the last event that was received is where runnerd is asked to go on: none is missed
or repeated. What is done with the events is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from client.errors import ClientError, ProtocolError
from client.patience import is_away

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType
    from typing import Self

    from client.connection import Connection
    from client.logstream import Pool
    from client.patience import Patience
    from client.records import Event, EventGap

# Small ones, so more than of a log.
WINDOW_EVENTS: Final = 256


class EventStream:
    """Iterates over Event and EventGap, in the order of their numbers.

    `next` is what to give as `since` to go on after what was iterated over; None until the
    first item is asked for when the stream begins now. With a `patience` it follows, and bears a
    daemon that goes away. A gap has the key "gap". Close it (or use it as a context manager) when
    it is left before its end.
    """

    def __init__(
        self, pool: Pool, *, since: int | None, job: str | None, patience: Patience | None
    ) -> None:
        self.next = since
        self._pool = pool
        self._job = job
        self._patience = patience
        self._connection: Connection | None = None
        self._is_cancelled = False
        self._has_ended = False
        self._items = self._all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event | EventGap]:
        return self

    def __next__(self) -> Event | EventGap:
        return next(self._items)

    def close(self) -> None:
        """End the stream; repeating is harmless."""
        self._items.close()

    def cancel(self) -> None:
        """Let the iteration in another thread end soon."""
        self._is_cancelled = True
        if (connection := self._connection) is not None:
            connection.abort()

    def _all(self) -> Generator[Event | EventGap, None, None]:
        while not self._has_ended:
            try:
                connection = self._pool.take()
                if self._patience:
                    self._patience.connected()
                yield from self._from(connection)
            except ClientError as error:
                if self._is_cancelled:
                    return
                # Nobody there at the first try is a mistake to report, not an absence to bear.
                if self._patience is None or not is_away(error) or not self._pool.reached:
                    raise
                self._patience.wait(error)

    def _from(self, connection: Connection) -> Generator[Event | EventGap, None, None]:
        """What one connection gives, from `next` on."""
        reusable = False
        self._connection = connection
        if self._is_cancelled:
            # Before it was there to be aborted.
            connection.abort()
        try:
            begins_now = self.next is None
            if begins_now:
                # First to have a number to go on from, whenever the connection breaks.
                yield from self._asked(connection, follow=False)
            if self._patience or not begins_now:
                yield from self._asked(connection, follow=self._patience is not None)
            reusable = self._has_ended = True
        finally:
            self._connection = None
            if reusable and not self._is_cancelled:
                self._pool.give(connection)
            else:
                connection.close()

    def _asked(
        self, connection: Connection, *, follow: bool
    ) -> Generator[Event | EventGap, None, None]:
        args = {"since": self.next, "follow": follow, "job": self._job, "credit": WINDOW_EVENTS}
        request = connection.start_stream("events", args)
        sequence = used = 0
        while "event" in (message := connection.receive(request)):
            sequence += 1
            if message.get("seq") != sequence:
                raise ProtocolError(f"item {sequence} of the events was expected next")
            yield self._taken(message["event"])
            # Credit only for what the caller is done with: that is what holds the daemon back.
            used += 1
            if used >= WINDOW_EVENTS // 2:
                connection.notify(request, "credit", {"events": used})
                used = 0
        self._goes_on_at(_number(message["ok"], "next"))

    def _taken(self, event: Any) -> Event | EventGap:  # noqa: ANN401  checked here
        if isinstance(event, dict) and event.get("gap") is True:
            _number(event, "since")
            self._goes_on_at(_number(event, "oldest") - 1)
            return cast("EventGap", event)
        number = _number(event, "seq")
        kinds = {"time_ns": int, "job": str, "kind": str, "data": dict}
        if not all(isinstance(event.get(key), kind) for key, kind in kinds.items()):
            raise ProtocolError("runnerd sent an event of another form")
        if self.next is not None and number <= self.next:
            raise ProtocolError(f"runnerd sent event {number} after event {self.next}")
        self._goes_on_at(number)
        return cast("Event", event)

    def _goes_on_at(self, number: int) -> None:
        if self._patience:
            self._patience.progress()
        self.next = number if self.next is None else max(number, self.next)


def _number(value: Any, key: str) -> int:  # noqa: ANN401  checked here
    number = value.get(key) if isinstance(value, dict) else None
    if type(number) is not int:
        raise ProtocolError(f"runnerd sent something without its {key} among the events")
    return number
