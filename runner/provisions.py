"""What a job is given besides cgroups and files: namespaces, a filter, devices. And taken back.

One launch asks for all of it; what outlives the launch (addresses, published ports, ranges
of user ids) is known by the job's id and released when the job has ended. After a restart
`recover` learns from the specs of the running jobs what is theirs.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from isolation import device_filter, first_process, user_namespaces
from isolation.errors import LimitUnavailable
from isolation.files import scratch
from isolation.network.egress import parse as parse_egress
from isolation.network.private import WantedNetwork
from isolation.network.published import Publish
from isolation.seccomp import profiles as seccomp_profiles
from runner import stored
from runner.filter_programs import ProgramFiles, program_of
from runner.handles import Given
from runner.records import RecordError
from runner.refusal import Refusal, shown, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack

    from isolation.cgroups.tree import CgroupTree
    from isolation.device_filter import Device
    from isolation.network.loopback import LoopbackNetworks
    from isolation.network.private import PrivateNetworks
    from isolation.user_namespaces import Ranges
    from runner.jobdirs import JobDirectories
    from runner.paths import UserPaths
    from runner.rows import Job

_ALL_DEVICES: Final = b"all"
_NOTHING: Final = Given()


class Provisions(NamedTuple):
    """Descriptors by their names in `runner.handles`, and what is passed on beside them.

    `base` is the first host id of the job's user namespace. `devices` None: every device; the
    descriptors are closed with the launch's stack.
    """

    handles: dict[str, int]
    given: Given
    base: int | None
    devices: list[Device] | None


class Provisioning:
    """Everything that is handed out. One for the daemon, used from the event loop's thread."""

    def __init__(
        self,
        loopbacks: LoopbackNetworks,
        networks: PrivateNetworks,
        ranges: Ranges,
        paths: UserPaths,
        tree: CgroupTree,
        directories: JobDirectories,
        takes_its_own: Callable[[Mapping[str, Any]], bool] = lambda _spec: False,
    ) -> None:
        self._loopbacks = loopbacks
        # Of a loopback network: its launcher will do that (`runner.launchers`).
        self._takes_its_own = takes_its_own
        self.networks = networks
        self._ranges = ranges
        self._paths = paths
        self._tree = tree
        self._directories = directories
        self._addresses: dict[str, str] = {}
        self._bases: dict[str, int] = {}
        self._networked: set[str] = set()
        self._has_networks = False
        self._programs = ProgramFiles()

    def close(self) -> None:
        """Let go of what is kept for the next launch."""
        self._programs.close()

    def check(self, spec: Mapping[str, Any]) -> None:
        """Whether this host can provide it. Makes nothing; may block. Raises Refusal."""
        if spec["network"] == "private":
            _check_egress(spec["net"]["allow_egress"])
            self._check_network()
        sandbox = spec["sandbox"]
        lists_devices = sandbox["devices"] and _ALL_DEVICES not in sandbox["devices"]
        if lists_devices and (why := device_filter.available()):
            remedy = "use a kernel with CONFIG_CGROUP_BPF, or --devices all"
            raise unavailable("sandbox.devices", why, remedy)
        if sandbox["userns"] and (why := user_namespaces.why_unavailable()):
            raise unavailable("sandbox.userns", why, "sysctl user.max_user_namespaces=4096")
        _check_filter(sandbox)

    def _check_network(self) -> None:
        if missing := self.networks_unavailable():
            raise unavailable("network", *missing)

    def networks_unavailable(self) -> tuple[str, str] | None:
        """Why there can be no private network here, and what to do. Blocks the first time.

        Tried out once: what a host could do it can do again, or a launch says why not.
        """
        missing = None if self._has_networks else self.networks.unavailable()
        self._has_networks = missing is None
        return missing

    def at_hand(self, spec: Mapping[str, Any]) -> Provisions | None:
        """What a launch needs if all of it is here already; None: `provide` it."""
        sandbox = spec["sandbox"]
        if sandbox["userns"] or sandbox["devices"] or spec["network"] == "private":
            return None
        if spec["network"] == "none" and not self._takes_its_own(spec):
            return None
        program = self._programs.kept(spec)
        if program is None:
            return None
        return Provisions({"seccomp": program}, _NOTHING, None, [])

    async def provide(self, job_id: str, spec: Mapping[str, Any], opened: ExitStack) -> Provisions:
        """What a launch needs. Raises OSError, LookupError, LimitUnavailable, Refusal."""
        handles: dict[str, int] = {}
        for name, fd in self._user_namespace(job_id, spec).items():
            handles[name] = fd
            opened.callback(os.close, fd)
        if (program := self._programs.file_of(spec, opened)) is not None:
            handles["seccomp"] = program
        network, files = await self._network(job_id, spec)
        if network is not None:
            handles["network"] = network
            opened.callback(os.close, network)
        base = self._bases.get(job_id)
        given = Given(files, None if base is None else (base, base))
        return Provisions(handles, given, base, await self._devices(spec))

    def for_entering(
        self, job_id: str, spec: Mapping[str, Any]
    ) -> tuple[tuple[int, int], bytes | None]:
        """For a further command of a job: whose its output is, by the host's ids; its filter.

        Nobody listens to that one, so it refuses by itself. Raises LimitUnavailable.
        """
        base = self._bases.get(job_id)
        ids = (spec["uid"], spec["gid"]) if base is None else (base, base)
        program = program_of({**spec, "sandbox": {**spec["sandbox"], "report_denied": False}})
        return ids, None if program is None else seccomp_profiles.without_listener(program)

    def holds(self, job_id: str) -> bool:
        """Whether a job has something that outlives its launch."""
        return job_id in self._bases or job_id in self._networked

    async def release(self, job_id: str) -> None:
        """Take everything back that outlives a launch. Repeating it is harmless."""
        base = self._bases.pop(job_id, None)
        if base is not None:
            self._ranges.release(base)
        if job_id in self._networked:
            await self.networks.release(job_id)
            self._networked.discard(job_id)
            self._addresses.pop(job_id, None)

    async def recover(self, launched: Sequence[Job]) -> list[str]:
        """After a restart: what the jobs that were under way have stays theirs.

        What is worth a line in the log, in sentences.
        """
        networks = {}
        for job in launched:
            try:
                spec = stored.spec(job)
            except RecordError:
                # It is reported where it is settled.
                continue
            if spec["network"] == "private":
                networks[job.id] = wanted_network(spec)
            if spec["sandbox"]["userns"]:
                self._recover_range(job.id)
        self._networked.update(networks)
        try:
            remarks = await self.networks.recover(networks)
            self._addresses.update(await self.networks.addresses())
        except OSError as error:
            return [f"the private networks of running jobs are left as they are: {error}"]
        return remarks

    def _recover_range(self, job_id: str) -> None:
        """As it was written down when the job was launched; else by the ids of its processes."""
        base = self._directories.read_base(job_id)
        cgroup = self._tree.job(job_id)
        for pid in [] if cgroup is None or base else cgroup.payload_pids():
            # 0 is a process that has not entered its namespace yet.
            base = user_namespaces.base_of_process(pid) or base
        if base:
            self._bases[job_id] = base
            self._ranges.recover([base])

    async def set_scratch(self, job_id: str, size_bytes: int | None) -> None:
        """Resize a job's private directories. Raises OSError, LimitBelowUse."""
        await asyncio.to_thread(self._resize_scratch, job_id, size_bytes)

    def _resize_scratch(self, job_id: str, size_bytes: int | None) -> None:
        cgroup = self._tree.job(job_id)
        # The first one: another may have a tree of its own, or come from outside just now.
        first = None if cgroup is None else first_process.find(cgroup.payload_pids)
        if first is None:
            raise ProcessLookupError(errno.ESRCH, "the job has no process any more")
        try:
            scratch.resize(first.pid, size_bytes)
        finally:
            os.close(first.pidfd)

    def address_of(self, job_id: str) -> str | None:
        """The address of a job in its private network, while it has one."""
        return self._addresses.get(job_id)

    async def set_bandwidth(
        self, job_id: str, egress_bits: int | None, ingress_bits: int | None
    ) -> None:
        """Change the limits of a job's private network. Raises OSError."""
        await self.networks.set_bandwidth(job_id, egress_bits, ingress_bits)

    def _user_namespace(self, job_id: str, spec: Mapping[str, Any]) -> dict[str, int]:
        if not spec["sandbox"]["userns"]:
            return {}
        if job_id not in self._bases:
            self._bases[job_id] = self._ranges.take()
        base = self._bases[job_id]
        own = user_namespaces.make(*user_namespaces.maps_of_range(base))
        if 0 in (spec["uid"], spec["gid"]):
            # What is root's on the disk must not become the job's.
            return {"userns": own}
        try:
            idmap = user_namespaces.make(*user_namespaces.idmap_for(spec["uid"], spec["gid"], base))
        except BaseException:
            os.close(own)
            raise
        return {"userns": own, "idmap": idmap}

    async def _network(
        self, job_id: str, spec: Mapping[str, Any]
    ) -> tuple[int | None, dict[bytes, bytes]]:
        if spec["network"] == "host":
            return None, {}
        if spec["network"] == "none":
            if self._takes_its_own(spec):
                return None, {}
            return await self._loopbacks.acquire(), {}
        self._networked.add(job_id)
        lease = await self.networks.acquire(job_id, wanted_network(spec))
        self._addresses[job_id] = lease.address
        return lease.fd, lease.files

    async def _devices(self, spec: Mapping[str, Any]) -> list[Device] | None:
        asked = spec["sandbox"]["devices"]
        if not asked:
            return []
        if _ALL_DEVICES in asked:
            return None
        return await self._paths.find_allowed_devices(dict(spec))


