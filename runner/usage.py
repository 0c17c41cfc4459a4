"""What a job used, read from its cgroups by descriptor. Lean. None: this kernel doesn't say."""

from __future__ import annotations

from isolation import cgroup_files


def read_usage(job_cgroup: int, payload_cgroup: int) -> dict[str, int | None]:
    """The usage fields of a result (docs/PROTOCOL.md). Works until the cgroups are removed."""
    cpu = cgroup_files.read_keyed(job_cgroup, "cpu.stat")
    memory_events = cgroup_files.read_keyed(payload_cgroup, "memory.events")
    pids_events = cgroup_files.read_keyed(payload_cgroup, "pids.events")
    return {
        "cpu_usec": cpu.get("usage_usec"),
        "cpu_user_usec": cpu.get("user_usec"),
        "cpu_system_usec": cpu.get("system_usec"),
        "memory_peak_bytes": cgroup_files.read_int(payload_cgroup, "memory.peak"),
        "oom_kills": memory_events.get("oom_kill"),
        "pids_peak": cgroup_files.read_int(payload_cgroup, "pids.peak"),
        "pids_max_hits": pids_events.get("max"),
        "io_read_bytes": cgroup_files.sum_nested(job_cgroup, "io.stat", "rbytes"),
        "io_write_bytes": cgroup_files.sum_nested(job_cgroup, "io.stat", "wbytes"),
    }


def count_oom_kills(payload_cgroup: int) -> int:
    """How many processes of the job the kernel killed for want of memory."""
    return cgroup_files.read_keyed(payload_cgroup, "memory.events").get("oom_kill", 0)
