"""Which jobs, groups, schedules and queues a caller's binding leaves it: by queue and by name.

Pure. Patterns are names in which `*` stands for any characters and `?` for one: no brackets, so
that they mean the same to `select.name` of runnerd. What cannot be read counts as outside.
Finding out what a reference means is `gateway.resolving`'s job.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.protocol import Message

DEFAULT_QUEUE: Final = "default"
MAX_PATTERN_CHARS: Final = 64
PATTERN: Final = re.compile(r"[A-Za-z0-9._*?-]+", re.ASCII)
_WILD: Final = frozenset("*?[")


def is_plain(pattern: str) -> bool:
    """Whether a pattern means one name only."""
    return _WILD.isdisjoint(pattern)


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name is as the pattern says."""
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Stars in a row would make the match take exponential time.
    single = re.sub(r"\*+", "*", pattern)
    # Between two stars the first place that fits is as good as any: possessive, no way back.
    head, *rest = (_literal(part) for part in single.split("*"))
    if not rest:
        return re.compile(head, re.DOTALL)
    *inner, tail = rest
    middle = "".join(f"(?>.*?{part})" for part in inner)
    return re.compile(f"{head}{middle}.*{tail}", re.DOTALL)


def _literal(part: str) -> str:
    return "".join("." if char == "?" else re.escape(char) for char in part)


class Scope(msgspec.Struct, frozen=True):
    """Patterns of queues and of names (of jobs, groups and schedules); None: of all."""

    queues: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out, so that nothing need be looked at."""
        return self.queues is None and self.names is None

    def has_queue(self, queue: object) -> bool:
        """Whether jobs of that queue are in it."""
        return _fits(self.queues, queue)

    def has_name(self, name: object) -> bool:
        """Whether what is called so is in it; of what has no name only if no name is asked for."""
        return _fits(self.names, name)

    def has_job(self, job: Mapping[str, Any]) -> bool:
        """Whether a job, as `status` and `list` show it, is in it.

        A job of a group counts by the group's name too, under which it was submitted.
        """
        named = self.has_name(job.get("name")) or self.has_name(_name_of_group(job))
        return self.has_queue(job.get("queue")) and named

    def has_group(self, group: Mapping[str, Any]) -> bool:
        """Whether a group, as `group` and `list` show it, is in it: by the queue of its first job.

        Others of its jobs may be in other queues; look at each before all are changed.
        """
        return self.has_queue(group.get("queue")) and self.has_name(group.get("name"))

    def has_schedule(self, schedule: Mapping[str, Any]) -> bool:
        """Whether a schedule, as it is shown, is in it: by its name, and its jobs' queue and name.

        What its jobs are called only `schedule_status` shows, as `submit`.
        """
        names = [schedule.get("name")]
        if "submit" in schedule:
            submit = schedule["submit"]
            names.append(submit.get("name") if isinstance(submit, dict) else None)
        queue = schedule.get("queue") or DEFAULT_QUEUE
        return self.has_queue(queue) and all(self.has_name(name) for name in names)

    def shown_jobs(self, entries: object) -> list[Message]:
        """Of the entries of `list` those that are in it."""
        if not isinstance(entries, list):
            return []
        return [entry for entry in entries if isinstance(entry, dict) and self._has_entry(entry)]

    def _has_entry(self, entry: Message) -> bool:
        if "group_summary" in entry:
            group = entry["group_summary"]
            return isinstance(group, dict) and self.has_group(group)
        return self.has_job(entry)


EVERYTHING: Final = Scope()


def _fits(patterns: tuple[str, ...] | None, name: object) -> bool:
    if patterns is None:
        return True
    return isinstance(name, str) and any(matches(pattern, name) for pattern in patterns)


def _name_of_group(job: Mapping[str, Any]) -> object:
    return job.get("group_name") if job.get("group") is not None else None


class Narrowed(msgspec.Struct, frozen=True):
    """A selection within a scope, or why there is none that is exactly that (`why`)."""

    select: Message
    why: str | None = None


def narrowed(scope: Scope, select: Message) -> Narrowed:
    """The same selection with the scope's bounds in it.

    `why` is set where runnerd could not be asked for exactly what is in the scope: several queues
    or patterns of names. Then `select` is as narrow as can be, and the answer is to be filtered.
    """
    found, reasons = dict(select), []
    if scope.queues is not None and found.get("queue") is None:
        if len(scope.queues) == 1 and is_plain(scope.queues[0]):
            found["queue"] = scope.queues[0]
        else:
            reasons.append(f"a queue (select.queue) out of {', '.join(scope.queues)}")
    if scope.names is not None:
        if found.get("name") is None and len(scope.names) == 1:
            found["name"] = scope.names[0]
        elif not _is_within(scope.names, found.get("name")):
            reasons.append(f"a name (select.name): one of {', '.join(scope.names)} or one of those")
    return Narrowed(found, " and ".join(reasons) or None)


def _is_within(patterns: tuple[str, ...], asked: object) -> bool:
    """Whether all that a pattern of the caller's means is within the scope's names, for sure."""
    if not isinstance(asked, str):
        return False
    return asked in patterns or (is_plain(asked) and _fits(patterns, asked))
