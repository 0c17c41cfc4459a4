"""Every state with every event, against the table as ARCHITECTURE.md has it."""

from __future__ import annotations

import itertools
import pathlib
import re

import pytest

from runner.lifecycle import Event, ImpossibleTransition, State, advance

ARCHITECTURE = pathlib.Path(__file__).parents[3] / "ARCHITECTURE.md"


def documented() -> dict[tuple[str, str], str]:
    section = ARCHITECTURE.read_text("utf-8").split("## Lifecycle")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w, ]+) \| (\w+) \| (\w+)", section, re.MULTILINE)
    return {
        (state, event): following
        for states, event, following in rows[1:]
        for state in states.split(", ")
    }


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_what_is_possible_is_what_the_architecture_says(state: State, event: Event) -> None:
    following = documented().get((state.value, event.value))
    if following is not None:
        assert advance(state, event) == following
        return
    with pytest.raises(ImpossibleTransition, match=f"{event} cannot happen .* is {state}") as error:
        advance(state, event)
    assert (error.value.state, error.value.event) == (state, event)


def test_nothing_happens_to_an_ended_job_but_another_attempt() -> None:
    for event in set(Event) - {Event.RETRY}:
        with pytest.raises(ImpossibleTransition):
            advance(State.ENDED, event)


def test_every_state_can_be_reached_and_every_other_one_can_end() -> None:
    reached = {State.QUEUED}
    for state, event in itertools.product(State, Event):
        if (state.value, event.value) in documented():
            reached.add(advance(state, event))
    assert reached == set(State)
    for state in set(State) - {State.ENDED}:
        assert advance(state, Event.FINISH) is State.ENDED
