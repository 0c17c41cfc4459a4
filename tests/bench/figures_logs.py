"""Figures of logs: bandwidth, how soon a follower sees a line, and what many followers cost."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from client.logstream import LogChunk
from tests.bench import conmon, spawning
from tests.bench.conmon import Monitored
from tests.bench.kinds import OURS, Contender, Figure, Sizes, Target
from tests.bench.peers import ROOT
from tests.bench.wire import Followers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.api import Client
    from client.options import Logs
    from client.records import JobResult
    from tests.bench.peers import Command
    from tests.bench.stage import Daemon, Stage

_MIB: Final = 1 << 20
_SEGMENT: Final = 16 * _MIB
_FOLLOWERS: Final = 100
_LOGS: Final = 10
_PAUSE_USEC: Final = 5000
_ALL: Final = "with index and rotation, all of it kept and synced; from submission to the end"
# What conmon does: of the rest nothing stays.
_AS_CONMON: Final[Logs] = {"keep_segments": 2}
_LESS: Final = "32 MiB kept"
_PART: Final = "runnerd that keeps the last 16 to 32 MiB, as conmon the last 0 to 16"
_SILENCE_SECONDS: Final = 20.0


def finished(client: Client, job: str) -> JobResult:
    """The result of a job that was to succeed. Raises RuntimeError."""
    result = client.wait(job)["result"]
    if result is None or result["exit_status"] != 0:
        raise RuntimeError(f"job {job} ended with {result}")
    return result


# Bandwidth


def _our_bandwidth(
    client: Client, words: list[str], size: int, logs: Logs | None = None
) -> Contender:
    def turn() -> list[float]:
        began = time.perf_counter()
        job = client.submit(words, cwd="/", logs=logs)
        result = finished(client, job)
        took = time.perf_counter() - began
        if result["log_bytes"] != size:
            raise RuntimeError(f"{result['log_bytes']} of {size} bytes were logged")
        client.remove(job)
        return [size / _MIB / took]

    if logs:
        return Contender(_LESS, turn, _PART, is_peer=False)
    return Contender(OURS, turn, _ALL)


def _conmon_bandwidth(stage: Stage, words: list[str], size: int) -> Contender:
    count = iter(range(1 << 30))

    def turn() -> list[float]:
        one = Monitored(stage, f"bandwidth-{next(count)}", words, _SEGMENT)
        try:
            return [size / _MIB / one.run()]
        finally:
            one.end()

    notes = "k8s-file; synced and begun anew at each 16 MiB; from `crun start` to its end"
    return Contender("conmon", turn, notes)


def _cat(stage: Stage, words: list[str], size: int, *, sync: bool) -> Contender:
    path = f"{stage.directory('cat')}/log"

    def turn() -> list[float]:
        began = time.perf_counter()
        with open(path, "wb") as log, subprocess.Popen(words, stdout=subprocess.PIPE) as source:
            subprocess.run(["cat"], stdin=source.stdout, stdout=log, check=True)
            if sync:
                os.fsync(log.fileno())
        took = time.perf_counter() - began
        os.unlink(path)
        return [size / _MIB / took]

    if sync:
        return Contender("cat, synced", turn, "the same with fsync at its end, as ours has")
    return Contender("cat", turn, "`cat > file`: no index, no rotation, no sync")


@contextmanager
def _bandwidth(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    words = [stage.floors.program("lines"), str(sizes.load)]
    with stage.daemon(segment_bytes=_SEGMENT) as daemon, daemon.client() as client:
        size = sizes.load
        contenders = [
            _our_bandwidth(client, words, size),
            _our_bandwidth(client, words, size, _AS_CONMON),
            _cat(stage, words, size, sync=False),
            _cat(stage, words, size, sync=True),
        ]
        if not conmon.why_not():
            contenders.append(_conmon_bandwidth(stage, words, size))
        yield contenders


BANDWIDTH: Final = Figure(
    "bandwidth",
    "log of 100-byte lines to the disk, rotation on",
    "MiB/s",
    _bandwidth,
    # Both: what costs the same as what conmon does, and all of it kept, which conmon never does.
    (Target(5, "conmon", _LESS), Target(5, "conmon"), Target(0.8, "cat")),
    full=Sizes(rounds=9, batch=1, load=900 * _MIB),
    quick=Sizes(rounds=2, batch=1, load=64 * _MIB),
    better="higher",
)


# Seen by a follower


class Sights:
    """Collects how old lines are when they are seen, of those written after `attach`."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._rest = b""
        self._since: int | None = None

    def see(self, data: bytes, now_ns: int) -> None:
        """Bytes of `ticks`. What came first may have waited for its follower: it is left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._since is None:
            self._since = now_ns
        for line in lines:
            written = int(line)
            if written > self._since:
                self.milliseconds.append((now_ns - written) / 1e6)


def _our_sight(client: Client, words: list[str]) -> Contender:
    def turn() -> list[float]:
        sights = Sights()
        with client.logs(client.submit(words, cwd="/"), follow=True) as log:
            for item in log:
                if isinstance(item, LogChunk):
                    sights.see(item.data, time.monotonic_ns())
        return sights.milliseconds

    return Contender(OURS, turn, "through log and socket")


def _read_all(process: subprocess.Popen[bytes]) -> list[float]:
    sights = Sights()
    assert process.stdout is not None
    while True:
        ready, _, _ = select.select([process.stdout], [], [], _SILENCE_SECONDS)
        if not ready:
            process.kill()
            raise spawning.CommandError("it follows a program that has ended, and does not end")
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            return sights.milliseconds
        sights.see(data, time.monotonic_ns())


def _pipe_sight(words: list[str]) -> Contender:
    def turn() -> list[float]:
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            return _read_all(process)

    return Contender("pipe", turn, "read straight from the program: no log")


def _podman_sight(stage: Stage, command: Command, words: list[str]) -> Contender:
    podman = stage.peers.podman()
    options = (*stage.peers.podman_run(), *command.extra)

    def turn() -> list[float]:
        run = [*podman, *options, "--detach", "--rootfs", ROOT, *words]
        container = spawning.output(run).strip()
        try:
            follow = [*podman, "logs", "--follow", container]
            with subprocess.Popen(follow, stdout=subprocess.PIPE) as process:
                return _read_all(process)
        finally:
            with suppress(spawning.CommandError):
                spawning.output([*podman, "rm", "--force", "--time", "0", container])

    return Contender("podman", turn, "`podman logs -f`, k8s-file")


@contextmanager
def _follow(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    words = [stage.floors.program("ticks"), str(sizes.batch), str(_PAUSE_USEC)]
    stage.peers.find(("podman",))
    with stage.daemon() as daemon, daemon.client() as client:
        contenders = [_our_sight(client, words), _pipe_sight(words)]
        if (podman := stage.peers.get("podman")) is not None:
            contenders.insert(1, _podman_sight(stage, podman, words))
        yield contenders


FOLLOW: Final = Figure(
    "follow",
    "a line written → seen by one follower",
    "ms",
    _follow,
    (Target(0.25),),
    full=Sizes(rounds=9, batch=300),
    quick=Sizes(rounds=2, batch=100),
)


# Many followers


def _cost(daemon: Daemon, client: Client, words: list[str], logs: int, each: int) -> float:
    """CPU time of runnerd for one follower, as a share of what its job used to write."""
    before = daemon.cpu_seconds()
    jobs = [client.submit(words, cwd="/") for _ in range(logs)]
    Followers(daemon.socket, [job for job in jobs for _ in range(each)]).drain()
    results = [finished(client, job) for job in jobs]
    spent = (daemon.cpu_seconds() - before) / (logs * each)
    of_jobs = sum(result["cpu_usec"] or 0 for result in results) / 1e6 / logs
    for job in jobs:
        client.remove(job)
    if of_jobs <= 0:
        raise RuntimeError("the kernel does not say how much CPU time the jobs took")
    return spent / of_jobs


@contextmanager
def _followers(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    words = [stage.floors.program("lines"), str(sizes.load)]

    def shared(daemon: Daemon, client: Client, logs: int, each: int, name: str) -> Contender:
        notes = f"logs of {sizes.load >> 20} MiB; all of runnerd, what it does for the job too"
        return Contender(name, lambda: [_cost(daemon, client, words, logs, each)], notes)

    with stage.daemon() as daemon, daemon.client() as client:
        yield [
            shared(daemon, client, 1, _FOLLOWERS, OURS),
            shared(daemon, client, _LOGS, _FOLLOWERS // _LOGS, "10 of each of 10"),
            shared(daemon, client, 1, 1, "one follower"),
        ]


FOLLOWERS: Final = Figure(
    "followers",
    "100 followers of one log: CPU of runnerd for each, as a share of the job's own",
    "of job",
    _followers,
    (Target(0.05), Target(0.05, of="10 of each of 10")),
    full=Sizes(rounds=7, batch=1, load=64 * _MIB),
    quick=Sizes(rounds=2, batch=1, load=4 * _MIB),
)
