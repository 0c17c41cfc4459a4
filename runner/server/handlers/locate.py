"""`locate`: where in a job's output its last lines begin, and what was written when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.logs.locating import Found, Wanted
from runner.server.attempts import chosen, unreadable

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream


async def locate(
    service: Service,
    peer: Peer,
    request: messages.Locate,
    stream: Stream,  # noqa: ARG001 - every handler has one
) -> dict[str, Any]:
    """Where what is asked for lies. Takes no longer than reading the job's log once."""
    job = service.find_job(peer, request.job)
    attempt = chosen(service.supervisor, job, request.attempt)
    wanted = Wanted(request.lines, request.since_ns, request.until_ns, request.streams)
    path = service.supervisor.directories.log_path(job.id, attempt)
    try:
        found, damage = await service.searches.find(peer.uid, path, wanted)
    except FileNotFoundError:
        # It never came to a launch.
        return {**Found(0, 0, 0, 0)._asdict(), "attempt": attempt}
    except OSError as error:
        raise unreadable(error) from error
    if damage is not None:
        service.problems.add(damage, job.id)
    return {**found._asdict(), "attempt": attempt}
