"""Figures of size: memory of a monitor, a daemon with many jobs, a long queue."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from client.submission import build_submission
from tests.bench import conmon
from tests.bench.conmon import Monitored
from tests.bench.ended_jobs import multiply
from tests.bench.figures_start import run_true, true_job
from tests.bench.kinds import OURS, Contender, Figure, Sizes, Target
from tests.bench.wire import Wire, run_jobs, submit_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from client.api import Client
    from tests.bench.stage import Daemon, Stage

_SLEEP: Final = ["/bin/sleep", "100000"]
_SECONDS: Final = 300.0
_IN_FLIGHT: Final = 32
_PAGE: Final = 10
_PARTS: Final = 10
# Ended jobs that are run, and multiplied then; and jobs that warm a daemon up.
_TEMPLATES: Final = 20
_WARM: Final = 200
_MB: Final = 1e6


def wait_until(condition: Callable[[], bool], what: str, seconds: float = _SECONDS) -> None:
    """Raises RuntimeError when it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


# Memory


def pss_kib(pid: int) -> float:
    """Proportional set size. proc_pid_smaps_rollup(5). Raises OSError when it has ended."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return rollup_pss(text)


def rollup_pss(text: str) -> float:
    """KiB of the line `Pss:`. Raises ValueError without one."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise ValueError("smaps_rollup without Pss")


def mean_pss(pids: Sequence[int]) -> float:
    """Of those that still live. Raises RuntimeError when none does."""
    sizes = []
    for pid in pids:
        with suppress(OSError):
            sizes.append(pss_kib(pid))
    if not sizes:
        raise RuntimeError("no process left to look at")
    return fmean(sizes)


