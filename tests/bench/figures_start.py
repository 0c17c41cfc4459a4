"""Figures of starting jobs: one `true`, many at once, and the whole command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from client.submission import build_submission
from tests.bench import floors, spawning
from tests.bench.kinds import FLOOR, OURS, Contender, Figure, Sizes, Target
from tests.bench.stage import PROJECT, TRUE
from tests.bench.wire import Wire, run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.api import Client
    from tests.bench.peers import Command
    from tests.bench.stage import Daemon, Stage

IN_FLIGHT: Final = 8
_ISOLATED: Final = ("bwrap", "crun", "runc", "podman", "firejail", "systemd-nspawn")
# Slower ones do less in a turn: a turn of podman's would take as long as everybody else's.
_SHARE: Final = {"podman": 8, "systemd-nspawn": 8, "firejail": 4, "runc": 2}


def limits_of(stage: Stage) -> dict[str, Any]:
    """The limits of a job, in the lane: the same as everybody's (`lane.LIMITS`)."""
    if not stage.limits:
        return {}
    io = [{"path": stage.disk, "write_bytes_per_second": 1 << 30}]
    limits = {"memory_max_bytes": 256 << 20, "cpu_max_millicpus": 1000, "pids_max": 64, "io": io}
    return {"limits": limits}


def true_job(stage: Stage) -> dict[str, Any]:
    """The arguments of `submit` for the job that is measured."""
    return build_submission([TRUE], cwd="/", **limits_of(stage))


def run_true(stage: Stage, client: Client) -> float:
    """Milliseconds from before its submission until its end is known."""
    limits = limits_of(stage)
    began = time.perf_counter()
    job = client.submit([TRUE], cwd="/", **limits)
    result = client.wait(job)["result"]
    took = (time.perf_counter() - began) * 1e3
    if result is None or result["exit_status"] != 0:
        raise RuntimeError(f"job {job} ended with {result}")
    return took


