"""From the ranges of an array to its indexes, each once. Pure.

What the fields of a range may be is `runner.message_groups`'; the rest of an array is
`runner.group_submission`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.message_checks import invalid
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.message_groups import ArrayRequest


def indexes_of(array: ArrayRequest, most: int) -> list[int]:
    """The indexes of an array in the order given, `most` at most. Raises Refusal.

    Counted first: a line of text can ask for 2^31.
    """
    total = 0
    for number, (first, last, stride) in enumerate(array.ranges):
        if first > last:
            allowed = "a first index that is not above the last"
            raise invalid(f"array.ranges[{number}]", f"{first} to {last}", allowed)
        total += (last - first) // stride + 1
    if total > most:
        raise Refusal(
            "invalid-argument", field="array.ranges", given=f"{total} jobs",
            detail=f"at most {most} are allowed (jobs.max_array in the configuration of runnerd); "
            "let each job do more of the work, or submit several arrays",
        )  # fmt: skip
    found: dict[int, None] = {}
    for number, (first, last, stride) in enumerate(array.ranges):
        for index in range(first, last + 1, stride):
            if index in found:
                detail = f"index {index} stands twice; each index is allowed once"
                raise Refusal("invalid-argument", field=f"array.ranges[{number}]", detail=detail)
            found[index] = None
    return list(found)
