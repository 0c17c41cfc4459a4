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

from client.errors import ConnectionLost, DaemonUnavailable, RequestRefused
from client.logstream import LogChunk, LogGap
from tests.torture import plan as plans
from tests.torture import verdicts
from tests.torture.verdicts import DifferenceError, LogCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.logstream import LogStream
    from client.records import JobResult, JobStatus
    from tests.torture.plan import JobPlan
    from tests.torture.session import Session

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Refused, and surely not accepted.
_NOT_NOW: Final = ("shutting-down", "draining", "store-error", "too-many-jobs", "not-permitted")
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
        session.ledger.note("submit", plan.number)
        session.counts.add("jobs")
        job = self._accepted(plan)
        if job is None:
            return False
        session.accept(plan, job)
        return True

    def _accepted(self, plan: JobPlan) -> str | None:
        """The id; None when it was refused, or when nobody can tell yet."""
        session = self._session
        try:
            return str(session.client(plan.user).request("submit", session.submission(plan))["job"])
        except RequestRefused as refusal:
            if refusal.code == "cancelled":
                return self._in_doubt(plan)
            if refusal.code not in _NOT_NOW:
                raise
        except DaemonUnavailable:
            # Nobody was reached: surely nothing was taken.
            pass
        except ConnectionLost:
            return self._in_doubt(plan)
        session.ledger.note("refused", plan.number)
        session.counts.add("refused")
        session.over.wait(_AFTER_REFUSAL_SECONDS)
        return None

    def _in_doubt(self, plan: JobPlan) -> str | None:
        """As its text says, the job may have been accepted: its name tells."""
        self._session.counts.add("in doubt")
        return self._session.find(plan)

    # The ride

    def _care(self, plan: JobPlan) -> bool:
        if plan.care == plans.LATER:
            return True
        session = self._session
        job = session.job_of(plan)
        care = {plans.FOLLOW: self._follow, plans.RUNCTL: self._by_runctl}.get(plan.care)
        result = (care or self._wait)(plan, job)
        session.told(plan, result)
        if plan.remove:
            session.remove(plan, job)
        return True

    def _wait(self, plan: JobPlan, job: str) -> JobResult:
        session = self._session
        session.counts.add("waiters")
        ended = session.patiently(lambda: session.client(plan.user).wait(job))
        result = result_of(ended)
        session.compare_log(plan, job, result)
        return result

    def _follow(self, plan: JobPlan, job: str) -> JobResult:
        """Follow to the end, leaving and coming back by cursor now and then."""
        session, dice = self._session, plan.dice("leave")
        trail = session.ledger.trail(plan.number)
        session.counts.add("followers")
        check = LogCheck(session.expected(plan), verdicts.allowed_gaps(plan, trail, None))
        leaves, status = 0, None
        while status is None:
            with session.patiently(lambda: self._stream(plan, job, check.offset)) as stream:
                for item in stream:
                    take(check, item)
                    if leaves < _MOST_LEAVES and dice.random() < _LEAVE_CHANCE:
                        leaves += 1
                        session.counts.add("resumes")
                        break
                else:
                    status = stream.status
        result = result_of(status)
        session.finish(check, plan, result)
        return result

    def _stream(self, plan: JobPlan, job: str, cursor: int) -> LogStream:
        return self._session.client(plan.user).logs(job, cursor=cursor, follow=True)

    def _by_runctl(self, plan: JobPlan, job: str) -> JobResult:
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
        result = result_of(session.patiently(lambda: session.client(plan.user).wait(job)))
        trail = session.ledger.trail(plan.number)
        check = LogCheck(session.expected(plan), verdicts.allowed_gaps(plan, trail, dict(result)))
        if data:
            check.chunk(0, 1, data)
        session.finish(check, plan, result)
        return result


def take(check: LogCheck, item: LogChunk | LogGap) -> None:
    """One item of a stream. Raises DifferenceError."""
    if isinstance(item, LogChunk):
        check.chunk(item.offset, item.stream, item.data)
    else:
        check.gap(item.offset, item.gap_bytes, getattr(item, "why", "removed"))


def result_of(status: JobStatus | None) -> JobResult:
    """The result of an ended job. Raises DifferenceError when it has none."""
    if status is None or status["state"] != "ended" or status["result"] is None:
        raise DifferenceError(f"told that it has ended, but it is {status}")
    return status["result"]


def read_and_remove(path: str) -> bytes:
    """What a file holds."""
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    return data


def submission(plan: JobPlan, share: str) -> dict[str, Any]:
    """The arguments of a job's `submit`. In `share` are the blob and the list of starts."""
    argv = plans.command(plan, f"{share}/blob", f"{share}/starts")
    args = {
        "argv": argv, "cwd": "/", "env": {"PATH": _PATH}, "name": plan.token,
        "limits": plan.limits, "logs": plan.logs, "network": plan.network,
        "sandbox": dict(_sandbox(plan, share)),
    }  # fmt: skip
    if plan.surroundings == "readonly":
        # Where the job stands it may write.
        args["cwd"] = share
    return args


def _sandbox(plan: JobPlan, share: str) -> Iterator[tuple[str, Any]]:
    if plan.surroundings == "overlay":
        yield "filesystem", "overlay"
        yield "binds", [{"source": share, "target": share}]
    elif plan.surroundings == "readonly":
        yield "filesystem", "readonly"
    elif plan.surroundings == "denials":
        yield "report_denied", True


def _was_away(said: bytes) -> bool:
    return any(text in said for text in _AWAY)
