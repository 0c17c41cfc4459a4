"""Private networks on the host: made, limited, removed and found again. Blocking.

Everything of one runnerd, for one thread and the network namespace that it is in. Which
rules there are is `isolation.network.nft_rules`'s; the event loop's side, and what a user's words
mean, is `isolation.network.private`'s. What exists is asked of the kernel: an interface's
name has its job's address, its alias the job's id.
"""

from __future__ import annotations

import errno
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from isolation.network import links as network_links
from isolation.network import nft_rules
from isolation.network.addresses import (
    AddressPool,
    PoolExhaustedError,
    names_for,
)
from isolation.network.bandwidth import Bandwidth
from isolation.network.errors import PrivateNetworkError, from_os_error
from isolation.network.host_bridge import (
    HostBridge,
    index_of,
    remove_link,
    send_anyway,
    subnet_of,
)
from isolation.network.job_link import JobLinks
from isolation.network.job_network import Attached, JobNetwork, Leaving
from isolation.network.netlink import Netlink
from isolation.network.nft_base import Layout
from isolation.network.nft_rules import Port
from isolation.network.published import PublishedPorts
from isolation.network.rule_tables import RuleTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address, IPv4Network

    from isolation.network.links import Link
    from isolation.network.resolver import Plan


class _Job(NamedTuple):
    port: Port
    wanted: JobNetwork


