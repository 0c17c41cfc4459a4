"""What a job finds in its environment of itself and of its group. Pure.

Over what its submitter had there. Where it is put there is `runner.launching`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from runner.group_rows import ARRAY

if TYPE_CHECKING:
    from runner.group_rows import About, Group
    from runner.rows import Job

_MATRIX: Final = "RUNNERD_MATRIX_"


def variable_of(key: str) -> str:
    """The variable that holds a value of a matrix: the key in upper case, other signs as `_`."""
    signs = (sign.upper() if sign.isascii() and sign.isalnum() else "_" for sign in key)
    return f"{_MATRIX}{''.join(signs)}"


def told(job: Job, group: tuple[Group, About] | None = None) -> dict[bytes, bytes]:
    """The variables of a job; `group` is the one that it is of."""
    found = {"RUNNERD_JOB": job.id, "RUNNERD_ATTEMPT": str(job.attempt)}
    if group is not None:
        found |= {"RUNNERD_GROUP": group[0].id, **_of_group(job, *group)}
    return {name.encode(): value.encode() for name, value in found.items()}


def _of_group(job: Job, group: Group, about: About) -> dict[str, str]:
    if group.kind == ARRAY:
        numbers = {"INDEX": job.member, "COUNT": group.size, **_ends(about)}
        return {f"RUNNERD_ARRAY_{name}": str(value) for name, value in numbers.items()}
    # The bytes of its row may be damaged: then it is told what is known.
    number = -1 if job.member is None else job.member
    step = about.steps[number] if 0 <= number < len(about.steps) else None
    values = {} if step is None else {variable_of(key): each for key, each in step.values.items()}
    names = {"RUNNERD_FLOW": group.name, "RUNNERD_STEP": None if step is None else step.name}
    return {**{name: each for name, each in names.items() if each is not None}, **values}


def _ends(about: About) -> dict[str, int]:
    """The lowest and the highest index of an array."""
    if not about.ranges:
        return {}
    last = max(first + (last - first) // stride * stride for first, last, stride in about.ranges)
    return {"FIRST": min(first for first, _, _ in about.ranges), "LAST": last}
