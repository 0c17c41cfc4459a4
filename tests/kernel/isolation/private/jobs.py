"""What the tests of private networks share: jobs that are namespaces, and servers in them."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from isolation.network.private import Lease, NetworkSettings, PrivateNetworks, WantedNetwork
from tests.kernel.isolation.private import outside

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

SUBNET = "10.213.0.0/16"
GATEWAY = "10.213.0.1"


class Job:
    """A network that a job would be in, and calls made from it."""

    def __init__(self, job_id: str, lease: Lease) -> None:
        self.id = job_id
        self.lease = lease
        self.address = lease.address
        self.fd = lease.fd

    def inside(self, call: Callable[[], T]) -> T:
        return outside.inside(self.fd, call)

    @contextmanager
    def serving(
        self, port: int, answer: Callable[[socket.socket, Any], None] = outside.tell_address
    ) -> Iterator[None]:
        """A TCP server in the job while the block runs."""
        server = self.inside(lambda: outside.tcp_server(port))
        with self._answering(lambda stopping: outside.accept_all(server, answer, stopping)):
            yield

    @contextmanager
    def serving_udp(self, port: int, answer: Callable[[bytes, Any], bytes]) -> Iterator[None]:
        server = self.inside(lambda: outside.udp_socket(port))
        with self._answering(lambda stopping: outside.answer_datagrams(server, answer, stopping)):
            yield

    @contextmanager
    def _answering(self, serve: Callable[[threading.Event], None]) -> Iterator[None]:
        stopping = threading.Event()
        thread = threading.Thread(target=lambda: serve(stopping))
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(outside.SECONDS)


class Networks:
    """Private networks from a test without a loop: each call runs on one loop of its own."""

    def __init__(self, identity: str = "tests", **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        settings = {"subnet": SUBNET, **settings}
        self.networks = PrivateNetworks(NetworkSettings(identity, **settings))
        self.jobs: dict[str, Job] = {}
        self.count = 0

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def job(self, **wanted: Any) -> Job:
        self.count += 1
        job_id = f"job-{self.count}"
        lease = self.do(self.networks.acquire(job_id, WantedNetwork(**wanted)))
        self.jobs[job_id] = Job(job_id, lease)
        return self.jobs[job_id]

    def release(self, job: Job) -> None:
        del self.jobs[job.id]
        os.close(job.fd)
        self.do(self.networks.release(job.id))

    def crash(self) -> None:
        """As if the daemon was killed: its descriptors are closed, and nothing else is done."""
        host = self.networks._host
        assert host is not None
        host.close()
        self.networks._host = None
        self.do(self.networks.close())
        self.loop.close()

    def close(self) -> None:
        for job in list(self.jobs.values()):
            self.release(job)
        self.do(self.networks.close())
        self.loop.close()
