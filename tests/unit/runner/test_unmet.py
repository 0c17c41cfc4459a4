"""How much is waited for: counted by user and in all, whatever comes in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.unmet import Unmet

steps = st.lists(
    st.tuples(st.sampled_from(["put", "met", "drop"]), st.integers(0, 5), st.integers(0, 3))
)


@given(steps=steps)
def test_what_is_counted_is_what_is_there(steps: list[tuple[str, int, int]]) -> None:
    unmet = Unmet()
    model: dict[str, int] = {}
    for what, number, count in steps:
        job_id = str(number)
        if what == "put":
            unmet.put(job_id, number % 2, count)
            model[job_id] = count
        elif what == "met":
            unmet.met([job_id, "nobody"])
            model[job_id] = max(model.get(job_id, 0) - 1, 0)
        else:
            unmet.drop(job_id)
            model.pop(job_id, None)
        assert unmet.total == sum(model.values())
        for uid in (0, 1):
            assert unmet.of(uid) == sum(n for job_id, n in model.items() if int(job_id) % 2 == uid)


def test_of_users_without_any_nothing_is_kept() -> None:
    unmet = Unmet()
    unmet.put("a", 7, 2)
    unmet.met(["a", "a"])
    assert unmet.of(7) == 0
    assert not unmet._users
    assert not unmet._jobs
