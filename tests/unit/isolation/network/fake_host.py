"""A host for the event loop's side of private networks, which makes nothing."""

from __future__ import annotations

import asyncio
import errno
import os
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from isolation.network.job_network import Attached, JobNetwork, Leaving
from isolation.network.resolver import Plan

if TYPE_CHECKING:
    from isolation.network.errors import PrivateNetworkError
    from isolation.network.private import PrivateNetworks

ADDRESS, GATEWAY = IPv4Address("10.213.0.2"), IPv4Address("10.213.0.1")
PLAN = Plan((IPv4Address("192.0.2.53"),), None, ())


class FakeHost:
    """Hands out descriptors of /dev/null, and knows what it still owes."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobNetwork] = {}
        self.leaving = 2
        self.forced = False
        self.dismantled = 0
        self.error: PrivateNetworkError | None = None
        self.failure: PrivateNetworkError | None = None
        self.adopted: list[list[str]] = []
        self.verified = 0

    @property
    def has_jobs(self) -> bool:
        return bool(self.jobs)

    def attach(self, job_id: str, wanted: JobNetwork, plan: Plan) -> Attached:
        assert plan is PLAN
        if self.error is not None:
            raise self.error
        self.jobs[job_id] = wanted
        return Attached(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), ADDRESS, GATEWAY)

    def detach(self, job_id: str) -> Leaving | None:
        found = self.jobs.pop(job_id, None)
        return None if found is None else Leaving("rd0v2", ADDRESS, self.failure)

    def adopt(self, running: dict[str, JobNetwork], plan: Plan) -> list[str]:
        assert plan is PLAN
        self.adopted.append(list(running))
        self.jobs = {}
        if self.error is not None:
            raise self.error
        self.jobs = dict(running)
        return ["remark"]

    def finish(self, leaving: Leaving, *, force: bool) -> bool:
        assert leaving.address == ADDRESS
        self.forced = self.forced or force
        self.leaving -= 1
        return force or self.leaving <= 0

    def dismantle(self) -> None:
        if self.error is not None:
            raise self.error
        self.dismantled += not self.jobs

    def verify(self) -> None:
        self.verified += 1
        raise OSError(errno.ENOMEM, "out of memory")

    def close(self) -> None:
        pass


def run(networks: PrivateNetworks, *steps: Any) -> list[Any]:
    async def all_of_them() -> list[Any]:
        try:
            return [await step() for step in steps]
        finally:
            await networks.close()

    return asyncio.run(all_of_them())
