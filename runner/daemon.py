"""The daemon's life: it starts, serves until it is told to end, and ends as its policy says.

What it is made of is put together by `runner.ground`, `runner.assembly` and
`runner.listening`, in this order; what becomes of running jobs at the end is decided by
`runner.shutdown`. What fails on the way up is a `StartError` with text for people.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isolation.errors import CgroupError, CgroupRootError
from runner import notify, statedir
from runner.assembly import assemble
from runner.draining import Pulse
from runner.ground import StartError, take_ground
from runner.lifecycle import State
from runner.listening import open_socket
from runner.server.service import SERVER_NAME
from runner.shutdown import Action, Seen, next_action, seconds_left
from runner.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

    from runner.config import Config, ShutdownConfig
    from runner.notify import Notifier
    from runner.server.service import Service
    from runner.supervisor import Supervisor

__all__ = ["StartError", "serve"]

_logger: Final = logging.getLogger(__name__)

_T = TypeVar("_T")

# For those who waited for a job that was waited for: its last output, its result.
_ANSWERING_SECONDS: Final = 3.0


class _Signals:
    """SIGTERM and SIGINT: `first` is set by the first of them, all are counted."""

    def __init__(self, pulse: Pulse) -> None:
        self.first = asyncio.Event()
        self.count = 0
        self._pulse = pulse
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            # asyncio would know of a signal by a byte that it finds in a socket: while that is
            # full of what threads told the loop, the byte is dropped. Python's own note stays, and
            # is looked at as soon as the loop runs; the byte only ends a wait that is beginning.
            self._loop.add_signal_handler(number, lambda: None)
            signal.signal(number, self._heard)
            signal.siginterrupt(number, False)  # noqa: FBT003 - signal's
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self.count += 1
        self.first.set()
        self._pulse.beat()


async def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or SIGINT. Raises StartError."""
    # Before there is a child that could inherit what it takes out of the environment.
    notifier = notify.from_environment(os.environ)
    pulse = Pulse()
    signals = _Signals(pulse)
    async with AsyncExitStack() as stack:
        try:
            service = await _unless(signals.first, _start(config, pulse, stack))
        except (CgroupError, CgroupRootError, OSError, StoreError, statedir.InUseError) as error:
            raise StartError(str(error)) from error
        if service is None:
            _logger.info("told to stop before it was ready; jobs go on without me")
            return
        # Cancelled with the loop, so that it lives as long as we do.
        alive = asyncio.ensure_future(notifier.keep_alive())
        _say_ready(config, service.supervisor, notifier)
        await signals.first.wait()
        await _end(config.shutdown, service, signals, notifier)
        alive.cancel()


async def _start(config: Config, pulse: Pulse, stack: AsyncExitStack) -> Service:
    """Everything up to the first client."""
    ground = take_ground(config, stack)
    service = await assemble(config, ground, pulse, stack)
    await open_socket(config, service, stack)
    stack.callback(statedir.about_to_let_go, ground.locks[0])
    return service


async def _unless(ended: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """What `work` gives, or None when the end comes first: it is cancelled then."""
    task = asyncio.ensure_future(work)
    end = asyncio.ensure_future(ended.wait())
    await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
    end.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait((task,))
    return None


def _say_ready(config: Config, supervisor: Supervisor, notifier: Notifier) -> None:
    counts = supervisor.store.counts()
    jobs = f"{counts[State.RUNNING]} running, {counts[State.QUEUED]} queued"
    _logger.info("%s ready on %s: %s", SERVER_NAME, config.socket, jobs)
    notifier.ready(f"draining: {jobs}" if supervisor.draining else f"started with {jobs}")


# The end


async def _end(
    config: ShutdownConfig, service: Service, signals: _Signals, notifier: Notifier
) -> None:
    """No job is taken or started any more; what runs is treated as the policy says."""
    supervisor = service.supervisor
    supervisor.shut_down()
    notifier.stopping(f"ending by policy {config.policy}; running: {_jobs(supervisor.under_way)}")
    extending = asyncio.ensure_future(notifier.keep_extending())
    if await _carry_out(config, supervisor, signals):
        await service.settle(_ANSWERING_SECONDS)
    extending.cancel()
    _logger.info("stopping; %s", _left(supervisor.under_way))


async def _carry_out(config: ShutdownConfig, supervisor: Supervisor, signals: _Signals) -> bool:
    """Act, and wait, until the policy says that it is time to leave. Whether it waited."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    has_asked = has_waited = False

    def seen() -> Seen:
        return Seen(signals.count, loop.time() - began, supervisor.under_way, has_asked)

    while (action := next_action(config, seen())) is not Action.LEAVE:
        if action is Action.STOP:
            has_asked = _stop_all(supervisor)
        else:
            jobs = _jobs(supervisor.under_way)
            _logger.info("policy %s: waiting for %s, at most %g s; another signal ends it",
                         config.policy, jobs, config.timeout_seconds)  # fmt: skip
            has_waited = True
            await supervisor.pulse.until(
                lambda: next_action(config, seen()) is Action.LEAVE, seconds_left(config, seen())
            )
    return has_waited


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _left(count: int) -> str:
    if not count:
        return "no job runs"
    return f"{_jobs(count)} {'goes' if count == 1 else 'go'} on without me"


def _stop_all(supervisor: Supervisor) -> bool:
    """Ask once, whatever comes of it: those that cannot be asked go on, and that is said."""
    try:
        supervisor.stop_all(0)
    except StoreError as error:
        _logger.error("the jobs cannot be asked to stop: %s", error)  # noqa: TRY400 - it says it
    return True
