"""`runner-gateway check`: it runs a job where a gateway serves, or says what is wrong."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gateway import checking
from gateway.checking import CheckError, Client, WhichError
from gateway.config import Address
from gateway.serve import Gateway
from tests.unit.gateway.certificates import DAY, Pair, Town, put
from tests.unit.gateway.test_serve import SECONDS, Place
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def files(place: Place, pair: Pair, town: Town | None = None, name: str = "alice") -> Client:
    """As `pki issue` leaves them."""
    own = place.path / "pki/clients" / name
    own.mkdir(parents=True, exist_ok=True)
    pair.files(own, name)
    put(place.path / "pki/ca.crt", (town or place.town).ca_pem)
    return checking.client_of(str(place.path / "pki"), str(place.path / "pki/ca.crt"), name)


def asked(
    place: Place, client: Client, how: Callable[..., None] = checking.check_rest, **config: Any
) -> list[str]:
    """What a check says of a gateway that serves."""
    said: list[str] = []

    async def body() -> None:
        async with asyncio.timeout(SECONDS), UpstreamDouble(place.socket):
            gateway = Gateway(place.config(**config))
            await gateway.open()
            try:
                port = gateway.rest_port if how is checking.check_rest else gateway.grpc_port
                await asyncio.to_thread(how, client, Address("127.0.0.1", port), said.append)
            finally:
                await gateway.close()

    asyncio.run(body())
    return said


def test_a_job_runs_by_rest_and_the_commands_are_shown(place: Place) -> None:
    said = asked(place, files(place, place.alice))
    assert said[0].startswith("curl --cacert ")
    assert "https://localhost:" in said[0]
    assert said[-1].strip() == "hello from another machine"


def test_a_job_runs_by_grpc(place: Place) -> None:
    said = asked(place, files(place, place.alice), checking.check_grpc, grpc_listen="127.0.0.1:0")
    assert said[-1].strip() == "hello from another machine"


def test_a_refusal_is_its_sentence_alone(place: Place) -> None:
    place.policy.write_text(place.policy.read_text().replace("submitter", "viewer"))
    with pytest.raises(CheckError) as caught:
        asked(place, files(place, place.alice))
    assert "(403, POST /v1/jobs)" in str(caught.value)
    assert "{" not in str(caught.value)
    assert "submit" in str(caught.value)


WRONG: dict[str, tuple[Callable[[Town], Pair], str]] = {
    "expired": (
        lambda town: town.client("runnerd:user:alice", starts=-2 * DAY, ends=-DAY), "expired",
    ),
    "of another authority": (
        lambda _: Town().client("runnerd:user:alice"), "another authority signed it",
    ),
    "of a server": (lambda town: town.server(), "not one for clients"),
}  # fmt: skip


@pytest.mark.parametrize("how", [checking.check_rest, checking.check_grpc])
@pytest.mark.parametrize("which", WRONG)
def test_a_certificate_that_is_refused_is_said_as_runctl_does(
    place: Place, which: str, how: Callable[..., None]
) -> None:
    make, said = WRONG[which]
    client = files(place, make(place.town))
    with pytest.raises(CheckError) as caught:
        asked(place, client, how, grpc_listen="127.0.0.1:0")
    text = str(caught.value)
    # A client that was faster with its request than the alert was here hears the end alone.
    assert said in text or "closed the connection" in text
    assert "_ssl.c" not in text
    assert "SSL:" not in text


@pytest.mark.parametrize("how", [checking.check_rest, checking.check_grpc])
def test_a_gateway_of_another_authority_is_said(place: Place, how: Callable[..., None]) -> None:
    client = files(place, place.alice, Town())
    with pytest.raises(CheckError, match=r"did not sign its certificate"):
        asked(place, client, how, grpc_listen="127.0.0.1:0")


@pytest.mark.parametrize(
    ("how", "name"), [(checking.check_rest, "REST"), (checking.check_grpc, "gRPC")]
)
def test_nobody_there_is_said_with_what_to_do(
    place: Place, how: Callable[..., None], name: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CheckError) as caught:
            how(files(place, place.alice), Address("0.0.0.0", port), print)  # noqa: S104
    assert str(caught.value).startswith(f"{name}: nobody listens at localhost:{port}; start it")
    assert f"--{name.lower()}-port" in str(caught.value)


def test_something_that_is_no_gateway_is_said(place: Place) -> None:
    async def body() -> None:
        def answer(_: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        client = files(place, place.alice)
        for how in (checking.check_rest, checking.check_grpc):
            with pytest.raises(CheckError, match="does not speak TLS"):
                await asyncio.to_thread(how, client, address, print)
        server.close()

    asyncio.run(body())


def test_files_that_are_not_there_are_named_with_what_makes_them(place: Place) -> None:
    pki, ca = str(place.path / "pki"), str(place.path / "pki/ca.crt")
    with pytest.raises(CheckError, match=r"there is no .*pki/clients; `runner-gateway init`"):
        checking.client_of(pki, ca, None)
    os.makedirs(f"{pki}/clients")
    with pytest.raises(CheckError, match=r"no certificate in .*pki issue --user NAME"):
        checking.client_of(pki, ca, None)
    files(place, place.alice)
    assert checking.client_of(pki, ca, None) == checking.client_of(pki, ca, "alice")
    with pytest.raises(WhichError, match=r"of 'nobody' in .*pki issue .*there is alice"):
        checking.client_of(pki, ca, "nobody")
    with pytest.raises(WhichError, match=r"of '\.\./alice' in"):
        checking.client_of(pki, ca, "../alice")
    files(place, place.alice, name="bob")
    with pytest.raises(WhichError, match=r"which of these\? alice, bob"):
        checking.client_of(pki, ca, None)
    os.unlink(f"{pki}/clients/bob/bob.key")
    with pytest.raises(CheckError, match=r"bob\.key cannot be read: No such file"):
        checking.client_of(pki, ca, "bob")


def test_files_that_cannot_be_used_are_named(place: Place) -> None:
    client = files(place, place.alice)
    address = Address("127.0.0.1", 1)
    other = place.town.client("runnerd:user:alice").files(place.path, "other")[1]
    with pytest.raises(CheckError, match="is the key of another certificate"):
        checking.check_rest(client._replace(key=other), address, print)
    put(place.path / "garbage", b"garbage")
    garbage = str(place.path / "garbage")
    for wrong in (client._replace(ca=garbage), client._replace(certificate=garbage),
                  client._replace(key=garbage)):  # fmt: skip
        with pytest.raises(CheckError, match=f"{garbage} holds no"):
            checking.check_rest(wrong, address, print)
