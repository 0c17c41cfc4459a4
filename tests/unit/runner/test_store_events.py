"""The store's events: who sees which, from where on, how they go, who hears of them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.rows import NewJob
from runner.store import Store, StoreError

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator, Mapping


@pytest.fixture
def kept(tmp_path: pathlib.Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "db"))
    yield opened
    opened.close()


def submit(kept: Store, by: int = 1, at: int = 1) -> str:
    return kept.insert(NewJob(
        id=str(uuid.uuid4()), submitted_by_uid=by, uid=0, gid=0, name=None, spec=b"",
        submitted_ns=at,
    )).id  # fmt: skip


def numbers(kept: Store, seq: int = 0, limit: int = 100, **of: int | str) -> list[int]:
    return [event.seq for event in kept.events_since(seq, limit, **of)]  # type: ignore[arg-type]


def test_a_user_sees_the_events_of_jobs_that_the_user_submitted_removed_ones_too(
    kept: Store,
) -> None:
    mine, other = submit(kept, 1), submit(kept, 2)
    kept.end_queued([(mine, "stopped", b""), (other, "stopped", b"")], 5)
    kept.delete_ended([mine, other], 6, 0)
    assert numbers(kept) == [1, 2, 3, 4, 5, 6]
    assert numbers(kept, uid=1) == numbers(kept, job_id=mine) == [1, 3, 5]
    assert numbers(kept, 1, uid=2) == [2, 4, 6]
    assert numbers(kept, 2, 1, uid=2) == [4]
    assert numbers(kept, uid=3) == numbers(kept, uid=2, job_id=mine) == []
    assert numbers(kept, 1, 1, job_id=mine, uid=1) == [3]


def test_the_ends_of_the_events_are_told_also_when_none_is_left(kept: Store) -> None:
    assert (kept.oldest_event(), kept.newest_event()) == (1, 0)
    for _ in range(5):
        submit(kept)
    assert (kept.oldest_event(), kept.newest_event()) == (1, 5)
    assert kept.trim_events(2, 100) is False
    assert (kept.oldest_event(), kept.newest_event()) == (4, 5)
    kept.trim_events(2, 100, before_ns=2)
    assert (kept.oldest_event(), kept.newest_event()) == (6, 5)
    submit(kept)
    assert numbers(kept) == [6]


def test_old_events_go_so_many_at_once_and_younger_ones_stay(kept: Store) -> None:
    for at in (1, 2, 3, 4, 5, 6, 7):
        submit(kept, at=at)
    assert kept.trim_events(100, 2, before_ns=6) is True
    assert numbers(kept) == [3, 4, 5, 6, 7]
    assert kept.trim_events(100, 2, before_ns=6) is True
    assert kept.trim_events(100, 2, before_ns=6) is False
    assert numbers(kept) == [6, 7]
    assert kept.trim_events(100, 2, before_ns=6) is False
    assert kept.trim_events(1, 2, before_ns=6) is False
    assert numbers(kept) == [7]


def test_events_after_one_of_the_future_stay_until_there_are_too_many(kept: Store) -> None:
    for at in (1, 1000, 2, 3):
        submit(kept, at=at)
    kept.trim_events(100, 100, before_ns=500)
    assert numbers(kept) == [2, 3, 4]
    kept.trim_events(1, 100, before_ns=500)
    assert numbers(kept) == [4]


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 9), max_size=12),
    most=st.integers(1, 12),
    at_once=st.integers(1, 5),
    before_ns=st.none() | st.integers(0, 10),
)
def test_trimming_ends_and_leaves_the_newest_that_have_to_stay(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[int],
    most: int,
    at_once: int,
    before_ns: int | None,
) -> None:
    kept = Store.open(str(tmp_path_factory.mktemp("trim") / "db"))
    kept._db.execute("PRAGMA synchronous = OFF")
    for at in times:
        submit(kept, at=at)
    left = numbers(kept)
    are_more = True
    while are_more or left != numbers(kept):
        left = numbers(kept)
        are_more = kept.trim_events(most, at_once, before_ns)
        now = numbers(kept)
        assert now == left[len(left) - len(now) :]
        assert len(left) - len(now) <= at_once
        assert not are_more or len(left) - len(now) == at_once
    gone = 0
    # The oldest, one after the other.
    while gone < len(times) and (
        len(times) - gone > most or (before_ns is not None and times[gone] < before_ns)
    ):
        gone += 1
    assert left == list(range(gone + 1, len(times) + 1))
    kept.close()


def test_who_waits_for_events_is_called_after_each_commit_that_made_one(kept: Store) -> None:
    heard: list[int] = []
    told: list[dict[int, int]] = []

    def on_events(latest: Mapping[int, int]) -> None:
        heard.append(len(kept.events_since(0, 100)))
        told.append(dict(latest))

    kept.on_events = on_events
    job = submit(kept)
    with pytest.raises(StoreError):
        kept.update("nobody", 1, b"", None, {})
    kept.set_queue_state("default", paused=True, max_running=None)
    kept.meet_many([("x", "ok")])
    assert kept.end_queued([("nobody", "stopped", b"")], 5) == []
    assert heard == [1]
    kept.change_queued(job, 2, "hold", 1, held_by_uid=1)
    other = submit(kept, by=2)
    kept.end_queued([(job, "stopped", b""), (other, "stopped", b"")], 5)
    kept.measure({job: 5})
    kept.trim_events(100, 100)
    assert heard == [1, 2, 3, 5]
    # Of each whose jobs it was about, the newest of that commit.
    assert told == [{1: 1}, {1: 2}, {2: 3}, {1: 4, 2: 5}]


def test_a_garbled_event_hides_itself_and_not_those_after_it(kept: Store) -> None:
    for _ in range(6):
        submit(kept)
    for seq, change in ((2, "data = x'c1'"), (3, "job_id = x'00'"), (4, "data = 'text'")):
        kept._db.execute(f"UPDATE events SET {change} WHERE seq = {seq}")
    assert numbers(kept) == [1, 5, 6]
    assert numbers(kept, 1, 2) == [5]
