"""The client through a gateway: what works at a socket works, and what is wrong is said.

Above all what certificates can be wrong in, so that a person knows what to do.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.api import Client
from client.certificate_end import certificate_end
from client.connection import Connection
from client.errors import (
    ClientError,
    ConnectionLost,
    DaemonUnavailable,
    NotTrusted,
    RequestRefused,
)
from client.logstream import LogChunk
from client.remote import client_tls
from client.tls_faults import refused_later
from gateway.pki.certificates import Kind
from gateway.policy import Binding, Bounds, Policy
from tests.unit.gateway.certificates import DAY, HOUR, Town, put
from tests.unit.gateway.wire_gateway import ALICE, WireGateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.contexts import Context
    from tests.unit.gateway.certificates import Pair

DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture(scope="module")
def alice(town: Town) -> Pair:
    return town.client(ALICE)


@pytest.fixture
def gateway(tmp_path: Path, town: Town) -> Iterator[WireGateway]:
    with WireGateway(tmp_path, town) as gateway:
        yield gateway


@pytest.fixture
def client(gateway: WireGateway, alice: Pair) -> Iterator[Client]:
    with Client(gateway.context(alice)) as client:
        yield client


def until(condition: Any) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


class Follower:
    """Reads a log in a thread."""

    def __init__(self, client: Client, job: str) -> None:
        self.data = b""
        self.error: Exception | None = None
        self._stream = client.logs(job, follow=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for item in self._stream:
                if isinstance(item, LogChunk):
                    self.data += item.data
        except ClientError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()


# What works


def test_a_job_is_submitted_followed_and_waited_for(client: Client, gateway: WireGateway) -> None:
    job = client.submit(["echo", "hi"])
    assert b"".join(i.data for i in client.logs(job) if isinstance(i, LogChunk)) == b"hi\n"
    assert client.wait(job)["state"] == "ended"
    assert {user for user, op, _ in gateway.double.seen if op != "hello"} == {"alice"}


def test_the_greeting_says_whom_the_gateway_takes_us_for(client: Client, alice: Pair) -> None:
    hello = client.hello()
    assert hello["server"].startswith("runnerd ")
    assert hello["gateway"]["subject"] == ALICE
    assert hello["gateway"]["serial"] == alice.serial
    assert hello["gateway"]["user"] == "alice"
    assert hello["gateway"]["roles"] == ["submitter"]
    assert client.own_uid() == hello["uid"]


def test_the_local_user_may_be_chosen_of_those_that_the_policy_names(
    gateway: WireGateway, alice: Pair
) -> None:
    with Client(gateway.context(alice, user="build")) as client:
        client.submit(["echo"])
    assert gateway.double.seen[-1][0] == "build"
    with (
        Client(gateway.context(alice, user="root")) as client,
        pytest.raises(RequestRefused) as caught,
    ):
        client.hello()
    assert caught.value.code == "not-permitted"


def test_nothing_of_ours_is_sent_that_was_not_asked_for(
    client: Client, gateway: WireGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.chdir(tmp_path)
    client.submit(["echo"])
    args = gateway.double.ops("submit")[0]
    assert "A_TOKEN" not in args["env"]
    assert args["env"]["PATH"]
    assert args["cwd"] != str(tmp_path)
    assert args["umask"] == 0o022


def test_what_is_given_is_sent(client: Client, gateway: WireGateway) -> None:
    client.submit(["echo"], cwd="/srv", env={"A": "1"}, umask=0o077)
    args = gateway.double.ops("submit")[0]
    assert (args["cwd"], args["env"]["A"], args["umask"]) == ("/srv", "1", 0o077)


def test_refusals_come_with_their_code_and_data(client: Client) -> None:
    with pytest.raises(RequestRefused) as caught:
        client.status("beef")
    assert (caught.value.code, caught.value.given) == ("no-such-job", "beef")


def test_what_the_policy_refuses_is_refused_by_the_gateway(
    gateway: WireGateway, town: Town
) -> None:
    with Client(gateway.context(town.client("runnerd:user:eve"))) as client:
        assert list(client.jobs()) == []
        with pytest.raises(RequestRefused) as caught:
            client.submit(["echo"])
    assert caught.value.code == "not-permitted"
    assert gateway.double.ops("submit") == []


def test_a_certificate_of_nobody_in_the_policy_is_not_let_in(
    gateway: WireGateway, town: Town
) -> None:
    with Client(gateway.context(town.client("runnerd:user:mallory"))) as client:
        with pytest.raises(RequestRefused) as caught:
            client.hello()
        assert caught.value.code == "not-permitted"


def test_a_long_output_comes_whole_to_who_reads_slowly(
    client: Client, gateway: WireGateway
) -> None:
    job = client.submit(["sleep"])
    pieces = [bytes([65 + i % 26]) * 200_000 for i in range(40)]
    for piece in pieces:
        gateway.do(gateway.double.write(job, piece))
    gateway.do(gateway.double.end(job))
    found = b""
    for item in client.logs(job, follow=True):
        assert isinstance(item, LogChunk)
        found += item.data
        time.sleep(0.002)
    assert found == b"".join(pieces)


def test_events_are_followed(client: Client) -> None:
    with client.events(since=0, follow=True) as events:
        job = client.submit(["echo", "x"])
        kinds = [next(events)["kind"] for _ in range(3)]  # type: ignore[typeddict-item]
    assert kinds == ["submitted", "started", "ended"]
    assert client.status(job)["state"] == "ended"


# What is borne


def test_a_follower_outlives_a_restart_of_the_gateway(client: Client, gateway: WireGateway) -> None:
    job = client.submit(["sleep"])
    gateway.do(gateway.double.write(job, b"one\n"))
    follower = Follower(client, job)
    until(lambda: follower.data == b"one\n")
    gateway.stop()
    gateway.do(gateway.double.write(job, b"two\n"))
    gateway.start()
    gateway.do(gateway.double.write(job, b"three\n"))
    gateway.do(gateway.double.end(job))
    follower.join()
    assert (follower.data, follower.error) == (b"one\ntwo\nthree\n", None)


def test_a_follower_outlives_a_restart_of_runnerd(client: Client, gateway: WireGateway) -> None:
    job = client.submit(["sleep"])
    gateway.do(gateway.double.write(job, b"one\n"))
    follower = Follower(client, job)
    until(lambda: follower.data == b"one\n")
    gateway.do(gateway.double.stop())
    until(lambda: gateway.do(_open_upstream(gateway)) == 0)
    gateway.do(gateway.double.write(job, b"two\n"))
    gateway.do(gateway.double.start())
    gateway.do(gateway.double.end(job))
    follower.join()
    assert (follower.data, follower.error) == (b"one\ntwo\n", None)


async def _open_upstream(gateway: WireGateway) -> int:
    return gateway.upstream.connections


def test_a_submission_with_a_key_is_made_once_though_runnerd_restarts(
    client: Client, gateway: WireGateway
) -> None:
    client.hello()
    gateway.do(gateway.double.stop())
    jobs: list[str] = []
    submit = threading.Thread(
        target=lambda: jobs.append(client.submit(["echo"], idempotency_key="k"))
    )
    submit.start()
    gateway.do(gateway.double.start())
    submit.join(DEADLINE_SECONDS)
    assert jobs == list(gateway.double.jobs)


def test_runnerd_that_is_not_there_at_first_is_an_error_at_once(
    gateway: WireGateway, alice: Pair
) -> None:
    gateway.do(gateway.double.stop())
    with Client(gateway.context(alice)) as client, pytest.raises(RequestRefused) as caught:
        client.wait("3f2a", timeout_seconds=9)
    assert caught.value.code == "unavailable"


def test_a_gateway_that_ends_is_a_connection_that_is_lost(
    client: Client, gateway: WireGateway
) -> None:
    job = client.submit(["sleep"])
    context = client.target
    connection = Connection(context)
    request = connection.start_stream("wait", {"job": job, "timeout_seconds": None})
    until(lambda: gateway.double.ops("wait"))
    gateway.stop()
    with pytest.raises(ConnectionLost):
        connection.receive(request)
    connection.close()
    gateway.start()


def test_another_thread_can_end_a_wait(client: Client) -> None:
    job = client.submit(["sleep"])
    stream = client.logs(job, follow=True)
    threading.Timer(0.1, stream.cancel).start()
    assert list(stream) == []


def test_an_answer_that_does_not_come_is_given_up(client: Client) -> None:
    job = client.submit(["sleep"])
    connection = Connection(client.target)
    with pytest.raises(ConnectionLost, match=r"the gateway at .* within 0\.05 s"):
        connection.request("wait", {"job": job, "timeout_seconds": None}, timeout=0.05)
    connection.close()


def test_a_connection_that_the_gateway_closed_is_not_used_again(
    client: Client, gateway: WireGateway
) -> None:
    client.hello()
    gateway.stop()
    gateway.start()
    assert list(client.jobs()) == []


# What certificates can be wrong in


def refused(context: Context) -> str:
    with pytest.raises(ClientError) as caught:
        Connection(context).close()
    assert isinstance(caught.value, NotTrusted), repr(caught.value)
    return str(caught.value)


def test_an_expired_certificate_of_ours_is_said_to_be_expired(
    gateway: WireGateway, town: Town
) -> None:
    late = town.client(ALICE, starts=-10 * DAY, ends=-DAY)
    context = gateway.context(late)
    text = refused(context)
    assert f"did not accept the certificate {context.certificate}: it has expired" in text
    assert "renewed" in text


def test_a_certificate_that_counts_here_and_not_there_is_not_said_to_need_renewal(
    gateway: WireGateway, alice: Pair
) -> None:
    # OpenSSL's alert for a revocation list that has ended is this one.
    error = ssl.SSLError(1, "x")
    error.reason = "SSLV3_ALERT_CERTIFICATE_EXPIRED"
    text = str(refused_later(gateway.context(alice), error))
    assert "it counts until" in text
    assert "revocation list may have ended" in text
    assert "a clock is wrong; ask whoever runs it" in text


@pytest.mark.parametrize("year", [1960, 2049, 2050, 2120])
def test_the_end_of_a_certificate_is_read_from_its_file(
    town: Town, tmp_path: Path, year: int
) -> None:
    ends = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC).timestamp() - time.time()
    starts = min(-HOUR, ends - HOUR)
    pair = town.client(ALICE, starts=starts, ends=ends)
    certificate, key = pair.files(tmp_path, "x")
    end = certificate_end(certificate)
    assert end == int(pair.certificate.not_valid_after_utc.timestamp())
    assert certificate_end(key) is None
    assert certificate_end(str(tmp_path / "none")) is None


@given(cut=st.integers(0, 400), byte=st.integers(0, 255))
def test_what_is_no_certificate_has_no_end(town: Town, cut: int, byte: int) -> None:
    der = bytearray(town.client(ALICE).der[:400])
    der[cut % len(der)] = byte
    pem = ssl.DER_cert_to_PEM_cert(bytes(der[: cut + 1]))
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(pem)
        file.flush()
        found = certificate_end(file.name)
    assert found is None or isinstance(found, int)


def test_a_refused_greeting_names_the_context(gateway: WireGateway, alice: Pair) -> None:
    with pytest.raises(RequestRefused, match=r"prod \(localhost:[0-9]+\): .*may not act for"):
        Connection(gateway.context(alice, user="bob"))


def test_a_revoked_certificate_is_said_to_be_revoked(gateway: WireGateway, town: Town) -> None:
    gone = town.client(ALICE)
    put(Path(gateway.files.crl), town.crl([gone]))
    assert gateway.do(_looked(gateway)), gateway.tls.problem
    assert "was revoked; ask whoever runs it" in refused(gateway.context(gone))


async def _looked(gateway: WireGateway) -> bool:
    return gateway.tls.look()


def test_a_certificate_of_another_authority_is_said_to_be_that(gateway: WireGateway) -> None:
    stranger = Town("another CA").client(ALICE)
    assert "another authority signed it" in refused(gateway.context(stranger))


def test_a_certificate_that_is_not_for_clients_is_refused(gateway: WireGateway, town: Town) -> None:
    server = town.client(ALICE, kind=Kind.SERVER)
    assert "it is not one for clients" in refused(gateway.context(server))


def test_a_gateway_of_another_authority_is_not_trusted(
    gateway: WireGateway, alice: Pair, tmp_path: Path
) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(Town("test CA").ca_pem)
    text = refused(gateway.context(alice, ca=str(other)))
    assert f"the authority in {other} did not sign its certificate" in text


def test_a_gateway_with_another_name_is_not_trusted(tmp_path: Path, alice: Pair) -> None:
    town = Town()
    with WireGateway(tmp_path, town) as gateway:
        certificate, key = town.server("elsewhere.example", addresses=()).files(tmp_path, "server")
        assert gateway.do(_looked(gateway)), (certificate, key)
        text = refused(gateway.context(town.client(ALICE)))
    assert "its certificate is not for localhost; use the name that it is for" in text


def test_an_expired_certificate_of_the_gateway_is_said_to_be_its(tmp_path: Path) -> None:
    town = Town()
    server = town.server(starts=-10 * DAY, ends=-HOUR)
    text = refused(_served_plainly(tmp_path, town, server))
    assert "its certificate has expired; ask whoever runs it" in text


def _served_plainly(directory: Path, town: Town, server: Pair) -> Context:
    """At a listener that the gateway itself would not be: it refuses to start with that."""
    from client.contexts import Context

    files = server.files(directory, "old")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    tls.set_alpn_protocols(["runnerd/1"])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as plain, suppress(OSError):
            tls.wrap_socket(plain, server_side=True).close()

    threading.Thread(target=serve, daemon=True).start()
    put(directory / "ca.crt", town.ca_pem)
    certificate, key = town.client(ALICE).files(directory, "mine")
    ca, port = str(directory / "ca.crt"), listener.getsockname()[1]
    return Context("prod", "localhost", port, ca, certificate, key)


def test_what_does_not_speak_tls_is_said_not_to(gateway: WireGateway, alice: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept()[0] as plain:
                plain.recv(4096)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        text = refused(gateway.context(alice, port=listener.getsockname()[1]))
        thread.join()
    assert "does not speak TLS; see the port" in text


# Files that cannot be used: said before anybody is connected to


def unusable(context: Context) -> str:
    with pytest.raises(NotTrusted) as caught:
        client_tls(context)
    assert str(caught.value).startswith(f"prod ({context.address}): ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "what"),
    [("ca", "the authority's certificate"), ("certificate", "the certificate"), ("key", "the key")],
)
def test_a_file_that_cannot_be_read_is_named(
    gateway: WireGateway, alice: Pair, field: str, what: str
) -> None:
    text = unusable(gateway.context(alice, **{field: "/nonexistent"}))
    assert f"cannot read {what}, /nonexistent: No such file or directory" in text


def test_the_key_of_another_certificate_is_said_to_be_that(
    gateway: WireGateway, town: Town, alice: Pair, tmp_path: Path
) -> None:
    _, key = town.client(ALICE).files(tmp_path, "another")
    context = gateway.context(alice, key=key)
    text = unusable(context)
    assert f"{key} is the key of another certificate than {context.certificate}" in text


def test_files_that_hold_something_else_are_named(
    gateway: WireGateway, alice: Pair, tmp_path: Path
) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("rubbish")
    rubbish.chmod(0o600)
    where = str(rubbish)
    assert "holds no certificate of an authority" in unusable(gateway.context(alice, ca=where))
    assert f"{where} holds no certificate" in unusable(gateway.context(alice, certificate=where))
    assert f"{where} holds no key" in unusable(gateway.context(alice, key=where))


def test_a_key_with_a_password_is_not_asked_for_at_the_terminal(
    gateway: WireGateway, alice: Pair, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
    )

    locked = tmp_path / "locked.key"
    locked.write_bytes(
        alice.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )
    locked.chmod(0o600)
    assert "is encrypted" in unusable(gateway.context(alice, key=str(locked)))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620])
def test_a_key_that_others_can_read_is_refused(
    gateway: WireGateway, alice: Pair, mode: int
) -> None:
    context = gateway.context(alice)
    os.chmod(context.key, mode)
    said = f"{context.key} is a key that others can read (mode {mode:04o}); run chmod 600"
    assert said in unusable(context)


def test_one_file_may_hold_all_three(
    gateway: WireGateway, town: Town, alice: Pair, tmp_path: Path
) -> None:
    bundle = tmp_path / "alice.pem"
    bundle.write_bytes(alice.key_pem + alice.certificate_pem + town.ca_pem)
    bundle.chmod(0o600)
    path = str(bundle)
    with Client(gateway.context(alice, ca=path, certificate=path, key=path)) as client:
        assert client.hello()["gateway"]["user"] == "alice"


# Nobody there


def test_where_nobody_listens_the_address_is_named(gateway: WireGateway, alice: Pair) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DaemonUnavailable, match=rf"nobody listens at localhost:{port}") as caught:
        Connection(gateway.context(alice, port=port))
    assert caught.value.reason == "refused"


def test_a_host_that_is_not_known_is_said_to_be_that(gateway: WireGateway, alice: Pair) -> None:
    with pytest.raises(DaemonUnavailable, match=r"the host no\.invalid is not known") as caught:
        Connection(gateway.context(alice, host="no.invalid"))
    assert caught.value.reason == "unknown-host"


def test_who_accepts_and_says_nothing_is_given_up(
    gateway: WireGateway, alice: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.remote.CONNECT_SECONDS", 1.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(DaemonUnavailable, match=r"nobody answers at .* in time"),
    ):
        Connection(gateway.context(alice, port=listener.getsockname()[1]))


def test_who_asks_too_often_waits_for_its_turn(gateway: WireGateway, town: Town) -> None:
    often = Bounds(requests_per_second=20.0, burst=2)
    gateway.policies.policy = Policy([
        Binding(match="*", user="alice", roles=frozenset({"viewer"}), bounds=often)
    ])  # fmt: skip
    with Client(gateway.context(town.client("runnerd:user:hasty"))) as client:
        for _ in range(10):
            assert list(client.jobs()) == []
    assert any(line.get("code") == "too-many-requests" for line in gateway.audit.lines)


def test_too_many_connections_are_refused_with_a_sentence(gateway: WireGateway, town: Town) -> None:
    context = gateway.context(town.client("runnerd:user:busy"))
    held = [Connection(context) for _ in range(2)]
    with pytest.raises(RequestRefused) as caught:
        Connection(context)
    assert caught.value.code == "too-many-requests"
    assert caught.value.detail
    for connection in held:
        connection.close()


def test_tls_is_imported_only_for_gateways() -> None:
    code = (
        "import sys, client.api, client.cli.ps, client.cli.run, client.cli.foreground\n"
        "late = {'ssl', '_ssl', 'client.remote', 'client.tls_faults', 'tomllib'}\n"
        "assert not late & set(sys.modules)"
    )
    root = os.path.join(os.path.dirname(__file__), "../../..")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
