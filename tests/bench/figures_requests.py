"""Figures of requests: one round trip, and many in flight, beside a server that only echoes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from tests.bench import spawning
from tests.bench.figures_start import run_true
from tests.bench.floors import FloorError
from tests.bench.kinds import FLOOR, OURS, Contender, Figure, Sizes, Target
from tests.bench.stage import RUN
from tests.bench.wire import Wire, pump, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.stage import Stage

IN_FLIGHT: Final = 64
_FRAMES: Final = 4 * IN_FLIGHT
_SECONDS: Final = 10.0


@contextmanager
def _echo(stage: Stage) -> Iterator[str | None]:
    """The socket of an echo server, or None where there is no compiler."""
    path = f"{RUN}/echo-{time.monotonic_ns()}.sock"
    try:
        program = stage.floors.program("echo")
    except FloorError:
        yield None
        return
    process = subprocess.Popen([program, path], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _SECONDS
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                raise spawning.CommandError("the echo server does not listen")
            time.sleep(0.01)
        yield path
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _contenders(
    stage: Stage, turn: Callable[[Wire, Sequence[bytes]], list[float]]
) -> Iterator[list[Contender]]:
    with stage.daemon() as daemon, daemon.client() as client, _echo(stage) as echo:
        run_true(stage, client)
        (job,) = (summary["job"] for summary in client.jobs(ended=True))
        status = [request(n, "status", {"job": job}) for n in range(1, _FRAMES + 1)]
        list_ = [request(n, "list", {"ended": False, "limit": 1}) for n in range(1, _FRAMES + 1)]
        with ExitStack() as stack:
            ours = Wire(daemon.socket)
            stack.callback(ours.close)
            contenders = [
                Contender(OURS, lambda: turn(ours, list_), "`list`, no job runs: a small answer"),
                Contender("status", lambda: turn(ours, status), "of an ended job", is_peer=False),
            ]
            if echo is not None:
                floor = Wire(echo, greet=False)
                stack.callback(floor.close)
                notes = "blocking echo in C, the same client"
                contenders.append(Contender(FLOOR, lambda: turn(floor, list_), notes))
            yield contenders


@contextmanager
def _round_trip(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    def turn(wire: Wire, frames: Sequence[bytes]) -> list[float]:
        return [_once(wire, frames[n % len(frames)]) for n in range(sizes.batch)]

    yield from _contenders(stage, turn)


def _once(wire: Wire, frame: bytes) -> float:
    began = time.perf_counter()
    wire.send(frame)
    wire.count(1)
    return (time.perf_counter() - began) * 1e6


@contextmanager
def _requests(stage: Stage, sizes: Sizes) -> Iterator[list[Contender]]:
    def turn(wire: Wire, frames: Sequence[bytes]) -> list[float]:
        began = time.perf_counter()
        pump(wire, frames, sizes.batch, IN_FLIGHT)
        return [sizes.batch / (time.perf_counter() - began)]

    yield from _contenders(stage, turn)


ROUND_TRIP: Final = Figure(
    "round-trip",
    "one request and its answer on a connection that is open",
    "µs",
    _round_trip,
    (Target(45),),
    full=Sizes(rounds=15, batch=1000),
    quick=Sizes(rounds=2, batch=200),
    in_lane=True,
)
REQUESTS: Final = Figure(
    "requests",
    f"requests a second, {IN_FLIGHT} in flight on one connection",
    "1/s",
    _requests,
    (Target(60_000),),
    full=Sizes(rounds=15, batch=20_000),
    quick=Sizes(rounds=2, batch=2000),
    better="higher",
    in_lane=True,
    in_lane_full=Sizes(rounds=7, batch=5000),
)
