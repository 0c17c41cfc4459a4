"""What the store takes and gives of groups: jobs that were submitted as one thing. Values, no I/O.

The common spec of an array's jobs and what a flow looks like are bytes here
(`runner.group_submission`); how a group is kept is `runner.store_groups`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self

import msgspec

from runner.rows import DamagedRowError

if TYPE_CHECKING:
    from runner.rows import Row

Kind = Literal["array", "flow"]
ARRAY: Final = "array"
FLOW: Final = "flow"

# What became of a job that has ended for good. `skipped`: the job of a flow that was to come after
# another of it, which did not become what it had to: that one says whether the flow failed.
OK: Final = "ok"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a group looks like, as it was asked for; encoded with msgpack in its row.

    Of an array the `ranges` (first, last, stride); of a flow its `steps` in their order, which
    number its jobs from 0.
    """

    ranges: list[tuple[int, int, int]] = []
    steps: list[StepAbout] = []


class StepAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a flow: what it needs (names of steps, and what has to become of them)."""

    name: str
    values: dict[str, str] = {}
    needs: list[tuple[str, str]] = []


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it is submitted; its jobs come with it (`runner.rows.NewJob`).

    `spec` is the spec that jobs with an empty one have in common, in which `job` is the group's id;
    None: each has its own. `digest` tells whether another submission asks for the same.
    """

    id: str
    submitted_by_uid: int
    kind: Kind
    name: str | None
    submitted_ns: int
    max_running: int | None
    idempotency_key: str | None
    digest: bytes
    about: bytes
    spec: bytes | None

    def __repr__(self) -> str:
        """Without the spec, which holds an environment."""
        return f"NewGroup(id={self.id!r}, kind={self.kind!r})"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it was when it was read, without its spec.

    `size` is how many jobs it was submitted with; their `seq` are `first_seq` and the following
    ones. `unended` of them have not ended for good, `failed` have ended so (skipped ones not
    counted), also of those that were removed since. `ended_ns` is set while none is unended.
    """

    seq: int
    id: str
    submitted_by_uid: int
    kind: Kind
    name: str | None
    size: int
    max_running: int | None
    submitted_ns: int
    first_seq: int
    unended: int
    failed: int
    ended_ns: int | None
    idempotency_key: str | None
    digest: bytes
    about: bytes

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """The group of a row that has the fields in their order here. Raises DamagedRowError."""
        fields = dict(zip(cls.__struct_fields__, row, strict=True))
        try:
            return msgspec.convert(fields, cls, builtin_types=(bytes,))
        except msgspec.ValidationError as error:
            raise DamagedRowError(f"row {row[0]!a} of the groups is damaged: {error}") from None

    @property
    def is_ok(self) -> bool:
        """Whether it has ended, and well."""
        return self.ended_ns is not None and not self.failed


class GroupCounts(NamedTuple):
    """How many jobs of a group are in which state; of those that have ended, how."""

    queued: int = 0
    starting: int = 0
    running: int = 0
    paused: int = 0
    ok: int = 0
    failed: int = 0
    skipped: int = 0
