"""What the handlers of groups share: a group and its jobs as they are shown.

Which group a peer means and may have to do with is `runner.server.service`'s, what it looks like
`runner.group_views`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import group_views, views
from runner.group_rows import ARRAY
from runner.lifecycle import State
from runner.rows import DamagedRowError

if TYPE_CHECKING:
    from runner.group_rows import About, Group, GroupCounts
    from runner.rows import Job
    from runner.server.service import Service
    from runner.store import Store
    from runner.supervisor import Supervisor
    from runner.views import Place


def about(store: Store, group: Group) -> About | None:
    """What it looks like; None where that is damaged."""
    try:
        return store.group_about(group)
    except DamagedRowError:
        return None


def summary(service: Service, group: Group) -> dict[str, Any]:
    """A group without its jobs. Raises StoreError."""
    store = service.supervisor.store
    counts = store.group_counts(group.id)
    jobs, _ = store.members(group.id, -1, 1)
    first = views.summary(jobs[0]) if jobs else None
    has_started = _has_started(store, group, counts)
    ranges = about(store, group) if group.kind == ARRAY else None
    return group_views.summary(group, ranges, counts, first, has_started=has_started)


class Places:
    """Where jobs are in their groups, for one answer: jobs of a group come one after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._group: Group | None = None

    def of(self, job: Job) -> Place:
        """The place of a job; nothing is read for one without a group. Raises StoreError."""
        if job.group_id is None:
            return views.NO_PLACE
        if self._group is None or self._group.id != job.group_id:
            self._group = self._store.group(job.group_id)
        return group_views.place(self._group, job.name)


def shown(supervisor: Supervisor, job: Job, places: Places) -> dict[str, Any]:
    """A job as it is in a list. Raises StoreError."""
    waits_for = supervisor.cause_of(job.id) if job.state is State.QUEUED else None
    labels = supervisor.store.labels([job.id])[job.id]
    return views.summary(job, labels=labels, waits_for=waits_for, place=places.of(job))


def _has_started(store: Store, group: Group, counts: GroupCounts) -> bool:
    if not group_views.may_be_unstarted(group, counts):
        return True
    # None has unless one failed, and that is seldom: then its jobs are looked at.
    fate = store.became([group.id]).get(group.id) if counts.failed else None
    return fate is not None and fate.started_ns is not None
