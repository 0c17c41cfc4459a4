"""What was asked for, acknowledged and told: an append-only file that survives a power cut.

Each line is one JSON object, written with one write(2) before what it announces is done, and
after what it reports has happened. Folding the lines gives a `Trail` for each job: everything
that may explain how it ended. A torn last line was never written.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.torture.wishes import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Trail:
    """What happened around one job. Ids and results are as the daemon told them.

    `after` are the jobs that it was asked to come after, by number, with what had to become of
    them; `group_stopped_by` are those who stopped all of its block that are to be stopped;
    `attempts` are the earlier ones, as told with the result. `again`: its retry by hand was
    asked for, so that a result of before is no result any more.
    """

    number: int
    job: str | None = None
    refused: bool = False
    result: dict[str, Any] | None = None
    monitor_killed: bool = False
    stopped_by: list[int] = field(default_factory=list)
    power_cut: bool = False
    disk_full: bool = False
    removing: bool = False
    removed: bool = False
    after: list[tuple[int, str]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    group_stopped_by: list[int] = field(default_factory=list)
    again: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may still be under way, as far as anybody was told."""
        return self.result is None and not self.refused


class Story:
    """All trails, and the lives so far, folded from the lines of a ledger."""

    def __init__(self, lines: Iterable[dict[str, Any]] = ()) -> None:
        self.trails: dict[int, Trail] = {}
        self.lives = 0
        self._disk_full = False
        self._group_stops: dict[int, list[int]] = {}
        for line in lines:
            self.add(line)

    @property
    def next_number(self) -> int:
        """The first job that was never tried."""
        return max(self.trails, default=-1) + 1

    def acknowledged(self) -> list[Trail]:
        """Jobs that the daemon took, and that nobody began to remove, in their order."""
        return [trail for trail in self.trails.values() if trail.job and not trail.removing]

    def add(self, line: dict[str, Any]) -> None:
        """One more line."""
        what = line["what"]
        if what == "life":
            self.lives += 1
            self._disk_full = False
            self._mark_open("power_cut")
        elif what == "disk":
            self._disk_full = line["full"]
            if self._disk_full:
                self._mark_open("disk_full")
        elif what == "submit":
            number = line["job_number"]
            after = [(target, on) for target, on in line.get("after", ())]
            trail = Trail(number, disk_full=self._disk_full, after=after)
            # One list for all of a block, also for those that come later.
            trail.group_stopped_by = self._group_stops.setdefault(number // BLOCK, [])
            self.trails[number] = trail
        else:
            trail = self.trails[line["job_number"]]
            _apply(trail, what, line)
            if what == "again":
                trail.disk_full |= self._disk_full

    def _mark_open(self, name: str) -> None:
        for trail in self.trails.values():
            if trail.is_open:
                setattr(trail, name, True)


def _apply(trail: Trail, what: str, line: dict[str, Any]) -> None:
    match what:
        case "accepted":
            trail.job = line["job"]
        case "refused":
            trail.refused = True
        case "told":
            trail.result = line["result"]
            trail.attempts = line.get("attempts", [])
        case "again":
            trail.again, trail.result = True, None
        case "kill":
            trail.monitor_killed = True
        case "stop-group":
            trail.group_stopped_by.append(line["uid"])
        case "stop":
            trail.stopped_by.append(line["uid"])
        case "removing" | "removed":
            setattr(trail, what, True)
        case _:
            raise ValueError(f"no such line: {what}")


class Ledger:
    """The file and its story. For all threads."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self.story = Story(read_lines(path))
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        end_torn_line(path, self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def note(self, what: str, job_number: int | None = None, **more: Any) -> None:
        """Write one line; it is on the machine's side when this returns."""
        line = {"what": what, **({} if job_number is None else {"job_number": job_number}), **more}
        with self._lock:
            os.write(self._fd, json.dumps(line).encode() + b"\n")
            self.story.add(line)

    def trail(self, number: int) -> Trail:
        """What happened around a job so far."""
        return self.story.trails[number]


def end_torn_line(path: str, fd: int) -> None:
    """What a power cut tore is a line of its own, which is left out."""
    with open(path, "rb") as file:
        data = file.read()
    if data and not data.endswith(b"\n"):
        os.write(fd, b"\n")


def read_lines(path: str) -> list[dict[str, Any]]:
    """The whole lines of a ledger; one that was torn by a power cut is left out."""
    if not os.path.exists(path):
        return []
    found = []
    with open(path, "rb") as file:
        for line in file.read().split(b"\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found
