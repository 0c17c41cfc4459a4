"""The troublemakers: each a thread that does one kind of harm, at random, until it is over.

Those of processes, clock and disk; the queue's are in `queue_trouble`. Harm to a job is noted
in the ledger before it is done, because it may explain how the job ends. What
was stopped is let go on, what was filled is emptied, whatever happens.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from client.errors import ClientError, RequestRefused
from tests.torture.group_trouble import GroupTrouble
from tests.torture.harm import Trouble
from tests.torture.plan import TROUBLE, trouble_dice
from tests.torture.queue_trouble import MoveTrouble, QueueTrouble, RepeatTrouble, WatchTrouble
from tests.torture.victim import send

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.torture.session import Session

_HOUR: Final = 3600.0
_BLOCK: Final = 4096
_MIB: Final = 1 << 20


class DaemonTrouble(Trouble):
    """Kills runnerd, alone or with its launchers, or ends it; and brings it up again."""

    name_of_it = "daemon"

    def rest(self) -> bool:
        """Meanwhile see that it does not end by itself."""
        until = time.monotonic() + self.dice.expovariate(1 / self._seconds)
        while time.monotonic() < until and not self.session.over.wait(0.1):
            if self.session.victim.has_ended():
                words = self.session.victim.last_words()
                self.session.counts.differ("runnerd", f"ended by itself: {words}")
                self._bring_up()
        return self.session.over.is_set()

    def act(self) -> None:
        """One of four ways."""
        kinds: list[Callable[[], None]] = [self._kill, self._kill_both, self._end, self._kill_twice]
        self.dice.choices(kinds, (5, 3, 3, 2))[0]()
        self._bring_up()

    def _kill(self) -> None:
        self.session.victim.kill()
        self.session.counts.add("kill runnerd")
        self.pause(1.5)

    def _kill_both(self) -> None:
        # The launchers first in half of the cases: each sees the other one go.
        victim = self.session.victim
        if self.dice.random() < 0.5:
            send(signal.SIGKILL, victim.launcher_pids)
            victim.kill()
        else:
            launchers = victim.launcher_pids()
            victim.kill()
            send(signal.SIGKILL, lambda: launchers)
        self.session.counts.add("kill both")
        self.pause(1.0)

    def _end(self) -> None:
        self.session.victim.terminate()
        self.session.counts.add("terminate")
        self.pause(0.5)

    def _kill_twice(self) -> None:
        """The second time while it comes up: recovery itself is cut short."""
        self._kill()
        self.session.victim.launch()
        self.pause(2.0)
        self.session.victim.end_at_once()
        self.session.counts.add("kill starting")

    def _bring_up(self) -> None:
        self.session.bring_up()

    def make_good(self) -> None:
        """It runs at the end."""
        self._bring_up()


class LauncherTrouble(Trouble):
    """Kills one launcher or both: runnerd starts others."""

    name_of_it = "launcher"

    def act(self) -> None:
        """Once."""
        found = send(signal.SIGKILL, self._some)
        self.session.counts.add("kill launcher", len(found))

    def _some(self) -> list[int]:
        found = self.session.victim.launcher_pids()
        return self.dice.sample(found, self.dice.randint(1, len(found))) if found else []


class MonitorTrouble(Trouble):
    """Kills a monitor: its job is lost, or has its true end when that was recorded."""

    name_of_it = "monitor"

    def act(self) -> None:
        """One of those that run."""
        plan = self.session.any_going(self.dice)
        if plan is None:
            return
        job = self.session.job_of(plan)
        if self.session.victim.monitor_pids(job):
            self.session.ledger.note("kill", plan.number)
            found = send(signal.SIGKILL, lambda: self.session.victim.monitor_pids(job))
            self.session.counts.add("kill monitor", len(found))


class FreezeTrouble(Trouble):
    """Stops a process of ours for a while: SIGSTOP, SIGCONT."""

    name_of_it = "freeze"

    def act(self) -> None:
        """A runnerd, a launcher or a monitor."""
        victim = self.session.victim
        kind = self.dice.choice(("runnerd", "launcher", "monitor", "monitor"))
        if kind == "monitor":
            plan = self.session.any_going(self.dice)
            found = [] if plan is None else victim.monitor_pids(self.session.job_of(plan))
        else:
            found = victim.daemon_pids() if kind == "runnerd" else victim.launcher_pids()
        self._freeze(kind, found)

    def _freeze(self, kind: str, pids: list[int]) -> None:
        for pid in pids:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
                self.session.counts.add(f"freeze {kind}")
                self.pause(1.5)
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            os.close(pidfd)


class ClientTrouble(FreezeTrouble):
    """Kills or stops a runctl that follows."""

    name_of_it = "client"

    def act(self) -> None:
        """One of those that run."""
        pid = self.session.clients.any(self.dice)
        if pid is None:
            return
        if self.dice.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.session.counts.add("kill client")
        else:
            self._freeze("client", [pid])


class ClockTrouble(Trouble):
    """Sets the clock, by hours, back and forth."""

    name_of_it = "clock"

    def __init__(self, session: Session, seconds: float, dice: Random) -> None:
        super().__init__(session, seconds, dice)
        self._offset = session.true_time_offset

    def act(self) -> None:
        """One jump from the true time."""
        jump = self.dice.uniform(-6 * _HOUR, 6 * _HOUR)
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + self._offset + jump)
        self.session.counts.add("clock jumps")

    def make_good(self) -> None:
        """The true time again."""
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + self._offset)


class DiskTrouble(Trouble):
    """Fills the disk of the state directory to its last block, and empties it again."""

    name_of_it = "disk"

    def act(self) -> None:
        """One episode. Jobs under way are told apart: some may name the lack of room."""
        path = self.session.ballast
        self.session.set_disk_full(full=True)
        try:
            fill(path)
            self.session.counts.add("full disks")
            self.pause(3.0)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            # What was freed is to be had when the journal says so, seconds later otherwise.
            os.sync()
            self.session.set_disk_full(full=False)


def fill(path: str) -> None:
    """Take every free block of a file system, root's reserve included."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        at, size = 0, 64 * _MIB
        while size >= _BLOCK:
            try:
                os.posix_fallocate(fd, at, size)
                at += size
            except OSError:
                size //= 2
    finally:
        os.close(fd)


