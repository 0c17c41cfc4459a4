"""Connections by whom they act for, over a real socket: shared, bounded, opened again."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import TYPE_CHECKING

import pytest

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from gateway import upstream
from gateway.upstream import OURSELVES, Upstream, Who
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SECONDS = 10.0
ALICE = Who("alice", "CN=alice, serial 1")
BOB = Who("bob", "CN=bob, serial 2")
JOB = {"argv": ["sleep"], "cwd": "/"}


def with_upstream(
    path: Path,
    body: Callable[[UpstreamDouble, Upstream], Awaitable[None]],
    most: int = 8,
    most_each: int = 2,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(SECONDS), UpstreamDouble(str(path / "s")) as double:
            ours = Upstream(double.path, most=most, most_each=most_each)
            try:
                await body(double, ours)
            finally:
                ours.close()

    asyncio.run(run())


def test_requests_of_one_share_a_connection_and_of_another_do_not(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        await asyncio.gather(*(ours.request(ALICE, "submit", JOB) for _ in range(10)))
        await ours.request(BOB, "submit", JOB)
        assert ours.connections == 2
        assert sorted(double.origins) == [ALICE.origin, BOB.origin]
        assert {job.user for job in double.jobs.values()} == {"alice", "bob"}

    with_upstream(tmp_path, body)


def test_ourselves_act_for_nobody(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        assert (await ours.greeting())["server"].startswith("runnerd")
        await ours.request(OURSELVES, "queues", {})
        assert double.origins == []

    with_upstream(tmp_path, body)


def test_another_connection_is_opened_when_one_is_full_and_no_more_than_allowed(
    tmp_path: Path,
) -> None:
    async def body(_double: UpstreamDouble, ours: Upstream) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        waits = [
            asyncio.ensure_future(ours.request(ALICE, "wait", {"job": job}, timeout=None))
            for _ in range(2 * upstream.IN_FLIGHT)
        ]
        while ours.connections < 2 or not all(map(_was_sent, [ours])):
            await asyncio.sleep(0)
        with pytest.raises(RequestRefused) as refused:
            await ours.request(ALICE, "status", {"job": job})
        assert refused.value.code == "too-many-requests"
        await ours.request(BOB, "queues", {})
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    with_upstream(tmp_path, body)


def _was_sent(ours: Upstream) -> bool:
    open_ones = [each for all_of in ours._connections.values() for each in all_of]
    return sum(each.in_flight for each in open_ones) >= 2 * upstream.IN_FLIGHT


def test_the_longest_idle_one_gives_way_to_somebody_else(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, ours: Upstream) -> None:
        for number in range(6):
            await ours.request(Who(f"user{number}", "x"), "queues", {})
        assert ours.connections == 3

    with_upstream(tmp_path, body, most=3)


def test_those_in_use_do_not_give_way(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, ours: Upstream) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        async with ours.stream(ALICE, "logs", {"job": job, "follow": True}):
            with pytest.raises(RequestRefused) as refused:
                await ours.request(BOB, "queues", {})
            assert refused.value.code == "too-many-requests"
        assert (await ours.request(ALICE, "status", {"job": job}))["job"] == job

    with_upstream(tmp_path, body, most=1)


def test_a_daemon_that_is_there_again_is_found_again(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        await double.stop()
        with pytest.raises((ConnectionLost, DaemonUnavailable)):
            await ours.request(ALICE, "status", {"job": job})
        with pytest.raises(DaemonUnavailable):
            await ours.request(ALICE, "status", {"job": job})
        assert ours.connections == 0
        await double.start()
        assert (await ours.request(ALICE, "status", {"job": job}))["job"] == job
        assert ours.connections == 1

    with_upstream(tmp_path, body)


def test_why_runnerd_is_not_reached_is_said_once_and_that_it_is_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.upstream")

    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        await ours.greeting()
        assert not caplog.records
        await double.stop()
        for _ in range(3):
            with pytest.raises((ConnectionLost, DaemonUnavailable)):
                await ours.request(ALICE, "queues", {})
        await double.start()
        double.refuse["hello"] = {"code": "not-permitted", "field": "act_for.user"}
        for _ in range(2):
            with pytest.raises(RequestRefused):
                await ours.request(ALICE, "queues", {})
        first, second = (record.getMessage() for record in caplog.records)
        assert first.startswith("runnerd cannot be reached: runnerd is not running: ")
        assert "RUNNER_GATEWAY_SOCKET" in first
        assert second == "runnerd is reached again"

    with_upstream(tmp_path, body)


@pytest.mark.parametrize("kind", ["missing", "file", "refused", "denied"])
def test_the_log_says_what_is_wrong_with_the_socket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = str(tmp_path / "s")
    said = {
        "missing": "there is no socket", "file": "it is not a socket",
        "refused": "nobody listens on", "denied": "permission denied on",
    }  # fmt: skip
    if kind == "file":
        (tmp_path / "s").touch()
    elif kind != "missing":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
    if kind == "denied":
        _deny(monkeypatch, path)

    async def run() -> None:
        with pytest.raises(DaemonUnavailable) as caught:
            await Upstream(path).greeting()
        assert caught.value.reason == ("other" if kind == "file" else kind)

    asyncio.run(run())
    (record,) = caplog.records
    assert said[kind] in record.getMessage()
    assert path in record.getMessage()
    if kind == "denied":
        assert record.getMessage().endswith(", then start the gateway again")
        assert "usermod -aG" in record.getMessage()


def _deny(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """As for somebody who is not in the socket's group; whoever tests may be root."""
    os.chmod(path, 0o660)
    group = os.stat(path).st_gid
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    monkeypatch.setattr(os, "getgroups", list)

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio.BaseEventLoop, "sock_connect", refuse, raising=False)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", refuse)


def test_what_is_idle_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "IDLE_SECONDS", 0.001)

    async def body(_double: UpstreamDouble, ours: Upstream) -> None:
        await ours.request(ALICE, "queues", {})
        while ours.connections:
            await asyncio.sleep(0)
        await ours.request(ALICE, "queues", {})

    with_upstream(tmp_path, body)


def test_an_old_connection_takes_no_more_requests_and_ends_when_what_it_had_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "AGE_SECONDS", 0.0)
    monkeypatch.setattr(upstream, "IDLE_SECONDS", 0.001)

    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        async with ours.stream(ALICE, "logs", {"job": job, "follow": True}) as events:
            for _ in range(5):
                await ours.request(ALICE, "status", {"job": job})
            assert len(double.origins) == 7
            await double.write(job, b"still there")
            assert (await anext(events))["data"] == b"still there"
        while ours.connections:
            await asyncio.sleep(0)

    with_upstream(tmp_path, body)


def test_a_user_that_we_may_not_act_for_is_a_refusal_and_takes_no_place(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream) -> None:
        double.refuse["hello"] = {"code": "not-permitted", "field": "act_for.user"}
        for _ in range(5):
            with pytest.raises(RequestRefused) as refused:
                await ours.request(ALICE, "queues", {})
            assert refused.value.code == "not-permitted"
        assert ours.connections == 0

    with_upstream(tmp_path, body)
