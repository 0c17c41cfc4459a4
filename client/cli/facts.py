"""What applies to a job and what it used, a line a fact: limits, surroundings, figures.

Pure text. How a job ended, and tables of jobs, are `client.cli.output`'s. Whatever a daemon
leaves out is left out here; text of a submitter goes through `client.text.printable`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from client.text import printable
from client.units import (
    SIZED_RLIMITS,
    format_bits,
    format_cpus,
    format_duration,
    format_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from client.records import AppliedNet, JobResult, JobStatus, Limits, Logs

SECOND_NS: Final = 1_000_000_000
_PATHS_SHOWN: Final = 8


def signal_name(number: int | None) -> str:
    """A signal for people: "11 (SIGSEGV)"; real-time ones have a number alone."""
    import signal

    try:
        return f"{number} ({signal.Signals(number or 0).name})"
    except ValueError:
        return str(number)


def user_name(uid: int) -> str:
    """A user for people: the name, else the number, as for those of another host."""
    import pwd

    from client.cli.targets import is_elsewhere

    if is_elsewhere():
        return f"uid {uid}"
    try:
        return printable(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return f"uid {uid}"


# Limits


def limit_lines(limits: Limits) -> list[str]:
    """The limits that apply, one text each."""
    lines = [
        f"{label} {show(value)}"
        for key, label, show in _LIMITS
        if (value := limits.get(key)) is not None
    ]
    if limits.get("cpu_idle"):
        lines.append("CPU only when nobody else wants it")
    if (before := limits.get("warning_seconds")) is not None:
        number = limits.get("warning_signal")
        which = "" if number is None else f" with signal {signal_name(number)}"
        lines.append(f"warning {format_duration(before)} before the time limit{which}")
    rlimits = limits.get("rlimits") or {}
    lines += [_rlimit_line(name, bounds) for name, bounds in rlimits.items()]
    return lines + [_io_line(entry) for entry in limits.get("io") or []]


def _rate(bits: int) -> str:
    return f"{format_bits(bits)}/s"


def _oom_policy(policy: str) -> str:
    known = {"kill": "the whole job is killed", "continue": "one process is killed"}
    return known.get(policy, printable(policy))


_LIMITS: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    ("memory_max_bytes", "memory", format_size),
    ("memory_high_bytes", "memory, slowed down above", format_size),
    ("memory_swap_max_bytes", "swap", format_size),
    ("oom_policy", "out of memory:", _oom_policy),
    ("cpu_max_millicpus", "CPUs", format_cpus),
    ("cpu_weight", "CPU weight", str),
    ("cpu_set", "CPUs numbered", printable),
    ("pids_max", "processes", str),
    ("timeout_seconds", "time", format_duration),
    ("cpu_time_seconds", "CPU time", format_duration),
    ("output_max_bytes", "output", format_size),
    ("output_policy", "output policy", printable),
    ("scratch_max_bytes", "scratch space", format_size),
    ("net_egress_bits_per_second", "network sending", _rate),
    ("net_ingress_bits_per_second", "network receiving", _rate),
    ("io_weight", "IO weight", str),
)


def _rlimit_line(name: str, bounds: list[int | None]) -> str:
    show = format_size if name in SIZED_RLIMITS else str
    shown = ["unlimited" if bound is None else show(bound) for bound in bounds]
    same = len(set(shown)) == 1
    return f"rlimit {printable(name)} {shown[0] if same else ', hard '.join(shown)}"


_IO: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    ("read_bytes_per_second", "read", lambda rate: f"{format_size(rate)}/s"),
    ("write_bytes_per_second", "write", lambda rate: f"{format_size(rate)}/s"),
    ("read_operations_per_second", "read", lambda rate: f"{rate} operations/s"),
    ("write_operations_per_second", "write", lambda rate: f"{rate} operations/s"),
)


def _io_line(entry: Mapping[str, Any]) -> str:
    rates = [
        f"{word} {show(value)}" for key, word, show in _IO if (value := entry.get(key)) is not None
    ]
    found = [printable(device) for device in entry.get("devices") or []]
    on = f" (device{'s' * (len(found) > 1)} {', '.join(found)})" if found else ""
    return f"IO of {printable(entry['path'])}{on}: {', '.join(rates)}"


# The log


def log_lines(logs: Logs, limits: Limits) -> list[str]:
    """How the log is kept, one text each; how much of it is a limit's to say if there is one."""
    unbound = {"keep_bytes"} if limits.get("output_max_bytes") is not None else set()
    if limits.get("output_policy") in {"block", "end"}:
        unbound.add("keep_segments")
    sizes = [
        show(value)
        for key, show in _LOG_SIZES
        if key not in unbound and (value := logs.get(key)) is not None
    ]
    lines = [", ".join(sizes)] if sizes else []
    if (how := logs.get("compression")) not in {None, "none"}:
        lines.append(f"complete segments compressed with {printable(how)}")
    if (on_full := logs.get("on_full")) is not None:
        lines.append(f"on a full disk {_ON_FULL.get(on_full, printable(on_full))}")
    return lines


