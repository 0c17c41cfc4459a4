"""The whole gateway over real sockets and TLS, beside a runnerd whose jobs live in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from gateway.config import Address, Config
from gateway.listening import cannot_listen
from gateway.serve import Gateway, StartError, serve
from tests.unit.gateway.certificates import Pair, Town, client_context
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECONDS = 30.0
POLICY = """
[[binding]]
match = "runnerd:user:alice"
user = "alice"
roles = ["submitter"]
"""


class Place:
    """A gateway's directory with certificates of a town."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.town = Town()
        self.alice = self.town.client("runnerd:user:alice", cn="alice")
        self.files = self.town.write(path)
        self.policy = path / "policy.toml"
        self.policy.write_text(POLICY)
        self.policy.chmod(0o600)
        self.socket = str(path / "runnerd.sock")

    def config(self, **changes: Any) -> Config:
        given: dict[str, Any] = {
            "directory": str(self.path), "socket": self.socket, "listen": "127.0.0.1:0",
            "grpc_listen": "off", "ca": self.files.ca, "crl": self.files.crl,
            "certificate": self.files.certificate, "key": self.files.key,
            "policy": str(self.policy), "audit_log": str(self.path / "audit.log"),
        }  # fmt: skip
        return Config(**{**given, **changes})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Gateway, UpstreamDouble]]:
        async with UpstreamDouble(self.socket) as double:
            gateway = Gateway(self.config())
            await gateway.open()
            try:
                yield gateway, double
            finally:
                await gateway.close()

    @asynccontextmanager
    async def client(self, gateway: Gateway, who: Pair) -> AsyncIterator[aiohttp.ClientSession]:
        context = client_context(self.town, who, self.path)
        base = f"https://127.0.0.1:{gateway.rest_port}"
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(base, connector=connector) as session:
            yield session

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.path / "audit.log").read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_job_goes_in_and_its_output_comes_out(place: Place) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, double),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            async with client.post("/v1/jobs", json={"argv": ["echo", "hi"]}) as answer:
                assert answer.status == 201, await answer.text()
                job = (await answer.json())["job"]
            async with client.get(f"/v1/jobs/{job}/logs?format=raw") as answer:
                assert await answer.read() == b"hi\n"
            assert double.jobs[job].user == "alice"
            assert "serial" in double.origins[0]
            verbs = [line["verb"] for line in place.audit()]
            assert verbs[:1] == ["submit"]
            assert "logs" in verbs

    asyncio.run(body())


def test_a_trace_is_handed_to_the_job(place: Place) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, double),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            headers = {"traceparent": parent}
            async with client.post("/v1/jobs", json={"argv": ["true"]}, headers=headers) as answer:
                job = (await answer.json())["job"]
            assert double.jobs[job].args["env"]["TRACEPARENT"].split("-")[1] == parent.split("-")[1]

    asyncio.run(body())


def test_a_runnerd_that_is_away_is_said_with_a_time_to_come_again(place: Place) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, double),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            await double.stop()
            async with client.get("/v1/jobs") as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) >= 1
                assert (await answer.json())["code"] == "unavailable"
            await double.start()
            async with client.get("/v1/jobs") as answer:
                assert answer.status == 200

    asyncio.run(body())


def test_a_policy_that_changes_counts_for_connections_that_are_open(place: Place) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, _),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            async with client.post("/v1/jobs", json={"argv": ["true"]}) as answer:
                assert answer.status == 201
            place.policy.write_text(POLICY.replace("submitter", "viewer"))
            gateway.reload()
            async with client.post("/v1/jobs", json={"argv": ["true"]}) as answer:
                assert answer.status == 403
            place.policy.write_text("[[binding]]\nmatch = 7\n")
            gateway.reload()
            async with client.get("/v1/jobs") as answer:
                assert answer.status == 200

    asyncio.run(body())


def test_a_certificate_that_is_revoked_counts_no_more(place: Place) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, _),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            async with client.get("/v1/jobs") as answer:
                assert answer.status == 200
            with open(place.files.crl, "wb") as file:
                file.write(place.town.crl([place.alice]))
            gateway.reload()
            with pytest.raises(aiohttp.ClientError):
                async with client.get("/v1/jobs") as answer:
                    answer.raise_for_status()

    asyncio.run(body())


def test_nothing_is_done_that_the_audit_log_cannot_have(place: Place) -> None:
    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, double),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            # A file that takes nothing more.
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, gateway.audit._fd)
            os.close(full)
            async with client.post("/v1/jobs", json={"argv": ["true"]}) as answer:
                assert answer.status == 503, await answer.text()
            assert not double.jobs

    asyncio.run(body())


