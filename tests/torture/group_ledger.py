"""What was asked of groups, acknowledged and told: the ledger of arrays and flows.

As `ledger` is that of jobs: one line before what it announces is done, one after what it reports
has happened, and a power cut takes none away.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.torture.ledger import end_torn_line, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    # Of each job by its member: reason and exit code of every attempt.
    Told = dict[int, list[tuple[str, int | None]]]


@dataclass
class GroupTrail:
    """What happened around one group. `caps` are all that it was given, `told` its last end.

    `jobs` are the ids of its jobs, by member, once its end was told.
    """

    number: int
    group: str | None = None
    refused: bool = False
    told: Told | None = None
    jobs: dict[int, str] = field(default_factory=dict)
    is_done: bool = False
    killed: bool = False
    stopped_by: list[int] = field(default_factory=list)
    caps: list[int | None] = field(default_factory=list)
    power_cut: bool = False
    disk_full: bool = False
    removing: bool = False
    removed: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may be under way still."""
        return not (self.is_done or self.refused)


class GroupStory:
    """All trails, folded from the lines of a ledger."""

    def __init__(self, lines: Iterable[dict[str, Any]] = ()) -> None:
        self.trails: dict[int, GroupTrail] = {}
        self._disk_full = False
        for line in lines:
            self.add(line)

    @property
    def next_number(self) -> int:
        """The first group that was never tried."""
        return max(self.trails, default=-1) + 1

    def acknowledged(self) -> list[GroupTrail]:
        """Groups that the daemon took, and that nobody began to remove."""
        return [trail for trail in self.trails.values() if trail.group and not trail.removing]

    def add(self, line: dict[str, Any]) -> None:
        """One more line."""
        what = line["what"]
        if what == "life":
            self._disk_full = False
            self._mark_open("power_cut")
        elif what == "disk":
            self._disk_full = line["full"]
            if self._disk_full:
                self._mark_open("disk_full")
        elif what == "submit":
            trail = GroupTrail(line["number"], disk_full=self._disk_full, caps=[line["cap"]])
            self.trails[trail.number] = trail
        else:
            _apply(self.trails[line["number"]], what, line)

    def _mark_open(self, name: str) -> None:
        for trail in self.trails.values():
            if trail.is_open:
                setattr(trail, name, True)


def _apply(trail: GroupTrail, what: str, line: dict[str, Any]) -> None:
    match what:
        case "accepted":
            trail.group = line["group"]
        case "told":
            trail.told = {
                int(member): [(reason, code) for reason, code in results]
                for member, results in line["members"].items()
            }
            trail.jobs = {int(member): job for member, job in line["jobs"].items()}
            trail.is_done = line["ok"]
        case "again":
            trail.told = None
        case "stop":
            trail.stopped_by.append(line["uid"])
        case "cap":
            trail.caps.append(line["cap"])
        case "killed" | "refused" | "removing" | "removed":
            setattr(trail, what, True)
        case _:
            raise ValueError(f"no such line: {what}")


class GroupLedger:
    """The file and its story. For all threads."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self.story = GroupStory(read_lines(path))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        end_torn_line(path, self._fd)
        self.note("life")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def note(self, what: str, number: int | None = None, **more: Any) -> None:
        """Write one line; it is on the machine's side when this returns."""
        line = {"what": what, **({} if number is None else {"number": number}), **more}
        with self._lock:
            os.write(self._fd, json.dumps(line).encode() + b"\n")
            self.story.add(line)

    def trail(self, number: int) -> GroupTrail:
        """What happened around a group so far."""
        return self.story.trails[number]
