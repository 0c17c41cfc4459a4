"""What everybody in one life has at hand: clients, plans, the ledger, the runnerd, the end.

Riders and troublemakers (`riders`, `trouble`) come here for everything that they share; the
scene that they play in is set by `life`.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from client.errors import ClientError, RequestRefused
from client.patience import is_away
from tests.torture import plan, riders, verdicts, wishes
from tests.torture.counts import Counts
from tests.torture.errands import Clients, Errands
from tests.torture.group_riders import Groups
from tests.torture.ledger import Ledger
from tests.torture.submitting import Submitter
from tests.torture.users import UserClient, account
from tests.torture.verdicts import DifferenceError, LogCheck
from tests.torture.victim import Victim
from tests.torture.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from client.records import JobStatus
    from tests.torture.group_plans import GroupPlan
    from tests.torture.plan import JobPlan

BALLAST: Final = "/var/lib/runnerd/ballast"
# Where jobs see the machine's directory of blob and starts: not in /tmp, of which they have
# their own.
SHARE: Final = "/run/torture-share"
CLIENTS: Final = "/run/torture-clients"
_PATIENCE_SECONDS: Final = 120.0
# Between two tries to reach a runnerd that is away: a dozen riders must not hold it up.
_AWAY_SECONDS: Final = 0.2
_START_SECONDS: Final = 1.5
_CACHED_OUTPUTS: Final = 64
_WITNESSES: Final = ("root", "alice")


class Session:
    """What everybody in one life has at hand. For all threads."""

    def __init__(self, out: str, seed: int, jobs_at_once: int) -> None:
        self.out = out
        self.seed = seed
        self.share = SHARE
        self.run_dir = CLIENTS
        self.ballast = BALLAST
        self.ledger = Ledger(f"{self.out}/ledger")
        self.ledger.note("life")
        self.life = self.ledger.story.lives
        self.counts = Counts(self.out, self.life)
        self.victim = Victim(Path(self.out), self.life, running=max(2, jobs_at_once // 2))
        self.over = threading.Event()
        self.clients = Clients()
        self.errands = Errands(self)
        self.submitter = Submitter(self)
        self.groups = Groups(self)
        # Odd while somebody changes one.
        self.queue_changes = 0
        self.true_time_offset = time.time() - time.monotonic()
        self.monitors_seen: set[int] = set()
        self._blob = Path(f"{self.share}/blob").read_bytes()
        self._accounts = {name: account(name) for name in plan.USERS}
        self._local = threading.local()
        self._clients: list[UserClient] = []
        self._lock = threading.Lock()
        self._next = self.ledger.story.next_number
        self._running: dict[int, JobPlan] = {}
        # By how much it takes longer here than on an idle machine until runnerd answers.
        self.slowness = 0.0
        self._disk_full = threading.Event()
        self.plan_of = lru_cache(maxsize=4096)(lambda number: plan.job_plan(self.seed, number))
        self._outputs = lru_cache(maxsize=_CACHED_OUTPUTS)(self._output)
        self._keyed: dict[int, JobPlan] = {}
        self.witnesses = [Witness(self, user) for user in _WITNESSES]

    def dice_of(self, name: str) -> Random:
        """Somebody's dice in this life."""
        return plan.trouble_dice(self.seed, self.life, name)

    # Who does what

    @contextmanager
    def looking_after(self, about: JobPlan | GroupPlan | None) -> Iterator[None]:
        """What goes wrong in here is a difference, not the end of the thread."""
        name = threading.current_thread().name if about is None else about.token
        try:
            yield
        except DifferenceError as difference:
            self.counts.differ(name, str(difference))
        except Exception:  # noqa: BLE001 - a defect, theirs or the torture's own
            self.counts.differ(name, traceback.format_exc())

    def client(self, user: str) -> UserClient:
        """This thread's client as that user."""
        clients = self._local.__dict__
        if user not in clients:
            made = UserClient(self.victim.socket, self._accounts[user], _PATIENCE_SECONDS)
            clients[user] = made
            with self._lock:
                self._clients.append(made)
        client: UserClient = clients[user]
        return client

    def hang_up(self) -> None:
        """Close every connection that is not in use."""
        for client in self._clients:
            client.close()

    def uid_of(self, user: str) -> int:
        """A user's number."""
        return self._accounts[user].uid

    def patiently(self, ask: Callable[[], Any]) -> Any:
        """What is answered, however often runnerd is away meanwhile."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except ClientError as error:
                if not is_away(error) or time.monotonic() > deadline:
                    raise
                time.sleep(_AWAY_SECONDS)

    def next_batch(self) -> list[JobPlan]:
        """The jobs that a rider takes next; none when it is over."""
        if self.over.is_set():
            return []
        with self._lock:
            batch = self.plan_of(self._next).batch
            numbers = range(self._next, self._next + batch)
            self._next += batch
        return [self.plan_of(number) for number in numbers]

    # Jobs

    def expected(self, job: JobPlan, attempt: int) -> dict[int, bytes]:
        """All that the log of that attempt is to hold."""
        return self._outputs(job.number, attempt)

    def _output(self, number: int, attempt: int) -> dict[int, bytes]:
        return plan.expected(self.plan_of(number), self._blob, attempt)

    def ids_of(self, numbers: list[int]) -> dict[int, str]:
        """Those of these jobs that were accepted and are not being removed."""
        found = {}
        for number in numbers:
            trail = self.ledger.story.trails.get(number)
            if trail is not None and trail.job and not trail.removing:
                found[number] = trail.job
        return found

    def accept(self, job: JobPlan, job_id: str) -> None:
        """The daemon has taken it."""
        self.ledger.note("accepted", job.number, job=job_id)
        self.counts.add("accepted")
        with self._lock:
            self._running[job.number] = job
            if job.wishes.twins:
                self._keyed[job.number] = job
        self.errands.later(job)

    def resumed(self, job: JobPlan) -> None:
        """It may be under way again."""
        with self._lock:
            self._running[job.number] = job
        self.errands.later(job)

    def find(self, job: JobPlan) -> str | None:
        """The id of a job of that name, once runnerd answers again."""
        try:
            return str(self.patiently(lambda: self.client("root").status(job.token))["job"])
        except RequestRefused as refusal:
            if refusal.code != "no-such-job":
                raise
            return None

    def job_of(self, job: JobPlan) -> str:
        """The id under which it was taken."""
        found = self.ledger.trail(job.number).job
        assert found is not None
        return found

    def any_running(self, dice: Random) -> JobPlan | None:
        """One whose end nobody was told yet."""
        with self._lock:
            return dice.choice(list(self._running.values())) if self._running else None

    def any_going(self, dice: Random) -> JobPlan | None:
        """One of those that have a monitor now."""
        with self._lock:
            found = list(self._running.values())
        dice.shuffle(found)
        return next((each for each in found if self.victim.monitor_pids(self.job_of(each))), None)

    def any_keyed(self, dice: Random) -> JobPlan | None:
        """One that was submitted with a key."""
        with self._lock:
            return dice.choice(list(self._keyed.values())) if self._keyed else None

    def told(self, job: JobPlan, ended: JobStatus) -> None:
        """A client was told how it ended: from now on that may not change."""
        *earlier, last = riders.results_of(ended)
        attempts = [
            {"attempt": each["attempt"], "result": dict(each["result"])}
            for each in ended["attempts"]
        ]
        self.ledger.note("told", job.number, result=last, attempts=attempts)
        with self._lock:
            self._running.pop(job.number, None)
        verdicts.check_end(job, self.ledger.trail(job.number), attempts, last)
        self.counts.add("judged")
        self.counts.add("attempts before", len(earlier))
        for result in (*earlier, last):
            self.counts.add(f"ended by {result['reason']}")
            if result["reason"] == "lost":
                self.counts.add("lost")

    def compare_logs(self, job: JobPlan, job_id: str, ended: JobStatus) -> None:
        """Read the whole log of each attempt of an ended job and compare it."""
        trail = self.ledger.trail(job.number)
        for number, result in enumerate(riders.results_of(ended), 1):
            gaps = verdicts.allowed_gaps(job, trail, result)
            check = LogCheck(self.expected(job, number), gaps)
            self.patiently(partial(self._read, check, job, job_id, number))
            self.finish(check, job, number, result)

    def _read(self, check: LogCheck, job: JobPlan, job_id: str, attempt: int) -> None:
        client = self.client(job.user)
        with client.logs(job_id, cursor=check.offset, attempt=attempt) as stream:
            for item in stream:
                riders.take(check, item)

    def finish(self, check: LogCheck, job: JobPlan, attempt: int, result: dict[str, Any]) -> None:
        """A log was read to its end."""
        complete = verdicts.is_complete(job, result, attempt)
        check.finish(complete=complete, log_bytes=result["log_bytes"])
        self.counts.add("logs")
        self.counts.add("bytes", check.compared)
        self.counts.add("gap bytes", sum(check.missing.values()))

    def remove(self, job: JobPlan, job_id: str) -> None:
        """Remove an ended job; afterwards nobody finds it."""
        self.ledger.note("removing", job.number)
        self.until_done(lambda: self.client(job.user).remove(job_id), done="no-such-job")
        self.ledger.note("removed", job.number)
        self.counts.add("removed")
        if self.find(job) is not None:
            raise DifferenceError("it is there after its removal")

    def resume(self, user: str, job_id: str) -> None:
        """Let a job go on that may be paused."""
        self.until_done(lambda: self.client(user).resume(job_id), done="job-state")

    def until_done(self, ask: Callable[[], Any], done: str) -> None:
        """Ask until it is answered; a refusal with the code `done`, or of no such job, is fine."""
        while True:
            try:
                self.patiently(ask)
            except RequestRefused as refusal:
                if refusal.code in (done, "no-such-job"):
                    return
                if refusal.code != "store-error":
                    raise
                # A full disk, if it is one: on every other day this would be a difference.
                if not self._disk_full.is_set():
                    self.counts.add("store errors")
                time.sleep(0.2)
            else:
                return

    # The daemon

    def set_disk_full(self, *, full: bool) -> None:
        """The disk is about to be full, or has room again."""
        self.counts.trace(f"disk full: {full}")
        if full:
            self._disk_full.set()
        for ledger in (self.ledger, self.groups.ledger):
            ledger.note("disk", full=full)
        if not full:
            self._disk_full.clear()

    def bring_up(self) -> None:
        """Have runnerd answer; only a full disk excuses that it does not start."""
        self.counts.trace("runnerd is to answer")
        begun = time.monotonic()
        self.victim.bring_up(may_fail=self._disk_full.is_set)
        self.counts.trace("runnerd answers")
        self.slowness = self.slowness or max(1.0, (time.monotonic() - begun) / _START_SECONDS)

    def call_off_drain(self) -> None:
        """Have runnerd take jobs, where it can be told not to."""
        with suppress(RequestRefused):
            self.patiently(lambda: self.client("root").request("drain", {"cancel": True}))

    def open_queues(self) -> None:
        """No queue is paused or changed, whatever a power cut left."""
        for name in (*wishes.QUEUES, wishes.LATE):
            set_it = partial(self.client("root").set_queue, name, paused=False, max_running=None)
            self.until_done(set_it, done="")

    def set_clock(self, seconds: float) -> None:
        """The clock is so far from the true time."""
        true_time = time.monotonic() + self.true_time_offset
        time.clock_settime(time.CLOCK_REALTIME, true_time + seconds)

    # The life

    def tick(self) -> None:
        """What a power cut must not take away is written down."""
        for job in list(self._running):
            trail = self.ledger.trail(job)
            if trail.job:
                self.monitors_seen.update(self.victim.monitor_pids(trail.job))
        with open(f"{self.out}/monitors", "w", encoding="utf-8") as file:
            json.dump(sorted(self.monitors_seen), file)
        self.counts.save()