def wanted_network(spec: Mapping[str, Any]) -> WantedNetwork:
    """A private network as `isolation.network.private` takes it."""
    net, limits = spec["net"], spec["limits"]
    name = None if net["name"] is None else f"{spec['uid']}/{net['name']}"
    return WantedNetwork(
        name=name,
        publish=tuple(Publish(*entry) for entry in net["publish"]),
        allow_egress=None if net["allow_egress"] is None else tuple(net["allow_egress"]),
        egress_bits=limits.get("net_egress_bits_per_second"),
        ingress_bits=limits.get("net_ingress_bits_per_second"),
        hostname=spec["sandbox"]["hostname"],
        owner=spec["uid"],
    )


def _check_egress(targets: list[str] | None) -> None:
    for index, text in enumerate(targets or ()):
        try:
            parse_egress(text)
        except ValueError as error:
            raise Refusal(
                "invalid-argument",
                field=f"net.allow_egress[{index}]",
                given=shown(text),
                allowed="an address, a subnet or a host name, with :PORT or not",
                detail=str(error),
            ) from None


def _check_filter(sandbox: Mapping[str, Any]) -> None:
    try:
        program_of({"sandbox": sandbox, "uid": 0})
    except LimitUnavailable as error:
        raise Refusal("limit-unavailable", field="sandbox.seccomp", detail=str(error)) from None
