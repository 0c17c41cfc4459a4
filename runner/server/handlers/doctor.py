"""`doctor`: what this host can enforce, what is taken of its disk, and what is wrong."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isolation.host.probe import probe
from runner import disk_usage
from runner.rows import Total
from runner.store import StoreError
from runner.users import user_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner import messages
    from runner.policy import Peer
    from runner.server.service import Service
    from runner.server.stream import Stream

# Those who take most. The rest is in the total.
_MOST_USERS: Final = 1000


async def doctor(
    service: Service, peer: Peer, _request: messages.Doctor, _stream: Stream
) -> dict[str, Any]:
    """The features of this host and the daemon's own places; of jobs what the peer may see."""
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
        "draining": supervisor.draining,
        "launcher": _launcher(service),
        "disk": await _disk(service, service.visible_to(peer)),
        "problems": _problems(service, service.visible_to(peer)),
        "features": [feature._asdict() for feature in features],
    }


def _launcher(service: Service) -> dict[str, Any]:
    why = service.launchers.why_no_native
    return {"kind": "native" if why is None else "python", "why": why}


def _problems(service: Service, uid: int | None) -> list[dict[str, Any]]:
    """Everything for an admin (None); else what concerns a job of the user's."""
    found = service.problems.all()
    if uid is not None:
        found = [each for each in found if each.job is not None and _is_of(service, each.job, uid)]
    return [problem._asdict() for problem in found]


def _is_of(service: Service, job_id: str, uid: int) -> bool:
    with suppress(StoreError):
        job = service.supervisor.store.get(job_id)
        return job is not None and job.submitted_by_uid == uid
    return False


async def _disk(service: Service, uid: int | None) -> dict[str, Any]:
    """Jobs that have ended as they were measured then, those under way as they are now."""
    store = service.supervisor.store
    totals = store.ended.totals() if uid is None else {uid: store.ended.total(uid)}
    under_way = []
    # With a store that cannot be read, there is the more to be said of the rest.
    with suppress(StoreError):
        under_way = [(job.id, job.submitted_by_uid) for job in store.launched()
                     if uid in {None, job.submitted_by_uid}]  # fmt: skip
    sizes = await service.supervisor.sizes.of(job_id for job_id, _ in under_way)
    totals = _with_those_under_way(totals, under_way, sizes)
    # A total of others, too.
    database = store.path if uid is None else None
    return await asyncio.to_thread(_figures, service.config.state_dir, database, totals)


def _with_those_under_way(
    totals: dict[int, Total], under_way: list[tuple[str, int]], sizes: dict[str, int]
) -> dict[int, Total]:
    every = dict(totals)
    for job_id, uid in under_way:
        every[uid] = every.get(uid, Total(0, 0)).plus(1, sizes[job_id])
    return every


def _figures(state_dir: str, database: str | None, totals: dict[int, Total]) -> dict[str, Any]:
    """Those of the disk are 0 when it cannot be asked, which is a finding among the features."""
    try:
        space = disk_usage.space(state_dir)
    except OSError:
        space = disk_usage.Space(0, 0, 0, 0)
    most = sorted(totals.items(), key=lambda item: (-item[1].bytes, item[0]))[:_MOST_USERS]
    return {
        **space._asdict(),
        "store_bytes": database and _or_nothing(disk_usage.store_bytes, database),
        "jobs_bytes": sum(total.bytes for total in totals.values()),
        "users": [{"uid": uid, "user": user_name(uid), **total._asdict()} for uid, total in most],
    }


def _or_nothing(measure: Callable[[str], int], path: str) -> int:
    try:
        return measure(path)
    except OSError:
        return 0
