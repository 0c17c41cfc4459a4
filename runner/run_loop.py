"""One job from its payload's fork to its last byte of output. The monitor's working part.

Waits in one poll for output, control records, ended children, the set-up report and
deadlines. Decides nothing that `runner.watchdog` or `runner.outcome` decides. Lean.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isolation import payload, syscalls
from isolation.cgroups import files as cgroup_files
from isolation.payload import Command, Setup, SetupFailure, Streams
from isolation.syscalls import CloneFlags
from runner import outcome, records
from runner.denied import Denied
from runner.handles import kill_payload
from runner.logs.format import STDERR, STDOUT
from runner.outcome import Facts, Outcome
from runner.pump import Pump, plan_output
from runner.usage import cpu_seconds, out_of_memory
from runner.watchdog import KILL, TERMINATE, WARN, Bounds, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.handles import Given, Handles
    from runner.logs.writer import SegmentWriter

# After the end of a job whose log has no room: how long its last output waits for some.
_FULL_DISK_PATIENCE_SECONDS: Final = 30.0
# And how long compressing what is left may put off the record; the rest stays as it is.
_LAST_WORK_SECONDS: Final = 1.0
_REAPED_AT_ONCE: Final = 256
# What batch systems warn with; it ends a program that does not expect it.
_WARNING_SIGNAL: Final = signal.SIGUSR1


class RunLoop:
    """The loop of one monitor. Built once, run once."""

    def __init__(
        self,
        handles: Handles,
        spec: dict[str, Any],
        log: SegmentWriter,
        given: Given,
    ) -> None:
        self._handles = handles
        self._spec = spec
        self._limits: dict[str, Any] = spec["limits"]
        self._given = given
        self._log = log
        self._poll = select.poll()
        self._on_ready: dict[int, Callable[[], None]] = {}
        self._pump = Pump(log, self._watch, self._unwatch)
        self._pump.follow(plan_output(spec, spec["limits"]))
        self._denied: Denied | None = None
        self._payload_pid = -1
        self._wait_status: int | None = None
        self._report = b""
        self._report_fd = -1
        self._wake_write = -1
        self._watchdog = Watchdog(
            time.monotonic(),
            _bounds(spec["limits"]),
            spec["stop_grace_seconds"],
            # Those that there are, on line or not: a bound on how fast CPU time can pass.
            os.sysconf("SC_NPROCESSORS_CONF"),
            has_deadline=spec.get("deadline_ns") is not None,
        )

    def run(self) -> Outcome:
        """Start the payload, see it through to its end, and judge that end."""
        self._watch_children()
        self._watch(self._handles.control, self._read_control)
        try:
            self._start()
        except OSError as error:
            # At a limit of processes, say: nothing runs, and that is known.
            return outcome.never_started(f"fork the payload: {error.strerror}")
        while self._wait_status is None:
            self._turn()
        self._end_all()
        return outcome.judge(self._facts())

    def report(self) -> dict[str, Any]:
        """What else a result says of the run."""
        return {
            "paused_ns": round(self._watchdog.paused_seconds(time.monotonic()) * 1e9),
            "denied": None if self._denied is None else self._denied.counts(),
        }

    # The start

    def _start(self) -> None:
        outputs = {stream: self._make_pipe() for stream in (STDOUT, STDERR)}
        self._report_fd, report_write = os.pipe2(os.O_CLOEXEC)
        stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        denials = self._expect_denials()
        streams = Streams(stdin, outputs[STDOUT][1], outputs[STDERR][1], report_write, denials)
        pid, pidfd = syscalls.clone3(CloneFlags(0), self._handles.payload_cgroup, signal.SIGCHLD)
        if pid == 0:
            payload.execute(self._command(), streams, self._setup())
        self._payload_pid = pid
        handles = self._handles
        # Of what it enters ours is the last reference but the job's own: it goes with the job.
        entered = (handles.network, handles.userns, handles.idmap, handles.seccomp)
        for fd in (pidfd, *streams, *entered):
            if fd is not None:
                os.close(fd)
        for stream, (read_fd, _) in outputs.items():
            self._pump.add(read_fd, stream)
        self._watch(self._report_fd, self._read_report)

    def _make_pipe(self) -> tuple[int, int]:
        """A pipe whose write end the job's user may open again as /dev/stdout."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.fchown(write_fd, *(self._given.ids or (self._spec["uid"], self._spec["gid"])))
        return read_fd, write_fd

    def _expect_denials(self) -> int | None:
        program = self._handles.seccomp
        if program is None or not self._spec["sandbox"]["report_denied"]:
            return None
        self._denied = Denied(program, self._watch, self._unwatch)
        return self._denied.expect()

    def _command(self) -> Command:
        spec = self._spec
        return Command(
            spec["argv"], spec["env"], spec["cwd"], spec["umask"],
            spec["uid"], spec["gid"], spec["groups"],
        )  # fmt: skip

    def _setup(self) -> Setup:
        handles, limits = self._handles, self._spec["limits"]
        return Setup(
            network_fd=handles.network,
            userns_fd=handles.userns,
            idmap_fd=handles.idmap,
            seccomp_fd=handles.seccomp,
            sandbox=self._spec["sandbox"],
            scratch_bytes=limits.get("scratch_max_bytes"),
            rlimits=limits.get("rlimits", {}),
            files=self._given.files,
            ids=self._given.ids,
        )

    # The waiting

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._on_ready[fd] = action
        self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._on_ready[fd]

    def _watch_children(self) -> None:
        """SIGCHLD, which the launcher ignores, becomes a readable pipe."""
        wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._watch(wake_read, lambda: self._on_child(wake_read))

    def _turn(self) -> None:
        """Wait for one round of events and act on each; where there is none, work on the log."""
        ready = self._poll.poll(0 if self._log.has_work else self._patience_ms())
        if not ready and self._log.has_work:
            self._log.work()
        for fd, _events in ready:
            action = self._on_ready.get(fd)
            if action is not None:
                action()
        now = time.monotonic()
        self._pump.on_time(now)
        self._act(self._watchdog.on_time(now))
        if self._watchdog.wants_cpu(now):
            self._act(self._watchdog.on_cpu(now, cpu_seconds(self._handles.payload_cgroup)))
        if self._watchdog.wants_wall_clock(now):
            remaining = (self._spec["deadline_ns"] - time.time_ns()) / 1e9
            self._act(self._watchdog.on_wall_clock(now, remaining))
        if self._pump.excess:
            self._act(self._watchdog.on_excess(now))
        if self._pump.lost_errno:
            self._act(self._watchdog.on_log_error(now))

    def _patience_ms(self) -> int | None:
        times = [at for at in (self._watchdog.deadline(), self._pump.retry_at) if at is not None]
        if not times:
            return None
        # One more: poll counts whole milliseconds and must not wake before the time.
        return max(0, int((min(times) - time.monotonic()) * 1000) + 1)

    def _on_child(self, wake_fd: int) -> None:
        os.read(wake_fd, 4096)
        # A storm of orphans must not keep the loop from its deadlines: the rest comes next.
        for _ in range(_REAPED_AT_ONCE):
            if not self._reap(os.WNOHANG):
                return
        # A full pipe is readable all the same.
        with suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _reap(self, options: int) -> bool:
        """Collect one ended child: the payload or an orphan of the namespace. False: none."""
        try:
            pid, status = os.waitpid(-1, options)
        except ChildProcessError:
            return False
        if pid == self._payload_pid:
            self._wait_status = status
        return pid != 0

    def _read_report(self) -> None:
        data = os.read(self._report_fd, payload.MAX_REPORT_BYTES)
        self._report += data
        if not data:
            self._unwatch(self._report_fd)
            os.close(self._report_fd)
            self._report_fd = -1

    def _read_control(self) -> None:
        data = os.read(self._handles.control, records.CONTROL_RECORD.size)
        if len(data) != records.CONTROL_RECORD.size:
            return
        kind, uid, grace_ms = records.CONTROL_RECORD.unpack(data)
        now = time.monotonic()
        if kind == records.CONTROL_STOP:
            self._act(self._watchdog.on_stop(now, uid, grace_ms / 1000))
        elif kind == records.CONTROL_PAUSE:
            self._pause(now)
        elif kind == records.CONTROL_RESUME and self._thaw():
            self._watchdog.on_resume(now)
        elif kind == records.CONTROL_UPDATE:
            self._update(now)

    def _pause(self, now: float) -> None:
        if self._watchdog.on_pause(now):
            try:
                cgroup_files.write(self._handles.payload_cgroup, "cgroup.freeze", "1")
            except OSError:
                # The kernel before 5.2. Who asked sees that nothing froze.
                self._watchdog.on_resume(now)

    def _thaw(self) -> bool:
        try:
            cgroup_files.write(self._handles.payload_cgroup, "cgroup.freeze", "0")
        except OSError:
            return False
        return True

    def _update(self, now: float) -> None:
        try:
            limits = records.read(self._handles.job_dir, records.LIMITS, records.MAX_LIMITS_BYTES)
        except (OSError, records.RecordError):
            # What it was promised before holds.
            return
        self._limits = limits
        self._watchdog.on_update(now, _bounds(limits))
        self._pump.follow(plan_output(self._spec, limits))

    def _act(self, action: str | None) -> None:
        if action == WARN:
            self._signal(self._limits.get("warning_signal") or _WARNING_SIGNAL)
        elif action == TERMINATE:
            self._signal(signal.SIGTERM)
            # A stopped process would only see it when somebody continued it, or thawed it.
            self._signal(signal.SIGCONT)
            self._thaw()
        elif action == KILL:
            kill_payload(self._handles)
            self._thaw()

    @staticmethod
    def _signal(number: int) -> None:
        """As pid 1 of the namespace: to every process of the job but this one."""
        with suppress(ProcessLookupError):
            os.kill(-1, number)

    # The end

    def _end_all(self) -> None:
        """The first process has ended: so does everything that it started."""
        kill_payload(self._handles)
        self._thaw()
        # Blocks until the last one is gone; a stopped or sleeping one is killed as well.
        while self._reap(0):
            pass
        while self._report_fd >= 0:
            self._read_report()
        self._pump.drain(time.monotonic() + _FULL_DISK_PATIENCE_SECONDS)
        deadline = time.monotonic() + _LAST_WORK_SECONDS
        while self._log.has_work and time.monotonic() < deadline:
            self._log.work()

    def _facts(self) -> Facts:
        failure = payload.parse_report(self._report)
        memory = out_of_memory(self._handles.payload_cgroup)
        return Facts(
            wait_status=self._wait_status,
            oom_kills=memory.kills,
            hit_memory_limit=memory.hit_own_limit,
            cause=self._watchdog.cause,
            stopped_by_uid=self._watchdog.stopped_by_uid,
            excess=self._pump.excess,
            log_errno=self._pump.lost_errno,
            dropped_bytes=self._log.dropped_bytes,
            **_failure_fields(failure),
        )


def _bounds(limits: dict[str, Any]) -> Bounds:
    return Bounds(
        limits.get("timeout_seconds"), limits.get("warning_seconds"), limits.get("cpu_time_seconds")
    )


def _failure_fields(failure: SetupFailure | None) -> dict[str, Any]:
    if failure is None:
        return {}
    return {
        "failed_step": failure.step,
        "failed_errno": failure.errno,
        "failed_text": failure.text,
        "is_exec_step": failure.step == payload.EXEC_STEP,
    }
