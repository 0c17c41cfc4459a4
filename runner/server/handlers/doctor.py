"""`doctor`: what this host can enforce."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from isolation.host.probe import probe

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.connection import Stream
    from runner.server.service import Service


async def doctor(
    service: Service, _peer: Peer, _request: messages.Doctor, _stream: Stream
) -> dict[str, Any]:
    """The features of this host and the daemon's own places."""
    supervisor = service.supervisor
    tree = supervisor.tree
    features = await asyncio.to_thread(
        probe,
        tree.root,
        tree.available,
        service.config.state_dir,
        service.provisions.networks_unavailable,
    )
    return {
        "server": service.name,
        "kernel": service.kernel,
        "cgroup_root": tree.root,
        "state_dir": service.config.state_dir,
        "jobs": {state.value: count for state, count in supervisor.store.counts().items()},
        "features": [feature._asdict() for feature in features],
    }
