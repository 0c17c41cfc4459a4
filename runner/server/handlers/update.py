"""`update`: change limits of a job and its priority, all that are named or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from runner import stored, views
from runner.message_checks import invalid
from runner.policy import may_control
from runner.records import RecordError
from runner.submission import check_output
from runner.submission_queue import check_priority
from runner.surroundings import check_rlimits

if TYPE_CHECKING:
    from runner import messages
    from runner.policy import Peer
    from runner.rows import Job
    from runner.server.service import Service
    from runner.server.stream import Stream


async def update(
    service: Service, peer: Peer, request: messages.Update, _stream: Stream
) -> dict[str, Any]:
    """Change a job of the peer; the limits and the priority that it has then."""
    job = service.find_job(peer, request.job, may_control)
    asked = request.limits.output_max_bytes
    check_output(asked if isinstance(asked, int) else None, service.config)
    rlimits = request.limits.rlimits
    check_rlimits(rlimits if isinstance(rlimits, dict) else {}, peer, service.admin_gid)
    _refuse_with_segments(job, request.limits.output_policy, service.config.logs.keep_segments)
    priority = None if request.priority is UNSET else request.priority
    if priority is not None and priority != job.priority:
        check_priority(service.submissions.rules, peer, job.queue, priority)
    changed = await service.supervisor.update(job, peer.uid, request.limits, priority)
    return {
        "job": job.id,
        "state": changed.state.value,
        "limits": views.limits(changed),
        "priority": changed.priority,
    }


def _refuse_with_segments(job: Job, policy: object, usual: int) -> None:
    """As at `submit`: where all output is to be kept, a number of files cannot be. Raises Refusal.

    `usual` is how many a job has that asked for no number.
    """
    if policy not in {"block", "end"}:
        return
    try:
        spec = stored.spec(job)
    except RecordError:
        # Refused where it is changed.
        return
    logs, present = spec["logs"], spec["limits"].get("output_policy")
    # What `stored` makes of a job of an older version, which could not ask.
    derived = logs["keep_bytes"] // logs["segment_bytes"] + 2
    if present not in {"block", "end"} and logs["keep_segments"] not in {usual, derived}:
        allowed = f"drop-oldest: it was asked to keep {logs['keep_segments']} files of its output"
        raise invalid("limits.output_policy", str(policy), allowed)
