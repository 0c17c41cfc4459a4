"""Schedules in the library: what is asked, what is given, what is no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client.api import Client
from client.errors import ProtocolError, RequestRefused, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

ID = "5c0e81c0-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
MADE = {"schedule": ID, "paused": False, "next_ns": 5}
RUN = {"schedule": ID, "job": "j"}


def test_a_schedule_is_asked_for_with_what_it_submits(daemon: FakeDaemon) -> None:
    daemon.answer("schedule", MADE)
    with Client(daemon.path) as client:
        made = client.make_schedule(
            "@daily", ["make", b"\xff"], zone="UTC", missed="all", overlap="skip",
            schedule_name="n", paused=True, cwd="/", env={"A": "b"}, umask=0o22, queue="q",
        )  # fmt: skip
    assert made == MADE
    (asked,) = daemon.args("schedule")
    assert asked == {
        "every": "@daily", "zone": "UTC", "missed": "all", "overlap": "skip", "name": "n",
        "paused": True,
        "submit": {"argv": ["make", b"\xff"], "cwd": "/", "env": {"A": "b"}, "umask": 0o22,
                   "queue": "q"},
    }  # fmt: skip


def test_what_is_not_said_is_not_sent(daemon: FakeDaemon) -> None:
    daemon.answer("schedule", MADE)
    with Client(daemon.path) as client:
        client.make_schedule("@daily", ["true"])
    (asked,) = daemon.args("schedule")
    assert not {"zone", "name"} & asked.keys()


def test_schedules_are_listed_page_by_page(daemon: FakeDaemon) -> None:
    pages = {0: {"schedules": [{"schedule": "a"}], "next": 7},
             7: {"schedules": [{"schedule": "b"}], "next": None}}  # fmt: skip
    daemon.handlers["schedules"] = lambda s, r: s.ok(r, pages[r["args"]["after"]])
    with Client(daemon.path) as client:
        assert [each["schedule"] for each in client.schedules(page=1)] == ["a", "b"]
    assert daemon.args("schedules")[0] == {"after": 0, "limit": 1}


@pytest.mark.parametrize("answer", [{}, {"schedules": [], "next": 0}])
def test_a_list_that_is_none_or_never_ends_is_an_error(
    daemon: FakeDaemon, answer: dict[str, Any]
) -> None:
    daemon.answer("schedules", answer)
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        list(client.schedules())


CALLS: list[tuple[str, dict[str, Any], Callable[[Client], object], object]] = [
    ("schedule_status", {**MADE, "argv": []}, lambda c: c.schedule("x"), {**MADE, "argv": []}),
    ("schedule_pause", MADE, lambda c: c.pause_schedule("x"), MADE),
    ("schedule_resume", MADE, lambda c: c.resume_schedule("x"), MADE),
    ("schedule_run", RUN, lambda c: c.run_schedule("x"), RUN),
    ("schedule_remove", {"schedule": ID}, lambda c: c.remove_schedule("x"), ID),
]


@pytest.mark.parametrize(("op", "answer", "call", "given"), CALLS)
def test_a_request_and_its_answer_are_those_of_the_protocol(
    daemon: FakeDaemon,
    op: str,
    answer: dict[str, Any],
    call: Callable[[Client], object],
    given: object,
) -> None:
    daemon.answer(op, answer)
    with Client(daemon.path) as client:
        assert call(client) == given
    assert daemon.args(op) == [{"schedule": "x"}]


@pytest.mark.parametrize(("op", "_answer", "call", "_given"), CALLS)
def test_an_answer_that_is_none_is_an_error(
    daemon: FakeDaemon,
    op: str,
    _answer: object,
    call: Callable[[Client], object],
    _given: object,
) -> None:
    daemon.answer(op, {"more": 1})
    with Client(daemon.path) as client, pytest.raises(ProtocolError):
        call(client)


def test_a_refusal_is_about_the_schedule_that_was_asked_for() -> None:
    error = RequestRefused("no-such-schedule", field="schedule", given="'x'")
    error.job = "x"
    assert describe(error) == "x: no schedule of yours matches; `runctl schedule list` lists them"
