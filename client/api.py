"""The client library: a `Client` with one method for each operation of the daemon.

Programs use it directly and runctl is made of it. It turns arguments into requests and
answers into the types of `client.records`; frames are `client.connection`'s, prose is
`client.errors`'s. It never imports the daemon.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Final, cast

from client import protocol
from client.connection import ANSWER_SECONDS
from client.errors import ClientError, ConnectionLost, ProtocolError
from client.execstream import ExecStream
from client.logstream import LogStream, Selection, read_location
from client.patience import Patience, is_away
from client.pool import Pool
from client.submission import build_exec, build_submission, build_update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from client.records import (
        Doctor,
        Drained,
        Environment,
        Hello,
        JobStatus,
        JobSummary,
        Limits,
        Location,
        Logs,
        Net,
        Network,
        Pruned,
        Sandbox,
        State,
        Text,
    )

RECONNECT_SECONDS: Final = 60.0
PAGE_JOBS: Final = 500
_JOB_ID_CHARS: Final = 36


class Client:
    """A client of the runnerd at `socket_path` (default: RUNNERD_SOCKET, else the standard one).

    Connects when first used. May be used by several threads, and as a context manager.
    Every method raises DaemonUnavailable, ConnectionLost, RequestRefused or ProtocolError,
    all of them ClientError. `logs(follow=True)` and `wait` outlive a restart of the daemon:
    they wait for it for up to `reconnect_seconds`; `on_away` is called with the error when
    it goes, `on_back` when it is there again.
    """

    def __init__(
        self,
        socket_path: str | None = None,
        *,
        reconnect_seconds: float = RECONNECT_SECONDS,
        on_away: Callable[[Exception], None] | None = None,
        on_back: Callable[[], None] | None = None,
    ) -> None:
        default = os.environ.get("RUNNERD_SOCKET") or protocol.DEFAULT_SOCKET
        self.socket_path = socket_path or default
        self.reconnect_seconds = reconnect_seconds
        self._on_away = on_away
        self._on_back = on_back
        self._pool = Pool(self.socket_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections; repeating is harmless, and a later call connects again."""
        self._pool.close()

    def hello(self) -> Hello:
        """The daemon's greeting: its version, and who it takes us for."""
        connection = self._pool.take()
        self._pool.give(connection)
        return cast("Hello", connection.hello)

    def submit(  # noqa: PLR0913  the fields of the request
        self,
        argv: Sequence[Text],
        *,
        cwd: Text | None = None,
        env: Environment | None = None,
        name: str | None = None,
        umask: int | None = None,
        network: Network | None = None,
        user: str | int | None = None,
        group: str | int | None = None,
        limits: Limits | None = None,
        logs: Logs | None = None,
        sandbox: Sandbox | None = None,
        net: Net | None = None,
    ) -> str:
        """Submit a job and return its id; it is on the daemon's disk by then.

        `cwd`, `env` and `umask` are the caller's own unless given; `env` replaces the whole
        environment (where a preset of `sandbox` is asked for, its default is a clean one).
        All paths are absolute. Bounds: docs/PROTOCOL.md. After ConnectionLost the job may or
        may not have been accepted.
        """
        args = build_submission(
            argv,
            cwd=cwd,
            env=env,
            name=name,
            umask=umask,
            network=network,
            user=user,
            group=group,
            limits=limits,
            logs=logs,
            sandbox=sandbox,
            net=net,
        )
        try:
            answer = self._request("submit", args)
        except ConnectionLost as error:
            raise ConnectionLost(
                f"{error}; the job may have been accepted: `runctl ps --all` shows it"
            ) from None
        return _string(answer, "job")

    def jobs(self, *, ended: bool = False, page: int = PAGE_JOBS) -> Iterator[JobSummary]:
        """Jobs that we may see, newest first; with those that have ended when `ended`.

        Asks for `page` (1 to 1,000) at a time.
        """
        before: object = None
        while True:
            args = {"ended": ended, "limit": page, "before": before}
            answer = self._request("list", args)
            jobs, following = answer.get("jobs"), answer.get("next")
            if not isinstance(jobs, list):
                raise ProtocolError("runnerd sent a list without jobs")
            yield from jobs
            if following is None:
                return
            if following == before:
                raise ProtocolError("runnerd sent the same page of jobs again")
            before = following

    def status(self, job: str) -> JobStatus:
        """A job by id, prefix of an id (4 characters or more) or name."""
        return cast("JobStatus", self._request("status", {"job": job}))

    def logs(
        self,
        job: str,
        *,
        cursor: int = 0,
        follow: bool = False,
        until_ns: int | None = None,
        attempt: int | None = None,
    ) -> LogStream:
        """A job's output from the absolute offset `cursor` on; see LogStream.

        Following ends when the job has ended and everything was given. `until_ns` (Unix time)
        leaves out what was written after it.
        """
        patience = self._patience(self.reconnect_seconds) if follow else None
        full = self._full_id(job) if follow else job
        return LogStream(self._pool, Selection(full, cursor, follow, until_ns, attempt), patience)

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
        one counts. Times are Unix time; with both bounds, the last lines between them.
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
        return cast("State", _string(self._request("stop", args), "state"))

    def update(self, job: str, limits: Limits) -> Limits:
        """Change limits of a job that has not ended: all of those that are given, or none.

        None lifts a limit, one that is missing stays as it is; `io` and `rlimits` replace
        what the job has of them. Returns the limits that apply now, as read back.
        """
        applied = self._request("update", build_update(job, limits)).get("limits")
        if not isinstance(applied, dict):
            raise ProtocolError("runnerd sent an answer without limits")
        return cast("Limits", applied)

    def pause(self, job: str) -> State:
        """Freeze a running job, its time limit with it; returns its state. `stop` ends it still."""
        return cast("State", _string(self._request("pause", {"job": job}), "state"))

    def resume(self, job: str) -> State:
        """Let a paused job go on; returns its state."""
        return cast("State", _string(self._request("resume", {"job": job}), "state"))

    def wait(self, job: str, *, timeout_seconds: float | None = None) -> JobStatus:
        """The job when it has ended, or as it is when `timeout_seconds` have passed.

        A daemon that is away then is its error: what the job is cannot be known.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        full = self._full_id(job)
        patience = self._patience(self.reconnect_seconds)
        while True:
            try:
                return self._wait_once(full, end, patience)
            except ClientError as error:
                if not is_away(error) or not self._pool.reached:
                    raise
                patience.wait(error, math.inf if end is None else end)

    def remove(self, job: str) -> str:
        """Remove an ended job with its log; returns its full id."""
        return _string(self._request("remove", {"job": job}), "job")

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
        patience = self._patience(self.reconnect_seconds)
        while True:
            try:
                return self._drain_once(end, patience, stop=stop, begin=begin)
            except ClientError as error:
                if not is_away(error) or not self._pool.reached:
                    raise
                patience.wait(error, math.inf if end is None or stop else end)

    def _drain_once(
        self, end: float | None, patience: Patience, *, stop: bool, begin: bool
    ) -> Drained:
        connection = self._pool.take()
        patience.connected()
        left = None if end is None else max(end - time.monotonic(), 0)
        # How long a stop takes is the jobs' to say: their grace is the daemon's setting.
        bound = None if left is None or stop else left + ANSWER_SECONDS
        args = {"timeout_seconds": left, "stop": stop, "begin": begin}
        return _drained(self._pool.request(connection, "drain", args, bound))

    def _request(
        self, op: str, args: protocol.Message, timeout: float | None = ANSWER_SECONDS
    ) -> protocol.Message:
        return self._pool.request(self._pool.take(), op, args, timeout)

    def _wait_once(self, job: str, end: float | None, patience: Patience) -> JobStatus:
        connection = self._pool.take()
        patience.connected()
        left = None if end is None else max(end - time.monotonic(), 0)
        args = {"job": job, "timeout_seconds": left}
        bound = None if left is None else left + ANSWER_SECONDS
        return cast("JobStatus", self._pool.request(connection, "wait", args, bound))

    def _full_id(self, job: str) -> str:
        """The full id: while we wait, a name or prefix may come to mean another job."""
        return job if len(job) == _JOB_ID_CHARS else self.status(job)["job"]

    def _patience(self, seconds: float) -> Patience:
        return Patience(seconds, self._on_away, self._on_back)


def _string(answer: protocol.Message, key: str) -> str:
    value = answer.get(key)
    if isinstance(value, str):
        return value
    raise ProtocolError(f"runnerd sent an answer without {key}")


def _drained(answer: protocol.Message) -> Drained:
    if not all(type(answer.get(key)) is int for key in ("running", "queued")):
        raise ProtocolError("runnerd sent an answer without its numbers of jobs")
    return cast("Drained", {**answer, "draining": answer.get("draining") is True})
