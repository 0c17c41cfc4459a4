"""The hooks of a job or a group as `status` shows them: what each runs, and the newest run of it.

What a hook runs is `runner.hook_template`'s to say, what a job looks like `runner.views`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner import views
from runner.hook_template import keys_of, shown_hooks
from runner.queues import HOOKS

if TYPE_CHECKING:
    from runner.group_rows import Group
    from runner.rows import Job
    from runner.store import Store


def shown(store: Store, owner: Job | Group) -> list[dict[str, Any]]:
    """Each hook, and of the newest job that it was run as how it is. Raises StoreError."""
    return [
        {**hook, "last": _last(store, owner, hook["number"])}
        for hook in shown_hooks(store.hooks(owner.id))
    ]


def _last(store: Store, owner: Job | Group, number: int) -> dict[str, Any] | None:
    """None: it has not been run yet, or that job was removed."""
    job = store.newest_keyed(owner.submitted_by_uid, keys_of(owner.id, number))
    # A key of its own choice, anybody may have given to a job.
    if job is None or job.queue != HOOKS:
        return None
    return {"job": job.id, "state": job.state.value, "result": views.result(job)}
