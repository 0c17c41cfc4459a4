"""`list`: one page of jobs, and of groups where these are one line each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from runner.group_rows import Group
from runner.server import grouped
from runner.server.pages import Page
from runner.server.whose import selected

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.connection import Stream
    from runner.server.service import Service

# After so many others have their turn.
_AT_ONCE: Final = 50


async def list_jobs(
    service: Service, peer: Peer, request: messages.List, _stream: Stream
) -> dict[str, Any]:
    """Show the jobs that the peer may see and means, newest first."""
    select = await selected(service, peer, request.select, "see")
    store = service.supervisor.store
    entries, following = store.list_jobs(
        submitted_by_uid=service.visible_to(peer),
        include_ended=request.ended,
        limit=request.limit,
        before=request.before,
        select=select,
        collapse=request.collapse,
    )
    page, places = Page(), grouped.Places(store)
    for number, entry in enumerate(entries):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        if not page.add(await _shown(service, peer, entry, places)):
            last = entries[number - 1]
            following = last.first_seq if isinstance(last, Group) else last.seq
            break
    return {"jobs": page.entries, "next": following}


async def _shown(
    service: Service, peer: Peer, entry: Job | Group, places: grouped.Places
) -> dict[str, Any]:
    if isinstance(entry, Group):
        async with service.breaths.of(peer.uid):
            return {"group_summary": grouped.summary(service, entry)}
    return grouped.shown(service.supervisor, entry, places)
