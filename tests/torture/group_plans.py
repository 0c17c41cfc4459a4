"""What arrays and flows are submitted, from the seed alone: each by its number. Pure.

Their jobs say that they ran, fail in their first attempts as planned, and end well in later ones:
so a group that is tried again often enough ends well. Jobs of their own are `plan`'s.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

from tests.torture import wishes

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MOST: Final = 7


class GroupPlan(NamedTuple):
    """One array or flow. `members` are its numbers; of a flow `needs` are each step's.

    The first `failures` attempts of each job exit with `failure`. `has_hook`: each of its ends is
    told to a command. `twins` clients submit it at once.
    """

    number: int
    token: str
    user: str
    is_flow: bool
    members: tuple[int, ...]
    needs: tuple[tuple[tuple[int, str], ...], ...]
    failures: tuple[int, ...]
    failure: int
    max_running: int | None
    queue: str
    has_hook: bool
    twins: int
    remove: bool

    def dice(self, purpose: str) -> Random:
        """Dice of this group's own."""
        return Random(f"{self.token}/{purpose}")

    def exit_code(self, member: int, attempt: int) -> int:
        """What that attempt of a job exits with, if nothing disturbs it."""
        fails = attempt <= self.failures[self.members.index(member)]
        return self.failure if fails else 0

    def needs_of(self, member: int) -> tuple[tuple[int, str], ...]:
        """What a job of it is to come after."""
        return self.needs[member] if self.is_flow else ()

    def may_be_skipped(self, member: int) -> bool:
        """Whether it may never run though all goes well: it comes after a failure."""
        return any(on == "fail" or self.may_be_skipped(step) for step, on in self.needs_of(member))


def group_plan(seed: int, number: int) -> GroupPlan:
    """The group of that number."""
    dice = Random(f"{seed}/group/{number}")
    is_flow = dice.random() < 0.5
    size = dice.randint(2, _MOST)
    first, stride = (0, 1) if is_flow else (dice.randrange(50), dice.choice((1, 1, 3)))
    return GroupPlan(
        number=number,
        token=f"g{seed:x}-{number}",
        user=wishes.weighted(dice, {"alice": 6, "bob": 3, "root": 1}),
        is_flow=is_flow,
        members=tuple(range(first, first + size * stride, stride)),
        needs=_needs(dice, size) if is_flow else (),
        failures=tuple(wishes.weighted(dice, {0: 7, 1: 3, 2: 1}) for _ in range(size)),
        failure=dice.choice((1, 7, 200)),
        max_running=wishes.weighted(dice, {None: 2, 1: 2, 2: 3, 3: 1}),
        queue=wishes.weighted(dice, {"default": 6, "narrow": 1, "low": 1}),
        has_hook=dice.random() < 0.5,
        twins=wishes.weighted(dice, {1: 5, 2: 1, 3: 1}),
        remove=dice.random() < 0.4,
    )


def _needs(dice: Random, size: int) -> tuple[tuple[tuple[int, str], ...], ...]:
    """Each step after some before it; only the last one after a failure."""
    found: list[tuple[tuple[int, str], ...]] = [()]
    for step in range(1, size):
        kinds = {"ok": 5, "any": 2, "started": 1, "fail": 2 if step == size - 1 else 0}
        chosen = sorted(dice.sample(range(step), min(step, dice.choice((0, 1, 1, 2)))))
        found.append(tuple((on, wishes.weighted(dice, kinds)) for on in chosen))
    return tuple(found)


def script(plan: GroupPlan, share: str, member: int | None = None) -> list[str]:
    """What a job of it runs; of an array (`member` None) they all run the same."""
    which = "$RUNNERD_ARRAY_INDEX" if member is None else str(member)
    if member is None:
        count, last = len(plan.members), plan.members[-1]
        check = f'[ "$RUNNERD_ARRAY_COUNT $RUNNERD_ARRAY_LAST" = "{count} {last}" ]'
    else:
        check = f'[ "$RUNNERD_FLOW $RUNNERD_STEP" = "{plan.token} {step_name(member)}" ]'
    cases = (f"{n}) fails={f};;" for n, f in zip(plan.members, plan.failures, strict=True) if f)
    lines = [
        f"echo {plan.token} {which} $RUNNERD_ATTEMPT >>{share}/group-starts || exit 99",
        f"{check} || exit 98",
        f"fails=0; case {which} in {' '.join(cases)} esac",
        f"if [ $RUNNERD_ATTEMPT -le $fails ]; then exit {plan.failure}; fi",
        f"sleep {plan.dice('sleep').choice((0, 0.1, 0.4))}",
        f"echo {plan.token} {which}",
    ]
    return ["sh", "-c", "\n".join(lines)]


def output(plan: GroupPlan, member: int, exit_code: int) -> bytes:
    """All that an attempt of a job prints that ends so."""
    return b"" if exit_code else f"{plan.token} {member}\n".encode()


def step_name(member: int) -> str:
    """A step of a flow, by its number."""
    return f"step-{member}"


def hook(share: str, events: tuple[str, ...]) -> dict[str, Any]:
    """A command that says what it was told, and which job and attempt it is."""
    line = "echo $RUNNERD_HOOK_NAME $RUNNERD_HOOK_EVENT $RUNNERD_JOB $RUNNERD_ATTEMPT"
    argv = ["sh", "-c", f"{line} >>{share}/hook-lines || exit 99"]
    return {"on": list(events), "argv": argv, "retries": 5}


def array(plan: GroupPlan, share: str) -> dict[str, Any]:
    """The arguments of `Client.submit_array`."""
    ranges = [(plan.members[0], plan.members[-1], plan.members[1] - plan.members[0])]
    return {
        "argv": script(plan, share), "ranges": ranges, "max_running": plan.max_running,
        "name": plan.token, "cwd": "/", "env": {"PATH": PATH}, "queue": plan.queue,
        "idempotency_key": plan.token, "hooks": _hooks(plan, share),
    }  # fmt: skip


def flow(plan: GroupPlan, share: str) -> dict[str, Any]:
    """The arguments of `Client.submit_flow`."""
    steps = [
        {
            "name": step_name(member),
            "submit": {"argv": script(plan, share, member), "cwd": "/", "queue": plan.queue},
            "needs": [{"step": step_name(on), "on": kind} for on, kind in plan.needs[member]],
        }
        for member in plan.members
    ]
    return {
        "name": plan.token, "steps": steps, "env": {"PATH": PATH},
        "max_running": plan.max_running, "key": plan.token, "hooks": _hooks(plan, share),
    }  # fmt: skip


def _hooks(plan: GroupPlan, share: str) -> list[dict[str, Any]]:
    return [hook(share, ("ended",))] if plan.has_hook else []
