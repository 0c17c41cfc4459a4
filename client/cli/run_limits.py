"""The options for limits, of `run` and `update`: words, help, and their fields.

Bounds are the daemon's to check; here only what cannot be read is refused. The words for
files and privileges are in `client.cli.run_sandbox`, for networks in `client.cli.run_net`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from client.cli import params
from client.cli.paths import absolute
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from client.cli.sections import Decorator
    from client.records import IoLimit, Limits

MEMORY: Final = "Memory and CPU"
REST: Final = "Processes, disks and rlimits"
TIME: Final = "Time, output and scratch space"
NETWORK: Final = "Network"


class _Limit(NamedTuple):
    """One option. `field` is that of the protocol; None where several make up one field."""

    word: str
    section: str
    field: str | None
    type: click.ParamType[Any]
    metavar: str
    help: str
    multiple: bool = False


_OOM: Final = click.Choice(["kill", "continue"])
_POLICY: Final = click.Choice(["drop-oldest", "block", "end"])
_LIMITS: Final = (
    _Limit("--mem", MEMORY, "memory_max_bytes", params.SIZE, "SIZE",
           "Memory at most: 256M, 1.5G."),
    _Limit("--mem-high", MEMORY, "memory_high_bytes", params.SIZE, "SIZE",
           "Above this the job is slowed down and its memory reclaimed."),
    _Limit("--swap", MEMORY, "memory_swap_max_bytes", params.SIZE, "SIZE",
           "Swap at most (with --mem: 0 unless given)."),
    _Limit("--oom", MEMORY, "oom_policy", _OOM, "kill|continue",
           "Out of memory: end the whole job (kill, the default), or one process."),
    _Limit("--cpus", MEMORY, "cpu_max_millicpus", params.CPUS, "N", "CPUs at most: 0.5, 2."),
    _Limit("--cpu-weight", MEMORY, "cpu_weight", params.INTEGER, "N",
           "Share when CPUs are short: 1 to 10000, others have 100."),
    _Limit("--cpuset", MEMORY, "cpu_set", click.STRING, "LIST", "On these CPUs only: 0-3,8."),
    _Limit("--pids", REST, "pids_max", params.INTEGER, "N", "Processes and threads at most."),
    _Limit("--io-read", REST, None, params.PATH_RATE, "PATH:RATE",
           "Bytes a second read from the disks under PATH: /srv:10M. May be repeated.",
           multiple=True),
    _Limit("--io-write", REST, None, params.PATH_RATE, "PATH:RATE", "The same for writing.",
           multiple=True),
    _Limit("--io-read-iops", REST, None, params.PATH_COUNT, "PATH:N",
           "Operations a second: /srv:200. May be repeated.", multiple=True),
    _Limit("--io-write-iops", REST, None, params.PATH_COUNT, "PATH:N", "The same for writing.",
           multiple=True),
    _Limit("--io-weight", REST, "io_weight", params.INTEGER, "N",
           "Share when disks are busy: 1 to 10000, others have 100."),
    _Limit("--rlimit", REST, None, params.RLIMIT, "NAME=SOFT[:HARD]",
           "Of each process: nofile=1024:4096, core=0, stack=64M, fsize=unlimited. "
           "May be repeated.", multiple=True),
    _Limit("--timeout", TIME, "timeout_seconds", params.DURATION, "DURATION",
           "Wall-clock limit: 90, 10m, 1h30m."),
    _Limit("--warn", TIME, None, params.WARNING, "DURATION[:SIGNAL]",
           "That long before the time limit send SIGNAL: 30s, 1m:USR1."),
    _Limit("--cpu-time", TIME, "cpu_time_seconds", params.DURATION, "DURATION",
           "CPU time of all processes together."),
    _Limit("--output-max", TIME, "output_max_bytes", params.SIZE, "SIZE",
           "Output at most; see --output-policy."),
    _Limit("--output-policy", TIME, "output_policy", _POLICY, "POLICY",
           "At --output-max: drop-oldest (the default), block, or end the job."),
    _Limit("--scratch", TIME, "scratch_max_bytes", params.SIZE, "SIZE",
           "Room in the job's /tmp and /dev/shm, each."),
    _Limit("--net-egress", NETWORK, "net_egress_bits_per_second", params.BITS, "RATE",
           "Bits a second sent at most: 10mbit. Needs --net private."),
    _Limit("--net-ingress", NETWORK, "net_ingress_bits_per_second", params.BITS, "RATE",
           "The same for what is received."),
)  # fmt: skip
_IO_FIELDS: Final = {
    "io_read": "read_bytes_per_second",
    "io_write": "write_bytes_per_second",
    "io_read_iops": "read_operations_per_second",
    "io_write_iops": "write_operations_per_second",
}
_IDLE_HELP: Final = "Only CPU time that nobody else wants (SCHED_IDLE)."

# The words of this command line for the fields of the protocol.
WORDS: Final = {
    **{f"limits.{limit.field}": limit.word for limit in _LIMITS if limit.field},
    "limits.cpu_idle": "--cpu-idle",
    "limits.rlimits": "--rlimit",
    "limits.warning_seconds": "--warn",
    "limits.warning_signal": "--warn",
    "limits.io": "--io-read/--io-write",
    "limits.io.path": "--io-read/--io-write",
    **{f"limits.io.{name}": f"--{key.replace('_', '-')}" for key, name in _IO_FIELDS.items()},
}


def limit_options(section: str, *, lift: bool = False) -> Decorator:
    """A decorator with those options of a section; with `lift` "none" takes a limit away."""
    decorators = [_decorator(limit, lift=lift) for limit in _LIMITS if limit.section == section]
    if section == MEMORY:
        word = "--cpu-idle/--no-cpu-idle" if lift else "--cpu-idle"
        decorators.append(option(word, section, is_flag=True, default=None, help=_IDLE_HELP))
    return all_of(decorators)


def all_limit_options(*, lift: bool) -> Decorator:
    """All of them."""
    sections = (MEMORY, REST, TIME, NETWORK)
    return all_of([limit_options(section, lift=lift) for section in sections])


def _decorator(limit: _Limit, *, lift: bool) -> Decorator:
    return option(
        limit.word,
        limit.section,
        type=params.Liftable(limit.type) if lift else limit.type,
        metavar=limit.metavar,
        multiple=limit.multiple,
        help=limit.help,
    )


def words(options: Mapping[str, Any]) -> dict[str, str]:
    """WORDS, with the one option for disks where only one was typed, and rlimits by name."""
    typed = [f"--{key.replace('_', '-')}" for key in _IO_FIELDS if options[key]]
    word = typed[0] if len(typed) == 1 else WORDS["limits.io"]
    named = [entry[0] for entry in options["rlimit"] if entry is not params.LIFT]
    rlimits = {f"limits.rlimits.{name}": f"--rlimit {name}" for name in named}
    return {**WORDS, **rlimits, "limits.io": word, "limits.io.path": word}


def asked_limits(options: Mapping[str, Any], before: Limits | None = None) -> Limits:
    """The limits that were typed; None where one is lifted.

    Entries for disks and rlimits go over those that the job had `before`.
    """
    had: Limits = before or {}
    asked: dict[str, Any] = {}
    for limit in _LIMITS:
        value = options[limit.word[2:].replace("-", "_")]
        if limit.field and value is not None:
            asked[limit.field] = _or_none(value)
    if options["cpu_idle"] is not None:
        asked["cpu_idle"] = True if options["cpu_idle"] else None
    if options["warn"] is not None:
        asked.update(_warning(options["warn"]))
    if any(options[key] for key in _IO_FIELDS):
        asked["io"] = merge_io(had.get("io") or [], options) or None
    if options["rlimit"]:
        asked["rlimits"] = _merge_rlimits(had.get("rlimits") or {}, options["rlimit"]) or None
    # The table above has the names of the fields, which the type cannot see.
    limits: Limits = {}
    limits.update(asked)  # type: ignore[typeddict-item]
    return limits


def needs_before(options: Mapping[str, Any]) -> bool:
    """Whether what the job has already must be known, so that it can be kept."""
    return bool(options["rlimit"]) or any(options[key] for key in _IO_FIELDS)


def _or_none(value: Any) -> Any:  # noqa: ANN401  what a type made of a word
    return None if value is params.LIFT else value


def _warning(value: Any) -> dict[str, Any]:  # noqa: ANN401  LIFT, or seconds and a signal
    seconds, number = (None, None) if value is params.LIFT else value
    both = {"warning_seconds": seconds, "warning_signal": number}
    return both if value is params.LIFT or number is not None else {"warning_seconds": seconds}


def merge_io(before: Iterable[IoLimit], options: Mapping[str, Any]) -> list[IoLimit]:
    """One entry a path, absolute; of two rates of one kind for a path the last one counts."""
    from client.protocol import to_text

    entries: dict[str, dict[str, Any]] = {}
    for entry in before:
        rates = {name: entry.get(name) for name in _IO_FIELDS.values()}
        entries[to_text(entry["path"])] = {key: rate for key, rate in rates.items() if rate}
    for key, name in _IO_FIELDS.items():
        for value in options[key]:
            _set_rate(entries, name, value)
    merged: list[Any] = [{"path": path, **rates} for path, rates in entries.items() if rates]
    return merged


def _set_rate(entries: dict[str, dict[str, Any]], name: str, value: Any) -> None:  # noqa: ANN401
    """A path's rate; LIFT takes that kind of rate from every path."""
    if value is params.LIFT:
        for rates in entries.values():
            rates.pop(name, None)
    else:
        path, rate = value
        entries.setdefault(absolute(path), {})[name] = rate


def _merge_rlimits(
    before: Mapping[str, list[int | None]], values: Iterable[Any]
) -> dict[str, list[int | None]]:
    merged = dict(before)
    for value in values:
        if value is params.LIFT:
            merged.clear()
        else:
            merged[value[0]] = value[1]
    return merged
