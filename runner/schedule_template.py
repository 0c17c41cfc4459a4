"""What a schedule runs: the submission that each of its runs is, and as whom.

Pure but for the user database, which is asked anew for each run: who has lost a group, or is
gone, loses what the schedule could do with it; nobody gains a group that the process did not have
that made the schedule. A run is checked like any submission (`runner.submission`).
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runner.message_checks import invalid
from runner.messages import Submit
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from runner.schedule_rows import Schedule

LABEL: Final = "schedule"
# Fields that name one moment, or one job: a schedule has many.
ONCE: Final = ("after", "not_before_ns", "deadline_ns", "idempotency_key")
_FIELD: Final = "submit"
# Of a label's value: as much of an id as people use.
_ID_CHARS: Final = 8


class Template(msgspec.Struct, frozen=True):
    """A submission that is made again and again, and the groups of whoever asked for that."""

    submit: dict[str, Any]
    gid: int
    groups: list[int]

    def __repr__(self) -> str:
        """Without the environment."""
        return f"Template(gid={self.gid}, groups={self.groups})"


def read(fields: dict[str, Any]) -> Submit:
    """The submission that a request wants to be repeated. Raises Refusal."""
    try:
        request = parse(Submit, fields)
    except Refusal as refusal:
        raise of_submission(refusal) from None
    for name in ONCE:
        given = getattr(request, name)
        if given not in (None, []):
            allowed = "nothing: each run is another job, at another time"
            raise invalid(f"{_FIELD}.{name}", shown(given), allowed)
    if LABEL in request.labels:
        allowed = f"other names than {LABEL}, which the runs of a schedule have"
        raise invalid(f"{_FIELD}.labels", shown(LABEL), allowed)
    return request


def of_submission(refusal: Refusal) -> Refusal:
    """The refusal of a run as that of the schedule: the field is one of what it submits."""
    if "field" in refusal.fields:
        refusal.fields["field"] = f"{_FIELD}.{refusal.fields['field']}"
    return refusal


def pack(request: Submit, peer: Peer) -> bytes:
    """As it is kept. Raises Refusal for text that cannot be."""
    try:
        template = Template(plain(request), peer.gid, sorted(peer.groups))
        return msgspec.msgpack.encode(template)
    except UnicodeEncodeError as error:
        raise invalid(_FIELD, shown(error.object), "text that is UTF-8") from None


def plain(request: Submit) -> dict[str, Any]:
    """Its fields, with nothing that msgpack has not."""
    fields: dict[str, Any] = msgspec.to_builtins(
        request, builtin_types=(bytes,), enc_hook=_bytes_of
    )
    return fields


def unpack(data: bytes) -> tuple[Template, Submit]:
    """What was kept, read as a request of today. Raises Refusal."""
    try:
        template = msgspec.msgpack.decode(data, type=Template)
    except msgspec.MsgspecError as error:
        raise Refusal("store-error", detail=f"the schedule is damaged: {error}") from None
    return template, read(template.submit)


def run_of(request: Submit, schedule: Schedule, key: str | None) -> Submit:
    """The submission of one run: known by its key, and found by its label."""
    label = {LABEL: schedule.name or schedule.id[:_ID_CHARS]}
    changes = {"labels": {**request.labels, **label}, "idempotency_key": key}
    return msgspec.structs.replace(request, **changes)


def peer_now(uid: int, gid: int, groups: frozenset[int]) -> Peer:
    """A user as the user database has it now, with no group but these. Raises Refusal.

    Blocks: names may come from far away (nsswitch.conf(5)).
    """
    try:
        entry = pwd.getpwuid(uid)
        known = {entry.pw_gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)}
    except (KeyError, OSError):
        raise Refusal(
            "not-permitted", detail=f"uid {uid} is no user of this host, so nothing is run for it"
        ) from None
    allowed = known & {gid, *groups}
    primary = gid if gid in allowed else entry.pw_gid
    if primary not in allowed:
        raise Refusal(
            "not-permitted", detail=f"uid {uid} has neither its own group nor group {gid} here"
        )
    return Peer(uid=uid, gid=primary, groups=frozenset(allowed), pid=os.getpid())


def _bytes_of(value: object) -> bytes:
    """The one type of a request that is not msgpack's: bytes under another name."""
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError(type(value).__name__)
