"""Requests for arrays and flows: what is taken, what is refused by its field, what stays hidden."""

from __future__ import annotations

from typing import Any

import pytest

from runner.message_groups import (
    LARGEST_INDEX,
    MOST_RANGES,
    MOST_STEPS,
    Step,
    SubmitArray,
    SubmitFlow,
)
from runner.message_kinds import OsText
from runner.parsing import parse
from runner.refusal import Refusal

ARRAY: dict[str, Any] = {"submit": {"argv": ["true"]}, "array": {"ranges": [[0, 9, 1]]}}
FLOW: dict[str, Any] = {"name": "ci", "steps": [b"a"]}
STEP: dict[str, Any] = {"name": "build", "submit": {}}
SECRET = "hunter2"  # noqa: S105


def refused(kind: Any, args: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        parse(kind, args)
    assert caught.value.code == "invalid-argument"
    return caught.value.to_wire()


def test_an_array_has_ranges_and_perhaps_a_bound() -> None:
    request = parse(SubmitArray, ARRAY)
    assert request.array.ranges == [(0, 9, 1)]
    assert request.array.max_running is None
    # Read as a submission later.
    assert request.submit == {"argv": ["true"]}
    ranges = [[0, LARGEST_INDEX, LARGEST_INDEX]] * MOST_RANGES
    parse(SubmitArray, {**ARRAY, "array": {"ranges": ranges, "max_running": 1}})


@pytest.mark.parametrize(
    ("array", "field"),
    [
        ({"ranges": []}, "array.ranges"),
        ({"ranges": [[0, 1, 1]] * (MOST_RANGES + 1)}, "array.ranges"),
        ({"ranges": [[0, 1]]}, "array.ranges[0]"),
        ({"ranges": [[0, 1, 1], [-1, 1, 1]]}, "array.ranges[1][0]"),
        ({"ranges": [[0, 1, 0]]}, "array.ranges[0][2]"),
        ({"ranges": [[0, LARGEST_INDEX + 1, 1]]}, "array.ranges[0][1]"),
        ({"ranges": [[0, 1.5, 1]]}, "array.ranges[0][1]"),
        ({"ranges": [["0", 1, 1]]}, "array.ranges[0][0]"),
        ({"ranges": [[0, 1, 1]], "max_running": 0}, "array.max_running"),
        ({"ranges": [[0, 1, 1]], "cap": 1}, "array.cap"),
        ({}, "array.ranges"),
        (None, "array"),
    ],
)
def test_what_is_no_array_is_refused_by_its_field(array: object, field: str) -> None:
    answer = refused(SubmitArray, {**ARRAY, "array": array})
    assert answer["field"] == field
    assert answer["allowed"]


def test_a_flow_has_a_name_and_steps_in_an_environment() -> None:
    request = parse(SubmitFlow, {**FLOW, "env": {"A": "b", b"\xff": b"\xfe"}, "max_running": 2})
    assert request.env == {b"A": OsText(b"b"), b"\xff": OsText(b"\xfe")}
    assert (request.name, request.steps, request.max_running) == ("ci", [b"a"], 2)
    parse(SubmitFlow, {**FLOW, "steps": [b""] * MOST_STEPS})


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "a b"}, "name"),
        ({"name": None}, "name"),
        ({"steps": []}, "steps"),
        ({"steps": [b""] * (MOST_STEPS + 1)}, "steps"),
        ({"steps": [{"name": "a"}]}, "steps[0]"),
        ({"max_running": 0}, "max_running"),
        ({"hooks": [{"on": ["ok"]}]}, "hooks[0].argv"),
        ({"hooks": [{"on": ["ok"], "argv": ["a"], "x": 1}]}, "hooks[0].x"),
        ({"hooks": [{"on": ["started"], "argv": ["a"]}]}, "hooks[0].on[0]"),
        ({"x": 1}, "x"),
    ],
)
def test_what_is_no_flow_is_refused_by_its_field(changed: dict[str, Any], field: str) -> None:
    assert refused(SubmitFlow, {**FLOW, **changed})["field"] == field


@pytest.mark.parametrize("name", ["build", "0", "a_b-c", "test.1", "test.9999", "x" * 48])
def test_the_names_of_steps(name: str) -> None:
    assert parse(Step, {**STEP, "name": name}).name == name


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        *(({"name": name}, "name") for name in
          ("", "-a", "a.b", "a.0", "a.1.2", "a.10000", "a b", "x" * 49, 7)),
        ({"needs": [{"step": "a"}, {"step": "a.b"}]}, "needs[1].step"),
        ({"needs": [{"step": "a", "on": "maybe"}]}, "needs[0].on"),
        ({"needs": [{"step": "a", "x": 1}]}, "needs[0].x"),
        ({"needs": [{}]}, "needs[0].step"),
        ({"values": {str(n): "" for n in range(17)}}, "values"),
        ({"values": {"": "a"}}, "values"),
        ({"submit": []}, "submit"),
        ({"if": "always"}, "if"),
    ],
)  # fmt: skip
def test_what_is_no_step_is_refused_by_its_field(changed: dict[str, Any], field: str) -> None:
    assert refused(Step, {**STEP, **changed})["field"] == field


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        (SubmitArray, {**ARRAY, "submit": {1: 2, "env": {"TOKEN": SECRET}}}),
        (SubmitArray, {**ARRAY, "submit": [SECRET]}),
        (SubmitFlow, {**FLOW, "steps": [f"TOKEN={SECRET}"]}),
        (SubmitFlow, {**FLOW, "env": {"TOKEN": [SECRET]}}),
        (Step, {**STEP, "submit": [SECRET]}),
    ],
)
def test_what_may_hold_an_environment_is_not_shown_in_a_refusal(
    kind: Any, args: dict[str, Any]
) -> None:
    assert SECRET not in str(refused(kind, args))


def test_no_request_shows_what_it_submits() -> None:
    env = {"env": {"TOKEN": SECRET}}
    flow = {**FLOW, **env, "steps": [SECRET.encode()]}
    for kind, args in (
        (SubmitArray, {**ARRAY, "submit": env}),
        (Step, {**STEP, "submit": env}),
        (SubmitFlow, flow),
    ):
        assert SECRET not in repr(parse(kind, args))
