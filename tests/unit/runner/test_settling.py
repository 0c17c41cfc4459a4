"""What waits for the disk: its order, how many syncs there are, and what one that failed means."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import settling
from runner.settling import end_at_once
from runner.store_file import StoreError
from tests.unit.runner.promising import Ground

if TYPE_CHECKING:
    from collections.abc import Callable


def test_what_was_promised_to_nobody_keeps_nobody_waiting() -> None:
    ground = Ground()
    ground.settling.then(ground.note("a"))
    ground.settling.now()
    assert ground.settling.is_settled
    assert ground.done == ["a"]


def test_what_is_promised_in_a_turn_shares_one_sync_and_goes_on_in_its_order() -> None:
    ground = Ground()
    ground.promise()
    ground.settling.then(ground.note("a"))
    ground.promise()
    ground.settling.then(ground.note("b"))
    assert (ground.settling.is_settled, ground.done) == (False, [])
    ground.turn()
    assert ground.settling.is_settled
    assert ground.done == ["sync", "a", "b"]
    ground.rest()
    assert ground.done == ["sync", "a", "b"]


def test_while_more_than_one_come_together_the_next_turn_shares_it_too() -> None:
    ground = Ground()
    ground.promise()
    ground.promise()
    ground.turn()
    assert ground.done == ["sync"]
    ground.promise()
    ground.turn()
    ground.promise()
    assert ground.done == ["sync"]
    ground.turn()
    assert ground.done == ["sync", "sync"]
    # The last was for two, the next is for one, so the one after that waits for nobody.
    for turns in (2, 1, 1):
        ground.promise()
        before = len(ground.done)
        for _ in range(turns):
            assert len(ground.done) == before
            ground.turn()
        assert len(ground.done) == before + 1


def test_now_is_a_sync_and_takes_nobodys_turn() -> None:
    ground = Ground()
    ground.promise()
    ground.settling.then(ground.note("a"))
    ground.settling.now()
    assert ground.settling.is_settled
    # It would come before those that waited.
    ground.settling.then(ground.note("b"))
    assert ground.done == ["sync"]
    ground.rest()
    assert ground.done == ["sync", "a", "b"]


def test_what_is_promised_by_one_that_waited_is_waited_for_by_the_next() -> None:
    ground = Ground()
    ground.promise()
    ground.settling.then(ground.promise)
    ground.settling.then(ground.note("a"))
    ground.turn()
    assert ground.done == ["sync"]
    ground.rest()
    assert ground.done == ["sync", "sync", "a"]


def test_a_defect_in_one_that_waited_keeps_no_other_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def defect() -> None:
        raise ZeroDivisionError

    ground = Ground()
    ground.promise()
    ground.settling.then(defect)
    ground.settling.then(ground.note("a"))
    ground.rest()
    assert ground.done == ["sync", "a"]
    assert "a defect" in caplog.text


@pytest.mark.parametrize("how", ["rest", "now", "close"])
def test_after_a_sync_that_failed_nothing_goes_on_and_none_is_tried_again(how: str) -> None:
    ground = Ground()
    ground.promise()
    ground.settling.then(ground.note("a"))
    ground.is_failing = True
    acts: dict[str, Callable[[], None]] = {
        "rest": ground.rest, "now": ground.settling.now, "close": ground.settling.close,
    }  # fmt: skip
    acts[how]()
    ground.is_failing = False
    ground.rest()
    ground.settling.now()
    ground.settling.then(ground.note("b"))
    ground.rest()
    assert ground.done == ["failed: it cannot be synced"]
    assert not ground.settling.is_settled


def test_at_the_end_what_is_left_is_synced_and_nobody_is_called() -> None:
    ground = Ground()
    ground.promise()
    ground.settling.then(ground.note("a"))
    ground.settling.close()
    ground.rest()
    assert ground.done == ["sync"]
    assert ground._on_promised is None


def test_a_sync_that_fails_ends_the_daemon_with_a_word_for_who_runs_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(settling.os, "_exit", ended.append)
    end_at_once(StoreError("/s/db-wal: cannot be synced: Input/output error; look at the disk"))
    assert ended == [1]
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    for said in ("/s/db-wal", "Input/output error", "look at the disk", "start runnerd again"):
        assert said in record.getMessage()


def test_it_ends_without_whatever_else_an_end_would_do() -> None:
    child = os.fork()
    if not child:
        try:
            end_at_once(StoreError("it cannot be synced"))
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1


@given(st.lists(st.sampled_from(["promise", "send", "turn", "now", "fail"])))
def test_whatever_happens_nothing_goes_on_before_what_was_promised_before_it(
    acts: list[str],
) -> None:
    ground = Ground()
    # How many syncs there have to be before what was promised last is on disk.
    needed = 0
    asked: list[int] = []
    sent: list[int] = []

    def send(number: int) -> None:
        assert ground.done.count("sync") >= asked[number]
        sent.append(number)

    for act in acts:
        if act == "promise":
            needed = ground.done.count("sync") + 1
            ground.promise()
        elif act == "send":
            asked.append(needed)
            ground.settling.then(partial(send, len(asked) - 1))
        elif act == "fail":
            ground.is_failing = True
        else:
            {"turn": ground.turn, "now": ground.settling.now}[act]()
        assert sent == list(range(len(sent)))
    ground.rest()
    has_failed = not ground.settling.is_settled
    assert has_failed or sent == list(range(len(asked)))
