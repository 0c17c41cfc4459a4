"""What is done, from the seed alone: each job by its number, each troublemaker by its name. Pure.

A plan says what a job prints, how it ends, with which options it is submitted and how it is
looked after. That the machine is another one changes when things happen, never what is tried.
"""

from __future__ import annotations

import signal
from random import Random
from typing import Any, Final, NamedTuple

from tests.torture import programs
from tests.torture import wishes as queue
from tests.torture.programs import STDERR, STDOUT, Blob, Both, Numbers, Step, Trickle
from tests.torture.wishes import Wishes
from tests.torture.wishes import weighted as _weighted

_KIB: Final = 1024
USERS: Final = queue.USERS

# How a job is to end.
EXIT: Final = "exit"
SIGNAL: Final = "signal"
TIMEOUT: Final = "timeout"
STOP: Final = "stop"
OUTPUT_LIMIT: Final = "output-limit"
DEADLINE: Final = "deadline"

# What its rider does meanwhile.
FOLLOW: Final = "follow"
WAIT: Final = "wait"
RUNCTL: Final = "runctl"
LATER: Final = "later"

# Those that leave no core file and cannot be taken for our own.
_SIGNALS: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1,
)  # fmt: skip
_BLOCKS: Final = (1, 7, 512, 4096, 65536)
_MOST_ONE_BYTE_WRITES: Final = 1500
_MOST_WITH_TINY_SEGMENTS: Final = 512 * _KIB


class JobPlan(NamedTuple):
    """One job. `ending` is one of the words above, `value` its exit code or signal.

    `gaps` are the reasons for which output of it may be missing; such a job prints to stdout
    alone, so that a position in the log is one in what it prints. `deaf` ignores SIGTERM. Of a
    job with several attempts each says its number first.
    """

    number: int
    token: str
    user: str
    steps: tuple[Step, ...]
    ending: str
    value: int
    deaf: bool
    limits: dict[str, Any]
    logs: dict[str, Any]
    surroundings: str
    network: str
    care: str
    gaps: frozenset[str]
    batch: int
    remove: bool
    wishes: Wishes = Wishes()

    def dice(self, purpose: str) -> Random:
        """Dice of this job's own."""
        return Random(f"{self.token}/{purpose}")

    @property
    def group(self) -> dict[str, str]:
        """A label that the jobs of its block share which are to be stopped."""
        return {"torture/group": f"{self.token.partition('-')[0]}-{self.number // queue.BLOCK}"}

    def planned(self, attempt: int) -> tuple[str, int]:
        """How that attempt is to end, with which exit code or signal."""
        if attempt > self.wishes.failures:
            return self.ending, self.value
        return (EXIT, self.wishes.failure) if self.wishes.failure else (SIGNAL, signal.SIGKILL)


def job_plan(seed: int, number: int) -> JobPlan:
    """The job of that number."""
    dice = Random(f"{seed}/job/{number}")
    kind = _weighted(dice, {"plain": 78, "drop": 7, "end": 6, "keep": 5, "cap": 4})
    steps = _steps(dice, one_stream=kind != "plain")
    block = queue.shape(seed, number)
    ending, value, limits = _ending(dice)
    if block.is_flow and ending == DEADLINE:
        ending = EXIT
    logs = _logs(dice, sum(map(len, programs.output(steps, _SIZES).values())))
    gaps: frozenset[str] = frozenset()
    if kind in ("drop", "end"):
        logs["on_full"] = kind
        gaps = frozenset({"dropped"})
    elif kind == "keep":
        steps = (*steps, Blob(STDOUT, 4096, dice.randrange(500), 64))
        limits["output_max_bytes"] = dice.choice((16, 64)) * _KIB
        gaps = frozenset({"removed"})
    elif kind == "cap":
        steps, ending = (Blob(STDOUT, 512, dice.randrange(500), 200),), OUTPUT_LIMIT
        limits = {"output_max_bytes": dice.randint(4 * _KIB, 90 * _KIB), "output_policy": "end"}
    user = block.user if block.is_flow else _weighted(dice, {"alice": 6, "bob": 3, "root": 1})
    wanted = queue.wishes(
        seed, number, user, ends_late=ending == DEADLINE, may_retry=kind == "plain"
    )
    if ending == TIMEOUT:
        # On a slow machine it could strike in any attempt.
        wanted = wanted._replace(failures=0)
    if wanted.retry is not None and ending == EXIT:
        # An end that is not tried again, but by the attempts that fail before.
        value = 0
    single = all(not isinstance(step, Both) and step.stream == STDOUT for step in steps)
    care = _care(dice, single=single and not gaps and not wanted.has_attempts)
    return JobPlan(
        number=number,
        token=f"t{seed:x}-{number}",
        user=user,
        steps=steps,
        ending=ending,
        value=value,
        deaf=ending == STOP and dice.random() < 0.3,
        limits=limits,
        logs=logs,
        surroundings=_weighted(dice, {"host": 16, "overlay": 1, "readonly": 1, "denials": 1}),
        network=_weighted(dice, {"none": 16, "private": 2, "host": 1}),
        care=LATER if wanted.is_timed else care,
        gaps=gaps,
        batch=_batch(dice, number, is_flow=block.is_flow),
        # A key is free again when its job is removed.
        remove=dice.random() < 0.7 and not wanted.twins,
        wishes=wanted,
    )


# For the sizes alone any bytes do.
_SIZES: Final = bytes(programs.BLOB_BYTES)


def _batch(dice: Random, number: int, *, is_flow: bool) -> int:
    """How many jobs are submitted before the first of them is looked after: a flow as a whole."""
    most = queue.rest_of_block(number)
    chosen: int = _weighted(dice, {1: 8, 2: 2, 4: 1})
    return most if is_flow else min(most, chosen)


