"""How much was done, and what was found: counters and differences that survive a power cut."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# In the order and words of the report: what is counted under other names is added below.
_LINES: Final = (
    ("jobs submitted", "jobs"), ("of them acknowledged", "accepted"),
    ("in doubt when a connection broke", "in doubt"), ("refused", "refused"),
    ("ends told and judged", "judged"), ("logs compared to the end", "logs"),
    ("bytes compared", "bytes"), ("bytes missing, each explained", "gap bytes"),
    ("jobs removed", "removed"),
    ("kill -9 of runnerd", "kill runnerd"), ("of launchers", "kill launcher"),
    ("of both at once", "kill both"), ("of runnerd while it started", "kill starting"),
    ("of monitors", "kill monitor"), ("of runctl", "kill client"),
    ("SIGTERM of runnerd", "terminate"), ("starts of runnerd", "starts"),
    ("of them in vain, with a full disk", "starts in vain"),
    ("SIGSTOP of runnerd", "freeze runnerd"), ("of launchers", "freeze launcher"),
    ("of monitors", "freeze monitor"), ("of runctl", "freeze client"),
    ("followers", "followers"), ("resumed by cursor", "resumes"), ("waiters", "waiters"),
    ("stops", "stops"), ("of many at once", "stops of many"), ("pauses", "pauses"),
    ("drains", "drains"),
    ("attempts before the last", "attempts before"), ("retried by hand", "retries by hand"),
    ("came after another", "came after"), ("ended because they could not", "ended by dependency"),
    ("ended at their deadline", "ended by deadline"), ("same key, same job", "same key"),
    ("moves", "moves"), ("changes of priority", "priorities"), ("holds", "holds"),
    ("releases", "releases"), ("queues paused or capped", "queue changes"),
    ("asked why", "whys"), ("looks at the queue", "looks at the queue"),
    ("events given to root", "events of root"), ("to alice", "events of alice"),
    ("followed anew", "event resumes"), ("histories of jobs", "histories"), ("pruned", "pruned"),
    ("arrays and flows", "groups"), ("of them acknowledged", "groups accepted"),
    ("their ends told and judged", "ends of groups"), ("tried again", "retries of groups"),
    ("jobs of them tried again", "jobs tried again with their group"),
    ("held", "holds of groups"), ("stopped", "stops of groups"), ("capped", "caps of groups"),
    ("removed", "groups removed"), ("hooks run", "hooks run"),
    ("full disks", "full disks"), ("clock jumps", "clock jumps"),
    ("jobs lost, each explained", "lost"), ("checked after a power cut", "rechecked"),
    ("power cuts", "power cuts"),
)  # fmt: skip


def say(text: str) -> None:
    """One line for people, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Counts:
    """Counters of one life, and the list of differences of all lives. For all threads."""

    def __init__(self, directory: str, life: int) -> None:
        self._path = os.path.join(directory, f"counts-{life}.json")
        self._differences = os.path.join(directory, "differences")
        # By the monotonic clock, because the daemon's log goes by the one that is set.
        self._trace = os.path.join(directory, f"trace-{life}")
        self._begun = time.monotonic()
        self._lock = threading.Lock()
        self._counter: Counter[str] = Counter()
        self.differences = 0

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counter[name] += count
        self.trace(f"{name} {count}")

    def trace(self, text: str) -> None:
        """Something happened now: a line in a file, for whoever looks for a cause."""
        with open(self._trace, "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - self._begun:9.3f} {text}\n")

    def get(self, name: str) -> int:
        """How often so far."""
        with self._lock:
            return self._counter[name]

    def differ(self, about: str, text: str) -> None:
        """Something is not as it must be: printed, and kept."""
        line = f"DIFFERS {about}: {text}"
        with self._lock:
            self.differences += 1
            say(line)
            with open(self._differences, "a", encoding="utf-8") as file:
                file.write(line + "\n")

    def save(self) -> None:
        """Have the counters on the machine's side, whole."""
        with self._lock:
            data = json.dumps(self._counter)
        with open(self._path + ".new", "w", encoding="utf-8") as file:
            file.write(data)
        os.rename(self._path + ".new", self._path)


def total(directory: str) -> Counter[str]:
    """All lives together."""
    counter: Counter[str] = Counter()
    for name in sorted(os.listdir(directory)):
        if name.startswith("counts-") and name.endswith(".json"):
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                counter.update(json.load(file))
    return counter


def differences(directory: str) -> list[str]:
    """What was found in all lives."""
    path = os.path.join(directory, "differences")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def report(counter: Mapping[str, int], found: Iterable[str]) -> str:
    """The report for people: a line for each thing that was done."""
    width = max(len(text) for text, _ in _LINES)
    known = {name for _, name in _LINES}
    lines = [f"  {text:<{width}} {counter.get(name, 0):>14,}" for text, name in _LINES]
    lines += [
        f"  {name:<{width}} {count:>14,}"
        for name, count in sorted(counter.items())
        if name not in known
    ]
    return "\n".join([*lines, *found])
