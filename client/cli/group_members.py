"""Finds the jobs of a group that a verb speaks of: those that failed, those that wait.

The words are `client.cli.group_words`'. A group has up to thousands of jobs, so no more of it is
asked for than is needed.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from client.cli.group_words import has_failed, member_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.api import Client
    from client.records import GroupStatus, GroupSummary, Member


class Waiting(NamedTuple):
    """The first job of a group that waits for something, and how many do for the same."""

    member: Member
    jobs: int


def whole(client: Client, group: str) -> GroupStatus:
    """A group with all of its jobs."""
    found = client.group(group)
    if (following := found["next"]) is not None:
        found["members"] += client.members(found["group"], after=following)
        found["next"] = None
    return found


def failed(client: Client, group: GroupSummary, most: int) -> list[Member]:
    """The first jobs that failed, at most so many."""
    count = min(group["counts"]["failed"], most)
    return list(islice(filter(has_failed, client.members(group["group"])), count))


def failed_ends(client: Client, group: GroupSummary, most: int) -> list[str]:
    """How the first ones that failed ended, a line each, and how many there are besides."""
    lines = [member_end(group, member) for member in failed(client, group, most)]
    more = group["counts"]["failed"] - len(lines)
    return [*lines, f"{more} more failed"] if more > 0 else lines


def waiting(client: Client, group: GroupSummary) -> list[Waiting]:
    """Of the queued jobs the first for each thing that they wait for."""
    found: dict[str | None, list[Member]] = {}
    for member in _queued(client, group):
        found.setdefault(member.get("waits_for"), []).append(member)
    return [Waiting(members[0], len(members)) for members in found.values()]


def _queued(client: Client, group: GroupSummary) -> Iterator[Member]:
    left = group["counts"]["queued"]
    for member in client.members(group["group"]) if left else ():
        if member["state"] == "queued":
            yield member
            left -= 1
        if left <= 0:
            return
