"""What happened to jobs: in order, with credit, none missed or repeated over a restart."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from client.eventstream import WINDOW_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.conftest import FakeDaemon, Session

    Job = Callable[..., dict[str, Any]]

JOB_ID = "3f2a81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"


def event(number: int) -> dict[str, Any]:
    return {"seq": number, "time_ns": number * 10, "job": JOB_ID, "kind": "submit", "data": {}}


def numbers(items: list[Any]) -> list[int]:
    return [item["seq"] for item in items]


class History:
    """The events of a daemon: each connection gives three of them and is killed, if `torn`."""

    def __init__(self, daemon: FakeDaemon, newest: int, *, torn: bool = False) -> None:
        self.newest = newest
        self.end = newest
        self.torn = torn
        daemon.handlers["events"] = self.answer

    def answer(self, session: Session, request: dict[str, Any]) -> None:
        since = request["args"]["since"]
        if since is None:
            session.ok(request, {"next": self.newest})
            return
        count = 0
        while since < self.end:
            since, count = since + 1, count + 1
            session.event(request, count, event(since))
            if self.torn and count == 3:
                session.sock.sendall(b"\0\0\1\0a torn frame")
                session.close()
                return
        session.ok(request, {"next": since})


def test_events_are_given_from_a_number_on_to_the_newest(daemon: FakeDaemon) -> None:
    History(daemon, 7)
    with Client(daemon.path) as client, client.events(since=3) as stream:
        assert numbers(list(stream)) == [4, 5, 6, 7]
        assert stream.next == 7
    asked = {"since": 3, "follow": False, "job": None, "credit": WINDOW_EVENTS}
    assert daemon.args("events") == [asked]


def test_from_now_on_is_a_number_and_nothing_else(daemon: FakeDaemon) -> None:
    History(daemon, 7)
    with Client(daemon.path) as client:
        stream = client.events()
        assert list(stream) == []
        assert stream.next == 7
    assert len(daemon.args("events")) == 1


def test_following_from_now_on_has_a_number_before_it_waits(daemon: FakeDaemon) -> None:
    """So that what happens while the connection is gone is not missed."""
    history = History(daemon, 7)
    answer, tries = history.answer, iter(range(9))

    def lose_the_first(session: Session, request: dict[str, Any]) -> None:
        if request["args"]["follow"] and next(tries) == 0:
            history.end = 9
            session.close()
        else:
            answer(session, request)

    daemon.handlers["events"] = lose_the_first
    with Client(daemon.path) as client:
        assert numbers(list(client.events(follow=True))) == [8, 9]
    assert [args["since"] for args in daemon.args("events")] == [None, 7, 7]


def test_following_goes_on_after_the_last_event_that_came(daemon: FakeDaemon) -> None:
    History(daemon, 20, torn=True)
    heard: list[str] = []
    client = Client(
        daemon.path,
        on_away=lambda _error: heard.append("away"),
        on_back=lambda: heard.append("back"),
    )
    with client, client.events(since=0, follow=True) as stream:
        assert numbers(list(stream)) == list(range(1, 21))
    assert [args["since"] for args in daemon.args("events")] == list(range(0, 20, 3))
    assert heard == ["away", "back"] * 6


def test_a_gap_is_given_in_its_place_and_not_again(daemon: FakeDaemon) -> None:
    tries = iter(range(2))

    def answer(session: Session, request: dict[str, Any]) -> None:
        if next(tries) == 0:
            session.event(request, 1, {"gap": True, "since": 2, "oldest": 9})
            session.close()
        else:
            session.event(request, 1, event(9))
            session.ok(request, {"next": 11})

    daemon.handlers["events"] = answer
    with Client(daemon.path) as client, client.events(since=2, follow=True) as stream:
        gap, kept = list(stream)
        assert gap == {"gap": True, "since": 2, "oldest": 9}
        assert kept == event(9)
        # What was others' lies between.
        assert stream.next == 11
    assert [args["since"] for args in daemon.args("events")] == [2, 8]


def test_the_number_to_go_on_from_is_that_of_the_last_that_was_given(daemon: FakeDaemon) -> None:
    History(daemon, 9)
    with Client(daemon.path) as client, client.events(since=0) as stream:
        assert next(stream) == event(1)
        assert next(stream) == event(2)
        assert stream.next == 2


def test_one_job_is_followed_by_its_full_id(daemon: FakeDaemon, make_job: Job) -> None:
    History(daemon, 1)
    daemon.answer("status", make_job())
    with Client(daemon.path) as client:
        list(client.events(since=0, job="build"))
        list(client.events(since=0, job="build", follow=True))
        # By its full id it may be gone.
        list(client.events(since=0, job=JOB_ID, follow=True))
    assert [args["job"] for args in daemon.args("events")] == ["build", JOB_ID, JOB_ID]
    assert len(daemon.args("status")) == 1


def test_credit_is_granted_only_for_what_was_used(daemon: FakeDaemon) -> None:
    total = WINDOW_EVENTS * 3
    state = {"sent": 0}

    def push(session: Session, request: dict[str, Any], events: int) -> None:
        for _ in range(min(events, total - state["sent"])):
            state["sent"] += 1
            session.event(request, state["sent"], event(state["sent"]))
        if state["sent"] == total:
            session.ok(request, {"next": total})

    daemon.handlers["events"] = lambda s, r: push(s, r, r["args"]["credit"])
    daemon.handlers["credit"] = lambda s, r: push(s, r, r["args"]["events"])
    with Client(daemon.path) as client, client.events(since=0) as stream:
        assert next(stream)["seq"] == 1  # type: ignore[typeddict-item]
        assert not daemon.args("credit")
        assert len(list(stream)) == total - 1
    granted = sum(args["events"] for args in daemon.args("credit"))
    assert total - WINDOW_EVENTS <= granted <= total


@pytest.mark.parametrize("state", ["silent", "away", "not begun"])
def test_a_stream_can_be_ended_from_another_thread(daemon: FakeDaemon, state: str) -> None:
    if state == "away":
        daemon.handlers["events"] = lambda session, _request: session.close()
    else:
        daemon.handlers["events"] = lambda s, r: s.event(r, 1, event(1))
    with Client(daemon.path) as client, client.events(since=0, follow=True) as stream:
        items: list[object] = []
        reader = threading.Thread(target=lambda: items.extend(stream))
        if state == "not begun":
            stream.cancel()
            reader.start()
        else:
            reader.start()
            daemon.wait_for("events")
            stream.cancel()
        reader.join(20)
        assert not reader.is_alive()


def test_reading_without_following_does_not_try_again(daemon: FakeDaemon) -> None:
    daemon.handlers["events"] = lambda session, _request: session.close()
    with Client(daemon.path) as client, pytest.raises(ConnectionLost):
        list(client.events(since=0))
    assert len(daemon.args("events")) == 1


def test_following_gives_up_when_the_time_is_over(daemon: FakeDaemon) -> None:
    daemon.handlers["events"] = lambda session, _request: session.close()
    client = Client(daemon.path, reconnect_seconds=0.1)
    with client, pytest.raises(ConnectionLost):
        list(client.events(since=0, follow=True))
    assert len(daemon.args("events")) > 1


def test_a_daemon_that_was_never_there_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnavailable):
        next(Client(str(tmp_path / "none")).events(follow=True))


def test_a_refusal_ends_following(daemon: FakeDaemon) -> None:
    daemon.refuse("events", "invalid-argument", field="since", given="99", allowed="0 to 7")
    with Client(daemon.path) as client, pytest.raises(RequestRefused, match="0 to 7"):
        list(client.events(since=99, follow=True))


@pytest.mark.parametrize(
    "item",
    [
        {},
        5,
        None,
        {"gap": True, "since": 0},
        {"gap": True, "since": 0, "oldest": "x"},
        {**event(1), "seq": True},
        {**event(1), "job": None},
        {**event(1), "data": None},
        {**event(1), "time_ns": "x"},
        event(0),
    ],
)
def test_an_item_that_does_not_fit_is_a_protocol_error(daemon: FakeDaemon, item: Any) -> None:
    daemon.handlers["events"] = lambda s, r: s.event(r, 1, item)
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.events(since=0, follow=True))


def test_an_event_that_came_before_is_never_given_again(daemon: FakeDaemon) -> None:
    def answer(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, event(5))
        session.event(request, 2, event(5))

    daemon.handlers["events"] = answer
    with Client(daemon.path) as client, client.events(since=0) as stream:
        assert next(stream)
        with pytest.raises(ProtocolError, match="event 5 after event 5"):
            next(stream)


def test_an_item_out_of_its_sequence_is_a_protocol_error(daemon: FakeDaemon) -> None:
    daemon.handlers["events"] = lambda s, r: s.event(r, 2, event(1))
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="item 1"):
        list(client.events(since=0))


def test_an_end_without_its_number_is_a_protocol_error(daemon: FakeDaemon) -> None:
    daemon.answer("events", {})
    with Client(daemon.path) as client, pytest.raises(ProtocolError, match="without its next"):
        list(client.events(since=0))


def test_leaving_early_closes_the_connection_and_a_finished_one_is_used_again(
    daemon: FakeDaemon,
) -> None:
    left = threading.Event()

    def answer(session: Session, request: dict[str, Any]) -> None:
        session.event(request, 1, event(1))
        assert session.read() is None
        left.set()

    daemon.handlers["events"] = answer
    with Client(daemon.path) as client:
        with client.events(since=0, follow=True) as stream:
            assert next(stream)
        stream.close()
        assert left.wait(10)
        History(daemon, 2)
        for _ in range(3):
            assert len(list(client.events(since=0))) == 2
    assert len(daemon.args("hello")) == 2
