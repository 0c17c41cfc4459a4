"""`runctl run --array`: what is asked for, what is printed, what it excludes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]

ID = "9b1d81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MADE = {"group": ID, "kind": "array", "jobs": 50, "existing": False}


@pytest.mark.parametrize("options", [[], ["-d"]])
def test_an_array_is_submitted_and_its_id_alone_is_printed(
    runctl: Runctl, daemon: FakeDaemon, options: list[str]
) -> None:
    daemon.answer("submit_array", MADE)
    typed = ["run", *options, "--array", "0-98:2%4", "--name", "sweep", "--mem", "64M", "--", "x"]
    assert runctl(*typed) == (0, f"{ID}\n", "")
    (asked,) = daemon.args("submit_array")
    assert asked["array"] == {"ranges": [[0, 98, 2]], "max_running": 4}
    assert asked["submit"]["argv"] == ["x"]
    assert asked["submit"]["name"] == "sweep"
    assert asked["submit"]["limits"] == {"memory_max_bytes": 64 * 2**20}
    assert not daemon.args("submit")


def test_as_json_it_is_the_answer(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("submit_array", MADE)
    status, out, err = runctl("run", "--array", "1", "--json", "true")
    assert (status, json.loads(out), err) == (0, MADE, "")


def test_one_that_is_there_already_is_said(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("submit_array", {**MADE, "existing": True})
    said = "runctl: array 9b1d81c0 has this key already\n"
    assert runctl("run", "--array", "1", "--key", "k", "true") == (0, f"{ID}\n", said)
    assert daemon.args("submit_array")[0]["submit"]["idempotency_key"] == "k"
    assert runctl("run", "--array", "1", "--key", "k", "--json", "true")[2] == ""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--array", "5-1"], "Invalid value for '--array': '5-1' given"),
        (["--array", "0-5", "--every", "@daily"], "--array and --every exclude each other"),
        (["--array", ""], "Invalid value for '--array': '' given"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(
    runctl: Runctl, daemon: FakeDaemon, typed: list[str], said: str
) -> None:
    status, out, err = runctl("run", *typed, "true")
    assert (status, out) == (125, "")
    assert said in err
    assert not daemon.seen


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("array.ranges", "--array"),
        ("array.ranges[3]", "--array"),
        ("array.max_running", "--array"),
        ("submit.queue", "--queue"),
        ("submit.limits.memory_max_bytes", "--mem"),
        ("idempotency_key", "--key"),
    ],
)
def test_a_refusal_speaks_of_the_option(
    runctl: Runctl, daemon: FakeDaemon, field: str, word: str
) -> None:
    daemon.refuse("submit_array", "invalid-argument", field=field, detail="no")
    assert runctl("run", "--array", "0-5", "true") == (125, "", f"runctl: {word}: no\n")


def test_too_many_are_refused_with_the_number_and_the_bound(
    runctl: Runctl, daemon: FakeDaemon
) -> None:
    refusal: dict[str, Any] = {"field": "array.ranges", "given": "1000000000 jobs"}
    daemon.refuse("submit_array", "invalid-argument", allowed="at most 10000 jobs", **refusal)
    said = "runctl: --array: 1000000000 jobs given; at most 10000 jobs allowed\n"
    assert runctl("run", "--array", "0-999999999", "true") == (125, "", said)
