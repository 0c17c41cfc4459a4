"""Figures of the scheduler at some lengths of the queue, with every decision checked.

At each length the queue is filled, asked about, changed a little, and worked off in virtual
time until every job has had its one fate. Only the scheduler's own time is counted.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from statistics import quantiles
from typing import TYPE_CHECKING, NamedTuple

from runner.scheduling.kinds import Start
from tests.simulation.checks import Checks
from tests.simulation.people import SECOND, People, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TIMED = ("add", "change", "settle", "decide", "explain", "cause", "get", "has_started", "wake_ns")
_ASKED = 300
_MEDDLED = 1000
# Checking all that waits costs as much as there is, so it is done so often in all.
_WHOLE_CHECKS = 5


class Stopwatch:
    """How much CPU time the calls of a function took, in microseconds."""

    def __init__(self) -> None:
        self.took: list[float] = []

    def around(self, call: Callable[..., object]) -> Callable[..., object]:
        """The same function, timed."""

        def timed(*args: object, **options: object) -> object:
            begin = time.thread_time()
            answer = call(*args, **options)
            self.took.append((time.thread_time() - begin) * 1e6)
            return answer

        return timed

    @property
    def mean(self) -> float:
        return sum(self.took) / max(len(self.took), 1)

    @property
    def p99(self) -> float:
        return quantiles(self.took, n=100)[98] if len(self.took) > 1 else self.mean


class Figures(NamedTuple):
    """What one length came to: calls in microseconds, virtual time in seconds."""

    jobs: int
    add: float
    change: float
    end: float
    decide: float
    decide_p99: float
    explain: float
    cause: float
    events_a_second: float
    utilisation: float
    whole_s: float
    large_wait_s: float
    fates: dict[str, int]

    def row(self) -> str:
        """A line of the table."""
        calls = (self.add, self.change, self.end, self.decide, self.decide_p99, self.explain)
        return (
            f"{self.jobs:>8}" + "".join(f"{took:>9.1f}" for took in (*calls, self.cause))
            + f"{self.events_a_second:>10.0f}{self.utilisation:>8.0%}"
            f"{self.whole_s:>9.0f}{self.large_wait_s:>9.0f}"
        )  # fmt: skip


_HEAD = (
    "                    microseconds for one call                              "
    "events     CPU  virtual seconds\n"
    "    jobs      add   change      end   decide      p99  explain    cause"
    "   a second    used    whole  large job waited"
)


class Simulation:
    """One queue, filled and worked off."""

    def __init__(self, scale: Scale, seed: int) -> None:
        self._random = random.Random(seed)
        self._people = People(self._random, scale)
        self._scale = scale
        self._busy = 0
        self._large_wait_ns = 0
        self._watches = {name: Stopwatch() for name in _TIMED}
        self.world = self._people.world()
        self._began_ns = self.world.now_ns
        for name, watch in self._watches.items():
            setattr(self.world.scheduler, name, watch.around(getattr(self.world.scheduler, name)))

    def run(self) -> Figures:
        """Fill, ask, change, work off."""
        while self._people.count < self._scale.jobs:
            self._people.submit(self.world)
            self.world.decide()
        self.world.check()
        self._ask()
        for _ in range(min(self._scale.jobs // 10, _MEDDLED)):
            self._people.meddle(self.world)
            self.world.decide()
        self._people.relent(self.world)
        self._work_off()
        return self._figures()

    def _ask(self) -> None:
        ids = list(self.world.waiting)
        for job_id in self._random.sample(ids, min(len(ids), _ASKED)):
            said = self.world.scheduler.explain(job_id, self.world.now_ns)
            assert said.because, f"{job_id} waits for no reason"
            self.world.scheduler.cause(job_id)

    def _work_off(self) -> None:
        world, every, steps = self.world, max(self._scale.jobs // _WHOLE_CHECKS, 1), 0
        world.decide()
        while (at := world.next_ns()) is not None:
            self._pass_time(max(at - world.now_ns, 0))
            self._note_large([a.id for a in world.decide() if isinstance(a, Start)])
            steps += 1
            if steps % every == 0:
                Checks(world).whole()
        assert not world.waiting, f"{len(world.waiting)} jobs never end"
        assert len(world.fates) == self._people.count, "not every job has a fate"

    def _pass_time(self, nanoseconds: int) -> None:
        self._busy += nanoseconds * self.world.scheduler.promised().millicpus
        self.world.tick(nanoseconds)

    def _note_large(self, started: Sequence[str]) -> None:
        world = self.world
        for job_id in started:
            if world.going[job_id].needs.millicpus * 2 > world.capacity.needs.millicpus:
                self._large_wait_ns = max(self._large_wait_ns, world.now_ns - self._began_ns)

    def _figures(self) -> Figures:
        world, mean = self.world, {name: watch.mean for name, watch in self._watches.items()}
        inward = [self._watches[name].took for name in _TIMED if name not in {"explain", "cause"}]
        passed = max(world.now_ns - self._began_ns, 1)
        return Figures(
            self._scale.jobs, mean["add"], mean["change"], mean["settle"], mean["decide"],
            self._watches["decide"].p99, mean["explain"], mean["cause"],
            sum(map(len, inward)) / sum(map(sum, inward)) * 1e6,
            self._busy / passed / world.capacity.needs.millicpus,
            passed / SECOND, self._large_wait_ns / SECOND, dict(Counter(world.fates.values())),
        )  # fmt: skip


def lengths(jobs: int) -> list[int]:
    """Ten times more each time, up to that many."""
    return [*(10**n for n in range(3, 9) if 10**n < jobs), jobs]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. 1: a decision was wrong, it says which."""
    parser = argparse.ArgumentParser(
        prog="simulate",
        description="The scheduler in virtual time: figures, and every decision checked.",
    )
    parser.add_argument("--jobs", type=int, default=10_000, help="the longest queue (%(default)s)")
    parser.add_argument("--users", type=int, default=1000, help="who submit (%(default)s)")
    parser.add_argument("--slots", type=int, default=64, help="at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (%(default)s)")
    given = parser.parse_args(arguments)
    if min(given.jobs, given.users, given.slots) < 1:
        parser.error("--jobs, --users and --slots are at least 1")
    _say(f"{given.users} users, {given.slots} slots, seed {given.seed}\n{_HEAD}")
    for jobs in lengths(given.jobs):
        try:
            figures = Simulation(Scale(jobs, given.users, given.slots), given.seed).run()
        except AssertionError as wrong:
            sys.stderr.write(f"simulate: with {jobs} jobs, seed {given.seed}: {wrong}\n")
            return 1
        _say(figures.row())
        _say("         " + ", ".join(f"{n} {fate}" for fate, n in sorted(figures.fates.items())))
    return 0