_LOG_SIZES: Final[tuple[tuple[str, Callable[[Any], str]], ...]] = (
    ("segment_bytes", lambda size: f"segments of {format_size(size)}"),
    ("keep_segments", lambda count: f"at most {count} of them"),
    ("keep_bytes", lambda size: f"{format_size(size)} in all"),
)
_ON_FULL: Final = {
    "wait": "the job waits for room",
    "drop": "output is dropped and counted",
    "end": "the job is ended",
}


def dropped(result: JobResult) -> str:
    """How much of the output was dropped, as a sentence; "" when nothing was."""
    count = result.get("log_dropped_bytes")
    if not count:
        return ""
    return f"{format_size(count)} of its output was dropped for want of room on the disk"


# Surroundings


def surroundings(job: JobStatus) -> list[tuple[str, str]]:
    """What the job sees and may do: only what is not as in every job, and its file mode."""
    sandbox: Mapping[str, Any] = job.get("sandbox") or {}
    facts = [("files", text) for text in _files(sandbox)]
    facts += [("privileges", text) for text in _privileges(sandbox)]
    return [*facts, *(("network", text) for text in _network(job))]


def _files(sandbox: Mapping[str, Any]) -> list[str]:
    lines = []
    if mode := sandbox.get("filesystem"):
        root = sandbox.get("root")
        lines.append(f"{printable(mode)} {printable(root)}" if root else printable(mode))
    if kept := sandbox.get("keep_changes"):
        lines.append(f"changes kept in {printable(kept)}")
    lines += [_bind_line(bind) for bind in sandbox.get("binds") or []]
    for key, word in _PLACES:
        if items := sandbox.get(key):
            lines.append(f"{word} {_several([_item(item) for item in items])}")
    return lines


_PLACES: Final = (
    ("tmpfs", "empty"),
    ("hide", "hidden"),
    ("readable", "readable"),
    ("writable", "writable"),
    ("devices", "devices"),
    ("secrets", "secret"),
)


