"""The wire from the client's side: greeting, answers, and everything that can be amiss."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from client import connection as connections
from client import protocol
from client.connection import Connection
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.conftest import FakeDaemon, Session


def test_a_connection_greets_and_gets_answers(daemon: FakeDaemon) -> None:
    daemon.answer("status", {"job": "x"})
    connection = Connection(daemon.path)
    assert connection.hello["server"] == "runnerd 9.9.9"
    assert connection.request("status", {"job": "x"}) == {"job": "x"}
    connection.close()
    hello = daemon.args("hello")[0]
    assert hello["protocol"] == protocol.PROTOCOL_VERSION
    assert hello["client"].startswith("runctl ")


def test_answers_to_other_requests_are_left_out(daemon: FakeDaemon) -> None:
    def late(session: Session, request: dict[str, Any]) -> None:
        session.send({"id": request["id"] + 1000, "error": {"code": "cancelled"}})
        session.ok(request, {"mine": True})

    daemon.handlers["status"] = late
    connection = Connection(daemon.path)
    assert connection.request("status", {}) == {"mine": True}
    connection.close()


def test_a_refusal_carries_the_wires_data(daemon: FakeDaemon) -> None:
    daemon.refuse("status", "ambiguous-job", given="3f2a", candidates=["a", "b"])
    connection = Connection(daemon.path)
    with pytest.raises(RequestRefused) as caught:
        connection.request("status", {"job": "3f2a"})
    connection.close()
    assert caught.value.code == "ambiguous-job"
    assert caught.value.candidates == ["a", "b"]


def test_a_refused_greeting_is_the_refusal(daemon: FakeDaemon) -> None:
    daemon.refuse("hello", "unsupported-protocol", detail="2 to 3")
    with pytest.raises(RequestRefused, match="same release"):
        Connection(daemon.path)


def test_an_error_with_id_0_is_for_whoever_waits(daemon: FakeDaemon) -> None:
    daemon.handlers["status"] = lambda session, _request: session.send(
        {"id": 0, "error": {"code": "bad-frame", "detail": "too deep"}}
    )
    connection = Connection(daemon.path)
    with pytest.raises(RequestRefused, match="too deep"):
        connection.request("status", {})
    connection.close()


@pytest.mark.parametrize(
    "send",
    [
        lambda session, _: session.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda session, _: session.sock.sendall(b"\0\0\0\3abc"),
        lambda session, _: session.sock.sendall(b"\0\0\0\0"),
        lambda session, request: session.send({"id": request["id"]}),
        lambda session, request: session.ok(request, 5),
        lambda session, request: session.send({"id": request["id"], "error": 5}),
        lambda session, request: session.event(request, 1, {}),
    ],
)
def test_what_is_not_the_protocol_is_a_protocol_error(
    daemon: FakeDaemon, send: Callable[[Session, dict[str, Any]], None]
) -> None:
    daemon.handlers["status"] = send
    connection = Connection(daemon.path)
    with pytest.raises(ProtocolError):
        connection.request("status", {})
    connection.close()


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\0\0\1\0half"])
def test_a_connection_that_ends_before_the_answer_is_lost(daemon: FakeDaemon, sent: bytes) -> None:
    def hang_up(session: Session, _request: dict[str, Any]) -> None:
        session.sock.sendall(sent)
        session.close()

    daemon.handlers["status"] = hang_up
    connection = Connection(daemon.path)
    with pytest.raises(ConnectionLost):
        connection.request("status", {})
    connection.close()


def test_an_answer_that_does_not_come_is_given_up(daemon: FakeDaemon) -> None:
    daemon.handlers["status"] = lambda _session, _request: None
    connection = Connection(daemon.path)
    with pytest.raises(ConnectionLost, match=r"within 0\.05 s"):
        connection.request("status", {}, timeout=0.05)
    connection.close()


def test_a_daemon_that_closed_after_saying_why_is_quoted(daemon: FakeDaemon) -> None:
    closed = threading.Event()

    def drop(session: Session, _request: dict[str, Any]) -> None:
        session.send({"id": 0, "error": {"code": "bad-frame", "detail": "last words"}})
        session.close()
        closed.set()

    daemon.handlers["credit"] = drop
    connection = Connection(daemon.path)
    connection.notify(1, "credit", {"events": 1})
    assert closed.wait(10)
    with pytest.raises(RequestRefused, match="last words"):
        connection.request("status", {})
    with pytest.raises(ConnectionLost):
        connection.request("status", {})
    connection.close()


def test_an_idle_connection_knows_when_the_other_side_is_gone(daemon: FakeDaemon) -> None:
    connection = Connection(daemon.path)
    assert connection.is_idle()
    daemon.stop()
    assert not connection.is_idle()
    connection.close()
    assert not connection.is_idle()


def test_a_missing_socket_says_how_to_start_the_daemon(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnavailable, match=r"no socket .*sudo runnerd.*--socket") as caught:
        Connection(str(tmp_path / "none"))
    assert caught.value.reason == "missing"
    with pytest.raises(DaemonUnavailable) as caught:
        Connection(str(tmp_path / "none" / "deeper"))
    assert caught.value.reason == "missing"


def test_a_socket_that_nobody_listens_on_is_told_from_a_missing_one(daemon: FakeDaemon) -> None:
    daemon.stop()
    with pytest.raises(DaemonUnavailable, match="nobody listens") as caught:
        Connection(daemon.path)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize("name", ["file", "", "x" * 200])
def test_a_path_that_is_no_socket_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DaemonUnavailable, match="cannot connect") as caught:
        Connection(str(tmp_path / name) if name else "")
    assert caught.value.reason == "other"


def test_denied_permission_names_the_group_and_how_to_join(daemon: FakeDaemon) -> None:
    os.chmod(daemon.path, 0o660)
    error = connections.unavailable(daemon.path, PermissionError(13, "Permission denied"))
    assert error.reason == "denied"
    # Whoever runs this test owns the socket, so the group is one of theirs.
    assert "is yours" in error.remedy
    os.chmod(daemon.path, 0o600)
    assert "only its owner" in connections._how_to_join(daemon.path)
    assert "directory is closed" in connections._how_to_join(daemon.path + "/x")


def test_a_stranger_is_told_to_join_the_group(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chmod(daemon.path, 0o660)
    group = os.stat(daemon.path).st_gid
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    monkeypatch.setattr(os, "getgroups", list)
    assert "usermod -aG" in connections._how_to_join(daemon.path)


def test_a_full_backlog_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "GREETING_SECONDS", 1)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(DaemonUnavailable, match="does not accept") as caught:
            Connection(path)
    assert caught.value.reason == "silent"


def test_answers_may_come_in_pieces_and_several_at_once(daemon: FakeDaemon) -> None:
    answers = [{"id": 2, "ok": {"n": 1}}, {"id": 2, "ok": {"data": bytes(20_000)}},
               {"id": 2, "ok": {"n": 3}}]  # fmt: skip
    stream = b"".join(map(protocol.encode_frame, answers))

    def answer(session: Session, _request: dict[str, Any]) -> None:
        for start, end in itertools.pairwise((0, 2, 5, 30, 5000, 20_050, len(stream))):
            session.sock.sendall(stream[start:end])

    daemon.handlers["status"] = answer
    connection = Connection(daemon.path)
    assert connection.request("status", {}) == {"n": 1}
    assert not connection.is_idle()
    assert len(connection.receive(2)["ok"]["data"]) == 20_000
    assert connection.receive(2)["ok"] == {"n": 3}
    assert connection.is_idle()
    connection.close()


def test_what_was_read_ahead_and_not_taken_makes_a_connection_not_idle(daemon: FakeDaemon) -> None:
    def answer(session: Session, _request: dict[str, Any]) -> None:
        frame = protocol.encode_frame({"id": 2, "ok": {}})
        session.sock.sendall(frame + frame)

    daemon.handlers["status"] = answer
    connection = Connection(daemon.path)
    assert connection.request("status", {}) == {}
    assert not connection.is_idle()
    connection.close()


def test_a_time_for_each_wait_may_be_given_and_taken_back(daemon: FakeDaemon) -> None:
    late = threading.Event()

    def answer(session: Session, request: dict[str, Any]) -> None:
        if request["args"]:
            late.wait(10)
        session.send({"id": request["id"], "ok": {}})

    daemon.handlers["status"] = answer
    connection = Connection(daemon.path)
    assert connection.request("status", {}, timeout=0.05) == {}
    request = connection.start_stream("status", {"late": True})
    threading.Timer(0.2, late.set).start()
    assert "ok" in connection.receive(request)
    connection.close()
