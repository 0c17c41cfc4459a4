"""`drain`: take and start no more jobs, and wait for those that run; or take jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from runner.lifecycle import State
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream
    from runner.supervisor import Supervisor

# What a job may need past its grace: its monitor is insisted on after 5 s, killed after 45 s.
_LAST_SECONDS: Final = 60.0


async def drain(
    service: Service, peer: Peer, request: messages.Drain, _stream: Stream
) -> dict[str, Any]:
    """What an admin asked for, and how many jobs run and wait then."""
    if not service.is_admin(peer):
        raise Refusal("not-permitted", detail="only root and admins may drain runnerd")
    supervisor = service.supervisor
    try:
        _decide(supervisor, peer, request)
    except OSError as error:
        why = f"the mark in the state directory: {error.strerror}; nothing was changed"
        raise Refusal("store-error", detail=why) from error
    if supervisor.draining:
        await _wait(supervisor, peer, request)
    return {
        "draining": supervisor.draining,
        "running": supervisor.under_way,
        "queued": supervisor.store.counts()[State.QUEUED],
    }


def _decide(supervisor: Supervisor, peer: Peer, request: messages.Drain) -> None:
    if not request.cancel:
        if request.begin:
            supervisor.drain(peer.uid)
    elif request.stop or request.timeout_seconds is not None or not request.begin:
        raise Refusal("invalid-argument", field="cancel", given="True",
                      allowed="it without stop, timeout_seconds and begin")  # fmt: skip
    else:
        # Jobs would not be taken, whatever the mark says.
        supervisor.refuse_if_ending()
        supervisor.take_again(peer.uid)


async def _wait(supervisor: Supervisor, peer: Peer, request: messages.Drain) -> None:
    """Until none runs, somebody cancels it, or the time has passed; then for those stopped."""

    def is_over() -> bool:
        return not supervisor.under_way or not supervisor.draining

    deadline = 0.0 if request.stop and request.timeout_seconds is None else request.timeout_seconds
    await supervisor.pulse.until(is_over, deadline)
    if request.stop and not is_over():
        supervisor.stop_all(peer.uid)
        grace = supervisor.config.jobs.stop_grace_seconds
        await supervisor.pulse.until(is_over, grace + _LAST_SECONDS)
