"""Finds out what a sentence about a waiting job needs to name: who holds it, what others are.

The sentences are `client.cli.waiting`'s. What cannot be found out is left out of them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from client.cli.facts import user_name
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
    status = _status(client, job) if wanted & {"held", "queues"} else None
    held_by = status.get("held_by_uid") if status else None
    return Known(
        None if held_by is None else user_name(held_by),
        _states(client, causes) if "states" in wanted else {},
        _own_queues(client, status) if "queues" in wanted else None,
    )


def _status(client: Client, job: str) -> JobStatus | None:
    with suppress(RequestRefused):
        return client.status(job)
    return None


def _states(client: Client, causes: Sequence[Because]) -> dict[str, str]:
    jobs = [job for because in causes if because["cause"] == "dependency" for job in because["on"]]
    statuses = ((job, _status(client, job)) for job in jobs[:_JOBS_ASKED])
    return {job: status["state"] for job, status in statuses if status is not None}


def _own_queues(client: Client, status: JobStatus | None) -> Queues | None:
    """The quota is told to whom it holds for alone."""
    if status is None or status["submitted_by_uid"] != client.hello()["uid"]:
        return None
    with suppress(RequestRefused):
        return client.queues()
    return None
