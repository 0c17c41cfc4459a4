"""Which events somebody with a scope is sent: a bounded memory of which jobs are his."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from client.errors import ConnectionLost
from gateway.resolving import Resolver
from gateway.scope import Scope
from gateway.scoped_events import MOST_REMEMBERED, ScopedEvents
from tests.unit.gateway.recording import job, run

if TYPE_CHECKING:
    from client.protocol import Message


def test_no_more_is_remembered_than_the_newest() -> None:
    async def ask(_op: str, args: Message) -> Message:
        return {**job(), "job": args["job"]}

    events = ScopedEvents(Resolver(Scope(queues=("ci",)), ask))

    async def body() -> None:
        for number in range(MOST_REMEMBERED + 10):
            assert await events.may_see({"job": f"job-{number}", "kind": "launch"})

    run(body())
    assert len(events._known) == MOST_REMEMBERED


def test_where_runnerd_is_away_nothing_is_decided() -> None:
    async def ask(_op: str, _args: Message) -> Message:
        raise ConnectionLost("gone")

    events = ScopedEvents(Resolver(Scope(queues=("ci",)), ask))
    with pytest.raises(ConnectionLost):
        run(events.may_see({"job": "j", "kind": "launch"}))
    assert not events._known
