"""Where a reader of a job's output is, and what may come next. No I/O.

The position only moves by what was received, and the daemon is asked again from there: so no byte
is missed or repeated, whoever reads (`client.logstream`, blocking; the gateway, with asyncio). Each
attempt of a job has an output of its own; who follows a job is given one after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from client.errors import ProtocolError

if TYPE_CHECKING:
    from client.protocol import Message
    from client.records import JobStatus


class LogChunk(NamedTuple):
    """Bytes of one stream (`client.protocol.STDOUT` or `STDERR`) that were read together.

    `offset` is absolute, among the bytes of both streams; `time_ns` is Unix time.
    """

    offset: int
    stream: int
    data: bytes
    time_ns: int


class LogGap(NamedTuple):
    """`gap_bytes` that are not there; reading goes on at `offset`.

    `why` is "removed" (by retention), "dropped" (the disk was full) or "damaged".
    """

    gap_bytes: int
    offset: int
    why: str = "removed"


class Selection(NamedTuple):
    """Which job's output, and which part of it; see `client.api.Client.logs`.

    An `attempt` is read alone, unless it `goes_on` with those that come after it.
    """

    job: str
    cursor: int = 0
    follow: bool = False
    until_ns: int | None = None
    attempt: int | None = None
    goes_on: bool = False

    def arguments(self) -> Message:
        """Those of the `logs` request; what was not asked for is left to the daemon."""
        asked = self._asdict()
        del asked["goes_on"]
        return {key: value for key, value in asked.items() if value is not None}


class LogPosition:
    """What to ask for now (`arguments`), and what the answers mean (`take`, `end`).

    `cursor` is where what was not taken yet begins, in the output of attempt `attempt`. `status` is
    the job as it was at the end, None until then. `later` is the attempt to `begin` next.
    """

    def __init__(self, selection: Selection) -> None:
        self.cursor = selection.cursor
        self.attempt = selection.attempt or 1
        self.status: JobStatus | None = None
        self.later: int | None = None
        self._asked = selection.arguments()
        # Whether it is known which attempt is read; until then the daemon chooses.
        self._is_known = selection.attempt is not None
        # With the later attempts: ours to ask for where the daemon was asked for one.
        self._goes_on = selection.goes_on or (selection.follow and selection.attempt is None)

    def arguments(self) -> Message:
        """Those of a `logs` request that goes on from here."""
        args = {**self._asked, "cursor": self.cursor}
        if self._is_known:
            # Not the newest that has begun by now.
            args["attempt"] = self.attempt
        return args

    def begin(self, attempt: int, start: int = 0) -> list[LogChunk | LogGap]:
        """What comes next is of that attempt, from that offset on: an empty list to give on."""
        self.later = None
        self.attempt, self._is_known = attempt, True
        self.cursor = start
        return []

    def take(self, event: Any) -> list[LogChunk | LogGap]:  # noqa: ANN401  checked here
        """An event's items; none at the beginning of another attempt. Raises ProtocolError."""
        if isinstance(event, dict) and "attempt" in event:
            return self._take_attempt(event)
        try:
            batch = _gap(event) if "gap_bytes" in event else _chunks(event)
            start = int(event["offset"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ProtocolError("runnerd sent a log event of another form") from None
        if start < self.cursor or (start > self.cursor and "gap_bytes" not in event):
            raise ProtocolError(f"runnerd sent output from offset {start}, not from {self.cursor}")
        self._is_known = True
        self.cursor = start + len(event.get("data", b""))
        return batch

    def end(self, answer: Any) -> None:  # noqa: ANN401  checked here
        """The last word of a `logs` request: `status` or `later` is set. Raises ProtocolError."""
        if not isinstance(answer, dict) or not isinstance(answer.get("status"), dict):
            raise ProtocolError("runnerd ended the log without the job's status")
        status = cast("JobStatus", answer["status"])
        newest: object = status.get("attempt")
        if self._goes_on and isinstance(newest, int) and newest > self.attempt:
            self.later = self.attempt + 1
        else:
            self.status = status

    def _take_attempt(self, event: Message) -> list[LogChunk | LogGap]:
        """What comes next is of another attempt: that which the daemon chose, or the next one."""
        number, start = event["attempt"], event.get("offset", 0)
        is_new = isinstance(number, int) and number >= self.attempt + self._is_known
        if not is_new or not isinstance(start, int):
            raise ProtocolError("runnerd sent an attempt out of order")
        return self.begin(number, start)


def _gap(event: Message) -> list[LogChunk | LogGap]:
    why = str(event.get("why", "removed"))
    return [LogGap(int(event["gap_bytes"]), int(event["offset"]), why)]


def _chunks(event: Message) -> list[LogChunk | LogGap]:
    """An event's runs with their bytes. Raises ValueError when they do not add up."""
    offset, data = int(event["offset"]), event["data"]
    chunks: list[LogChunk | LogGap] = []
    begin = 0
    for stream, length, time_ns in event["runs"]:
        chunks.append(LogChunk(offset + begin, stream, data[begin : begin + length], time_ns))
        begin += length
    if begin != len(data) or not isinstance(data, bytes):
        raise ValueError("runs and data differ")
    return chunks