def _several(items: list[str]) -> str:
    more = len(items) - _PATHS_SHOWN
    return ", ".join(items[:_PATHS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _item(item: Any) -> str:  # noqa: ANN401  a path, a tmpfs or a secret
    """A path alone, or with its size; a secret's name with its file."""
    if not isinstance(item, dict):
        return printable(item)
    if "name" in item:
        return f"{printable(item['name'])} from {printable(item.get('path'))}"
    size = item.get("size_bytes")
    return printable(item["path"]) + ("" if size is None else f" of {format_size(size)}")


def _bind_line(bind: Mapping[str, Any]) -> str:
    source, target = printable(bind["source"]), printable(bind["target"])
    place = source if source == target else f"{source} at {target}"
    return f"bind {place}{', read-only' if bind.get('read_only') else ''}"


def _privileges(sandbox: Mapping[str, Any]) -> list[str]:
    lines = [f"preset {printable(sandbox['preset'])}"] if sandbox.get("preset") else []
    if profile := sandbox.get("seccomp"):
        reported = ", refusals reported" if sandbox.get("report_denied") else ""
        lines.append(f"seccomp {printable(profile)}{reported}")
    lines += _landlock(sandbox)
    if sandbox.get("userns"):
        lines.append("user namespace of its own")
    if names := sandbox.get("capabilities"):
        lines.append("capabilities " + ", ".join(printable(name) for name in names))
    if name := sandbox.get("hostname"):
        lines.append(f"host name {printable(name)}")
    return lines


def _landlock(sandbox: Mapping[str, Any]) -> list[str]:
    if sandbox.get("readable") or sandbox.get("writable"):
        return ["Landlock: listed paths, programs and its own places only"]
    if not sandbox.get("preset"):
        return []
    own = "its root" if sandbox.get("filesystem") == "root" else "programs and its own places"
    return [f"Landlock: {own} only"]


def _network(job: JobStatus) -> list[str]:
    net: AppliedNet | Mapping[str, Any] = job.get("net") or {}
    address, name = net.get("address"), net.get("name")
    first = printable(job["network"])
    first += f" {printable(name)}" if name else ""
    first += f", address {printable(address)}" if address else ""
    lines = [first, *(_port_line(port) for port in net.get("publish") or [])]
    if (allowed := net.get("allow_egress")) is not None:
        reach = _several([printable(item) for item in allowed])
        lines.append(f"reaches {reach or 'nothing'}" + (" and nothing else" if reach else ""))
    return lines


def _port_line(port: Mapping[str, Any]) -> str:
    host = f"{printable(port['host_address'])}:" if port.get("host_address") else ""
    kind = printable(port.get("protocol") or "tcp")
    return f"port {host}{port['host_port']} of the host is its {port['port']} ({kind})"


# Figures


def figures(values: Mapping[str, Any]) -> list[str]:
    """The figures that are known, in the order of the table; zeros that say nothing left out."""
    return [
        f"{label} {show(value)}"
        for key, label, show in _FIGURES
        if (value := values.get(key)) is not None and (value or key not in _ONLY_WHEN_FELT)
    ] + ([f"refused system calls {refused}"] if (refused := denied(values)) else [])


def denied(values: Mapping[str, Any]) -> str:
    """The system calls that were refused: each with its count; "" when none was."""
    calls = values.get("denied") or []
    return ", ".join(f"{printable(call['syscall'])} \u00d7{call['count']}" for call in calls)


def _microseconds(value: int) -> str:
    return format_duration(value / 1_000_000)


_ONLY_WHEN_FELT: Final = frozenset({
    "log_dropped_bytes", "paused_ns", "throttled_usec", "memory_high_hits", "cpu_pressure_usec",
    "memory_pressure_usec", "io_pressure_usec",
})  # fmt: skip
_FIGURES: Final[tuple[tuple[str, str, Callable[[Any], str]], ...]] = (
    ("wall_ns", "time", lambda value: format_duration(value / SECOND_NS)),
    ("paused_ns", "paused", lambda value: format_duration(value / SECOND_NS)),
    ("cpu_usec", "CPU time", _microseconds),
    ("cpu_user_usec", "CPU time in user mode", _microseconds),
    ("cpu_system_usec", "CPU time in the kernel", _microseconds),
    ("throttled_usec", "throttled at its CPU limit", _microseconds),
    ("cpu_pressure_usec", "waited for a CPU", _microseconds),
    ("memory_bytes", "memory", format_size),
    ("memory_peak_bytes", "peak memory", format_size),
    ("memory_high_hits", "slowed down for memory, times", str),
    ("memory_pressure_usec", "waited for memory", _microseconds),
    ("oom_kills", "processes killed for memory", str),
    ("pids", "processes", str),
    ("pids_peak", "peak processes", str),
    ("pids_max_hits", "forks refused", str),
    ("io_read_bytes", "read", format_size),
    ("io_write_bytes", "written", format_size),
    ("io_pressure_usec", "waited for disks", _microseconds),
    ("log_bytes", "output", format_size),
    ("log_dropped_bytes", "output dropped", format_size),
)
