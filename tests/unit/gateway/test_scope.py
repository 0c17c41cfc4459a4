"""Which names and queues are within a scope; what cannot be read is not."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.scope import EVERYTHING, Scope, matches, narrowed

CI = Scope(queues=("ci", "batch-*"), names=("ci-*",))
patterns = st.text("ab.-*?", min_size=1, max_size=12)
names = st.text("ab.-", max_size=16)


@given(patterns, names)
@example("*" * 64, "a" * 64)
@example("a*b*a", "aba")
@example("*a?", "aaab")
def test_a_pattern_means_what_a_shell_pattern_means(pattern: str, name: str) -> None:
    assert matches(pattern, name) is fnmatchcase(name, pattern)


@given(st.text(max_size=80))
def test_a_star_alone_means_every_name(name: str) -> None:
    assert matches("*", name)


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matches("a*" * 32 + "b", "a" * 64)


@pytest.mark.parametrize("name", [None, 5, b"ci-1", "", "CI-1", "ci-1\n", "x-ci-1", "ci"])
def test_what_is_not_as_the_pattern_says_is_outside(name: object) -> None:
    assert not Scope(names=("ci-?",)).has_name(name)


def test_without_patterns_everything_is_inside() -> None:
    assert EVERYTHING.is_everything
    assert EVERYTHING.has_name(None)
    assert EVERYTHING.has_queue("x")
    assert EVERYTHING.has_job({})


def test_a_job_must_be_right_by_queue_and_by_name() -> None:
    assert CI.has_job({"queue": "ci", "name": "ci-1"})
    assert not CI.has_job({"queue": "prod", "name": "ci-1"})
    assert not CI.has_job({"queue": "ci", "name": "prod-1"})
    assert not CI.has_job({"queue": "ci", "name": None})
    assert not CI.has_job({"name": "ci-1"})


def test_a_job_of_a_group_counts_by_its_groups_name_too() -> None:
    one = {"queue": "ci", "name": "nightly.3", "group": "g", "group_name": "nightly"}
    assert Scope(names=("nightly",)).has_job(one)
    assert not Scope(names=("nightly",)).has_job({**one, "group": None})


def test_a_schedule_counts_by_its_name_its_queue_and_the_name_of_its_jobs() -> None:
    scope = Scope(queues=("default",), names=("ci-*",))
    one = {"name": "ci-x", "queue": None}
    assert scope.has_schedule(one)
    assert not scope.has_schedule({**one, "queue": "prod"})
    assert scope.has_schedule({**one, "submit": {"name": "ci-job"}})
    assert not scope.has_schedule({**one, "submit": {"name": "prod"}})
    assert not scope.has_schedule({**one, "submit": None})


def test_of_a_list_only_what_is_inside_is_shown() -> None:
    inside = {"queue": "ci", "name": "ci-1"}
    group = {"group_summary": {"queue": "batch-1", "name": "ci-g"}}
    outside = [{"queue": "prod", "name": "ci-1"}, {"group_summary": {"queue": "prod"}}, 5,
               {"group_summary": None}]  # fmt: skip
    assert CI.shown_jobs([inside, *outside, group]) == [inside, group]
    assert CI.shown_jobs("what?") == []


def test_a_selection_is_narrowed_to_the_one_queue_and_the_one_pattern() -> None:
    found = narrowed(Scope(queues=("ci",), names=("ci-*",)), {"states": ["running"]})
    assert found.select == {"states": ["running"], "queue": "ci", "name": "ci-*"}
    assert found.why is None


def test_what_the_caller_names_within_the_scope_is_narrow_enough() -> None:
    select = {"queue": "batch-7", "name": "ci-1"}
    assert narrowed(CI, select).select == select
    assert narrowed(CI, select).why is None


@pytest.mark.parametrize("name", ["*", "c*", "ci-[a]", "prod", "ci*"])
def test_a_pattern_that_may_mean_more_is_not_narrow_enough(name: str) -> None:
    assert narrowed(CI, {"queue": "ci", "name": name}).why is not None


def test_several_queues_cannot_be_asked_for_at_once() -> None:
    assert "ci, batch-*" in (narrowed(CI, {}).why or "")
    assert narrowed(Scope(queues=("batch-*",)), {}).why is not None


@given(st.lists(patterns, min_size=1, max_size=3), patterns, names)
def test_what_is_narrow_enough_means_nothing_outside(
    allowed: list[str], asked: str, name: str
) -> None:
    scope = Scope(names=tuple(allowed))
    found = narrowed(scope, {"name": asked})
    if found.why is None and matches(found.select["name"], name):
        assert scope.has_name(name)