def test_an_audit_log_that_cannot_be_written_is_no_health_until_it_can_be(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.audit")

    async def status(client: aiohttp.ClientSession) -> tuple[int, str]:
        async with client.get("/healthz") as answer:
            return answer.status, await answer.text()

    async def body() -> None:
        async with (
            asyncio.timeout(SECONDS), place.open() as (gateway, _),
            place.client(gateway, place.alice) as client,
        ):  # fmt: skip
            assert (await status(client))[0] == 200
            good, full = os.dup(gateway.audit._fd), os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, gateway.audit._fd)
            for _ in range(3):
                async with client.post("/v1/jobs", json={"argv": ["true"]}) as answer:
                    problem = await answer.json()
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) >= 1
                assert problem["code"] == "audit-unavailable"
                assert "audit log" in problem["title"]
            got, text = await status(client)
            assert got == 503
            assert "audit log" in text
            assert str(place.path) not in text
            os.dup2(good, gateway.audit._fd)
            # Nobody has to ask for anything: it tries again by itself.
            while (await status(client))[0] != 200:
                await asyncio.sleep(0.05)
            os.close(good)
            os.close(full)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2, said
        assert "No space left" in said[0]
        assert "again" in said[1]
        (gap,) = (line for line in place.audit() if "verb" not in line)
        assert gap["left_out"] >= 3
        assert "No space left" in gap["why"]

    asyncio.run(body())


def test_what_signals_do_is_in_the_log(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway")
    said: list[str] = []

    def when_open(_gateway: Gateway) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGHUP)
        loop.call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

    async def body() -> None:
        async with asyncio.timeout(SECONDS), UpstreamDouble(place.socket):
            await serve(place.config(), when_open)

    asyncio.run(body())
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.serve"]
    (again,) = (text for text in said if text.startswith("SIGHUP: "))
    assert "certificates of version 2" in again
    assert "1 bindings" in again
    assert "audit.log (opened anew)" in again
    assert said[-2].startswith("SIGTERM: ")
    assert said[-1] == "it has ended"


def test_a_runnerd_that_is_not_there_is_said_when_it_serves(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        async with asyncio.timeout(SECONDS):
            await serve(place.config(), lambda _: asyncio.get_running_loop().call_later(
                0.2, os.kill, os.getpid(), signal.SIGTERM))  # fmt: skip

    asyncio.run(body())
    (said,) = (r.getMessage() for r in caplog.records if r.name == "gateway.upstream")
    assert f"there is no socket {place.socket}" in said
    assert "config.toml" in said


@pytest.mark.parametrize("missing", ["certificate", "key", "ca", "crl", "policy"])
def test_what_it_cannot_start_without_is_named(place: Place, missing: str) -> None:
    async def body() -> None:
        Gateway(place.config(**{missing: f"{place.path}/none"}))

    with pytest.raises(StartError, match=f"{place.path}/none"):
        asyncio.run(body())


def test_an_address_that_is_taken_is_said(place: Place) -> None:
    async def body() -> None:
        async with place.open() as (gateway, _):
            second = Gateway(place.config(listen=f"127.0.0.1:{gateway.rest_port}"))
            with pytest.raises(StartError) as caught:
                await second.open()
            text = str(caught.value)
            assert text.startswith(f"cannot listen at 127.0.0.1:{gateway.rest_port}: another")
            assert "`listen`" in text

    asyncio.run(body())


def test_an_address_of_grpc_that_is_taken_is_said_the_same_way(place: Place) -> None:
    async def body() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            gateway = Gateway(place.config(grpc_listen=f"127.0.0.1:{port}"))
            with pytest.raises(StartError) as caught:
                await gateway.open()
        assert str(caught.value).startswith(f"cannot listen at 127.0.0.1:{port}: another program")
        assert "`grpc_listen`" in str(caught.value)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("192.0.2.77:0", "no address of this machine"),
        ("no-such-host.invalid:0", "no such host is known"),
    ],
)
def test_an_address_that_is_not_ours_is_said(place: Place, listen: str, said: str) -> None:
    async def body() -> None:
        gateway = Gateway(place.config(listen=listen))
        with pytest.raises(StartError, match=said):
            await gateway.open()

    asyncio.run(body())


def test_a_port_for_root_alone_is_said_with_what_to_do() -> None:
    denied = PermissionError(13, "error while attempting to bind on address")
    low = cannot_listen("listen", Address("127.0.0.1", 80), denied)
    assert "ip_unprivileged_port_start=80" in low
    high = cannot_listen("listen", Address("127.0.0.1", 8080), denied)
    assert "Permission denied; give another" in high
