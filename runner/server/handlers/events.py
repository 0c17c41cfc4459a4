"""`events`: what has happened to jobs since, and what happens to them from now on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runner.event_stream import EventReader
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import message_queue
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def events(
    service: Service, peer: Peer, request: message_queue.Events, stream: Stream
) -> dict[str, Any]:
    """Send events of the peer's jobs, an admin's: of all, as far as it grants credit."""
    if request.credit:
        stream.grant(request.credit)
    store, uid = service.supervisor.store, service.visible_to(peer)
    with service.bell.place(store, peer.uid, uid):
        reader = _reader(service, peer, request)
        await _send_what_is_there(reader, stream)
        while request.follow and not reader.is_over:
            await reader.more()
            await _send_what_is_there(reader, stream)
        return {"next": reader.place}


def _reader(service: Service, peer: Peer, request: message_queue.Events) -> EventReader:
    """At the place that is asked for. Raises Refusal."""
    store = service.supervisor.store
    newest = service.bell.newest(store)
    since = newest if request.since is None else request.since
    if since > newest:
        raise Refusal("invalid-argument", field="since", given=str(since), allowed=f"0 to {newest}")
    uid = service.visible_to(peer)
    if request.job is None:
        return EventReader(store, service.bell, since, uid, None)
    job_id, is_there = _job(service, peer, request.job)
    reader = EventReader(store, service.bell, since, uid, job_id)
    reader.is_over = not is_there
    return reader


def _job(service: Service, peer: Peer, text: str) -> tuple[str, bool]:
    """The id of a job or group, and whether it is there still.

    A removed one is known by its events alone.
    """
    try:
        return service.find_target(peer, text).id, True
    except Refusal:
        uid = service.visible_to(peer)
        if text.isascii() and service.supervisor.store.events_since(0, 1, uid, text):
            return text, False
        raise


async def _send_what_is_there(reader: EventReader, stream: Stream) -> None:
    while reader.is_behind:
        # Nothing is read that may not be sent.
        await stream.ready()
        for item in reader.read():
            await stream.send(item)
            # Nothing here suspends while there is credit and room: others get their turn.
            await asyncio.sleep(0)
    reader.pass_others()
