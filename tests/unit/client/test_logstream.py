"""A log as an iterator: every byte once, credit for what was used, across restarts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.api import Client
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from client.log_position import _chunks
from client.logstream import WINDOW_EVENTS, LogChunk, LogGap, LogStream, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"


def output(offset: int, *runs: tuple[int, bytes]) -> dict[str, Any]:
    return {
        "offset": offset,
        "runs": [[stream, len(data), 7] for stream, data in runs],
        "data": b"".join(data for _, data in runs),
    }


def serve(daemon: FakeDaemon, events: list[dict[str, Any]], end: dict[str, Any]) -> None:
    def logs(session: Session, request: dict[str, Any]) -> None:
        for seq, event in enumerate(events, 1):
            session.event(request, seq, event)
        session.ok(request, end)

    daemon.handlers["logs"] = logs


def test_chunks_come_by_stream_with_offsets_then_the_status(
    daemon: FakeDaemon, make_job: Job
) -> None:
    events = [output(0, (1, b"out"), (2, b"err")), output(6, (1, b"!"))]
    serve(daemon, events, {"cursor": 7, "status": make_job(result={})})
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert [stream.status] == [None]
        assert list(stream) == [
            LogChunk(0, 1, b"out", 7),
            LogChunk(3, 2, b"err", 7),
            LogChunk(6, 1, b"!", 7),
        ]
        assert stream.cursor == 7
        assert stream.status is not None
        assert stream.status["state"] == "ended"
    assert daemon.args("logs")[0] == {
        "job": JOB_ID, "cursor": 0, "follow": False, "credit": WINDOW_EVENTS,
    }  # fmt: skip


def test_the_cursor_is_where_the_next_item_begins(daemon: FakeDaemon, make_job: Job) -> None:
    events = [output(5, (1, b"ab"), (2, b"c")), {"gap_bytes": 92, "offset": 100}]
    serve(daemon, events, {"cursor": 100, "status": make_job()})
    with Client(daemon.path) as client, client.logs(JOB_ID, cursor=5) as stream:
        cursors = [stream.cursor, *(stream.cursor for _ in stream)]
    assert cursors == [5, 7, 8, 100]


def test_a_gap_is_an_item_of_its_own(daemon: FakeDaemon, make_job: Job) -> None:
    events = [{"gap_bytes": 100, "offset": 100}, output(100, (1, b"x"))]
    serve(daemon, events, {"cursor": 101, "status": make_job()})
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert list(stream.batches()) == [[LogGap(100, 100)], [LogChunk(100, 1, b"x", 7)]]


@pytest.mark.parametrize("why", ["removed", "dropped", "damaged", "of a later kind"])
def test_a_gap_says_why(daemon: FakeDaemon, make_job: Job, why: str) -> None:
    serve(daemon, [{"gap_bytes": 5, "offset": 5, "why": why}], {"cursor": 5, "status": make_job()})
    with Client(daemon.path) as client:
        assert list(client.logs(JOB_ID)) == [LogGap(5, 5, why)]


def test_only_what_is_asked_for_is_sent_and_again_after_a_restart(
    daemon: FakeDaemon, make_job: Job
) -> None:
    def logs(session: Session, request: dict[str, Any]) -> None:
        position = request["args"]["cursor"]
        session.event(request, 1, output(position, (1, b"x")))
        if position == 5:
            session.close()
        else:
            session.ok(request, {"cursor": 7, "status": make_job(result={})})

    daemon.handlers["logs"] = logs
    with Client(daemon.path) as client:
        assert len(list(client.logs(JOB_ID, cursor=5, follow=True, until_ns=9, attempt=1))) == 2
    asked = {"job": JOB_ID, "follow": True, "until_ns": 9, "attempt": 1, "credit": WINDOW_EVENTS}
    assert daemon.args("logs") == [{**asked, "cursor": 5}, {**asked, "cursor": 6}]


@pytest.mark.parametrize("state", ["silent", "away", "not begun"])
def test_a_stream_can_be_ended_from_another_thread(daemon: FakeDaemon, state: str) -> None:
    if state == "away":
        daemon.handlers["logs"] = lambda session, _request: session.close()
    else:
        daemon.handlers["logs"] = lambda s, r: s.event(r, 1, output(0, (1, b"x")))
    with Client(daemon.path) as client, client.logs(JOB_ID, follow=True) as stream:
        items: list[object] = []
        reader = threading.Thread(target=lambda: items.extend(stream))
        if state == "not begun":
            stream.cancel()
            reader.start()
        else:
            reader.start()
            daemon.wait_for("logs")
            stream.cancel()
        reader.join(20)
        assert not reader.is_alive()
    assert stream.status is None


def test_credit_is_granted_only_for_what_was_used(daemon: FakeDaemon, make_job: Job) -> None:
    total = WINDOW_EVENTS * 4
    credit = threading.Semaphore(0)
    state = {"sent": 0}

    def push(session: Session, request: dict[str, Any], events: int) -> None:
        for _ in range(min(events, total - state["sent"])):
            state["sent"] += 1
            session.event(request, state["sent"], output(state["sent"] - 1, (1, b"x")))
        if state["sent"] == total:
            session.ok(request, {"cursor": total, "status": make_job()})
        credit.release()

    daemon.handlers["logs"] = lambda s, r: push(s, r, r["args"]["credit"])
    daemon.handlers["credit"] = lambda s, r: push(s, r, r["args"]["events"])
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert next(stream).offset == 0
        assert credit.acquire(timeout=10)
        # One is in use, none used up: nothing more was asked for.
        assert not daemon.args("credit")
        assert len(list(stream)) == total - 1
    granted = sum(args["events"] for args in daemon.args("credit"))
    assert total - WINDOW_EVENTS <= granted <= total


def test_following_goes_on_at_the_cursor_after_a_restart(daemon: FakeDaemon, make_job: Job) -> None:
    text = bytes(range(256)) * 8
    heard: list[str] = []

    def part(session: Session, request: dict[str, Any]) -> None:
        """Three events from the cursor on; then the daemon is killed."""
        position = request["args"]["cursor"]
        for seq in range(1, 4):
            data = text[position : position + 100]
            if not data:
                session.ok(request, {"cursor": position, "status": make_job(result={})})
                return
            session.event(request, seq, output(position, (1, data)))
            position += len(data)
        session.sock.sendall(b"\0\0\1\0a torn frame")
        session.close()

    daemon.handlers["logs"] = part
    client = Client(
        daemon.path,
        on_away=lambda _error: heard.append("away"),
        on_back=lambda: heard.append("back"),
    )
    with client, client.logs(JOB_ID, follow=True) as stream:
        got = b"".join(item.data for item in stream if isinstance(item, LogChunk))
    assert got == text
    assert [args["cursor"] for args in daemon.args("logs")] == [*range(0, len(text), 300), 2048]
    assert heard == ["away", "back"] * (len(daemon.args("logs")) - 1)


def test_following_waits_for_a_daemon_that_starts_again(daemon: FakeDaemon, make_job: Job) -> None:
    def stop(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, output(0, (1, b"one")))
        session.refuse(request, "shutting-down")

    daemon.handlers["logs"] = stop

    def restart(_error: Exception) -> None:
        daemon.stop()
        serve(daemon, [output(3, (1, b"two"))], {"cursor": 6, "status": make_job(result={})})
        starter.start()

    starter = threading.Timer(0.1, daemon.start)
    with (
        Client(daemon.path, on_away=restart) as client,
        client.logs(JOB_ID, follow=True) as stream,
    ):
        got = [item.data for item in stream if isinstance(item, LogChunk)]
    starter.join()
    assert got == [b"one", b"two"]


def test_following_gives_up_when_the_time_is_over(daemon: FakeDaemon) -> None:
    daemon.handlers["logs"] = lambda session, _request: session.close()
    with (
        Client(daemon.path, reconnect_seconds=0.1) as client,
        client.logs(JOB_ID, follow=True) as stream,
        pytest.raises(ConnectionLost),
    ):
        list(stream)
    assert len(daemon.args("logs")) > 1


def test_reading_without_following_does_not_try_again(daemon: FakeDaemon) -> None:
    daemon.handlers["logs"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        list(client.logs(JOB_ID))
    assert len(daemon.args("logs")) == 1


def test_a_refusal_ends_following(daemon: FakeDaemon) -> None:
    daemon.refuse("logs", "no-such-job")
    with Client(daemon.path) as client, pytest.raises(RequestRefused):
        list(client.logs(JOB_ID, follow=True))


# --- attempts ---


class Attempts:
    """A daemon with a job of several attempts, which may go away after each event."""

    def __init__(self, daemon: FakeDaemon, make_job: Job, texts: list[bytes]) -> None:
        self.texts = texts
        self.make_job = make_job
        # After how many events the connection breaks, for one connection after the other.
        self.breaks: list[int] = []
        self.newest = len(texts)
        daemon.handlers["logs"] = self.logs

    def logs(self, session: Session, request: dict[str, Any]) -> None:
        args = request["args"]
        left = self.breaks.pop(0) if self.breaks else 10**9
        for seq, event in enumerate(self.events(args), 1):
            if left < seq:
                session.close()
                return
            session.event(request, seq, event)
        alone = args.get("attempt")
        last = alone or self.newest
        status = self.make_job(result={}, attempt=self.newest)
        cursor = len(self.texts[last - 1])
        session.ok(request, {"cursor": cursor, "attempt": last, "status": status})

    def events(self, args: dict[str, Any]) -> Iterator[dict[str, Any]]:
        alone = args.get("attempt")
        if alone is None:
            numbers = range(1 if args["follow"] else self.newest, self.newest + 1)
        else:
            numbers = range(alone, alone + 1)
        start = args["cursor"]
        for number in numbers:
            if alone is None:
                yield {"attempt": number, "offset": start}
            for offset in range(start, len(self.texts[number - 1])):
                yield output(offset, (1, self.texts[number - 1][offset : offset + 1]))
            start = 0


def read_attempts(stream: LogStream) -> dict[int, bytes]:
    """The output by attempts; a batch without output says that another has begun."""
    found: dict[int, bytes] = {}
    for batch in stream.batches():
        if not batch:
            assert stream.attempt not in found
            found[stream.attempt] = b""
        for item in batch:
            assert isinstance(item, LogChunk)
            assert item.offset == len(found.setdefault(stream.attempt, b""))
            found[stream.attempt] += item.data
            assert stream.cursor == len(found[stream.attempt])
    return found


def test_who_follows_is_told_at_each_attempt_which_it_is(daemon: FakeDaemon, make_job: Job) -> None:
    texts = [b"one", b"", b"three"]
    Attempts(daemon, make_job, texts)
    with Client(daemon.path) as client, client.logs(JOB_ID, follow=True) as stream:
        assert stream.attempt == 1
        assert read_attempts(stream) == {1: b"one", 2: b"", 3: b"three"}
        assert (stream.attempt, stream.cursor) == (3, 5)
        assert stream.status is not None
    assert len(daemon.args("logs")) == 1


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_over_restarts_no_byte_of_any_attempt_is_missed_or_repeated(
    daemon: FakeDaemon, make_job: Job, step: int
) -> None:
    texts = [b"first", b"", b"the third", b"4"]
    made = Attempts(daemon, make_job, texts)
    # Never before it is known which attempt is read: then it is asked for anew.
    made.breaks = [step] * 40
    with Client(daemon.path) as client, client.logs(JOB_ID, follow=True) as stream:
        assert read_attempts(stream) == dict(enumerate(texts, 1))
    assert {args.get("attempt") for args in daemon.args("logs")} == {None, 1, 2, 3, 4}


def test_before_anything_came_the_daemon_is_asked_anew_which_attempt(
    daemon: FakeDaemon, make_job: Job
) -> None:
    made = Attempts(daemon, make_job, [b"one"])
    made.breaks = [0, 1]
    with Client(daemon.path) as client, client.logs(JOB_ID, follow=True) as stream:
        assert read_attempts(stream) == {1: b"one"}
    assert [args.get("attempt") for args in daemon.args("logs")] == [None, None, 1]


def test_without_following_it_is_the_newest_with_its_number(
    daemon: FakeDaemon, make_job: Job
) -> None:
    Attempts(daemon, make_job, [b"one", b"two"])
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert [item.data for item in stream if isinstance(item, LogChunk)] == [b"t", b"w", b"o"]
        assert (stream.attempt, stream.cursor) == (2, 3)


@pytest.mark.parametrize("follow", [False, True])
def test_an_attempt_is_read_alone_unless_it_is_to_go_on(
    daemon: FakeDaemon, make_job: Job, *, follow: bool
) -> None:
    Attempts(daemon, make_job, [b"one", b"two", b"three"])
    with Client(daemon.path) as client:
        pool = client._pool
        alone = LogStream(pool, Selection(JOB_ID, 0, follow, None, 2), None)
        assert read_attempts(alone) == {2: b"two"}
        on = LogStream(pool, Selection(JOB_ID, 3, follow, None, 1, goes_on=True), None)
        assert read_attempts(on) == {2: b"two", 3: b"three"}
        assert on.status is not None
    assert all("goes_on" not in args for args in daemon.args("logs"))


@pytest.mark.parametrize(
    "event", [{"attempt": 1}, {"attempt": "2"}, {"attempt": 0}, {"attempt": 3, "offset": "x"}]
)
def test_an_attempt_that_does_not_follow_is_a_protocol_error(
    daemon: FakeDaemon, event: dict[str, Any]
) -> None:
    serve(daemon, [{"attempt": 2}, event], {})
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.logs(JOB_ID))


@pytest.mark.parametrize(
    "event",
    [
        {},
        5,
        None,
        {"offset": 0},
        {"offset": 0, "runs": [[1, 3, 0]], "data": b"ab"},
        {"offset": 0, "runs": [[1, 1, 0]], "data": b"ab"},
        {"offset": 0, "runs": [[1, 1]], "data": b"a"},
        {"offset": 0, "runs": [[1, 2, 0]], "data": "ab"},
        {"offset": 1, "runs": [[1, 2, 0]], "data": b"ab"},
        {"offset": "x", "gap_bytes": 1},
        {"gap_bytes": None, "offset": 1},
    ],
)
def test_an_event_that_does_not_fit_is_a_protocol_error(
    daemon: FakeDaemon, event: dict[str, Any]
) -> None:
    serve(daemon, [event], {})
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.logs(JOB_ID))


def test_bytes_that_came_before_are_never_given_again(daemon: FakeDaemon) -> None:
    serve(daemon, [output(0, (1, b"abc")), output(2, (1, b"cd"))], {})
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert next(stream)
        with pytest.raises(ProtocolError, match="from offset 2, not from 3"):
            next(stream)


def test_an_event_out_of_its_sequence_is_a_protocol_error(daemon: FakeDaemon) -> None:
    daemon.handlers["logs"] = lambda s, r: s.event(r, 2, output(0, (1, b"abc")))
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="event 1"):
        list(client.logs(JOB_ID))


def test_an_end_without_a_status_is_a_protocol_error(daemon: FakeDaemon) -> None:
    serve(daemon, [], {"cursor": 0})
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="status"):
        list(client.logs(JOB_ID))


def test_what_was_sent_before_the_daemon_ended_is_still_read(
    daemon: FakeDaemon, make_job: Job
) -> None:
    closed = threading.Event()

    def logs(session: Session, request: dict[str, Any]) -> None:
        for seq in range(1, WINDOW_EVENTS + 1):
            session.event(request, seq, output(seq - 1, (1, b"x")))
        session.ok(request, {"cursor": WINDOW_EVENTS, "status": make_job(result={})})
        session.close()
        closed.set()

    daemon.handlers["logs"] = logs
    with Client(daemon.path) as client, client.logs(JOB_ID) as stream:
        assert next(stream)
        assert closed.wait(10)
        # Credit can no longer be sent; everything is in the socket all the same.
        assert len(list(stream)) == WINDOW_EVENTS - 1


def test_leaving_early_closes_the_connection(daemon: FakeDaemon) -> None:
    left = threading.Event()

    def logs(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, output(0, (1, b"x")))
        assert session.read() is None
        left.set()

    daemon.handlers["logs"] = logs
    with Client(daemon.path) as client:
        with client.logs(JOB_ID, follow=True) as stream:
            assert next(stream)
        stream.close()
        assert left.wait(10)


def test_a_finished_stream_gives_its_connection_back(daemon: FakeDaemon, make_job: Job) -> None:
    serve(daemon, [], {"cursor": 0, "status": make_job()})
    with Client(daemon.path) as client:
        for _ in range(3):
            assert isinstance(stream := client.logs(JOB_ID), LogStream)
            assert list(stream) == []
    assert len(daemon.args("hello")) == 1


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=9)), max_size=9))
def test_runs_cut_the_data_without_loss(runs: list[tuple[int, bytes]]) -> None:
    chunks = _chunks(output(40, *runs))
    assert [(c.stream, c.data) for c in chunks if isinstance(c, LogChunk)] == runs
    end = 40
    for chunk in chunks:
        assert chunk.offset == end
        end += len(chunk.data) if isinstance(chunk, LogChunk) else 0


def test_a_daemon_that_was_there_a_moment_ago_is_waited_for_at_the_first_try_too(
    tmp_path: Path,
) -> None:
    class LeftError(Exception):
        pass

    def on_away(error: Exception) -> None:
        raise LeftError from error

    path = str(tmp_path / "nobody")
    with pytest.raises(LeftError):
        next(Client(path, on_away=on_away, was_reached=True).logs(JOB_ID, follow=True))
    with pytest.raises(DaemonUnavailable):
        next(Client(path, on_away=on_away).logs(JOB_ID, follow=True))
