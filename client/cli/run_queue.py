"""The options of `run` for the queue, and their fields: where, when, after what, how often.

Bounds, and which queues there are, are the daemon's to check; here only what cannot be read is
refused, and what excludes each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client.cli import params, queue_params
from client.cli.sections import all_of, option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from client.records import After, Reserve, Retry

QUEUE: Final = "Queue"

# The words of this command line for the fields of the protocol.
WORDS: Final = {
    "queue": "--queue",
    "priority": "--priority",
    "labels": "--label",
    "after": "--after",
    "after.job": "--after",
    "after.on": "--after",
    "not_before_ns": "--at",
    "delay_seconds": "--in",
    "deadline_ns": "--deadline",
    "deadline_seconds": "--deadline",
    "hold": "--hold",
    "retry": "--retry",
    "retry.limit": "--retry",
    "retry.backoff_seconds": "--backoff",
    "retry.backoff_max_seconds": "--backoff",
    "retry.on": "--retry-on",
    "retry.rules": "--retry-rule",
    "retry.rules.reason": "--retry-rule",
    "retry.rules.limit": "--retry-rule times=",
    "retry.rules.memory_factor": "--retry-rule mem=",
    "retry.rules.memory_max_bytes": "--retry-rule mem-max=",
    "retry.rules.timeout_factor": "--retry-rule time=",
    "retry.rules.timeout_max_seconds": "--retry-rule time-max=",
    "reserve": "--reserve-mem/--reserve-cpus",
    "reserve.millicpus": "--reserve-cpus",
    "reserve.memory_bytes": "--reserve-mem",
    "idempotency_key": "--key",
}

queue_options: Final = all_of([
    option("--queue", QUEUE, metavar="NAME", help="The queue to wait in (default: default)."),
    option("--priority", QUEUE, type=params.INTEGER, metavar="N",
           help="Before jobs of a lower one: -1000 to 1000, 0 unless given."),
    option("--label labels", QUEUE, type=queue_params.LABEL, multiple=True, metavar="NAME=VALUE",
           help="For ps and stop to find it by. May be repeated."),
    option("--after", QUEUE, type=queue_params.AFTER, multiple=True,
           metavar="JOB[,JOB...][:ok|any|fail|started]",
           help="Start when those have ended well (ok), ended (any), failed or started. "
                "May be repeated."),
    option("--at", QUEUE, type=queue_params.AT, metavar="TIME",
           help="Not before then: 14:00, '2026-12-24 18:00', @1798131600."),
    option("--in delay", QUEUE, type=params.DURATION_OR_ZERO, metavar="DURATION",
           help="Not before so long from now: 10m."),
    option("--deadline", QUEUE, type=queue_params.DEADLINE, metavar="TIME|DURATION",
           help="End it then, whether it waits or runs."),
    option("--hold", QUEUE, is_flag=True, help="Wait until `runctl release`."),
    option("--retry", QUEUE, type=params.INTEGER, metavar="N",
           help="Try again up to N times when it fails; never after a stop."),
    option("--backoff", QUEUE, type=queue_params.BACKOFF, metavar="MIN[..MAX]",
           help="Wait so long before a retry, twice as long before the next: 5s..5m."),
    option("--retry-on", QUEUE, type=queue_params.REASON_LIST, metavar="REASON[,REASON...]",
           help="For these reasons (default: exit,signal,oom,timeout,lost)."),
    option("--retry-rule", QUEUE, type=queue_params.RULE, multiple=True,
           metavar="REASON:CHANGE[,CHANGE...]",
           help="After that reason with other limits: oom:mem=*1.5,mem-max=4G,times=3. "
                "May be repeated."),
    option("--reserve-mem", QUEUE, type=params.SIZE, metavar="SIZE",
           help="Memory kept for it while it runs (default: as much as --mem)."),
    option("--reserve-cpus", QUEUE, type=params.CPUS_OR_ZERO, metavar="N",
           help="CPUs kept for it (default: as many as --cpus)."),
    option("--key", QUEUE, metavar="KEY",
           help="The same key again gives this job, not another one."),
])  # fmt: skip


def asked_queue(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Client.submit` for what was typed. Raises click.UsageError."""
    if options["at"] is not None and options["delay"] is not None:
        raise click.UsageError("--at and --in exclude each other")
    asked = {
        "queue": options["queue"],
        "priority": options["priority"],
        "labels": _labels(options["labels"]) or None,
        "after": _after(options["after"]) or None,
        "not_before_ns": options["at"],
        "delay_seconds": options["delay"],
        "hold": options["hold"] or None,
        "retry": _retry(options),
        "reserve": _reserve(options),
        "idempotency_key": options["key"],
        **_deadline(options["deadline"]),
    }
    return {name: value for name, value in asked.items() if value is not None}


def _labels(typed: tuple[tuple[str, str], ...]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, value in typed:
        if labels.setdefault(name, value) != value:
            raise click.UsageError(f"--label: {name!a} given twice, with different values")
    return labels


def _after(typed: tuple[list[After], ...]) -> list[After]:
    return [dependency for several in typed for dependency in several]


def _deadline(typed: Any) -> dict[str, Any]:  # noqa: ANN401  a point or a span in time, or None
    if typed is None:
        return {}
    from client.cli.queue_times import TimePoint

    if isinstance(typed, TimePoint):
        return {"deadline_ns": typed.time_ns}
    return {"deadline_seconds": typed.seconds}


def _retry(options: Mapping[str, Any]) -> Retry | None:
    if options["retry"] is None:
        for name in ("backoff", "retry_on", "retry_rule"):
            if options[name]:
                word = f"--{name.replace('_', '-')}"
                raise click.UsageError(f"{word} goes with --retry, which says how often")
        return None
    retry: Retry = {"limit": options["retry"]}
    if options["backoff"] is not None:
        first, most = options["backoff"]
        retry |= {"backoff_seconds": first, "backoff_max_seconds": most}
    if options["retry_on"]:
        retry["on"] = options["retry_on"]
    if options["retry_rule"]:
        retry["rules"] = list(options["retry_rule"])
    return retry


def _reserve(options: Mapping[str, Any]) -> Reserve | None:
    reserve: Reserve = {}
    if options["reserve_mem"] is not None:
        reserve["memory_bytes"] = options["reserve_mem"]
    if options["reserve_cpus"] is not None:
        reserve["millicpus"] = options["reserve_cpus"]
    return reserve or None
