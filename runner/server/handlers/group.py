"""`group`: an array or a flow, and one page of its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner import group_views
from runner.server import grouped, hooked
from runner.server.pages import Page

if TYPE_CHECKING:
    from runner.group_rows import Group
    from runner.message_groups import GroupStatus
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

# So many are read and shown in one breath (`runner.turns`).
_AT_ONCE: Final = 50


async def group(
    service: Service, peer: Peer, request: GroupStatus, _stream: Stream
) -> dict[str, Any]:
    """Show a group of the peer with those of its jobs that are asked for."""
    found = service.find_group(peer, request.group)
    members, following = await _page(service, peer, found, request.after, request.limit)
    async with service.breaths.of(peer.uid):
        summary = grouped.summary(service, found)
    return {
        **summary,
        "hooks": hooked.shown(service.supervisor.store, found),
        "members": members,
        "next": following,
    }


async def _page(
    service: Service, peer: Peer, group: Group, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """The jobs with a number above `after`, and after which the next page begins."""
    store = service.supervisor.store
    about, page, places = grouped.about(store, group), Page(), grouped.Places(store)
    following: int | None = after
    while len(page.entries) < limit and following is not None:
        at_once = min(limit - len(page.entries), _AT_ONCE)
        async with service.breaths.of(peer.uid):
            jobs, following = store.members(group.id, following, at_once)
            for job in jobs:
                shown = grouped.shown(service.supervisor, job, places)
                if not page.add(group_views.member(shown, about)):
                    return page.entries, page.entries[-1]["member"]
    return page.entries, following if limit else None
