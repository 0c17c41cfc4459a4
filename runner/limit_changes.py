"""What an update makes of a job's limits. Pure: limits and figures in, limits or a refusal out.

Carrying it out is `runner.updating`'s, the bounds of each value `runner.message_limits`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from runner import spec as specs
from runner.message_checks import check_limits, invalid
from runner.message_kinds import OsText
from runner.message_limits import IoRequest, LimitsRequest
from runner.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.message_limits import LimitsUpdate

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