def _peer(stage: Stage, command: Command, batch: int) -> Contender:
    def turn() -> list[float]:
        count = max(1, batch // _SHARE.get(command.name, 1))
        line = stage.peers.line(command, [TRUE], "start")
        return [spawning.timed(line) for _ in range(count)]

    return Contender(command.name, turn, command.notes)


def _peers(stage: Stage, names: tuple[str, ...]) -> list[Command]:
    stage.peers.find(names)
    return [one for one in map(stage.peers.get, names) if one is not None]


def _floor(stage: Stage, batch: int) -> Contender:
    def turn() -> list[float]:
        words = [stage.floors.program("start"), str(batch), stage.cgroup, *stage.limits]
        return floors.milliseconds(spawning.output([*words, "--", TRUE]))

    return Contender(FLOOR, turn, "the same mounts; no monitor, log, record, store")


def _plain(stage: Stage, batch: int) -> Contender:
    def turn() -> list[float]:
        words = [stage.floors.program("spawn"), str(batch), TRUE]
        return floors.milliseconds(spawning.output(words))

    return Contender("vfork+exec", turn, "no isolation at all")


@contextmanager
def _start(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    with stage.daemon() as daemon, daemon.client() as client:

        def turn() -> list[float]:
            return [run_true(stage, client) for _ in range(sizes.batch)]

        turn()
        yield [
            Contender(OURS, turn, "log, result record and store commit included"),
            *(_peer(stage, one, sizes.batch) for one in _peers(stage, _ISOLATED)),
            _floor(stage, sizes.batch),
            _plain(stage, sizes.batch),
        ]


START: Final = Figure(
    "start",
    "submit → finished of `true`, six namespaces, mounts, its slice, over the socket",
    "ms",
    _start,
    (Target(0.35, "bwrap"), Target(1.3, FLOOR)),
    full=Sizes(rounds=15, batch=24),
    quick=Sizes(rounds=2, batch=8),
    in_lane=True,
    in_lane_full=Sizes(rounds=9, batch=16),
)


# Many at once


def _our_rate(stage: Stage, wire: Wire, count: int) -> Contender:
    submission = true_job(stage)

    def turn() -> list[float]:
        began = time.perf_counter()
        run_jobs(wire, submission, count, IN_FLIGHT)
        return [count / (time.perf_counter() - began)]

    return Contender(OURS, turn, "each one waited for; one connection")


def _peer_rate(stage: Stage, command: Command, count: int) -> Contender:
    def turn() -> list[float]:
        many = max(IN_FLIGHT, count // _SHARE.get(command.name, 1))

        def line(number: int) -> list[str]:
            return stage.peers.line(command, [TRUE], f"rate-{number}")

        return [spawning.a_second(line, many, IN_FLIGHT)]

    return Contender(command.name, turn, command.notes)


def _floor_rate(stage: Stage, count: int) -> Contender:
    def turn() -> list[float]:
        each = max(1, count // IN_FLIGHT)
        words = [stage.floors.program("start"), str(each), stage.cgroup, *stage.limits, "--", TRUE]
        return [spawning.a_second(lambda _number: words, IN_FLIGHT, IN_FLIGHT) * each]

    return Contender(FLOOR, turn, "the same mounts; no monitor, log, record, store")


@contextmanager
def _rate(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    with stage.daemon() as daemon, ExitStack() as stack:
        wire = Wire(daemon.socket)
        stack.callback(wire.close)
        ours = _our_rate(stage, wire, sizes.batch)
        ours.batch()
        names = ("bwrap", "crun", "runc", "podman")
        yield [
            ours,
            *(_peer_rate(stage, one, sizes.batch) for one in _peers(stage, names)),
            _floor_rate(stage, sizes.batch),
        ]


RATE: Final = Figure(
    "rate",
    f"jobs a second of `true`, {IN_FLIGHT} in flight",
    "1/s",
    _rate,
    (Target(2.7, "bwrap"), Target(90, "podman")),
    full=Sizes(rounds=11, batch=200),
    quick=Sizes(rounds=2, batch=32),
    better="higher",
    in_lane=True,
    in_lane_full=Sizes(rounds=7, batch=80),
)


# The whole command


def runctl() -> list[str]:
    """The client as people start it; where it is not installed, as a module."""
    installed = os.path.join(os.path.dirname(sys.executable), "runctl")
    return [installed] if os.path.exists(installed) else [sys.executable, "-m", "client.cli"]


def _command(daemon: Daemon) -> Callable[[], float]:
    words = [*runctl(), "--socket", daemon.socket, "run", "--", TRUE]
    probe = subprocess.run(words, check=False, capture_output=True, text=True)
    if probe.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {probe.stderr.strip()}")
    return lambda: spawning.timed(words)


@contextmanager
def _whole(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    # A clone that is not installed uses its own client.
    os.environ["PYTHONPATH"] = str(PROJECT)
    with stage.daemon() as daemon:
        once = _command(daemon)
        names = ("bwrap", "podman", "tsp")
        yield [
            Contender(OURS, lambda: [once() for _ in range(sizes.batch)]),
            *(_tsp(one, sizes.batch) if one.name == "tsp" else _peer(stage, one, sizes.batch)
              for one in _peers(stage, names)),
            _floor(stage, sizes.batch),
        ]  # fmt: skip


def _tsp(command: Command, batch: int) -> Contender:
    """Task spooler as it is used here: queue, in the foreground."""
    words = [*command.words, "-nf", TRUE]
    return Contender(
        command.name, lambda: [spawning.timed(words) for _ in range(batch)], "no isolation, no log"
    )


WHOLE: Final = Figure(
    "whole",
    "`runctl run -- true`, the whole command",
    "ms",
    _whole,
    (Target(0.09, "podman"), Target(3, "bwrap")),
    full=Sizes(rounds=11, batch=16),
    quick=Sizes(rounds=2, batch=4),
    in_lane=True,
)
