"""What an update makes of a job's limits. Pure: limits and figures in, limits or a refusal out.

Carrying it out is `runner.updating`'s, the bounds of each value `runner.message_limits`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import UNSET

from runner import spec as specs
from runner.message_checks import check_limits, invalid
from runner.message_kinds import OsText
from runner.message_limits import IoRequest, LimitsRequest
from runner.queues import promised
from runner.refusal import Refusal
from runner.scheduling.kinds import Needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.message_limits import LimitsUpdate
    from runner.scheduling.kinds import Quota

OF_THE_NETWORK = ("net_egress_bits_per_second", "net_ingress_bits_per_second")


class Used(NamedTuple):
    """What a job has used of the limits that only its monitor keeps.

    Seconds that it ran, pauses not counted, and seconds of CPU time; bytes of output.
    """

    seconds: float
    cpu_seconds: float
    output_bytes: int


def merged(present: Mapping[str, Any], update: LimitsUpdate) -> dict[str, Any]:
    """The limits of a job (as in its spec) after an update. Raises Refusal for a contradiction.

    A field that the update leaves out stays, None lifts it, anything else replaces it as a
    whole: all entries of `io`, all names of `rlimits`.
    """
    fields: dict[str, Any] = {**present, **given(update)}
    requested = {
        name: value
        for name, value in fields.items()
        if value is not None and name in LimitsRequest.__struct_fields__
    }
    requested["io"] = [_io_request(entry) for entry in requested.get("io", ())]
    request = LimitsRequest(**requested)
    check_limits(request)
    fields["io"] = [specs.io(entry) for entry in request.io]
    return {name: value for name, value in fields.items() if value not in (None, [], {})}


def given(update: LimitsUpdate) -> dict[str, Any]:
    """What an update says, by the names of the limits; None lifts one."""
    fields = {name: getattr(update, name) for name in update.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}


def _io_request(entry: IoRequest | Mapping[str, Any]) -> IoRequest:
    if isinstance(entry, IoRequest):
        return entry
    return IoRequest(**{**entry, "path": OsText(entry["path"])})


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names of the limits that are not the same, in their order in the protocol."""
    return [name for name in LimitsRequest.__struct_fields__ if old.get(name) != new.get(name)]


def below_use(field: str, given: str, used: str) -> Refusal:
    """The refusal of a limit that the job has passed already. `used` has the figure."""
    return Refusal("limit-below-use", field=field, given=given, detail=used)


def refuse_below_use(limits: Mapping[str, Any], changed: Iterable[str], used: Used) -> None:
    """Refuse a limit that would be passed the moment it was set. Raises Refusal."""
    passed = {
        "timeout_seconds": (used.seconds, "it has run for {:.3f} s"),
        "cpu_time_seconds": (used.cpu_seconds, "it has used {:.3f} s of CPU time"),
    }
    for name in changed:
        wanted = limits.get(name)
        if name in passed and wanted is not None and wanted <= passed[name][0]:
            number, what = passed[name]
            raise below_use(f"limits.{name}", f"{wanted:g}", what.format(number))
    _refuse_below_output(limits, changed, used.output_bytes)


def _refuse_below_output(limits: Mapping[str, Any], changed: Iterable[str], written: int) -> None:
    names = {"output_max_bytes", "output_policy"} & set(changed)
    most, policy = limits.get("output_max_bytes"), limits.get("output_policy")
    # What is written cannot be unwritten; with drop-oldest the oldest simply go.
    if names and policy in {"end", "block"} and most is not None and most < written:
        what = f"it has written {written} bytes"
        raise below_use("limits.output_max_bytes", str(most), what)


def refuse_without_network(network: str, limits: Mapping[str, Any]) -> None:
    """A bandwidth is that of a private network. Raises Refusal."""
    for name in OF_THE_NETWORK:
        if network != "private" and limits.get(name) is not None:
            raise invalid(f"limits.{name}", str(limits[name]), f"nothing: its network is {network}")


def promise(
    present: Needs, old: Mapping[str, Any], new: Mapping[str, Any], capacity: Needs
) -> Needs:
    """What a job is promised when its limits change: as before, unless that followed from them."""
    was, will = promised(old, capacity), promised(new, capacity)
    return Needs(
        *(
            after if had == before else had
            for had, before, after in zip(present, was, will, strict=True)
        )
    )


# By what is lacking: the limit that the promise follows, which of the needs, and its unit.
_OF_NEEDS: Final = {
    "cpus": ("limits.cpu_max_millicpus", 0, "millicpus"),
    "memory": ("limits.memory_max_bytes", 1, "bytes"),
}


def beyond_quota(lack: str, wanted: Needs, others: Needs, quota: Quota) -> Refusal:
    """The refusal of a promise that its user's quota does not allow.

    `lack` is quota-cpus or quota-memory; `others` is what the user's other running jobs have.
    """
    field, index, unit = _OF_NEEDS[lack.removeprefix("quota-")]
    most = (quota.max_millicpus, quota.max_memory_bytes)[index]
    detail = (
        f"its user's other running jobs are promised {others[index]} {unit}; nothing was changed"
    )
    return Refusal("quota-exceeded", field=field, given=str(wanted[index]),
                   allowed=f"{most} {unit} in all", detail=detail)  # fmt: skip


def beyond_capacity(lack: str | None, wanted: Needs, others: Needs, capacity: Needs) -> Refusal:
    """The refusal of a promise for which there is no room beside those of the jobs that run."""
    field, index, unit = _OF_NEEDS["cpus" if lack == "cpus" else "memory"]
    free = max(0, capacity[index] - others[index])
    detail = (
        f"it would be promised {wanted[index]} {unit}, and {free} {unit} of {capacity[index]} "
        f"{unit} are not promised to other jobs that run; nothing was changed"
    )
    return Refusal("limit-unavailable", field=field, given=str(wanted[index]), detail=detail)
