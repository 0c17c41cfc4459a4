"""Whose output `logs` shows where several jobs are named, or an array or a flow.

How a log is read is `client.cli.log_sources`'. All are read at once, each on a connection of its
own, so there is a bound on how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import group_meant, short
from client.cli.group_members import failed, whole
from client.cli.group_words import member_name
from client.errors import ClientError, RequestRefused
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from client.api import Client
    from client.errors import GroupMeant

MOST_TOGETHER: Final = 64


class Chosen(NamedTuple):
    """A job whose output is shown: its id, what the reader calls it, its name if it has one."""

    job: str
    asked: str
    name: str | None


def chosen(
    client: Client,
    asked: Iterable[str],
    refused: Callable[[str, RequestRefused], None],
    *,
    only_failed: bool,
) -> list[Chosen]:
    """The jobs that are meant, each once; a refused one is left out.

    Raises ClientError, also for more of a group than can be shown together.
    """
    found: dict[str, Chosen] = {}
    for each in asked:
        try:
            jobs = _meant(client, each, only_failed=only_failed)
        except RequestRefused as error:
            refused(each, error)
        else:
            for job in jobs:
                found.setdefault(job.job, job)
    return list(found.values())


def labels(jobs: Sequence[Chosen]) -> dict[str, str]:
    """What each job's lines begin with: its name, where no other one has it, else its id."""
    names = [job.name for job in jobs]
    return {
        job.job: printable(job.name) if job.name and names.count(job.name) == 1 else short(job.job)
        for job in jobs
    }


def _meant(client: Client, asked: str, *, only_failed: bool) -> list[Chosen]:
    try:
        status = client.status(asked)
    except RequestRefused as error:
        if (meant := group_meant(error)) is None:
            raise
        return _members(client, asked, meant, only_failed=only_failed)
    if only_failed:
        raise ClientError(f"{printable(asked)} is a job; --failed goes with an array or a flow")
    return [Chosen(status["job"], asked, status["name"])]


def _members(client: Client, asked: str, meant: GroupMeant, *, only_failed: bool) -> list[Chosen]:
    if only_failed:
        group = client.group(meant.group, limit=0)
        members = failed(client, group, MOST_TOGETHER + 1)
        if len(members) > MOST_TOGETHER:
            raise ClientError(_too_many(asked, meant.kind, "and more have failed"))
    else:
        if meant.jobs > MOST_TOGETHER:
            why = f"and it has {meant.jobs}; --failed shows those that failed"
            raise ClientError(_too_many(asked, meant.kind, why))
        group = whole(client, meant.group)
        members = group["members"]
    names = [member_name(group, member) for member in members]
    return [Chosen(each["job"], name, name) for each, name in zip(members, names, strict=True)]


def _too_many(asked: str, kind: str, why: str) -> str:
    name, member = printable(asked), "STEP" if kind == "flow" else "INDEX"
    return (
        f"{name}: the output of at most {MOST_TOGETHER} jobs is shown together, {why}; "
        f"name some of them, {name}.{member}"
    )
