"""Private networks of jobs, for the event loop: made, limited, removed, found after a restart.

Says what a request means (`WantedNetwork`) and hands it to `isolation.network.private_host`, which
works in one thread of its own. Nothing of that is imported, and nothing on the host is
looked at or changed, before the first private network is asked for; some seconds after the
last one has gone, the host is as it was before.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from isolation.network import egress, resolver
from isolation.network.addresses import AddressPool, names_for
from isolation.network.asking import Asking
from isolation.network.errors import PrivateNetworkError
from isolation.network.wanted import WantedNetwork, again, job_network, parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from isolation.network.job_network import Attached, Leaving
    from isolation.network.private_host import PrivateHost

__all__ = ["DEFAULT_SUBNET", "Lease", "NetworkSettings", "PrivateNetworks", "WantedNetwork"]

T = TypeVar("T")

DEFAULT_SUBNET: Final = "10.213.0.0/16"
_GONE_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.01
_VERIFY_SECONDS: Final = 30.0
_STAYS: Final = "what private networks needed stays: %s"
_logger: Final = logging.getLogger(__name__)
# pyroute2 imports itself in circles: two threads that begin at once wait for each other.
_IMPORTING: Final = threading.Lock()


class NetworkSettings(NamedTuple):
    """`identity` is any text that no other runnerd of this host has, such as its state directory.

    `subnet` is where addresses come from, /8 to /29. `nameservers` are asked by jobs instead
    of the host's. The bridge and the rules stay for `linger_seconds` after the last job.
    """

    identity: str
    subnet: str = DEFAULT_SUBNET
    nameservers: tuple[str, ...] = ()
    linger_seconds: float = 30.0


class Lease(NamedTuple):
    """A network for one job.

    `fd` is the namespace's descriptor, close-on-exec, closed by who got it. `address` is the
    job's own, for as long as it lives. `files` are contents that belong over these paths.
    """

    fd: int
    address: str
    files: dict[bytes, bytes]


class PrivateNetworks:
    """The private networks of one daemon. Raises ValueError for a subnet that is none.

    Needs CAP_NET_ADMIN and CAP_SYS_ADMIN, libnftables and pyroute2. To be used from one
    event loop. `recover` comes first, when a daemon starts.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings
        self._subnet = AddressPool(IPv4Network(settings.subnet)).subnet
        self._host: PrivateHost | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._asking = Asking()
        self._linger: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._verifying: asyncio.Task[None] | None = None
        # Jobs whose networks `recover` could not go on with: nothing else is done before.
        self._left: Mapping[str, WantedNetwork] | None = None
        self._recovering = asyncio.Lock()

    async def acquire(self, job_id: str, wanted: WantedNetwork) -> Lease:
        """Make a network for a job. When it is cancelled or fails, nothing is left of it.

        Raises PrivateNetworkError: a port that is in use, a host name that is unknown, no
        address left, a kernel or a host that cannot do it.
        """
        self._stop_lingering()
        try:
            await self._recover_what_is_left()
            return await self._acquire(job_id, wanted)
        finally:
            self._linger_if_idle()

    async def set_bandwidth(
        self, job_id: str, egress_bits: int | None, ingress_bits: int | None
    ) -> tuple[int | None, int | None]:
        """Change a running job's limits, both or none: (egress, ingress) as they read back.

        Raises PrivateNetworkError, ENOENT when the job has no private network.
        """
        await self._recover_what_is_left()
        return await self._run(
            lambda: self._made().set_bandwidth(job_id, egress_bits, ingress_bits)
        )

    async def release(self, job_id: str) -> None:
        """Remove a job's network: its rules at once, its link with its last process.

        A second after its end the link is removed even if a process is left in it. Harmless
        for a job that has none. Raises PrivateNetworkError: rules that could not be removed are
        gone before another network is made.
        """
        if self._left is not None and job_id in self._left:
            self._left = {each: net for each, net in self._left.items() if each != job_id}
            await self._recover_what_is_left()
        host = self._host
        if host is None:
            return
        try:
            leaving = await self._run(lambda: host.detach(job_id))
            if leaving is not None:
                await self._wait_until_gone(host, leaving)
        finally:
            self._linger_if_idle()
        if leaving is not None and leaving.failure is not None:
            raise leaving.failure

    async def recover(self, running: Mapping[str, WantedNetwork]) -> list[str]:
        """After a restart: go on with the networks of these jobs, remove all else of ours.

        What is worth a line in the log, in sentences. Raises PrivateNetworkError: they are
        left as they are then, and it is tried again before anything else is done.
        """
        stem = names_for(self._settings.identity).stem
        if not any(name.startswith(stem) for _, name in socket.if_nameindex()):
            return []
        async with self._recovering:
            self._left = running
            return await self._adopt(running)

    async def addresses(self) -> dict[str, str]:
        """The address of each job that has a network: after `recover`, of those that go on."""
        host = self._host
        if host is None:
            return {}
        found = await self._run(host.addresses)
        return {job_id: str(address) for job_id, address in found.items()}

    def unavailable(self) -> tuple[str, str] | None:
        """Why there can be no private network here, and what to do; None when there can.

        Makes one, with limits and rules, in a network namespace that is thrown away. Blocks
        for up to a second; call it in a thread of its own.
        """
        try:
            resolver.host_plan(self._settings.nameservers)
            self._try_out()
        except ImportError as error:
            return f"{error}", "install runnerd with its extra: runnerd[daemon]"
        except PrivateNetworkError as error:
            why = f"cannot {error.step}: {error.why}"
            return why, error.remedy or "see the kernel's log"
        except OSError as error:
            return f"{error.strerror or error}", "install libnftables (it comes with nft)"
        return None

    async def close(self) -> None:
        """End the thread. Running jobs keep their networks; without any, nothing stays.

        What stays because it could not be removed is told in the log.
        """
        self._stop_lingering()
        for task in (*self._tasks, self._verifying):
            if task is not None:
                task.cancel()
        host, worker = self._host, self._worker
        try:
            if host is not None and self._left is None:
                await self._run(host.dismantle)
        except OSError as error:
            _logger.warning(_STAYS, error)
        finally:
            self._host = self._worker = None
            if host is not None:
                host.close()
            if worker is not None:
                worker.shutdown()
            self._asking.close()

    # The thread

    def _made(self) -> PrivateHost:
        """On the thread: what does the work, and everything that it imports."""
        if self._host is None:
            with _IMPORTING:
                from isolation.network.private_host import PrivateHost

            try:
                self._host = PrivateHost(self._settings.identity, self._subnet)
            except OSError as error:
                why, remedy = error.strerror or str(error), "install libnftables (nft)"
                raise PrivateNetworkError(error.errno or errno.EIO, "begin", why, remedy) from error
        return self._host

    def _try_out(self) -> None:
        with _IMPORTING:
            from isolation.network import trial

        trial.private_network(self._settings.identity, self._subnet)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._submit(call))

    def _submit(self, call: Callable[[], T]) -> Future[T]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="private networks")
        return self._worker.submit(call)

    # A restart

    async def _recover_what_is_left(self) -> None:
        """Written for other jobs alone, rules would cut off those that run already."""
        if self._left is None:
            return
        async with self._recovering:
            # Who had its turn before may have done it.
            if self._left is not None:
                for remark in await self._adopt(self._left):
                    _logger.warning("%s", remark)

    async def _adopt(self, running: Mapping[str, WantedNetwork]) -> list[str]:
        plan = resolver.host_plan(self._settings.nameservers)
        remarks = await self._run(lambda: self._made().adopt(again(running), plan))
        self._left = None
        self._linger_if_idle()
        self._verify_from_now_on()
        return remarks

    # A job

    async def _acquire(self, job_id: str, wanted: WantedNetwork) -> Lease:
        destinations = parsed(wanted)
        plan = resolver.host_plan(self._settings.nameservers)
        names = egress.host_names(destinations or ())
        resolved = await self._asking.resolve(wanted.owner, names) if names else {}
        permissions = None
        if destinations is not None:
            permissions = tuple(egress.permissions(destinations, resolved))
        future = self._submit(
            lambda: self._made().attach(job_id, job_network(wanted, permissions), plan)
        )
        attached = await self._attached(job_id, future)
        try:
            files = resolver.files(
                plan, attached.gateway, attached.address, wanted.hostname, resolved
            )
        except BaseException:
            os.close(attached.fd)
            await self.release(job_id)
            raise
        self._verify_from_now_on()
        return Lease(attached.fd, str(attached.address), files)

    async def _wait_until_gone(self, host: PrivateHost, leaving: Leaving) -> None:
        """The link goes with the last process that is in the network, or after a second."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GONE_SECONDS
        while not await self._run(lambda: host.finish(leaving, force=False)):
            if loop.time() > deadline:
                await self._run(lambda: host.finish(leaving, force=True))
                break
            await asyncio.sleep(_POLL_SECONDS)

    async def _attached(self, job_id: str, future: Future[Attached]) -> Attached:
        """Nothing is lost when it is cancelled while it waits."""
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if not future.cancel():
                self._undo(job_id, future)
            raise

    def _undo(self, job_id: str, future: Future[Attached]) -> None:
        """Remove, behind the caller's back, what is made for nobody."""

        async def remove() -> None:
            try:
                os.close((await asyncio.wrap_future(future)).fd)
                await self.release(job_id)
            except OSError as error:
                _logger.warning("the network of job %s, which is not needed: %s", job_id, error)

        task = asyncio.ensure_future(remove())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Time

    def _stop_lingering(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _linger_if_idle(self) -> None:
        if self._host is None or self._host.has_jobs or self._left is not None:
            return
        self._stop_lingering()
        loop = asyncio.get_running_loop()
        self._linger = loop.call_later(self._settings.linger_seconds, self._dismantle)

    def _dismantle(self) -> None:
        host = self._host
        if host is not None:
            self._submit(host.dismantle).add_done_callback(_log_failure)

    def _verify_from_now_on(self) -> None:
        if self._verifying is None or self._verifying.done():
            self._verifying = asyncio.ensure_future(self._verify())

    async def _verify(self) -> None:
        """While there are jobs: rules that somebody dropped are written again."""
        while self._host is not None and self._host.has_jobs:
            await asyncio.sleep(_VERIFY_SECONDS)
            try:
                await self._run(self._made().verify)
            except OSError as error:
                _logger.error("private networks may be open: %s", error)  # noqa: TRY400


def _log_failure(future: Future[None]) -> None:
    if not future.cancelled() and future.exception() is not None:
        _logger.warning(_STAYS, future.exception())
