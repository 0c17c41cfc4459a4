"""Output and events through restarts of the daemon: each byte and each event once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import pytest

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from client.log_position import LogChunk, Selection
from gateway.following import follow_events, follow_logs
from gateway.upstream import Upstream, Who
from tests.unit.gateway.upstream_double import UpstreamDouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.session import Session

SECONDS = 20.0
ALICE = Who("alice", "CN=alice")
JOB = {"argv": ["sleep"], "cwd": "/"}


class Direct:
    """A session that lets everything through."""

    def __init__(self, ours: Upstream) -> None:
        self._ours = ours

    def stream(self, op: str, args: Any) -> Any:
        return self._ours.stream(ALICE, op, args)


def with_session(
    path: Path, body: Callable[[UpstreamDouble, Upstream, Session], Awaitable[None]]
) -> None:
    async def run() -> None:
        async with asyncio.timeout(SECONDS), UpstreamDouble(str(path / "s")) as double:
            ours = Upstream(double.path)
            try:
                await body(double, ours, cast("Session", Direct(ours)))
            finally:
                ours.close()

    asyncio.run(run())


def test_the_output_ends_with_the_status(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, ours: Upstream, session: Session) -> None:
        job = (await ours.request(ALICE, "submit", {"argv": ["echo", "hi"], "cwd": "/"}))["job"]
        batches = [batch async for batch in follow_logs(session, Selection(job, follow=True))]
        data = [
            item.data for batch in batches for item in batch.items if isinstance(item, LogChunk)
        ]
        assert data == [b"hi\n"]
        assert batches[-1].status is not None
        assert batches[-1].status["state"] == "ended"
        assert batches[-1].cursor == 3

    with_session(tmp_path, body)


def test_a_follower_goes_on_where_it_was_when_the_daemon_is_back(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream, session: Session) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        got = b""
        await double.write(job, b"one ")
        async with aclosing(follow_logs(session, Selection(job, follow=True))) as batches:
            async for batch in batches:
                got += b"".join(item.data for item in batch.items if isinstance(item, LogChunk))
                if got == b"one ":
                    await double.stop()
                    await double.write(job, b"two ")
                    asyncio.get_running_loop().call_later(0.1, _again, double)
                elif got == b"one two " and batch.status is None:
                    await double.end(job)
        assert got == b"one two "

    with_session(tmp_path, body)


_tasks: set[asyncio.Task[None]] = set()


def _again(double: UpstreamDouble) -> None:
    task = asyncio.get_running_loop().create_task(double.start())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def test_an_absence_that_lasts_too_long_is_raised(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream, session: Session) -> None:
        job = (await ours.request(ALICE, "submit", JOB))["job"]
        await double.write(job, b"one")
        selection = Selection(job, follow=True)
        with pytest.raises((ConnectionLost, DaemonUnavailable)):
            async for _ in follow_logs(session, selection, borne_seconds=0.05):
                await double.stop()

    with_session(tmp_path, body)


def test_nobody_there_at_first_is_raised_at_once(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, _ours: Upstream, session: Session) -> None:
        await double.stop()
        with pytest.raises(DaemonUnavailable):
            await anext(follow_logs(session, Selection("3f2a")))
        with pytest.raises(DaemonUnavailable):
            await anext(follow_events(session, None))

    with_session(tmp_path, body)


def test_a_refusal_is_no_absence(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, _ours: Upstream, session: Session) -> None:
        with pytest.raises(RequestRefused) as refused:
            await anext(follow_logs(session, Selection("nobody")))
        assert refused.value.code == "no-such-job"

    with_session(tmp_path, body)


def test_events_go_on_after_the_last_one(tmp_path: Path) -> None:
    async def body(double: UpstreamDouble, ours: Upstream, session: Session) -> None:
        await ours.request(ALICE, "submit", JOB)
        seen = []
        async with aclosing(follow_events(session, 0)) as events:
            async for event in events:
                seen.append(event["seq"])
                if len(seen) == 2:
                    await double.stop()
                    double.submit("alice", JOB)
                    asyncio.get_running_loop().call_later(0.05, _again, double)
                if len(seen) == 4:
                    break
        assert seen == [1, 2, 3, 4]

    with_session(tmp_path, body)


def test_events_from_now_on_leave_out_what_was_before(tmp_path: Path) -> None:
    async def body(_double: UpstreamDouble, ours: Upstream, session: Session) -> None:
        await ours.request(ALICE, "submit", JOB)
        assert [event async for event in follow_events(session, None, follow=False)] == []
        everything = [event async for event in follow_events(session, 0, follow=False)]
        assert [event["kind"] for event in everything] == ["submitted", "started"]

    with_session(tmp_path, body)