class PauseTrouble(Trouble):
    """Pauses a job for a while."""

    name_of_it = "pause"

    def act(self) -> None:
        """One of those that run."""
        plan = self.session.any_going(self.dice)
        if plan is None:
            return
        job, client = self.session.job_of(plan), self.session.client(plan.user)
        try:
            client.pause(job)
            self.session.counts.add("pauses")
        except ClientError:
            # Whether it was paused or not: it is let go on.
            pass
        self.pause(1.5)
        self.session.resume(plan.user, job)


class DrainTrouble(Trouble):
    """Lets runnerd take no more jobs for a moment."""

    name_of_it = "drain"

    def act(self) -> None:
        """A drain that is called off."""
        root = self.session.client("root")
        try:
            root.request("drain", {"timeout_seconds": self.dice.uniform(0, 0.5)})
            self.session.counts.add("drains")
        except RequestRefused as refusal:
            if refusal.code == "unknown-op":
                return
        except ClientError:
            pass
        self.session.call_off_drain()


_KINDS: Final[dict[str, Any]] = {
    kind.name_of_it: kind
    for kind in (
        DaemonTrouble, LauncherTrouble, MonitorTrouble, FreezeTrouble, ClientTrouble,
        ClockTrouble, DiskTrouble, PauseTrouble, DrainTrouble, MoveTrouble, QueueTrouble,
        RepeatTrouble, GroupTrouble, WatchTrouble,
    )
}  # fmt: skip


def troublemakers(session: Session, seed: int, life: int, names: list[str]) -> list[Trouble]:
    """Those of these names, each with its own dice. On a slow machine they take their time."""
    return [
        _KINDS[pace.name](
            session, pace.seconds * session.slowness, trouble_dice(seed, life, pace.name)
        )
        for pace in TROUBLE
        if pace.name in names
    ]
