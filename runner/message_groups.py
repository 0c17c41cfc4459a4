"""What a request may ask of groups: arrays and flows, jobs that were submitted as one thing.

Fields, units and bounds. What is submitted comes as the fields of a submission, which are read as
such (`runner.messages.Submit`); how steps hang together is checked in `runner.flow_graph`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from runner.message_hooks import Hooks  # noqa: TC001 - msgspec looks it up
from runner.message_kinds import MOST_REF_CHARS, Closed, Name
from runner.message_queue import IdempotencyKey, On, Priority  # noqa: TC001 - the same

MOST_RANGES: Final = 64
MOST_STEPS: Final = 1000
MOST_NEEDS: Final = 10_000
LARGEST_INDEX: Final = 2**31 - 1

GroupRef = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MOST_REF_CHARS,
        description="the id of an array or a flow, 4 or more characters of one, or its name",
    ),
]
_Index = Annotated[int, Meta(ge=0, le=LARGEST_INDEX)]
_Stride = Annotated[int, Meta(ge=1, le=LARGEST_INDEX)]
_MaxRunning = Annotated[int, Meta(ge=1, le=LARGEST_INDEX)]
# "test", or of a matrix "test.1".
StepName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=48,
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]*(\.[1-9][0-9]{0,3})?\Z",
        description="at most 48 letters, digits, '_' and '-', the first a letter or digit, and of "
        "a matrix '.' and a number",
    ),
]
_Word = Annotated[str, Meta(min_length=1, max_length=64)]


class ArrayRequest(Closed, frozen=True):
    """The indexes of an array: first, last and stride of each range; none twice.

    `max_running`: so many of it run at once at most; None: as many as the queue lets.
    """

    ranges: Annotated[
        list[tuple[_Index, _Index, _Stride]],
        Meta(
            min_length=1,
            max_length=MOST_RANGES,
            description=f"1 to {MOST_RANGES} ranges, of each the first and the last index, "
            f"0 to {LARGEST_INDEX}, and the stride, at least 1",
        ),
    ]
    max_running: _MaxRunning | None = None


class SubmitArray(Closed, frozen=True):
    """Many jobs that differ in their index alone, all of them or none.

    `submit` are the fields of `submit`; its name, key and hooks are the array's.
    """

    submit: dict[str, Any]
    array: ArrayRequest

    def __repr__(self) -> str:
        """Without what is submitted, which has an environment."""
        return f"SubmitArray(array={self.array!r})"


class Need(Closed, frozen=True):
    """A step that must have ended well (`ok`), ended, failed or started before this one starts."""

    step: StepName
    on: On = "ok"


class Step(Closed, frozen=True):
    """A job of a flow. `values` are those of its matrix, to be shown.

    `submit` are the fields of `submit`, without name, key and hooks; its environment goes over the
    flow's.
    """

    name: StepName
    submit: dict[str, Any]
    needs: list[Need] = []
    values: Annotated[dict[_Word, Annotated[str, Meta(max_length=256)]], Meta(max_length=16)] = {}

    def __repr__(self) -> str:
        """Without what is submitted, which has an environment."""
        return f"Step(name={self.name!a})"


class SubmitFlow(Closed, frozen=True):
    """Jobs that need each other, submitted as one thing: all of them or none.

    Each of `steps` is a `Step`, encoded by itself with msgpack, so that the bounds of a request
    hold for each. `env` is what they have in common.
    """

    name: Name
    steps: Annotated[list[bytes], Meta(min_length=1, max_length=MOST_STEPS)]
    env: dict[bytes, bytes] = {}
    max_running: _MaxRunning | None = None
    hooks: Hooks = []
    idempotency_key: IdempotencyKey | None = None

    def __repr__(self) -> str:
        """The number of steps, never what is in them."""
        return f"SubmitFlow(name={self.name!a}, {len(self.steps)} steps)"


class GroupStatus(Closed, frozen=True):
    """A group and one page of its jobs: those with a `member` above `after`."""

    group: GroupRef
    after: Annotated[int, Meta(ge=-1, le=LARGEST_INDEX)] = -1
    limit: Annotated[int, Meta(ge=0, le=1000)] = 1000


class StopGroup(Closed, frozen=True):
    """End every job of a group: those that wait at once, the others with SIGTERM."""

    group: GroupRef
    grace_seconds: Annotated[float, Meta(ge=0, le=3600)] | None = None
    kill: bool = False


class RetryGroup(Closed, frozen=True):
    """Run the jobs of a group once more that failed, and those that came after them."""

    group: GroupRef


class WaitGroup(Closed, frozen=True):
    """Answer when every job of a group has ended."""

    group: GroupRef
    timeout_seconds: Annotated[float, Meta(ge=0, le=315_360_000)] | None = None


class HoldGroup(Closed, frozen=True):
    """Keep the queued jobs of a group from starting, or with `held` false: no longer."""

    group: GroupRef
    held: bool = True


class UpdateGroup(Closed, frozen=True):
    """How many jobs of a group run at once (None: no bound), and the queued ones' priority."""

    group: GroupRef
    max_running: _MaxRunning | UnsetType | None = UNSET
    priority: Priority | UnsetType = UNSET


class RemoveGroup(Closed, frozen=True):
    """Forget a group that has ended, its jobs and their output."""

    group: GroupRef