@contextmanager
def _memory(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    with stage.daemon() as daemon, daemon.client() as client, ExitStack() as stack:
        for _ in range(sizes.load):
            client.submit(_SLEEP, cwd="/")
        wait_until(lambda: len(daemon.monitors()) == sizes.load, "all jobs run")
        notes = f"mean of {sizes.load} jobs; without runnerd and its launchers, one for all"
        contenders = [Contender(OURS, lambda: [mean_pss(daemon.monitors())], notes)]
        if not conmon.why_not():
            pids = _conmons(stage, stack, sizes.load)
            contenders.append(
                Contender("conmon", lambda: [mean_pss(pids)], f"mean of {sizes.load} containers")
            )
        yield contenders


def _conmons(stage: Stage, stack: ExitStack, count: int) -> list[int]:
    pids = []
    for number in range(count):
        one = Monitored(stage, f"memory-{number}", _SLEEP, 1 << 24)
        stack.callback(one.end)
        one.start()
        pids.append(one.process.pid)
    return pids


MEMORY: Final = Figure(
    "memory",
    "memory of a running job's monitor, PSS",
    "KiB",
    _memory,
    (Target(270),),
    full=Sizes(rounds=5, batch=1, load=500),
    quick=Sizes(rounds=2, batch=1, load=20),
)


# A daemon with many jobs


def _run_some(stage: Stage, daemon: Daemon, count: int) -> None:
    with closing(Wire(daemon.socket)) as wire:
        run_jobs(wire, true_job(stage), count, _IN_FLIGHT)


def _start_some(daemon: Daemon, count: int) -> None:
    """Jobs that go on."""
    with closing(Wire(daemon.socket)) as wire:
        submit_many(wire, build_submission(_SLEEP, cwd="/"), count, _IN_FLIGHT)
    wait_until(lambda: len(daemon.monitors()) == count, "all jobs run")


def _fill(stage: Stage, daemon: Daemon, ended: int) -> None:
    """Ended jobs, most of them copies of a few. The daemon is another one then."""
    _run_some(stage, daemon, min(ended, _TEMPLATES))
    daemon.stop()
    multiply(Path(daemon.state), ended)
    daemon.start()


def _warm_up(stage: Stage, daemon: Daemon) -> None:
    """What a daemon does for the first time takes longer. The jobs are removed again."""
    with daemon.client() as client:
        before = {summary["job"] for summary in client.jobs(ended=True, page=_WARM)}
        _run_some(stage, daemon, _WARM)
        for summary in islice(client.jobs(ended=True), _WARM):
            if summary["job"] not in before:
                client.remove(summary["job"])


def _timed(calls: Iterable[Callable[[], object]]) -> list[float]:
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return took


def _operations(
    stage: Stage, daemon: Daemon, client: Client, batch: int, who: str
) -> list[Contender]:
    job = client.submit(["/bin/true"], cwd="/")
    client.wait(job)

    def page() -> object:
        return next(client.jobs(page=_PAGE), None)

    def own(name: str) -> str:
        return OURS if (name, who) == ("submit", "full") else f"{name}, {who}"

    def status(jobs: Sequence[str]) -> Callable[[], list[float]]:
        return lambda: _timed(partial(client.status, one) for one in jobs)

    contenders = [
        Contender(f"ps, {who}", lambda: _timed([page] * batch), "ten of the running jobs",
                  is_peer=False),
        Contender(f"status, {who}", status([job] * batch), "of one job, again and again",
                  is_peer=False),
        Contender(own("submit"), lambda: [run_true(stage, client) for _ in range(batch // 4)],
                  "submit → finished of `true`"),
        Contender(f"RSS, {who}", lambda: [daemon.resident_bytes() / _MB], unit="MB",
                  is_peer=False),
    ]  # fmt: skip
    if who == "full":
        others = [summary["job"] for summary in islice(client.jobs(ended=True), 50 * batch)][::50]
        notes = "each time of another ended job"
        contenders.insert(2, Contender("status of others", status(others), notes, is_peer=False))
    return contenders


@contextmanager
def _crowd(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    ended, running = sizes.load, max(_PAGE, sizes.load // 100)
    with stage.daemon() as full, stage.daemon() as empty, ExitStack() as stack:
        _fill(stage, full, ended)
        for daemon, count in ((full, running), (empty, _PAGE)):
            _start_some(daemon, count)
            _warm_up(stage, daemon)
        crowded, alone = (stack.enter_context(one.client()) for one in (full, empty))
        yield [
            *_operations(stage, full, crowded, sizes.batch, "full"),
            *_operations(stage, empty, alone, sizes.batch, "empty"),
        ]


CROWD: Final = Figure(
    "crowd",
    "a daemon with 100,000 ended and 1,000 running jobs, beside one with ten running",
    "ms",
    _crowd,
    (
        Target(1.2, "ps, empty", "ps, full"),
        Target(1.2, "status, empty", "status, full"),
        Target(1.2, "submit, empty"),
        Target(60, of="RSS, full"),
    ),
    full=Sizes(rounds=9, batch=40, load=100_000),
    quick=Sizes(rounds=2, batch=8, load=1000),
)


# A long queue


def _work_off(stage: Stage, daemon: Daemon, client: Client, count: int) -> float:
    """Seconds until so many jobs have ended that were queued before one of them started."""
    client.set_queue("default", paused=True)
    with closing(Wire(daemon.socket)) as wire:
        submit_many(wire, true_job(stage), count, _IN_FLIGHT)
    began = time.perf_counter()
    client.set_queue("default", paused=False)
    wait_until(lambda: _is_idle(client), "the queue is empty", _SECONDS + count / 10)
    return time.perf_counter() - began


def _is_idle(client: Client) -> bool:
    own = client.queues()["own"]
    return own["queued"] + own["running"] == 0


def _queued(stage: Stage, count: int, times: int, name: str) -> Contender:
    def turn() -> list[float]:
        # A new one for each turn: how many have ended before is another figure.
        with stage.daemon(running=os.cpu_count() or 1) as daemon, daemon.client() as client:
            took = [_work_off(stage, daemon, client, count) for _ in range(times)]
            return [sum(took) * 1e3 / (count * times)]

    notes = f"{count} jobs" if times == 1 else f"{times} times {count} jobs"
    return Contender(name, turn, f"{notes}, as many at once as there are CPUs")


@contextmanager
def _queue(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    few = max(1, sizes.load // _PARTS)
    yield [
        _queued(stage, sizes.load, 1, OURS),
        _queued(stage, few, _PARTS, "in ten parts"),
    ]


QUEUE: Final = Figure(
    "queue",
    "10,000 queued `true`, for each until all have ended, beside ten times 1,000",
    "ms",
    _queue,
    (Target(1.1, "in ten parts"),),
    full=Sizes(rounds=2, batch=1, load=10_000),
    quick=Sizes(rounds=1, batch=1, load=200),
)
