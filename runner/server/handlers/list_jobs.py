"""`list`: one page of jobs, and of groups where these are one line each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from runner.group_rows import Group
from runner.server import grouped
from runner.server.pages import Page
from runner.server.whose import selected, selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job, Selection
    from runner.server.service import Answer, Service, Work
    from runner.server.stream import Stream

# After so many others have their turn.
_AT_ONCE: Final = 50


def list_jobs(
    service: Service, peer: Peer, request: messages.List, _stream: Stream
) -> Answer | Work:
    """Show the jobs that the peer may see and means, newest first."""
    if request.select.user is not None:
        return _of_user(service, peer, request)
    return _page(service, peer, request, selection(service, peer, request.select, None))


async def _of_user(service: Service, peer: Peer, request: messages.List) -> Answer:
    found = _page(service, peer, request, await selected(service, peer, request.select, "see"))
    return found if isinstance(found, dict) else await found


def _page(service: Service, peer: Peer, request: messages.List, select: Selection) -> Answer | Work:
    """A short page at once; one that is long, or has groups to be counted, in several breaths."""
    entries, following = service.supervisor.store.list_jobs(
        submitted_by_uid=service.visible_to(peer),
        include_ended=request.ended,
        limit=request.limit,
        before=request.before,
        select=select,
        collapse=request.collapse,
    )
    if not entries:
        return {"jobs": [], "next": following}
    jobs = [entry for entry in entries if not isinstance(entry, Group)]
    if len(entries) > _AT_ONCE or len(jobs) < len(entries):
        return _in_breaths(service, peer, entries, following)
    page, places = Page(), grouped.Places(service.supervisor.store)
    for number, job in enumerate(jobs):
        if not page.add(grouped.shown(service.supervisor, job, places)):
            following = _seq(jobs[number - 1])
            break
    return {"jobs": page.entries, "next": following}


async def _in_breaths(
    service: Service, peer: Peer, entries: Sequence[Job | Group], following: int | None
) -> Answer:
    page, places = Page(), grouped.Places(service.supervisor.store)
    for number, entry in enumerate(entries):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        if not page.add(await _shown(service, peer, entry, places)):
            following = _seq(entries[number - 1])
            break
    return {"jobs": page.entries, "next": following}


def _seq(entry: Job | Group) -> int:
    return entry.first_seq if isinstance(entry, Group) else entry.seq


async def _shown(
    service: Service, peer: Peer, entry: Job | Group, places: grouped.Places
) -> dict[str, Any]:
    if isinstance(entry, Group):
        async with service.breaths.of(peer.uid):
            return {"group_summary": grouped.summary(service, entry)}
    return grouped.shown(service.supervisor, entry, places)
