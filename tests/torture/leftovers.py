"""What may not be left over when a life ends, and processes that nothing of ours may touch."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING, Final

from tests.kernel import traces
from tests.kernel.harness import wait_until
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.kernel.traces import Traces
    from tests.torture.victim import Victim

_LAST_PID: Final = "/proc/sys/kernel/ns_last_pid"
_INNOCENTS: Final = 24
_PREPARED_NETWORKS: Final = 2
_SECONDS: Final = 15.0
_IN_STATE_DIR: Final = re.compile(r"lock|cgroup-root(\.new)?|jobs|runnerd\.sqlite3(-wal|-shm)?")
_IN_JOB: Final = re.compile(r"spec|control|limits|stop|exit|log|lost\+found")
_ATTEMPT: Final = re.compile(r"attempt-[0-9]+")
# What a monitor that was killed, or a power cut, could not finish.
_IN_LOST_JOB: Final = re.compile(r"exit\.tmp|limits\.tmp|update")
_IN_LOG: Final = re.compile(r"[0-9]{20}\.(log|idx)(\.zst)?")
_IN_LOST_LOG: Final = re.compile(r"[0-9]{20}\.(log|idx)\.zst\.tmp")


class Innocents:
    """Processes of the torture's own that have the numbers of monitors of an earlier life.

    A runnerd that trusted a stored number would signal one of them.
    """

    def __init__(self, wanted: Iterable[int]) -> None:
        numbers: list[int | None] = [*list(wanted)[:_INNOCENTS], *[None] * _INNOCENTS]
        self.pids = [_innocent(number) for number in numbers[:_INNOCENTS]]

    def dismiss(self) -> None:
        """End them. Raises DifferenceError when one is gone already."""
        gone = [pid for pid in self.pids if os.waitpid(pid, os.WNOHANG)[0]]
        for pid in set(self.pids) - set(gone):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if gone:
            raise DifferenceError(f"processes that nothing of ours may touch are gone: {gone}")


def _innocent(wanted: int | None) -> int:
    if wanted is not None and not os.path.exists(f"/proc/{wanted}"):
        with open(_LAST_PID, "w", encoding="ascii") as file:
            file.write(str(wanted - 1))
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        while True:
            signal.pause()
    return pid


def take() -> Traces:
    """The state of the machine without a daemon. Of /tmp nothing: it is the machine's own."""
    now = traces.take(None)
    here = {path for path in now.temporary_files if not path.startswith("/tmp/")}
    return now._replace(temporary_files=frozenset(here))


def compare(before: Traces) -> None:
    """Raises DifferenceError for what is there now and was not, or the other way round."""
    try:
        wait_until(lambda: take() == before, _SECONDS, lambda: _difference(before, take()))
    except AssertionError as error:
        raise DifferenceError(f"left over: {error}") from None


def _difference(before: Traces, now: Traces) -> str:
    return "; ".join(
        f"{name}: {sorted(map(str, set(old) ^ set(new)))}"
        for name, old, new in zip(before._fields, before, now, strict=True)
        if old != new
    )


def check_state_dir(victim: Victim, known: set[str]) -> list[str]:
    """Sentences on what is in the state directory and should not be; `known` are its jobs."""
    found = [
        f"{name} in the state directory"
        for name in os.listdir(victim.state_dir)
        if not _IN_STATE_DIR.fullmatch(name)
    ]
    jobs = set(os.listdir(f"{victim.state_dir}/jobs"))
    found += [f"the directory {name} of no job" for name in jobs - known]
    for job in jobs & known:
        directory = f"{victim.state_dir}/jobs/{job}"
        later = [name for name in os.listdir(directory) if _ATTEMPT.fullmatch(name)]
        for place in (directory, *(f"{directory}/{name}" for name in later)):
            found += [text for text in _strange_attempt(place) if text.split("/")[-1] not in later]
    cgroups = [name for name in os.listdir(victim.cgroup_root) if name.startswith("job-")]
    return found + [f"the cgroup {name} of no running job" for name in cgroups]


def _strange_attempt(directory: str) -> list[str]:
    # No record: it was lost, or never launched.
    cut_short = not os.path.exists(f"{directory}/exit")
    found = _strange(directory, _IN_JOB, _IN_LOST_JOB if cut_short else None)
    if os.path.isdir(f"{directory}/log"):
        found += _strange(f"{directory}/log", _IN_LOG, _IN_LOST_LOG if cut_short else None)
    return found


def _strange(directory: str, usual: re.Pattern[str], also: re.Pattern[str] | None) -> list[str]:
    return [
        f"{directory}/{name}"
        for name in os.listdir(directory)
        if not usual.fullmatch(name) and not (also and also.fullmatch(name))
    ]


def descriptors(victim: Victim) -> tuple[str, ...]:
    """What a runnerd has open."""
    (pid,) = victim.daemon_pids()
    return traces.descriptors(pid)


def wait_for_networks(victim: Victim) -> None:
    """Until it has those ready that it keeps once a job has needed one."""
    wait_until(
        lambda: descriptors(victim).count("net") >= _PREPARED_NETWORKS,
        _SECONDS,
        lambda: descriptors(victim),
    )
