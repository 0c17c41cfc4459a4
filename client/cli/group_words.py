"""Words about groups: how many of the jobs of an array or a flow are in which state, how it ended.

Pure text. What is found out for it is `client.cli.group_members`'; the record of a whole group is
`client.cli.group_record`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from client.cli.common import short
from client.text import command_line, printable

if TYPE_CHECKING:
    from client.records import (
        GroupCounts,
        GroupEntry,
        GroupSummary,
        JobStatus,
        JobSummary,
        SubmittedGroup,
    )

# What is under way comes first: a table may have to cut the rest.
_STATES: Final = (
    "running", "starting", "paused", "queued", "failed", "skipped", "ok", "removed",
)  # fmt: skip


def counted(counts: GroupCounts) -> str:
    """How many are in which state: "3 running, 40 queued, 57 ok"."""
    numbers: dict[str, Any] = {**counts}
    found = [f"{numbers[state]} {state}" for state in _STATES if numbers.get(state)]
    return ", ".join(found) or "no jobs"


def kind_and_size(kind: str, jobs: int) -> str:
    """What a group is: "array of 100 jobs", "flow of 7 steps"."""
    noun = "step" if kind == "flow" else "job"
    return f"{printable(kind)} of {jobs} {noun}{'' if jobs == 1 else 's'}"


def existing(made: SubmittedGroup) -> str:
    """What is said when a key gave a group that was there already."""
    return f"{printable(made['kind'])} {short(made['group'])} has this key already"


def group_of(entry: JobSummary | GroupEntry) -> GroupSummary | None:
    """The group, when an entry of a list is one."""
    return cast("GroupSummary | None", entry.get("group_summary"))


def as_job(group: GroupSummary) -> JobSummary:
    """A group with the names of a job's fields, as far as a list of jobs is sorted by them."""
    seen: dict[str, Any] = {
        **group, "job": group["group"], "started_ns": None, "result": None, "member": None,
    }  # fmt: skip
    return cast("JobSummary", seen)


def command_of(group: GroupSummary) -> str:
    """What its jobs run, or how many steps it has."""
    if group["kind"] == "array":
        return command_line(group["argv"])
    return kind_and_size(group["kind"], group["size"])


def member_name(group: GroupSummary, member: Any) -> str:  # noqa: ANN401  its fields: see below
    """What people call a job of a group: its name, else the group's id and which it is.

    `member` has `name`, `member`, and of a step `step`.
    """
    if member["name"]:
        return printable(member["name"])
    which = member.get("step") or member["member"]
    return f"{short(group['group'])}.{printable(str(which))}"


def member_end(group: GroupSummary, member: Any) -> str:  # noqa: ANN401  as above, and `result`
    """How a job of a group ended: "sweep.17 (1a2b3c4d) ended with exit code 3"."""
    from client.cli.output import how_it_ended

    # The limits that it met are in its own status.
    job = cast("JobStatus", {"limits": {}, "state": "ended", **member})
    return f"{member_name(group, member)} ({short(member['job'])}) {how_it_ended(job)}"


def has_failed(member: Any) -> bool:  # noqa: ANN401  a member
    """Whether a job of a group has ended, and not well: no step that was skipped for another."""
    return _fate(member) == "failed"


def was_skipped(member: Any) -> bool:  # noqa: ANN401  a member
    """Whether a step never ran because another one did not become what it had to."""
    return _fate(member) == "skipped"


def _fate(member: Any) -> str | None:  # noqa: ANN401  a member
    """What it counts as in its group; a runnerd that does not say it leaves that to its result."""
    result = member["result"]
    if result is None:
        return None
    if (fate := member.get("fate")) is not None:
        return str(fate)
    if result["reason"] == "exit" and result["exit_code"] == 0:
        return "ok"
    is_skipped = result["reason"] == "dependency" and member.get("needs")
    return "skipped" if is_skipped else "failed"


def place_in_group(job: JobSummary) -> str:
    """Which one of what a job is: "flow release (9cf44a6d), step publish"; "" of no group."""
    if not (group := job.get("group")):
        return ""
    if "step" not in job:
        return f"{short(group)}, member {job['member']}"
    called = job.get("group_name")
    which = f"{printable(called)} ({short(group)})" if called else short(group)
    step = job["step"]
    if step is None:
        return f"array {which}, index {job['member']}"
    return f"flow {which}, step {printable(step)}"
