"""What the queued jobs of an array or a flow wait for: a line for each different thing.

In a flow every step may wait for others, which its jobs tell; why one of them waits for anything
else is asked of runnerd, as for any job (`client.cli.why`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.group_members import whole
from client.cli.group_words import member_name
from client.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from client.api import Client
    from client.records import GroupSummary, Member, Need

_SHOWN: Final = 24
_STEPS_SHOWN: Final = 8
_AFTER: Final = "dependency"


class Waiting(NamedTuple):
    """The first job of a group that waits for something, and how many do for the same.

    `text` says for which steps of its flow, "" where it waits for anything else.
    """

    member: Member
    jobs: int
    text: str


def waiting(client: Client, group: GroupSummary) -> list[Waiting]:
    """Of the queued jobs the first for each thing that they wait for."""
    if not group["counts"]["queued"]:
        return []
    if group["kind"] != "flow":
        return _each(_queued(client, group), {})
    members = whole(client, group["group"])["members"]
    steps = {step: member for member in members if (step := member.get("step"))}
    return _each((member for member in members if member["state"] == "queued"), steps)


def _each(members: Iterable[Member], steps: Mapping[str, Member]) -> list[Waiting]:
    found: dict[tuple[str | None, str], list[Member]] = {}
    for member in members:
        cause = member.get("waits_for")
        text = _steps_text(member, steps) if cause == _AFTER else ""
        found.setdefault((cause, text), []).append(member)
    return [Waiting(several[0], len(several), text) for (_, text), several in found.items()]


def _queued(client: Client, group: GroupSummary) -> Iterator[Member]:
    left = group["counts"]["queued"]
    for member in client.members(group["group"]):
        if member["state"] == "queued":
            yield member
            left -= 1
        if left <= 0:
            return


def _steps_text(member: Member, steps: Mapping[str, Member]) -> str:
    """Which steps a job waits for, as the rest of a sentence; "" of none."""
    needs = [need for need in member["needs"] if not _is_met(need, steps)]
    if not needs:
        return ""
    if len(needs) == 1:
        step = needs[0]["step"]
        on = _on(needs[0])
        which = f" ({on})" if on else ""
        return f"waits for step {printable(step)}{which}, which is {_state(step, steps)}"
    shown = ", ".join(_shown(need, steps) for need in needs[:_STEPS_SHOWN])
    more = len(needs) - _STEPS_SHOWN
    return f"waits for {len(needs)} steps: {shown}" + (f" and {more} more" if more > 0 else "")


def _is_met(need: Need, steps: Mapping[str, Member]) -> bool:
    """Whether a step became what it had to: of one that ended otherwise no other waits."""
    step = steps.get(need["step"])
    if step is None or step["state"] == "ended":
        return True
    return need.get("on") == "started" and step["started_ns"] is not None


def _on(need: Need) -> str:
    on = need.get("on", "ok")
    return "" if on == "ok" else printable(on)


def _state(step: str, steps: Mapping[str, Member]) -> str:
    return printable(steps[step]["state"])


def _shown(need: Need, steps: Mapping[str, Member]) -> str:
    about = [part for part in (_on(need), _state(need["step"], steps)) if part]
    return f"{printable(need['step'])} ({', '.join(about)})"


def lines(group: GroupSummary, found: list[Waiting], ask: Callable[[str], list[str]]) -> list[str]:
    """What they wait for; `ask` gives the lines of a job that waits for no steps.

    Where that is the same for several, it stands there once.
    """
    same: dict[tuple[str, ...], list[Waiting]] = {}
    for each in found[:_SHOWN]:
        texts = (each.text,) if each.text else tuple(ask(each.member["job"]))
        same.setdefault(texts, []).append(each)
    told = []
    for texts, several in same.items():
        name = member_name(group, several[0].member)
        told += [f"{name} {text}" for text in texts]
        # Without a step of their own: what each comes after besides is not known here.
        is_same = bool(several[0].text) or several[0].member.get("waits_for") != _AFTER
        if more := sum(each.jobs for each in several) - 1:
            what = "the same" if is_same else "jobs outside of it"
            told.append(f"{more} more {'waits' if more == 1 else 'wait'} for {what}")
    if more := sum(each.jobs for each in found[_SHOWN:]):
        told.append(f"{more} more {'waits' if more == 1 else 'wait'} for others")
    return told
