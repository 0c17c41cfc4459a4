"""Finds out what a sentence about a waiting job needs to name: who holds it, what others are.

The sentences are `client.cli.waiting`'s. What cannot be found out is left out of them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from client.cli.facts import user_name
from client.cli.group_words import counted, kind_and_size
from client.cli.waiting import Known, needed
from client.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.api import Client
    from client.records import Because, JobStatus, Queues

_JOBS_ASKED: Final = 8


def known(client: Client, job: str, causes: Sequence[Because]) -> Known:
    """What the causes of a job's waiting need besides. Raises ClientError for an absence."""
    wanted = needed(causes)
    status = _status(client, job) if wanted else None
    held_by = status.get("held_by_uid") if status else None
    states, groups = _waited_for(client, causes if "states" in wanted else ())
    return Known(
        None if held_by is None else user_name(held_by),
        states,
        _own_queues(client, status) if "queues" in wanted else None,
        groups,
        _steps(status),
    )


def _status(client: Client, job: str) -> JobStatus | None:
    with suppress(RequestRefused):
        return client.status(job)
    return None


def _steps(status: JobStatus | None) -> dict[str, str]:
    """What a flow calls those of it that this one comes after."""
    after = status.get("after", []) if status else []
    return {each["job"]: step for each in after if (step := each.get("step"))}


def _waited_for(client: Client, causes: Sequence[Because]) -> tuple[dict[str, str], dict[str, str]]:
    """The states of the jobs that are waited for, and what the groups among them are."""
    states: dict[str, str] = {}
    groups: dict[str, str] = {}
    waited = [job for each in causes if each["cause"] == "dependency" for job in each["on"]]
    for job in waited[:_JOBS_ASKED]:
        # Somebody else's, or removed: it is named, and nothing is said of it.
        with suppress(RequestRefused):
            try:
                states[job] = client.status(job)["state"]
            except RequestRefused as error:
                if error.group is None:
                    raise
                groups[job] = _group(client, job)
    return states, groups


def _group(client: Client, asked: str) -> str:
    """What a group is, and how far it has come."""
    group = client.group(asked, limit=0)
    return f"{kind_and_size(group['kind'], group['size'])}: {counted(group['counts'])}"


def _own_queues(client: Client, status: JobStatus | None) -> Queues | None:
    """The quota is told to whom it holds for alone."""
    if status is None or status["submitted_by_uid"] != client.hello()["uid"]:
        return None
    with suppress(RequestRefused):
        return client.queues()
    return None
