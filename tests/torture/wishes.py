"""What jobs ask of the queue: where they wait, after what, how often they are tried. Pure.

Numbers come in blocks of `BLOCK`, so that a job knows its neighbours whatever was cut off before
it: in some blocks jobs come after earlier ones of the same user. Who waits for a time of the
clock, which is set back and forth, is waited for by nobody before all is over.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

BLOCK: Final = 8
USERS: Final = ("alice", "bob", "root")

# Queues of the runnerd that is tortured, and what it has to promise.
QUEUES: Final = ("default", "narrow", "low")
LATE: Final = "late"
# What is run of hooks: it takes no slot, and its jobs are no part of any sum.
HOOKS: Final = "hooks"
NARROW_MOST: Final = 2
LATE_MOST: Final = 1
TOP_PRIORITY: Final = 5
CAPACITY_MILLICPUS: Final = 4000
CAPACITY_MIB: Final = 1024
BOB_MILLICPUS: Final = 2500

_MIB: Final = 1 << 20
# What runnerd does when `on` is not given.
_USUAL_REASONS: Final = ("exit", "signal", "oom", "timeout", "lost")
_REASONS: Final = (
    None, ("exit",), ("exit", "signal"), ("exit", "signal", "lost", "launch-error", "log-error"),
    ("lost",), ("exit", "signal", "timeout", "output-limit"),
)  # fmt: skip
_AFTER: Final = {"ok": 5, "any": 3, "fail": 2, "started": 2}


class Wishes(NamedTuple):
    """One job's. `after` are numbers of jobs with what has to become of them.

    The first `failures` attempts exit with `failure`, 0: kill themselves. `held` until somebody
    releases it; `root_holds` it, too. `twins` clients submit it at once, with a key. `again`: it is
    retried by hand when it has ended. `hooks` are the changes of it that a command is told of.
    """

    queue: str = "default"
    priority: int = 0
    after: tuple[tuple[int, str], ...] = ()
    held: bool = False
    root_holds: bool = False
    delay_seconds: float = 0.0
    deadline_seconds: float | None = None
    retry: dict[str, Any] | None = None
    failures: int = 0
    failure: int = 0
    reserve: dict[str, int] = {}  # noqa: RUF012 - nobody changes it
    twins: int = 0
    again: bool = False
    hooks: tuple[str, ...] = ()

    @property
    def is_timed(self) -> bool:
        """Whether its end waits for a time of the clock."""
        backoff = 0.0 if self.retry is None else self.retry["backoff_seconds"]
        return bool(self.delay_seconds or backoff or self.deadline_seconds)

    @property
    def has_attempts(self) -> bool:
        """Whether there may be more than one."""
        return self.again or self.retry is not None

    def is_retried(self, attempt: int, result: dict[str, Any]) -> bool:
        """Whether runnerd is to try again after that attempt, unless somebody stopped it."""
        if self.retry is None or attempt > self.retry["limit"]:
            return False
        if result["reason"] == "exit" and result["exit_code"] == 0:
            return False
        return result["reason"] in (self.retry.get("on") or _USUAL_REASONS)


class Shape(NamedTuple):
    """What a block is: jobs of their own, or jobs of one user that come after each other."""

    kind: str
    user: str

    @property
    def is_flow(self) -> bool:
        """Whether its jobs come after each other."""
        return self.kind != "plain"


def weighted(dice: Random, weights: dict[Any, int]) -> Any:
    """One of the keys."""
    return dice.choices(list(weights), list(weights.values()))[0]


def shape(seed: int, number: int) -> Shape:
    """That of the block in which the number is."""
    dice = Random(f"{seed}/block/{number // BLOCK}")
    kind = weighted(dice, {"plain": 6, "chain": 1, "fan-in": 1, "tree": 2})
    return Shape(kind, weighted(dice, {"alice": 6, "bob": 3, "root": 1}))


def rest_of_block(number: int) -> int:
    """How many numbers there are up to the next block, this one included."""
    return BLOCK - number % BLOCK


def wishes(seed: int, number: int, user: str, *, ends_late: bool, may_retry: bool) -> Wishes:
    """Those of that job. `ends_late`: it ends at its deadline, however it is treated."""
    dice = Random(f"{seed}/wishes/{number}")
    block = shape(seed, number)
    if ends_late:
        return Wishes(
            queue=LATE, held=dice.random() < 0.5, deadline_seconds=round(dice.uniform(0.2, 2.5), 2)
        )
    retry, failures = _retry(dice, is_flow=block.is_flow) if may_retry else (None, 0)
    held = dice.random() < 0.1
    return Wishes(
        queue=weighted(dice, {"default": 8, "narrow": 2, "low": 1}),
        priority=weighted(dice, {0: 6, -3: 1, 2: 1, TOP_PRIORITY: 1}),
        after=_after(dice, block, number),
        held=held,
        root_holds=held and dice.random() < 0.3,
        delay_seconds=_delay(dice, is_flow=block.is_flow),
        retry=retry,
        failures=failures,
        failure=dice.choice((0, 1, 7)),
        reserve=_reserve(dice, user),
        twins=weighted(dice, {0: 14, 1: 2, 2: 2, 3: 1}),
        again=retry is None and not block.is_flow and dice.random() < 0.06,
        hooks=weighted(dice, {(): 24, ("ended",): 1, ("started", "retry", "ended"): 1}),
    )


def _after(dice: Random, block: Shape, number: int) -> tuple[tuple[int, str], ...]:
    first, index = number - number % BLOCK, number % BLOCK
    if not block.is_flow or index == 0:
        return ()
    if block.kind == "chain":
        chosen = [number - 1]
    elif block.kind == "fan-in":
        chosen = list(range(first, number)) if index == BLOCK - 1 else []
    else:
        chosen = dice.sample(range(first, number), min(index, dice.choice((0, 1, 1, 2, 3))))
    return tuple((target, weighted(dice, _AFTER)) for target in sorted(chosen))


def _retry(dice: Random, *, is_flow: bool) -> tuple[dict[str, Any] | None, int]:
    if dice.random() < 0.72:
        return None, 0
    reasons = dice.choice(_REASONS)
    backoff = 0.0 if is_flow else weighted(dice, {0.0: 3, 0.3: 1})
    policy = {
        "limit": dice.randint(1, 4),
        "backoff_seconds": backoff,
        **({} if reasons is None else {"on": list(reasons)}),
    }
    return policy, dice.choice((0, 1, 1, 2, 2, 3))


def _delay(dice: Random, *, is_flow: bool) -> float:
    return 0.0 if is_flow or dice.random() < 0.94 else round(dice.uniform(0.1, 2), 2)


def _reserve(dice: Random, user: str) -> dict[str, int]:
    most = BOB_MILLICPUS if user == "bob" else CAPACITY_MILLICPUS
    chosen = {
        "millicpus": weighted(dice, {0: 16, 100: 4, 900: 5, 1700: 2, most: 1}),
        "memory_bytes": weighted(dice, {0: 16, 64: 4, 300: 4, 700: 2, CAPACITY_MIB: 1}) * _MIB,
    }
    return {name: value for name, value in chosen.items() if value}


def request(job: Wishes, token: str, ids: dict[int, str]) -> dict[str, Any]:
    """The fields of `submit`. `ids` has those of the jobs that it can come after."""
    after = [{"job": ids[number], "on": on} for number, on in job.after if number in ids]
    chosen: dict[str, Any] = {
        "queue": job.queue, "priority": job.priority, "after": after, "hold": job.held,
        "delay_seconds": job.delay_seconds, "deadline_seconds": job.deadline_seconds,
        "retry": job.retry, "reserve": job.reserve, "labels": {"torture/job": token},
        "idempotency_key": token if job.twins else None,
    }  # fmt: skip
    return {name: value for name, value in chosen.items() if value}
