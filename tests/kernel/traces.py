"""What a job could leave behind: taken before a test and after it, and compared."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon


class Traces(NamedTuple):
    """The state of the machine, as far as a job could change it for good."""

    cgroups: frozenset[str]
    mounts: tuple[str, ...]
    namespaces: frozenset[str]
    processes: frozenset[tuple[int, str]]
    descriptors: tuple[str, ...]
    job_files: frozenset[str]
    temporary_files: frozenset[str]
    network_links: frozenset[str]
    packet_rules: frozenset[str]


def take(daemon: Daemon | None) -> Traces:
    """Look now. `daemon` None: no daemon is expected to run."""
    processes = _processes()
    return Traces(
        cgroups=frozenset(path for path, _, _ in os.walk("/sys/fs/cgroup")),
        mounts=_mounts(),
        namespaces=frozenset(_namespaces(pid) for pid, _ in processes),
        processes=frozenset(processes),
        descriptors=() if daemon is None else descriptors(daemon.pid),
        job_files=frozenset() if daemon is None else _listing(f"{daemon.state_dir}/jobs"),
        temporary_files=_listing("/tmp") | _listing("/dev/shm") | _listing("/run"),
        network_links=_listing("/sys/class/net"),
        packet_rules=_packet_rules(),
    )


def difference(before: Traces, daemon: Daemon | None) -> str:
    """What differs now, for a person."""
    now = take(daemon)
    return "; ".join(
        f"{name}: before {old}, now {new}"
        if not isinstance(old, frozenset)
        else f"{name}: new {sorted(new - old)}, gone {sorted(old - new)}"
        for name, old, new in zip(Traces._fields, before, now, strict=True)
        if old != new
    )


def descriptors(pid: int) -> tuple[str, ...]:
    """What a process has open, without the numbers that differ from one to the next.

    Nor the few filter programs that the daemon keeps for the next job.
    """
    kinds = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            kinds.append(os.readlink(f"/proc/{pid}/fd/{name}").split(":[")[0])
    return tuple(sorted(kind for kind in kinds if not kind.startswith("/memfd:runnerd-profile")))


def _packet_rules() -> frozenset[str]:
    """Names of the tables of nftables; none where the kernel has no such thing."""
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return frozenset(done.stdout.splitlines())


def _mounts() -> tuple[str, ...]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return tuple(line.split(" - ")[0].split()[4] for line in file)


def _processes() -> list[tuple[int, str]]:
    """User processes; kernel threads have no executable and come and go."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.readlink(f"/proc/{name}/exe"):
                found.append((int(name), os.path.basename(os.readlink(f"/proc/{name}/exe"))))
    return found


def _namespaces(pid: int) -> str:
    with suppress(OSError):
        kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
        return " ".join(os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds)
    return ""


def _listing(path: str) -> frozenset[str]:
    try:
        return frozenset(f"{path}/{name}" for name in os.listdir(path))
    except FileNotFoundError:
        return frozenset()
