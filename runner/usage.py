"""What a job used, read from its cgroups by descriptor. Lean. None: this kernel doesn't say."""

from __future__ import annotations

from typing import NamedTuple

from isolation.cgroups import files as cgroup_files


def read_usage(job_cgroup: int, payload_cgroup: int) -> dict[str, int | None]:
    """The usage fields of a result (docs/PROTOCOL.md). Works until the cgroups are removed."""
    cpu = cgroup_files.read_keyed(job_cgroup, "cpu.stat")
    memory_events = cgroup_files.read_keyed(payload_cgroup, "memory.events")
    pids_events = cgroup_files.read_keyed(payload_cgroup, "pids.events")
    return {
        "cpu_usec": cpu.get("usage_usec"),
        "cpu_user_usec": cpu.get("user_usec"),
        "cpu_system_usec": cpu.get("system_usec"),
        "throttled_usec": cpu.get("throttled_usec"),
        "memory_peak_bytes": cgroup_files.read_int(payload_cgroup, "memory.peak"),
        "memory_high_hits": memory_events.get("high"),
        "oom_kills": _processes_killed(memory_events),
        "pids_peak": cgroup_files.read_int(payload_cgroup, "pids.peak"),
        "pids_max_hits": pids_events.get("max"),
        "io_read_bytes": cgroup_files.sum_nested(job_cgroup, "io.stat", "rbytes"),
        "io_write_bytes": cgroup_files.sum_nested(job_cgroup, "io.stat", "wbytes"),
        "cpu_pressure_usec": _waited_usec(job_cgroup, "cpu.pressure"),
        "memory_pressure_usec": _waited_usec(payload_cgroup, "memory.pressure"),
        "io_pressure_usec": _waited_usec(job_cgroup, "io.pressure"),
    }


def cpu_seconds(payload_cgroup: int) -> float:
    """The CPU time of all of a job's processes so far, its monitor not counted.

    cpu.stat has this line in every cgroup, with or without the controller.
    """
    return cgroup_files.read_keyed(payload_cgroup, "cpu.stat").get("usage_usec", 0) / 1e6


def _waited_usec(cgroup: int, name: str) -> int | None:
    """For how long some process waited: `some … total=N`, Documentation/accounting/psi.rst."""
    for line in (cgroup_files.read(cgroup, name) or "").splitlines():
        kind, *words = line.split()
        if kind == "some":
            pairs = dict(word.partition("=")[::2] for word in words)
            return int(pairs["total"]) if pairs.get("total", "").isdigit() else None
    return None


def _processes_killed(memory_events: dict[str, int]) -> int | None:
    """How many processes the kernel killed for want of memory.

    In a group kill it counts its first victim twice (mm/oom_kill.c: the victim itself, and
    again as a member of the group), as long as that still had its memory the second time.
    """
    kills = memory_events.get("oom_kill")
    if not kills:
        return kills
    return max(1, kills - memory_events.get("oom_group_kill", 0))


class OutOfMemory(NamedTuple):
    """What the kernel's out-of-memory killer did to a job so far."""

    kills: int
    hit_own_limit: bool


def out_of_memory(payload_cgroup: int) -> OutOfMemory:
    """Read from memory.events, where `oom` counts this cgroup's own limit only."""
    events = cgroup_files.read_keyed(payload_cgroup, "memory.events")
    return OutOfMemory(events.get("oom_kill", 0), events.get("oom", 0) > 0)
