"""The record of an array or a flow, a line a fact: what it is, how far it has come, what failed.

Pure text. How a flow's steps hang together is `client.cli.flow_tree`'s to draw, one job's record
`client.cli.output`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.cli.facts import user_name
from client.cli.group_words import counted, kind_and_size
from client.cli.output import moment, record
from client.cli.queue_facts import hooks
from client.text import command_line, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.records import GroupStatus


def group_record(group: GroupStatus, failures: Sequence[str]) -> str:
    """A group without its jobs; `failures` says how some of these failed."""
    failed = [("failed", text) for text in failures]
    return record([*_identity(group), *_progress(group), *hooks(group), *failed])


def _identity(group: GroupStatus) -> list[tuple[str, str]]:
    most = group["max_running"]
    size = kind_and_size(group["kind"], group["size"])
    facts = [(printable(group["kind"]), printable(group["group"]))]
    if group["name"]:
        facts.append(("name", printable(group["name"])))
    facts.append(("jobs", size if most is None else f"{size}, at most {most} at once"))
    if group["kind"] == "array":
        is_gapless = group["last"] - group["first"] + 1 == group["size"]
        which = "" if is_gapless else f"{group['size']} from "
        facts.append(("indexes", f"{which}{group['first']} to {group['last']}"))
    if group["argv"]:
        facts.append(("command", command_line(group["argv"])))
    user, by = printable(group["user"]), user_name(group["submitted_by_uid"])
    facts.append(("user", user if user == by else f"{user}, submitted by {by}"))
    return facts


def _progress(group: GroupStatus) -> list[tuple[str, str]]:
    times = [("submitted", group["submitted_ns"]), ("ended", group["ended_ns"])]
    queue = group["queue"]
    return [
        ("state", f"{state_word(group)}: {counted(group['counts'])}"),
        *([("queue", printable(queue))] if queue else []),
        *((label, moment(time_ns)) for label, time_ns in times if time_ns is not None),
    ]


def state_word(group: GroupStatus) -> str:
    """How far it has come; once it has ended, whether well."""
    if group["state"] != "ended":
        return printable(group["state"])
    return "ended well" if group["ok"] else "failed"
