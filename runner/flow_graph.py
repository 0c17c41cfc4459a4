"""How the steps of a flow hang together, and which jobs of a group are tried again. Pure.

Names and numbers only: what a step runs is `runner.group_submission`'s to look at, what a need
means once jobs run `runner.scheduling`'s.
"""

from __future__ import annotations

from collections import defaultdict, deque
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final, NamedTuple

from runner.group_rows import FAILED, SKIPPED
from runner.message_checks import invalid
from runner.message_groups import MOST_NEEDS
from runner.message_queue import MOST_DEPENDENCIES
from runner.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.group_rows import FailedMember

# Of names in a refusal: as many as somebody reads.
_MOST_SHOWN: Final = 12


class Outline(NamedTuple):
    """A step as far as its place in the flow goes: its name, and what it needs.

    Of each need the name of a step and what has to become of it (`runner.message_queue.On`).
    """

    name: str
    needs: Sequence[tuple[str, str]] = ()


def checked(steps: Sequence[Outline]) -> list[tuple[tuple[int, str], ...]]:
    """What each step needs, by the numbers of steps. Raises Refusal, which names the field.

    None has a name twice, a step that there is not, itself or a cycle, or more needs than can be.
    """
    numbers = _numbers(steps)
    _check_bounds(steps)
    found = [_resolved(number, step, numbers) for number, step in enumerate(steps)]
    _check_cycle(steps, found)
    return found


def again(members: Sequence[FailedMember]) -> list[str]:
    """The jobs of a group that are tried again, by their ids and in the order given.

    Those that failed, and those that were skipped for one of these.
    """
    skipped_for: dict[str, list[str]] = defaultdict(list)
    for job in members:
        for on_id in job.unmet if job.fate == SKIPPED else ():
            skipped_for[on_id].append(job.id)
    found = {job.id for job in members if job.fate == FAILED}
    rest = deque(found)
    while rest:
        more = set(skipped_for[rest.popleft()]) - found
        found |= more
        rest.extend(more)
    return [job.id for job in members if job.id in found]


def _numbers(steps: Sequence[Outline]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, step in enumerate(steps):
        if step.name in numbers:
            allowed = f"each name once; step {numbers[step.name]} has it"
            raise invalid(f"steps[{number}].name", shown(step.name), allowed)
        numbers[step.name] = number
    return numbers


def _check_bounds(steps: Sequence[Outline]) -> None:
    total = 0
    for number, step in enumerate(steps):
        count = len(step.needs)
        total += count
        if count > MOST_DEPENDENCIES:
            raise _too_many(number, step, count, f"at most {MOST_DEPENDENCIES} of one step")
        if total > MOST_NEEDS:
            raise _too_many(number, step, total, f"at most {MOST_NEEDS} of one flow")


def _too_many(number: int, step: Outline, count: int, allowed: str) -> Refusal:
    return Refusal(
        "invalid-argument", field=f"steps[{number}].needs", given=f"{count} needs",
        allowed=allowed,
        detail=f"step {step.name}: put a step in between that needs some of these, and need that "
        "one instead",
    )  # fmt: skip


def _resolved(
    number: int, step: Outline, numbers: Mapping[str, int]
) -> tuple[tuple[int, str], ...]:
    """The steps that one needs, by their numbers. Raises Refusal."""
    found: dict[int, str] = {}
    for index, (name, kind) in enumerate(step.needs):
        on = numbers.get(name)
        if on is None:
            allowed = f"a step of this flow: {_listed(numbers)}"
        elif on == number:
            allowed = "another step: it cannot wait for itself"
        elif on in found:
            allowed = "each step once"
        else:
            found[on] = kind
            continue
        raise _of_need(number, index, step.name, name, allowed)
    return tuple(found.items())


def _check_cycle(steps: Sequence[Outline], needs: Sequence[Sequence[tuple[int, str]]]) -> None:
    """Raise Refusal where steps wait for each other."""
    graph = TopologicalSorter({number: [on for on, _ in each] for number, each in enumerate(needs)})
    try:
        graph.prepare()
    except CycleError as error:
        # Each comes before the next one; the last is the first.
        round_trip: list[int] = error.args[1][:-1]
    else:
        return
    start = round_trip.index(min(round_trip))
    numbers = round_trip[start:] + round_trip[:start]
    first, last = steps[numbers[0]], steps[numbers[-1]]
    index = [name for name, _ in first.needs].index(last.name)
    words = "a cycle: " + " -> ".join(
        _shortened([*(steps[each].name for each in numbers), first.name])
    )
    allowed = "steps that do not wait for each other in a cycle"
    raise _of_need(numbers[0], index, first.name, last.name, allowed, words)


def _of_need(
    number: int, index: int, step: str, given: str, allowed: str, detail: str | None = None
) -> Refusal:
    return Refusal(
        "invalid-argument", field=f"steps[{number}].needs[{index}].step", given=shown(given),
        allowed=allowed, detail=f"step {step}" if detail is None else detail,
    )  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    rest = len(every) - _MOST_SHOWN
    return ", ".join([*every[:_MOST_SHOWN], *([f"and {rest} more"] if rest > 0 else [])])


def _shortened(names: Sequence[str]) -> Sequence[str]:
    """The beginning and the end of a long way."""
    if len(names) <= _MOST_SHOWN:
        return names
    half = _MOST_SHOWN // 2
    return [*names[:half], f"({len(names) - 2 * half} more)", *names[-half:]]