class PrivateHost:
    """The private networks of the runnerd with this identity. Raises OSError when made."""

    def __init__(self, identity: str, subnet: IPv4Network) -> None:
        self._names = names_for(identity)
        self._pool = _fresh_pool(subnet)
        self._jobs: dict[str, _Job] = {}
        self._ports = PublishedPorts()
        # What the rules in the kernel say of the host's nameservers; None: never written.
        self._plan: tuple[tuple[IPv4Address, ...], IPv4Address | None] | None = None
        # What is in the kernel may not be what it should: all is written before anything else.
        self._is_stale = False
        self._rules = RuleTables(self._names)
        self._netlink = Netlink()
        self._bridge = HostBridge(self._names, self._netlink)
        self._bandwidth = Bandwidth(self._names, self._netlink)
        self._links_of_jobs = JobLinks(self._names, self._netlink, self._bridge)

    @property
    def has_jobs(self) -> bool:
        """Whether any job has a network."""
        return bool(self._jobs)

    def addresses(self) -> dict[str, IPv4Address]:
        """The address of each job that has a network."""
        return {job_id: job.port.address for job_id, job in self._jobs.items()}

    def attach(self, job_id: str, wanted: JobNetwork, plan: Plan) -> Attached:
        """Make a job's network, all of it or nothing. Raises PrivateNetworkError."""
        if job_id in self._jobs:
            raise PrivateNetworkError(errno.EEXIST, "make a private network", "the job has one")
        permissions = None if wanted.permissions is None else wanted.permissions()
        self._prepare(plan)
        with ExitStack() as undo:
            self._ports.reserve(job_id, wanted.published)
            undo.callback(self._ports.release, job_id)
            address = self._take()
            undo.callback(self._pool.give_back, address)
            offset = self._pool.offset(address)
            port = Port(offset, address, wanted.network, wanted.published, permissions)
            fd = self._links_of_jobs.make(job_id, port, self._pool.gateway, undo)
            self._jobs[job_id] = _Job(port, wanted)
            undo.callback(self._unplug, job_id)
            self._plug(port)
            undo.callback(self._bandwidth.forget, offset)
            if (wanted.egress_bits, wanted.ingress_bits) != (None, None):
                self._bandwidth.set(offset, wanted.egress_bits, wanted.ingress_bits)
            undo.pop_all()
        return Attached(fd, address, self._pool.gateway)

    def set_bandwidth(
        self, job_id: str, egress_bits: int | None, ingress_bits: int | None
    ) -> tuple[int | None, int | None]:
        """Change a job's limits, both or none; what reads back. Raises PrivateNetworkError."""
        job = self._jobs.get(job_id)
        if job is None:
            why = "the job has no private network"
            raise PrivateNetworkError(errno.ENOENT, "limit its bandwidth", why)
        read = self._bandwidth.set(job.port.offset, egress_bits, ingress_bits)
        changed = job.wanted._replace(egress_bits=egress_bits, ingress_bits=ingress_bits)
        self._jobs[job_id] = job._replace(wanted=changed)
        return read

    def detach(self, job_id: str) -> Leaving | None:
        """Take a job's rules, limits and ports away; its link is left to `finish`.

        None when it had no network. What fails is told and keeps nothing else from going.
        """
        job = self._jobs.get(job_id)
        if job is None:
            return None
        offset, address = job.port.offset, job.port.address
        self._ports.release(job_id)
        failure: PrivateNetworkError | None = None
        steps: tuple[Callable[[], None], ...] = (
            lambda: self._unplug(job_id),
            lambda: self._bandwidth.forget(offset),
            lambda: self._forget_neighbour(address),
        )
        for step in steps:
            try:
                step()
            except PrivateNetworkError as error:
                failure = failure or error
        return Leaving(self._names.port(offset), address, failure)

    def finish(self, leaving: Leaving, *, force: bool) -> bool:
        """Whether a link is gone, and made so with `force`; then its address is free."""
        if force:
            remove_link(self._netlink, leaving.name)
        if index_of(leaving.name) is not None:
            return False
        self._pool.give_back(leaving.address)
        return True

    def verify(self) -> None:
        """Write the rules again if somebody dropped them. Raises PrivateNetworkError."""
        is_complete = self._rules.complete
        if self._jobs and (self._is_stale or not is_complete):
            self._write_rules(anew=not is_complete)

    def dismantle(self) -> None:
        """With no job left, leave the host as it was. Raises PrivateNetworkError."""
        if not self._jobs:
            self._rules.remove()
            self._bridge.close_uplinks(self._rules.opened_by_others)
            self._bridge.remove()

    def close(self) -> None:
        """Let go of sockets. Networks of running jobs go on."""
        self._ports.close()
        self._rules.close()
        self._netlink.close()

    # A job's link

    def _take(self) -> IPv4Address:
        try:
            return self._pool.take()
        except PoolExhaustedError as error:
            remedy = "wait for jobs to end, or set a larger network.subnet"
            raise PrivateNetworkError(errno.ENOSPC, "get an address", str(error), remedy) from error

    def _forget_neighbour(self, address: IPv4Address) -> None:
        index = self._bridge.index
        if index is not None:
            send_anyway(self._netlink, network_links.forget_neighbour(index, address))

    # Rules

    def _prepare(self, plan: Plan) -> None:
        """The bridge, the tables and what they say of the host's own network, as of now."""
        wanted = (plan.servers, plan.forward_to)
        is_new = self._bridge.index is None
        if is_new:
            self._bridge.make(self._pool.subnet, self._pool.gateway)
        elif self._plan is None:
            self._bridge.adopt()
        is_opened = self._bridge.open_uplinks(self._rules.opened_by_others)
        if is_new or is_opened or self._is_stale or wanted != self._plan:
            self._plan = wanted
            self._write_rules(anew=is_new)

    def _plug(self, port: Port) -> None:
        try:
            self._rules.run(nft_rules.plug(self._names, port))
        except PrivateNetworkError:
            # Dropped by somebody? The job is among those that are written.
            if self._rules.complete:
                raise
            self._write_rules(anew=True)

    def _unplug(self, job_id: str) -> None:
        job = self._jobs.pop(job_id)
        last = job.port.network not in {each.port.network for each in self._jobs.values()}
        try:
            self._rules.run(nft_rules.unplug(self._names, job.port, last_of_network=last))
        except PrivateNetworkError:
            # Somebody changed our tables: they are written again, without the job.
            self._is_stale = True
            self._write_rules(anew=not self._rules.complete)

    def _write_rules(self, *, anew: bool) -> None:
        """All rules, of all jobs. `anew`: none are there, or they don't matter."""
        self._is_stale = True
        servers, forward_to = self._plan or ((), None)
        pool, opened = self._pool, self._bridge.opened
        layout = Layout(self._names, pool.subnet, pool.gateway, servers, forward_to, opened)
        chains = set() if anew else self._rules.job_chains()
        for job_id, job in self._jobs.items():
            if job.port.has_chain and nft_rules.egress_chain(job.port.offset) not in chains:
                self._jobs[job_id] = _resolved(job)
        ports = [job.port for job in self._jobs.values()]
        self._rules.run(nft_rules.everything(layout, ports, chains, anew=anew))
        self._is_stale = False

    # After a restart

    def adopt(self, running: Mapping[str, JobNetwork], plan: Plan) -> list[str]:
        """Go on with the networks of jobs that run, and remove everything else of ours.

        What is worth knowing, in sentences. Raises PrivateNetworkError: it knows of no job
        then, and does nothing before it has worked.
        """
        self._forget_jobs()
        try:
            return self._adopt(running, plan)
        except BaseException:
            self._forget_jobs()
            raise

    def _forget_jobs(self) -> None:
        for job_id in self._jobs:
            self._ports.release(job_id)
        self._jobs.clear()
        self._pool = _fresh_pool(self._pool.subnet)

    def _adopt(self, running: Mapping[str, JobNetwork], plan: Plan) -> list[str]:
        links = self._links()
        self._bridge.opened = self._rules.opened()
        kept = [link for link in links if self._is_kept(link, running)]
        remarks = []
        if kept:
            self._go_on(subnet_of(links, self._names.bridge), plan)
            remarks = [self._keep(link, running) for link in kept]
        for link in links:
            self._remove_stray(link)
        if self._jobs:
            self._bridge.open_uplinks(self._rules.opened_by_others)
            self._write_rules(anew=not self._rules.complete)
            self._restore_bandwidth()
        else:
            self.dismantle()
        return [remark for remark in remarks if remark]

    def _links(self) -> list[Link]:
        try:
            dumped = self._netlink.dump(network_links.GET_LINKS, network_links.links_body())
            return [network_links.parse_link(frame) for frame in dumped]
        except OSError as error:
            raise from_os_error(error, "list the host's interfaces") from error

    def _is_kept(self, link: Link, running: Mapping[str, JobNetwork]) -> bool:
        offset = self._names.offset_of(link.name)
        is_port = offset is not None and link.name == self._names.port(offset)
        return is_port and link.alias in running and self._bridge.index is not None

    def _go_on(self, subnet: IPv4Network | None, plan: Plan) -> None:
        """The subnet is that of the jobs, even if another one is configured by now."""
        self._bridge.adopt()
        self._plan = (plan.servers, plan.forward_to)
        if subnet is not None and subnet != self._pool.subnet:
            self._pool = _fresh_pool(subnet)

    def _keep(self, link: Link, running: Mapping[str, JobNetwork]) -> str:
        offset = self._names.offset_of(link.name)
        if offset is None or link.alias is None or link.alias in self._jobs:
            return f"{link.name} is a second link of a job, and is removed"
        address = self._pool.claim(offset)
        if address is None:
            return f"{link.name} has no address of {self._pool.subnet}, and is removed"
        wanted = running[link.alias]
        # What a job may connect to stays as it was resolved at its start.
        permissions = None if wanted.permissions is None else ()
        has_chain = permissions is not None
        port = Port(offset, address, wanted.network, wanted.published, permissions, has_chain)
        self._jobs[link.alias] = _Job(port, wanted)
        lost = ", ".join(map(str, self._ports.adopt(link.alias, wanted.published)))
        return f"job {link.alias}: a program on the host uses its port {lost}" if lost else ""

    def _remove_stray(self, link: Link) -> None:
        offset = self._names.offset_of(link.name)
        if offset is None:
            return
        owner = next((job for job in self._jobs.values() if job.port.offset == offset), None)
        is_shaper = link.name == self._names.shaper(offset)
        if owner is None or (is_shaper and owner.wanted.egress_bits is None):
            remove_link(self._netlink, link.name)

    def _restore_bandwidth(self) -> None:
        for job in self._jobs.values():
            wanted = job.wanted
            self._bandwidth.set(job.port.offset, wanted.egress_bits, wanted.ingress_bits)


def _fresh_pool(subnet: IPv4Network) -> AddressPool:
    return AddressPool(subnet, random.randrange(subnet.num_addresses))  # noqa: S311


def _resolved(job: _Job) -> _Job:
    """A job whose permissions the kernel lost: they are looked up again, or there are none."""
    try:
        permissions = () if job.wanted.permissions is None else job.wanted.permissions()
    except PrivateNetworkError:
        permissions = ()
    return job._replace(port=job.port._replace(permissions=permissions, has_chain=False))