def _steps(dice: Random, *, one_stream: bool) -> tuple[Step, ...]:
    count = _weighted(dice, {0: 1, 1: 6, 2: 4, 3: 2})
    return tuple(_step(dice, one_stream=one_stream) for _ in range(count))


def _step(dice: Random, *, one_stream: bool) -> Step:
    stream = STDOUT if one_stream else _weighted(dice, {STDOUT: 2, STDERR: 1})
    kinds = {"line": 6, "numbers": 4, "trickle": 4, "blob": 5, "both": 0 if one_stream else 2}
    match _weighted(dice, kinds):
        case "line":
            return Trickle(stream, f"w{dice.randrange(10**6)}", dice.choice((1, 1, 3)), 0)
        case "numbers":
            first = dice.randrange(10**6)
            return Numbers(stream, first, first + dice.choice((5, 200, 5000, 60_000)))
        case "trickle":
            return Trickle(stream, "drop", dice.randint(5, 40), dice.choice((0, 10, 30, 100)))
        case "blob":
            size, count = _blocks(dice, 1.0)
            return Blob(stream, size, _skip(dice, size, count), count)
        case _:
            size, count = _blocks(dice, 0.25)
            return Both(size, _skip(dice, size, 2 * count), count)


def _blocks(dice: Random, share: float) -> tuple[int, int]:
    """Size and number of blocks: mostly a few KiB, now and then two MiB."""
    size = dice.choice(_BLOCKS)
    if size == 1:
        return size, dice.randint(1, _MOST_ONE_BYTE_WRITES)
    most = _weighted(dice, {16 * _KIB: 5, 256 * _KIB: 3, 2048 * _KIB: 1}) * share
    return size, max(1, min(4000, dice.randint(1, max(1, int(most // size)))))


def _skip(dice: Random, size: int, count: int) -> int:
    return dice.randrange(programs.BLOB_BYTES // size - count + 1)


def _ending(dice: Random) -> tuple[str, int, dict[str, Any]]:
    ending = _weighted(dice, {EXIT: 28, SIGNAL: 6, TIMEOUT: 4, STOP: 4, DEADLINE: 1})
    if ending == TIMEOUT:
        return ending, 0, {"timeout_seconds": round(dice.uniform(0.2, 2.5), 2)}
    # One that must not strike, by whichever clock somebody would count it.
    limits = {"timeout_seconds": 600.0} if dice.random() < 0.3 else {}
    if ending == SIGNAL:
        return ending, int(dice.choice(_SIGNALS)), limits
    return ending, dice.choice((0, 0, 1, dice.randrange(256))), limits


def _logs(dice: Random, size: int) -> dict[str, Any]:
    segments = {None: 4, 4096: 2, 8192: 2, 65536: 2, 1 << 20: 1}
    segment = _weighted(dice, segments)
    if segment is not None and segment <= 8192 and size > _MOST_WITH_TINY_SEGMENTS:
        segment = 65536
    chosen = {
        "segment_bytes": segment,
        "compression": _weighted(dice, {None: 2, "zstd": 1, "none": 1}),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _care(dice: Random, *, single: bool) -> str:
    care: str = _weighted(dice, {FOLLOW: 6, WAIT: 5, LATER: 2, RUNCTL: 1})
    return WAIT if care == RUNCTL and not single else care


def command(plan: JobPlan, blob_path: str, starts_path: str) -> list[str]:
    """What is executed: it says once for each attempt that it ran, prints, and ends as planned."""
    lines = [f"echo {plan.token} $RUNNERD_ATTEMPT >>{starts_path} || exit 99"]
    if plan.deaf:
        lines.append("trap '' TERM")
    if plan.wishes.has_attempts:
        lines.append("echo attempt $RUNNERD_ATTEMPT")
    if plan.wishes.failures:
        failure = f"exit {plan.wishes.failure}" if plan.wishes.failure else "kill -9 $$; sleep 60"
        lines.append(f"if [ $RUNNERD_ATTEMPT -le {plan.wishes.failures} ]; then {failure}; fi")
    lines += [programs.script(step, blob_path) for step in plan.steps]
    match plan.ending:
        case "signal":
            lines.append(f"kill -{plan.value} $$; sleep 60")
        case "exit":
            lines.append(f"exit {plan.value}")
        case _:
            lines.append("while :; do sleep 0.2; done" if plan.deaf else "exec sleep 1000")
    return ["sh", "-c", "\n".join(lines)]


def expected(plan: JobPlan, blob: bytes, attempt: int = 1) -> dict[int, bytes]:
    """All that the log of that attempt holds if nothing disturbs it."""
    steps = plan.steps if attempt > plan.wishes.failures else ()
    streams = programs.output(steps, blob)
    if plan.wishes.has_attempts:
        streams[STDOUT] = b"attempt %d\n" % attempt + streams[STDOUT]
    if plan.ending == OUTPUT_LIMIT:
        streams[STDOUT] = streams[STDOUT][: plan.limits["output_max_bytes"]]
    return streams


class Pace(NamedTuple):
    """A troublemaker: every how many seconds on average it does something."""

    name: str
    seconds: float


TROUBLE: Final = (
    Pace("daemon", 7), Pace("launcher", 6), Pace("monitor", 2.5), Pace("freeze", 2),
    Pace("clock", 2.5), Pace("disk", 11), Pace("pause", 1.3), Pace("client", 1.5),
    Pace("drain", 10), Pace("move", 0.5), Pace("queue", 2), Pace("repeat", 0.8),
    Pace("group", 0.8), Pace("watch", 0.1),
)  # fmt: skip


def trouble_dice(seed: int, life: int, name: str) -> Random:
    """The dice of one troublemaker in one life."""
    return Random(f"{seed}/{life}/{name}")
