"""How steps hang together is checked whole; what is tried again is what failed, and its skipped."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.flow_graph import Outline, again, checked
from runner.group_rows import FAILED, SKIPPED, FailedMember
from runner.message_groups import MOST_NEEDS
from runner.message_queue import MOST_DEPENDENCIES
from runner.refusal import Refusal


def _needs(size: int, own: int) -> st.SearchStrategy[list[int]]:
    others = [number for number in range(size) if number != own]
    return st.lists(st.sampled_from(others), unique=True) if others else st.just([])


# By each step's number: what it needs.
GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.tuples(*(_needs(size, own) for own in range(size)))
)


def steps_of(graph: tuple[list[int], ...]) -> list[Outline]:
    return [
        Outline(f"s{number}", [(f"s{on}", "ok") for on in needs])
        for number, needs in enumerate(graph)
    ]


def can_be_ordered(graph: tuple[list[int], ...]) -> bool:
    """Whether steps can be run one after the other until none is left."""
    done: set[int] = set()
    while ready := {n for n, needs in enumerate(graph) if n not in done and done.issuperset(needs)}:
        done |= ready
    return len(done) == len(graph)


def refused(*steps: Outline) -> dict[str, str]:
    with pytest.raises(Refusal) as caught:
        checked(steps)
    assert caught.value.code == "invalid-argument"
    return caught.value.fields


@given(GRAPHS)
def test_a_graph_is_accepted_exactly_if_its_steps_can_be_run_in_some_order(
    graph: tuple[list[int], ...],
) -> None:
    if can_be_ordered(graph):
        assert checked(steps_of(graph)) == [tuple((on, "ok") for on in each) for each in graph]
    else:
        refused(*steps_of(graph))


@given(GRAPHS.filter(lambda graph: not can_be_ordered(graph)))
def test_a_cycle_is_told_as_one_can_walk_it(graph: tuple[list[int], ...]) -> None:
    answer = refused(*steps_of(graph))
    words = answer["detail"].removeprefix("a cycle: ").split(" -> ")
    names = [int(word[1:]) for word in words]
    assert names[0] == names[-1] == min(names)
    assert len(set(names)) == len(names) - 1
    # Each comes before the next.
    assert all(before in graph[after] for before, after in pairwise(names))
    assert answer["given"] == f"'{words[-2]}'"
    step, need = names[0], graph[names[0]].index(names[-2])
    assert answer["field"] == f"steps[{step}].needs[{need}].step"


def test_a_cycle_in_the_words_of_the_flow() -> None:
    steps = [Outline("build", [("test", "ok")]), Outline("test", [("build", "any")])]
    assert refused(*steps)["detail"] == "a cycle: build -> test -> build"


def test_a_long_cycle_is_told_by_its_beginning_and_its_end() -> None:
    steps = [Outline(f"s{n}", [(f"s{(n + 1) % 1000}", "ok")]) for n in range(1000)]
    words = refused(*steps)["detail"].split(" -> ")
    assert words[0] == "a cycle: s0"
    assert words[6] == "(989 more)"
    assert words[-1] == "s0"


def test_what_is_needed_is_given_by_number_and_kind() -> None:
    steps = [Outline("a", [("b", "any"), ("c", "fail")]), Outline("b", [("c", "started")])]
    assert checked([*steps, Outline("c")]) == [((1, "any"), (2, "fail")), ((2, "started"),), ()]


@pytest.mark.parametrize(
    ("steps", "field", "given", "allowed"),
    [
        ([Outline("a"), Outline("b"), Outline("a")], "steps[2].name", "'a'", "each name once"),
        ([Outline("a", [("x", "ok")]), Outline("b")], "steps[0].needs[0].step", "'x'",
         "a step of this flow: a, b"),
        ([Outline("a"), Outline("b", [("a", "ok"), ("b", "ok")])], "steps[1].needs[1].step", "'b'",
         "cannot wait for itself"),
        ([Outline("a"), Outline("b", [("a", "ok"), ("a", "any")])], "steps[1].needs[1].step", "'a'",
         "each step once"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_field(
    steps: list[Outline], field: str, given: str, allowed: str
) -> None:
    answer = refused(*steps)
    assert (answer["field"], answer["given"]) == (field, given)
    assert allowed in answer["allowed"]


def test_of_many_names_some_are_listed() -> None:
    steps = [Outline(f"s{n}") for n in range(100)]
    answer = refused(*steps, Outline("z", [("x", "ok")]))
    assert answer["allowed"].endswith("s10, s11, and 89 more")
    assert answer["detail"] == "step z"


def test_a_step_needs_at_most_so_many() -> None:
    others = [Outline(f"s{n}") for n in range(MOST_DEPENDENCIES + 1)]
    needs = [(step.name, "ok") for step in others]
    assert len(checked([*others, Outline("z", needs[:-1])])[-1]) == MOST_DEPENDENCIES
    answer = refused(*others, Outline("z", needs))
    assert answer["field"] == "steps[257].needs"
    assert (answer["given"], answer["allowed"]) == ("257 needs", "at most 256 of one step")
    assert "step z: put a step in between" in answer["detail"]


def test_a_flow_needs_at_most_so_many_in_all() -> None:
    first = [Outline(f"s{n}") for n in range(200)]
    needs = [(step.name, "ok") for step in first]
    more = [Outline(f"t{n}", needs) for n in range(MOST_NEEDS // 200)]
    assert len(checked([*first, *more])) == 250
    answer = refused(*first, *more, Outline("z", needs[:1]))
    assert answer["field"] == "steps[250].needs"
    assert answer["allowed"] == f"at most {MOST_NEEDS} of one flow"


# What is tried again


def member(number: int, fate: str, *unmet: str) -> FailedMember:
    return FailedMember(
        id=NAMES[number], member=number, fate=fate, attempt=1, queue="default", priority=0,
        deadline_ns=None, unmet=unmet,
    )  # fmt: skip


NAMES = [f"job{n}" for n in range(8)]
MEMBERS = st.lists(
    st.tuples(st.sampled_from([FAILED, SKIPPED]), st.lists(st.sampled_from([*NAMES, "elsewhere"]))),
    max_size=8,
).map(lambda rows: [member(number, fate, *unmet) for number, (fate, unmet) in enumerate(rows)])


@given(MEMBERS)
def test_tried_again_is_what_failed_and_was_skipped_for_it_and_nothing_else(
    members: list[FailedMember],
) -> None:
    chosen = again(members)
    assert chosen == [job.id for job in members if job.id in chosen]
    for job in members:
        has_reason = not {*chosen}.isdisjoint(job.unmet)
        assert (job.id in chosen) == (job.fate == FAILED or has_reason)
    # The smallest such set: nobody is in it for a cycle of skipped ones alone.
    reached = {job.id for job in members if job.fate == FAILED}
    for _ in members:
        reached |= {job.id for job in members if not reached.isdisjoint(job.unmet)}
    assert reached == {*chosen}


def test_what_was_skipped_for_a_success_stays_skipped() -> None:
    members = [member(0, FAILED), member(1, SKIPPED, "job0"), member(2, SKIPPED, "job1"),
               member(3, SKIPPED, "job7")]  # fmt: skip
    assert again(members) == ["job0", "job1", "job2"]
    assert again([]) == []
