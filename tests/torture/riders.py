"""Riders: each takes jobs from their submission to the comparison of their last byte.

As clients do it, with whatever goes wrong meanwhile: a connection that breaks is made again,
following goes on by cursor. What may have happened is for `verdicts` to say.
"""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

from client.errors import RequestRefused
from client.logstream import LogChunk, LogGap
from tests.torture import plan as plans
from tests.torture import verdicts
from tests.torture.submitting import NOT_NOW
from tests.torture.verdicts import DifferenceError, LogCheck

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.logstream import LogStream
    from client.records import JobStatus
    from tests.torture.plan import JobPlan
    from tests.torture.session import Session

_AWAY: Final = (b"runnerd is not running", b"the connection")
_AFTER_REFUSAL_SECONDS: Final = 0.2
_LEAVE_CHANCE: Final = 0.05
_MOST_LEAVES: Final = 6


class Rider(threading.Thread):
    """One of those who ride jobs until the session has no more."""

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._session = session

    def run(self) -> None:
        """Batch after batch."""
        while batch := self._session.next_batch():
            accepted = [plan for plan in batch if self._guarded(plan, self._submit)]
            for plan in accepted:
                self._guarded(plan, self._care)

    def _guarded(self, plan: JobPlan, work: Callable[[JobPlan], bool]) -> bool:
        answers = []
        with self._session.looking_after(plan):
            answers.append(work(plan))
        return any(answers)

    # The submission

    def _submit(self, plan: JobPlan) -> bool:
        session = self._session
        known = session.ids_of([number for number, _ in plan.wishes.after])
        after = [(number, on) for number, on in plan.wishes.after if number in known]
        session.ledger.note("submit", plan.number, after=after)
        session.counts.add("jobs")
        job = session.submitter.accepted(plan, after)
        if job is None:
            session.over.wait(_AFTER_REFUSAL_SECONDS)
            return False
        session.accept(plan, job)
        return True

    # The ride

    def _care(self, plan: JobPlan) -> bool:
        if plan.care == plans.LATER:
            return True
        session = self._session
        job = session.job_of(plan)
        care = {plans.FOLLOW: self._follow, plans.RUNCTL: self._by_runctl}.get(plan.care)
        session.told(plan, (care or self._wait)(plan, job))
        if plan.wishes.again and self._ask_again(plan, job):
            session.told(plan, self._wait(plan, job))
        if plan.remove:
            session.remove(plan, job)
        return True

    def _ask_again(self, plan: JobPlan, job: str) -> bool:
        """Retry it by hand; whether it may be under way now."""
        session = self._session
        session.ledger.note("again", plan.number)
        try:
            session.patiently(lambda: session.client(plan.user).retry(job))
        except RequestRefused as refusal:
            # It was asked before, and the answer never came.
            if refusal.code not in ("job-state", *NOT_NOW):
                raise
        else:
            session.counts.add("retries by hand")
        session.resumed(plan)
        return True

    def _wait(self, plan: JobPlan, job: str) -> JobStatus:
        session = self._session
        session.counts.add("waiters")
        ended: JobStatus = session.patiently(lambda: session.client(plan.user).wait(job))
        session.compare_logs(plan, job, ended)
        return ended

    def _follow(self, plan: JobPlan, job: str) -> JobStatus:
        """Follow to the end, leaving and coming back by cursor now and then."""
        session, dice = self._session, plan.dice("leave")
        session.counts.add("followers")
        checks = {1: self._check(plan, 1)}
        leaves, status = 0, None
        while status is None:
            with session.patiently(lambda: self._stream(plan, job, checks)) as stream:
                for item in stream:
                    if stream.attempt not in checks:
                        checks[stream.attempt] = self._check(plan, stream.attempt)
                    take(checks[stream.attempt], item)
                    if leaves < _MOST_LEAVES and dice.random() < _LEAVE_CHANCE:
                        leaves += 1
                        session.counts.add("resumes")
                        break
                else:
                    status = stream.status
        ended = ended_of(status)
        for number, result in enumerate(results_of(ended), 1):
            # One that printed nothing is not named.
            session.finish(checks.get(number) or self._check(plan, number), plan, number, result)
        return ended

    def _check(self, plan: JobPlan, attempt: int) -> LogCheck:
        session = self._session
        gaps = verdicts.allowed_gaps(plan, session.ledger.trail(plan.number), None)
        return LogCheck(session.expected(plan, attempt), gaps)

    def _stream(self, plan: JobPlan, job: str, checks: dict[int, LogCheck]) -> LogStream:
        """From the end of the last attempt that was seen, and on with the later ones."""
        newest = max(checks)
        return self._session.client(plan.user).logs(
            job, cursor=checks[newest].offset, follow=True, attempt=newest, goes_on=True
        )

    def _by_runctl(self, plan: JobPlan, job: str) -> JobStatus:
        """Follow with real processes, which others kill: the next one begins where it ended."""
        session = self._session
        path = f"{session.run_dir}/out-{plan.number}"
        session.counts.add("followers")
        with open(path, "ab") as out, open(f"{path}-said", "ab") as said:
            while True:
                arguments = ("logs", "-f", "--cursor", str(os.stat(path).st_size), job)
                process = session.victim.runctl_process(
                    *arguments, user=plan.user, stdout=out, stderr=said
                )
                with session.clients.kept(process.pid):
                    status = process.wait()
                if status == -signal.SIGKILL:
                    session.counts.add("resumes")
                # Nobody there at the first try is a mistake to report, so it begins anew.
                elif status == 0 or not _was_away(pathlib.Path(f"{path}-said").read_bytes()):
                    break
        data, text = read_and_remove(path), read_and_remove(f"{path}-said")
        if status != 0:
            raise DifferenceError(f"runctl logs -f ended with {status}: {text.decode()}")
        ended = ended_of(session.patiently(lambda: session.client(plan.user).wait(job)))
        check = self._check(plan, 1)
        if data:
            check.chunk(0, 1, data)
        session.finish(check, plan, 1, results_of(ended)[0])
        return ended


def take(check: LogCheck, item: LogChunk | LogGap) -> None:
    """One item of a stream. Raises DifferenceError."""
    if isinstance(item, LogChunk):
        check.chunk(item.offset, item.stream, item.data)
    else:
        check.gap(item.offset, item.gap_bytes, getattr(item, "why", "removed"))


def ended_of(status: JobStatus | None) -> JobStatus:
    """The status of an ended job. Raises DifferenceError when it is none."""
    if status is None or status["state"] != "ended" or status["result"] is None:
        raise DifferenceError(f"told that it has ended, but it is {status}")
    return status


def results_of(ended: JobStatus) -> list[dict[str, Any]]:
    """The results of all its attempts, in order."""
    last = ended_of(ended)["result"]
    return [*(dict(attempt["result"]) for attempt in ended["attempts"]), dict(last or {})]


def read_and_remove(path: str) -> bytes:
    """What a file holds."""
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    return data


def _was_away(said: bytes) -> bool:
    return any(text in said for text in _AWAY)
