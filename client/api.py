"""The client library: a `Client` with one method for each operation of the daemon.

Programs use it directly and runctl is made of it. It turns arguments into requests and
answers into the types of `client.records`; frames are `client.connection`'s, prose is
`client.errors`'s. It never imports the daemon.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, cast

from client import protocol
from client.connection import ANSWER_SECONDS
from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError
from client.execstream import ExecStream
from client.group_api import GroupRequests
from client.logstream import LogStream, Selection, read_location
from client.queue_api import QueueRequests
from client.requesting import RECONNECT_SECONDS, numbers_in, text_in
from client.schedule_api import ScheduleRequests
from client.submission import build_exec, build_selection, build_update

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from client import records
    from client.options import Options
    from client.records import (
        Doctor,
        Drained,
        Environment,
        JobStatus,
        JobSummary,
        Limits,
        Location,
        Pruned,
        State,
        Stats,
        Submitted,
        Text,
    )
    from client.requesting import Request

__all__ = ["PAGE_JOBS", "RECONNECT_SECONDS", "Client"]

PAGE_JOBS: Final = 500


class Client(QueueRequests, ScheduleRequests, GroupRequests):
    """A client of runnerd: at a socket's path, or through a gateway (`client.contexts.named`).

    Without a `target` at RUNNERD_SOCKET, else the standard one.

    Connects when first used. May be used by several threads, and as a context manager.
    Every method raises DaemonUnavailable, ConnectionLost, RequestRefused, ProtocolError or, with a
    gateway, NotTrusted, all of them ClientError. What follows (`logs`, `events`), `wait`,
    `wait_group`, `drain`, a `submit` with an `idempotency_key` and every submission of a group
    outlive a restart of the daemon: they wait for it for up to `reconnect_seconds`; `on_away` is
    called with the error when it goes, `on_back` when it is there again. `was_reached`: the daemon
    was there a moment ago (for whoever asks in our place), so it is waited for at the first try as
    well.
    """

    def submit(self, argv: Sequence[Text], **options: Unpack[Options]) -> str:
        """Submit a job and return its id; it is on the daemon's disk by then.

        The options are those of `client.options.Options`; directory, environment and umask are ours
        by default, through a gateway those of a login there. After ConnectionLost the job may or
        may not have been accepted; with an `idempotency_key` a restart of the daemon is borne,
        and a second submission with the same key gives the same job.
        """
        return self.submit_once(argv, **options)["job"]

    def submit_once(self, argv: Sequence[Text], **options: Unpack[Options]) -> Submitted:
        """`submit`, and whether there was such a job already: `existing`."""
        args = self._submission(argv, **options)
        submit = self._submit_safely if "idempotency_key" in args else self._submit
        answer = submit(args)
        job, state = text_in(answer, "job"), text_in(answer, "state")
        return {
            "job": job,
            "state": cast("State", state),
            "existing": answer.get("existing") is True,
        }

    def _submit(self, args: protocol.Message) -> protocol.Message:
        try:
            return self._request("submit", args)
        except ConnectionLost as error:
            raise ConnectionLost(
                f"{error}; the job may have been accepted: `runctl ps --all` shows it"
            ) from None

    def _submit_safely(self, args: protocol.Message) -> protocol.Message:
        """With a key it may be sent again: whatever was accepted is not accepted twice."""
        try:
            return self._bearing(lambda request: request("submit", args))
        except (ConnectionLost, DaemonUnavailable) as error:
            if not self._pool.reached:
                raise
            raise ConnectionLost(
                f"{error}; the job may have been accepted: submit it again with the same key"
            ) from None

    def jobs(
        self,
        *,
        ended: bool = False,
        select: records.Selection | None = None,
        page: int = PAGE_JOBS,
    ) -> Iterator[JobSummary]:
        """Jobs that we may see, newest first; with those that have ended when `ended`.

        `select`: only those. Asks for `page` (1 to 1,000) at a time.
        """
        chosen = {} if select is None else {"select": build_selection(select)}
        return self._listed({"ended": ended, "limit": page, **chosen})

    def logs(
        self,
        job: str,
        *,
        cursor: int = 0,
        follow: bool = False,
        until_ns: int | None = None,
        attempt: int | None = None,
        goes_on: bool = False,
    ) -> LogStream:
        """A job's output from the absolute offset `cursor` on; see LogStream.

        That of the newest attempt that has begun, or of `attempt` alone, unless it `goes_on` with
        the later ones. Following goes on with them too, and ends when the job has ended and
        everything was given. `until_ns` (Unix time) leaves out what was written after it.
        """
        patience = self._patience() if follow else None
        full = self._full_id(job) if follow or goes_on else job
        selection = Selection(full, cursor, follow, until_ns, attempt, goes_on)
        return LogStream(self._pool, selection, patience)

    def locate(
        self,
        job: str,
        *,
        lines: int | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        streams: Sequence[int] = (protocol.STDOUT, protocol.STDERR),
        attempt: int | None = None,
    ) -> Location:
        """Where a job's last `lines` begin, and what was written since a time; for `logs`.

        Lines are those of `streams` alone, each belongs to one of them, and an unfinished last
        one counts. Times are Unix time; with both bounds, the last lines between them. It is
        about the newest attempt that has begun unless another is given.
        """
        args: protocol.Message = {"job": job, "lines": lines, "since_ns": since_ns}
        args |= {"until_ns": until_ns, "streams": list(streams), "attempt": attempt}
        # As long as it takes to read the whole log.
        return read_location(self._request("locate", args, timeout=None))

    def exec(
        self,
        job: str,
        argv: Sequence[Text],
        *,
        env: Environment | None = None,
        clean_env: bool = False,
        cwd: Text | None = None,
    ) -> ExecStream:
        """Another command inside a job that runs: its output as an iterator; see ExecStream.

        It has the job's environment with `env` over it, or with `clean_env` only `env`; `cwd`
        is a path in the job's tree, by default the job's own directory. It ends with the job,
        with this stream, and with the daemon.
        """
        args = build_exec(job, argv, env=env or {}, clean_env=clean_env, cwd=cwd)
        return ExecStream(self._pool, args)

    def stop(self, job: str, *, grace_seconds: float | None = None, kill: bool = False) -> State:
        """Ask a job to end: SIGTERM, after the grace (default 10 s) SIGKILL; `kill` at once.

        Returns its state now; `wait` for its end. Repeating is harmless.
        """
        args: protocol.Message = {"job": job, "kill": kill}
        if grace_seconds is not None:
            args["grace_seconds"] = grace_seconds
        return cast("State", text_in(self._request("stop", args), "state"))

    def update(
        self, job: str, limits: Limits | None = None, *, priority: int | None = None
    ) -> Limits:
        """Change limits of a job that has not ended: all of those that are given, or none.

        None lifts a limit, one that is missing stays as it is; `io` and `rlimits` replace
        what the job has of them. `priority` is for a job that is queued. Returns the limits that
        apply now, as read back.
        """
        applied = self._request("update", build_update(job, limits, priority)).get("limits")
        if not isinstance(applied, dict):
            raise ProtocolError("runnerd sent an answer without limits")
        return cast("Limits", applied)

    def pause(self, job: str) -> State:
        """Freeze a running job, its time limit with it; returns its state. `stop` ends it still."""
        return cast("State", text_in(self._request("pause", {"job": job}), "state"))

    def resume(self, job: str) -> State:
        """Let a paused job go on; returns its state."""
        return cast("State", text_in(self._request("resume", {"job": job}), "state"))

    def wait(self, job: str, *, timeout_seconds: float | None = None) -> JobStatus:
        """The job when it has ended, or as it is when `timeout_seconds` have passed.

        A daemon that is away then is its error: what the job is cannot be known.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        full = self._full_id(job)

        def ask(request: Request) -> JobStatus:
            left = None if end is None else max(end - time.monotonic(), 0)
            bound = None if left is None else left + ANSWER_SECONDS
            args = {"job": full, "timeout_seconds": left}
            return cast("JobStatus", request("wait", args, bound))

        return self._bearing(ask, math.inf if end is None else end)

    def remove(self, job: str) -> str:
        """Remove an ended job with its log; returns its full id."""
        return text_in(self._request("remove", {"job": job}), "job")

    def prune(
        self,
        *,
        older_than_seconds: float | None = None,
        keep: int | None = None,
        user: str | int | None = None,
        everybody: bool = False,
        dry_run: bool = False,
    ) -> Pruned:
        """Remove ended jobs of ours; an admin may name another `user`, or ask for `everybody`'s.

        Those that ended so long ago, but for the newest `keep` of each user; without both all.
        `dry_run` only counts. Answered when it is done, however long that takes.
        """
        args: protocol.Message = {"older_than_seconds": older_than_seconds, "keep": keep}
        args |= {"user": user, "everybody": everybody, "dry_run": dry_run}
        return cast("Pruned", self._request("prune", args, timeout=None))

    def doctor(self) -> Doctor:
        """What the daemon's host can enforce, and where the daemon keeps things."""
        return cast("Doctor", self._request("doctor", {}))

    def stats(self) -> Stats:
        """Totals for a monitoring system: of all users, so for admins and the gateway alone."""
        answer = self._request("stats", {})
        numbers_in(answer, ("submitted", "cpu_usec", "memory_bytes"), "totals")
        return cast("Stats", answer)

    def drain(
        self,
        *,
        timeout_seconds: float | None = None,
        stop: bool = False,
        cancel: bool = False,
        begin: bool = True,
    ) -> Drained:
        """Take and start no more jobs. Answered when none runs, or the time has passed.

        It stays so, over restarts of the daemon too, until `cancel`, which takes jobs again;
        whoever waits then is answered. `stop`: jobs that run at the end of the time, without
        one at once, are stopped with their grace and waited for. Without `begin` nothing is begun:
        it waits for as long as somebody has the daemon drained. For admins alone. Like `wait`
        it outlives a restart.
        """
        if cancel:
            return _drained(self._request("drain", {"cancel": True}))
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds

        def ask(request: Request) -> Drained:
            left = None if end is None else max(end - time.monotonic(), 0)
            # How long a stop takes is the jobs' to say: their grace is the daemon's setting.
            bound = None if left is None or stop else left + ANSWER_SECONDS
            args = {"timeout_seconds": left, "stop": stop, "begin": begin}
            return _drained(request("drain", args, bound))

        return self._bearing(ask, math.inf if end is None or stop else end)


def _drained(answer: protocol.Message) -> Drained:
    numbers_in(answer, ("running", "queued"), "numbers of jobs")
    return cast("Drained", {**answer, "draining": answer.get("draining") is True})
