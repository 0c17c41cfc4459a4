"""Finds the jobs of a group that a verb speaks of: all of them, those that failed.

The words are `client.cli.group_words`'; those that wait are `client.cli.group_waits`'. A group has
up to thousands of jobs, so no more of it is asked for than is needed.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from client.cli.group_words import has_failed, member_end

if TYPE_CHECKING:
    from client.api import Client
    from client.records import GroupStatus, GroupSummary, Member


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
    """How the first ones that failed ended, a line each, and how many there are besides.

    Of a group that failed it is said when none of them is there any more.
    """
    if group["ok"] is False and not group["counts"]["failed"]:
        return ["the jobs that failed are not kept any more"]
    lines = [member_end(group, member) for member in failed(client, group, most)]
    more = group["counts"]["failed"] - len(lines)
    return [*lines, f"{more} more failed"] if more > 0 else lines
