"""`stats`: what a monitoring system wants to know, in totals; nothing of any one job or user."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from runner.disk_usage import store_bytes
from runner.refusal import Refusal
from runner.running_usage import used_by

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream
    from runner.stats import Stats


async def stats(
    service: Service, peer: Peer, _request: messages.Stats, _stream: Stream
) -> dict[str, Any]:
    """Counts since the daemon began, and what there is now. Raises Refusal for whom it is not."""
    if not (service.is_admin(peer) or service.acting.is_gateway(peer)):
        detail = "totals of all users are for root, the admin group and the gateway"
        raise Refusal("not-permitted", detail=detail)
    supervisor = service.supervisor
    store = supervisor.store
    # Before: what ends meanwhile would count twice, for good (`Stats.never_less`).
    over_usec = store.stats.cpu_usec
    used = await asyncio.to_thread(used_by, supervisor.tree, store.launched_of(None))
    return {
        **_since(store.stats),
        **_jobs(service),
        **_counted(store.stats),
        "cpu_usec": store.stats.never_less(over_usec + used.cpu_usec),
        "memory_bytes": used.memory_bytes,
        "refusals": dict(service.refusals),
        "connections": service.connected,
        "problems": len(service.problems.all()),
        "store": {
            "rows": sum(store.counts().values()),
            "bytes": await asyncio.to_thread(_bytes_of, store.path),
        },
    }


def _since(counted: Stats) -> dict[str, Any]:
    return {
        "started_ns": counted.since_ns,
        "uptime_seconds": counted.uptime_seconds(time.monotonic_ns()),
    }


def _jobs(service: Service) -> dict[str, Any]:
    supervisor = service.supervisor
    scheduler = supervisor.queueing.scheduler
    capacity = scheduler.capacity
    return {
        "draining": supervisor.draining,
        "jobs": {state.value: count for state, count in supervisor.store.counts().items()},
        "waiting": scheduler.causes(),
        "capacity": {"slots": capacity.slots, **capacity.needs._asdict()},
        "promised": {"jobs": scheduler.going_count(), **scheduler.promised()._asdict()},
    }


def _counted(counted: Stats) -> dict[str, Any]:
    return {
        "submitted": counted.submitted,
        "starts": counted.starts,
        "requeued": counted.requeued,
        "retries": counted.retries,
        "ends": dict(counted.ends),
        "queue_wait": counted.waits.shown(),
        "launch": counted.launches.shown(),
        "log_bytes": counted.log_bytes,
    }


def _bytes_of(path: str) -> int:
    """0 when the disk cannot be asked, which `doctor` tells."""
    try:
        return store_bytes(path)
    except OSError:
        return 0
