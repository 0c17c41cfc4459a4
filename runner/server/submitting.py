"""What submissions of groups share: one group for one key, quotas for all of its jobs together.

What a request says has been read by then (`runner.group_submission`). A key is a job's or a
group's: whatever it was used for first.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from runner.group_submission import same_group
from runner.policy import may_control
from runner.server.handlers.submit import check_log_bytes
from runner.submission_queue import key_in_use

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.group_rows import Group
    from runner.group_submission import Prepared
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Service
    from runner.submission import Submissions


class Asked(Protocol):
    """An array or a flow that was read."""

    size: int
    idempotency_key: str | None
    digest: bytes

    async def prepare(
        self, submissions: Submissions, peer: Peer, find: Callable[[str], Job | Group]
    ) -> Prepared:
        """The group and its jobs, checked like any submission. Raises Refusal."""


async def accept(service: Service, peer: Peer, asked: Asked) -> dict[str, Any]:
    """The answer for a group that is there now, all of its jobs with it. Raises Refusal."""
    if (found := _found(service, peer, asked)) is not None:
        return _answer(found, existing=True)
    # Before the work, which may be much.
    service.supervisor.refuse_unless_open(peer.uid, asked.size)
    await check_log_bytes(service, peer.uid)
    async with service.preparing.one_of(peer.uid):
        return await _made(service, peer, asked)


async def _made(service: Service, peer: Peer, asked: Asked) -> dict[str, Any]:
    # As it is after what was waited for.
    if (found := _found(service, peer, asked)) is not None:
        return _answer(found, existing=True)
    service.supervisor.refuse_unless_open(peer.uid, asked.size)
    find = partial(service.find_target, peer, may=may_control)
    prepared = await asked.prepare(service.submissions, peer, find)
    # From here on nothing is waited for: nobody comes between what is asked and the commit.
    if (found := _found(service, peer, asked)) is not None:
        return _answer(found, existing=True)
    return _answer(service.supervisor.submit_group(*prepared), existing=False)


def _found(service: Service, peer: Peer, asked: Asked) -> Group | None:
    """The group that was submitted with this key before. Raises Refusal: it is another's."""
    store, key = service.supervisor.store, asked.idempotency_key
    if key is None:
        return None
    if (job := store.keyed(peer.uid, key)) is not None:
        raise key_in_use(key, f"job {job.id}, which is no group, was submitted with this key")
    found = store.keyed_group(peer.uid, key)
    return None if found is None else same_group(found, asked.digest)


def _answer(group: Group, *, existing: bool) -> dict[str, Any]:
    return {"group": group.id, "kind": group.kind, "jobs": group.size, "existing": existing}
